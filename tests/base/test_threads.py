import threading

import pytest

from overlap.base.threads import map_ahead


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_only_a_little_ahead(workers: int) -> None:
    started: list[int] = []
    lock = threading.Lock()

    def double(number: int) -> int:
        with lock:
            started.append(number)
        return 2 * number

    for expected, found in enumerate(map_ahead(double, range(50), workers=workers)):
        assert found == 2 * expected
        assert len(started) <= expected + 2 * workers + 2


def test_an_error_in_a_thread_reaches_the_caller() -> None:
    def fail(number: int) -> int:
        raise ValueError(f"item {number}")

    with pytest.raises(ValueError, match="item 0"):
        list(map_ahead(fail, range(10), workers=2))
