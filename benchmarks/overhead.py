"""What the machinery costs: a shard that does nothing, and the start of the command line.

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
from overlap.config import load_config
from overlap.steps.run import Shard, open_run, run_shards
from overlap.store import write_json
from overlap.workers import map_in_processes

DEMO = Path(__file__).parents[1] / "flows" / "configs" / "demo.toml"
_SHARDS = 400


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Time empty shards in processes, and 'overlap --help' in seconds of processor."""
    del options
    yield Result(
        "overhead: a shard in processes", 1000 * _time_shards(), "ms", note=f"{_SHARDS} shards that do nothing"
    )
    command = [sys.executable, "-m", "overlap", "--help"]
    seconds = min(_time(command) for _ in range(5))
    bare = min(_time([sys.executable, "-c", "pass"]) for _ in range(5))
    note = "processor time, best of five"
    yield Result("overhead: overlap --help", seconds, "s", "python -c pass", seconds / bare, note)


def _time_shards() -> float:
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        config = load_config(DEMO, [f"store={folder!r}"])
        with map_in_processes(2, console=Console(file=io.StringIO())) as map_shards:
            with open_run(config, map_shards=map_shards, say=lambda line: None) as run:
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
