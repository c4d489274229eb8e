"""The commands of the benchmark: impact, ablate."""

from pathlib import Path
from typing import Annotated

import typer

from overlap.cli.options import ConfigOption, SetOption, open_config

app = typer.Typer()


@app.command()
def impact(config: ConfigOption, overrides: SetOption = None) -> None:
    """Train networks on both versions of the training set, and on placebos, and say what the overlap did.

    Writes tables, figures and a page into the folder impact of the store, or impact.out. Killed, it goes on where it
    was.
    """
    from overlap.base.grids import render_text
    from overlap.pipeline.findings import measure_impact

    with open_config(config, overrides) as run:
        findings = measure_impact(run)
    for grid in findings.grids:
        typer.echo(render_text(grid))
    typer.echo(f"page:    {findings.page}\ntables:  {findings.page.parent}")


@app.command()
def ablate(
    what: Annotated[
        str, typer.Argument(help="components, options, background, masks, finetuning, or the path of a TOML file.")
    ],
    config: ConfigOption,
    overrides: SetOption = None,
) -> None:
    """Train CiDeR in several settings, and print the paper's table of them: Tables 5 to 9.

    Seeds, sizes and protocol are those of the section impact, the backbone that of network.name.
    """
    from overlap.base.grids import render_text
    from overlap.pipeline.ablate import load_ablation, run_ablation

    ablation = load_ablation(what)
    with open_config(config, overrides) as run:
        ablated = run_ablation(run, ablation, name=Path(what).stem)
    typer.echo(render_text(ablated.grid))
    typer.echo(f"tables:  {ablated.folder}")
