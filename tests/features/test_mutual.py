import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.base.tables import LocalFeatures
from overlap.features import mutual
from overlap.features.mutual import find_nearest
from overlap.features.storage import pack_features, unpack_features


def stored(rng, n, *, signed):
    """Return descriptors as storage gives them back; some are alike."""
    rows = rng.normal(size=(n, 32)).astype(np.float32)
    rows = rows if signed else np.abs(rows)
    rows[rng.random(n) < 0.3] = rows[0]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ones = np.ones(n, np.float32)
    packed = pack_features([LocalFeatures(np.zeros((n, 2), np.float32), ones, ones, ones, rows, (9, 9))])
    return unpack_features(packed, 0).descriptors


@given(st.integers(0, 10_000), st.lists(st.tuples(st.integers(2, 30), st.integers(2, 30)), min_size=1, max_size=4))
@pytest.mark.parametrize("signed", [True, False])
@settings(max_examples=30, deadline=None)
def test_many_pairs_at_once_give_what_sorting_each_by_itself_gives(signed, seed, sizes):
    """At once as far as memory allows: here one or a few pairs."""
    rng = np.random.default_rng(seed)
    pairs = [tuple(stored(rng, n, signed=signed) for n in both) for both in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mutual, "_AT_ONCE", 600)
        found = find_nearest(pairs, device="cpu")
    for (query, photo), (nearest, of_query, of_photo) in zip(pairs, found, strict=True):
        cosines = query.astype(np.float64) @ photo.T.astype(np.float64)
        assert nearest.tolist() == [row.tolist().index(max(row)) for row in cosines]
        assert of_query.tolist() == np.sort(cosines, axis=1)[:, :-3:-1].tolist()
        assert of_photo.tolist() == np.sort(cosines, axis=0)[:-3:-1].T.tolist()
