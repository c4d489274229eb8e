"""Say what is true in the world, and what each policy must remove when reviewers make no mistake."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from overlap.synthetic.cast import WORDS, Cast, Landmark


def write_truth(folder: Path, cast: Cast) -> None:
    """Write the truth tables and the expected removal lists.

    ``true_pairs.csv`` holds every query with every photo of train_clean.csv that shows the same building, and a row
    without query and photo for each landmark that truly is in an evaluation set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked = _asked(cast)
    write_rows(folder / "true_pairs.csv", ("evaluation_set", "query_id", "image_id", "landmark_id"), _true_pairs(cast))
    write_rows(
        folder / "landmarks.csv",
        ("landmark_id", "landmark_name", "building", "role", "overlaps"),
        ((m.landmark_id, m.name, m.building, m.role, int(m.building in asked)) for m in _clean(cast)),
    )
    write_rows(
        folder / "photos.csv",
        ("image_id", "landmark_id", "building", "view", "light", "clean"),
        ((p.image_id, p.landmark_id, p.building, p.view, p.light, int(p.clean)) for p in cast.photos),
    )
    write_rows(
        folder / "queries.csv",
        ("evaluation_set", "query_id", "building", "view", "light"),
        ((q.evaluation_set, q.name, q.building, q.view, q.light) for q in cast.evaluation if q.query),
    )
    write_rows(
        folder / "buildings.csv",
        ("building", "name", "kind", "like"),
        ((b.key, b.name, b.design.kind, b.like) for b in cast.buildings),
    )
    for name, expected in expected_removals(cast).items():
        write_rows(folder / f"expected_{name}.csv", ("landmark_id",), ((landmark_id,) for landmark_id in expected))


def expected_removals(cast: Cast) -> dict[str, list[int]]:
    """Return, by policy, the landmark ids that faultless reviewers remove, sorted."""
    by_name = _text_overlaps(cast)
    far = {m.landmark_id for m in cast.landmarks if m.role == "far"}
    confirmed = {p.landmark_id for p in cast.photos if p.clean and p.building in _asked(cast)} - far
    seen = {p.landmark_id for p in cast.photos if p.clean and p.building in _asked(cast) and p.view != "inside"} - far
    lists = {
        "paper": _majorities(cast) | by_name,
        "all-confirmed": confirmed | by_name,
        "automatic": seen,
        "strict": confirmed | _overlapping(cast),
    }
    return {name: sorted(ids) for name, ids in lists.items()}


def _majorities(cast: Cast) -> set[int]:
    """Return for every asked building the landmark with most of its photos; all that tie."""
    winners: set[int] = set()
    for building in _asked(cast):
        counts = Counter(p.landmark_id for p in cast.photos if p.clean and p.building == building)
        winners |= {landmark_id for landmark_id, number in counts.items() if number == max(counts.values())}
    return winners


def _true_pairs(cast: Cast) -> Iterable[tuple[str, str, str, int]]:
    shown: dict[str, list[tuple[str, int]]] = {}
    for photo in cast.photos:
        if photo.clean:
            shown.setdefault(photo.building, []).append((photo.image_id, photo.landmark_id))
    for query in (photo for photo in cast.evaluation if photo.query):
        for image_id, landmark_id in shown.get(query.building, ()):
            yield query.evaluation_set, query.name, image_id, landmark_id
    for landmark_id in sorted(_overlapping(cast)):
        yield "", "", "", landmark_id


def _text_overlaps(cast: Cast) -> set[int]:
    return {m.landmark_id for m in _clean(cast) if _names_a_place(m.name)} & _overlapping(cast)


def _overlapping(cast: Cast) -> set[int]:
    asked = _asked(cast)
    return {m.landmark_id for m in _clean(cast) if m.building in asked}


def _names_a_place(name: str) -> bool:
    """Tell whether one of the words stands in a name as a word."""
    words = "".join(letter if letter.isalnum() else " " for letter in name).split()
    return any(word in words for word in WORDS)


def _asked(cast: Cast) -> set[str]:
    return {photo.building for photo in cast.evaluation if photo.query}


def _clean(cast: Cast) -> list[Landmark]:
    return [landmark for landmark in cast.landmarks if landmark.clean]


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file with Unix line ends."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
