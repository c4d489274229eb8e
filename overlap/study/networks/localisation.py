"""CiDeR's attentional localisation: keep what a learned attention map reaches, dim the rest.

Source: arXiv 2404.01524, equations 1 to 5. The printed clipping of the background, min(0, max(1, e)), is never positive
and contradicts its own sentence; the clip to [0, 1] is taken.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from overlap.study.networks.settings import CiderSettings


class Localisation(nn.Module):
    """Weigh the positions of a feature map by T masks of one attention map, mixed by learned weights.

    In training, backgrounds are drawn from torch's generator; in evaluation nothing is random.
    """

    thresholds: Tensor

    def __init__(self, channels: int, *, settings: CiderSettings) -> None:
        super().__init__()
        self.settings = settings
        self.score = nn.Conv2d(channels, 1, 1)
        self.alphas = nn.Parameter(torch.zeros(len(settings.thresholds)))
        self.register_buffer("thresholds", torch.tensor(settings.thresholds), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape (equation 4)."""
        masks = self.masks(self.attention(features))
        return features * fuse_masks(masks, self.alphas).unsqueeze(1).to(features.dtype)

    def attention(self, features: Tensor) -> Tensor:
        """Return the attention map, (B, H, W) float32 in [0, 1] (equation 1)."""
        return scale_to_unit(functional.softplus(self.score(features).float().squeeze(1)))

    def masks(self, attention: Tensor) -> Tensor:
        """Return the masks of (B, H, W) attention, (B, T, H, W) (equation 3)."""
        kept = self._keep(attention.unsqueeze(1), self.thresholds.view(-1, 1, 1))
        return 1 - (1 - self._background(kept)) * (1 - kept)

    def _keep(self, attention: Tensor, thresholds: Tensor) -> Tensor:
        """Return what is foreground, as 1 or, where the gate is soft, as a share."""
        settings = self.settings
        hard = (attention >= thresholds).to(attention.dtype)
        if settings.gate == "hard":
            return hard
        soft = torch.sigmoid((attention - thresholds) / settings.temperature)
        return soft if settings.gate == "soft" else hard + (soft - soft.detach())

    def _background(self, kept: Tensor) -> Tensor:
        settings = self.settings
        if not self.training:
            return kept.new_tensor(evaluation_background(settings))
        if settings.background == "fixed":
            return kept.new_tensor(settings.background_value)
        drawn = torch.randn_like(kept if settings.noise == "each_mask" else kept[:, :1])
        return (settings.noise_mean + settings.noise_deviation * drawn).clamp(0, 1)


def scale_to_unit(heat: Tensor) -> Tensor:
    """Scale each map linearly to [0, 1] (equation 2).

    Args:
        heat: (B, H, W).

    Returns:
        The scaled maps; a constant map, which tells nothing apart, becomes 1 everywhere.
    """
    low = heat.amin(dim=(-2, -1), keepdim=True)
    spread = heat.amax(dim=(-2, -1), keepdim=True) - low
    return torch.where(spread > 0, (heat - low) / torch.where(spread > 0, spread, 1.0), 1.0)


def fuse_masks(masks: Tensor, alphas: Tensor) -> Tensor:
    """Return the mean of the masks, (B, T, H, W) to (B, H, W), weighted by softplus of (T,) alphas.

    Equation 5 mixes masked features; as the features are shared, mixing the masks is the same.
    """
    weights = functional.softplus(alphas.float())
    return torch.einsum("t,bthw->bhw", weights / weights.sum(), masks)


def evaluation_background(settings: CiderSettings) -> float:
    """Return the background in evaluation: the one that is set, or the training's expected value."""
    if settings.test_background is not None:
        return settings.test_background
    if settings.background == "fixed":
        return settings.background_value
    return expected_background(settings.noise_mean, settings.noise_deviation)


def expected_background(mean: float, deviation: float) -> float:
    """Return the mean of normal noise clipped to [0, 1]."""
    low, high = (0 - mean) / deviation, (1 - mean) / deviation
    inside = _cumulative(high) - _cumulative(low)
    return mean * inside + deviation * (_density(low) - _density(high)) + 1 - _cumulative(high)


def _cumulative(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
