"""The command line: ``overlap ...``. Only here do errors become exit codes: 1 a check failed, 2 the input is wrong."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overlap.errors import CheckError, OverlapError

if TYPE_CHECKING:
    from rich.console import Console

    from overlap.config import Config
    from overlap.steps.publish import Published
    from overlap.steps.run import Run

app = typer.Typer(
    help="Find the landmarks that a training set shares with an evaluation set, have people review them, and "
    "publish the training set without them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
votes = typer.Typer(help="Bring votes in, take them out, or simulate reviewers.", no_args_is_help=True)
app.add_typer(votes, name="votes")
reviewers = typer.Typer(help="Say who may review.", no_args_is_help=True)
app.add_typer(reviewers, name="reviewers")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The TOML config; flows/configs/ has examples.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, VALUE a TOML literal: --set search.k=100"),
]
OutOption = Annotated[Path, typer.Option("--out", help="The file to write.")]


class Exported(StrEnum):
    """What ``overlap export`` can write."""

    candidates = "candidates"
    verified = "verified"
    queue = "queue"
    removals = "removals"
    quarantine = "quarantine"


class Step(StrEnum):
    """The steps of ``overlap curate``, in order."""

    photos = "photos"
    descriptors = "descriptors"
    candidates = "candidates"
    names = "names"
    features = "features"
    verified = "verified"
    queue = "queue"


@app.command()
def curate(config: ConfigOption, overrides: SetOption = None) -> None:
    """Go from photos to the review queue. Killed, it goes on where it was."""
    from overlap.steps.pipeline import curate as curate_run

    with _open_run(config, overrides) as run:
        curate_run(run)


@app.command()
def run(
    step: Annotated[Step, typer.Argument(help="The last step to do; earlier ones that are stored are not repeated.")],
    config: ConfigOption,
    overrides: SetOption = None,
) -> None:
    """Do one step of 'curate', and what it needs."""
    from overlap.steps.pipeline import curate as curate_run

    with _open_run(config, overrides) as opened:
        curate_run(opened, until=step.value)


@app.command()
def publish(config: ConfigOption, overrides: SetOption = None) -> None:
    """Decide by the policy and write the filtered manifests, the removal list and the report."""
    from overlap.steps.publish import publish as publish_run

    with _open_run(config, overrides) as opened:
        published = publish_run(opened)
    _show(published)


@app.command()
def demo(config: ConfigOption, overrides: SetOption = None) -> None:
    """Do the whole job on a synthetic world, with simulated reviewers, and say where the results are."""
    from overlap.steps.demo import run_demo

    with _open_run(config, overrides) as opened:
        published = run_demo(opened)
    _show(published)
    typer.echo(f"\nreview the queue in the browser:\n  make app CONFIG={config}")


@app.command()
def status(config: ConfigOption, overrides: SetOption = None) -> None:
    """Say which steps are done, how the review stands, and where the release is."""
    from overlap.steps.status import render_status

    _console().print(render_status(_load(config, overrides)))


@app.command()
def export(what: Exported, config: ConfigOption, out: OutOption, overrides: SetOption = None) -> None:
    """Write a table of the run as CSV, safe to open in a spreadsheet."""
    from overlap.steps.export import export_table

    n_rows = export_table(_load(config, overrides), what.value, out)
    typer.echo(f"{out}: {n_rows} rows")


@votes.command("import")
def import_votes(
    file: Annotated[Path, typer.Argument(help="A CSV of votes, as 'overlap votes export' writes it.")],
    config: ConfigOption,
    overrides: SetOption = None,
) -> None:
    """Add the votes of a CSV file to the review store; votes that are there already are not added twice."""
    from overlap.steps.review import import_votes as import_file

    n_added = import_file(_load(config, overrides), file)
    typer.echo(f"{file}: {n_added} votes added")


@votes.command("export")
def export_votes(config: ConfigOption, out: OutOption, overrides: SetOption = None) -> None:
    """Write every vote, superseded ones too, as CSV."""
    from overlap.steps.review import export_votes as export_file

    n_votes = export_file(_load(config, overrides), out)
    typer.echo(f"{out}: {n_votes} votes")


@votes.command("simulate")
def simulate_votes(
    config: ConfigOption,
    truth: Annotated[
        Path, typer.Option("--truth", help="CSV of the true pairs: evaluation_set, query_id, image_id, landmark_id.")
    ],
    reviewers: Annotated[int, typer.Option(min=1, help="How many reviewers.")] = 3,
    error_rate: Annotated[float, typer.Option(min=0, max=1, help="The share of wrong answers.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the errors.")] = 0,
    overrides: SetOption = None,
) -> None:
    """Let simulated reviewers answer every item of the queue; their names begin with 'simulated-'."""
    from overlap.steps.review import simulate_votes as simulate

    n_added = simulate(_load(config, overrides), truth, reviewers=reviewers, error_rate=error_rate, seed=seed)
    typer.echo(f"{n_added} votes added")


@votes.command("audit")
def audit_votes(
    config: ConfigOption,
    expect: Annotated[str | None, typer.Option("--expect", help="The head that an earlier audit printed.")] = None,
    overrides: SetOption = None,
) -> None:
    """Prove that no vote was changed and none is missing; exit code 1 says what differs."""
    from overlap.steps.review import audit_votes as audit

    n_votes, head = audit(_load(config, overrides), expect=expect)
    typer.echo(f"{n_votes:,} votes, none changed, none missing; head {head or 'none'}")


@app.command("review")
def open_app(config: ConfigOption, overrides: SetOption = None) -> None:
    """Open the review app on this machine; log in with a token of 'overlap reviewers add'."""
    from overlap.steps.review import serve_app

    _load(config, overrides)
    serve_app(config, overrides or ())


@reviewers.command("add")
def add_reviewer(
    name: Annotated[str, typer.Argument(help="A name; for log-in by OIDC the e-mail address.")],
    config: ConfigOption,
    lead: Annotated[
        bool, typer.Option("--lead", help="Give the role lead: adjudication, and everybody's votes.")
    ] = False,
    overrides: SetOption = None,
) -> None:
    """Let a person in and print the personal token, this once."""
    from overlap.steps.review import add_reviewer as add

    token = add(_load(config, overrides), name, role="lead" if lead else "reviewer")
    typer.echo(token)


@reviewers.command("revoke")
def revoke_reviewer(
    name: Annotated[str, typer.Argument(help="The name.")], config: ConfigOption, overrides: SetOption = None
) -> None:
    """Let a person in no more; the votes stay."""
    from overlap.steps.review import revoke_reviewer as revoke

    revoke(_load(config, overrides), name)
    typer.echo(f"{name}: the token is revoked")


@reviewers.command("list")
def list_reviewers(config: ConfigOption, overrides: SetOption = None) -> None:
    """List everyone with role."""
    from overlap.steps.review import list_reviewers as list_all

    for line in list_all(_load(config, overrides)):
        typer.echo(line)


@app.command("verify-release")
def verify_release(
    folder: Annotated[Path, typer.Argument(help="The folder of the release.")],
    source: Annotated[
        Path, typer.Option("--source", help="The upstream train_clean.csv that the release was made from.")
    ],
) -> None:
    """Prove that the upstream file minus the removals is the release; exit code 1 says what differs."""
    from overlap.manifests.verify import verify_release as find_differences

    differences = find_differences(folder, source=source)
    if differences:
        raise CheckError(f"{folder} is not what it says:\n" + "\n".join(f"  - {text}" for text in differences))
    typer.echo(f"{folder}: proven: {source} minus the removals is the release, and every checksum holds")


@app.command()
def apply(
    removals: Annotated[Path, typer.Argument(help="A CSV with a column landmark_id: the landmarks to remove.")],
    source: Annotated[Path, typer.Argument(help="The upstream file, for example train_clean.csv.")],
    out: OutOption,
) -> None:
    """Remove landmarks from an upstream file, keeping every other line byte for byte."""
    from overlap.manifests.release import apply_removals

    counts = apply_removals(removals, source, out)
    typer.echo(
        "{out}: {rows_out:,} of {rows_in:,} lines, {images_out:,} of {images_in:,} images".format(out=out, **counts)
    )


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="gldv2, roxford5k, rparis6k or revisitop1m.")],
    to: Annotated[Path, typer.Option("--to", help="The folder to fill.")],
    only: Annotated[list[str] | None, typer.Option(help="Only files like this: 'images_00?.tar'; repeatable.")] = None,
) -> None:
    """Fetch a public data set; stopped, it goes on where it was."""
    from overlap.steps.download import download_set

    files = download_set(name, to, only=tuple(only or ()), console=_console())
    typer.echo(f"{to}: {len(files)} files are there and whole")


def main() -> None:
    """Run the command line and turn errors into one-line messages and exit codes."""
    try:
        app()
    except OverlapError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one was", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _load(path: Path, overrides: list[str] | None) -> "Config":
    from overlap.config import load_config

    return load_config(path, overrides or ())


@contextmanager
def _open_run(path: Path, overrides: list[str] | None) -> "Iterator[Run]":
    from overlap.steps.run import open_run
    from overlap.workers import map_in_processes

    config = _load(path, overrides)
    console = _console()
    with map_in_processes(config.run.workers, console=console) as map_shards:
        with open_run(config, map_shards=map_shards, say=console.print) as opened:
            yield opened


def _console() -> "Console":
    from rich.console import Console

    return Console(stderr=True)


def _show(published: "Published") -> None:
    from overlap.report.tables import overlap_grid, render_text, sizes_grid

    typer.echo(render_text(overlap_grid(published.overlap)))
    typer.echo(render_text(sizes_grid(published.sizes)))
    typer.echo(f"manifest: {published.folder}\nreport:   {published.report}")
