"""DECISIONS to OUTCOMES: which landmarks go by a rule, why, and what beat those that stay."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.pages import plural
from overlap.base.tables import DECISIONS, LANDMARKS, OUTCOMES, STATES, as_table, checked
from overlap.decisions.fate import find_removed, number_items, origin_of_whole
from overlap.decisions.rule import Rule

_Row: TypeAlias = Mapping[str, Any]
_Query: TypeAlias = tuple[str, str]  # evaluation set and query


def decide_landmarks(decisions: pa.Table, rule: Rule, *, landmarks: pa.Table, sets: Sequence[str] = ()) -> pa.Table:
    """Return the OUTCOMES of the landmarks that items ask about, by landmark_id.

    A landmark counts once, for visual evidence before its name; with several evaluation sets, for the one in which most
    queries show it, then the first in `sets`, then by name. Its n_queries and n_confirmed are those of that set; its
    evidence is all of it. Of these only n_confirmed and the evidence grow when more photos of the same queries are
    confirmed.

    Args:
        decisions: DECISIONS.
        landmarks: LANDMARKS; those that are not in it get no name and no images.
        sets: the evaluation sets in order.
    """
    rows: dict[int, list[_Row]] = defaultdict(list)
    for row in checked(decisions, DECISIONS).select(_READ).to_pylist():
        rows[row["landmark_id"]].append(row)
    wanted = pa.array(sorted(rows), pa.int64())
    known = checked(landmarks, LANDMARKS).filter(pc.is_in(landmarks["landmark_id"], value_set=wanted)).to_pylist()
    named = {row["landmark_id"]: row for row in known}
    removed = removed_ids(decisions, rule)
    removing, beaten = _compare((row for each in rows.values() for row in each), rule)
    outcomes = []
    for landmark in sorted(rows):
        outcome = {"landmark_id": landmark, "landmark_name": "", "n_images": 0} | named.get(landmark, {})
        outcome |= {"removed": landmark in removed, "beaten": beaten.get(landmark, [])}
        outcome |= _count(rows[landmark], sets, rule)
        why = _why_kept(outcome, rule)
        if outcome["removed"]:
            why = _why_removed(outcome, rows[landmark], removing.get(landmark, ()), rule)
        outcomes.append(outcome | {"reason": why})
    return as_table(outcomes, OUTCOMES)


_READ = ("item_id", "evaluation_set", "query_id", "image_id", "landmark_id", "origin", "state", "disputed")


def removed_ids(decisions: pa.Table, rule: Rule) -> set[int]:
    """Return the landmarks that the confirmed of some DECISIONS remove."""
    sure = pc.equal(decisions["state"], "confirmed").to_numpy().astype(bool)
    ids = np.unique(decisions["landmark_id"].to_numpy())
    return set(ids[find_removed(number_items(decisions, rule), sure, rule)].tolist())


def _compare(rows: Iterable[_Row], rule: Rule) -> tuple[dict[int, set[str]], dict[int, list[dict[str, Any]]]]:
    """Compare the landmarks of each query by their confirmed photos.

    Returns:
        By landmark the evaluation sets with a query by which it goes, whatever becomes of other landmarks' photos; and
        the queries that others have more confirmed photos of, or as many where ties remove nobody, with each of these.
    """
    photos: dict[_Query, Counter[int]] = defaultdict(Counter)
    undecided: dict[_Query, Counter[int]] = defaultdict(Counter)
    for row in rows:
        if _is_pair(row) and row["state"] != "rejected":
            counted = photos if row["state"] == "confirmed" else undecided
            counted[_query(row)][row["landmark_id"]] += 1
    removing: dict[int, set[str]] = defaultdict(set)
    beaten: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for (name, query_id), counts in sorted(photos.items()):
        possible = counts + undecided[name, query_id]
        for landmark, n in counts.items():
            most = max((possible[other] for other in possible if other != landmark), default=0)
            if rule.per_query == "all" or n > most or (n == most and rule.ties == "all"):
                removing[landmark].add(name)
        if rule.per_query == "most":
            for landmark, others in _find_greater(counts, ties_beat=rule.ties == "none"):
                beaten[landmark] += [
                    {"evaluation_set": name, "query_id": query_id, "landmark_id": other} for other in others
                ]
    return removing, beaten


def _find_greater(counts: Mapping[int, int], *, ties_beat: bool) -> Iterable[tuple[int, list[int]]]:
    """Yield the landmarks that do not come first in a count, each with those that do."""
    first = sorted(landmark for landmark, n in counts.items() if n == max(counts.values()))
    for landmark in counts:
        if landmark not in first or (ties_beat and len(first) > 1):
            yield landmark, [other for other in first if other != landmark]


def _count(rows: Sequence[_Row], sets: Sequence[str], rule: Rule) -> dict[str, Any]:
    pairs, wholes = [row for row in rows if _is_pair(row)], [row for row in rows if not _is_pair(row)]
    proofs = [row for row in pairs if row["state"] == "confirmed"]
    seen = {_query(row) for row in proofs}
    unseen = {_query(row) for row in pairs if row["state"] in ("not_asked", "open")} - seen
    n_queries = Counter(name for name, _ in seen)
    order = [*sets, *sorted(n_queries.keys() - set(sets))]
    chosen = max(sorted(n_queries, key=order.index), key=lambda name: n_queries[name], default="")
    states = Counter(row["state"] for row in rows)
    return {
        "evaluation_set": chosen,
        "origin": _origin([row for row in pairs if _query(row) in seen] or wholes or pairs),
        "n_queries": n_queries[chosen],
        "n_queries_not_asked": sum(chosen in ("", name) for name, _ in unseen),
        "n_confirmed": len({row["image_id"] for row in proofs if row["evaluation_set"] == chosen}),
        "n_items": len(rows),
        **{f"n_{state}": states[state] for state in ("rejected", "not_asked", "open")},
        "disputed": any(row["disputed"] for row in rows),
        "evidence": sorted(row["item_id"] for row in [*proofs, *wholes] if _is_proof(row, rule)),
    }


def _origin(rows: Iterable[_Row]) -> str:
    # What was found comes before what was only voted on elsewhere.
    origins = {row["origin"] if _is_pair(row) else origin_of_whole(row["origin"]) for row in rows}
    return str(min(origins, key=lambda origin: (origin != "global", origin)))


def _is_proof(row: _Row, rule: Rule) -> bool:
    return row["state"] == "confirmed" and (_is_pair(row) or origin_of_whole(row["origin"]) in rule.whole)


def _is_pair(row: _Row) -> bool:
    return row["query_id"] is not None


def _query(row: _Row) -> _Query:
    return row["evaluation_set"], row["query_id"]


def _why_removed(outcome: _Row, rows: Sequence[_Row], removing: Collection[str], rule: Rule) -> str:
    who, found = "at least " + plural(rule.confirmations, "reviewer"), _describe_pairs(outcome)
    whole = next((row for row in rows if not _is_pair(row) and _is_proof(row, rule)), None)
    if whole is not None and not removing:
        beside = f", beside {found}" if outcome["n_queries"] else found
        return f"{_WHY_ASKED[origin_of_whole(whole['origin'])]}, and {who} confirmed that it is in one{beside}"
    who = who if rule.evidence == "votes" else "the verification score"
    others = f" of {min(removing)}" if removing and outcome["evaluation_set"] not in removing else ""
    most = f", and at least one query{others} has none more often" if rule.per_query == "most" else ""
    return f"{who} confirmed {found}{most}"


def _describe_pairs(outcome: _Row) -> str:
    unseen = f" ({plural(outcome['n_queries_not_asked'], 'query', 'queries')} not asked)"
    unseen = unseen if outcome["n_queries_not_asked"] else ""
    if not outcome["n_queries"]:
        return unseen
    least = "at least " if outcome["n_not_asked"] + outcome["n_open"] else ""
    photos, queries = plural(outcome["n_confirmed"], "photo"), plural(outcome["n_queries"], "query", "queries")
    return f"{least}{photos} of it for {queries}{unseen} of {outcome['evaluation_set']}"


def _why_kept(outcome: _Row, rule: Rule) -> str:
    states = count_states(outcome)
    counted = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in states.items() if n)
    found = f"{plural(outcome['n_items'], 'item')}: {counted}"
    if not states["confirmed"]:
        return found
    if not outcome["beaten"]:
        return f"{found}; the policy does not count what was confirmed of it"
    queries = {(each["evaluation_set"], each["query_id"]) for each in outcome["beaten"]}
    others = sorted({each["landmark_id"] for each in outcome["beaten"]})
    has = f"landmark {' and '.join(map(str, others))} {'has' if len(others) == 1 else 'have'}"
    most = "more confirmed photos" if rule.ties == "all" else "as many confirmed photos or more"
    return f"{found}; {has} {most} of {plural(len(queries), 'query', 'queries')}"


_WHY_ASKED: Mapping[str, str] = MappingProxyType(
    {
        "text": "its name suggests an evaluation set",
        "closure": "its photos or name link it to a landmark that is in an evaluation set",
        "audit": "the audit of kept landmarks put it beside the evaluation sets",
    }
)


def count_states(outcome: Mapping[str, Any]) -> dict[str, int]:
    """Return how many items of a row of OUTCOMES are in each of STATES."""
    others = {state: int(outcome[f"n_{state}"]) for state in STATES[1:]}
    return {STATES[0]: outcome["n_items"] - sum(others.values()), **others}
