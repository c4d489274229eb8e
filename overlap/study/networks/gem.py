"""A trunk with generalised-mean pooling: the plain retrieval network the compared methods start from."""

from torch import Tensor, nn
from torch.nn import functional

from overlap.study.networks.backbone import Trunk
from overlap.study.networks.colours import Colours
from overlap.study.networks.pooling import GeM


class GemNetwork(nn.Module):
    """Describe photos by trunk, GeM and, where the size differs from the trunk's, one linear layer.

    Args:
        trunk: gives the feature map.
        dimensions: size of the descriptor; None for the trunk's.
    """

    def __init__(self, trunk: Trunk, *, dimensions: int | None) -> None:
        super().__init__()
        self.colours = Colours()
        self.trunk = trunk
        self.pool = GeM()
        self.whiten = nn.Linear(trunk.channels, dimensions) if dimensions not in (None, trunk.channels) else None
        self.dimensions = dimensions or trunk.channels

    def forward(self, photos: Tensor) -> Tensor:
        """Map RGB photos in 0..1, (B, 3, H, W), to (B, dimensions) unit rows."""
        vectors: Tensor = self.pool(self.trunk(self.colours(photos)))
        if self.whiten is not None:
            vectors = self.whiten(functional.normalize(vectors, dim=-1)).float()
        return functional.normalize(vectors, dim=-1)
