"""Random crops and lights, drawn for a whole batch at once and applied on the device that trains.

Draws come from a generator of their own on the CPU, so that a step's photos don't depend on the device, on the number
of processes, or on what was drawn before. The arithmetic is compared with kornia's in the tests.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from overlap.base.config import TrainingConfig

_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class Draw:
    """Hold what is done to each photo of a batch.

    Args:
        boxes: (B, 4) crop x0, y0, x1, y1 as shares of width and height.
        flips: (B,) bool, mirrored or not.
        brightness: (B,) factors.
        contrast: (B,) factors.
    """

    boxes: Tensor
    flips: Tensor
    brightness: Tensor
    contrast: Tensor

    def part(self, rows: slice) -> "Draw":
        """Return the draws of some photos of the batch."""
        return Draw(self.boxes[rows], self.flips[rows], self.brightness[rows], self.contrast[rows])


def draw(batch: int, *, settings: TrainingConfig, generator: torch.Generator) -> Draw:
    """Draw for a batch: each side of a crop is between ``1 - crop`` and 1 of the photo's, anywhere inside it."""
    sides = 1 - settings.crop * torch.rand(batch, 2, generator=generator)
    corners = (1 - sides) * torch.rand(batch, 2, generator=generator)
    flips = torch.rand(batch, generator=generator) < (0.5 if settings.flip else 0.0)
    brightness = 1 + settings.brightness * (2 * torch.rand(batch, generator=generator) - 1)
    contrast = 1 + settings.contrast * (2 * torch.rand(batch, generator=generator) - 1)
    return Draw(torch.cat([corners, corners + sides], dim=1), flips, brightness, contrast)


def augment(photos: Tensor, drawn: Draw) -> Tensor:
    """Crop, mirror and light photos.

    Args:
        photos: (B, 3, H, W) float, 0..1.

    Returns:
        (B, 3, H, W) in 0..1: crops are scaled back to the photo's size, bilinear.
    """
    lit = _light(_crop(photos, drawn.boxes, drawn.flips), drawn.brightness, drawn.contrast)
    return lit.clamp(0, 1)


def _crop(photos: Tensor, boxes: Tensor, flips: Tensor) -> Tensor:
    boxes = boxes.to(photos)
    low, high = boxes[:, :2], boxes[:, 2:]
    scales, centres = high - low, low + high - 1  # from shares to the range -1 to 1
    theta = photos.new_zeros(len(photos), 2, 3)
    theta[:, 0, 0] = torch.where(flips.to(photos.device), -scales[:, 0], scales[:, 0])
    theta[:, 1, 1] = scales[:, 1]
    theta[:, :, 2] = centres
    grid = functional.affine_grid(theta, list(photos.shape), align_corners=False)
    return functional.grid_sample(photos, grid, padding_mode="border", align_corners=False)


def _light(photos: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
    brightness, contrast = (factors.to(photos).view(-1, 1, 1, 1) for factors in (brightness, contrast))
    lit = (photos * brightness).clamp(0, 1)
    weights = photos.new_tensor(_GREY).view(1, 3, 1, 1)
    grey = (lit * weights).sum(dim=1, keepdim=True).mean(dim=(-2, -1), keepdim=True)
    return grey + contrast * (lit - grey)
