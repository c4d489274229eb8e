"""Hashes against an independent transform and literal bit counts; what they outlast, on generated photos."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn

from overlap.base.errors import DataError
from overlap.base.images import decode_photo, encode_jpeg, resize_to
from overlap.search.copies import BITS, Hashes, hash_brightness, hash_photo, least_distances, search_copies

CODES = st.lists(st.integers(0, 2**64 - 1), max_size=12)


def _make_photo(seed: int, *, height: int = 300, width: int = 400):
    """Return a photo that has contrast at all scales, most at the coarse ones, as photos of the world have."""
    rng = np.random.default_rng(seed)
    photo = np.zeros((height, width, 3))
    for size in (2, 4, 8, 16, 32, 64):
        grid = rng.normal(0, 40 / size**0.5, (size, size, 3)).astype(np.float32)
        photo += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(photo + 128, 0, 255).astype(np.uint8)


def _row(path, content: bytes, box=None) -> dict:
    path.write_bytes(content)
    return {"path": str(path), "archive": None, "offset": None, "size": None, "crop_px": box}


def _hash_by_scipy(grey: np.ndarray) -> int:
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64)
    lowest = dctn(small, norm="ortho")[:8, :8].ravel()
    return int("".join("1" if each > np.median(lowest) else "0" for each in lowest), 2)


@pytest.mark.parametrize("seed", range(5))
def test_a_bit_says_whether_a_frequency_is_above_the_median(seed: int):
    grey = _make_photo(seed)[:, :, 0]
    assert hash_brightness(grey) == _hash_by_scipy(grey)


def test_it_does_so_in_noise_where_frequencies_are_alike():
    for noise in np.random.default_rng(0).integers(0, 256, (60, 32, 32), dtype=np.uint8):
        assert hash_brightness(noise) == _hash_by_scipy(noise)


def test_a_photo_without_contrast_has_one_hash_whatever_its_grey():
    hashes = {hash_brightness(np.full((90, 70), grey, np.uint8)) for grey in (1, 99, 254)}
    assert hashes == {1 << 63}


@settings(deadline=None, max_examples=60)
@given(CODES, CODES, st.integers(0, BITS), st.integers(1, 5))
def test_it_finds_the_nearest_within_so_many_bits(asked: list[int], stored: list[int], bits: int, k: int):
    names = [f"q{n // 2}" for n in range(len(asked))]
    probes = Hashes(names, np.array(asked, np.uint64))
    photos = Hashes([f"t{n}" for n in range(len(stored))], np.array(stored, np.uint64))
    query_ids, found = search_copies(probes, photos, bits=bits, k=k)
    assert query_ids == sorted(set(names), key=names.index)
    for query_id, image_ids, similarities in zip(query_ids, found.image_ids, found.similarities, strict=True):
        own = [code for code, name in zip(asked, names, strict=True) if name == query_id]
        least = sorted((min((code ^ one).bit_count() for one in own), f"t{n}") for n, code in enumerate(stored))
        expected = [pair for pair in least if pair[0] <= bits][:k]
        assert image_ids == [image_id for _, image_id in expected]
        shares = [1 - distance / 64 for distance, _ in expected]
        assert similarities[: len(expected)].tolist() == pytest.approx(shares)


def test_it_outlasts_compression_and_size_and_tells_photos_apart(tmp_path):
    photos = [_make_photo(seed) for seed in range(40)]
    codes = [hash_photo(_row(tmp_path / "a.jpg", encode_jpeg(photo, quality=95))) for photo in photos]
    for change in (lambda photo: photo, lambda photo: resize_to(photo, (170, 130))):
        again = [hash_photo(_row(tmp_path / "b.jpg", encode_jpeg(change(photo), quality=30))) for photo in photos]
        assert max((one ^ other).bit_count() for one, other in zip(codes, again, strict=True)) <= 6
    apart = [(one ^ other).bit_count() for n, one in enumerate(codes) for other in codes[:n]]
    assert min(apart) > 10


def test_a_boxed_query_has_the_hash_of_what_is_in_the_box(tmp_path):
    content = encode_jpeg(_make_photo(3), quality=95)
    boxed = hash_photo(_row(tmp_path / "a.jpg", content, box=[40.0, 30.0, 260.0, 250.0]))
    inside = decode_photo(content, crop_px=(40.0, 30.0, 260.0, 250.0))
    assert (boxed ^ hash_photo(_row(tmp_path / "b.jpg", encode_jpeg(inside, quality=95)))).bit_count() <= 4
    assert (boxed ^ hash_photo(_row(tmp_path / "a.jpg", content))).bit_count() > 10


def test_the_nearest_of_several_hashes_counts():
    photos = np.array([0b0000, 0b1110, 0b1111], np.uint64)
    assert least_distances(np.array([0b0001, 0b1111], np.uint64), photos).tolist() == [1, 1, 0]


def test_an_unreadable_photo_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.jpg: not a JPEG, PNG or WebP photo"):
        hash_photo(_row(tmp_path / "a.jpg", b"no photo"))
