"""Text files that people hand in: UTF-8, with or without a byte-order mark. What another encoding is, is said."""

import codecs
import json
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_FORMATS = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh91AY&SY", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip (as spreadsheets are)"),
    (b"PAR1\x15", "Parquet"),
)


def read_text(path: Path | Traversable) -> str:
    """Read a whole text file.

    Raises:
        OSError: it can't be read.
        ValueError: it is not UTF-8; the message says what it is, and what to do.
    """
    return decode(path.read_bytes())


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file, which end with LF or CRLF.

    Raises:
        OSError: it can't be read.
        ValueError: it is not UTF-8; the message says what it is, and what to do.
    """
    lines = read_text(path).removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines] if lines != [""] else []


def read_toml(path: Path | Traversable) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        OSError: it can't be read.
        ValueError: it is not TOML in UTF-8; the message says why.
    """
    return parse_toml(read_text(path))


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: it is none.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("values within values go too deep") from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: it can't be read.
        ValueError: it is not JSON in UTF-8; the message says why.
    """
    try:
        return json.loads(read_text(path))
    except RecursionError:
        raise ValueError("values within values go too deep") from None


def decode(content: bytes, *, line: int = 1) -> str:
    """Return the text of a file, or of what begins on one of its lines, without the byte-order mark of the first.

    Raises:
        ValueError: it is not UTF-8; the message says what it is, and what to do.
    """
    form = next((name for mark, name in _FORMATS if line == 1 and content.startswith(mark)), None)
    if form is not None:
        raise ValueError(f"the file is {form}, and text in UTF-8 is expected; unpack it, or save it as text")
    encoding = _foreign(content)
    if encoding is not None:
        raise ValueError(f"the file is {encoding}, and UTF-8 is expected; save it as UTF-8")
    try:
        return content.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        at = line + content[: error.start].count(b"\n")
        raise ValueError(
            f"byte 0x{content[error.start]:02X} in line {at} is not UTF-8; the file looks like Latin-1, Windows-1252 "
            "or a damaged one; save it as UTF-8"
        ) from None


def _foreign(content: bytes) -> str | None:
    for mark, name in _MARKS:
        if content.startswith(mark):
            return name
    zeros = [byte == 0 for byte in content[:4]]
    if sum(zeros) == 3:
        return "UTF-32"
    return "UTF-16" if zeros in ([False, True] * 2, [True, False] * 2) else None
