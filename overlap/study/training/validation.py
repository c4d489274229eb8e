"""How well a network finds the other photo of a landmark among photos that it was not trained on."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from overlap.base.tables import FloatArray
from overlap.study.training.groups import IndexArray
from overlap.study.training.reading import Photos


def validate_by_retrieval(photos: Photos, *, batch: int) -> Callable[[nn.Module], float]:
    """Return a function that measures a network's mean average precision on held-out photos.

    Args:
        photos: those held out.
        batch: photos described at once; batches hold photos of one group.
    """
    batches = [
        (rows, photos.sizes[group])
        for group in np.unique(photos.groups)
        for rows in _cut(np.flatnonzero(photos.groups == group), batch)
    ]

    def validate(network: nn.Module) -> float:
        device = next(network.parameters()).device
        vectors: dict[int, FloatArray] = {}
        for rows, size_px in batches:
            pixels = torch.from_numpy(photos.load(rows, size_px)).to(device)
            found = network(pixels.permute(0, 3, 1, 2).float() / 255).float().cpu().numpy()
            vectors.update(zip(rows.tolist(), found, strict=True))
        return mean_average_precision(np.stack([vectors[row] for row in range(len(photos.labels))]), photos.labels)

    return validate


def mean_average_precision(vectors: FloatArray, labels: IndexArray) -> float:
    """Return the mean over photos of the average precision with which each finds the others of its landmark.

    Args:
        vectors: (N, D) unit rows.
        labels: (N,) landmarks; each has two photos or more.
    """
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -np.inf)
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :-1]
    hits = labels[order] == labels[:, None]
    precisions = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    return float(np.mean((precisions * hits).sum(axis=1) / hits.sum(axis=1)))


def _cut(rows: IndexArray, size: int) -> list[IndexArray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
