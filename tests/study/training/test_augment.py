import kornia
import torch

from overlap.base.config import TrainingConfig
from overlap.study.training.augment import Draw, augment, draw

SETTINGS = TrainingConfig(crop=0.3, brightness=0.2, contrast=0.4, flip=True)


def photos(batch: int = 5, height: int = 40, width: int = 64) -> torch.Tensor:
    return torch.rand((batch, 3, height, width), generator=torch.Generator().manual_seed(1))


def nothing(batch: int) -> Draw:
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(batch, 1)
    return Draw(whole, torch.zeros(batch, dtype=torch.bool), torch.ones(batch), torch.ones(batch))


def test_nothing_drawn_changes_nothing() -> None:
    torch.testing.assert_close(augment(photos(), nothing(5)), photos(), atol=1e-5, rtol=0)


def test_lights_are_kornia_s() -> None:
    factors = torch.tensor([0.8, 0.9, 1.0, 1.1, 1.2])
    plain = nothing(5)
    lit = augment(photos(), Draw(plain.boxes, plain.flips, factors, plain.contrast))
    torch.testing.assert_close(lit, kornia.enhance.adjust_brightness_accumulative(photos(), factors), atol=1e-5, rtol=0)
    found = augment(photos(), Draw(plain.boxes, plain.flips, plain.brightness, factors))
    expected = kornia.enhance.adjust_contrast_with_mean_subtraction(photos(), factors)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_crops_on_whole_pixels_are_kornia_s() -> None:
    left, top, right, bottom = 10, 6, 54, 34
    plain = nothing(1)
    box = torch.tensor([[left / 64, top / 40, right / 64, bottom / 40]])
    found = augment(photos(1), Draw(box, plain.flips, plain.brightness, plain.contrast))
    cut = photos(1)[:, :, top:bottom, left:right]
    expected = torch.nn.functional.interpolate(cut, (40, 64), mode="bilinear", align_corners=False)
    inner = (..., slice(2, -2), slice(2, -2))  # at the rim ours sees the pixels beyond the box
    torch.testing.assert_close(found[inner], expected[inner], atol=1e-5, rtol=0)
    resized = kornia.geometry.transform.resize(cut, (40, 64), align_corners=False)
    torch.testing.assert_close(found[inner], resized[inner], atol=1e-5, rtol=0)


def test_flips_mirror() -> None:
    plain = nothing(2)
    drawn = Draw(plain.boxes, torch.tensor([True, False]), plain.brightness, plain.contrast)
    found = augment(photos(2), drawn)
    torch.testing.assert_close(found[0], photos(2)[0].flip(-1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1], photos(2)[1], atol=1e-5, rtol=0)


def test_draws_stay_in_their_ranges_and_use_them() -> None:
    drawn = draw(4000, settings=SETTINGS, generator=torch.Generator().manual_seed(0))
    sides = drawn.boxes[:, 2:] - drawn.boxes[:, :2]
    assert 0 <= drawn.boxes.min() <= drawn.boxes.max() <= 1 + 1e-6
    assert 0.7 <= sides.min() < 0.71
    assert 0.99 < sides.max() <= 1 + 1e-6
    for factors, spread in ((drawn.brightness, 0.2), (drawn.contrast, 0.4)):
        assert 1 - spread <= factors.min() < 1 - 0.95 * spread
        assert 1 + 0.95 * spread < factors.max() <= 1 + spread
    assert 0.45 < drawn.flips.float().mean() < 0.55
    still = draw(50, settings=SETTINGS.model_copy(update={"flip": False}), generator=torch.Generator())
    assert not still.flips.any()


def test_a_part_of_a_draw_belongs_to_a_part_of_the_batch() -> None:
    drawn = draw(5, settings=SETTINGS, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(augment(photos()[1::2], drawn.part(slice(1, None, 2))), augment(photos(), drawn)[1::2])
