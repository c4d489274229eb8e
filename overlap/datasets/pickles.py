"""Pickles of strangers, read without running anything: plain dicts, lists, texts and numbers only."""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

from overlap.errors import DataError

# The largest real one (SfM-120k) is under 20 MB.
_LIMIT_BYTES = 200_000_000


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        raise _CodeError(f"{module_name}.{global_name}")


class _CodeError(Exception):
    """A pickle asks for a class or function."""


def read_plain_pickle(path: Path, *, remedy: str, limit_bytes: int = _LIMIT_BYTES) -> Any:
    """Read a pickle that holds only dicts, lists, tuples, texts and numbers.

    Args:
        path: the file, untrusted.
        remedy: how to get a good file, for the messages.

    Raises:
        DataError: the file is missing, too large, damaged, or names any class or function, which unpickling would run.
    """
    content = _read(path, limit_bytes, remedy)
    try:
        _require_small_memo(content)
        # UTF-8, because files written by Python 2 hold byte strings.
        return _PlainUnpickler(io.BytesIO(content), encoding="utf-8").load()
    except _CodeError as error:
        raise DataError(
            f"{path}: the pickle holds code ({error}) and was not loaded; only plain lists, dicts, texts and numbers "
            f"are read; {remedy}"
        ) from None
    except Exception as error:  # the unpickler raises nearly every kind on hostile bytes
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{path}: not a whole pickle ({reason}); {remedy}") from None


def _require_small_memo(content: bytes) -> None:
    """Refuse a few bytes that ask the unpickler for gigabytes, before it obeys."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name.endswith("PUT") and argument is not None and argument >= len(content):
            raise pickle.UnpicklingError(f"memo entry {argument} in {len(content)} bytes")


def _read(path: Path, limit_bytes: int, remedy: str) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit_bytes:
            raise DataError(f"{path}: {size} bytes are over the limit of {limit_bytes} for a ground truth; {remedy}")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {remedy}") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror or error}); {remedy}") from None
