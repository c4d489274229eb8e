"""Source minus removals = release, byte by byte; and every change in a release is found."""

import csv
import json
import os
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.base.errors import ArtifactError, CheckError, DataError
from overlap.base.tables import REMOVALS, as_table
from overlap.release.apply import apply_removals
from overlap.release.columnar import parquet_name, write_parquet
from overlap.release.croissant import build_croissant
from overlap.release.records import read_records
from overlap.release.sums import checksums, file_names, seal_of
from overlap.release.tables import table_findings
from overlap.release.verify import verify_release
from overlap.release.write import write_release

ABOUT = {"name": "tiny", "version": "1.0.0", "policy": {"name": "paper"}}
CLEAN = b"landmark_id,images\n1,aa bb cc\n7,dd ee\n9,ff\n12,\n"
TRAIN = b'id,url,landmark_id\r\naa,"http://x/a,b.jpg",1\r\ndd,"http://x/""d"".jpg",7\r\nzz,http://x/z.jpg,500'


def removals(**images):
    rest = {"evaluation_set": "s", "origin": "global", "n_queries": 1, "n_confirmed": 1, "evidence": ["e1", "e2"]}
    rest |= {"n_queries_not_asked": 0, "n_not_asked": 4}
    rows = [
        rest | {"landmark_id": int(name[1:]), "landmark_name": f"=L{name[1:]}", "n_images": n}
        for name, n in images.items()
    ]
    return as_table(rows, REMOVALS)


def upstream(folder, clean=CLEAN, train=TRAIN):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train_clean.csv").write_bytes(clean)
    (folder / "train.csv").write_bytes(train)
    return [folder / "train_clean.csv", folder / "train.csv"]


def release(tmp_path, table=None, about=ABOUT, **files):
    return write_release(
        tmp_path / "out" / "tiny-1.0.0",
        upstream=upstream(tmp_path / "up", **files),
        removals=removals(L7=2) if table is None else table,
        reasons={7: "seen"},
        about=about,
        extra={"notes.md": b"notes\n", "evidence/votes.csv": b"votes\n"},
    )


@pytest.fixture
def made(tmp_path):
    return release(tmp_path)


def findings(made, source="train_clean.csv"):
    return verify_release(made, source=made.parent.parent / "up" / source)


def test_a_release_holds_what_is_kept_the_list_and_the_figures(made):
    assert (made / "train_clean.csv").read_bytes() == CLEAN.replace(b"7,dd ee\n", b"")
    assert (made / "train.csv").read_bytes() == TRAIN.replace(b'dd,"http://x/""d"".jpg",7\r\n', b"")
    assert (made / "removals.csv").read_text() == (
        "landmark_id,landmark_name,evaluation_set,origin,n_queries,n_queries_not_asked,n_confirmed,n_not_asked,"
        "n_images,reason,evidence\n7,'=L7,s,global,1,0,1,4,2,seen,e1 e2\n"
    )
    assert pq.read_table(made / "removals.parquet").select(["n_queries_not_asked", "n_not_asked"]).to_pylist() == [
        {"n_queries_not_asked": 0, "n_not_asked": 4}
    ]
    said = json.loads((made / "release.json").read_text())
    assert said["name"] == "tiny"
    assert said["removals"] == {"landmarks": 1, "images": 2}
    clean = said["files"]["train_clean.csv"]
    assert (clean["rows_in"], clean["rows_out"], clean["images_in"], clean["images_out"]) == (4, 3, 6, 4)
    assert (said["files"]["train.csv"]["rows_in"], said["files"]["train.csv"]["rows_out"]) == (3, 2)
    assert [path.name for path in made.parent.iterdir()] == ["tiny-1.0.0"]
    assert findings(made) == findings(made, "") == []


