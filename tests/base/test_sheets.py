"""What is written comes back exactly; what a spreadsheet would run does not run."""

import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap.base.errors import ArtifactError, DataError
from overlap.base.sheets import csv_bytes, neutralised, read_rows, restored, write_csv

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.text(
    "'=+-@\t\r\n,\" a", max_size=6
)


def write(path, content):
    path.write_bytes(content)
    return path


@given(texts)
def test_restoring_undoes_neutralising_and_nothing_runs(text):
    assert restored(neutralised(text)) == text
    assert not neutralised(text).startswith(tuple("=+-@\t\r\n"))


@given(st.lists(st.tuples(texts, texts.filter(bool)), max_size=5))
def test_reading_gives_back_what_was_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("sheet") / "t.csv"
    columns = list(zip(*rows, strict=True)) or [(), ()]
    write_csv(path, pa.table({"a": pa.array(columns[0], pa.string()), "b": pa.array(columns[1], pa.string())}))
    assert [tuple(cells) for _, cells in read_rows(path, ("a", "b"))] == rows


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float32_survives(value):
    text = csv_bytes(pa.table({"x": pa.array([value], pa.float32())})).decode().splitlines()[1]
    assert np.float32(text) == np.float32(value)


def test_the_form_of_every_kind_of_column():
    table = pa.table(
        {
            "n": pa.array([-3, None], pa.int64()),
            "t": pa.array(["=1+1", 'say "hi", you'], pa.string()),
            "ids": pa.array([["a", "b"], None], pa.list_(pa.string())),
            "box": pa.array([[0.5, 1.0], None], pa.list_(pa.float64(), 2)),
            "at": pa.array([1, None], pa.timestamp("ms", tz="UTC")),
            "ok": pa.array([True, None], pa.bool_()),
        }
    )
    assert csv_bytes(table).decode() == (
        'n,t,ids,box,at,ok\n-3,\'=1+1,a b,0.5 1.0,1970-01-01T00:00:00.001Z,true\n,"say ""hi"", you",,,,\n'
    )


def test_columns_are_found_by_name_lines_count_and_bom_and_crlf_are_fine(tmp_path):
    path = write(tmp_path / "t.csv", b'\xef\xbb\xbfextra,b,a\r\n1,"x\r\ny",2\r\n\r\n3,4,5')
    assert list(read_rows(path, ("a", "b"), optional=("c",))) == [(2, ["2", "x\r\ny", ""]), (5, ["5", "4", ""])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\n1\n", r"t\.csv line 1: expected the column\(s\) b; found a"),
        (b"", r"t\.csv line 1: expected the column\(s\) a, b; found nothing"),
        (b"a,b,a\n", r"t\.csv line 1: column a is there more than once"),
        (b"a,b\n1,2\n\n3\n", r"t\.csv line 4: 1 cells where the header has 2"),
        (b'a,b\n1,"2\n', r"t\.csv line 2: not CSV"),
        (
            b"a,b\n1,\xff\n",
            r"t\.csv: not a readable CSV file: byte 0xFF in line 2 is not UTF-8; the file looks like Latin-1",
        ),
    ],
)
def test_a_bad_file_says_where(tmp_path, content, message):
    path = write(tmp_path / "t.csv", content)
    with pytest.raises(DataError, match=message):
        list(read_rows(path, ("a", "b")))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"t\.csv can't be read: No such file"):
        list(read_rows(tmp_path / "t.csv", ("a",)))


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(ArtifactError, match=r"no/t\.csv can't be written: No such file"):
        write_csv(tmp_path / "no" / "t.csv", pa.table({"a": [1]}))
    path = write(tmp_path / "t.csv", b"old")
    with pytest.raises(pa.ArrowNotImplementedError):
        write_csv(path, pa.table({"a": pa.array([{"x": 1}])}))
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]
    with pytest.raises(ArtifactError, match=r"t\.csv/u\.csv can't be written: Not a directory"):
        write_csv(path / "u.csv", pa.table({"a": [1]}))


def test_a_pipe_or_a_link_stays_where_a_file_is_to_be_written(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.csv").symlink_to(write(tmp_path / "t.csv", b"old"))
    with pytest.raises(ArtifactError, match=r"pipe can't be written: it is a device or a pipe; name a file"):
        write_csv(tmp_path / "pipe", pa.table({"a": [1]}))
    assert (tmp_path / "pipe").is_fifo()
    write_csv(tmp_path / "link.csv", pa.table({"a": [1]}))
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "t.csv").read_bytes() == b"a\n1\n"
