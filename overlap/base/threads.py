"""Work in threads, ahead of who uses it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def map_ahead(function: Callable[[Item], Made], items: Iterable[Item], *, workers: int) -> Iterator[Made]:
    """Apply a function in threads, a few items ahead of the consumer, and yield the results in order.

    Args:
        workers: number of threads, at least 1.
    """
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