def test_what_nobody_knows_of_what_was_not_asked_is_an_empty_cell(tmp_path):
    [row] = removals(L7=2).to_pylist()
    made = release(tmp_path, as_table([row | {"n_queries_not_asked": None, "n_not_asked": None}], REMOVALS))
    assert (made / "removals.csv").read_text().splitlines()[1] == "7,'=L7,s,global,1,,1,,2,seen,e1 e2"
    assert pq.read_table(made / "removals.parquet")["n_not_asked"].to_pylist() == [None]
    assert findings(made) == []
    edit(made / "removals.csv", ",1,,1,,2,", ",1,,1,0,2,")
    (made / "SHA256SUMS").write_text(checksums(made))
    assert any(found.startswith("removals.parquet row 0 differs") for found in findings(made))


LATER = ("n_queries_not_asked", "n_not_asked")
OLDER_TABLE_2 = b"name,n_queries,n_duplicated,n_landmarks,n_images\ns,9,6,1,2\nTEXT,,,0,0\nTOTAL,9,6,1,2\n"


@pytest.fixture
def older(tmp_path):
    """Return a release as the version wrote it that knew nothing of what was not asked."""
    made = write_release(
        tmp_path / "out" / "tiny-1.0.0",
        upstream=upstream(tmp_path / "up"),
        removals=removals(L7=2),
        reasons={7: "seen, twice"},
        about={**ABOUT, "evaluation_sets": {"s": {"queries": 9, "duplicated_queries": 6}}},
        extra={"table2.csv": OLDER_TABLE_2},
    )
    (made / "removals.csv").write_text(
        "landmark_id,landmark_name,evaluation_set,origin,n_queries,n_confirmed,n_images,reason,evidence\n"
        '7,\'=L7,s,global,1,1,2,"seen, twice",e1 e2\n'
    )
    pq.write_table(pq.read_table(made / "removals.parquet").drop_columns(LATER), made / "removals.parquet")
    reseal(made)
    return made


def test_a_release_of_an_older_version_is_proven_still(tmp_path, older):
    assert not set(LATER) & set(pq.read_schema(older / "removals.parquet").names)
    assert findings(older) == findings(older, "") == []
    apply_removals(older / "removals.csv", tmp_path / "up" / "train_clean.csv", tmp_path / "applied.csv")
    assert (tmp_path / "applied.csv").read_bytes() == (older / "train_clean.csv").read_bytes()


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "removals.csv",
            ",global,1,1,2,",
            ",global,1,5,2,",
            "removals.parquet row 0 differs: expected .*confirmed': 5",
        ),
        ("removals.csv", ",global,1,1,2,", ",global,1,,2,", "removals.csv can't be compared with removals.parquet"),
        ("removals.csv", "seen, twice", "seen, once", "removals.parquet row 0 differs: expected"),
        ("removals.csv", ",n_confirmed,", ",n_not_asked,", "expected the column.* n_confirmed"),
        ("table2.csv", "s,9,6,1,2", "s,9,7,1,2", "table2.csv row 's' says"),
    ],
)
def test_edits_of_a_release_of_an_older_version_are_found_even_with_new_checksums(older, name, old, new, message):
    edit(older / name, old, new)
    reseal(older)
    found = "; ".join(findings(older))
    assert pytest.RaisesExc(DataError, match=message).matches(DataError(found)), found


def test_one_list_that_knows_what_was_not_asked_beside_one_that_does_not_is_found(made):
    pq.write_table(pq.read_table(made / "removals.parquet").drop_columns(LATER), made / "removals.parquet")
    reseal(made)
    [found] = findings(made)
    assert found.startswith("removals.parquet has the columns landmark_id int64, ")
    assert "expected" in found


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum of coreutils is not installed")
def test_sha256sum_reads_the_checksums(made):
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=made, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK") == len(file_names(made)) - 1


def test_the_same_release_is_left_and_another_is_refused(tmp_path, made):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert release(tmp_path) == made
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before
    with pytest.raises(
        CheckError, match=r"holds another release, or was edited \(.*would change\); .*higher release\.ver"
    ):
        release(tmp_path, removals(L9=1))
    assert findings(made) == []


