"""Pooling: from a feature map to one vector."""

import torch
from torch import Tensor, nn


class GeM(nn.Module):
    """Pool by the generalised mean with a learned exponent: p = 1 is the mean, p to infinity the maximum.

    Source: Radenovic, Tolias, Chum: Fine-tuning CNN image retrieval with no human annotation, equation 3.

    Args:
        p: where the exponent starts.
        floor: what feature values are raised to, so that the power is defined.
    """

    def __init__(self, *, p: float = 3.0, floor: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([p]))
        self.floor = floor

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C), in float32 whatever the precision of the features."""
        powers = features.float().clamp(min=self.floor).pow(self.p)
        pooled: Tensor = powers.mean(dim=(-2, -1)).pow(1 / self.p)
        return pooled


class MeanPool(nn.Module):
    """Pool by the mean: global average pooling."""

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C), in float32 whatever the precision of the features."""
        return features.float().mean(dim=(-2, -1))
