"""Measure what an overlap of training and evaluation set does to the scores of retrieval networks.

Every network is trained with the same code, seeds and number of steps on every version of the training set; versions
differ by landmarks alone. What is compared with what is said in ``overlap.study.evaluation.impact``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from overlap.base.config import Config
from overlap.base.tables import DOSES, ORDERS, as_table
from overlap.pipeline.photos import Sets, read_sets
from overlap.pipeline.run import Run
from overlap.pipeline.trials import Trial, TrialResult, run_trials
from overlap.pipeline.versions import (
    NO_LOOKALIKES,
    Overlap,
    Plan,
    find_release,
    plan_versions,
    read_overlap,
    versions_table,
)
from overlap.study.evaluation.dose import Dose, dose_table
from overlap.study.evaluation.impact import (
    CLEAN,
    FULL,
    PairedScores,
    changes_table,
    effects_table,
    pair_scores,
)
from overlap.study.evaluation.order import Change, compare_orders
from overlap.study.evaluation.protocol import REVISITED

_PLACEBO, _DOSE = "placebo-", "dose-"


@dataclass(frozen=True, eq=False)
class Study:
    """Hold what an impact study found.

    Args:
        release: the folder that the second version was read from.
        plans: the versions.
        outcomes: one a network, version and seed.
        versions: VERSIONS.
        scores: SCORES of all outcomes.
        query_scores: QUERY_SCORES of all outcomes.
        effects: EFFECTS under every protocol.
        lookalikes: EFFECTS of the look-alikes: clean minus the version without them.
        changes: CHANGES under the study's protocol.
        orders: ORDERS under the study's protocol.
        doses: DOSES under the study's protocol.
    """

    release: Path
    sets: Sets
    overlap: Overlap
    plans: tuple[Plan, ...]
    outcomes: tuple[TrialResult, ...]
    versions: pa.Table
    scores: pa.Table
    query_scores: pa.Table
    effects: pa.Table
    lookalikes: pa.Table
    changes: pa.Table
    orders: pa.Table
    doses: pa.Table


def study_impact(run: Run) -> Study:
    """Train every network on every version, score it, and estimate the effect of the overlap.

    Raises:
        DataError: there is no release, or it does not fit the config's evaluation sets.
        ConfigError: there are too few landmarks for placebos, or a training diverges.
    """
    release = find_release(run)
    sets = read_sets(run)
    overlap = read_overlap(release, sets.evaluations)
    plans = plan_versions(run.config, overlap, sets.training.landmarks)
    trials = plan_trials(run.config, plans)
    run.say(
        f"{len(trials)} trainings of {run.config.training.steps} steps: {len(run.config.impact.networks)} networks, "
        f"{len(plans)} versions, {len(run.config.impact.seeds)} seeds; the release is {release}"
    )
    outcomes = run_trials(run, trials, label="train and score")
    return _summarise(run.config, release, sets, overlap, plans, outcomes)


def plan_trials(config: Config, plans: Sequence[Plan]) -> list[Trial]:
    """List the trainings, the whole comparison for one seed after the other."""
    return [
        Trial(name, config.network.model_copy(update={"name": name}), config.training, plan, seed)
        for seed in config.impact.seeds
        for plan in plans
        for name in config.impact.networks
    ]


def _summarise(
    config: Config,
    release: Path,
    sets: Sets,
    overlap: Overlap,
    plans: tuple[Plan, ...],
    outcomes: Sequence[TrialResult],
) -> Study:
    settings = config.impact
    query_scores = pa.concat_tables([outcome.query_scores for outcome in outcomes])
    paired = {protocol: _pair_all(config, query_scores, overlap, plans, protocol) for protocol in REVISITED}
    chosen = paired[settings.protocol]
    return Study(
        release,
        sets,
        overlap,
        plans,
        tuple(outcomes),
        versions_table(sets, plans),
        pa.concat_tables([outcome.scores for outcome in outcomes]),
        query_scores,
        pa.concat_tables(
            [effects_table(scores, protocol=protocol, seed=settings.seed) for protocol, scores in paired.items()]
        ),
        _lookalikes(config, query_scores, overlap, plans),
        changes_table(chosen, protocol=settings.protocol),
        _orders(chosen, seed=settings.seed),
        _doses(config, query_scores, overlap, plans, chosen),
    )


def _pair_all(
    config: Config, query_scores: pa.Table, overlap: Overlap, plans: Sequence[Plan], protocol: str
) -> dict[str, PairedScores]:
    placebos = [plan.name for plan in plans if plan.name.startswith(_PLACEBO)]
    return {
        network: _pair(query_scores, overlap, network=network, protocol=protocol, placebos=placebos)
        for network in config.impact.networks
    }


def _pair(
    query_scores: pa.Table,
    overlap: Overlap,
    *,
    network: str,
    protocol: str,
    placebos: Sequence[str] = (),
    versions: tuple[str, str] = (FULL, CLEAN),
) -> PairedScores:
    return pair_scores(
        query_scores,
        network=network,
        protocol=protocol,
        placebos=placebos,
        groups=overlap.landmarks,
        overlapping=overlap.overlapping,
        versions=versions,
    )


def _lookalikes(config: Config, query_scores: pa.Table, overlap: Overlap, plans: Sequence[Plan]) -> pa.Table:
    """Estimate what look-alikes in the training set do: clean minus the version without them."""
    if NO_LOOKALIKES not in [plan.name for plan in plans]:
        return effects_table({}, protocol=config.impact.protocol)
    pairs = {
        network: _pair(
            query_scores,
            overlap,
            network=network,
            protocol=config.impact.protocol,
            versions=(CLEAN, NO_LOOKALIKES),
        )
        for network in config.impact.networks
    }
    return effects_table(
        pairs, protocol=config.impact.protocol, seed=config.impact.seed, versions=(CLEAN, NO_LOOKALIKES)
    )


def _orders(paired: Mapping[str, PairedScores], *, seed: int) -> pa.Table:
    """Order the methods on each version; with one method there is no order."""
    methods = list(paired)
    if len(methods) < 2:
        return ORDERS.empty_table()
    groups = paired[methods[0]].groups
    full = [paired[name].full[:, np.newaxis] for name in methods]
    others = {CLEAN: [paired[name].clean[:, np.newaxis] for name in methods]}
    if paired[methods[0]].placebos.shape[1]:
        others["placebo"] = [paired[name].placebos for name in methods]
    changes = {name: compare_orders(methods, full, values, groups, seed=seed) for name, values in others.items()}
    rows = _order_rows(FULL, changes[CLEAN], second=False)
    for name, change in changes.items():
        rows += _order_rows(name, change, second=True)
    return as_table(rows, ORDERS)


def _order_rows(version: str, change: Change, *, second: bool) -> list[dict[str, object]]:
    orders = change.second if second else change.first
    return [
        {
            "training_set": version,
            "networks": list(order),
            "share": share,
            "observed": order == orders.observed,
            "differs_from_full": change.differs if second and order == orders.observed else None,
        }
        for order, share in ({orders.observed: orders.share} | dict(orders.by_order)).items()
    ]


def _doses(
    config: Config, query_scores: pa.Table, overlap: Overlap, plans: Sequence[Plan], paired: Mapping[str, PairedScores]
) -> pa.Table:
    """Average the scores at each dose, from none given back (clean) to all (full)."""
    given = [plan for plan in plans if plan.name.startswith(_DOSE)]
    if not given:
        return DOSES.empty_table()
    tables = []
    for network, scores in paired.items():
        values = {(): scores.clean, overlap.removed: scores.full}
        for plan in given:
            pair = _pair(
                query_scores, overlap, network=network, protocol=config.impact.protocol, versions=(FULL, plan.name)
            )
            values[plan.back] = pair.clean
        doses = [
            Dose(len(back), ap, np.isin(np.arange(len(scores.queries)), _places(scores, overlap, back)))
            for back, ap in sorted(values.items(), key=lambda item: len(item[0]))
        ]
        tables.append(dose_table(doses, scores.groups, scores.overlapping, network=network, seed=config.impact.seed))
    return pa.concat_tables(tables)


def _places(scores: PairedScores, overlap: Overlap, back: Sequence[int]) -> list[int]:
    restored = overlap.restored(back)
    return [place for place, query in enumerate(scores.queries) if query in restored]
