"""Blocks that weigh channels or relate positions: CiDeR's backbone enhancement, and what other networks attend by."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from all channels' means.

    Source: Hu et al. 2018, equations 2 to 4.
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        self.down = nn.Linear(channels, max(1, channels // reduction))
        self.up = nn.Linear(max(1, channels // reduction), channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        gates: Tensor = self.up(self.down(features.mean(dim=(-2, -1))).relu()).sigmoid()
        return features * gates[..., None, None]


class ChannelAttention(nn.Module):
    """Compute a gate in 0..1 for each channel from its mean and its neighbours' means.

    Source: Wang et al. 2020 (ECA-Net), equation 5, with the kernel of 3 that both CiDeR and GLAM use.
    """

    def __init__(self, *, size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to gates (B, C)."""
        gates: Tensor = self.conv(features.mean(dim=(-2, -1)).unsqueeze(1)).squeeze(1).sigmoid()
        return gates


class EfficientChannel(nn.Module):
    """Scale each channel by ChannelAttention's gate."""

    def __init__(self, channels: int) -> None:  # noqa: ARG002  the blocks are built alike
        super().__init__()
        self.gates = ChannelAttention()

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        gates: Tensor = self.gates(features)
        return features * gates[..., None, None]


class GatherExcite(nn.Module):
    """Scale each channel by a gate gathered over the whole map by a filter of its own.

    Source: Hu et al. 2018 (Gather-Excite), the variant with parameters and global extent. Theirs filters with a kernel
    of the map's size, which fixes the photo's size; here a 3x3 filter's answers are averaged over the map.
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        self.gather = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.down = nn.Linear(channels, max(1, channels // reduction))
        self.up = nn.Linear(max(1, channels // reduction), channels)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        gathered = self.norm(self.gather(features)).mean(dim=(-2, -1))
        gates: Tensor = self.up(self.down(gathered).relu()).sigmoid()
        return features * gates[..., None, None]


class NonLocal(nn.Module):
    """Add to each position a mean over all positions, weighted by likeness.

    Source: Wang et al. 2018, equation 6 with the embedded Gaussian of equation 3; the last layer starts at zero.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 2, 1)
        self.key = nn.Conv2d(channels, channels // 2, 1)
        self.value = nn.Conv2d(channels, channels // 2, 1)
        self.out = zero_init(nn.Conv2d(channels // 2, channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        related = relate_positions(self.query(features), self.key(features), self.value(features), scale=1.0)
        added: Tensor = self.out(related)
        return features + added


ENHANCEMENTS: Mapping[str, Callable[[int], nn.Module]] = MappingProxyType(
    {
        "eca": EfficientChannel,
        "non_local": NonLocal,
        "gather_excite": GatherExcite,
        "se": SqueezeExcite,
    }
)


def relate_positions(query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
    """Return at each position the mean of all values, weighted by softmax(scale x query . key).

    Args:
        query: (B, C, H, W), as are key and value.
    """
    q, k, v = (part.flatten(2).transpose(1, 2) for part in (query, key, value))  # (B, H W, C)
    related = functional.scaled_dot_product_attention(q, k, v, scale=scale)
    return related.transpose(1, 2).reshape(*value.shape)


def zero_init(layer: nn.Conv2d) -> nn.Conv2d:
    """Return the layer with its weights and bias set to zero, so that a residual block starts as the identity."""
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
    return layer
