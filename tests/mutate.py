"""Damage bytes in seeded ways, and bound how long a reader may take over them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest


def mutations(data: bytes, *, n: int, seed: int) -> Iterator[bytes]:
    """Yield ``n`` damaged copies of the data, each with one to four changes; the same seed yields the same ones."""
    rng = Random(seed)
    for _ in range(n):
        damaged = data
        for _ in range(rng.randint(1, 4)):
            damaged = rng.choice(_CHANGES)(damaged, rng)
        yield damaged


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail the test if its body took longer."""
    start = time.perf_counter()
    yield
    took = time.perf_counter() - start
    if took > seconds:
        pytest.fail(f"took {took:.1f} s; {seconds:g} s allowed")


def _flip(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng, most=4)
    return data[:start] + bytes(byte ^ rng.randrange(1, 256) for byte in data[start:end]) + data[end:]


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randint(0, len(data))]


def _insert(data: bytes, rng: Random) -> bytes:
    start, _ = _span(data, rng)
    return data[:start] + rng.randbytes(rng.randint(1, 16)) + data[start:]


def _delete(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:]


def _blank(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + bytes(end - start) + data[end:]


def _span(data: bytes, rng: Random, most: int = 64) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(start + rng.randint(1, most), len(data))


_CHANGES: tuple[Callable[[bytes, Random], bytes], ...] = (_flip, _cut, _insert, _delete, _repeat, _blank)
