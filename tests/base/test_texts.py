"""Text files that people hand in: a byte-order mark is passed over, another encoding is named."""

import bz2
import codecs
import gzip
import json
import lzma

import pytest

from overlap.base.config import load_config
from overlap.base.errors import ConfigError, DataError
from overlap.base.texts import parse_toml, read_json, read_lines, read_text, read_toml
from overlap.datasets.distractors import read_distractors
from overlap.datasets.nc_clean import read_nc_clean_landmarks
from overlap.decisions.policy import load_policy
from overlap.pipeline.ablate import load_ablation
from overlap.release.apply import read_removed
from overlap.release.paper import compare_tables

CONFIG = """# Łukasz
store = "store"
[train]
format = "gldv2"
root = "."
[[evaluation]]
format = "revisited"
name = "tiny"
root = "."
"""
POLICY = """name = "own"
version = "1"
description = "é"
evidence = "votes"
per_query = "all"
text = true
"""
ABLATION = """title = "é"
columns = ["a"]
reference = 0
[[variants]]
cells = ["x"]
[[variants]]
cells = ["y"]
"""
LIST = "http://x.org/a.jpg 12 0 100 5 90\n"
READERS = {
    "config": (load_config, "c.toml", CONFIG),
    "policy": (load_policy, "p.toml", POLICY),
    "ablation": (lambda path: load_ablation(str(path)), "a.toml", ABLATION),
    "nc_clean": (lambda path: read_nc_clean_landmarks(path.parent), "annotation_clean_train.txt", LIST),
    "distractors": (lambda path: read_distractors(path.parent), "revisitop1m.txt", "a.jpg\nb.jpg\n"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_is_passed_over(tmp_path, reader, end):
    read, name, text = READERS[reader]
    (tmp_path / name).write_bytes(text.replace("\n", end).encode())
    plain = read(tmp_path / name)
    (tmp_path / name).write_bytes(codecs.BOM_UTF8 + text.replace("\n", end).encode())
    assert read(tmp_path / name) == plain


ENCODINGS = {
    "utf-16": "the file is UTF-16, and UTF-8 is expected; save it as UTF-8",
    "utf-16-le": "the file is UTF-16",
    "utf-16-be": "the file is UTF-16",
    "utf-32": "the file is UTF-32",
    "utf-32-le": "the file is UTF-32",
    "utf-32-be": "the file is UTF-32",
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_another_encoding_is_named_with_the_file_and_the_remedy(tmp_path, reader, encoding):
    read, name, text = READERS[reader]
    (tmp_path / name).write_bytes(text.encode(encoding))
    with pytest.raises((ConfigError, DataError), match=f"{name}.*{ENCODINGS[encoding]}"):
        read(tmp_path / name)


@pytest.mark.parametrize("reader", READERS)
def test_latin_1_is_named_with_its_line(tmp_path, reader):
    read, name, text = READERS[reader]
    (tmp_path / name).write_bytes(text.encode() + b"#\xe9\n")
    at = 1 + text.count("\n")
    with pytest.raises(
        (ConfigError, DataError), match=f"{name}.*byte 0xE9 in line {at} is not UTF-8; .*save it as UTF"
    ):
        read(tmp_path / name)


def test_values_that_go_too_deep_are_a_wrong_file(tmp_path):
    path = tmp_path / "deep"
    path.write_text("x = " + "[" * 100_000)
    with pytest.raises(ValueError, match="go too deep"):
        read_toml(path)
    with pytest.raises(ConfigError, match="not a readable TOML file: values within values go too deep"):
        load_config(path)
    with pytest.raises(ValueError, match="go too deep"):
        parse_toml(path.read_text())
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="go too deep"):
        read_json(path)


def test_a_number_of_very_many_digits_is_a_wrong_file(tmp_path):
    (tmp_path / "c.toml").write_text(CONFIG + "[search]\nk = " + "9" * 5000)
    with pytest.raises(ConfigError, match="not a readable TOML file: Exceeds the limit"):
        load_config(tmp_path / "c.toml")


def test_a_release_that_goes_too_deep_is_no_release(tmp_path):
    from overlap.base.errors import CheckError

    (tmp_path / "release.json").write_text("[" * 100_000)
    with pytest.raises(CheckError, match="holds no release that can be read: values within values go too deep"):
        compare_tables(tmp_path, {})


def test_json_is_read_with_a_mark_too(tmp_path):
    (tmp_path / "x").write_bytes(codecs.BOM_UTF8 + json.dumps({"é": 1}).encode())
    assert read_json(tmp_path / "x") == {"é": 1}


def test_lines_end_with_lf_or_crlf_alone(tmp_path):
    (tmp_path / "x").write_bytes("a\x0bb\u2028c\r\n\nd".encode())
    assert read_lines(tmp_path / "x") == ["a\x0bb\u2028c", "", "d"]
    (tmp_path / "x").write_bytes(b"")
    assert read_lines(tmp_path / "x") == []
    assert read_text(tmp_path / "x") == ""


def test_a_path_with_a_nul_is_refused(tmp_path):
    (tmp_path / "c.toml").write_text(CONFIG.replace('root = "."', 'root = "a\\u0000b"', 1))
    with pytest.raises(ConfigError, match=r"train\.root: no path holds the character NUL"):
        load_config(tmp_path / "c.toml")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (gzip.compress(b"landmark_id\n1\n", mtime=0), "gzip"),
        (bz2.compress(b"landmark_id\n1\n"), "bzip2"),
        (lzma.compress(b"landmark_id\n1\n"), "xz"),
        (bytes.fromhex("28b52ffd0458"), "zstd"),
        (b"PK\x03\x04\x14\x00", r"zip \(as spreadsheets are\)"),
        (b"PAR1\x15\x04\x15\x0e", "Parquet"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, content, kind):
    (tmp_path / "t.csv").write_bytes(content)
    message = f"the file is {kind}, and text in UTF-8 is expected; unpack it, or save it as text"
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path / "t.csv")
    with pytest.raises(DataError, match=message):
        read_removed(tmp_path / "t.csv")
