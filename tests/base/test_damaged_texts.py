"""Damaged configs, lists and votes: refused in a sentence, in time, and never taken where a strict reader refuses."""

import csv
import io
import pickle
import tomllib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mutate import mutations, within

from overlap.base.config import load_config
from overlap.base.errors import OverlapError
from overlap.base.sheets import read_rows
from overlap.datasets.attribution import read_attributions
from overlap.datasets.columns import read_columns
from overlap.datasets.distractors import read_distractors
from overlap.datasets.gldv2 import read_gldv2_landmarks
from overlap.datasets.nc_clean import read_nc_clean_landmarks
from overlap.datasets.sfm120k import read_sfm120k_landmarks
from overlap.datasets.table import read_table_evaluation, read_table_landmarks
from overlap.decisions.policy import load_policy
from overlap.pipeline.ablate import load_ablation
from overlap.release.apply import apply_removals
from overlap.release.columnar import write_parquet
from overlap.release.paper import read_expected
from overlap.release.records import read_records
from overlap.release.tables import removals_table
from overlap.review.known import Known
from overlap.review.store import open_store
from overlap.review.votes import import_votes, read_truth

PROJECT = Path(__file__).resolve().parents[2]
COUNTS = [50, pytest.param(1000, marks=pytest.mark.long)]

CLEAN = "landmark_id,images\n" + "".join(f"{n},{n:016x} {n + 99:016x}\n" for n in range(1, 9))
CATEGORIES = 'landmark_id,category\r\n1,"http://x/Category:A,_B"\r\n7,Category:"Łódź"\r\n\r\n'
TABLE = (
    "image_id,path,landmark_id,landmark_name\r\n"
    'a 1,x/a.jpg,7,"Tour, Eiffel"\r\nb,x/b.jpg,7,"Tour, Eiffel"\r\n\r\né,y/c.jpg,41,5" gun\r\n'
)
EVALUATION = "image_id,path,x0,y0,x1,y1,is_query,landmark_id\nq,q.jpg,1,2.5,30,40,1,7\nd,d.jpg,,,,,0,\n"
VOTES = (
    "evaluation_set,query_id,image_id,landmark_id,reviewer,answer,voted_at,seconds,note,voided\n"
    's,q,a,7,ann,same,2026-01-31T12:00:00.000Z,2.5,"two\nlines, ""quoted""",\n'
    "s,q,b,7,bob,different,2026-01-31 12:00:00,1e-05,'=1+1,\n,,,41,ann,unsure,,,,\n"
    "gold:s,q,d,-3,ann,same,1970-01-01T00:00:00.001Z,,,\ns,q,a,7,ann,withdrawn,,,,wrong\n"
)
REMOVALS = (PROJECT / "data_manifests" / "demo-clean-1.0.0" / "removals.csv").read_text(encoding="utf-8")
ATTRIBUTION = 'id,url,author,license,title\na,https://x/a,"Doe, J",CC BY,"File:a ""b"".jpg"\nb,https://x/b,é,CC0,b\n'
SFM = {"train": {"cids": ["abcdef012345", "abcdef543210"], "cluster": [0, 7]}, "val": {}}
ABLATION = 'title = "é"\ncolumns = ["a"]\nreference = 0\n[[variants]]\ncells = ["x"]\n[[variants]]\ncells = ["y"]\n'


