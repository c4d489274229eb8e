import numpy as np
import pytest

from overlap.base.tables import LocalFeatures
from overlap.features.storage import FEATURE_ARRAYS, pack_features, round_features, unpack_features


def unit_rows(rng, n, *, signed, dimensions=128):
    rows = rng.normal(size=(n, dimensions)) if signed else rng.gamma(0.5, size=(n, dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make(seed, n, *, signed):
    rng = np.random.default_rng(seed)
    return LocalFeatures(
        rng.uniform(0, 99, (n, 2)).astype(np.float32),
        rng.uniform(1, 9, n).astype(np.float32),
        rng.uniform(0, 360, n).astype(np.float32),
        -np.sort(-rng.uniform(0, 1, n)).astype(np.float32),
        unit_rows(rng, n, signed=signed),
        (100, 100 + seed),
    )


@pytest.mark.parametrize("signed", [False, True])
def test_packed_features_come_back_photo_by_photo(signed, tmp_path):
    features = [make(seed, n, signed=signed) for seed, n in enumerate([5, 0, 17])]
    for name, array in pack_features(features).items():
        np.save(tmp_path / f"{name}.npy", array)
    arrays = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in FEATURE_ARRAYS}
    assert arrays["descriptors"].dtype == (np.float16 if signed else np.uint8)
    for row, wanted in enumerate(features):
        found = unpack_features(arrays, row)
        assert found.size_px == wanted.size_px
        for name in ("xy_px", "scales_px", "angles_deg", "responses"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        np.testing.assert_allclose(found.descriptors, wanted.descriptors, atol=0.5 / (2048 if signed else 256) + 1e-6)
        np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1, atol=0.01)


@pytest.mark.parametrize("signed", [False, True])
def test_rounding_twice_is_rounding_once(signed):
    once = round_features(make(3, 40, signed=signed))
    np.testing.assert_array_equal(round_features(once).descriptors, once.descriptors)


@pytest.mark.parametrize("signed", [False, True])
def test_dot_products_of_rounded_descriptors_are_exact_in_any_order(signed):
    rows = round_features(make(1, 60, signed=signed)).descriptors
    exact = rows.astype(np.float64) @ rows.astype(np.float64).T
    order = np.random.default_rng(0).permutation(rows.shape[1])
    np.testing.assert_array_equal((rows @ rows.T).astype(np.float64), exact)
    np.testing.assert_array_equal((rows[:, order] @ rows[:, order].T).astype(np.float64), exact)


@pytest.mark.parametrize("signed", [False, True])
def test_rounding_moves_no_similarity_by_more_than_a_hundredth(signed):
    plain = make(2, 200, signed=signed)
    rounded = round_features(plain).descriptors
    change = np.abs(rounded @ rounded.T - plain.descriptors @ plain.descriptors.T)
    assert change.max() < (0.002 if signed else 0.012)


def test_no_photos_at_all_can_be_packed():
    arrays = pack_features([])
    assert arrays["offsets"].tolist() == [0]
    assert arrays["descriptors"].shape == (0, 128)
