import csv
import hashlib
import tempfile
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.base.errors import DataError
from overlap.base.images import read_bytes, stamp_file
from overlap.base.tables import IMAGES, LANDMARKS
from overlap.datasets.archives import index_archive
from overlap.datasets.gldv2 import (
    gldv2_archives,
    gldv2_files,
    landmark_name,
    photo_paths,
    read_gldv2,
    read_gldv2_landmarks,
)

DIGITS, EXPONENT, HEX = "1234567890123456", "12345678901234e5", "0f0e0d0c0b0a0908"

image_ids = st.one_of(
    st.text("0123456789abcdef", min_size=16, max_size=16),
    st.text("0123456789", min_size=16, max_size=16),
    st.builds("{}e{}".format, st.text("0123456789", min_size=14, max_size=14), st.sampled_from("0123456789")),
)
names = st.lists(st.text("aZé,'(%_&?#/\"", min_size=1, max_size=12), max_size=3).map(" ".join)


@st.composite
def worlds(draw):
    ids = draw(st.lists(image_ids, min_size=1, max_size=12, unique=True))
    cuts = sorted(draw(st.sets(st.integers(1, len(ids)), max_size=4)) | {len(ids)})
    spans = list(zip([0, *cuts], cuts, strict=False))
    landmarks = draw(st.lists(st.integers(0, 2**40), min_size=len(spans), max_size=len(spans), unique=True))
    return {landmark: ids[low:high] for landmark, (low, high) in zip(landmarks, spans, strict=True)}


@given(world=worlds(), stamp=st.sampled_from(["mtime", "sha256"]))
@settings(max_examples=20, deadline=None)
def test_what_is_written_is_read_back(make, world, stamp):
    with tempfile.TemporaryDirectory() as folder:
        root = make.gldv2(Path(folder), world)
        found = read_gldv2(root, stamp=stamp)
        assert found.images.schema == IMAGES
        assert found.landmarks.schema == LANDMARKS
        rows = found.images.to_pylist()
        assert [(row["landmark_id"], row["image_id"]) for row in rows] == [
            (landmark, name) for landmark, ids in world.items() for name in ids
        ]
        assert all(read_bytes(row) == make.photo_bytes(row["image_id"]) for row in rows)
        assert all(row["stamp"] == stamp_file(Path(row["path"]), stamp) for row in rows)
        assert found.landmarks.to_pylist() == [
            {"landmark_id": landmark, "landmark_name": "", "n_images": len(ids)} for landmark, ids in world.items()
        ]
        assert read_gldv2_landmarks(root).equals(found.landmarks)


@given(world=worlds(), data=st.data())
@settings(max_examples=15, deadline=None)
def test_archives_give_the_same_photos_as_files(make, world, data):
    """Every photo, wherever it lies, has the bytes, ids and SHA-256 stamps of the unpacked set."""
    with tempfile.TemporaryDirectory() as folder:
        root = make.gldv2(Path(folder) / "files", world)
        packed = Path(folder) / "packed"
        make.write(packed / "train_clean.csv", (root / "train_clean.csv").read_bytes())
        members = {f"{n[0]}/{n[1]}/{n[2]}/{n}.jpg": make.photo_bytes(n) for ids in world.values() for n in ids}
        first = data.draw(st.sets(st.sampled_from(sorted(members))))
        make.tar(packed / "train/images_000.tar", {name: members[name] for name in first})
        make.tar(packed / "images_001.tar", {name: members[name] for name in members.keys() - first})
        paths = gldv2_archives(packed)
        assert [path.name for path in paths] == ["images_000.tar", "images_001.tar"]
        archives = {path: index_archive(path) for path in paths}
        found = read_gldv2(packed, stamp="sha256", archives=archives).images
        plain = read_gldv2(root, stamp="sha256").images
        shared = ["image_id", "stamp", "landmark_id", "landmark_name", "source"]
        assert found.select(shared).equals(plain.select(shared))
        assert [read_bytes(row) for row in found.to_pylist()] == [read_bytes(row) for row in plain.to_pylist()]


