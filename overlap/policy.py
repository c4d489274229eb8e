"""Votes, or scores, to the landmarks that are removed, by a policy that is a TOML file.

The shipped policies lie in ``overlap/policies/``: ``paper``, ``all-confirmed``, ``strict``, ``automatic``.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from overlap.errors import ConfigError, DataError
from overlap.tables import CONFIRMING, LANDMARKS, REMOVALS, REVIEW_ITEMS, VERIFIED, VOTES, as_table, checked
from overlap.texts import read_toml

SHIPPED = ("paper", "all-confirmed", "strict", "automatic")
_BY_LANDMARK = ("text", "closure", "audit")


class Policy(BaseModel):
    """Say what confirms a pair and which landmarks confirmed pairs remove.

    ``evidence`` is what confirms a pair: people's votes, or a score that reaches the threshold. ``per_query``: of the
    landmarks that a query has confirmed photos of, the one with ``most``, or ``all``. ``ties`` in that count remove
    ``all`` of the tied landmarks or ``none``. ``text``, ``closure``, ``audit``: whether a landmark goes that was
    confirmed as a whole, and came before people by its name, by its links to a confirmed one, by the audit's draw.
    ``confirmations`` is the number of reviewers it takes; ``unsure_confirms`` counts "unsure" as a yes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1)]
    version: Annotated[str, Field(min_length=1)]
    description: str
    evidence: Literal["votes", "scores"]
    per_query: Literal["most", "all"]
    text: bool
    closure: bool = False
    audit: bool = False
    confirmations: Annotated[int, Field(ge=1)] = 1
    ties: Literal["all", "none"] = "all"
    unsure_confirms: bool = False

    @model_validator(mode="after")
    def _names_need_people(self) -> "Policy":
        asked = [name for name in _BY_LANDMARK if getattr(self, name)]
        if self.evidence == "scores" and asked:
            raise ValueError(f'{asked[0]} = true needs evidence = "votes": a landmark as a whole has no score')
        return self


@dataclass(frozen=True)
class Decision:
    """Hold what a policy decided.

    Args:
        removals: REMOVALS by landmark_id.
        duplicated_queries: by evaluation set, the number of queries with a confirmed pair with a removed landmark.
    """

    removals: pa.Table
    duplicated_queries: Mapping[str, int]


class _Pair(NamedTuple):
    evaluation_set: str
    query_id: str
    image_id: str
    landmark_id: int


_Question: TypeAlias = tuple[Any, ...]  # a pair's four ids, or the landmark_id alone of a whole landmark
_Items: TypeAlias = Mapping[_Question, tuple[str, str]]  # item_id and origin
_Evidence: TypeAlias = Mapping[int, str]  # of landmarks confirmed as a whole: landmark_id to item_id


def load_policy(name_or_path: str | Path) -> Policy:
    """Read a shipped policy by its name, or a TOML file by its path (anything with a slash, or that ends in .toml).

    Raises:
        ConfigError: there is no such policy, the file is not TOML, or it has an unknown, missing or wrong key.
    """
    text = str(name_or_path)
    file = Path(text) if "/" in text or text.endswith(".toml") else files("overlap") / "policies" / f"{text}.toml"
    try:
        return Policy.model_validate(read_toml(file))
    except FileNotFoundError:
        raise ConfigError(
            f"policy {text!r} is not there; use {', '.join(SHIPPED)}, or the path of a TOML file"
        ) from None
    except ValidationError as error:
        raise ConfigError(f"policy {text!r}: " + "; ".join(map(_explained, error.errors()))) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"policy {text!r} is not a readable TOML file: {error}") from None


def decide(
    policy: Policy,
    *,
    items: pa.Table,
    votes: pa.Table,
    verified: pa.Table,
    landmarks: pa.Table,
    threshold: float,
    queries: Mapping[str, Collection[str]] | None = None,
) -> Decision:
    """Decide which landmarks are removed.

    A landmark counts once: for visual evidence before its name; with several evaluation sets, for the one with most
    confirmed photos, then the first in `queries`, then by name. Its n_queries and n_confirmed are those of
    that set; its evidence is all of it.

    Args:
        items: REVIEW_ITEMS, at least those that are voted on (evidence = votes) or reach the threshold (scores).
        votes: the VOTES that count, one a reviewer and item.
        verified: VERIFIED; read when evidence = scores.
        landmarks: LANDMARKS of the training set.
        threshold: least score of a verified pair, compared in the scores' own float32.
        queries: the query ids of each evaluation set, the sets in order; each gets an entry in duplicated_queries, 0
            when it has none. Without it any set and query is taken.

    Raises:
        DataError: a removed landmark is not in the training set, a confirmed pair is about a query that `queries`
            lacks, or an item is missing.
    """
    known = _items_by_question(checked(items, REVIEW_ITEMS))
    pairs, whole = _confirmed(policy, known, checked(votes, VOTES), verified, threshold=threshold)
    if queries is not None:
        _check_queries(pairs, queries)
    removed = _removed_landmarks(policy, pairs)
    whole = {landmark: item for landmark, item in whole.items() if _counts_whole(policy, known[landmark,][1])}
    rows = _removal_rows(removed, pairs, whole, known, list(queries or ()))
    removals = _with_landmarks(rows, checked(landmarks, LANDMARKS))
    duplicated = Counter(name for name, _ in {pair[:2] for pair in pairs if pair.landmark_id in removed})
    counts = {name: duplicated[name] for name in (queries or sorted(duplicated))}
    return Decision(removals, MappingProxyType(counts))


