"""SOLAR: second-order attention after the last two stages of the trunk.

Source: Ng et al. 2020, equation 4, and their published code (tonyngjichun/SOLAR), whose checkpoints ``convert`` reads.
The second-order loss is no part of the network.
"""

from torch import Tensor, nn
from torch.nn import functional

from overlap.base.errors import ConfigError
from overlap.study.networks.attention import relate_positions, zero_init
from overlap.study.networks.backbone import TimmTrunk, Trunk
from overlap.study.networks.colours import Colours
from overlap.study.networks.pooling import GeM
from overlap.study.networks.settings import SolarSettings


class SecondOrderAttention(nn.Module):
    """Add to each position a mean over all positions, weighted by the likeness of two projections.

    Args:
        reduction: by how much the projections are narrower than the map.
    """

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__()
        width = channels // reduction
        self.query, self.key = _projection(channels, width), _projection(channels, width)
        self.value = _kaiming(nn.Conv2d(channels, width, 1))
        self.out = zero_init(nn.Conv2d(width, channels, 1))
        self.scale = width**-0.5

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        query, key, value = self.query(features), self.key(features), self.value(features)
        added: Tensor = self.out(relate_positions(query, key, value, scale=self.scale))
        return features + added


class Solar(nn.Module):
    """Describe photos by a trunk with second-order attention, GeM and a linear layer.

    Raises:
        ConfigError: attention is to stand between stages of a timm network.
    """

    def __init__(self, trunk: Trunk, *, dimensions: int, settings: SolarSettings) -> None:
        super().__init__()
        if isinstance(trunk, TimmTrunk) and "middle" in settings.attention:
            raise ConfigError("solar: a timm backbone can't take attention in its middle; set attention = ['last']")
        self.colours = Colours()
        self.trunk = trunk
        self.middle = _attention(trunk.middle_channels, 4) if "middle" in settings.attention else nn.Identity()
        self.last = _attention(trunk.channels, 2) if "last" in settings.attention else nn.Identity()
        self.pool = GeM()
        self.whiten = nn.Linear(trunk.channels, dimensions)
        self.dimensions = dimensions

    def forward(self, photos: Tensor) -> Tensor:
        """Map RGB photos in 0..1, (B, 3, H, W), to (B, dimensions) unit rows."""
        vectors = functional.normalize(self.pool(self._features(self.colours(photos))), dim=-1)
        return functional.normalize(self.whiten(vectors).float(), dim=-1)

    def _features(self, photos: Tensor) -> Tensor:
        if isinstance(self.trunk, TimmTrunk):
            features: Tensor = self.last(self.trunk(photos))
        else:
            features = self.last(self.trunk.last(self.middle(self.trunk.middle(photos))))
        return features


def _attention(channels: int, reduction: int) -> nn.Module:
    return SecondOrderAttention(channels, reduction=reduction)


def _projection(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(_kaiming(nn.Conv2d(channels, width, 1)), nn.BatchNorm2d(width), nn.ReLU())


def _kaiming(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_normal_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
