from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from overlap.base.config import DescriptorsConfig
from overlap.base.errors import ConfigError, DataError
from overlap.base.images import PhotoLimits
from overlap.descriptors.extract import Described, describe_batches, describe_photos

SIZES = [(300, 200), (320, 210), (200, 300), (64, 64), (500, 333), (310, 205), (90, 400), (300, 201)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    made: list[dict[str, object]] = []
    for number, (width, height) in enumerate(SIZES):
        pixels = cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (width, height))
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
        crop = [20, 10, 180, 150] if number == 1 else None
        made.append({"image_id": f"{number}", "source": "t", "path": str(folder / f"{number}.png"), "crop_px": crop})
    return made


def mean_colours(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe by the mean colours of the four quarters, and the size."""
    h, w = pixels.shape[0] // 2, pixels.shape[1] // 2
    quarters = [pixels[:h, :w], pixels[:h, w:], pixels[h:, :w], pixels[h:, w:]]
    return np.array([*(q.mean((0, 1)) for q in quarters), [w, h, 1]], dtype=np.float32).ravel()


def network(batch: torch.Tensor) -> torch.Tensor:
    quarters = torch.nn.functional.adaptive_avg_pool2d(batch, 3).flatten(1)
    shape = torch.tensor([[batch.shape[2] / 500, batch.shape[3] / 500]]).expand(len(batch), 2)
    return torch.cat([quarters, shape], dim=1)


def unit(vector: NDArray[np.floating]) -> NDArray[np.floating]:
    return vector / np.linalg.norm(vector)


def same(first: Described, second: Described, *, tolerance: float = 0.0) -> bool:
    return (
        first.descriptors.image_ids == second.descriptors.image_ids
        and first.quarantine.equals(second.quarantine)
        and np.allclose(first.descriptors.vectors, second.descriptors.vectors, atol=tolerance, rtol=0)
    )


def test_a_descriptor_is_the_unit_mean_of_unit_vectors_over_scales(rows: list[dict[str, object]]) -> None:
    settings = DescriptorsConfig(size_px=160, scales=(0.5, 1.0, 1.5))
    described = describe_photos(rows, embed=mean_colours, settings=settings)
    assert described.descriptors.vectors.dtype == np.float16
    for row, vector in zip(rows, described.descriptors.vectors, strict=True):
        whole = cv2.imread(str(row["path"]))[:, :, ::-1]
        factor = min(1.0, 160 / max(whole.shape[:2]))
        crop = row["crop_px"] or [0, 0, whole.shape[1], whole.shape[0]]
        part = whole[crop[1] : crop[3], crop[0] : crop[2]]
        total = np.zeros(15)
        for scale in settings.scales:
            size = (round(part.shape[1] * factor * scale), round(part.shape[0] * factor * scale))
            shrinks = size[0] * size[1] < part.shape[0] * part.shape[1]
            small = cv2.resize(part, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
            total += unit(mean_colours(small).astype(float))
        np.testing.assert_allclose(vector.astype(float), unit(total), atol=1e-3)


@pytest.mark.parametrize("scales", [(1.0,), (0.7, 1.0, 1.4)])
def test_no_result_depends_on_batch_workers_order_or_company(
    rows: list[dict[str, object]], scales: tuple[float, ...]
) -> None:
    base = DescriptorsConfig(size_px=256, scales=scales, batch=1, device="cpu")
    alone = describe_batches(rows, network=network, settings=base, workers=1)
    np.testing.assert_allclose(np.linalg.norm(alone.descriptors.vectors.astype(float), axis=1), 1, atol=2e-3)
    for batch, workers in ((2, 1), (16, 3)):
        settings = DescriptorsConfig(size_px=256, scales=scales, batch=batch, device="cpu")
        assert same(describe_batches(rows, network=network, settings=settings, workers=workers), alone, tolerance=1e-3)
    backwards = describe_batches(rows[::-1], network=network, settings=base)
    assert backwards.descriptors.image_ids == alone.descriptors.image_ids[::-1]
    assert np.array_equal(backwards.descriptors.vectors[::-1], alone.descriptors.vectors)


def test_threads_do_not_change_what_a_function_of_pixels_says(rows: list[dict[str, object]]) -> None:
    settings = DescriptorsConfig(size_px=128)
    one, three = (describe_photos(rows, embed=mean_colours, settings=settings, workers=n) for n in (1, 3))
    assert same(one, three)


def test_a_network_sees_rgb_in_0_to_1_at_multiples_of_16(rows: list[dict[str, object]], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "red.png"), np.full((100, 150, 3), (0, 0, 255), np.uint8))
    seen: list[torch.Tensor] = []

    def look(batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch)
        return network(batch)

    row = {"image_id": "r", "source": "t", "path": str(tmp_path / "red.png")}
    describe_batches([row, row, row], network=look, settings=DescriptorsConfig(batch=2, device="cpu"))
    assert [tuple(batch.shape) for batch in seen] == [(2, 3, 96, 144), (1, 3, 96, 144)]
    assert all(batch.dtype is torch.float32 for batch in seen)
    assert [channel.unique().tolist() for channel in seen[0][0]] == [[1.0], [0.0], [0.0]]


def broken(rows: list[dict[str, object]], tmp_path: Path) -> list[dict[str, object]]:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8 cut short")
    bad = {"image_id": "x1", "source": "s", "path": str(tmp_path / "bad.jpg"), "crop_px": None}
    gone = {"image_id": "x2", "source": "s", "path": str(tmp_path / "gone.jpg"), "crop_px": None}
    return [rows[0], bad, rows[3], gone]


def test_unreadable_photos_are_left_out_and_listed(rows: list[dict[str, object]], tmp_path: Path) -> None:
    settings = DescriptorsConfig(size_px=128, device="cpu")
    mixed = broken(rows, tmp_path)
    for described in (
        describe_photos(mixed, embed=mean_colours, settings=settings),
        describe_batches(mixed, network=network, settings=settings),
    ):
        assert described.descriptors.image_ids == ["0", "3"]
        listed = described.quarantine.to_pylist()
        assert [(row["image_id"], row["source"]) for row in listed] == [("x1", "s"), ("x2", "s")]
        assert listed[0]["reason"].startswith(f"{tmp_path}/bad.jpg: not a JPEG that can be opened")
        assert "gone.jpg: can't be read: No such file" in listed[1]["reason"]


def test_limits_reach_the_reader(rows: list[dict[str, object]]) -> None:
    described = describe_photos(rows[:1], embed=mean_colours, settings=DescriptorsConfig(), limits=PhotoLimits(mpx=0))
    assert "run.max_photo_mpx" in described.quarantine.to_pylist()[0]["reason"]


def test_no_photos_give_no_descriptors() -> None:
    described = describe_photos([], embed=mean_colours, settings=DescriptorsConfig())
    assert described.descriptors.image_ids == []
    assert described.descriptors.vectors.shape == (0, 0)
    assert described.quarantine.num_rows == 0


def test_a_network_that_fails_is_reported_with_the_shape(rows: list[dict[str, object]]) -> None:
    def fail(batch: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("the size of tensor a must match")

    with pytest.raises(ConfigError, match=r"failed on a batch of shape \(1, 3, 192, 304\): RuntimeError: the size of"):
        describe_batches(rows[:1], network=fail, settings=DescriptorsConfig(device="cpu"))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.ones(1, 4, 4), r"must return finite numbers of shape \(1, D\), got shape \(1, 4, 4\)"),
        (torch.tensor([[1.0, float("nan")]]), r"got shape \(1, 2\) with infinite or undefined values"),
    ],
)
def test_a_network_that_returns_something_else_is_refused(
    rows: list[dict[str, object]], output: torch.Tensor, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        describe_batches(rows[:1], network=lambda batch: output, settings=DescriptorsConfig(device="cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(rows: list[dict[str, object]]) -> None:
    def described(device: str) -> Described:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
        settings = DescriptorsConfig(size_px=128, device=device)
        return describe_batches(rows, network=model.to(device), settings=settings)

    assert same(described("cuda"), described("cpu"), tolerance=5e-3)


def test_a_network_that_does_not_take_a_photo_s_size_quarantines_it_with_the_reason(
    rows: list[dict[str, object]],
) -> None:
    def fit(size_px: tuple[int, int]) -> tuple[int, int]:
        if size_px[0] < size_px[1]:
            raise DataError(f"takes no photo of {size_px[0]} x {size_px[1]} px")
        return 64, 64

    def network(batch: torch.Tensor) -> torch.Tensor:
        assert batch.shape[2:] == (64, 64)
        return batch.mean((2, 3)) + 1

    settings = DescriptorsConfig(device="cpu")
    found = describe_batches(rows, network=network, settings=settings, fit=fit)
    assert found.descriptors.image_ids == ["0", "1", "3", "4", "5", "7"]
    assert [reason.rpartition("/")[2] for reason in found.quarantine["reason"].to_pylist()] == [
        "2.png: takes no photo of 200 x 300 px",
        "6.png: takes no photo of 90 x 400 px",
    ]


def test_a_photo_of_which_a_network_gives_zeros_is_quarantined(rows: list[dict[str, object]]) -> None:
    def dead(batch: torch.Tensor) -> torch.Tensor:
        return network(batch) * float(batch.shape[2] != 400)

    described = describe_batches(rows, network=dead, settings=DescriptorsConfig(size_px=512, device="cpu"))
    assert described.descriptors.image_ids == ["0", "1", "2", "3", "4", "5", "7"]
    assert described.quarantine["image_id"].to_pylist() == ["6"]
    assert [photo.row for photo in described.refused] == [6]
    assert str(described.refused[0].error) == (
        f"{rows[6]['path']}: the network gives zeros only, which are like no photo; look at it, or take another network"
    )


def test_a_network_that_refuses_a_batch_says_why(rows: list[dict[str, object]]) -> None:
    def refuse(batch: torch.Tensor) -> torch.Tensor:
        raise ConfigError("the exported network takes no photo of 304 x 192 px")

    with pytest.raises(ConfigError, match=r"^the exported network takes no photo of 304 x 192 px$"):
        describe_batches(rows[:1], network=refuse, settings=DescriptorsConfig(device="cpu"))
