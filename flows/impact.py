"""Flow ``impact``: networks on both versions of the training set and on placebos, and what the overlap did."""

from prefect import flow

from flows.shards import make_runner, open_flow_run
from overlap.pipeline.findings import measure_impact


@flow(name="impact", task_runner=make_runner(), persist_result=False)
def impact(config: str, overrides: tuple[str, ...] = ()) -> str:
    """Train, score, compare, and return the page's path; each training is a task, and a stored one is not repeated.

    Args:
        config: path of the TOML file, from the project's folder.
        overrides: ``key=VALUE`` settings, as ``--set`` takes them.
    """
    with open_flow_run(config, overrides) as run:
        return str(measure_impact(run).page)
