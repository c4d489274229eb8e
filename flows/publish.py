"""Flow ``publish``: from votes to a release. It is joined to ``curate`` by the review store alone."""

from prefect import flow

from flows.shards import open_flow_run
from overlap.pipeline import publish as steps


@flow(name="publish", persist_result=False)
def publish(config: str, overrides: tuple[str, ...] = ()) -> str:
    """Decide by the policy, write the release and the report, and return the release's folder.

    Args:
        config: path of the TOML file, from the project's folder.
        overrides: ``key=VALUE`` settings, as ``--set`` takes them.
    """
    with open_flow_run(config, overrides) as run:
        return str(steps.publish(run).folder)
