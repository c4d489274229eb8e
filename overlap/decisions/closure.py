"""Confirmed landmarks to proposals: other landmark ids that hang together with them by photos or by name.

A link is a verified pair of photos of two landmarks. Two landmarks are linked when the links between them hold several
different photos on each side: one photo that shows two landmarks, or is filed under the wrong one, links many photos of
the other side to itself alone, and so nothing. A landmark that has fewer photos needs all of them. For the same reason
a landmark that was confirmed by fewer photos than that is no seed: the photo may be the only right one it has. Photos
that nobody was asked about to the end count with them, or else it would depend on when reviewers could stop.

Names link what search can't: see `overlap.lists.names.find_kin_names`. Nothing is removed by a link: people are asked.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from overlap.base.tables import LINKS, PROPOSALS, REMOVALS, VERIFIED, as_table, checked
from overlap.decisions.items import believed


@dataclass(frozen=True)
class Kinship:
    """Say that a landmark is linked with a seed by a reason of tables.PROPOSALS."""

    landmark_id: int
    kin_id: int
    reason: str


def find_seeds(
    removals: pa.Table, *, whole: Collection[int], links: int, photos: Mapping[int, int] = MappingProxyType({})
) -> list[int]:
    """Return the landmarks whose photos may bring up others: confirmed as a whole, or by several of their photos.

    Args:
        removals: REMOVALS of people's votes.
        whole: landmarks that people confirmed as a whole, or may confirm still.
        links: how many photos must be confirmed; all of a landmark that has fewer.
        photos: how many are, or may be still, by landmark; by default n_confirmed.
    """
    return [
        row["landmark_id"]
        for row in checked(removals, REMOVALS).to_pylist()
        if row["landmark_id"] in whole
        or photos.get(row["landmark_id"], row["n_confirmed"]) >= min(links, row["n_images"])
    ]


def find_links(verified: pa.Table, kin_of: Mapping[str, int], *, threshold: float) -> pa.Table:
    """Return the links among verified pairs of training photos.

    Args:
        verified: VERIFIED whose query_id is the photo of a seed.
        kin_of: the landmark of each seed's photo.
        threshold: least score, compared in the scores' own float32.

    Returns:
        LINKS by landmark and kin, the best first. A pair of two seeds is a link of each with the other.
    """
    rows = []
    for row in believed(checked(verified, VERIFIED), threshold=threshold).to_pylist():
        kin = kin_of[row["query_id"]]
        if row["landmark_id"] == kin:
            continue
        rows.append(_link(row["landmark_id"], row["image_id"], kin, row["query_id"], row["score"]))
        if row["image_id"] in kin_of:
            rows.append(_link(kin, row["query_id"], row["landmark_id"], row["image_id"], row["score"]))
    order = [("landmark_id", "ascending"), ("kin_id", "ascending"), ("score", "descending")]
    whole = [*order, ("image_id", "ascending"), ("kin_image_id", "ascending")]
    return as_table(list({_ends(row): row for row in rows}.values()), LINKS).sort_by(whole)


def propose(links: pa.Table, names: Iterable[Kinship], *, sizes: Mapping[int, int], at_least: int) -> pa.Table:
    """Return the landmarks that hang together with a seed, with what speaks for it.

    Args:
        links: LINKS.
        names: kinship by name.
        sizes: photos of each landmark.
        at_least: different photos that links need on each side.

    Returns:
        PROPOSALS by landmark_id; seeds that are linked with other seeds are among them.
    """
    ends = _photos_of_links(checked(links, LINKS))
    kinships = [
        Kinship(landmark, kin, "photos")
        for (landmark, kin), (photos, kin_photos, _) in ends.items()
        if len(photos) >= min(at_least, sizes[landmark]) and len(kin_photos) >= min(at_least, sizes[kin])
    ]
    kinships = sorted({*kinships, *names}, key=lambda each: (each.landmark_id, each.kin_id, each.reason))
    components = _components(kinships)
    by_landmark: dict[int, list[Kinship]] = defaultdict(list)
    for kinship in kinships:
        by_landmark[kinship.landmark_id].append(kinship)
    return as_table([_proposal(landmark, each, ends, components) for landmark, each in by_landmark.items()], PROPOSALS)


_Ends = Mapping[tuple[int, int], tuple[set[str], set[str], float]]


def _photos_of_links(links: pa.Table) -> _Ends:
    ends: dict[tuple[int, int], tuple[set[str], set[str], float]] = {}
    for row in links.to_pylist():
        photos, kin_photos, best = ends.get((row["landmark_id"], row["kin_id"]), (set(), set(), 0.0))
        photos.add(row["image_id"])
        kin_photos.add(row["kin_image_id"])
        ends[row["landmark_id"], row["kin_id"]] = photos, kin_photos, max(best, row["score"])
    return ends


def _proposal(
    landmark: int, kinships: Collection[Kinship], ends: _Ends, components: Mapping[int, int]
) -> dict[str, object]:
    found = [ends[landmark, each.kin_id] for each in kinships if each.reason == "photos"]
    return {
        "landmark_id": landmark,
        "component": components[landmark],
        "kin": [each.kin_id for each in kinships],
        "reasons": [each.reason for each in kinships],
        "n_images": len({photo for photos, _, _ in found for photo in photos}),
        "n_kin_images": len({photo for _, photos, _ in found for photo in photos}),
        "score": max((best for _, _, best in found), default=None),
    }


def _components(kinships: Collection[Kinship]) -> dict[int, int]:
    """Return, by landmark, the least id of those it hangs together with."""
    ids = np.unique(np.array([[each.landmark_id, each.kin_id] for each in kinships], np.int64).reshape(-1, 2))
    places = {landmark: place for place, landmark in enumerate(ids.tolist())}
    ends = [(places[each.landmark_id], places[each.kin_id]) for each in kinships]
    rows, columns = np.array(ends, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(ids), len(ids)))
    _, labels = connected_components(graph, directed=False)
    first = {label: landmark for landmark, label in reversed(list(zip(ids.tolist(), labels.tolist(), strict=True)))}
    return {landmark: first[label] for landmark, label in zip(ids.tolist(), labels.tolist(), strict=True)}


def _link(landmark_id: int, image_id: str, kin_id: int, kin_image_id: str, score: float) -> dict[str, object]:
    return {
        "landmark_id": landmark_id,
        "image_id": image_id,
        "kin_id": kin_id,
        "kin_image_id": kin_image_id,
        "score": score,
    }


def _ends(row: Mapping[str, object]) -> tuple[object, ...]:
    return row["landmark_id"], row["image_id"], row["kin_id"], row["kin_image_id"]