def test_stamps_of_archived_photos_change_with_the_archive(make, tmp_path):
    root = make.gldv2(tmp_path, {1: [DIGITS], 2: [HEX]})
    archive = make.tar(root / "images_000.tar", {f"{DIGITS}.jpg": b"one"})
    read = lambda: read_gldv2(root, archives={archive: index_archive(archive)}).images  # noqa: E731
    before = read()
    assert before["archive"].to_pylist() == [str(archive), None]
    assert before["stamp"][1].as_py() == stamp_file(Path(before["path"][1].as_py()), "mtime")
    make.tar(archive, {f"{DIGITS}.jpg": b"another"})
    assert read()["stamp"][0] != before["stamp"][0]
    index = index_archive(archive)
    archive.unlink()
    for stamp in ("mtime", "sha256"):
        gone = read_gldv2(root, archives={archive: index}, stamp=stamp).images["stamp"][0].as_py()
        assert gone.startswith("missing")


def test_stamps_of_archived_photos_tell_their_places(make, tmp_path):
    root = make.gldv2(tmp_path, {1: [DIGITS, HEX]})
    archive = make.tar(root / "images_000.tar", {f"{DIGITS}.jpg": b"one", f"{HEX}.jpg": b"two"})
    stamps = read_gldv2(root, archives={archive: index_archive(archive)}).images["stamp"].to_pylist()
    assert stamps == [f"{stamp_file(archive, 'mtime')}-{offset}-3" for offset in (512, 1536)]


def test_ids_that_look_like_numbers_stay_text(make, tmp_path):
    make.gldv2(tmp_path, {41: [DIGITS, HEX], 7: [EXPONENT]})
    assert read_gldv2(tmp_path).images["image_id"].to_pylist() == [DIGITS, HEX, EXPONENT]


def test_absent_photos_are_stamped_missing(make, tmp_path):
    make.gldv2(tmp_path, {41: [DIGITS, HEX], 7: [EXPONENT]})
    (tmp_path / f"train/0/f/0/{HEX}.jpg").unlink()
    for stamp in ("mtime", "sha256"):
        stamps = read_gldv2(tmp_path, stamp=stamp).images["stamp"].to_pylist()
        assert [value == "missing" for value in stamps] == [False, True, False]


def test_progress_counts_every_photo_once(make, tmp_path):
    root = make.gldv2(tmp_path, {1: [DIGITS, HEX], 2: [EXPONENT]})
    archive = make.tar(root / "images_000.tar", {f"{DIGITS}.jpg": b"one", f"{HEX}.jpg": b"two"})
    for stamp in ("mtime", "sha256"):
        seen = []
        read_gldv2(root, archives={archive: index_archive(archive)}, stamp=stamp, progress=seen.append)
        assert sum(seen) == 3
        assert 0 not in seen


@given(name=names)
@settings(deadline=None)
def test_names_survive_the_way_into_a_category_address(name):
    clean = " ".join(name.replace("_", " ").split())
    address = "http://commons.wikimedia.org/wiki/Category:" + quote(clean.replace(" ", "_"), safe="()',")
    assert landmark_name(address) == clean


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("http://commons.wikimedia.org/wiki/Category:H%C3%B4tel_des_Invalides_(Paris)", "Hôtel des Invalides (Paris)"),
        ("http://commons.wikimedia.org/wiki/Category:Meadow_Building,_Christ_Church", "Meadow Building, Christ Church"),
        ("Category:100%25_Art", "100% Art"),
        ("http://commons.wikimedia.org/wiki/Tower", "Tower"),
        ("http://commons.wikimedia.org/wiki/Category:AC/DC_Lane", "AC/DC Lane"),
        ("", ""),
    ],
)
def test_landmark_name(category, expected):
    assert landmark_name(category) == expected


