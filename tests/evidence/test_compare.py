"""What counts as the same evidence, and what is refused as none."""

import json

import pytest

from overlap.base.errors import CheckError
from overlap.evidence.compare import compare_pair, pairs_file, read_evidence

PAIR = {
    "n_matches": 9,
    "n_inliers": 2,
    "status": "ok",
    "geometry": "homography",
    "score": 0.75,
    "matrix": [1.0, 0, 0, 0, 1, 0, 0, 0, 1],
    "inliers": [[1.0, 2, 3, 4], [5, 6, 7, 8]],
    "query_size_px": [9, 9],
    "photo_size_px": [8, 8],
}


def test_the_same_pair_and_one_within_the_tolerances_differ_in_nothing():
    assert compare_pair(PAIR, PAIR) == []
    near = {"score": 0.7500009, "matrix": [1.0000009, *PAIR["matrix"][1:]], "inliers": [[1.009, 2, 3, 4], [5, 6, 7, 8]]}
    assert compare_pair(PAIR, {**PAIR, **near}) == []
    nothing = {**PAIR, "matrix": None, "inliers": []}
    assert compare_pair(nothing, nothing) == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("n_matches", 8, "n_matches was 9, is 8"),
        ("n_inliers", 1, "n_inliers was 2, is 1"),
        ("status", "no_model", "status was ok, is no_model"),
        ("geometry", "fundamental", "geometry was homography, is fundamental"),
        ("photo_size_px", [8, 7], r"photo_size_px was [8, 8], is [8, 7]"),
        ("score", 0.75001, "score was 0.75, is 0.75001"),
        ("matrix", [1.0001, 0, 0, 0, 1, 0, 0, 0, 1], "matrix was [1.0, 0, 0, 0, 1, 0, 0, 0, 1], is [1.0001"),
        ("matrix", None, "matrix was [1.0, 0, 0, 0, 1, 0, 0, 0, 1], is None"),
        ("inliers", [[1.02, 2, 3, 4], [5, 6, 7, 8]], "the inliers lie elsewhere"),
        ("inliers", [[1, 2, 3, 4]], "the inliers lie elsewhere"),
    ],
)
def test_each_difference_is_named(key, value, said):
    [found] = compare_pair(PAIR, {**PAIR, key: value})
    assert found.startswith(said)


def test_a_record_that_is_no_record_differs():
    assert len(compare_pair({}, PAIR)) == 9
    assert "score was high, is 0.75" in compare_pair({**PAIR, "score": "high"}, PAIR)


ABOUT = {"settings": {}, "weights_sha256": "", "matcher_sha256": "", "landmarks": [7]}


@pytest.mark.parametrize(
    ("about", "pairs", "message"),
    [
        (None, None, r"about\.json can't be read \(.*No such file.*\); fetch the release again"),
        ({"settings": {}}, None, r"about\.json can't be read \(it lacks weights_sha256, matcher_sha256, landmarks\)"),
        ({**ABOUT, "landmarks": ["../x"]}, None, r"about\.json can't be read: its landmarks are no list of numbers"),
        (ABOUT, None, r"pairs\.json can't be read"),
        (ABOUT, {"pairs": []}, r"pairs\.json can't be read \(it lacks landmark_id\)"),
        (ABOUT, [], r"pairs\.json can't be read \(it lacks landmark_id, pairs\)"),
        (ABOUT, 3, r"pairs\.json can't be read"),
    ],
)
def test_broken_evidence_is_named(tmp_path, about, pairs, message):
    (tmp_path / pairs_file(7)).parent.mkdir(parents=True)
    for name, value in (("evidence/about.json", about), (pairs_file(7), pairs)):
        if value is not None:
            (tmp_path / name).write_text(json.dumps(value))
    with pytest.raises(CheckError, match=message):
        read_evidence(tmp_path)


def test_sound_evidence_is_read(tmp_path):
    (tmp_path / pairs_file(7)).parent.mkdir(parents=True)
    (tmp_path / "evidence" / "about.json").write_text(json.dumps(ABOUT))
    (tmp_path / pairs_file(7)).write_text(json.dumps({"landmark_id": 7, "pairs": []}))
    assert read_evidence(tmp_path) == (ABOUT, [{"landmark_id": 7, "pairs": []}])
