"""Flow ``impact``: networks on both versions of the training set and on placebos, and what the overlap did."""

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.shards import open_flow_run
from overlap.base.workers import count_cores
from overlap.pipeline.findings import measure_impact


@flow(name="impact", task_runner=ThreadPoolTaskRunner(max_workers=count_cores()), persist_result=False)
def impact(config: str, overrides: tuple[str, ...] = ()) -> str:
    """Train, score, compare, and return the page's path; each training is a task, and a stored one is not repeated.

    Args:
        config: path of the TOML file, from the project's folder.
        overrides: ``key=VALUE`` settings, as ``--set`` takes them.
    """
    with open_flow_run(config, overrides) as run:
        return str(measure_impact(run).page)
