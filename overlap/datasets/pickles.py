"""Pickles of strangers, read without running anything: plain dicts, lists, texts and numbers only."""

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from overlap.base.errors import DataError

# The largest real one (SfM-120k) is under 20 MB.
_LIMIT_BYTES = 200_000_000


# Which values of the unpickler's stack a step hashes.
_HASHED: Mapping[bytes, slice] = MappingProxyType(
    {
        pickle.SETITEM: slice(-2, -1),
        pickle.SETITEMS: slice(None, None, 2),
        pickle.DICT: slice(None, None, 2),
        pickle.ADDITEMS: slice(None),
        pickle.FROZENSET: slice(None),
    }
)


def _checked(code: bytes) -> Callable[[Any], None]:
    """Return a step that refuses tuples where they would be hashed: a few bytes of tuples in tuples take for ever."""
    load = pickle._Unpickler.dispatch[code[0]]

    def step(unpickler: Any) -> None:
        for value in unpickler.stack[_HASHED[code]]:
            if isinstance(value, tuple | frozenset):
                raise pickle.UnpicklingError(f"a {type(value).__name__} is a key, or in a set")
        load(unpickler)

    return step


class _PlainUnpickler(pickle._Unpickler):
    dispatch: ClassVar = {**pickle._Unpickler.dispatch, **{code[0]: _checked(code) for code in _HASHED}}

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
        _check_lengths(content)
        # UTF-8, because files written by Python 2 hold byte strings.
        return _PlainUnpickler(io.BytesIO(content), encoding="utf-8").load()
    except _CodeError as error:
        raise DataError(
            f"{path}: the pickle holds code ({error}) and was not loaded; only plain lists, dicts, texts and numbers "
            f"are read; {remedy}"
        ) from None
    except Exception as error:  # the unpickler raises nearly every kind on hostile bytes
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"{path}: not a whole pickle ({reason}); {remedy}") from error


def _check_lengths(content: bytes) -> None:
    """Refuse what is cut, and a few bytes that ask the unpickler for gigabytes, before it obeys."""
    for opcode, argument, place in pickletools.genops(content):
        if opcode.name.endswith("PUT") and argument is not None and argument >= len(content):
            raise pickle.UnpicklingError(f"memo entry {argument} in {len(content)} bytes")
        if opcode.name == "FRAME" and (argument or 0) > len(content) - (place or 0):
            raise pickle.UnpicklingError(f"a frame of {argument} bytes in {len(content)}")


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
