"""What becomes of a landmark, in words."""

from collections import Counter
from collections.abc import Iterable, Mapping

from overlap.decisions.outcomes import count_states
from overlap.review.summary import Standing
from review_app.room import Room

_MOST_QUERIES = 5


def say_states(states: Iterable[str]) -> str:
    """Return how many items are in each state: 3 confirmed, 1 rejected."""
    return ", ".join(f"{n} {state.replace('_', ' ')}" for state, n in Counter(states).items())


def say_outcome(room: Room, standing: Standing) -> list[str]:
    """Return lines: whether the landmark goes, why, and which other landmarks have more photos of its queries."""
    outcome = standing.outcome
    states = Counter(count_states(outcome))
    counted = say_states(states.elements())
    fate = "Is removed" if outcome["removed"] else "Stays in, as things stand" if outcome["n_open"] else "Stays in"
    lines = [f"{fate}. {outcome['n_items']} items: {counted}."]
    if outcome["beaten"]:
        shown = [_say_beaten(room.gallery.names, each) for each in outcome["beaten"][:_MOST_QUERIES]]
        more = f" and {len(outcome['beaten']) - len(shown)} more" if len(shown) < len(outcome["beaten"]) else ""
        lines.append(f"Beaten for {', '.join(shown)}{more}.")
    return lines


def _say_beaten(names: Mapping[int, str], beaten: Mapping[str, object]) -> str:
    landmark = int(str(beaten["landmark_id"]))
    return f"{beaten['query_id']} of {beaten['evaluation_set']} ({names.get(landmark) or 'landmark'} {landmark})"
