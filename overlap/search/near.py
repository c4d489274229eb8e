"""Which photos can still be among the best of each query, while rough similarities come in."""

from threading import Lock

import numpy as np
from numpy.typing import NDArray

from overlap.base.tables import FloatArray
from overlap.search.rows import Rows

# How many times k photos a query may wait before those under the bar are dropped.
_CROWD = 4


class Near:
    """Collect which photos can be among the k best of some queries.

    A rough similarity is wrong by at most its slack: the k-th best lower bound is the bar that a photo's upper bound
    must reach. Threads may offer at the same time.
    """

    def __init__(self, n_queries: int, *, k: int) -> None:
        """Start with nothing.

        Args:
            n_queries: Q, at most 65,536: numpy sorts 16 bits several times as fast as more.
            k: how many photos a query gets.
        """
        self._k = k
        self._bars = np.full(n_queries, -np.inf, np.float32)
        self._slack = 0.0
        self._kept: list[tuple[NDArray[np.uint16], Rows, FloatArray]] = []
        self._n_kept = 0
        self._lock = Lock()

    def offer(self, rough: FloatArray, *, first: int, slack: float) -> None:
        """Take the (B, Q) rough similarities of the photos from row ``first`` on."""
        near = rough >= self._bars - np.float32(slack)
        if np.count_nonzero(near) > _CROWD * self._k * rough.shape[1]:
            bars = np.partition(rough, -self._k, axis=0)[-self._k] - np.float32(slack)
            with self._lock:
                self._bars = np.maximum(self._bars, bars)
            near = rough >= self._bars - np.float32(slack)
        rows, queries = np.divmod(np.flatnonzero(near), rough.shape[1])
        lows = rough[rows, queries] - np.float32(slack)
        with self._lock:
            self._slack = max(self._slack, slack)
            self._kept.append((queries.astype(np.uint16), rows + first, lows))
            self._n_kept += len(rows)
            if self._n_kept > _CROWD * self._k * len(self._bars):
                self._settle()

    def settle(self) -> tuple[Rows, Rows]:
        """Return the (M,) queries and rows of all pairs that can be among the best, by query."""
        with self._lock:
            if not self._kept:
                return np.empty(0, np.int64), np.empty(0, np.int64)
            self._settle()
            queries, rows, _ = self._kept[0]
            return queries.astype(np.int64), rows

    def _settle(self) -> None:
        """Raise the bars, and drop what is under them."""
        queries, rows, lows = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        order = np.argsort(queries, kind="stable")
        queries, rows, lows = queries[order], rows[order], lows[order]
        ends = np.searchsorted(queries, np.arange(len(self._bars)), side="right")
        bars = self._bars.copy()
        for query, own in enumerate(np.split(lows, ends[:-1])):
            if len(own) >= self._k:
                bars[query] = max(bars[query], np.partition(own, -self._k)[-self._k])
        self._bars = bars
        kept = lows + np.float32(2 * self._slack) >= bars[queries]
        self._kept = [(queries[kept], rows[kept], lows[kept])]
        self._n_kept = len(self._kept[0][0])
