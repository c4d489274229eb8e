"""What the report shows in defence of a decision: Figure 2, policies compared, the audit, agreement, recall."""

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from overlap.audit.recall import RecallPoint, recall_by_k
from overlap.base.config import Config
from overlap.base.store import read_json
from overlap.decisions.policy import SHIPPED, Policy, load_policy
from overlap.pipeline.decisions import Material, decide_by, rule_of
from overlap.pipeline.recall import LANDMARKS_FOUND, PHOTOS_FOUND, find_positives, read_recall
from overlap.pipeline.retrieve import read_candidates
from overlap.pipeline.review import open_reviews
from overlap.pipeline.run import find_current, is_current
from overlap.report.defence_figures import draw_recall, draw_reliability
from overlap.report.page import AuditView, Fact, PolicyRow, Ranking, StratumView
from overlap.review.agreement import Estimate
from overlap.review.board import Order, read_board
from overlap.review.summary import find_agreement

_RANKINGS = 6
_FIRST = 5


def rank_before_and_after(config: Config, removals: pa.Table) -> tuple[Ranking, ...]:
    """Return the first five photos of some queries that show a removed landmark, before and after; Figure 2.

    The queries with most removed photos among the first five are taken, one a landmark that stands first.
    """
    if not is_current(config, "candidates"):
        return ()
    gone = set(removals["landmark_id"].to_pylist())
    pairs = _read_searched(config).sort_by("rank")
    columns = ("evaluation_set", "query_id", "image_id", "landmark_id")
    found: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for name, query, image_id, landmark in zip(*(pairs[each].to_pylist() for each in columns), strict=True):
        found.setdefault((name, query), []).append((image_id, landmark))
    ranked = [(_ranking(query, photos, gone), photos[0][1]) for query, photos in found.items()]
    ranked.sort(
        key=lambda each: (-sum(removed for _, removed in each[0].before), each[0].evaluation_set, each[0].query_id)
    )
    first = {landmark: ranking for ranking, landmark in reversed(ranked) if landmark in gone}
    return tuple(first[landmark] for landmark in sorted(first))[:_RANKINGS]


def compare_shipped(config: Config, policy: Policy, material: Material) -> tuple[PolicyRow, ...]:
    """Return what every shipped policy, and the one applied, would remove; those without what they need left out."""
    policies = {name: load_policy(name) for name in SHIPPED} | {policy.name: policy}
    return tuple(
        _policy_row(config, each, material, chosen=each == policy)
        for each in policies.values()
        if (material.votes if each.evidence == "votes" else material.verified).num_rows
    )


def read_audit_view(config: Config) -> AuditView | None:
    """Return the last report of the audit, or None when there is none with these settings."""
    if not is_current(config, "audited"):
        return None
    audit: Any = read_json(find_current(config, "audited"), "audit")
    strata = tuple(
        StratumView(each["name"], each["size"], each["judged"], each["found"], most)
        for each, most in zip(audit["strata"], audit["bound"]["most"], strict=True)
    )
    reliability = audit["reliability"] or {"bins": ()}
    bins = tuple((low, high, n) for low, high, n in reliability["bins"])
    return AuditView(audit["bound"]["remaining"], strata, tuple(_audit_facts(audit)), bins)


