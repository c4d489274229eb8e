"""DOLG: what local features add to the global vector, at a right angle to it.

Source: Yang et al. 2021, equations 1 to 4, and their published code (feymanpriv/DOLG), whose checkpoints ``convert``
reads. Its loss, close to CurricularFace, is no part of the network.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from overlap.study.networks.backbone import Trunk
from overlap.study.networks.colours import Colours
from overlap.study.networks.context import AtrousPyramid
from overlap.study.networks.pooling import GeM
from overlap.study.networks.settings import DolgSettings


class LocalBranch(nn.Module):
    """Give each position a feature of unit length, times its attention."""

    def __init__(self, channels: int, *, settings: DolgSettings) -> None:
        super().__init__()
        self.pyramid = (
            AtrousPyramid(channels, width=channels // 2, out_channels=channels)
            if settings.multi_atrous
            else nn.Identity()
        )
        self.conv = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        self.score = nn.Conv2d(channels, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape, in float32."""
        found = self.norm(self.conv(self.pyramid(features)))
        attention = functional.softplus(self.score(found.relu()).float())
        return attention * functional.normalize(found.float(), dim=1)


class Dolg(nn.Module):
    """Describe photos by GeM on the last feature map and the orthogonal part of local features on the one before."""

    def __init__(self, trunk: Trunk, *, dimensions: int, settings: DolgSettings) -> None:
        super().__init__()
        width = trunk.middle_channels
        self.colours = Colours()
        self.trunk = trunk
        self.local_branch = LocalBranch(width, settings=settings)
        self.pool = GeM()
        self.reduce = nn.Linear(trunk.channels, width)
        self.whiten = nn.Linear(2 * width, dimensions)
        self.dimensions = dimensions

    def forward(self, photos: Tensor) -> Tensor:
        """Map RGB photos in 0..1, (B, 3, H, W), to (B, dimensions) unit rows."""
        middle, last = self.trunk.maps(self.colours(photos))
        whole = self.reduce(self.pool(last)).float()
        # The mean is linear: taken before the projection, it saves projecting every position.
        added = remove_projection(self.local_branch(middle).mean(dim=(-2, -1)), whole)
        return functional.normalize(self.whiten(torch.cat([whole, added], dim=-1)).float(), dim=-1)


def remove_projection(vectors: Tensor, axes: Tensor) -> Tensor:
    """Return the part of each of (B, C) vectors that is orthogonal to its axis, (B, C)."""
    lengths = axes.square().sum(dim=-1, keepdim=True).clamp(min=torch.finfo(axes.dtype).tiny)
    return vectors - (vectors * axes).sum(dim=-1, keepdim=True) / lengths * axes
