"""How far 'overlap plan' is from what then happens, on a synthetic world.

python -m benchmarks plan
"""

import argparse
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from benchmarks.results import Result
from overlap.base.config import load_config
from overlap.base.workers import map_in_processes
from overlap.pipeline.curate import curate
from overlap.pipeline.plan import compare_plan, make_plan
from overlap.pipeline.run import open_run

DEMO = Path(__file__).parents[1] / "flows" / "configs" / "demo.toml"


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Plan the demo, run it, and compare step by step."""
    with tempfile.TemporaryDirectory(prefix="plan-") as folder:
        places = ("store", "train.root", "evaluation.0.root", "evaluation.1.root")
        world = [f"{place}={folder + ('/store' if place == 'store' else '/world')!r}" for place in places]
        config = load_config(DEMO, [*world, f"run.workers={options.plan_workers}"])
        with map_in_processes(config.run.workers, console=Console(file=io.StringIO())) as map_shards:
            with open_run(config, map_shards=map_shards, say=lambda line: None) as run:
                planned = make_plan(run, n_photos=options.plan_photos)
                curate(run, until="verified")
        for step, ratio in compare_plan(run.store, planned).items():
            seconds = next(line.seconds for line in planned if line.step == step)
            yield Result(
                f"plan: {step} of the demo, planned over taken",
                ratio,
                "ratio",
                "what it took",
                ratio,
                f"planned {seconds:.0f} s from {options.plan_photos} photos",
            )
