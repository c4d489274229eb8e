"""A trunk with generalised-mean pooling: the plain retrieval network the compared methods start from."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from overlap.networks.pooling import GeM

_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class GemNetwork(nn.Module):
    """Describe photos by trunk, GeM and, where the size differs from the trunk's, one linear layer.

    Args:
        trunk: a module with ``channels`` that maps (B, 3, H, W) to (B, channels, h, w).
        channels: the trunk's.
        dimensions: size of the descriptor; None for the trunk's.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, trunk: nn.Module, *, channels: int, dimensions: int | None) -> None:
        super().__init__()
        self.trunk = trunk
        self.pool = GeM()
        self.whiten = nn.Linear(channels, dimensions) if dimensions not in (None, channels) else None
        self.dimensions = dimensions or channels
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, photos: Tensor) -> Tensor:
        """Map RGB photos in 0..1, (B, 3, H, W), to (B, dimensions) unit rows."""
        vectors: Tensor = self.pool(self.trunk((photos - self.mean) / self.deviation))
        if self.whiten is not None:
            vectors = self.whiten(functional.normalize(vectors, dim=-1)).float()
        return functional.normalize(vectors, dim=-1)
