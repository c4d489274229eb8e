"""The commands around people: votes, reviewers, and the app."""

from pathlib import Path
from typing import Annotated

import typer

from overlap.cli.options import ConfigOption, OutOption, SetOption, load

app = typer.Typer()
votes = typer.Typer(help="Bring votes in, take them out, or simulate reviewers.", no_args_is_help=True)
app.add_typer(votes, name="votes")
reviewers = typer.Typer(help="Say who may review.", no_args_is_help=True)
app.add_typer(reviewers, name="reviewers")


@votes.command("import")
def import_votes(
    file: Annotated[Path, typer.Argument(help="A CSV of votes, as 'overlap votes export' writes it.")],
    config: ConfigOption,
    overrides: SetOption = None,
) -> None:
    """Add the votes of a CSV file to the review store; votes that are there already are not added twice."""
    from overlap.pipeline.review import import_votes as import_file

    n_added = import_file(load(config, overrides), file)
    typer.echo(f"{file}: {n_added} votes added")


@votes.command("imports")
def list_imports(config: ConfigOption, overrides: SetOption = None) -> None:
    """List the imports: number, time, who, votes, file, and the reason of those that are void."""
    from overlap.pipeline.review import list_imports as list_all

    for line in list_all(load(config, overrides)):
        typer.echo(line)


@votes.command("void")
def void_import(
    which: Annotated[
        str,
        typer.Argument(
            metavar="IMPORT",
            help="Its number, as 'overlap votes imports' says it; or its file, if it is older than that list.",
        ),
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why; it stays in the log and stands in every release.")],
    config: ConfigOption,
    overrides: SetOption = None,
) -> None:
    """Declare an import void, for good: its votes stay in the log and count nowhere.

    Votes that another import brought too still count. A mended file can be imported anew.
    """
    from overlap.pipeline.review import void_import as void

    number, n_votes = void(load(config, overrides), which, reason=reason)
    typer.echo(f"import {number} is void: {n_votes} votes count no more")


@votes.command("export")
def export_votes(config: ConfigOption, out: OutOption, overrides: SetOption = None) -> None:
    """Write every vote, superseded ones too, as CSV."""
    from overlap.pipeline.review import export_votes as export_file

    n_votes = export_file(load(config, overrides), out)
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
    from overlap.pipeline.review import simulate_votes as simulate

    n_added = simulate(load(config, overrides), truth, reviewers=reviewers, error_rate=error_rate, seed=seed)
    typer.echo(f"{n_added} votes added")


@votes.command("audit")
def audit_votes(
    config: ConfigOption,
    expect: Annotated[str | None, typer.Option("--expect", help="The head that an earlier audit printed.")] = None,
    overrides: SetOption = None,
) -> None:
    """Prove that no vote was changed and none is missing; exit code 1 says what differs."""
    from overlap.pipeline.review import audit_votes as audit

    n_votes, head = audit(load(config, overrides), expect=expect)
    typer.echo(f"{n_votes:,} votes, none changed, none missing; head {head or 'none'}")


@app.command("review")
def open_app(config: ConfigOption, overrides: SetOption = None) -> None:
    """Open the review app on this machine; it prints a link that lets you in once."""
    from overlap.base.ports import require_free
    from overlap.pipeline.review import serve_app

    review = load(config, overrides).review
    require_free(review.address, review.port, setting="review.address and review.port")
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
    """Add a reviewer and print the personal token, this once."""
    from overlap.pipeline.review import add_reviewer as add

    token = add(load(config, overrides), name, role="lead" if lead else "reviewer")
    typer.echo(token)


@reviewers.command("revoke")
def revoke_reviewer(
    name: Annotated[str, typer.Argument(help="The name.")], config: ConfigOption, overrides: SetOption = None
) -> None:
    """Revoke a reviewer's access; the votes stay."""
    from overlap.pipeline.review import revoke_reviewer as revoke

    revoke(load(config, overrides), name)
    typer.echo(f"{name}: the token is revoked")


@reviewers.command("list")
def list_reviewers(config: ConfigOption, overrides: SetOption = None) -> None:
    """List everyone with role."""
    from overlap.pipeline.review import list_reviewers as list_all

    for line in list_all(load(config, overrides)):
        typer.echo(line)
