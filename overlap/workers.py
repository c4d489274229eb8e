"""Run shards of work in processes of this machine, with a progress bar.

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
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from overlap.errors import ArtifactError

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
    """Give a MapShards over processes of this machine, with a bar for each call on the console."""
    console = console or Console(stderr=True)
    with start_processes(workers) as pool, _bars(console) as bars:

        def map_shards(
            function: Callable[[Task], Result], tasks: Sequence[Task], *, label: str, sizes: Sequence[int]
        ) -> list[Result]:
            if not tasks:
                return []
            bar = bars.add_task(label, total=sum(sizes))
            return _gather(
                [pool.submit(function, task) for task in tasks],
                on_done=lambda row: bars.advance(bar, sizes[row]),
            )

        yield map_shards


@contextmanager
def show_bar(label: str, total: int, *, visible: bool = True) -> Iterator[Callable[[int, str | None], None]]:
    """Show a bar for work that is no list of shards; the block calls what it gets with what is done, and a remark."""
    with _bars(Console(stderr=True, quiet=not visible)) as bars:
        bar = bars.add_task(label, total=total)

        def move(done: int, remark: str | None) -> None:
            bars.update(bar, completed=done, description=None if remark is None else f"{label}: {remark}")

        yield move


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


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _prepare_worker(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ[name] = "1"
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
