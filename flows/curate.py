"""Flow ``curate``: from photos to the review queue.

A deployment of prefect.yaml, or ``python -m flows.curate CONFIG [KEY=VALUE ...]``.
"""

import sys

from prefect import flow

from flows.shards import make_runner, open_flow_run
from overlap.pipeline.curate import curate as curate_run


@flow(name="curate", task_runner=make_runner(), persist_result=False)
def curate(config: str, overrides: tuple[str, ...] = ()) -> None:
    """Fill the review queue of a config; killed, the next run goes on where this one was.

    Args:
        config: path of the TOML file, from the project's folder.
        overrides: ``key=VALUE`` settings, as ``--set`` takes them.
    """
    with open_flow_run(config, overrides) as run:
        curate_run(run)


if __name__ == "__main__":
    curate(sys.argv[1], tuple(sys.argv[2:]))
