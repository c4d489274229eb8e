from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap.base.errors import DataError
from overlap.base.images import PhotoLimits
from overlap.descriptors.batches import batch_by_shape, grid_shape, load_scaled


def write_photo(path: Path, width: int, height: int) -> dict[str, object]:
    """Write a horizontal ramp of red and a vertical ramp of green."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    cv2.imwrite(str(path), np.stack([np.zeros_like(x), y, x], axis=-1).astype(np.uint8))
    return {"image_id": path.stem, "source": "test", "path": str(path)}


@pytest.mark.parametrize(
    ("size", "crop", "expected"),
    [
        ((800, 600), None, (400, 300)),
        ((300, 200), None, (300, 200)),
        ((800, 600), [100, 50, 300, 450], (100, 200)),
        ((600, 800), [0, 0, 600, 400], (300, 200)),
        ((300, 200), [10, 10, 40, 50], (30, 40)),
    ],
)
def test_a_crop_is_scaled_as_its_whole_photo(
    tmp_path: Path, size: tuple[int, int], crop: list[float] | None, expected: tuple[int, int]
) -> None:
    row = {**write_photo(tmp_path / "a.png", *size), "crop_px": crop}
    (pixels,) = load_scaled(row, size_px=400, scales=(1.0,), limits=PhotoLimits())
    assert (pixels.shape[1], pixels.shape[0]) == expected


def test_scales_multiply_the_size_and_show_the_same_part(tmp_path: Path) -> None:
    row = {**write_photo(tmp_path / "a.png", 640, 480), "crop_px": [160, 0, 640, 480]}
    scaled = load_scaled(row, size_px=320, scales=(0.5, 1.0, 2.0), limits=PhotoLimits())
    assert [pixels.shape[:2] for pixels in scaled] == [(120, 120), (240, 240), (480, 480)]
    for pixels in scaled:
        assert pixels[:, 0, 0].mean() == pytest.approx(255 * 160 / 640, abs=3)
        assert pixels[:, -1, 0].mean() == pytest.approx(255, abs=3)


def test_an_unreadable_photo_is_named_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"b.jpg: not a JPEG, PNG or WebP photo"):
        load_scaled({"path": str(tmp_path / "b.jpg")}, size_px=64, scales=(1.0,), limits=PhotoLimits())


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_grid_shapes_are_the_nearest_multiples(width: int, height: int) -> None:
    for side, moved in zip((width, height), grid_shape((width, height)), strict=True):
        assert moved % 16 == 0
        assert moved >= 64
        assert abs(side - moved) <= 8 or side < 64


@given(st.lists(st.integers(0, 5), max_size=80), st.integers(1, 6))
def test_batches_hold_every_item_once_with_its_own_shape(shapes: list[int], batch: int) -> None:
    items = [(number, (shape, shape)) for number, shape in enumerate(shapes)]
    seen: list[int] = []
    for shape, group in batch_by_shape(items, batch=batch):
        assert 1 <= len(group) <= batch
        assert group == sorted(group)
        assert all((shapes[number], shapes[number]) == shape for number in group)
        seen += group
    assert sorted(seen) == list(range(len(shapes)))


def test_no_more_than_eight_batches_wait() -> None:
    n_read = 0

    def items() -> object:
        nonlocal n_read
        for number in range(1000):
            n_read += 1
            yield number, (number, number)

    n_given = 0
    for _, group in batch_by_shape(items(), batch=4):
        assert n_read - n_given <= 32
        n_given += len(group)
