"""What the review app shows: the desk, photos, landmark names, gold items, and inliers drawn anew on demand."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from overlap.base.config import Config
from overlap.base.tables import REVIEW_ITEMS, as_table
from overlap.datasets.catalogue import read_evaluation_set
from overlap.datasets.sets import EvaluationSet
from overlap.features.catalogue import load_matcher
from overlap.pipeline.closure import read_links, read_proposals
from overlap.pipeline.decisions import rule_of
from overlap.pipeline.photos import read_photos
from overlap.pipeline.review import open_reviews
from overlap.pipeline.verify import open_features
from overlap.review.board import Order, read_board
from overlap.review.desk import Desk, ask_again
from overlap.review.queue import GOLD_PREFIX, item
from overlap.review.reviewers import list_reviewers
from overlap.review.store import ReviewStore, keep_connections
from overlap.study.evaluation.groups import group_queries
from overlap.verify.pairs import verify_pair

PhotoKey = tuple[str, str]

_PHOTOS_OF_TEXT = 24
_QUERIES_OF_TEXT = 200
_LEAST_GOLD = 10
_MOST_GOLD = 200


@dataclass(frozen=True)
class Gallery:
    """Hold the IMAGES rows of every photo that reviewers may see, and what is hidden from them until they voted.

    Args:
        rows: by source and image id.
        names: landmark names by landmark id.
        of_landmark: for landmarks that are judged as a whole, their photos.
        kin: for landmarks that closure proposed, photos of the confirmed landmarks they hang together with.
        queries: the queries of every evaluation set, in order.
        train: the source of training photos.
    """

    rows: Mapping[PhotoKey, Mapping[str, Any]]
    names: Mapping[int, str]
    of_landmark: Mapping[int, tuple[PhotoKey, ...]]
    kin: Mapping[int, tuple[PhotoKey, ...]]
    queries: tuple[PhotoKey, ...]
    train: str


@dataclass(frozen=True)
class Lines:
    """Inliers of a pair.

    Args:
        query_xy: (I, 2) positions in the query's box, as shares of its width and height.
        photo_xy: (I, 2) positions in the photo, likewise.
    """

    query_xy: NDArray[np.float64]
    photo_xy: NDArray[np.float64]


def open_desk(config: Config) -> Desk:
    """Open the reviewers' desk; gold items are drawn when there are none yet."""
    store, settings = open_reviews(config), config.review
    draw_gold(config, store)
    order = Order(settings.seed, settings.shared_share, settings.gold_share)
    return Desk(
        read_board(keep_connections(store), rule=rule_of(config), order=order), lease_minutes=settings.lease_minutes
    )


def describe_waiting(config: Config, *, open_with: str) -> str:
    """Say what waits for whom, and with which command to open it."""
    store, settings = open_reviews(config), config.review
    if rule_of(config).evidence == "scores":
        return f"nothing waits for people: policy {config.policy.name!r} decides without them"
    board = read_board(store, rule=rule_of(config), order=Order(settings.seed, settings.shared_share))
    names = [row["name"] for row in list_reviewers(store).to_pylist() if not row["revoked"]]
    waiting = {name: board.n_waiting(name) for name in names or ["whoever opens the review app"]}
    if not any(waiting.values()):
        return "nothing waits for reviewers"
    whom = ", ".join(f"{n:,} for {name}" for name, n in waiting.items())
    return f"groups that wait for review: {whom}\nopen them in the browser:\n  {open_with}"


def ask_all_again(config: Config, lead: str) -> None:
    """Put every landmark of the queue that nobody asked about again before all reviewers once more."""
    desk = open_desk(config)
    landmarks = {row["landmark_id"] for row in desk.board.items if row["origin"] != "gold"}
    for landmark in sorted(landmarks - set(desk.board.looks)):
        ask_again(desk, lead, landmark_id=landmark)


