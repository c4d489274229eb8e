"""How much each detector finds, of evaluation photos planted among the training photos and of confirmed ones."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from overlap.audit.recall import least_limit, list_steps, share_within
from overlap.base.config import Config, fingerprint
from overlap.base.store import read_table, write_table
from overlap.base.tables import RECALL, Descriptors, as_table
from overlap.decisions.items import confirmed_pairs
from overlap.decisions.outcomes import removed_ids
from overlap.pipeline.copies import hash_images, hash_sets, read_hashes
from overlap.pipeline.decisions import Material, decide_by_people, read_material, rule_of
from overlap.pipeline.photos import Sets, read_photos, read_sets
from overlap.pipeline.planting import PLANTINGS, choose_photos, plant_photos
from overlap.pipeline.retrieve import Described, describe_beside, describe_sets, read_descriptors
from overlap.pipeline.run import Run, find_current, hand_to, is_current, recorded
from overlap.search.copies import Hashes, least_distances
from overlap.search.ranks import count_above

_SHARE = 0.99
_MOST_BITS = 20
LANDMARKS_FOUND, PHOTOS_FOUND = "confirmed landmarks", "photos of confirmed landmarks"
TRAINING = "training photos"

Asked = tuple[str, str]  # evaluation set and query


@dataclass(frozen=True)
class Reach:
    """Say how far a detector reaches on one kind of photos.

    Args:
        detector: ``search`` or ``copies``.
        n: how many of the kind there are.
        limit: the present setting, search.k or search.copies.
        share: how many of them are found with it.
        enough: the k, or the bits, that would find 99 %.
    """

    detector: str
    kind: str
    n: int
    limit: int
    share: float
    enough: int


@dataclass(frozen=True)
class _Wanted:
    """Name something that the probes of a photo should find; one of several photos of a landmark has its name."""

    asked: Asked
    kind: str
    vector: NDArray[np.float64]
    landmark: int | None = None


def measure_planted(run: Run, *, n_photos: int = 200) -> tuple[Reach, ...]:
    """Measure how much each detector finds, and store the curves (RECALL).

    Photos that are searched for are changed, and ranked as if they were among the training photos: the rank of one is
    the best that a probe of the same photo gives it. Photos of landmarks that people confirmed are ranked likewise.
    Ranks are those of exact search.

    Args:
        n_photos: how many photos are planted at most, drawn with audit.seed.
    """
    run = hand_to("recall", run)
    with recorded(run, "recall") as finish:
        sets = read_sets(run)
        described = describe_sets(run, sets)
        rows = choose_photos(run.config, sets, n_photos)
        planted = plant_photos(run, rows)
        ranks = _rank(run, sets, described, rows, planted)
        bits, strange = _measure_bits(run, sets, rows, planted) if run.config.search.copies else ({}, None)
        table = _tabulate(ranks, bits, strange, n_train=sets.training.images.num_rows)
        whole = fingerprint("recall", table.to_pylist())
        if not run.store.exists("recall", whole):
            with run.store.put("recall", whole) as folder:
                write_table(folder, "recall", table)
        finish(whole, planted=len(rows) * len(PLANTINGS))
    return tuple(_reach(run.config, ranks, bits))


def read_recall(config: Config) -> pa.Table:
    """Return RECALL as it was measured last.

    Raises:
        ArtifactError: it was not, with these settings.
    """
    return read_table(find_current(config, "recall"), "recall", RECALL)


def find_positives(config: Config, material: Material) -> dict[Asked, dict[int, list[str]]]:
    """Return by query all photos of each landmark that people confirmed for it and that goes.

    Of landmarks that stay people may not have been asked about all queries: that depends on when they could stop.
    """
    if not is_current(config, "photos"):
        return {}
    decisions = decide_by_people(config, material)
    gone = pa.array(sorted(removed_ids(decisions, rule_of(config))), pa.int64())
    confirmed = confirmed_pairs(decisions)
    confirmed = confirmed.filter(pc.is_in(confirmed["landmark_id"], value_set=gone))
    train = read_photos(config, "train")
    train = train.filter(pc.is_in(train["landmark_id"], pc.unique(confirmed["landmark_id"])))
    photos: dict[int, list[str]] = defaultdict(list)
    for image_id, landmark in zip(train["image_id"].to_pylist(), train["landmark_id"].to_pylist(), strict=True):
        photos[landmark].append(image_id)
    positives: dict[Asked, dict[int, list[str]]] = {}
    for row in confirmed.select(["evaluation_set", "query_id", "landmark_id"]).to_pylist():
        if row["landmark_id"] in photos:
            shown = positives.setdefault((row["evaluation_set"], row["query_id"]), {})
            shown[row["landmark_id"]] = photos[row["landmark_id"]]
    return positives


def _rank(
    run: Run, sets: Sets, described: Described, rows: Sequence[Mapping[str, Any]], planted: Mapping[str, pa.Table]
) -> dict[str, list[int]]:
    """Return by kind the ranks from 1."""
    train = read_descriptors(described.train)
    wanted = [*_want_planted(run, sets, rows, planted), *_want_confirmed(run.config, train)]
    places: dict[Asked, list[int]] = defaultdict(list)
    for place, each in enumerate(wanted):
        places[each.asked].append(place)
    probes = [(places[asked], vector) for asked, vector in _read_probes(described) if asked in places]
    similarities = [np.array([wanted[place].vector @ vector for place in own]) for own, vector in probes]
    above = count_above([vector for _, vector in probes], similarities, train)
    best: dict[int, int] = {}
    for (own, _), counted in zip(probes, above, strict=True):
        for place, rank in zip(own, counted.tolist(), strict=True):
            best[place] = min(rank + 1, best.get(place, rank + 1))
    return _group_ranks((wanted[place], rank) for place, rank in sorted(best.items()))


def _group_ranks(ranked: Iterable[tuple[_Wanted, int]]) -> dict[str, list[int]]:
    """Return ranks by kind; a landmark has the best rank of its photos."""
    ranks: dict[str, list[int]] = defaultdict(list)
    landmarks: dict[tuple[Asked, int], int] = {}
    for each, rank in ranked:
        ranks[each.kind].append(rank)
        if each.landmark is not None:
            key = each.asked, each.landmark
            landmarks[key] = min(rank, landmarks.get(key, rank))
    return {**ranks, LANDMARKS_FOUND: [*landmarks.values()]} if landmarks else dict(ranks)


def _want_planted(
    run: Run, sets: Sets, rows: Sequence[Mapping[str, Any]], planted: Mapping[str, pa.Table]
) -> list[_Wanted]:
    wanted = []
    for kind, images in planted.items():
        for part in describe_beside(run, sets, images, label=f"descriptors: {kind}"):
            for number, vector in zip(part.image_ids, np.asarray(part.vectors, np.float64), strict=True):
                row = rows[int(number)]
                wanted.append(_Wanted((row["source"], row["image_id"]), kind, vector))
    return wanted


def _want_confirmed(config: Config, train: Sequence[Descriptors]) -> list[_Wanted]:
    positives = find_positives(config, read_material(config))
    names = {photo for landmarks in positives.values() for photos in landmarks.values() for photo in photos}
    vectors = {
        image_id: np.asarray(part.vectors[place], np.float64)
        for part in train
        for place, image_id in enumerate(part.image_ids)
        if image_id in names
    }
    return [
        _Wanted(asked, PHOTOS_FOUND, vectors[photo], landmark)
        for asked, landmarks in positives.items()
        for landmark, photos in landmarks.items()
        for photo in photos
        if photo in vectors
    ]


def _read_probes(described: Described) -> list[tuple[Asked, NDArray[np.float64]]]:
    return [
        ((source, image_id), np.asarray(vector, np.float64))
        for (source, _), shards in described.probes.items()
        for part in read_descriptors(shards)
        for image_id, vector in zip(part.image_ids, part.vectors, strict=True)
    ]


def _measure_bits(
    run: Run, sets: Sets, rows: Sequence[Mapping[str, Any]], planted: Mapping[str, pa.Table]
) -> tuple[dict[str, list[int]], NDArray[np.int64]]:
    """Return by kind the bits between photos and their planted copies, and how many training photos are so far off."""
    hashed = hash_sets(run, sets)
    codes: dict[Asked, list[np.uint64]] = defaultdict(list)
    for source, shards in hashed.probes.items():
        hashes = read_hashes(shards)
        for image_id, code in zip(hashes.image_ids, hashes.codes, strict=True):
            codes[source, image_id].append(code)
    own = {number: codes[row["source"], row["image_id"]] for number, row in enumerate(rows)}
    near = {number: np.array(some, np.uint64) for number, some in own.items() if some}
    bits = {
        kind: _distances(read_hashes(hash_images(run, images, label=f"hashes: {kind}")), near)
        for kind, images in planted.items()
    }
    train = read_hashes(hashed.train).codes
    counts = [np.bincount(least_distances(some, train), minlength=65) for some in near.values()]
    return bits, np.sum([np.zeros(65, np.int64), *counts], axis=0)


def _distances(copies: Hashes, near: Mapping[int, NDArray[np.uint64]]) -> list[int]:
    return [
        int(least_distances(near[int(number)], np.array([code]))[0])
        for number, code in zip(copies.image_ids, copies.codes, strict=True)
        if int(number) in near
    ]


def _tabulate(
    ranks: Mapping[str, Sequence[int]],
    bits: Mapping[str, Sequence[int]],
    strange: NDArray[np.int64] | None,
    *,
    n_train: int,
) -> pa.Table:
    rows = [
        {"detector": detector, "kind": kind, "reach": reach, "recall": share_within(values, reach), "n": len(values)}
        for detector, kinds, steps in (
            ("search", ranks, list_steps(n_train)),
            ("copies", bits, range(0, _MOST_BITS + 1, 2)),
        )
        for kind, values in kinds.items()
        for reach in steps
        if values
    ]
    if strange is not None and strange.sum():
        within, n = np.cumsum(strange), int(strange.sum())
        rows += [
            {"detector": "copies", "kind": TRAINING, "reach": reach, "recall": float(within[reach] / n), "n": n}
            for reach in range(0, _MOST_BITS + 1, 2)
        ]
    return as_table(rows, RECALL)


def _reach(config: Config, ranks: Mapping[str, Sequence[int]], bits: Mapping[str, Sequence[int]]) -> Iterable[Reach]:
    for detector, kinds, limit in (("search", ranks, config.search.k), ("copies", bits, config.search.copies)):
        for kind, values in kinds.items():
            if values:
                yield Reach(
                    detector, kind, len(values), limit, share_within(values, limit), least_limit(values, _SHARE)
                )
