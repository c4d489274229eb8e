"""Every reader of a CSV takes and refuses the same: the training lists, a release's source and list, and votes."""

import re

import pytest

from overlap.base.errors import DataError
from overlap.datasets.gldv2 import read_gldv2_landmarks
from overlap.datasets.table import read_table_evaluation, read_table_landmarks
from overlap.release.apply import read_removed
from overlap.release.columnar import write_parquet
from overlap.release.records import read_records
from overlap.review.store import open_store
from overlap.review.votes import import_votes

GLDV2 = b"landmark_id,images\n1,00000000000000aa\n2,00000000000000ab 00000000000000ac\n"
TABLE = b"image_id,path,landmark_id\na,a.jpg,1\nb,b.jpg,2\n"
LIST = b"landmark_id,name\n2,x\n"
VOTES = b"landmark_id,evaluation_set,query_id,image_id,reviewer,answer\n1,,,,ann,same\n2,,,,ann,same\n"
READERS = ("gldv2", "categories", "table", "evaluation", "source", "list", "parquet", "votes")


def read(reader, folder, change, store):
    """Let a reader read a file of its own kind, changed."""
    path = folder / "t.csv"
    if reader == "gldv2":
        (folder / "train_clean.csv").write_bytes(change(GLDV2))
        read_gldv2_landmarks(folder)
    elif reader == "categories":
        (folder / "train_clean.csv").write_bytes(GLDV2)
        (folder / "train_label_to_category.csv").write_bytes(change(b"landmark_id,category\n1,a\n2,b\n"))
        read_gldv2_landmarks(folder)
    elif reader in ("table", "evaluation"):
        path.write_bytes(change(TABLE))
        if reader == "table":
            read_table_landmarks(folder, path.name)
        else:
            read_table_evaluation(folder, path.name, name="set")
    elif reader == "list":
        path.write_bytes(change(LIST))
        read_removed(path)
    elif reader == "votes":
        path.write_bytes(change(VOTES))
        import_votes(store, path)
    else:
        path.write_bytes(change(TABLE))
        assert b"".join(record.raw for record in read_records(path)) == path.read_bytes()
        if reader == "parquet":
            write_parquet(path, folder / "t.parquet")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return open_store(tmp_path_factory.mktemp("votes") / "v.sqlite")


