"""Run shards of work in processes of this machine.

A step cuts its work into shards and hands them to a ``MapShards``; this one runs them here, the Prefect flows bring
another one. Whatever runs them, the results come back in order.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from rich.console import Console
from threadpoolctl import threadpool_limits

from overlap.base.errors import ArtifactError
from overlap.base.progress import Begin, counted, show_progress

Task = TypeVar("Task")
Result = TypeVar("Result")


class MapShards(Protocol):
    """Apply a function to every shard and return the results in order; ``sizes`` counts what is in each shard."""

    def __call__(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], *, label: str, sizes: Sequence[int]
    ) -> list[Result]:
        """Run the shards."""
        ...


@contextmanager
def start_processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Start a pool of spawned, single-threaded processes; they end when this process does, however it ends.

    Args:
        workers: how many; 0 for one a core.
    """
    pool = ProcessPoolExecutor(
        workers or count_cores(),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_prepare_worker,
        initargs=(os.getpid(),),
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def map_in_processes(workers: int = 0, *, console: Console | None = None) -> Iterator[MapShards]:
    """Give a MapShards over processes of this machine that shows on the console how far each call is."""
    with start_processes(workers) as pool, show_progress(console or Console(stderr=True)) as begin:
        yield map_with(pool, begin)


def map_with(pool: ProcessPoolExecutor, begin: Begin) -> MapShards:
    """Return a MapShards over a pool that shows how far each call is."""

    def map_shards(
        function: Callable[[Task], Result], tasks: Sequence[Task], *, label: str, sizes: Sequence[int]
    ) -> list[Result]:
        if not tasks:
            return []
        add = counted(begin(label, sum(sizes)))
        return _gather([pool.submit(function, task) for task in tasks], on_done=lambda row: add(sizes[row]))

    return map_shards


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def run_in(pool: ProcessPoolExecutor, function: Callable[[Task], Result], task: Task) -> Result:
    """Run one shard in the pool and wait for it.

    Raises:
        ArtifactError: the worker process died.
    """
    return _gather([pool.submit(function, task)], on_done=lambda row: None)[0]


def _gather(futures: list[Future[Result]], *, on_done: Callable[[int], Any]) -> list[Result]:
    rows = {future: row for row, future in enumerate(futures)}
    try:
        for future in as_completed(futures):
            future.result()
            on_done(rows[future])
    except BrokenProcessPool:
        raise ArtifactError(
            "a worker process died, most likely for lack of memory; run the same command again with fewer workers "
            "(--set run.workers=1), what is finished is kept"
        ) from None
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return [future.result() for future in futures]


def _prepare_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ[name] = "1"
    threadpool_limits(1)  # libraries that are loaded already have read these before
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
