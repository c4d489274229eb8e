"""Run a step's shards as Prefect tasks: one task a shard, never a photo."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from prefect import Task as PrefectTask
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from overlap.base.config import RunConfig, load_config
from overlap.base.workers import MapShards, count_cores, run_in, start_processes
from overlap.pipeline.journal import render_report
from overlap.pipeline.run import Run, open_run

Task = TypeVar("Task")
Result = TypeVar("Result")


def make_runner() -> TaskRunner[PrefectFuture[Any]]:
    """Return a runner of as many tasks at a time as there are cores."""
    # Prefect's type of a flow takes no runner of a narrower kind of future, its own included.
    return ThreadPoolTaskRunner(max_workers=count_cores())  # type: ignore[return-value]


@contextmanager
def open_flow_run(config: str, overrides: Sequence[str]) -> Iterator[Run]:
    """Open the run of a config inside a flow: shards become tasks, messages go to the flow's log.

    What the run did is left as an artifact, whether it ends well or not.
    """
    loaded = load_config(Path(config), overrides)
    engine = _map_on_dask if loaded.run.engine == "dask" else _map_in_processes
    with engine(loaded.run) as map_shards:
        with open_run(loaded, map_shards=map_shards, say=get_run_logger().info) as run:
            try:
                yield run
            finally:
                _leave_report(run)


def _leave_report(run: Run) -> None:
    """Leave the run's report as an artifact; a server that is away does not make the run fail."""
    try:
        create_markdown_artifact(render_report(run.store), key="run-report", description=run.config.name)
    except httpx.TransportError as error:
        get_run_logger().warning("the server did not take the run report (%s); 'overlap status' has the same", error)


@contextmanager
def _map_in_processes(settings: RunConfig) -> Iterator[MapShards]:
    with start_processes(settings.workers) as pool:

        def do_shard(row: int, packed: bytes) -> Any:  # noqa: ARG001 - names the task
            function, shard = pickle.loads(packed)  # noqa: S301 - this run packed it
            return run_in(pool, function, shard)

        yield _map_with(do_shard, lambda one, parameters: one.submit(**parameters))


@contextmanager
def _map_on_dask(settings: RunConfig) -> Iterator[MapShards]:
    """Hand the shards to Dask workers; one that dies is replaced, and its shard is done again."""
    from prefect_dask.task_runners import DaskTaskRunner

    local = {
        "n_workers": settings.workers or count_cores(),
        "threads_per_worker": 1,
        "processes": True,
        "host": "127.0.0.1",
        "dashboard_address": None,
    }
    where = {"address": settings.dask_address} if settings.dask_address else {"cluster_kwargs": local}

    def do_shard(row: int, packed: bytes) -> Any:  # noqa: ARG001 - names the task
        function, shard = pickle.loads(packed)  # noqa: S301 - this run packed it
        return function(shard)

    with DaskTaskRunner(**where) as runner:
        yield _map_with(do_shard, runner.submit)


def _map_with(
    do_shard: Callable[[int, bytes], Any], submit: Callable[[PrefectTask[..., Any], dict[str, Any]], Any]
) -> MapShards:
    """Return a MapShards that submits every shard as a task, packed, so that Prefect does not look inside."""

    def map_shards(
        function: Callable[[Task], Result], tasks: Sequence[Task], *, label: str, sizes: Sequence[int]
    ) -> list[Result]:
        get_run_logger().info("%s: %d shards, %d in all", label, len(tasks), sum(sizes))
        named = task(name=label, task_run_name=f"{label} {{row}}", retries=1)(do_shard)
        packed = [pickle.dumps((function, one)) for one in tasks]
        futures = [submit(named, {"row": row, "packed": one}) for row, one in enumerate(packed)]
        return [future.result() for future in futures]

    return map_shards
