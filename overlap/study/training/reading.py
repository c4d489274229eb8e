"""Read batches ahead of their use, from any step of a training on."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.study.training.groups import Batch, IndexArray, Size, count_batches, merge_small, plan_epoch

LoadPhotos: TypeAlias = Callable[[IndexArray, Size], NDArray[np.uint8]]
_AHEAD = 4


@dataclass(frozen=True, eq=False)
class Photos:
    """Hold the training photos.

    Args:
        labels: (N,) landmark numbers from 0.
        groups: (N,) groups by aspect ratio.
        sizes: width and height by group.
        load: returns (B, H, W, 3) uint8 RGB of some rows at a width and height; called from threads.
    """

    labels: IndexArray
    groups: IndexArray
    sizes: Sequence[Size]
    load: LoadPhotos


@dataclass(frozen=True, eq=False)
class Loaded:
    """Hold a process's share of a batch, and the batch's number from the training's beginning."""

    number: int
    pixels: NDArray[np.uint8]
    labels: IndexArray


def read_ahead(
    photos: Photos, *, batch: int, seed: int, first: int, share: slice = slice(None)
) -> Generator[Loaded, None, None]:
    """Yield batches without end, read in threads ahead of their use.

    Args:
        batch: photos a batch, those of all processes together.
        seed: of the batches' plan.
        first: number of the first batch; what it holds doesn't depend on whether the ones before were read.
        share: the part of each batch that this process gets.
    """

    def load(numbered: tuple[int, Batch]) -> Loaded:
        number, planned = numbered
        rows = planned.rows[share]
        return Loaded(number, photos.load(rows, planned.size_px), photos.labels[rows])

    waiting: deque[Future[Loaded]] = deque()
    with ThreadPoolExecutor(2) as pool:
        try:
            for numbered in _plan(photos, batch=batch, seed=seed, first=first):
                waiting.append(pool.submit(load, numbered))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _plan(photos: Photos, *, batch: int, seed: int, first: int) -> Iterator[tuple[int, Batch]]:
    groups = merge_small(photos.groups, batch=batch) if len(photos.groups) else photos.groups
    per_epoch = max(count_batches(groups, batch=batch), 1)
    number = first
    while True:
        epoch, begin = divmod(number, per_epoch)
        for planned in plan_epoch(groups, sizes=photos.sizes, batch=batch, seed=seed, epoch=epoch)[begin:]:
            yield number, planned
            number += 1