def draw_plots(config: Config, material: Material, audit: AuditView | None) -> dict[str, bytes]:
    """Return the plots by title; none where matplotlib or what they show is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        return {}
    plots = {}
    if curves := _recall_curves(config, material):
        plots["Recall of the search"] = draw_recall(curves, k=config.search.k)
    if audit is not None and audit.reliability:
        plots["Chance that a pair is same, on landmarks it was not fitted on"] = draw_reliability(audit.reliability)
    return plots


def _recall_curves(config: Config, material: Material) -> dict[str, list[tuple[int, float]]]:
    """Return (k, recall) by kind: as 'overlap audit recall' measured it, or of confirmed photos up to search.k."""
    curves: dict[str, list[tuple[int, float]]] = {}
    if is_current(config, "recall"):
        for row in read_recall(config).to_pylist():
            if row["detector"] == "search":
                curves.setdefault(row["kind"], []).append((row["reach"], row["recall"]))
    elif points := measure_recall(config, material):
        curves[LANDMARKS_FOUND] = [(point.k, point.landmarks) for point in points]
        curves[PHOTOS_FOUND] = [(point.k, point.photos) for point in points]
    return curves


def measure_recall(config: Config, material: Material) -> tuple[RecallPoint, ...]:
    """Return recall by k, on all photos of the landmarks that people confirmed for each query and that go."""
    if not is_current(config, "candidates"):
        return ()
    positives = find_positives(config, material)
    candidates = _read_searched(config)
    ranks: dict[tuple[str, str], dict[str, int]] = {}
    columns = ("evaluation_set", "query_id", "image_id", "rank")
    for name, query, image_id, rank in zip(*(candidates[each].to_pylist() for each in columns), strict=True):
        ranks.setdefault((name, query), {})[image_id] = rank
    return recall_by_k(ranks, positives, k=config.search.k)


def agreement_facts(config: Config) -> tuple[Fact, ...]:
    """Return how far reviewers agree on the groups that all of them get."""
    settings = config.review
    order = Order(settings.seed, settings.shared_share, settings.gold_share)
    found = find_agreement(read_board(open_reviews(config), rule=rule_of(config), order=order))
    return tuple(
        Fact(f"{name}, {each.kind}", _figure(figure))
        for each in found
        for name, figure in (("Fleiss' kappa", each.kappa), ("Gwet's AC1", each.ac1))
        if figure.n
    )


def _read_searched(config: Config) -> pa.Table:
    """Return the CANDIDATES that have one rank each: found for the query as the reviewers see it."""
    candidates = read_candidates(config)
    return candidates.filter(pc.is_in(candidates["origin"], value_set=pa.array(["database", "global"])))


def _ranking(query: tuple[str, str], photos: Sequence[tuple[str, int]], gone: set[int]) -> Ranking:
    before = tuple((image_id, landmark in gone) for image_id, landmark in photos[:_FIRST])
    after = tuple((image_id, False) for image_id, landmark in photos if landmark not in gone)[:_FIRST]
    return Ranking(*query, before, after)


def _policy_row(config: Config, policy: Policy, material: Material, *, chosen: bool) -> PolicyRow:
    decision = decide_by(config, policy, material)
    removals, n_open = decision.removals, decision.n_for_removals
    n_images = pc.sum(removals["n_images"]).as_py() or 0
    return PolicyRow(policy.name, policy.description, removals.num_rows, n_images, chosen, n_open)


def _audit_facts(audit: Mapping[str, Any]) -> Iterable[Fact]:
    recognised = f"{audit['recognised']} of {audit['checks']}, so at least {audit['bound']['sensitivity']:.0%}"
    yield Fact("Known overlapping landmarks recognised", recognised)
    capture = audit["capture"]
    by = ", ".join(f"{name} {n}" for name, n in capture["by_detector"].items())
    yield Fact("Removed landmarks by detector", by or "none")
    yield Fact("Missed by all detectors, lower estimate (Chao), no bound", f"{capture['n_missing']:.1f}")
    matches = audit["false_matches"]
    if matches is not None:
        interval = f"{matches['low']:.1%} to {matches['high']:.1%}"
        yield Fact(
            "Landmarks known to be elsewhere that match",
            f"{matches['n_matched']} of {matches['n_controls']}, {interval}",
        )
        yield Fact(
            "Removed landmarks within reach of look-alikes", ", ".join(map(str, matches["within_reach"])) or "none"
        )
    if audit["reliability"] is not None:
        yield Fact("Brier score of a pair's chance, on unseen landmarks", f"{audit['reliability']['brier']:.3f}")


def _figure(figure: Estimate) -> str:
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f}), {figure.n:,} items"