def explain(policy: Policy, removals: pa.Table) -> dict[int, str]:
    """Return the reason of each removal in words, by landmark_id."""
    return {row["landmark_id"]: _reason(policy, row) for row in checked(removals, REMOVALS).to_pylist()}


def _reason(policy: Policy, row: Mapping[str, Any]) -> str:
    if row["origin"] in _WHY_ASKED:
        return f"{_WHY_ASKED[row['origin']]}, and {_people(policy)} confirmed that it is in one"
    photos, queries = _counted(row["n_confirmed"], "photo", "photos"), _counted(row["n_queries"], "query", "queries")
    who = _people(policy) if policy.evidence == "votes" else "the verification score"
    most = ", and at least one query has none more often" if policy.per_query == "most" else ""
    return f"{who} confirmed {photos} of it for {queries} of {row['evaluation_set']}{most}"


_WHY_ASKED: Mapping[str, str] = MappingProxyType(
    {
        "text": "its name suggests an evaluation set",
        "closure": "its photos or name link it to a landmark that is in an evaluation set",
        "audit": "the audit of kept landmarks put it beside the evaluation sets",
    }
)


def _people(policy: Policy) -> str:
    return "at least " + _counted(policy.confirmations, "reviewer", "reviewers")


def _counted(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def _items_by_question(items: pa.Table) -> _Items:
    names = ("evaluation_set", "query_id", "image_id", "landmark_id")
    asked = zip(*(items[name].to_pylist() for name in names), strict=True)
    said = zip(items["item_id"].to_pylist(), items["origin"].to_pylist(), strict=True)
    return {_question(*question): item for question, item in zip(asked, said, strict=True)}


def _question(evaluation_set: str, query_id: str | None, image_id: str | None, landmark_id: int) -> _Question:
    return (landmark_id,) if query_id is None else (evaluation_set, query_id, image_id, landmark_id)


def _confirmed(
    policy: Policy,
    known: _Items,
    votes: pa.Table,
    verified: pa.Table,
    *,
    threshold: float,
) -> tuple[set[_Pair], _Evidence]:
    asked = _believed(verified, threshold) if policy.evidence == "scores" else _voted(policy, votes)
    pairs: set[_Pair] = set()
    whole: dict[int, str] = {}
    for question in (_question(*row) for row in asked):
        if question not in known:
            raise DataError(f"{question} counts but is not among the review items; build the review queue again")
        if len(question) == 1:
            whole[question[0]] = known[question][0]
        else:
            pairs.add(_Pair(*question))
    return pairs, whole


def _counts_whole(policy: Policy, origin: str) -> bool:
    """Tell whether the policy removes a landmark that was confirmed as a whole, whatever brought it up."""
    return {"closure": policy.closure, "audit": policy.audit}.get(origin, policy.text)


def _check_queries(pairs: Iterable[_Pair], queries: Mapping[str, Collection[str]]) -> None:
    known = {name: set(ids) for name, ids in queries.items()}
    strange = sorted({pair[:2] for pair in pairs if pair.query_id not in known.get(pair.evaluation_set, ())})
    if strange:
        name, query = strange[0]
        raise DataError(
            f"{len(strange)} confirmed queries are of no configured evaluation set, such as {query!r} of {name!r} "
            f"(configured: {', '.join(queries)}); configure that set, or use another store"
        )


def _believed(verified: pa.Table, threshold: float) -> Iterator[_Question]:
    verified = checked(verified, VERIFIED)
    reached = pc.greater_equal(verified["score"], pa.scalar(threshold, pa.float32()))
    kept = verified.filter(pc.and_(pc.equal(verified["status"], "ok"), reached))
    return zip(*(kept[name].to_pylist() for name in _Pair._fields), strict=True)


def _voted(policy: Policy, votes: pa.Table) -> Iterator[_Question]:
    answers = CONFIRMING | ({"unsure"} if policy.unsure_confirms else frozenset())
    yes = votes.filter(pc.is_in(votes["answer"], pa.array(sorted(answers))))
    reviewers: dict[_Question, set[str]] = defaultdict(set)
    for *asked, reviewer in zip(*(yes[name].to_pylist() for name in (*_Pair._fields, "reviewer")), strict=True):
        evaluation_set, query_id, image_id, landmark_id = asked
        reviewers[evaluation_set if query_id else "", query_id, image_id, landmark_id].add(reviewer)
    return (asked for asked, names in reviewers.items() if len(names) >= policy.confirmations)


def _removed_landmarks(policy: Policy, pairs: Iterable[_Pair]) -> set[int]:
    photos: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for pair in pairs:
        photos[pair.evaluation_set, pair.query_id][pair.landmark_id] += 1
    return {landmark for counts in photos.values() for landmark in _chosen(policy, counts)}


def _chosen(policy: Policy, counts: Counter[int]) -> Iterable[int]:
    if policy.per_query == "all":
        return counts
    most = max(counts.values())
    first = [landmark for landmark, n in counts.items() if n == most]
    return first if policy.ties == "all" or len(first) == 1 else ()


def _removal_rows(
    removed: set[int],
    pairs: Iterable[_Pair],
    whole: _Evidence,
    known: _Items,
    evaluation_sets: list[str],
) -> list[dict[str, Any]]:
    by_landmark: dict[int, list[_Pair]] = {landmark: [] for landmark in sorted(removed | whole.keys())}
    for pair in pairs:
        if pair.landmark_id in removed:
            by_landmark[pair.landmark_id].append(pair)
    rows = []
    for landmark, its_pairs in by_landmark.items():
        items = [known[pair] for pair in its_pairs]
        alone = {whole[landmark]} if landmark in whole else set()
        row = _counts(its_pairs, evaluation_sets) | {
            "landmark_id": landmark,
            "origin": min({o for _, o in items}, key=_origin_order) if items else _origin_of(known, landmark),
            "evidence": sorted({item for item, _ in items} | alone),
        }
        rows.append(row)
    return rows


def _counts(pairs: Sequence[_Pair], evaluation_sets: list[str]) -> dict[str, Any]:
    photos: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        photos[pair.evaluation_set].add(pair.image_id)
    order = [*evaluation_sets, *sorted(photos.keys() - set(evaluation_sets))]
    chosen = max(sorted(photos, key=order.index), key=lambda name: len(photos[name]), default="")
    return {
        "evaluation_set": chosen,
        "n_queries": len({pair.query_id for pair in pairs if pair.evaluation_set == chosen}),
        "n_confirmed": len(photos[chosen]),
    }


def _origin_of(known: _Items, landmark_id: int) -> str:
    """Return how a landmark confirmed as a whole came before people; by its name if the votes are all that is there."""
    origin = known[landmark_id,][1]
    return origin if origin in _BY_LANDMARK else "text"


def _origin_order(origin: str) -> tuple[int, str]:
    # What was found comes before what was only voted on elsewhere.
    return ({"global": 0, "closure": 1}.get(origin, 2), origin)


def _with_landmarks(rows: list[dict[str, Any]], landmarks: pa.Table) -> pa.Table:
    ids, names, sizes = (landmarks[name].to_pylist() for name in LANDMARKS.names)
    known = {landmark: (name, size) for landmark, name, size in zip(ids, names, sizes, strict=True)}
    strange = [str(row["landmark_id"]) for row in rows if row["landmark_id"] not in known]
    if strange:
        raise DataError(
            f"landmark_id {', '.join(strange)} would be removed, but the training set has no such landmark; "
            "the votes or verified pairs are about another training set"
        )
    named = [dict(zip(("landmark_name", "n_images"), known[row["landmark_id"]], strict=True)) for row in rows]
    return as_table([row | more for row, more in zip(rows, named, strict=True)], REMOVALS)


def _explained(error: Mapping[str, Any]) -> str:
    key = ".".join(map(str, error["loc"])) or "policy"
    advice = {"extra_forbidden": "unknown key", "missing": "required key is missing"}
    found = "" if error["type"] in ("missing", "value_error") else f" (found {error['input']!r})"
    return f"{key}: {advice.get(error['type'], error['msg'].removeprefix('Value error, '))}{found}"