def draw_gold(config: Config, store: ReviewStore) -> int:
    """Add gold items from the evaluation sets' own ground truth, half of them same, unless some are there.

    Known same: a query and a photo that its ground truth calls easy. Known different: a query and a photo that is among
    the first three easy ones of a query of another landmark, and none of easy, hard and junk for this one. Queries that
    share a positive photo are of one landmark: another view of it lists other photos, which are not different.

    Returns:
        The number of gold items there are.
    """
    known, _ = store.read_gold()
    if known.num_rows or not config.review.gold_share:
        return int(known.num_rows)
    n_groups = pc.count_distinct(store.read_items()["group_id"]).as_py()
    wanted = min(max(ceil(2 * config.review.gold_share * n_groups), _LEAST_GOLD), _MOST_GOLD)
    rng = np.random.default_rng(config.review.seed)
    pairs = [pair for each in config.evaluation for pair in _known_pairs(read_evaluation_set(each))]
    rows: list[dict[str, object]] = []
    confirms: list[bool] = []
    for answer in ("same", "different"):
        candidates = [pair for pair in pairs if pair[3] == answer]
        for place in rng.permutation(len(candidates))[: wanted // 2]:
            name, query, photo, _ = candidates[place]
            rows.append(item(f"{GOLD_PREFIX}{name}", query, photo, -1 - len(rows), origin="gold", score=None))
            confirms.append(answer == "same")
    store.add_gold(as_table(rows, REVIEW_ITEMS), confirms)
    return len(rows)


def draw_examples(
    config: Config, *, n: int, without: Collection[tuple[str, str]]
) -> dict[str, list[dict[str, object]]]:
    """Return by answer up to ``n`` pairs for which the ground truth gives it, other than gold items.

    Same and different are those of `draw_gold`. A photo that the ground truth lets count neither way (too little of the
    landmark, or its makers could not tell) is an example of ``unsure``.

    Args:
        without: (query_id, image_id) of the gold items.
    """
    pairs = [pair for each in config.evaluation for pair in _known_pairs(read_evaluation_set(each))]
    rng = np.random.default_rng(config.review.seed + 1)
    examples: dict[str, list[dict[str, object]]] = {}
    for answer in ("same", "different", "unsure"):
        candidates = [pair for pair in pairs if pair[3] == answer and pair[1:3] not in without]
        drawn = [candidates[place] for place in rng.permutation(len(candidates))[:n]]
        examples[answer] = [
            item(f"{GOLD_PREFIX}{name}", query, photo, 0, origin="gold", score=None) for name, query, photo, _ in drawn
        ]
    return examples


def open_gallery(config: Config, items: pa.Table) -> Gallery:
    """Find the photos and names that go with some REVIEW_ITEMS."""
    train, landmarks = read_photos(config, "train"), read_photos(config, "landmarks")
    probes = pa.concat_tables([read_photos(config, "evaluation"), read_photos(config, "queries")])
    text = pc.unique(items.filter(pc.is_null(items["query_id"]))["landmark_id"])
    asked = pc.is_in(train["image_id"], value_set=pc.unique(items["image_id"]))
    named = train.filter(pc.is_in(train["landmark_id"], value_set=text))
    proposed = items.filter(pc.equal(items["origin"], "closure"))["landmark_id"]
    kin = _kin_photos(config, set(proposed.to_pylist()))  # of audited ones it would tell the reviewer the answer
    linked = pc.is_in(train["image_id"], value_set=pa.array({i for _, i in chain(*kin.values())}, pa.string()))
    rows = {_key(row): row for row in [*train.filter(pc.or_(asked, linked)).to_pylist(), *probes.to_pylist()]}
    of_landmark: dict[int, list[PhotoKey]] = {}
    for row in named.to_pylist():
        photos = of_landmark.setdefault(row["landmark_id"], [])
        if len(photos) < _PHOTOS_OF_TEXT:
            photos.append(_key(row))
            rows[_key(row)] = row
    wanted = pc.is_in(landmarks["landmark_id"], value_set=pc.unique(items["landmark_id"]))
    names = landmarks.filter(wanted)
    return Gallery(
        rows=rows,
        names=dict(zip(names["landmark_id"].to_pylist(), names["landmark_name"].to_pylist(), strict=True)),
        of_landmark={landmark: tuple(photos) for landmark, photos in of_landmark.items()},
        kin={landmark: tuple(photos) for landmark, photos in kin.items()},
        queries=tuple(_key(row) for row in read_photos(config, "queries").slice(0, _QUERIES_OF_TEXT).to_pylist()),
        train=config.train.format,
    )


def open_lines(config: Config) -> Callable[[PhotoKey, PhotoKey], Lines]:
    """Return what verifies a pair again from its stored local features and gives the inliers; the last are kept."""
    read, match = open_features(config), load_matcher(config.verify)

    @lru_cache(maxsize=256)
    def find(query_key: PhotoKey, photo_key: PhotoKey) -> Lines:
        query, photo = read(query_key), read(photo_key)
        if query is None or photo is None:
            return Lines(np.zeros((0, 2)), np.zeros((0, 2)))
        rows = verify_pair(query, photo, settings=config.verify, match=match).inliers
        return Lines(
            query.xy_px[rows[:, 0]].astype(np.float64) / query.size_px,
            photo.xy_px[rows[:, 1]].astype(np.float64) / photo.size_px,
        )

    return find


def _kin_photos(config: Config, landmark_ids: Collection[int]) -> dict[int, list[PhotoKey]]:
    """Return photos of the confirmed landmarks that proposals hang together with: those that link first."""
    links = read_links(config)
    linked = links.filter(pc.is_in(links["landmark_id"], value_set=pa.array(landmark_ids, pa.int64())))
    kin: dict[int, dict[PhotoKey, None]] = {}
    for landmark, image_id in zip(linked["landmark_id"].to_pylist(), linked["kin_image_id"].to_pylist(), strict=True):
        kin.setdefault(landmark, {})[config.train.format, image_id] = None
    train = read_photos(config, "train")
    for row in read_proposals(config).to_pylist():
        if row["landmark_id"] in landmark_ids:
            own = train.filter(pc.is_in(train["landmark_id"], value_set=pa.array(row["kin"], pa.int64())))
            photos = own.slice(0, _PHOTOS_OF_TEXT)["image_id"].to_pylist()
            kin.setdefault(row["landmark_id"], {}).update({(config.train.format, each): None for each in photos})
    return {landmark: list(photos)[:_PHOTOS_OF_TEXT] for landmark, photos in kin.items()}


def _known_pairs(evaluation: EvaluationSet) -> list[tuple[str, str, str, str]]:
    """Return (evaluation set, query, photo, answer) for every pair whose answer the ground truth knows."""
    names = evaluation.photos["image_id"].to_pylist()
    truths = list(evaluation.ground_truth or ())
    pairs = []
    landmarks = group_queries(truths)
    for place, query in enumerate(evaluation.queries["image_id"].to_pylist()[: len(truths)]):
        truth = truths[place]
        related = set(np.concatenate([truth.easy, truth.hard, truth.junk]).tolist())
        strangers = [truths[each] for each in np.flatnonzero(landmarks != landmarks[place])]
        others = {int(row) for other in strangers for row in other.easy[:3]} - related
        known = {"same": truth.easy.tolist(), "different": sorted(others), "unsure": truth.junk.tolist()}
        pairs += [
            (evaluation.name, query, names[row], answer)
            for answer, rows in known.items()
            for row in rows
            if names[row] != query
        ]
    return pairs


def _key(row: Mapping[str, Any]) -> PhotoKey:
    return row["source"], row["image_id"]
