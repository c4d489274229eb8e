"""What votes from elsewhere can be about, and when they can have been cast."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from overlap.review.queue import GOLD_PREFIX
from overlap.review.reviewers import LONGEST_NAME, is_name
from overlap.review.store import VoteRefusedError

# How far the clock of a reviewer's machine may be ahead of this one's.
CLOCK_SKEW = timedelta(minutes=1)

# Votes without a time are cast on the first day, see `overlap.review.votes.import_votes`.
_NO_TIME = date(1970, 1, 1)
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
_LONGEST = 100  # of a name that a similar one is looked for
_SHARED = 4  # characters at one end that similar ids of photos have in common
_MOST = 5000  # ids of photos that are compared letter by letter


@dataclass(frozen=True, eq=False)
class Known:
    """Hold what votes can be about.

    Args:
        probes: by evaluation set, the ids of what was searched for.
        photos: by evaluation set, the ids of its database photos: what gold items show.
        image_ids: N ids of training photos.
        landmark_ids: the landmark of each.
        now: the time at which the votes arrive.
    """

    probes: Mapping[str, Collection[str]]
    photos: Mapping[str, Collection[str]]
    image_ids: pa.Array
    landmark_ids: pa.Array
    now: datetime


def check_votes(rows: Sequence[Mapping[str, Any]], known: Known) -> None:
    """Refuse votes on what is not there, and from another time.

    Args:
        rows: what a vote file says, as `overlap.review.votes` reads it.

    Raises:
        VoteRefusedError: a vote names an evaluation set, query, photo or landmark that is not there, or a photo with
            another landmark than its own, or its time is not yet, or before there was such work.
    """
    asked = pa.array({row["image_id"] for row in rows} - {None}, pa.string())
    met = pc.is_in(known.image_ids, value_set=asked)
    owners = dict(
        zip(*(column.filter(met).to_pylist() for column in (known.image_ids, known.landmark_ids)), strict=True)
    )
    landmarks = set(pc.unique(known.landmark_ids).to_pylist())
    for number, row in enumerate(rows):
        problem = next(_problems(row, known, owners, landmarks), None)
        if problem is not None:
            raise VoteRefusedError(number, problem)


def _problems(
    row: Mapping[str, Any], known: Known, owners: Mapping[str, int], landmarks: Collection[int]
) -> Iterator[str]:
    yield from _time_problems(row["voted_at"], known.now)
    if not is_name(row["reviewer"]):  # what can't be seen in a name would make two persons of one
        yield f"reviewer {row['reviewer']!r} must be a name of 1 to {LONGEST_NAME} printable characters"
    name, query_id, image_id, landmark_id = (
        row[column] for column in ("evaluation_set", "query_id", "image_id", "landmark_id")
    )
    own = name.removeprefix(GOLD_PREFIX) if query_id else name
    if (own or query_id) and own not in known.probes:
        yield f"evaluation_set {name!r} is none of {', '.join(known.probes)}{_nearest(own, known.probes)}"
    elif query_id and query_id not in known.probes[own]:
        yield _query_problem(own, query_id, known)
    if query_id and own != name:
        yield from _gold_problems(own, image_id, landmark_id, known)
    elif owners.get(image_id, landmark_id) != landmark_id:
        yield f"photo {image_id!r} is of landmark {owners[image_id]}, not of landmark_id {landmark_id}"
    elif landmark_id not in landmarks:
        like = _nearest(str(landmark_id), [*map(str, landmarks)])
        yield f"landmark_id {landmark_id} is no landmark of the training set{like}"
    elif query_id and image_id not in owners:
        like = _nearest(image_id, _photos_like(image_id, landmark_id, known))
        yield f"image_id {image_id!r} is no photo of the training set{like}"


def _time_problems(voted_at: datetime, now: datetime) -> Iterator[str]:
    if voted_at > now + CLOCK_SKEW:
        yield (
            f"voted_at {voted_at.isoformat()} is after now, {now.isoformat(timespec='seconds')}; set it right, with "
            "its time zone (without one it is taken as UTC)"
        )
    if voted_at < _FIRST and voted_at.date() != _NO_TIME:
        yield f"voted_at {voted_at.isoformat()} is before {_FIRST.date()}; set it right, or leave it empty"


def _query_problem(name: str, query_id: str, known: Known) -> str:
    elsewhere = [other for other, ids in known.probes.items() if query_id in ids]
    hint = f"; it is one of {elsewhere[0]}" if elsewhere else _nearest(query_id, known.probes[name])
    return f"query_id {query_id!r} is no query of evaluation_set {name!r}{hint}"


def _gold_problems(name: str, image_id: str, landmark_id: int, known: Known) -> Iterator[str]:
    if image_id not in known.photos[name]:
        yield f"image_id {image_id!r} is no photo of evaluation_set {name!r}{_nearest(image_id, known.photos[name])}"
    if landmark_id >= 0:
        yield f"landmark_id {landmark_id} is not below 0, as those of items with a known answer are"


def _photos_like(image_id: str, landmark_id: int, known: Known) -> list[str]:
    """Return the landmark's photos and those that begin or end alike: all of them would take minutes to compare."""
    stem = image_id.strip().rpartition(".")[0] or image_id.strip()
    ids = known.image_ids
    alike = pc.or_(pc.starts_with(ids, stem[:_SHARED]), pc.ends_with(ids, stem[-_SHARED:]))
    own = ids.filter(pc.equal(known.landmark_ids, landmark_id))
    return [*own.slice(0, _MOST).to_pylist(), *ids.filter(alike).slice(0, _MOST).to_pylist()]


def _nearest(name: str, names: Collection[str]) -> str:
    found = get_close_matches(name[:_LONGEST], names, n=1)
    return f"; the nearest one is {found[0]!r}" if found else ""