def test_names_come_from_the_category_list(make, tmp_path):
    categories = {7: "http://x/wiki/Category:Tour_Eiffel,_Paris", 99: "http://x/wiki/Category:Elsewhere"}
    make.gldv2(tmp_path, {41: [DIGITS], 7: [HEX, EXPONENT]}, categories=categories)
    found = read_gldv2(tmp_path)
    assert found.landmarks["landmark_name"].to_pylist() == ["", "Tour Eiffel, Paris"]
    assert found.images["landmark_name"].to_pylist() == ["", *["Tour Eiffel, Paris"] * 2]


def test_paths_follow_the_first_three_characters():
    found = photo_paths(Path("/r"), pa.array(["0123456789abcdef"]))
    assert found.to_pylist() == ["/r/train/0/1/2/0123456789abcdef.jpg"]


def test_archives_are_looked_at_unless_every_listed_photo_lies_unpacked(make, tmp_path):
    make.tar(tmp_path / "train/images_000.tar", {})
    assert len(gldv2_archives(tmp_path)) == 1
    (tmp_path / "train/f").mkdir()
    assert gldv2_archives(tmp_path) == ()  # there is no list
    make.gldv2(tmp_path, {1: [DIGITS], 2: [HEX]})
    assert gldv2_archives(tmp_path) == ()
    (tmp_path / f"train/0/f/0/{HEX}.jpg").unlink()
    assert len(gldv2_archives(tmp_path)) == 1


def test_photos_half_unpacked_and_half_in_archives_are_all_found(make, tmp_path):
    """One that lies here and there is read from the archive."""
    make.gldv2(tmp_path, {1: [DIGITS, HEX], 2: [EXPONENT]})
    (tmp_path / f"train/0/f/0/{HEX}.jpg").unlink()
    archive = make.tar(tmp_path / "images_000.tar", {f"{HEX}.jpg": b"packed", f"{DIGITS}.jpg": b"twice"})
    found = read_gldv2(tmp_path, archives={path: index_archive(path) for path in gldv2_archives(tmp_path)}).images
    assert found["archive"].to_pylist() == [str(archive), str(archive), None]
    assert [read_bytes(row) for row in found.to_pylist()] == [b"twice", b"packed", make.photo_bytes(EXPONENT)]


@pytest.mark.parametrize(
    "name",
    [f"images_000.{end}" for end in ["tar.gz", "tgz", "tar.bz2", "txz", "zip", "7z", "rar", "tar.lz4", "TAR.GZ"]],
)
def test_a_compressed_archive_is_listed_unless_it_stands_there_plain_too(make, tmp_path, name):
    make.write(tmp_path / name, b"compressed")
    for other in ("md5.images_000.txt", "images_001.tar.part", "images_002.csv", "images_003.tar.aria2"):
        make.write(tmp_path / other, b"no archive")
    assert [path.name for path in gldv2_archives(tmp_path)] == [name]
    make.tar(tmp_path / "images_000.tar", {})
    assert [path.name for path in gldv2_archives(tmp_path)] == ["images_000.tar"]


def test_lists_of_a_release(make, tmp_path):
    make.write(tmp_path / "train_label_to_category.csv", "")
    assert [path.name for path in gldv2_files(tmp_path)] == ["train_clean.csv", "train_label_to_category.csv"]
    make.write(tmp_path / "train.csv", "")
    assert [path.name for path in gldv2_files(tmp_path)][:2] == ["train_clean.csv", "train.csv"]


