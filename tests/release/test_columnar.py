"""Parquet twins: the CSV's rows, ids as text."""

import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from overlap.base.errors import DataError
from overlap.release import columnar
from overlap.release.columnar import difference, parquet_name, write_parquet


def write(path, content):
    path.write_bytes(content)
    return path


def rows_of(content):
    """Read CSV with Python's csv: the oracle."""
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    for row in rows:
        row["landmark_id"] = int(row["landmark_id"])
        row |= {"images": row["images"].split()} if "images" in row else {}
    return rows


@pytest.mark.parametrize(
    "content",
    [
        b"landmark_id,images\n1,12345678901234e5 0000123456789012\n7,1234567890123456\n12,\n",
        b"landmark_id,images\n",
        b"\xef\xbb\xbflandmark_id,images\r\n 1 ,a  b\r\n\r\n02,c",
        b'id,url,landmark_id\n1,"a\nb",3\n2,"",4\r\n3,5" gun,6\n4,"""q\r",7',
        b"landmark_id\n1\n2\n3\n4\n5\n",
        "landmark_id,name\n1,Château\n2,'=x\n".encode(),
    ],
)
@pytest.mark.parametrize("n_rows", [2, 1 << 16])
def test_a_twin_holds_the_rows_of_its_csv(tmp_path, monkeypatch, content, n_rows):
    monkeypatch.setattr(columnar, "_ROWS", n_rows)
    source, target = write(tmp_path / "t.csv", content), tmp_path / parquet_name("t.csv")
    expected = rows_of(content)
    assert write_parquet(source, target) == len(expected)
    assert pq.read_table(target).to_pylist() == expected
    assert difference(source, target) is None
    first = target.read_bytes()
    write_parquet(source, target)
    assert target.read_bytes() == first


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"landmark_id": [1, 2, 3], "images": [["a"], ["b"], ["x"]]}, "t.parquet row 2 differs: .*'c'.*found .*'x'"),
        ({"landmark_id": [1, 2], "images": [["a"], ["b"]]}, r"t.parquet row 2 differs: .*found no more rows"),
        ({"landmark_id": [1, 2, 3, 4], "images": [["a"], ["b"], ["c"], []]}, "row 3 differs: expected no more rows"),
        ({"landmark_id": [1, 2, 3], "images": [["a" * 200], ["b"], ["c"]]}, r"row 0 differs: .*aaa\.\.\.$"),
        (
            {"landmark_id": ["1"], "images": [["a"]]},
            "has the columns landmark_id string, .* expected landmark_id int64",
        ),
    ],
)
def test_a_twin_that_differs_says_where(tmp_path, monkeypatch, table, message):
    monkeypatch.setattr(columnar, "_ROWS", 2)
    source = write(tmp_path / "t.csv", b"landmark_id,images\n1,a\n2,b\n3,c\n")
    number = pa.int64() if isinstance(table["landmark_id"][0], int) else pa.string()
    schema = pa.schema([pa.field("landmark_id", number, False), pa.field("images", pa.list_(pa.string()), False)])
    pq.write_table(pa.table(table, schema=schema), tmp_path / "t.parquet")
    found = difference(source, tmp_path / "t.parquet")
    assert pytest.RaisesExc(DataError, match=message).matches(DataError(found)), found


def test_a_file_that_is_no_parquet_says_so(tmp_path):
    source = write(tmp_path / "t.csv", b"landmark_id\n1\n")
    assert difference(source, write(tmp_path / "t.parquet", b"no")).startswith("t.parquet can't be read: ")


def test_a_header_alone_needs_no_line_end(tmp_path):
    assert write_parquet(write(tmp_path / "t.csv", b"landmark_id,images"), tmp_path / "t.parquet") == 0
    assert pq.read_table(tmp_path / "t.parquet").column_names == ["landmark_id", "images"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"landmark_id,x,x\n1,a,b\n", "line 1: column x is there more than once"),
        (b"landmark_id,x\n" + b"1,a\n" * 9999 + b"1,\xff\n", "can't become Parquet: .*UTF8.*; save it as CSV UTF-8"),
        (b"landmark_id,\xff\n1,a\n", "not a readable CSV file: byte 0xFF in line 1 is not UTF-8"),
    ],
)
def test_a_csv_that_can_t_become_parquet_says_why(tmp_path, content, message):
    with pytest.raises(DataError, match=r"t\.csv:? " + message):
        write_parquet(write(tmp_path / "t.csv", content), tmp_path / "t.parquet")
