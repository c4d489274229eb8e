"""Blocks that see a wider context of each position: CiDeR's selective context, and DOLG's atrous pyramid."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn


class AtrousPyramid(nn.Module):
    """Join a 1x1 convolution, 3x3 convolutions at growing distances, and the map's mean (ASPP).

    Source: Chen et al. 2017 (DeepLabv3), as in DOLG's published code: biases instead of batch normalisation, ReLU after
    the mean's layer and after the joint.

    Args:
        width: channels of each of the five branches.
    """

    def __init__(
        self, channels: int, *, width: int, out_channels: int, dilations: tuple[int, ...] = (6, 12, 18)
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                nn.Conv2d(channels, width, 1),
                *(nn.Conv2d(channels, width, 3, padding=step, dilation=step) for step in dilations),
            ]
        )
        self.mean = nn.Conv2d(channels, width, 1)
        self.join = nn.Conv2d(width * (len(dilations) + 2), out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H, W)."""
        mean = self.mean(features.mean(dim=(-2, -1), keepdim=True)).relu()
        branches = [branch(features) for branch in self.branches]
        joined: Tensor = self.join(torch.cat([mean.expand(-1, -1, *features.shape[-2:]), *branches], dim=1)).relu()
        return joined


class SelectiveKernel(nn.Module):
    """Mix a 3x3 convolution and one at twice the distance, channel by channel, by weights computed from both.

    Source: Li et al. 2019 (SKNet), equations 1 to 6.
    """

    def __init__(self, channels: int, *, groups: int = 32, reduction: int = 16, floor: int = 32) -> None:
        super().__init__()
        width = max(channels // reduction, floor)
        self.branches = nn.ModuleList([_branch(channels, math.gcd(groups, channels), dilation) for dilation in (1, 2)])
        self.squeeze = nn.Sequential(nn.Linear(channels, width, bias=False), nn.BatchNorm1d(width), nn.ReLU())
        self.select = nn.ModuleList([nn.Linear(width, channels) for _ in self.branches])

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        seen = torch.stack([branch(features) for branch in self.branches], dim=1)  # (B, 2, C, H, W)
        summary = self.squeeze(seen.sum(dim=1).mean(dim=(-2, -1)))
        weights = torch.stack([choose(summary) for choose in self.select], dim=1).softmax(dim=1)
        return (seen * weights[..., None, None]).sum(dim=1)


def pyramid(channels: int) -> nn.Module:
    """Build an atrous pyramid that keeps the number of channels, with branches of a quarter of them."""
    return AtrousPyramid(channels, width=channels // 4, out_channels=channels)


CONTEXTS: Mapping[str, Callable[[int], nn.Module]] = MappingProxyType({"aspp": pyramid, "sk": SelectiveKernel})


def _branch(channels: int, groups: int, dilation: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())
