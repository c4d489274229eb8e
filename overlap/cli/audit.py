"""The commands for who must defend a release: closure, audit, and policies compared."""

from typing import TYPE_CHECKING, Annotated

import typer

from overlap.cli.options import ConfigOption, SetOption, load, open_config

if TYPE_CHECKING:
    from overlap.decisions.counterfactual import Least
    from overlap.pipeline.audit import Audit
    from overlap.pipeline.policies import Compared
    from overlap.pipeline.recall import Reach

app = typer.Typer()
audits = typer.Typer(help="Say what the review can have missed.", no_args_is_help=True)
app.add_typer(audits, name="audit")
policies = typer.Typer(help="Look at removal policies.", no_args_is_help=True)
app.add_typer(policies, name="policy")


@app.command()
def closure(config: ConfigOption, overrides: SetOption = None) -> None:
    """Propose landmark ids that hang together with confirmed ones; let people vote, and repeat until nothing is new."""
    from overlap.pipeline.closure import close

    with open_config(config, overrides) as opened:
        proposed = close(opened)
    typer.echo(
        f"{len(proposed.seeds)} confirmed landmarks hang together with {proposed.proposals.num_rows} others"
        + (f", {proposed.n_new} new: let reviewers answer, then run this again" if proposed.n_new else ", nothing new")
    )


@app.command("report")
def write_report(config: ConfigOption, overrides: SetOption = None) -> None:
    """Write the report alone: one HTML file that opens offline, and no release."""
    from overlap.pipeline.publish import report as write

    with open_config(config, overrides) as opened:
        path = write(opened)
    typer.echo(f"report: {path}")


@audits.command("sample")
def sample(config: ConfigOption, overrides: SetOption = None) -> None:
    """Draw kept landmarks and put them before the reviewers, beside all evaluation landmarks."""
    from overlap.pipeline.audit import sample_audit

    with open_config(config, overrides) as opened:
        audited = sample_audit(opened)
    n_drawn = sum(audited["drawn"].to_pylist())
    typer.echo(f"{n_drawn:,} landmarks wait for the reviewers; when they are through, run 'overlap audit report'")


@audits.command("report")
def report_audit(config: ConfigOption, overrides: SetOption = None) -> None:
    """Bound how many overlapping landmarks are left, from what the reviewers said of the drawn ones."""
    from overlap.pipeline.audit import report_audit as sum_up

    with open_config(config, overrides) as opened:
        audit = sum_up(opened)
    for line in _lines(audit):
        typer.echo(line)


@audits.command("recall")
def recall(
    config: ConfigOption,
    photos: Annotated[int, typer.Option(min=1, help="How many evaluation photos to plant at most.")] = 200,
    overrides: SetOption = None,
) -> None:
    """Measure how much search and hashes find: of changed evaluation photos, and of what people confirmed."""
    from overlap.pipeline.recall import measure_planted

    with open_config(config, overrides) as opened:
        reaches = measure_planted(opened, n_photos=photos)
    for each in reaches:
        typer.echo(_reach_line(each))
    typer.echo("the curves: 'overlap export recall', and in the report")


def _reach_line(reach: "Reach") -> str:
    unit, setting = {"search": ("photos", "search.k"), "copies": ("bits", "search.copies")}[reach.detector]
    return (
        f"{reach.detector}: {reach.kind}, {reach.n:,}: {reach.share:.1%} found with {setting} = {reach.limit:,}; "
        f"99 % within {reach.enough:,} {unit}"
    )


def _lines(audit: "Audit") -> list[str]:
    lines = [
        f"{each.name}: {each.judged:,} of {each.size:,} landmarks judged, {each.found} found, at most {most:,} overlap"
        for each, most in zip(audit.strata, audit.bound.most, strict=True)
    ]
    lines.append(
        f"known landmarks recognised: {audit.recognised} of {audit.checks}, sensitivity at least "
        f"{audit.bound.sensitivity:.1%}"
    )
    lines.append(f"left when the found ones are removed: at most {audit.bound.remaining:,} landmarks, 95 % confidence")
    lines.append(f"capture-recapture: no detector found {audit.capture.n_missing:.1f} more, at least (no bound)")
    if audit.false_matches is not None:
        matches = audit.false_matches
        lines.append(
            f"false matches: {matches.n_matched} of {matches.n_controls} landmarks that are elsewhere, "
            f"{matches.low:.1%} to {matches.high:.1%}"
        )
    if audit.reliability is not None:
        lines.append(f"Brier score of the chance of a pair: {audit.reliability.brier:.3f}, on unseen landmarks")
    return lines


@policies.command("diff")
def diff(
    first: Annotated[str, typer.Argument(help="A shipped policy, or the path of a TOML file.")],
    second: Annotated[str, typer.Argument(help="The policy to compare it with.")],
    config: ConfigOption,
    whole: Annotated[bool, typer.Option("--all", help="Show landmarks, too, that both policies treat alike.")] = False,
    overrides: SetOption = None,
) -> None:
    """List what flips between two policies and why, and the least evidence each decision rests on or waits for."""
    from overlap.pipeline.policies import compare_policies, describe_reviews

    loaded = load(config, overrides)
    compared, reviews = compare_policies(loaded, first, second), describe_reviews(loaded, first, second)
    for number, name in enumerate((first, second)):
        gone = [each for each in compared if each.stands[number].removed]
        typer.echo(f"{name}: {len(gone):,} landmarks, {sum(each.n_images for each in gone):,} photos removed")
        typer.echo(f"  review {reviews[number]}")
    flips = [each for each in compared if each.flips]
    typer.echo(f"flipping: {len(flips):,} landmarks, {sum(each.n_images for each in flips):,} photos")
    for each in compared if whole else flips:
        _show_compared(each, (first, second))


def _show_compared(compared: "Compared", names: tuple[str, str]) -> None:
    typer.echo(f"\n{compared.landmark_id}  {compared.name}, {compared.n_images:,} photos")
    for name, stand in zip(names, compared.stands, strict=True):
        typer.echo(f"  {name} {'removes' if stand.removed else 'keeps'} it: {stand.why}")
        typer.echo(f"    {_weight(stand.least, removed=stand.removed)}")


def _weight(least: "Least | None", *, removed: bool) -> str:
    if least is None:
        return "no vote on what is queued would remove it"
    where = "on the landmark as a whole" if least.query is None else f"for query {least.query[1]} of {least.query[0]}"
    items = f"{least.n_votes} yes on {len(least.items)} {'item' if len(least.items) == 1 else 'items'} {where}"
    return f"{items} would be enough to keep it removed" if removed else f"{items} more would remove it"
