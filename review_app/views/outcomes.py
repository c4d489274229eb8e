"""What becomes of a landmark, in words."""

from collections.abc import Mapping

from overlap.base.pages import plural
from overlap.decisions.outcomes import count_states
from overlap.review.summary import Standing

_MOST_QUERIES = 5


def say_outcome(names: Mapping[int, str], standing: Standing) -> list[str]:
    """Return lines: whether the landmark goes and why, its items, and what has more photos of its queries.

    Args:
        names: landmark names.
    """
    outcome = standing.outcome
    fate = "Is removed" if outcome["removed"] else "Stays in"
    lines = [f"{fate}{'' if standing.is_settled else ', as things stand'}: {outcome['reason']}."]
    if outcome["removed"]:
        counted = (f"{n} {state.replace('_', ' ')}" for state, n in count_states(outcome).items() if n)
        lines.append(f"Of {plural(outcome['n_items'], 'item')}: {', '.join(counted)}.")
    if outcome["beaten"]:
        shown = [_say_beaten(names, each) for each in outcome["beaten"][:_MOST_QUERIES]]
        more = f" and {len(outcome['beaten']) - len(shown)} more" if len(shown) < len(outcome["beaten"]) else ""
        lines.append(f"Beaten for {', '.join(shown)}{more}.")
    return lines


def _say_beaten(names: Mapping[int, str], beaten: Mapping[str, object]) -> str:
    landmark = int(str(beaten["landmark_id"]))
    return f"{beaten['query_id']} of {beaten['evaluation_set']} ({names.get(landmark) or 'landmark'} {landmark})"
