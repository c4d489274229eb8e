"""The commands for who must defend a release: closure, audit, and policies compared."""

from typing import TYPE_CHECKING

import typer

from overlap.cli.options import ConfigOption, SetOption, open_config

if TYPE_CHECKING:
    from overlap.steps.audit import Audit

app = typer.Typer()
audits = typer.Typer(help="Say what the review can have missed.", no_args_is_help=True)
app.add_typer(audits, name="audit")


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


@audits.command("sample")
def sample(config: ConfigOption, overrides: SetOption = None) -> None:
    """Draw kept landmarks and put them before the reviewers, beside all evaluation landmarks."""
    from overlap.steps.audit import sample_audit

    with open_config(config, overrides) as opened:
        audited = sample_audit(opened)
    n_drawn = sum(audited["drawn"].to_pylist())
    typer.echo(f"{n_drawn:,} landmarks wait for the reviewers; when they are through, run 'overlap audit report'")


@audits.command("report")
def report(config: ConfigOption, overrides: SetOption = None) -> None:
    """Bound how many overlapping landmarks are left, from what the reviewers said of the drawn ones."""
    from overlap.steps.audit import report_audit

    with open_config(config, overrides) as opened:
        audit = report_audit(opened)
    for line in _lines(audit):
        typer.echo(line)


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
