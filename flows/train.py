"""Flow ``train``: a network on the config's training set, or on it without a release's landmarks."""

from pathlib import Path

from prefect import flow

from flows.shards import open_flow_run
from overlap.pipeline import train as steps


@flow(name="train", persist_result=False)
def train(config: str, overrides: tuple[str, ...] = (), without: str | None = None) -> str:
    """Train and return the checkpoint's path; killed, the next run goes on where this one was.

    Args:
        config: path of the TOML file, from the project's folder.
        overrides: ``key=VALUE`` settings, as ``--set`` takes them.
        without: a release's folder, or its removals.csv.
    """
    with open_flow_run(config, overrides) as run:
        trained = steps.train_config(run, without=None if without is None else Path(without))
        return str(trained.checkpoint)