def test_two_writes_give_the_same_bytes(tmp_path, made):
    other = release(tmp_path / "again")
    assert checksums(other) == checksums(made)


cells = st.text(st.sampled_from(list('ab ",\n\ré')), max_size=5)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), cells, cells), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_any_csv_minus_any_removals(tmp_path_factory, rows, end, bom, last_end, data):
    folder = tmp_path_factory.mktemp("p")
    source = folder / "train_clean.csv"
    with source.open("w", newline="", encoding="utf-8-sig" if bom else "utf-8") as file:
        csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("landmark_id", "images", "x"), *rows])
    if not last_end:
        source.write_bytes(source.read_bytes().removesuffix(end.encode()))
    gone = data.draw(st.sets(st.sampled_from([row[0] for row in rows])))
    n_images = {f"L{n}": sum(len(row[1].split()) for row in rows if row[0] == n) for n in gone}
    made = write_release(folder / "r", upstream=[source], removals=removals(**n_images), reasons={}, about=ABOUT)
    kept = [record.raw for record in read_records(source) if record.landmark_id not in gone]
    assert (made / "train_clean.csv").read_bytes() == b"".join(kept)
    with (made / "train_clean.csv").open(newline="", encoding="utf-8-sig") as file:
        assert list(csv.reader(file))[1:] == [[str(n), images, x] for n, images, x in rows if n not in gone]
    assert verify_release(made, source=source) == []
    apply_removals(made / "removals.csv", source, folder / "applied.csv")
    assert (folder / "applied.csv").read_bytes() == (made / "train_clean.csv").read_bytes()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return a release that a test may break and must mend."""
    return release(tmp_path_factory.mktemp("kept"))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_single_changed_byte_is_found(kept, data):
    path = kept / data.draw(st.sampled_from(file_names(kept)))
    content = path.read_bytes()
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        assert findings(kept)
    finally:
        path.write_bytes(content)
    assert path.read_bytes() == content


def test_every_changed_byte_of_the_lists_is_found(kept):
    for name in ("train_clean.csv", "removals.csv"):
        content = (kept / name).read_bytes()
        for place in range(len(content)):
            changed = bytearray(content)
            changed[place] ^= 1 + place % 255
            (kept / name).write_bytes(changed)
            assert findings(kept), (name, place)
        (kept / name).write_bytes(content)
    assert findings(kept) == []


def test_every_missing_and_every_added_file_is_found(made):
    for name in file_names(made):
        content = (made / name).read_bytes()
        (made / name).unlink()
        assert any(name in finding for finding in findings(made)), name
        (made / name).write_bytes(content)
    (made / "more.csv").write_bytes(b"x")
    assert any("more.csv" in finding and "which is there" in finding for finding in findings(made))


KEPT = [b"1,aa bb cc\n", b"9,ff\n", b"12,\n"]


def forge(made):
    """Make everything that hangs on the files agree with them again, as an adversary would."""
    for name in ("train_clean.csv", "train.csv"):
        if (made / name).is_file():
            write_parquet(made / name, made / parquet_name(name))
    reseal(made)


def reseal(made):
    """Write metadata and checksums of the files as they are."""
    said = json.loads((made / "release.json").read_text())
    (made / "croissant.json").write_text(json.dumps(build_croissant(made, said)))
    (made / "SHA256SUMS").write_text(checksums(made))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (KEPT[1:], r"line 2 differs: expected '1,aa bb cc\\n' \(line 2 of .*\), found '9,ff\\n'"),
        (KEPT[:2], r"line 4 differs: expected '12,\\n' \(line 5 of .*\), found ''"),
        ([KEPT[1], KEPT[0], KEPT[2]], "line 2 differs"),
        ([*KEPT, b"7,dd ee\n"], r"line 5: '7,dd ee\\n' and what follows is not in"),
        ([KEPT[0], KEPT[0], *KEPT[1:]], r"line 3 differs: expected '9,ff\\n' \(line 4 of"),
        ([KEPT[0], b"9,f0\n", KEPT[2]], r"line 3 differs: expected '9,ff\\n' .*, found '9,f0\\n'"),
    ],
)
def test_rows_dropped_added_reordered_and_edited_are_found_even_when_all_agrees(made, rows, message):
    (made / "train_clean.csv").write_bytes(b"landmark_id,images\n" + b"".join(rows))
    forge(made)
    found = findings(made)
    assert len(found) == 1
    assert pytest.RaisesExc(DataError, match="train_clean.csv " + message).matches(DataError(found[0])), found


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_dropped_added_or_reordered_row_is_found_even_when_all_agrees(kept, data):
    name = data.draw(st.sampled_from(["train_clean.csv", "train.csv"]))
    before = {path: (kept / path).read_bytes() for path in file_names(kept)}
    header, *rows = (line.rstrip(b"\r\n") + b"\n" for line in before[name].splitlines())
    order = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=len(rows) + 1))
    (kept / name).write_bytes(header + b"".join(rows[place] for place in order))
    try:
        forge(kept)
        assert bool(findings(kept, "")) == ((kept / name).read_bytes() != before[name])
    finally:
        for path, content in before.items():
            (kept / path).write_bytes(content)


def test_a_parquet_file_of_other_rows_is_found_even_when_all_agrees(made):
    other = made.parent / "other.csv"
    other.write_bytes(b"landmark_id,images\n1,aa bb\n9,ff\n12,\n")
    write_parquet(other, made / "train_clean.parquet")
    said = json.loads((made / "release.json").read_text())
    (made / "croissant.json").write_text(json.dumps(build_croissant(made, said)))
    (made / "SHA256SUMS").write_text(checksums(made))
    [found] = findings(made)
    assert found.startswith(
        "train_clean.parquet row 0 differs: expected {'landmark_id': 1, 'images': ['aa', 'bb', 'cc']"
    )
    (made / "train_clean.parquet").unlink()
    (made / "croissant.json").write_text("{}")
    (made / "SHA256SUMS").write_text(checksums(made))
    assert findings(made) == ["train_clean.parquet is missing", "croissant.json can't be read: 'distribution'"]


def test_the_seal_finds_what_can_t_be_derived(made):
    seal = seal_of(made)
    assert verify_release(made, source=made.parent.parent / "up" / "train_clean.csv", seal=seal.upper()) == []
    edit(made / "README.md", "Lists of ids", "Lists of gold")
    (made / "SHA256SUMS").write_text(checksums(made))
    assert findings(made) == []
    [found] = verify_release(made, source=made.parent.parent / "up" / "train_clean.csv", seal=seal)
    assert f"not the seal {seal}: this is not the release that was published" in found


TABLE_2 = b"name,n_queries,n_duplicated,n_landmarks,n_images,n_not_asked\ns,9,6,1,2,0\nTEXT,,,0,0,\nTOTAL,9,6,1,2,0\n"
TABLE_3 = b"name,n_images,n_categories\ntraining set,6,4\ntiny,4,3\n"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "table2.csv",
            "s,9,6,1,2",
            "s,9,6,1,3",
            r"table2.csv row 's' says .*'3'\), removals.csv and release.json give",
        ),
        ("table2.csv", "TOTAL,9,6", "TOTAL,9,5", "table2.csv row 'TOTAL' says"),
        ("table2.csv", "TEXT,,,0,0,\n", "", "table2.csv row 'TEXT' says None"),
        ("table3.csv", "tiny,4,3", "tiny,4,4", "table3.csv row 1 says"),
        ("table3.csv", "n_images", "images", "Table 2 or 3 can't be checked: .*expected the column"),
    ],
)
def test_edited_tables_are_found_even_with_new_checksums(tmp_path, name, old, new, message):
    made = write_release(
        tmp_path / "out" / "tiny-1.0.0",
        upstream=upstream(tmp_path / "up"),
        removals=removals(L7=2),
        reasons={},
        about={**ABOUT, "evaluation_sets": {"s": {"queries": 9, "duplicated_queries": 6}}},
        extra={"table2.csv": TABLE_2, "table3.csv": TABLE_3},
    )
    assert findings(made) == []
    edit(made / name, old, new)
    (made / "SHA256SUMS").write_text(checksums(made))
    assert pytest.RaisesExc(DataError, match=message).matches(DataError("; ".join(findings(made))))


@pytest.mark.parametrize("older", [False, True])
def test_a_list_with_a_line_a_photo_has_its_landmarks_counted(tmp_path, older):
    (tmp_path / "mine.csv").write_bytes(b"image_id,landmark_id\na,1\nb,7\nc,1\nd,7\ne,9\nf,1\n")
    sizes = b"name,n_images,n_categories\ntraining set,6,3\ntiny,4,2\n"
    made = write_release(
        tmp_path / "out" / "tiny-1.0.0",
        upstream=[tmp_path / "mine.csv"],
        removals=removals(L7=2),
        reasons={},
        about=ABOUT,
        extra={"table3.csv": sizes},
    )
    if older:
        edit(made / "release.json", '"landmarks_in": 3,', "")
        edit(made / "release.json", '"landmarks_out": 2,', "")
        (made / "SHA256SUMS").write_text(checksums(made))
    assert verify_release(made, source=tmp_path / "mine.csv") == []
    edit(made / "table3.csv", "4,2", "4,4")
    (made / "SHA256SUMS").write_text(checksums(made))
    [found] = verify_release(made, source=tmp_path / "mine.csv")
    assert found.startswith("table3.csv row 1 says ('4', '4'), removals.csv and release.json give ('4', '2')")


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("release.json", '"rows_out": 3', '"rows_out": 2', "release.json says .* of train_clean.csv, but source minus"),
        ("release.json", '"landmarks_out": 3', '"landmarks_out": 4', "release.json says .* of train_clean.csv, but s"),
        ("release.json", '"landmarks": 1', '"landmarks": 2', "were removed, removals.csv lists"),
        ("removals.csv", ",1,4,2,seen", ",1,4,3,seen", "removals.csv says 3 images of landmark_id 7, .* holds 2"),
        ("removals.csv", "\n7,", "\n9,", "train_clean.csv line 3 differs"),
        ("removals.csv", "\n7,", "\nx,", "removals.csv can't be read"),
        ("removals.csv", "7,'=L7", "7,'=L8", "removals.parquet row 0 differs: expected .*'=L8', .*found .*'=L7'"),
        (
            "removals.csv",
            ",seen,e1 e2\n",
            ",seen,e1 e2\n7,x,s,global,1,0,1,4,2,,\n",
            "read: a landmark_id is there twice",
        ),
        (
            "removals.csv",
            ",1,0,1,4,2,seen",
            ",x,0,1,4,2,seen",
            "removals.csv can't be compared with removals.parquet: invalid",
        ),
        ("removals.csv", ",1,4,2,seen", ",1,x,2,seen", "removals.csv can't be compared with removals.parquet: invalid"),
        ("removals.csv", ",1,4,2,seen", ",1,0,2,seen", "removals.parquet row 0 differs: expected"),
        ("removals.csv", ",1,0,1,4", ",1,,1,4", "removals.parquet row 0 differs: expected .*queries_not_asked': None"),
        ("removals.csv", ",n_not_asked,", ",asked,", "removals.parquet has the columns .*, expected "),
        ("croissant.json", '"sha256": "', '"sha256": "0', "croissant.json says .*, which it has not"),
        ("release.json", '"train.csv"', '"../train.csv"', "release.json can't be read: a file's name holds a folder"),
        ("release.json", "{", "[", "release.json can't be read"),
        ("release.json", '"files"', '"fires"', "release.json can't be read: 'files'"),
    ],
)
def test_edited_figures_are_found_even_with_new_checksums(made, name, old, new, message):
    edit(made / name, old, new)
    (made / "SHA256SUMS").write_text(checksums(made))
    found = "; ".join(findings(made))
    assert pytest.RaisesExc(DataError, match=message).matches(DataError(found)), found


def test_checksums_out_of_order_are_found(made):
    lines = (made / "SHA256SUMS").read_text().splitlines(keepends=True)
    (made / "SHA256SUMS").write_text("".join(lines[::-1]))
    assert findings(made) == ["SHA256SUMS is not in order, or says a line twice"]


def test_another_source_is_found_and_named(tmp_path, made):
    upstream(tmp_path / "up", clean=CLEAN.replace(b"9,ff", b"9,fe"))
    first, second = findings(made)
    assert "it is not the upstream file of this release" in first
    assert "line 3 differs: expected '9,fe\\n'" in second


def test_another_source_of_another_name_is_taken_for_the_file_that_is_counted(tmp_path, made):
    changed = tmp_path / "downloaded (1).csv"
    changed.write_bytes(CLEAN.replace(b"\n", b"\r\n"))
    assert "train_clean.csv was made from" in verify_release(made, source=changed)[0]


def test_a_folder_of_sources_checks_every_file_and_names_a_missing_one(tmp_path, made):
    upstream(tmp_path / "up", train=TRAIN.replace(b"z.jpg", b"y.jpg"))
    assert any("train.csv line 3 differs" in finding for finding in findings(made, ""))
    (tmp_path / "up" / "train.csv").unlink()
    assert findings(made, "") == [f"{tmp_path}/up/train.csv is missing"]


def test_what_is_no_release_is_bad_input(tmp_path, made):
    with pytest.raises(DataError, match=r"up is not a release: it holds no release\.json"):
        verify_release(tmp_path / "up", source=tmp_path / "up" / "train_clean.csv")
    with pytest.raises(DataError, match=r"no\.csv is not there; give the upstream train_clean\.csv"):
        verify_release(made, source=tmp_path / "no.csv")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (removals(L7=2, L500=1, L501=3), r"train_clean\.csv holds no landmark_id 500, 501, which the removals name"),
        (removals(L7=3), r"train_clean\.csv holds 2 images of landmark_id 7, the removals say 3"),
    ],
)
def test_removals_of_another_training_set_are_refused(tmp_path, table, message):
    with pytest.raises(CheckError, match=message):
        release(tmp_path, table)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "SHA256SUMS", "train.csv", "a b", ".x", "x\ny"])
def test_names_that_are_no_files_of_a_release_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="can't be a file of a release: it is taken, or not a plain relative name"):
        write_release(
            tmp_path / "r",
            upstream=upstream(tmp_path / "up"),
            removals=removals(),
            reasons={},
            about=ABOUT,
            extra={name: b""},
        )


def test_a_release_has_a_name_and_a_version(tmp_path):
    with pytest.raises(DataError, match="a release needs a name and a version"):
        release(tmp_path, about={})


def test_a_full_disk_says_so_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("overlap.release.write.checksums", full)
    with pytest.raises(ArtifactError, match=r"the disk is full: .*tiny-1\.0\.0 was not written"):
        release(tmp_path)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_killed_run_left_is_swept_and_a_live_one_s_is_not(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = tmp_path / "out" / f".tiny-1.0.0.{int(dead.stdout)}.abcdef01"
    live = tmp_path / "out" / f".tiny-1.0.0.{os.getpid()}.abcdef02"
    strange = tmp_path / "out" / ".tiny-1.0.0.x.y"
    huge = tmp_path / "out" / f".tiny-1.0.0.{10**30}.abcdef03"
    for draft in (left, live, strange, huge):
        draft.mkdir(parents=True)
        (draft / "train_clean.csv").write_text("half")
    made = release(tmp_path)
    assert sorted(made.parent.iterdir()) == sorted([live, strange, huge, made])


def test_applying_beside_a_release_asks_for_its_upstream_file(tmp_path, made):
    source, out = tmp_path / "up" / "train_clean.csv", tmp_path / "c.csv"
    apply_removals(made / "removals.csv", source, out)
    assert out.read_bytes() == (made / "train_clean.csv").read_bytes()
    out.unlink()
    apply_removals(made / "removals.csv", tmp_path / "up" / "train.csv", out)
    assert out.read_bytes() == (made / "train.csv").read_bytes()
    out.unlink()
    upstream(tmp_path / "up", clean=CLEAN.replace(b"9,ff", b"9,fe"))
    with pytest.raises(
        CheckError, match=r"train_clean\.csv has SHA-256 .* was made from train.* copy removals\.csv to a"
    ):
        apply_removals(made / "removals.csv", source, out)
    shutil.copy(made / "removals.csv", tmp_path / "ids.csv")
    assert apply_removals(tmp_path / "ids.csv", source, tmp_path / "free.csv")["rows_out"] == 3
    with pytest.raises(DataError, match=r"no\.csv can't be read"):
        apply_removals(made / "removals.csv", tmp_path / "no.csv", out)
    upstream(tmp_path / "up")
    edit(made / "removals.csv", "\n7,", "\n9,")
    with pytest.raises(CheckError, match=r"removals\.csv was changed: its SHA-256 is not the one in .*SHA256SUMS"):
        apply_removals(made / "removals.csv", source, out)
    (made / "SHA256SUMS").unlink()
    (made / "release.json").write_text("{}")
    with pytest.raises(CheckError, match=r"release\.json can't be read \('files'\); fetch the release again"):
        apply_removals(made / "removals.csv", source, out)
    assert not out.exists()


def test_applying_needs_ids_only(tmp_path):
    clean, _ = upstream(tmp_path)
    (tmp_path / "ids.csv").write_text("landmark_id\n7\n12\n")
    figures = apply_removals(tmp_path / "ids.csv", clean, tmp_path / "out.csv")
    assert figures == {"rows_in": 4, "rows_out": 2, "images_in": 6, "images_out": 4} | {
        "landmarks_in": 4,
        "landmarks_out": 2,
    }
    assert (tmp_path / "out.csv").read_bytes() == b"landmark_id,images\n1,aa bb cc\n9,ff\n"


def test_applying_refuses_to_overwrite_what_it_reads(tmp_path):
    clean, _ = upstream(tmp_path)
    (tmp_path / "ids.csv").write_text("landmark_id\n7\n")
    (tmp_path / "link.csv").symlink_to(clean)
    for out in (clean, tmp_path / "link.csv", tmp_path / "ids.csv"):
        with pytest.raises(DataError, match="is an input and would be overwritten"):
            apply_removals(tmp_path / "ids.csv", clean, out)
    assert clean.read_bytes() == CLEAN


def test_applying_refuses_strange_ids_and_leaves_the_old_file(tmp_path):
    clean, _ = upstream(tmp_path)
    (tmp_path / "ids.csv").write_text("landmark_id\n7\n8\n")
    (tmp_path / "out.csv").write_text("old")
    with pytest.raises(CheckError, match=r"train_clean\.csv holds no landmark_id 8, which the removals name"):
        apply_removals(tmp_path / "ids.csv", clean, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "old"


@pytest.mark.parametrize(("cell", "findings"), [("2", 0), ("7", 1)])
def test_queries_that_were_not_asked_are_those_of_release_json(tmp_path, cell, findings):
    table = f"name,n_queries,n_duplicated,n_landmarks,n_images,n_not_asked\ns,9,6,1,2,{cell}\n"
    (tmp_path / "table2.csv").write_text(f"{table}TEXT,,,0,0,\nTOTAL,9,6,1,2,2\n")
    (tmp_path / "removals.csv").write_text("landmark_id,evaluation_set,origin,n_images\n7,s,global,2\n")
    sets = {"s": {"queries": 9, "duplicated_queries": 6, "not_asked_queries": 2}}
    assert len(table_findings(tmp_path, {"evaluation_sets": sets, "files": {}})) == findings
