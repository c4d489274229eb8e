"""Records are split as Python's csv splits them, and joined they are the file."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.base.errors import DataError
from overlap.release.records import read_records

cells = st.text(st.sampled_from(list("ab \",\n\r'é")), max_size=5)


def csv_text(rows, *, end, quoting):
    file = io.StringIO()
    csv.writer(file, lineterminator=end, quoting=quoting).writerows(rows)
    return file.getvalue()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 99), cells, cells), max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.booleans(),
    st.booleans(),
)
def test_equals_python_s_csv_on_what_it_writes(tmp_path_factory, rows, end, quoting, bom, last_end):
    text = csv_text([("landmark_id", "images", "x"), *rows], end=end, quoting=quoting)
    content = (b"\xef\xbb\xbf" if bom else b"") + text.encode()
    content = content if last_end else content.removesuffix(end.encode())
    path = tmp_path_factory.mktemp("r") / "t.csv"
    path.write_bytes(content)
    records = list(read_records(path))
    assert b"".join(record.raw for record in records) == content
    assert [record.landmark_id for record in records] == [None, *(row[0] for row in rows)]
    assert [record.n_images for record in records] == [0, *(len(row[1].split()) for row in rows)]
    starts = [1 + content[: len(b"".join(r.raw for r in records[:n]))].count(b"\n") for n in range(len(records))]
    assert [record.line for record in records] == starts


def test_lines_are_those_of_an_editor_and_empty_ones_belong_to_nobody(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'id,url,landmark_id\nx,"a\nb",3\n\ny,"",4\r\nz,5" gun,6')
    assert [(record.line, record.landmark_id) for record in read_records(path)] == [
        (1, None),
        (2, 3),
        (4, None),
        (5, 4),
        (6, 6),
    ]
    assert [record.n_images for record in read_records(path)] == [0, 1, 0, 1, 1]


def test_a_landmark_may_have_more_images_than_csv_takes_in_a_cell(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('landmark_id,images\n1,"' + "0123456789abcdef " * 20000 + '"\n')
    limit = csv.field_size_limit()
    assert [record.n_images for record in read_records(path)] == [0, 20000]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"line 1: expected the column\(s\) landmark_id; found nothing"),
        (b"id,images\n", r"line 1: expected the column\(s\) landmark_id; found id, images"),
        (b"landmark_id,landmark_id\n", "line 1: column landmark_id is there more than once"),
        (b"landmark_id,images\n1,a\nx12,b\n", "line 3: landmark_id 'x12' is not a whole number"),
        (b"landmark_id,images\n1.0,b\n", r"line 2: landmark_id '1\.0' is not a whole number"),
        (b"landmark_id,images\n1,a,b\n", "line 2: 3 cells where the header has 2"),
        (b'landmark_id,images\n1,"a\n2,b\n', "line 2: not CSV: unexpected end of data"),
        (b'landmark_id,images\n1,"a"b\n', "line 2: not CSV"),
        (b"landmark_id,images\n1,a\r2,b\n", "line 2: a CR that ends no line; save the file with LF or CRLF"),
        (b"landmark_id,images\r1,a\r2,b\r", "line 1: a CR that ends no line"),
    ],
)
def test_a_bad_file_says_where(tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"t\.csv " + message):
        list(read_records(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"t\.csv can't be read: No such file"):
        list(read_records(tmp_path / "t.csv"))
