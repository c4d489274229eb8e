"""GLAM: local and global attention, each over channels and over positions.

Source: Song, Han, Avrithis 2022 (arXiv 2107.08000), section 3. No code of its authors is public. The axis of the
softmax over channels isn't said; here every channel's weights over the others add up to 1. The local branch's
distances are those of the text (1, 2, 3), not of its figure (1, 3, 5).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from overlap.study.networks.attention import ChannelAttention, relate_positions
from overlap.study.networks.backbone import Trunk
from overlap.study.networks.colours import Colours
from overlap.study.networks.pooling import GeM
from overlap.study.networks.settings import GlamSettings


class LocalAttention(nn.Module):
    """Weigh channels by their neighbours' means, and positions by their surroundings."""

    def __init__(self, channels: int, *, width: int) -> None:
        super().__init__()
        self.gates = ChannelAttention()
        self.reduce = nn.Conv2d(channels, width, 1)
        self.surroundings = nn.ModuleList(
            [nn.Conv2d(width, width, 3, padding=step, dilation=step) for step in (1, 2, 3)]
        )
        self.score = nn.Conv2d(4 * width, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        by_channel: Tensor = features * self.gates(features)[..., None, None] + features
        reduced = self.reduce(features)
        seen = torch.cat([reduced, *(conv(reduced) for conv in self.surroundings)], dim=1)
        by_position: Tensor = self.score(seen)
        return by_channel * by_position + by_channel


class GlobalAttention(nn.Module):
    """Relate all channels to each other, and all positions to each other."""

    def __init__(self, channels: int, *, width: int) -> None:
        super().__init__()
        self.channel_query, self.channel_key = ChannelAttention(), ChannelAttention()
        self.query = nn.Conv2d(channels, width, 1)
        self.key = nn.Conv2d(channels, width, 1)
        self.value = nn.Conv2d(channels, width, 1)
        self.out = nn.Conv2d(width, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        by_channel = features * self._relate_channels(features)
        related = relate_positions(self.query(features), self.key(features), self.value(features), scale=1.0)
        by_position: Tensor = self.out(related)
        return by_channel * by_position + by_channel

    def _relate_channels(self, features: Tensor) -> Tensor:
        """Return for each channel a mean of all channels' maps, weighted by softmax of the gates' product."""
        query, key = self.channel_query(features), self.channel_key(features)
        weights = (query.unsqueeze(2) * key.unsqueeze(1)).softmax(dim=-1)  # (B, C, C), a row a channel
        return torch.bmm(weights.to(features.dtype), features.flatten(2)).view_as(features)


class Glam(nn.Module):
    """Describe photos by a trunk, a learned mean of local attention, global attention and neither, and GeM."""

    def __init__(self, trunk: Trunk, *, dimensions: int, settings: GlamSettings) -> None:
        super().__init__()
        channels, width = trunk.channels, max(1, trunk.channels // 4)
        names = {"all": ("local", "global"), "none": ()}.get(settings.attention, (settings.attention,))
        self.colours = Colours()
        self.trunk = trunk
        self.local_attention = LocalAttention(channels, width=width) if "local" in names else None
        self.global_attention = GlobalAttention(channels, width=width) if "global" in names else None
        self.shares = nn.Parameter(torch.zeros(1 + len(names))) if names else None
        self.pool = GeM()
        self.whiten = nn.Linear(channels, dimensions)
        self.dropout = nn.Dropout(settings.dropout)
        self.norm = nn.BatchNorm1d(dimensions)
        self.dimensions = dimensions

    def forward(self, photos: Tensor) -> Tensor:
        """Map RGB photos in 0..1, (B, 3, H, W), to (B, dimensions) unit rows."""
        features = self.trunk(self.colours(photos))
        branches = [block(features) for block in (self.local_attention, self.global_attention) if block is not None]
        vectors = self.norm(self.dropout(self.whiten(self.pool(self._mix([*branches, features])))))
        return functional.normalize(vectors.float(), dim=-1)

    def _mix(self, maps: list[Tensor]) -> Tensor:
        """Return the mean of the maps, weighted by the softmax of what is learned; one map as it is."""
        if self.shares is None:
            return maps[0]
        return torch.einsum("n,nbchw->bchw", self.shares.softmax(dim=0), torch.stack(maps))
