"""What a release says of the one before it."""

import json

import pytest

from overlap.base.errors import CheckError
from overlap.base.tables import REMOVALS, as_table
from overlap.release.sums import seal_of
from overlap.release.write import write_release

CLEAN = "landmark_id,images\n1,aa bb cc\n7,dd ee\n9,ff\n"


def publish(folder, version, removed, *, clean=CLEAN, policy="paper", name="tiny"):
    (folder / "train_clean.csv").write_text(clean)
    rest = {"evaluation_set": "s", "origin": "global", "n_queries": 1, "n_confirmed": 1, "evidence": ["e"]}
    rows = [{"landmark_id": n, "landmark_name": f"=L{n}", "n_images": size, **rest} for n, size in removed.items()]
    return write_release(
        folder / "out" / f"{name}-{version}",
        upstream=[folder / "train_clean.csv"],
        removals=as_table(rows, REMOVALS),
        reasons={},
        about={"name": name, "version": version, "policy": {"name": policy}},
    )


def changes(made):
    return json.loads((made / "changes.json").read_text())


def test_the_first_release_has_none_before_it(tmp_path):
    publish(tmp_path, "1.0.0", {9: 1}, name="tiny-other")
    made = publish(tmp_path, "1.0.0", {7: 2})
    assert changes(made)["previous"] is None
    assert [row["landmark_id"] for row in changes(made)["added"]] == [7]
    assert "The first release: 1 landmark with 2 images removed." in (made / "CHANGELOG.md").read_text()


def test_a_release_is_compared_with_the_highest_lower_version(tmp_path):
    publish(tmp_path, "1.9.0", {1: 3})
    before = publish(tmp_path, "1.10.0", {7: 2, 9: 1})
    publish(tmp_path, "3.0.0", {1: 3})
    made = publish(tmp_path, "2.0.0", {1: 3, 7: 3}, clean=CLEAN.replace("dd ee", "dd ee gg"), policy="strict")
    found = changes(made)
    assert (found["previous"], found["previous_seal"]) == ("1.10.0", seal_of(before))
    assert found["added"] == [{"landmark_id": 1, "landmark_name": "=L1", "n_images": 3}]
    assert found["restored"] == [{"landmark_id": 9, "landmark_name": "=L9", "n_images": 1}]
    assert found["resized"] == [{"landmark_id": 7, "n_images": [2, 3]}]
    assert list(found["upstream"]) == ["train_clean.csv"]
    assert found["policy"] == {"name": ["paper", "strict"]}
    log = (made / "CHANGELOG.md").read_text()
    assert log.startswith("# Changes\n\n## 2.0.0\n")
    assert log.index("## 2.0.0") < log.index("## 1.10.0") < log.index("## 1.9.0")
    assert "Against 1.10.0: 1 landmark with 3 images more removed, 1 landmark with 1 images back in." in log
    assert "- Back: landmark 9 (1 images)" in log
    assert log.count("# Changes\n") == 1
    assert publish(tmp_path, "2.0.0", {1: 3, 7: 3}, clean=CLEAN.replace("dd ee", "dd ee gg"), policy="strict") == made


@pytest.mark.parametrize("broken", ["release.json", "removals.csv", "SHA256SUMS"])
def test_a_broken_release_before_it_is_named_and_nothing_written(tmp_path, broken):
    before = publish(tmp_path, "1.0.0", {9: 1})
    (before / broken).unlink()
    with pytest.raises(
        CheckError, match=r"tiny-1\.0\.0, the release before this one, can't be read .*mend it, or move"
    ):
        publish(tmp_path, "1.1.0", {7: 2})
    assert list((tmp_path / "out").iterdir()) == [before]
