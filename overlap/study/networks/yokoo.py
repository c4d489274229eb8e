"""Yokoo et al. 2020: the plain network of the winning solution, with batch normalisation at its end.

Source: Two-stage discriminative re-ranking for large-scale landmark retrieval, section 3.1, and its published code.
"""

from torch import Tensor, nn
from torch.nn import functional

from overlap.study.networks.backbone import Trunk
from overlap.study.networks.colours import Colours
from overlap.study.networks.pooling import GeM
from overlap.study.networks.settings import YokooSettings


class Yokoo(nn.Module):
    """Describe photos by trunk, GeM, dropout, a linear layer and batch normalisation."""

    def __init__(self, trunk: Trunk, *, dimensions: int, settings: YokooSettings) -> None:
        super().__init__()
        self.colours = Colours()
        self.trunk = trunk
        self.pool = GeM()
        self.dropout = nn.Dropout(settings.dropout)
        self.whiten = nn.Linear(trunk.channels, dimensions)
        self.norm = nn.BatchNorm1d(dimensions)
        self.dimensions = dimensions
        nn.init.xavier_normal_(self.whiten.weight)
        nn.init.zeros_(self.whiten.bias)

    def forward(self, photos: Tensor) -> Tensor:
        """Map RGB photos in 0..1, (B, 3, H, W), to (B, dimensions) unit rows."""
        pooled = self.pool(self.trunk(self.colours(photos)))
        return functional.normalize(self.norm(self.whiten(self.dropout(pooled))).float(), dim=-1)
