"""Two policies on the same votes: what flips, why, and how firmly it stands."""

from dataclasses import dataclass

from overlap.base.config import Config
from overlap.decisions.counterfactual import Least, keeps_removed, would_remove
from overlap.decisions.decide import describe_review
from overlap.decisions.policy import Policy, load_policy
from overlap.pipeline.decisions import Material, decide_by, read_material


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
    policies, material = [load_policy(name) for name in (first, second)], read_material(config)
    stands = [_stands(config, policy, material) for policy in policies]
    known = {row["landmark_id"]: row for row in material.landmarks.to_pylist()}
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


def describe_reviews(config: Config, *names: str) -> list[str]:
    """Return for each policy how far the review is by it: reviewers stop when the config's own is settled."""
    material = read_material(config)
    decisions = [decide_by(config, load_policy(name), material) for name in names]
    return [describe_review(each.rule, each.n_for_removals, each.n_for_figures) for each in decisions]


_NOTHING = Stand(False, "nothing speaks against it", None)


def _stands(config: Config, policy: Policy, material: Material) -> dict[int, Stand]:
    decision = decide_by(config, policy, material)
    least = {**would_remove(decision.items, decision.rule), **keeps_removed(decision.items, decision.rule)}
    columns = ("landmark_id", "removed", "reason")
    rows = zip(*(decision.landmarks[name].to_pylist() for name in columns), strict=True)
    return {landmark: Stand(removed, why, least.get(landmark)) for landmark, removed, why in rows}
