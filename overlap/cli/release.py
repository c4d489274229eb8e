"""The commands of who downloads a release: verify-release, apply. They need the base install only."""

from pathlib import Path
from typing import Annotated

import typer

from overlap.cli.options import OutOption
from overlap.errors import CheckError

app = typer.Typer()


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
