"""Token: describe a photo by a few learned visual tokens.

Source: Wu et al. 2022 (Learning token-based representation for image retrieval), and their published code
(MCC-WH/Token), whose checkpoints ``convert`` reads. (The file is not named after the method: Python has a ``token``.)
"""

from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from overlap.base.errors import ConfigError
from overlap.study.networks.backbone import Trunk
from overlap.study.networks.colours import Colours
from overlap.study.networks.settings import TokenSettings


class Attention(nn.Module):
    """Attend with several heads; the last layer starts at zero, so that a residual block starts as the identity."""

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (_linear(width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, query: Tensor, rows: Tensor) -> Tensor:
        """Let (B, L, C) queries attend to (B, M, C) rows; returns (B, L, C)."""
        parts = (self.query(query), self.key(rows), self.value(rows))
        q, k, v = (part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in parts)  # (B, heads, L, c)
        rate = self.dropout.p if self.training else 0.0
        attended = functional.scaled_dot_product_attention(q, k, v, dropout_p=rate)
        mixed: Tensor = self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        return mixed


class Encoder(nn.Module):
    """Let positions attend to each other, then mix their channels."""

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads=heads, dropout=dropout)
        self.norm = nn.BatchNorm1d(width)
        self.mix = nn.Linear(width, width)
        self.drop = DropPath(dropout)

    def forward(self, rows: Tensor) -> Tensor:
        """Map (B, M, C) to the same shape."""
        rows = rows + self.drop(self.attention(rows, rows))
        normal = self.norm(rows.flatten(0, 1)).view_as(rows)
        mixed: Tensor = self.drop(self.mix(normal))
        return rows + mixed


class Decoder(nn.Module):
    """Let tokens attend to the positions, mix their channels, then attend to each other."""

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.cross_norm, self.self_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross = Attention(width, heads=heads, dropout=dropout)
        self.own = Attention(width, heads=heads, dropout=dropout)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)
        self.drop = DropPath(dropout)

    def forward(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """Map (B, L, C) tokens, given (B, M, C) positions, to the tokens' shape."""
        tokens = tokens + self.drop(self.cross(self.cross_norm(tokens), rows))
        mixed = self.narrow(self.dropout(functional.gelu(self.widen(tokens))))
        tokens = tokens + self.drop(self.dropout(mixed))
        normal = self.self_norm(tokens)
        related: Tensor = self.drop(self.own(normal, normal))
        return tokens + related


class DropPath(nn.Module):
    """Leave a whole branch out for some photos of a batch in training, and make up for it in the others."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Map (B, ...) to the same shape."""
        if not self.training or not self.rate:
            return branch
        kept = torch.rand((len(branch), *[1] * (branch.ndim - 1)), device=branch.device) >= self.rate
        return branch * kept.to(branch.dtype) / (1 - self.rate)


class _Shape(TypedDict):
    heads: int
    dropout: float


class TokenNetwork(nn.Module):
    """Describe photos by tokens that share out the positions among them, then are refined by attention.

    Raises:
        ConfigError: half the trunk's channels can't be divided among the heads.
    """

    def __init__(self, trunk: Trunk, *, dimensions: int, settings: TokenSettings) -> None:
        super().__init__()
        width = trunk.channels // 2
        if width % settings.heads:
            raise ConfigError(f"token: {settings.heads} heads don't share {width} channels evenly; set heads")
        shape = _Shape(heads=settings.heads, dropout=settings.dropout)
        self.colours = Colours()
        self.trunk = trunk
        self.reduce = nn.Sequential(nn.Conv2d(trunk.channels, width, 1), nn.BatchNorm2d(width))
        self.encoders = nn.ModuleList([Encoder(width, **shape) for _ in range(settings.encoders)])
        self.seeds = nn.Parameter(torch.randn(1, settings.tokens, width))
        self.tokens_norm = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
        self.decoders = nn.ModuleList([Decoder(width, **shape) for _ in range(settings.decoders)])
        self.whiten = nn.Linear(width * settings.tokens, dimensions)
        self.norm = nn.BatchNorm1d(dimensions)
        self.dimensions = dimensions

    def forward(self, photos: Tensor) -> Tensor:
        """Map RGB photos in 0..1, (B, 3, H, W), to (B, dimensions) unit rows."""
        rows = self.reduce(self.trunk(self.colours(photos))).flatten(2).transpose(1, 2)  # (B, H W, C)
        for encode in self.encoders:
            rows = encode(rows)
        tokens = self.tokens_norm(share_out(self.seeds, rows))
        for decode in self.decoders:
            tokens = decode(tokens, rows)
        return functional.normalize(self.norm(self.whiten(tokens.flatten(1))).float(), dim=-1)


def share_out(seeds: Tensor, rows: Tensor) -> Tensor:
    """Share each position out among the tokens by its likeness to their seeds.

    Args:
        seeds: (1, L, C).
        rows: (B, M, C).

    Returns:
        (B, L, C): sums of positions; the shares of one position add up to 1 over the tokens.
    """
    shares = (seeds @ rows.transpose(1, 2)).softmax(dim=1)  # (B, L, M)
    return shares.to(rows.dtype) @ rows


def _linear(width: int) -> nn.Linear:
    layer = nn.Linear(width, width)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer
