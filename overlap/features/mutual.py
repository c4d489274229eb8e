"""Nearest neighbours between the local features of many pairs of photos at once, on a GPU."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.base.tables import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

# (M,) int64 nearest rows of the photo, and (M, 2) and (K, 2) float32 best and second-best cosines.
Nearest: TypeAlias = tuple[NDArray[np.int64], FloatArray, FloatArray]

# Pairs of features, of 12 bytes each.
_AT_ONCE = 2**27


def find_nearest(pairs: Sequence[tuple[FloatArray, FloatArray]], *, device: str) -> list[Nearest]:
    """Find for every feature its nearest in the other photo, and how near the two best are.

    On the grid that storage.py rounds descriptors to, the result is that of any other exact computation, bit for bit.
    So many pairs are worked on at once as fit into 1.6 GB of the device; one pair of photos is never cut.

    Args:
        pairs: B pairs of (M, D) and (K, D) float32 unit rows, at least two each; M and K differ from pair to pair.
        device: cpu or cuda.

    Returns:
        For each pair the (M,) nearest rows of the second photo, the first among equals, and the best and second-best
        cosine of every row of the first, (M, 2), and of the second, (K, 2).
    """
    most = [max((len(pair[side]) for pair in pairs), default=1) for side in (0, 1)]
    step = max(_AT_ONCE // (most[0] * most[1]), 1)
    parts = (pairs[start : start + step] for start in range(0, len(pairs), step))
    return [nearest for part in parts for nearest in _find_at_once(part, device=device)]


def _find_at_once(pairs: Sequence[tuple[FloatArray, FloatArray]], *, device: str) -> list[Nearest]:
    import torch

    with torch.inference_mode():
        queries, photos = (_stack([pair[side] for pair in pairs], device) for side in (0, 1))
        cosines = torch.bmm(queries, photos.transpose(1, 2))  # (B, M, K)
        for number, (query, photo) in enumerate(pairs):
            cosines[number, len(query) :] = -torch.inf
            cosines[number, :, len(photo) :] = -torch.inf
        of_query = cosines.topk(2, dim=2).values
        of_photo = cosines.topk(2, dim=1).values.transpose(1, 2)
        n_rows = cosines.shape[2]
        rows = torch.arange(n_rows, dtype=torch.int32, device=device)
        nearest = torch.where(cosines == of_query[..., :1], rows, n_rows).amin(dim=2)
    found = [part.cpu().numpy() for part in (nearest.long(), of_query, of_photo)]
    return [
        (found[0][number, : len(query)], found[1][number, : len(query)], found[2][number, : len(photo)])
        for number, (query, photo) in enumerate(pairs)
    ]


def _stack(descriptors: Sequence[FloatArray], device: str) -> "Tensor":
    """Put features below each other to (B, M, D), short ones filled with zeros."""
    import torch

    most = max(map(len, descriptors))
    stacked = np.zeros((len(descriptors), most, descriptors[0].shape[1]), np.float32)
    for place, one in zip(stacked, descriptors, strict=True):
        place[: len(one)] = one
    return torch.from_numpy(stacked).to(device)
