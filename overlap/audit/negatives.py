"""How often verification takes a landmark that is elsewhere for one of the evaluation set: negative controls.

The controls are landmarks known to be in no evaluation set, a list that the user gives: which ones are elsewhere is
knowledge about the world, and no part of what was searched. Their pairs went the way of all others, so the share of
controls that reach a score is the false-match rate at that score. Controls that reach the threshold are look-alikes; a
removed landmark whose best score is no higher than theirs rests on people alone.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from overlap.base.errors import DataError
from overlap.base.intervals import clopper_pearson


@dataclass(frozen=True)
class FalseMatches:
    """Hold the false-match rate of landmarks, with its exact 95 % interval (Clopper and Pearson).

    Args:
        n_controls: controls that the training set has.
        n_matched: those whose best score reaches the threshold.
        highest: the best score of any control.
        within_reach: removed landmarks whose best score is no higher than that, by landmark_id.
    """

    n_controls: int
    n_matched: int
    rate: float
    low: float
    high: float
    highest: float
    within_reach: tuple[int, ...]


def measure_false_matches(
    best: Mapping[int, float], controls: Collection[int], removed: Collection[int], *, threshold: float
) -> FalseMatches:
    """Measure how many controls are matched.

    Args:
        best: best score of each landmark that has a verified pair; others have none and count as not matched.
        controls: landmarks known to be elsewhere.
        removed: landmarks that were removed for their photos.

    Raises:
        DataError: there is no control, or one was removed, so that one of the two lists is wrong.
    """
    if not controls:
        raise DataError("audit.elsewhere lists no landmark of the training set; false matches need known negatives")
    wrong = sorted(set(controls) & set(removed))
    if wrong:
        raise DataError(
            f"audit.elsewhere: landmark_id {', '.join(map(str, wrong))} was removed: reviewers confirmed that it is in "
            "an evaluation set; mend the list, or look at the votes"
        )
    scores = [best.get(each, 0.0) for each in set(controls)]
    n_matched, highest = sum(score >= threshold for score in scores), max(scores)
    return FalseMatches(
        len(scores),
        n_matched,
        n_matched / len(scores),
        *clopper_pearson(n_matched, len(scores)),
        highest,
        tuple(sorted(each for each in set(removed) if best.get(each, 0.0) <= highest)),
    )