def damaged(text, n, *, seed=7):
    """Yield damaged copies, half of them of a file with a byte-order mark."""
    content = text if isinstance(text, bytes) else text.encode()
    yield from mutations(content, n=n // 2, seed=seed)
    yield from mutations(b"\xef\xbb\xbf" + content, n=n - n // 2, seed=seed + 1)


def taken(read, *, most_seconds=2):
    """Return what a reader makes of a file, None where it refuses it as it should."""
    with within(most_seconds):
        try:
            return read()
        except OverlapError:
            return None


def strict_rows(content):
    """Return header and rows as the strict reader has them, empty lines left out."""
    text = content.decode("utf-8-sig")
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    assert "\0" not in text
    assert {len(row) for row in rows} <= {len(rows[0])}
    assert len(set(rows[0])) == len(rows[0])
    return rows[0], rows[1:]


def cells_of(content, names):
    header, rows = strict_rows(content)
    return [tuple(row[header.index(name)] for name in names) for row in rows]


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize(
    ("name", "read", "whole"),
    [
        ("config.toml", load_config, (PROJECT / "flows" / "configs" / "demo.toml").read_text(encoding="utf-8")),
        (
            "policy.toml",
            load_policy,
            (PROJECT / "overlap" / "decisions" / "policies" / "strict.toml").read_text(encoding="utf-8"),
        ),
        ("ablation.toml", lambda path: load_ablation(str(path)), ABLATION),
    ],
)
def test_damaged_settings(tmp_path, n, name, read, whole):
    path = tmp_path / name
    path.write_text(whole, encoding="utf-8")
    assert read(path)
    for content in damaged(whole, n):
        path.write_bytes(content)
        if taken(lambda: read(path)) is not None:
            tomllib.loads(content.decode("utf-8-sig"))


@pytest.mark.parametrize("n", COUNTS)
def test_damaged_columns(tmp_path, n):
    path = tmp_path / "t.csv"
    names = ["image_id", "path", "landmark_name"]
    for content in damaged(TABLE, n):
        path.write_bytes(content)
        table = taken(lambda: read_columns(path, names[:2], optional=names[2:], remedy="mend"))
        if table is not None:
            found = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
            assert found == cells_of(content, table.column_names)


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize(
    ("name", "read", "whole"),
    [
        ("train_clean.csv", read_gldv2_landmarks, CLEAN),
        ("images.csv", lambda folder: read_table_landmarks(folder, "images.csv"), TABLE),
        ("e.csv", lambda folder: read_table_evaluation(folder, "e.csv", name="e").photos, EVALUATION),
        ("expected.csv", lambda folder: read_expected(folder / "expected.csv"), "table,row,column,count\n2,x,y,31\n"),
        ("truth.csv", lambda folder: read_truth(folder / "truth.csv"), "evaluation_set,query_id,landmark_id\ns,q,7\n"),
        ("elsewhere.csv", lambda folder: [*read_rows(folder / "elsewhere.csv", ("landmark_id",))], "landmark_id\n1\n"),
    ],
)
def test_damaged_lists(tmp_path, n, name, read, whole):
    (tmp_path / name).write_bytes(whole.encode())
    assert len(read(tmp_path))
    for content in damaged(whole, n):
        (tmp_path / name).write_bytes(content)
        if taken(lambda: read(tmp_path)) is not None:
            strict_rows(content)


@pytest.mark.parametrize("n", COUNTS)
def test_damaged_names(tmp_path, n):
    (tmp_path / "train_clean.csv").write_text(CLEAN)
    for content in damaged(CATEGORIES, n):
        (tmp_path / "train_label_to_category.csv").write_bytes(content)
        if taken(lambda: read_gldv2_landmarks(tmp_path)) is not None:
            strict_rows(content)


@pytest.mark.parametrize("n", COUNTS)
def test_damaged_sources_and_their_twins(tmp_path, n):
    path, twin = tmp_path / "t.csv", tmp_path / "t.parquet"
    for content in damaged(TABLE, n):
        path.write_bytes(content)
        records = taken(lambda: list(read_records(path)))
        if records is None:
            continue
        assert b"".join(record.raw for record in records) == content
        header, rows = strict_rows(content)
        place = header.index("landmark_id")
        assert [record.landmark_id for record in records if record.landmark_id is not None] == [
            int(row[place]) for row in rows
        ]
        write_parquet(path, twin)
        columns = [column.to_pylist() for column in pq.read_table(twin).columns]
        assert [tuple(map(str, row)) for row in zip(*columns, strict=True)] == [tuple(row) for row in rows]


@pytest.mark.parametrize("n", COUNTS)
def test_damaged_removal_lists(tmp_path, n):
    source, path, out = tmp_path / "train_clean.csv", tmp_path / "r.csv", tmp_path / "out.csv"
    source.write_text(CLEAN)
    for content in damaged("landmark_id,why\n3,a\n5,b\n", n):
        path.write_bytes(content)
        if taken(lambda: apply_removals(path, source, out)) is not None:
            gone = Counter(cell for (cell,) in cells_of(content, ["landmark_id"]))
            kept = [line for line in CLEAN.splitlines(keepends=True) if line.partition(",")[0] not in gone]
            assert out.read_text() == "".join(kept)


@pytest.mark.parametrize("n", COUNTS)
def test_damaged_release_lists(tmp_path, n):
    path = tmp_path / "removals.csv"
    for content in damaged(REMOVALS, n):
        path.write_bytes(content)
        with within(2):
            try:
                removals_table(path)
            except (OverlapError, ValueError):  # which 'verify-release' makes a finding of
                continue
        strict_rows(content)


@pytest.mark.parametrize("n", COUNTS)
def test_damaged_votes(tmp_path, n):
    store, path = open_store(tmp_path / "v.sqlite"), tmp_path / "v.csv"
    known = Known(
        probes={"s": {"q"}},
        photos={"s": {"d"}},
        image_ids=pa.array(["a", "b", "c"]),
        landmark_ids=pa.array([7, 7, 41]),
        now=datetime(2026, 5, 4, tzinfo=UTC),
    )
    path.write_text(VOTES, encoding="utf-8")
    assert import_votes(store, path, known=known) == 4
    for content in damaged(VOTES, n):
        path.write_bytes(content)
        before = store.read_votes().num_rows
        added = taken(lambda: import_votes(store, path, known=known))
        if added is None:
            assert store.read_votes().num_rows == before
        else:
            strict_rows(content)
    votes = store.read_votes().to_pylist()
    assert {row["landmark_id"] for row in votes} <= {7, 41, *range(-999, 0)}
    assert max(row["voted_at"] for row in votes) < known.now
    assert store.audit()[2] == []


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize(
    ("name", "read", "whole"),
    [
        (
            "annotation_clean_train.txt",
            read_nc_clean_landmarks,
            "http://x.org/a.jpg 12 0 100 5 90\nhttp://x.org/é 7 1 2 3 4\n",
        ),
        ("revisitop1m.txt", read_distractors, "a.jpg\nx/b.jpg\n"),
        ("retrieval-SfM-120k.pkl", read_sfm120k_landmarks, pickle.dumps(SFM)),
        ("a.csv", lambda folder: read_attributions(folder / "a.csv", {"a", "b"}), ATTRIBUTION),
    ],
)
def test_damaged_files_of_others(tmp_path, n, name, read, whole):
    (tmp_path / name).write_bytes(whole if isinstance(whole, bytes) else whole.encode())
    assert len(read(tmp_path))
    for content in damaged(whole, n):
        (tmp_path / name).write_bytes(content)
        if taken(lambda: read(tmp_path)) is not None and not isinstance(whole, bytes) and name != "a.csv":
            content.decode("utf-8-sig")
