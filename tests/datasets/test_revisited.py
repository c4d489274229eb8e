import pickle
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutate import mutations, within

from overlap.base.errors import DataError
from overlap.base.images import stamp_file
from overlap.base.tables import IMAGES
from overlap.datasets.revisited import CORRUPT_PARIS, list_revisited, read_classic, read_revisited

photo_names = st.text("abc_019", min_size=1, max_size=8)
numbers = st.one_of(st.integers(-5, 3000), st.floats(-5, 3000))


@st.composite
def truths(draw):
    every = draw(st.lists(photo_names, min_size=1, max_size=14, unique=True))
    n_queries = draw(st.integers(1, len(every)))
    queries, photos = every[:n_queries], every[n_queries:]
    gnd = []
    for _ in queries:
        labels = draw(
            st.lists(st.sampled_from(["easy", "hard", "junk", "no"]), min_size=len(photos), max_size=len(photos))
        )
        (x0, x1), (y0, y1) = (draw(st.tuples(numbers, numbers).filter(lambda p: p[0] < p[1])) for _ in range(2))
        gnd.append(
            {"bbx": [x0, y0, x1, y1]}
            | {kind: [row for row, label in enumerate(labels) if label == kind] for kind in ("easy", "hard", "junk")}
        )
    return {"imlist": photos, "qimlist": queries, "gnd": gnd}


