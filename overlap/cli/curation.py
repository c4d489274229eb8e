"""The commands from photos to a release: curate, run, publish, demo, status, export, download."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from overlap.cli.options import ConfigOption, OutOption, SetOption, load, make_console, open_config
from overlap.pipeline.declared import curated_steps, exported_tables

if TYPE_CHECKING:
    from overlap.pipeline.publish import Published

app = typer.Typer()


# Their names are declared with the steps.
Exported = StrEnum("Exported", [*exported_tables()])  # type: ignore[misc]
Step = StrEnum("Step", [*curated_steps()])  # type: ignore[misc]


@app.command()
def curate(config: ConfigOption, overrides: SetOption = None) -> None:
    """Go from photos to the review queue. Killed, it goes on where it was."""
    from overlap.pipeline.curate import curate as curate_run
    from overlap.pipeline.desk import describe_waiting

    with open_config(config, overrides) as run:
        curate_run(run)
    typer.echo(describe_waiting(run.config, open_with=_command("overlap review", config, overrides)))


@app.command()
def run(
    step: Annotated[Step, typer.Argument(help="The last step to do; earlier ones that are stored are not repeated.")],
    config: ConfigOption,
    overrides: SetOption = None,
) -> None:
    """Do one step of 'curate', and what it needs."""
    from overlap.pipeline.curate import curate as curate_run

    with open_config(config, overrides) as opened:
        curate_run(opened, until=step.value)


@app.command()
def plan(
    config: ConfigOption,
    photos: Annotated[int, typer.Option(min=4, help="How many photos to rehearse on.")] = 32,
    overrides: SetOption = None,
) -> None:
    """Say what 'curate' and the review will cost: photos, pairs, hours, disk; from a rehearsal on a few photos."""
    from overlap.pipeline.plan import make_plan, render_plan

    with open_config(config, overrides) as opened:
        lines = make_plan(opened, n_photos=photos)
    for text in render_plan(lines):
        typer.echo(text)


@app.command()
def publish(config: ConfigOption, overrides: SetOption = None) -> None:
    """Decide by the policy and write the filtered manifests, the removal list and the report."""
    from overlap.pipeline.publish import publish as publish_run

    with open_config(config, overrides) as opened:
        published = publish_run(opened)
    _show(published)


@app.command()
def demo(config: ConfigOption, overrides: SetOption = None) -> None:
    """Do the whole job on a synthetic world, with simulated reviewers, and say where the results are."""
    from overlap.pipeline.demo import run_demo
    from overlap.pipeline.desk import describe_waiting
    from overlap.pipeline.publish import release_folder

    with open_config(config, overrides) as opened:
        published = run_demo(opened)
    if published is None:
        typer.echo(
            f"{release_folder(opened.config)} stays as it is: people have voted since. To publish with their votes, "
            "raise release.version and run 'overlap publish'"
        )
    else:
        _show(published)
    typer.echo("\n" + describe_waiting(opened.config, open_with=f"make app CONFIG={shlex.quote(str(config))}"))


@app.command()
def status(config: ConfigOption, overrides: SetOption = None) -> None:
    """Say which steps are done, how the review stands, and where the release is."""
    from overlap.pipeline.status import render_status

    make_console().print(render_status(load(config, overrides)))


@app.command()
def export(what: Exported, config: ConfigOption, out: OutOption, overrides: SetOption = None) -> None:
    """Write a table of the run as CSV, safe to open in a spreadsheet."""
    from overlap.pipeline.export import export_table

    n_rows = export_table(load(config, overrides), what.value, out)
    typer.echo(f"{out}: {n_rows} rows")


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="gldv2, roxford5k, rparis6k or revisitop1m.")],
    to: Annotated[Path, typer.Option("--to", help="The folder to fill.")],
    only: Annotated[list[str] | None, typer.Option(help="Only files like this: 'images_00?.tar'; repeatable.")] = None,
) -> None:
    """Fetch a public data set; stopped, it goes on where it was."""
    from overlap.pipeline.download import download_set

    files = download_set(name, to, only=tuple(only or ()), console=make_console())
    typer.echo(f"{to}: {len(files)} files are there and whole")


def _show(published: "Published") -> None:
    from overlap.pipeline.publish import describe_published

    typer.echo(describe_published(published))


def _command(words: str, config: Path, overrides: list[str] | None) -> str:
    """Return a command with the same config and overrides, to be copied."""
    more = [word for override in overrides or () for word in ("--set", override)]
    return shlex.join([*words.split(), "--config", str(config), *more])
