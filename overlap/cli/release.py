"""The commands of who downloads a release: verify-release, apply, compare-paper; the base install is enough for them.

verify-evidence repeats the verification from the photos and needs what curating needs.
"""

from pathlib import Path
from typing import Annotated

import typer

from overlap.base.errors import CheckError
from overlap.cli.options import ConfigOption, OutOption, SetOption, open_config

app = typer.Typer()

ReleaseArgument = Annotated[Path, typer.Argument(help="The folder of the release.")]


@app.command("verify-release")
def verify_release(
    folder: ReleaseArgument,
    source: Annotated[
        Path,
        typer.Option("--source", help="The upstream train_clean.csv, or the folder that holds all upstream files."),
    ],
    seal: Annotated[
        str | None, typer.Option("--seal", help="The SHA-256 of SHA256SUMS, as whoever published the release gave it.")
    ] = None,
) -> None:
    """Prove that the upstream file minus the removals is the release; exit code 1 says what differs."""
    from overlap.api import verify_release as prove

    proven = prove(folder, source=source, seal=seal)
    typer.echo(f"{folder}: proven: {source} minus the removals is the release, and every checksum holds")
    typer.echo(f"seal: {proven}")


@app.command("verify-evidence")
def verify_evidence(folder: ReleaseArgument, config: ConfigOption, overrides: SetOption = None) -> None:
    """Verify the recorded pairs again from the photos; exit code 1 names what differs and what is gone."""
    from overlap.pipeline.repeat import verify_evidence as repeat

    with open_config(config, overrides) as run:
        n_pairs, differences = repeat(run, folder)
    if differences:
        raise CheckError(
            f"{folder}: the evidence is not confirmed:\n" + "\n".join(f"  - {text}" for text in differences)
        )
    typer.echo(f"{folder}: {n_pairs} pairs verified again from the photos: all as recorded")


@app.command()
def apply(
    removals: Annotated[Path, typer.Argument(help="A CSV with a column landmark_id: the landmarks to remove.")],
    source: Annotated[Path, typer.Argument(help="The upstream file, for example train_clean.csv.")],
    out: OutOption,
) -> None:
    """Remove landmarks from an upstream file, keeping every other line byte for byte."""
    from overlap.release.apply import apply_removals

    counts = apply_removals(removals, source, out)
    typer.echo(
        "{out}: {rows_out:,} of {rows_in:,} lines, {images_out:,} of {images_in:,} images".format(out=out, **counts)
    )


@app.command("compare-paper")
def compare_paper(
    folder: ReleaseArgument,
    expected: Annotated[Path, typer.Option("--expected", help="The CSV of the expected counts.")] = Path(
        "data_manifests/paper_tables.csv"
    ),
) -> None:
    """Compare a release with the paper's Tables 2 and 3, row by row; exit code 1 if a count differs."""
    from overlap.release.paper import compare_tables, read_expected, render_comparison

    cells = compare_tables(folder, read_expected(expected))
    typer.echo(render_comparison(cells))
    n_other = sum(not cell.agrees for cell in cells)
    if n_other:
        raise CheckError(f"{folder}: {n_other} of {len(cells)} counts are not those of {expected}")