@given(truth=truths(), protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
@settings(max_examples=25, deadline=None)
def test_what_is_written_is_read_back(make, truth, protocol):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make.write(root / "gnd_set.pkl", pickle.dumps(truth, protocol=protocol))
        found = read_revisited(root, name="set")
        assert found.name == "set"
        assert found.queries.schema == found.photos.schema == IMAGES
        assert found.queries["image_id"].to_pylist() == truth["qimlist"]
        assert found.queries["crop_px"].to_pylist() == [entry["bbx"] for entry in truth["gnd"]]
        assert found.photos["image_id"].to_pylist() == truth["imlist"]
        assert found.photos["crop_px"].null_count == len(truth["imlist"])
        for entry, read in zip(truth["gnd"], found.ground_truth, strict=True):
            assert [read.easy.tolist(), read.hard.tolist(), read.junk.tolist()] == [
                entry["easy"],
                entry["hard"],
                entry["junk"],
            ]
        assert list_revisited(root, name="set") == (*truth["qimlist"], *truth["imlist"])


def test_photos_lie_in_jpg_and_may_be_missing(make, tmp_path):
    make.revisited(tmp_path, make.truth(), photos=["q_1", "a_1", "b_2"])
    found = read_revisited(tmp_path, name="set", stamp="sha256")
    assert found.photos["path"][0].as_py() == str(tmp_path / "jpg/a_1.jpg")
    assert found.photos["stamp"].to_pylist()[1:3] == ["missing", "missing"]
    assert found.queries["stamp"].to_pylist() == [stamp_file(tmp_path / "jpg/q_1.jpg", "sha256"), "missing"]


def test_classic_pickles_have_ok_for_easy_and_hard(make, tmp_path):
    gnd = [{"bbx": [0, 0, 1, 1], "ok": [2, 0], "junk": [1]}, {"bbx": [0, 0, 1, 1], "ok": []}]
    make.revisited(tmp_path, make.truth(gnd=gnd))
    first, second = read_revisited(tmp_path, name="set").ground_truth
    assert [first.easy.tolist(), first.hard.tolist(), first.junk.tolist()] == [[2, 0], [], [1]]
    assert [second.easy.tolist(), second.hard.tolist(), second.junk.tolist()] == [[], [], []]


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the pickle ran')",))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_holds_code_is_not_run(make, tmp_path, protocol):
    make.write(tmp_path / "gnd_set.pkl", pickle.dumps(make.truth(imlist=[Bomb()]), protocol=protocol))
    message = r"gnd_set\.pkl: the pickle holds code \(\w+\.exec\) and was not loaded; .* 'overlap download set'"
    with pytest.raises(DataError, match=message):
        read_revisited(tmp_path, name="set")


def _query(**changes):
    return {"bbx": [0, 0, 1, 1], "easy": [], "hard": [], "junk": [], **changes}


BAD = [
    ([1, 2], r"gnd_set\.pkl: a dict with the keys imlist, qimlist and gnd is expected; fetch it again"),
    ({"imlist": [], "qimlist": []}, "a dict with the keys imlist, qimlist and gnd is expected"),
    ({"imlist": "abc"}, r"imlist: a list of photo names is expected"),
    ({"imlist": ["a", 3]}, r"imlist: a list of photo names is expected"),
    ({"imlist": ["a", "../b"]}, r"imlist\[1\]: the path '\.\./b' leaves the set's folder; give it relative"),
    ({"imlist": ["\ud800"]}, r"imlist\[0\]: the name '\\ud800' is no text that UTF-8 can hold; fetch"),
    ({"imlist": ["/a"]}, r"imlist\[0\]: the path '/a' leaves"),
    ({"qimlist": ["c:\\a"]}, r"qimlist\[0\]: the path 'c:\\\\a' leaves"),
    ({"qimlist": [""]}, r"qimlist\[0\]: the path '' leaves"),
    ({"imlist": ["a", "b", "a"]}, r"imlist\[2\]: photo a stands already at .*imlist\[0\]"),
    ({"gnd": [_query()]}, r"gnd: a list of one dict for each of the 2 queries is expected"),
    ({"gnd": {}}, r"gnd: a list of one dict for each of the 2 queries is expected"),
    ({"qimlist": [], "gnd": []}, r"the evaluation set has no queries; fetch it again"),
    ({"gnd": [_query(), 3]}, r"gnd\[1\] \(q_2\): a dict with easy, hard and junk is expected, found 3"),
    ({"gnd": [_query(bbx=[0, 0, 1]), _query()]}, r"gnd\[0\] \(q_1\): 'bbx' must be four finite numbers"),
    ({"gnd": [_query(bbx=[0, 0, 1, "2"]), _query()]}, r"'bbx' must be four finite numbers"),
    ({"gnd": [_query(bbx=[0, 0, 1, float("inf")]), _query()]}, r"'bbx' must be four finite numbers"),
    ({"gnd": [_query(bbx=[0, 0, 1, 10**400]), _query()]}, r"'bbx' must be four finite numbers"),
    ({"gnd": [_query(bbx=[0, 0, True, 2]), _query()]}, r"'bbx' must be four finite numbers"),
    ({"gnd": [_query(bbx=[5, 0, 5, 2]), _query()]}, r"gnd\[0\] \(q_1\): the box 5 0 5 2 is empty; x0 < x1 and y0 < y1"),
    ({"gnd": [_query(bbx=[0, 3, 5, 2]), _query()]}, r"the box 0 3 5 2 is empty"),
    (
        {"gnd": [_query(easy=[4]), _query()]},
        r"gnd\[0\] \(q_1\): 'easy' must be a list of positions in imlist, from 0 to 3",
    ),
    ({"gnd": [_query(hard=[-1]), _query()]}, r"'hard' must be a list of positions"),
    ({"gnd": [_query(junk=[1.0]), _query()]}, r"'junk' must be a list of positions"),
    ({"gnd": [_query(junk=None), _query()]}, r"'junk' must be a list of positions"),
    ({"gnd": [_query(easy=[1], junk=[1]), _query()]}, r"gnd\[0\] \(q_1\): a photo stands twice in easy, hard and junk"),
    ({"gnd": [_query(), _query(easy=[1, 1])]}, r"gnd\[1\] \(q_2\): a photo stands twice"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=range(len(BAD)))
def test_bad_structure(make, tmp_path, change, message):
    whole = (
        change if not isinstance(change, dict) or ("gnd" not in change and len(change) > 1) else make.truth(**change)
    )
    make.revisited(tmp_path, whole)
    with pytest.raises(DataError, match=message):
        read_revisited(tmp_path, name="set")


def without_boxes(truth):
    return {**truth, "gnd": [{key: value for key, value in entry.items() if key != "bbx"} for entry in truth["gnd"]]}


def test_boxes_are_asked_for_only_where_they_are_used(make, tmp_path):
    make.revisited(tmp_path, without_boxes(make.truth()))
    found = read_revisited(tmp_path, name="set", boxes=False)
    assert found.queries["crop_px"].null_count == 2
    assert found.queries.schema == IMAGES
    assert list_revisited(tmp_path, name="set")[:2] == ("q_1", "q_2")
    with pytest.raises(DataError, match=r"gnd\[0\] \(q_1\): 'bbx' must be four finite numbers x0 y0 x1 y1, found None"):
        read_revisited(tmp_path, name="set")


def test_what_is_found_is_shown_in_short(make, tmp_path):
    box = []
    for _ in range(60):
        box = [box, box]
    make.revisited(tmp_path, make.truth(gnd=[_query(bbx=box), _query()]))
    with within(2), pytest.raises(DataError, match=r"'bbx' must be four finite numbers .*, found \[\[\[.{0,99}$"):
        read_revisited(tmp_path, name="set")


@pytest.mark.parametrize("n", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_damaged_ground_truth_is_a_set_or_refused_in_one_sentence(make, tmp_path, n):
    good = pickle.dumps(make.truth(), protocol=2)
    for content in mutations(good, n=n, seed=1):
        make.write(tmp_path / "gnd_set.pkl", content)
        with within(2):
            try:
                found = read_revisited(tmp_path, name="set")
            except DataError as error:
                assert "gnd_set.pkl" in str(error)  # noqa: PT017
                continue
        assert len(found.ground_truth) == found.queries.num_rows


CLASSIC = {
    "hall_1_query.txt": "oxc1_hall_000001 1.5 2 30 40\n",
    "hall_1_good.txt": "hall_000002\nhall_000001\n",
    "hall_1_ok.txt": "tower_000001\n",
    "hall_1_junk.txt": "",
    "tower_1_query.txt": "tower_000001 0 0 9 9\n",
    "tower_1_good.txt": "tower_000001\n",
    "tower_1_ok.txt": "",
    "tower_1_junk.txt": "hall_000002\nparis_louvre_000136\n",
}
CLASSIC_PHOTOS = ("hall_000001", "hall_000002", "tower_000001", "paris_louvre_000136")


def write_classic(make, root, **changes):
    for name, content in {**CLASSIC, **changes}.items():
        make.write(root / name, content)
    for name in CLASSIC_PHOTOS:
        make.write(root / f"jpg/{name}.jpg", name)


def test_classic_text_ground_truth(make, tmp_path):
    write_classic(make, tmp_path)
    found = read_classic(tmp_path, name="oxford5k")
    assert found.photos["image_id"].to_pylist() == ["hall_000001", "hall_000002", "tower_000001"]
    assert found.queries["image_id"].to_pylist() == ["hall_000001", "tower_000001"]
    assert found.queries["crop_px"].to_pylist() == [[1.5, 2, 30, 40], [0, 0, 9, 9]]
    assert [[q.easy.tolist(), q.hard.tolist(), q.junk.tolist()] for q in found.ground_truth] == [
        [[0, 1], [2], []],
        [[2], [], [1]],
    ]
    assert found.queries.schema == found.photos.schema == IMAGES
    assert "missing" not in found.queries["stamp"].to_pylist()


@pytest.mark.parametrize("line", ["hall_000001", "oxc1_hall_000001 1 2 3", "hall_000001 3 2 1 4"])
def test_classic_text_needs_no_boxes_where_none_are_used(make, tmp_path, line):
    write_classic(make, tmp_path, **{"hall_1_query.txt": f"{line}\n"})
    found = read_classic(tmp_path, name="oxford5k", boxes=False)
    assert found.queries["image_id"].to_pylist() == ["hall_000001", "tower_000001"]
    assert found.queries["crop_px"].null_count == 2


def test_classic_text_without_a_query_is_refused_even_without_boxes(make, tmp_path):
    write_classic(make, tmp_path, **{"hall_1_query.txt": ""})
    with pytest.raises(DataError, match=r"hall_1_query\.txt row 1: a photo name and four numbers are expected"):
        read_classic(tmp_path, name="oxford5k", boxes=False)


def test_twenty_photos_of_paris_are_corrupt():
    assert len(CORRUPT_PARIS) == 20
    assert all(name.startswith("paris_") for name in CORRUPT_PARIS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hall_1_query.txt": "hall_000001 1 2 3\n"}, r"hall_1_query\.txt row 1: a photo name and four numbers"),
        ({"hall_1_query.txt": ""}, r"hall_1_query\.txt row 1: a photo name and four numbers"),
        ({"hall_1_query.txt": "hall_000001 1 2 x 4\n"}, r"row 1: a photo name and four numbers are expected"),
        ({"hall_1_query.txt": "hall_000001 3 2 1 4\n"}, r"row 1: the box 3 2 1 4 is empty"),
        ({"hall_1_query.txt": "hall_000001 nan 2 1 4\n"}, r"row 1: the box nan 2 1 4 is empty"),
        ({"hall_1_query.txt": "../x 1 2 3 4\n"}, r"row 1: the path '\.\./x' leaves"),
        ({"hall_1_ok.txt": "hall_000002\nother\n"}, r"hall_1_ok\.txt row 2: photo 'other' is not in jpg/; unpack all"),
        ({"hall_1_ok.txt": b"\xff"}, r"hall_1_ok\.txt: can't be read .*; unpack upstream's ground truth archive again"),
    ],
)
def test_bad_classic_text(make, tmp_path, changes, message):
    write_classic(make, tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        read_classic(tmp_path, name="set")


def test_no_classic_text(tmp_path):
    with pytest.raises(DataError, match=r"no \*_query\.txt; unpack upstream's ground truth archive there"):
        read_classic(tmp_path, name="set")


@pytest.mark.parametrize(("name", "n_photos"), [("roxford5k", 4993), ("rparis6k", 6322)])
def test_real_ground_truth(shared, name, n_photos):
    root = shared / "groundtruth"
    found = read_revisited(root, name=name)
    assert len(found.queries) == len(found.ground_truth) == 70
    assert len(found.photos) == n_photos
    # The totals that the facts list for easy, hard and junk.
    totals = {"roxford5k": [3029, 2497, 1356], "rparis6k": [6874, 10350, 7153]}[name]
    assert [sum(len(getattr(q, kind)) for q in found.ground_truth) for kind in ("easy", "hard", "junk")] == totals


@pytest.mark.parametrize(("name", "n_queries", "n_photos"), [("roxford5k", 30, 70), ("rparis6k", 7, 7)])
def test_real_photos(shared, name, n_queries, n_photos):
    found = read_revisited(shared / "photos" / name, name=name)
    assert (len(found.queries), len(found.photos)) == (n_queries, n_photos)
    assert "missing" not in found.queries["stamp"].to_pylist() + found.photos["stamp"].to_pylist()