TAKEN = {
    "as it is": lambda text: text,
    "CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "a byte-order mark": lambda text: b"\xef\xbb\xbf" + text,
    "mark and CRLF": lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"),
    "no last line end": lambda text: text.removesuffix(b"\n"),
    "a blank last line": lambda text: text + b"\n",
    "blank last lines with CRLF": lambda text: text.replace(b"\n", b"\r\n") + b"\r\n\r\n",
    "a blank line in the middle": lambda text: text.replace(b"\n", b"\n\n"),
    "a blank first line": lambda text: b"\n" + text,
    "quotes": lambda text: re.sub(rb"([^,\n]+)", rb'"\1"', text),
}
REFUSED = {
    "CR line ends": (lambda text: text.replace(b"\n", b"\r"), "line 1: a CR that ends no line; save the file with LF"),
    "a CR in a line": (lambda text: text.replace(b"\n2", b"\r2").replace(b"\nb", b"\rb"), "a CR that ends no line"),
    "two CR": (lambda text: text.replace(b"\n", b"\r\r\n"), "line 1: a CR that ends no line"),
    "two CR after a quote": (
        lambda text: text[:-1] + b"\r\n" + re.sub(rb"([^,\n]+)", rb'"\1"', text.split(b"\n")[1]) + b"\r\r\n",
        "a CR",
    ),
    "CR line ends and quotes": (
        lambda text: re.sub(rb"([^,\n]+)", rb'"\1"', text).replace(b"\n", b"\r"),
        "line 1: a CR that ends no line",
    ),
    "a column twice": (
        lambda text: text.replace(b"landmark_id", b"landmark_id,landmark_id", 1),
        "line 1: column landmark_id",
    ),
    "another column twice": (lambda text: text.replace(b"\n", b",x,x\n"), "line 1: column x is there more than once"),
    "a blank after a name": (
        lambda text: text.replace(b"landmark_id", b"landmark_id ", 1),
        r"line 1: expected the column\(s\) landmark_id; found .*'landmark_id '",
    ),
    "a tab before a name": (
        lambda text: text.replace(b"landmark_id", b"\tlandmark_id", 1),
        r"line 1: expected the column\(s\) landmark_id; found .*'\\tlandmark_id'",
    ),
    "semicolons": (
        lambda text: text.replace(b",", b";"),
        r"line 1: expected the column\(s\) .*; commas separate columns, not ';'",
    ),
    "tabs": (lambda text: text.replace(b",", b"\t"), r"line 1: .*; commas separate columns, not '\\t'"),
    "a cell too many": (lambda text: text.removesuffix(b"\n") + b",\n", "line [23]: [3-7] cells where the header has"),
    "a cell too few": (lambda text: text + b"7\n", "line [34]: 1 cells where the header has"),
    "blanks on a line": (lambda text: text + b"  \n", "line [34]: 1 cells where the header has"),
    "an open quote": (
        lambda text: text.removesuffix(b"\n") + b'\n"',
        "line [34]: not CSV: unexpected end of data; look",
    ),
    "a quote that ends early": (lambda text: text.removesuffix(b"\n") + b'\n"a"b,1\n', "line [34]: not CSV"),
    "a NUL": (lambda text: text[:-1] + b"\0\n", "line [23]: a NUL byte, which no text holds; save"),
    "a hole": (lambda text: text[:-4] + b"\0\0\0\n", "line [23]: a NUL byte"),
    "Latin-1": (lambda text: text[:-1] + b"\xe9\n", "byte 0xE9 in line [23] is not UTF-8; the file looks like Latin-1"),
    "UTF-16": (lambda text: text.decode().encode("utf-16"), "the file is UTF-16, and UTF-8 is expected; save it as"),
    "UTF-16 unmarked": (lambda text: text.decode().encode("utf-16-le"), "the file is UTF-16"),
    "UTF-16 big": (lambda text: text.decode().encode("utf-16-be"), "the file is UTF-16"),
    "UTF-32": (lambda text: text.decode().encode("utf-32"), "the file is UTF-32"),
    "UTF-32 unmarked": (lambda text: text.decode().encode("utf-32-be"), "the file is UTF-32"),
    "nothing": (lambda text: b"", r"line 1: expected the column\(s\) .*; found nothing"),
    "blank lines alone": (lambda text: b"\n\n", r"line 1: expected the column\(s\) .*; found nothing"),
    **{
        f"landmark_id {wrong!r}": (
            lambda text, wrong=wrong: re.sub(rb"(^|,)2(?=,|\n)", rb"\g<1>" + wrong.encode(), text, flags=re.M),
            "line|row",
        )
        for wrong in ("-1", "+5", "007", "1e3", " 5", "5 ", "٣", "1.0", "", "1_0", "9" * 19)
    },
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("change", TAKEN)
def test_all_readers_take(tmp_path, store, reader, change):
    read(reader, tmp_path, TAKEN[change], store)


@pytest.mark.parametrize(
    ("reader", "change"),
    [
        (reader, change)
        for reader in READERS
        for change, (_, message) in REFUSED.items()
        if reader != "evaluation" or "landmark_id" not in change + message  # which an evaluation set does not need
    ],
)
def test_all_readers_refuse(tmp_path, store, reader, change):
    damage, message = REFUSED[change]
    with pytest.raises(DataError, match=message):
        read(reader, tmp_path, damage, store)


@pytest.mark.parametrize(
    ("header", "read"),
    [
        (VOTES.decode().partition("\n")[0] + ",voted_at ", lambda path: import_votes(None, path)),
        ("landmark_id, images", read_removed),
        ("image_id,path,Is_Query", lambda path: read_table_evaluation(path.parent, path.name, name="set")),
        ("image_id,path,landmark_id,\u200blandmark_name", lambda path: read_table_landmarks(path.parent, path.name)),
        ("image_id,path,is_query\t", lambda path: read_table_evaluation(path.parent, path.name, name="set")),
        ("image_id,path,landmark_id,landmark_name\u00a0", lambda path: read_table_landmarks(path.parent, path.name)),
    ],
)
def test_an_optional_column_under_nearly_its_name_is_not_passed_over(tmp_path, header, read):
    (tmp_path / "t.csv").write_text(f"{header}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"t\.csv line 1: column '.*' is not written '[a-z_0-9]+'; rename it"):
        read(tmp_path / "t.csv")


def test_a_column_like_an_optional_one_may_stand_beside_it(tmp_path):
    (tmp_path / "t.csv").write_text("landmark_id,images,Images\n1,a b,7\n", encoding="utf-8")
    assert [record.n_images for record in read_records(tmp_path / "t.csv")] == [0, 2]
