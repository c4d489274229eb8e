"""Flow ``evaluate``: the network of a config, or a checkpoint, on the config's evaluation sets."""

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.shards import open_flow_run
from overlap.base.grids import render_text
from overlap.pipeline import evaluate as steps


@flow(name="evaluate", persist_result=False)
def evaluate(
    config: str, overrides: tuple[str, ...] = (), checkpoint: str | None = None, out: str | None = None
) -> str:
    """Score a network, show the table in the log and as an artifact, and return the table.

    Args:
        config: path of the TOML file, from the project's folder.
        overrides: ``key=VALUE`` settings, as ``--set`` takes them.
        checkpoint: of 'overlap train'; without it the network of the section [descriptors].
        out: scores.csv; per_query.csv is written beside it.
    """
    with open_flow_run(config, overrides) as run:
        settings = steps.choose_network(
            run.config.descriptors,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            exported=None,
            network=None,
        )
        subject = steps.name_subject(settings, network=None, training_set=None, seed=None)
        found = steps.evaluate_network(run, settings, subject=subject)
        if out is not None:
            steps.write_scores(Path(out), found)
    table = render_text(steps.scores_grid(found.scores))
    get_run_logger().info("\n%s", table)
    create_markdown_artifact(f"```\n{table}```", key="scores")
    return table
