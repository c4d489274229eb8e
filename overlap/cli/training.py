"""The commands around retrieval networks: train, evaluate, convert."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overlap.base.errors import ConfigError
from overlap.cli.options import ConfigOption, OutOption, SetOption, is_follower, load, make_console, open_config

if TYPE_CHECKING:
    from overlap.datasets.sets import EvaluationSet

app = typer.Typer()


class Public(StrEnum):
    """Whose public checkpoints ``overlap convert`` reads."""

    solar = "solar"
    dolg = "dolg"
    token = "token"  # noqa: S105


_MaybeConfig = Annotated[
    Path | None, typer.Option("--config", "-c", help="The TOML config; flows/configs/ has examples.")
]


@app.command()
def train(
    config: ConfigOption,
    without: Annotated[
        Path | None, typer.Option(help="A release's folder, or a removals.csv: train without its landmarks.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to copy the checkpoint; the store keeps it anyway.")] = None,
    overrides: SetOption = None,
) -> None:
    """Train the network of [network] as [training] says. Killed, it goes on where it was.

    Several devices: torchrun --nproc-per-node 8 -m overlap train --config C
    """
    from overlap.pipeline.train import train_config

    with open_config(config, overrides, follows=is_follower()) as run:
        trained = train_config(run, without=without, out=out)
    if not is_follower():
        typer.echo(f"checkpoint: {out or trained.checkpoint}\ncurve:      {trained.curve}")


@app.command()
def evaluate(
    config: _MaybeConfig = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint of 'overlap train', or the weights of --network.")
    ] = None,
    exported: Annotated[Path | None, typer.Option(help="A .pt2 file: RGB in 0..1 in, descriptors out.")] = None,
    queries: Annotated[Path | None, typer.Option(help="Saved descriptors, a row a query: Q.npy.")] = None,
    database: Annotated[Path | None, typer.Option(help="Saved descriptors, a row a photo: X.npy.")] = None,
    ground_truth: Annotated[
        Path | None, typer.Option(help="gnd_NAME.pkl, for --queries and --database without a config.")
    ] = None,
    evaluation: Annotated[str | None, typer.Option(help="One evaluation set of the config.")] = None,
    distractors: Annotated[
        Path | None, typer.Option(help="The folder of revisitop1m; with --database one more .npy.")
    ] = None,
    whiten: Annotated[bool, typer.Option("--whiten", help="Learn a whitening from the training set.")] = False,
    network: Annotated[
        str | None, typer.Option(help="METHOD_BACKBONE of --checkpoint; or the name in the scores.")
    ] = None,
    training_set: Annotated[str | None, typer.Option(help="Its name, for the scores.")] = None,
    seed: Annotated[int | None, typer.Option(help="The training's seed, for the scores.")] = None,
    out: Annotated[Path | None, typer.Option(help="scores.csv; per_query.csv is written beside it.")] = None,
    overrides: SetOption = None,
) -> None:
    """Score a network, or saved descriptors: mAP and mP@1, 5, 10 by evaluation set and protocol.

    A network needs --config and is that of its section [descriptors], or --checkpoint, or --exported. Saved descriptors
    need --queries and --database, and --ground-truth or the evaluation set of a config.
    """
    from overlap.base.grids import render_text
    from overlap.base.progress import show_progress
    from overlap.pipeline import evaluate as steps
    from overlap.study.evaluation.scores import Subject

    if out is not None:
        steps.require_scores_out(out)
    if queries or database or ground_truth:
        if queries is None or database is None or checkpoint or exported or whiten:
            raise ConfigError(
                "saved descriptors are scored by --queries Q.npy --database X.npy with --ground-truth gnd_NAME.pkl or "
                "--config C; --checkpoint, --exported and --whiten are for networks"
            )
        with show_progress(make_console()) as begin:
            begin("score", None)
            found = steps.evaluate_matrices(
                _read_truth(ground_truth, config, evaluation, overrides),
                steps.Matrices(queries, database, distractors),
                subject=Subject(network or database.stem, "", training_set, seed),
            )
    else:
        if config is None:
            raise ConfigError("a network is scored on the evaluation sets of a config: give --config C")
        with open_config(config, overrides) as run:
            settings = steps.choose_network(
                run.config.descriptors, checkpoint=checkpoint, exported=exported, network=network
            )
            subject = steps.name_subject(settings, network=network, training_set=training_set, seed=seed)
            found = steps.evaluate_network(
                run, settings, subject=subject, evaluation=evaluation, whiten=whiten, distractors=distractors
            )
    typer.echo(render_text(steps.scores_grid(found.scores)), nl=False)
    if out is not None:
        steps.write_scores(out, found)


@app.command()
def convert(
    weights: Annotated[Path, typer.Argument(metavar="IN", help="The checkpoint that the authors published.")],
    network: Annotated[Public, typer.Option(help="Whose it is; ResNet-101 unless --backbone says otherwise.")],
    out: OutOption,
    backbone: Annotated[str, typer.Option(help="resnet50 or resnet101.")] = "resnet101",
    multi_atrous: Annotated[
        bool, typer.Option("--multi-atrous", help="DOLG whose local branch has atrous convolutions.")
    ] = False,
) -> None:
    """Turn a public checkpoint of SOLAR, DOLG or Token into one that this program reads."""
    from overlap.pipeline.convert import convert_checkpoint

    values = {"multi_atrous": True} if multi_atrous else {}
    spec = convert_checkpoint(weights, out, name=f"{network.value}_{backbone}", values=values)
    typer.echo(f"{out}: {spec.name}, {spec.dimensions} numbers")


def _read_truth(
    ground_truth: Path | None, config: Path | None, evaluation: str | None, overrides: list[str] | None
) -> "EvaluationSet":
    from overlap.pipeline.evaluate import choose_evaluation, read_truth

    if ground_truth is not None and config is None:
        return read_truth(ground_truth)
    if config is not None and ground_truth is None:
        return choose_evaluation(load(config, overrides), evaluation)
    raise ConfigError("saved descriptors need ground truth: --ground-truth gnd_NAME.pkl, or --config C, not both")
