"""Run a step's shards as Prefect tasks: one task a shard, never a photo."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from prefect import get_run_logger, task

from overlap.config import load_config
from overlap.steps.run import Run, open_run
from overlap.workers import MapShards, run_in, start_processes

Task = TypeVar("Task")
Result = TypeVar("Result")


@contextmanager
def open_flow_run(config: str, overrides: Sequence[str]) -> Iterator[Run]:
    """Open the run of a config inside a flow: shards become tasks, messages go to the flow's log."""
    from pathlib import Path

    loaded = load_config(Path(config), overrides)
    with _map_as_tasks(loaded.run.workers) as map_shards:
        with open_run(loaded, map_shards=map_shards, say=get_run_logger().info) as run:
            yield run


@contextmanager
def _map_as_tasks(workers: int) -> Iterator[MapShards]:
    with start_processes(workers) as pool:

        def map_shards(
            function: Callable[[Task], Result], tasks: Sequence[Task], *, label: str, sizes: Sequence[int]
        ) -> list[Result]:
            @task(name=label, task_run_name=f"{label} {{row}}", retries=1)
            def do_shard(row: int) -> Result:
                return run_in(pool, function, tasks[row])

            get_run_logger().info("%s: %d shards, %d in all", label, len(tasks), sum(sizes))
            futures = [do_shard.submit(row) for row in range(len(tasks))]
            return [future.result() for future in futures]

        yield map_shards
