"""What confirms an item and what confirmed items remove: the one rule that decisions and the stopping rule follow."""

from dataclasses import dataclass

from overlap.base.tables import CONFIRMING


@dataclass(frozen=True)
class Rule:
    """Hold what of a policy and of the review's settings decides.

    Args:
        evidence: what confirms a pair, ``votes`` or ``scores``.
        confirmations: how many confirming votes an item takes.
        per_query: of the landmarks that a query has confirmed photos of, the one with ``most`` goes, or ``all``.
        ties: ``all`` or ``none`` of the landmarks that tie for a query go.
        whole: the origins (text, closure, audit) of landmarks that go when people confirm them as a whole.
        unsure_confirms: whether "unsure" is a yes.
        reviewers: how many people judge an item at most.
        figures: whether people go on, after all removals are settled, until the published figures are.
    """

    evidence: str = "votes"
    confirmations: int = 1
    per_query: str = "most"
    ties: str = "all"
    whole: frozenset[str] = frozenset({"text"})
    unsure_confirms: bool = False
    reviewers: int = 3
    figures: bool = True

    @property
    def confirming(self) -> frozenset[str]:
        """Return the answers that are a yes."""
        return CONFIRMING | {"unsure"} if self.unsure_confirms else CONFIRMING

    @property
    def opposing(self) -> frozenset[str]:
        """Return the answers that are a no; "unsure" is none."""
        return frozenset({"same_site", "different"})
