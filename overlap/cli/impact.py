"""The commands of the benchmark: impact."""


import typer

from overlap.cli.options import ConfigOption, SetOption, open_config

app = typer.Typer()


@app.command()
def impact(config: ConfigOption, overrides: SetOption = None) -> None:
    """Train networks on both versions of the training set, and on placebos, and say what the overlap did.

    Writes tables, figures and a page into the folder impact of the store, or impact.out. Killed, it goes on where it
    was.
    """
    from overlap.report.tables import render_text
    from overlap.steps.findings import measure_impact

    with open_config(config, overrides) as run:
        findings = measure_impact(run)
    for grid in findings.grids:
        typer.echo(render_text(grid))
    typer.echo(f"page:    {findings.page}\ntables:  {findings.page.parent}")
