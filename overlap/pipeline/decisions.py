"""What the votes, or the scores, of a run decide: by its own policy or another."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from overlap.base.config import Config
from overlap.base.errors import ReviewError
from overlap.base.tables import CANDIDATES, VERIFIED
from overlap.datasets.catalogue import read_evaluation_set, read_landmarks
from overlap.decisions.decide import Decision, decide, decide_items
from overlap.decisions.policy import Policy, load_policy
from overlap.decisions.rule import Rule
from overlap.pipeline.photos import find_probes
from overlap.pipeline.review import audit_votes, open_reviews
from overlap.pipeline.run import is_current
from overlap.pipeline.verify import read_verified
from overlap.review.queue import build_items
from overlap.verify.pairs import review_threshold_of, threshold_of


@dataclass(frozen=True)
class Material:
    """Hold what a decision is made from.

    Args:
        items: REVIEW_ITEMS of the review store.
        votes: VOTES that count.
        verified: VERIFIED; empty where the votes were made elsewhere.
        landmarks: LANDMARKS of the training set.
        queries: by evaluation set the ids that were asked about: queries, or with search.probes "all" every photo.
    """

    items: pa.Table
    votes: pa.Table
    verified: pa.Table
    landmarks: pa.Table
    queries: Mapping[str, list[str]]


def rule_of(config: Config, policy: Policy | None = None) -> Rule:
    """Return what of a policy, by default the config's, and of the review's settings decides."""
    policy = policy or load_policy(config.policy.name)
    return policy.rule(reviewers=config.review.reviewers, figures=config.review.figures)


def read_material(config: Config) -> Material:
    """Read what decisions are made from.

    Raises:
        CheckError: a vote was changed.
    """
    audit_votes(config)
    reviews = open_reviews(config)
    evaluations = [read_evaluation_set(evaluation) for evaluation in config.evaluation]
    return Material(
        reviews.read_items(),
        reviews.counting_votes(),
        read_verified(config) if is_current(config, "verified") else VERIFIED.empty_table(),
        read_landmarks(config.train),
        {each.name: find_probes(config, each)["image_id"].to_pylist() for each in evaluations},
    )


def decide_by(config: Config, policy: Policy, material: Material) -> Decision:
    """Decide by a policy.

    Raises:
        ReviewError: the policy needs votes and there are none.
        ArtifactError: it needs verified pairs and there are none of these settings.
    """
    items, verified = material.items, material.verified
    if policy.evidence == "scores":
        verified = read_verified(config) if not verified.num_rows else verified
        low = review_threshold_of(config.verify, config.review.threshold)
        items = build_items(verified, CANDIDATES.empty_table(), threshold=low)
    elif not material.votes.num_rows and (items.num_rows or not is_current(config, "queue")):
        raise ReviewError(
            f"{items.num_rows} items wait for review and there is no vote yet: let reviewers vote, or bring votes in "
            "with 'overlap votes import'; to decide without people, use --set policy.name=automatic"
        )
    return decide(
        rule_of(config, policy),
        items=items,
        votes=material.votes,
        verified=verified,
        landmarks=material.landmarks,
        threshold=threshold_of(config.verify),
        queries=material.queries,
    )


def decide_by_people(config: Config, material: Material) -> pa.Table:
    """Return the DECISIONS of people's votes, whatever evidence the config's policy goes by."""
    return decide_items(rule_of(config), items=material.items, votes=material.votes)[0]


def decide_now(config: Config) -> Decision:
    """Return what 'publish' would decide now.

    Raises:
        ReviewError: the policy needs votes and there are none.
        CheckError: a vote was changed.
    """
    return decide_by(config, load_policy(config.policy.name), read_material(config))


def tabulate_items(config: Config) -> pa.Table:
    """Return the present DECISIONS."""
    return decide_now(config).items


def tabulate_landmarks(config: Config) -> pa.Table:
    """Return the present OUTCOMES for people: what beat a landmark as text, ``SET QUERY: LANDMARK`` and so on."""
    outcomes = decide_now(config).landmarks
    cells = [
        "; ".join(f"{each['evaluation_set']} {each['query_id']}: {each['landmark_id']}" for each in beaten)
        for beaten in outcomes["beaten"].to_pylist()
    ]
    return outcomes.set_column(outcomes.column_names.index("beaten"), "beaten", pa.array(cells, pa.string()))


def decide_removals(config: Config) -> pa.Table:
    """Return the REMOVALS that 'publish' would make now."""
    return decide_now(config).removals
