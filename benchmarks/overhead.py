"""What the machinery costs: a shard that does nothing, plain and in a Prefect flow, and the start of the command line.

python -m benchmarks overhead
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from benchmarks.results import Result
from overlap.base.config import load_config
from overlap.base.store import write_json
from overlap.base.workers import map_in_processes
from overlap.pipeline.run import Run, open_run
from overlap.pipeline.shards import Shard, run_shards

DEMO = Path(__file__).parents[1] / "flows" / "configs" / "demo.toml"
_SHARDS = 200
_WORKERS = 2


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Time empty shards in processes and in a flow, and 'overlap --help' in seconds of processor."""
    del options
    plain, flow = 1000 * _time_plain(), 1000 * _time_flow()
    note = f"{_SHARDS} shards that do nothing"
    yield Result("overhead: a shard in processes", plain, "ms", note=note)
    note = f"{note}; a Prefect server on the same machine"
    yield Result("overhead: a shard in the flow", flow, "ms", "processes", flow / plain, note)
    command = [sys.executable, "-m", "overlap", "--help"]
    seconds = min(_time(command) for _ in range(5))
    bare = min(_time([sys.executable, "-c", "pass"]) for _ in range(5))
    note = "processor time, best of five"
    yield Result("overhead: overlap --help", seconds, "s", "python -c pass", seconds / bare, note)


def _time_plain() -> float:
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        config = load_config(DEMO, [f"store={folder!r}"])
        with map_in_processes(_WORKERS, console=Console(file=io.StringIO())) as map_shards:
            with open_run(config, map_shards=map_shards, say=lambda line: None) as run:
                return _time_shards(run)


def _time_flow() -> float:
    """Time the shards as the flows run them, with a server that is started for it."""
    from prefect import flow
    from prefect.testing.utilities import prefect_test_harness

    from flows.shards import make_runner, open_flow_run

    @flow(name="overhead", task_runner=make_runner(), persist_result=False)
    def do_nothing(folder: str) -> float:
        with open_flow_run(str(DEMO), (f"store={folder!r}", f"run.workers={_WORKERS}")) as run:
            return _time_shards(run)

    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, prefect_test_harness(server_startup_timeout=400):
        return do_nothing(folder)


def _time_shards(run: Run) -> float:
    """Return the seconds a shard, the start of the workers left out."""
    shards = [Shard(run.store, "empty", f"{number}", 1, None) for number in range(_SHARDS)]
    run_shards(run, shards[:4], _store_nothing, label="warm up")
    began = time.perf_counter()
    run_shards(run, shards, _store_nothing, label="empty shards")
    return (time.perf_counter() - began) / (_SHARDS - 4)


def _store_nothing(shard: Shard) -> None:
    with shard.store.put(shard.step, shard.fingerprint) as folder:
        write_json(folder, "nothing", {})


def _time(command: list[str]) -> float:
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system
