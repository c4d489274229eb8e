"""Two policies on the same votes: what flips, why, and how firmly it stands."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from overlap.config import Config
from overlap.counterfactual import Least, Rule, keeps_removed, would_remove
from overlap.datasets.catalogue import read_landmarks
from overlap.policy import Policy, explain, load_policy
from overlap.review.queue import believed, build_items
from overlap.steps.publish import decide_removals
from overlap.steps.review import open_reviews
from overlap.steps.verify import read_verified
from overlap.tables import CANDIDATES, CONFIRMING
from overlap.verify.pairs import review_threshold_of, threshold_of


@dataclass(frozen=True)
class Stand:
    """Say what a policy does with a landmark.

    Args:
        removed: whether it goes.
        why: the reason in words.
        least: the least evidence that keeps it removed, or that would remove it; None when none on the items would.
    """

    removed: bool
    why: str
    least: Least | None


@dataclass(frozen=True)
class Compared:
    """Hold a landmark that is removed by one of two policies, or is suspicious and kept by both."""

    landmark_id: int
    name: str
    n_images: int
    stands: tuple[Stand, Stand]

    @property
    def flips(self) -> bool:
        """Tell whether one policy removes it and the other does not."""
        return self.stands[0].removed != self.stands[1].removed


def compare_policies(config: Config, first: str, second: str) -> list[Compared]:
    """Compare what two policies make of the votes and scores there are.

    Returns:
        Landmarks that one of them removes, or that have an item; those that flip first, then by id.

    Raises:
        ConfigError: there is no such policy.
        ReviewError: a policy needs votes and there are none.
    """
    stands = [_stands(config, name) for name in (first, second)]
    known = {row["landmark_id"]: row for row in read_landmarks(config.train).to_pylist()}
    compared = [
        Compared(
            landmark,
            known[landmark]["landmark_name"],
            known[landmark]["n_images"],
            (stands[0].get(landmark, _NOTHING), stands[1].get(landmark, _NOTHING)),
        )
        for landmark in sorted(stands[0].keys() | stands[1].keys())
        if landmark in known
    ]
    return sorted(compared, key=lambda each: (not each.flips, each.landmark_id))


def rule_and_yes(config: Config, policy: Policy) -> tuple[Rule, pa.Table, dict[str, int]]:
    """Return what of the policy decides, the REVIEW_ITEMS it looks at, and the yeses on each."""
    origins = {name for name in ("text", "closure", "audit") if getattr(policy, name)}
    rule = Rule(policy.confirmations, policy.per_query, policy.ties, frozenset(origins))
    if policy.evidence == "scores":
        verified = read_verified(config)
        low = review_threshold_of(config.verify, config.review.threshold)
        items = build_items(verified, CANDIDATES.empty_table(), threshold=low)
        sure = believed(verified, threshold=threshold_of(config.verify))
        confirmed = build_items(sure, CANDIDATES.empty_table(), threshold=threshold_of(config.verify))
        return rule, items, dict.fromkeys(confirmed["item_id"].to_pylist(), policy.confirmations)
    reviews = open_reviews(config)
    votes = reviews.counting_votes()
    answers = CONFIRMING | ({"unsure"} if policy.unsure_confirms else frozenset())
    said = zip(votes["item_id"].to_pylist(), votes["answer"].to_pylist(), strict=True)
    return rule, reviews.read_items(), dict(Counter(item for item, answer in said if answer in answers))


_NOTHING = Stand(False, "nothing speaks against it", None)


def _stands(config: Config, name: str) -> dict[int, Stand]:
    policy = load_policy(name)
    chosen = config.model_copy(update={"policy": config.policy.model_copy(update={"name": name})})
    removals = decide_removals(chosen)
    rule, items, yes = rule_and_yes(config, policy)
    stays, comes = keeps_removed(items, yes, rule), would_remove(items, yes, rule)
    why = explain(policy, removals)
    kept = {landmark: Stand(False, _why_kept(items, yes, landmark), least) for landmark, least in comes.items()}
    return kept | {landmark: Stand(True, words, stays.get(landmark)) for landmark, words in why.items()}


def _why_kept(items: pa.Table, yes: Mapping[str, int], landmark_id: int) -> str:
    rows: list[dict[str, Any]] = items.filter(pc.equal(items["landmark_id"], landmark_id)).to_pylist()
    confirmed = sum(yes.get(row["item_id"], 0) > 0 for row in rows)
    if not confirmed:
        return f"none of its {len(rows)} items is confirmed"
    return (
        f"{confirmed} of its {len(rows)} items are confirmed, but the policy does not count them, or another has more"
    )
