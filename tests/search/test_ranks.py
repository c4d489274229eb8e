"""Ranks against a literal count, and against the rank that exact search gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.base.tables import Descriptors
from overlap.search.exact import search_exact
from overlap.search.ranks import count_above


def _unit(rng: np.random.Generator, n: int) -> np.ndarray:
    rows = rng.standard_normal((n, 8))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def _shards(vectors: np.ndarray, size: int) -> list[Descriptors]:
    names = [f"t{n:03}" for n in range(len(vectors))]
    return [Descriptors(names[at : at + size], vectors[at : at + size]) for at in range(0, len(vectors), size)]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(0, 3), st.integers(0, 40), st.integers(1, 9), st.integers(1, 9))
def test_a_rank_is_how_many_photos_are_more_similar(seed: int, q: int, n: int, size: int, block: int):
    rng = np.random.default_rng(seed)
    probes, photos, planted = _unit(rng, q), _unit(rng, n), _unit(rng, 5).astype(np.float64)
    similarities = [planted[:p] @ probe.astype(np.float64) for p, probe in enumerate(probes)]
    found = count_above(list(probes), similarities, _shards(photos, size), block=block)
    for probe, own, ranks in zip(probes.astype(np.float64), similarities, found, strict=True):
        assert ranks.tolist() == [sum(float(row @ probe) > value for row in photos.astype(np.float64)) for value in own]


@pytest.mark.parametrize("seed", range(3))
def test_a_photo_of_the_set_has_the_rank_that_search_gives_it(seed: int):
    rng = np.random.default_rng(seed)
    probes, photos = _unit(rng, 4), _unit(rng, 60)
    found = search_exact(Descriptors(list("abcd"), probes), _shards(photos, 7), k=60)
    similarities = [photos.astype(np.float64) @ probe.astype(np.float64) for probe in probes]
    ranks = count_above(list(probes), similarities, _shards(photos, 13))
    for image_ids, own in zip(found.image_ids, ranks, strict=True):
        assert [own[int(name[1:])] for name in image_ids] == list(range(60))
