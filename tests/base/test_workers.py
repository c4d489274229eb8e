import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from overlap.base.errors import ArtifactError, DataError
from overlap.base.workers import count_cores, map_in_processes, run_in, start_processes


def _square(number: int) -> int:
    time.sleep(0.02 * (5 - number))
    return number * number


def _threads(_: int) -> list[str | None]:
    return [os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")]


def _fail(number: int) -> int:
    raise DataError(f"photo {number} is bad")


def _die(_: int) -> int:
    os._exit(9)


def _child(_: int) -> int:
    return os.getpid()


def test_results_come_back_in_order_whichever_shard_ends_first():
    with map_in_processes(2, console=Console(file=io.StringIO())) as map_shards:
        assert map_shards(_square, [1, 2, 3, 4], label="squares", sizes=[1, 1, 1, 1]) == [1, 4, 9, 16]


def test_no_shard_starts_no_process():
    with map_in_processes(2, console=Console(file=io.StringIO())) as map_shards:
        assert map_shards(_square, [], label="nothing", sizes=[]) == []


def test_the_bar_counts_what_is_in_the_shards():
    out = io.StringIO()
    with map_in_processes(1, console=Console(file=out, force_terminal=True, width=120)) as map_shards:
        map_shards(_square, [4, 5], label="photos", sizes=[100, 23])
    assert "123/123" in out.getvalue()


def test_a_file_gets_a_line_where_a_terminal_has_a_bar():
    out = io.StringIO()
    with map_in_processes(1, console=Console(file=out)) as map_shards:
        map_shards(_square, [4, 5], label="photos", sizes=[100, 23])
    assert out.getvalue().startswith("photos: 123 in 0:00:0")
    assert out.getvalue().count("\n") == 1


def test_workers_are_single_threaded():
    with start_processes(1) as pool:
        assert run_in(pool, _threads, 0) == ["1", "1"]


_LOADED_BEFORE = """
import numpy
from threadpoolctl import threadpool_info
from overlap.base.workers import start_processes

def count_threads():
    return [each["num_threads"] for each in threadpool_info()]

if __name__ == "__main__":
    with start_processes(1) as pool:
        print(*pool.submit(count_threads).result())
"""


def test_a_library_that_was_loaded_before_the_worker_was_ready_is_single_threaded_too(tmp_path: Path):
    (tmp_path / "script.py").write_text(_LOADED_BEFORE)
    free = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    said = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, check=True, env=free)
    assert set(said.stdout.split()) == {b"1"}


def test_an_error_of_a_shard_comes_through():
    with map_in_processes(1, console=Console(file=io.StringIO())) as map_shards:
        with pytest.raises(DataError, match="photo 3 is bad"):
            map_shards(_fail, [3], label="bad", sizes=[1])


def test_a_worker_that_dies_is_said_with_the_remedy():
    with start_processes(1) as pool:
        with pytest.raises(ArtifactError, match=r"a worker process died.*run\.workers=1"):
            run_in(pool, _die, 0)


def test_one_worker_a_core_by_default():
    with start_processes(0) as pool:
        assert pool._max_workers == count_cores()
        assert run_in(pool, _child, 0) != os.getpid()


_PARENT = """
import os, time
from overlap.base.workers import start_processes

if __name__ == "__main__":
    with start_processes(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 60).result()
"""


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_workers_end_with_their_parent_however_it_ends(tmp_path: Path, number: signal.Signals):
    (tmp_path / "parent.py").write_text(_PARENT)
    with subprocess.Popen([sys.executable, "parent.py"], cwd=tmp_path, stdout=subprocess.PIPE) as parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(number)
    while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
        worker.wait(10)