BAD_ROWS = {
    "": r"line 1: expected the column\(s\) landmark_id, images; found nothing",
    "landmark_id,images\n": "the training set is empty: no row follows the header; fetch it again",
    "landmark,images\n1,0f0e0d0c0b0a0908\n": r"line 1: expected the column\(s\) landmark_id; found landmark, images",
    "landmark_id,images,images\n1,0f0e0d0c0b0a0908,a\n": "line 1: column images is there more than once",
    f"landmark_id,images\n1,{HEX}\nx12,{DIGITS}\n": r"row 3: landmark_id 'x12' is not a whole number; fetch it again",
    f"landmark_id,images\n1.0,{HEX}\n": r"row 2: landmark_id '1.0' is not a whole number",
    f"landmark_id,images\n007,{HEX}\n": r"row 2: landmark_id '007' is not a whole number",
    f"landmark_id,images\n99999999999999999999,{HEX}\n": r"row 2: landmark_id '9+' is not a whole number",
    f"landmark_id,images\n1,{HEX}\n2,\n": r"row 3: the list of images is empty; fetch it again",
    f"landmark_id,images\n1,{HEX}\n2,{DIGITS} 0F0E0D0C0B0A0907\n": r"row 3: '0F0E0D0C0B0A0907' is not an image id",
    f"landmark_id,images\n1,{HEX}  {DIGITS}\n": r"row 2: '' is not an image id: 16 characters",
    f"landmark_id,images\n1,{HEX}0\n": r"row 2: '0f0e0d0c0b0a09080' is not an image id",
    f"landmark_id,images\n1,{HEX}\n2,{DIGITS} {HEX}\n": rf"row 3: image id {HEX} stands already at .*row 2; keep",
    f"landmark_id,images\n1,{HEX}\n1,{DIGITS}\n": r"row 3: landmark_id 1 stands already at .*row 2",
    f"landmark_id,images\n1,{HEX}\n2,{DIGITS},x\n": r"line 3: 3 cells where the header has 2; fetch it again",
    f"landmark_id,images\n1,{HEX}\n\n\n02,{DIGITS}\n": r"row 5: landmark_id '02' is not a whole number",
    f'landmark_id,images\n1,"{HEX}\n2,{DIGITS}\n': r"line 2: not CSV: unexpected end of data; look for a quote that",
    f'landmark_id,images\n1,"{HEX}\n2,{DIGITS}"\n': r"row 2: the cell images goes over several lines; look for",
    b"landmark_id,images\n1,\xff\xfe\n": r"not a readable CSV file",
    b"\xff\xfe\n1,a\n": r"not a readable CSV file",
}


@pytest.mark.parametrize(("content", "message"), BAD_ROWS.items(), ids=range(len(BAD_ROWS)))
def test_bad_lists(make, tmp_path, content, message):
    make.write(tmp_path / "train_clean.csv", content)
    with pytest.raises(DataError, match=rf"train_clean\.csv.*({message})"):
        read_gldv2_landmarks(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("landmark_id,category\n1,a\n1,b\n", "row 3: landmark_id 1 stands already"),
        ("landmark_id,category\nx,a\n", "row 2: landmark_id 'x' is not a whole number"),
        ("landmark_id\n1\n", r"line 1: expected the column\(s\) category; found landmark_id"),
    ],
)
def test_bad_category_lists(make, tmp_path, content, message):
    make.gldv2(tmp_path, {1: [HEX]})
    make.write(tmp_path / "train_label_to_category.csv", content)
    with pytest.raises(DataError, match=rf"train_label_to_category\.csv {message}"):
        read_gldv2(tmp_path)


def test_missing_list(tmp_path):
    with pytest.raises(
        DataError, match=r"train_clean\.csv: no such file; fetch it again with 'overlap download gldv2'"
    ):
        read_gldv2(tmp_path)


def test_a_photo_in_two_archives_is_refused(make, tmp_path):
    make.gldv2(tmp_path, {1: [HEX]})
    paths = [make.tar(tmp_path / f"images_00{number}.tar", {f"{HEX}.jpg": b"x"}) for number in range(2)]
    archives = {path: index_archive(path) for path in paths}
    with pytest.raises(DataError, match=rf"images_001\.tar: photo {HEX} stands already at .*images_000\.tar; keep it"):
        read_gldv2(tmp_path, archives=archives)


def test_real_photos(shared):
    """Counted by a reader that knows nothing of ours."""
    root = shared / "photos/gldv2"
    with (root / "train_clean.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = read_gldv2(root, stamp="sha256")
    assert found.landmarks["n_images"].to_pylist() == [len(row["images"].split(" ")) for row in rows]
    assert len(found.images) == 165
    assert len(found.landmarks) == 33
    for row in found.images.to_pylist()[::40]:
        assert row["stamp"] == hashlib.sha256(Path(row["path"]).read_bytes()).hexdigest()
