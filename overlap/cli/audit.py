"""The commands for who must defend a release: closure, audit, and policies compared."""

import typer

from overlap.cli.options import ConfigOption, SetOption, open_config

app = typer.Typer()


@app.command()
def closure(config: ConfigOption, overrides: SetOption = None) -> None:
    """Propose landmark ids that hang together with confirmed ones; let people vote, and repeat until nothing is new."""
    from overlap.steps.closure import close

    with open_config(config, overrides) as opened:
        proposed = close(opened)
    typer.echo(
        f"{len(proposed.seeds)} confirmed landmarks hang together with {proposed.proposals.num_rows} others"
        + (f", {proposed.n_new} new: let reviewers answer, then run this again" if proposed.n_new else ", nothing new")
    )
