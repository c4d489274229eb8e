"""The evidence of a release, made from the run: pictures, keypoints and models of the pairs that decided."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.config import Config, VerifyConfig
from overlap.base.errors import DataError
from overlap.base.images import PhotoLimits, UnreachableError, encode_jpeg, load_photo, read_bytes, resize_within
from overlap.base.tables import LocalFeatures
from overlap.datasets.attribution import ATTRIBUTION_FILE, Attribution, read_attributions
from overlap.datasets.catalogue import upstream_files
from overlap.evidence.choose import Decided, LandmarkEvidence, PairEvidence, choose_evidence
from overlap.evidence.compare import ABOUT_FILE, EVIDENCE_FOLDER, pairs_file
from overlap.evidence.page import render_page
from overlap.features.catalogue import load_matcher
from overlap.pipeline.photos import read_photos
from overlap.pipeline.run import Run, hash_file, is_current
from overlap.pipeline.verify import PhotoKey, feature_folders, feature_reader
from overlap.verify.pairs import review_threshold_of, threshold_of, verify_pair

PAGE_FILE = "evidence.html"

Made = TypeVar("Made")
Row = Mapping[str, Any]
Rows = Mapping[PhotoKey, Row]

_THUMBNAIL_PX = 320
_QUALITY = 72
_LEFT_OUT = {"weights", "matcher_weights", "device", "threshold"}
_PACKAGES = ("numpy", "opencv-python-headless")
_LEARNED_PACKAGES = ("torch", "kornia")


@dataclass(frozen=True)
class _Drawing:
    """Carry one landmark to a worker: IMAGES rows of its pairs, and of the photos that are shown without a pair."""

    settings: VerifyConfig
    train: str
    folders: tuple[Path, ...]
    evidence: LandmarkEvidence
    rows: Rows
    album: Sequence[Row]
    limits: PhotoLimits


@dataclass(frozen=True)
class _Drawn:
    """Bring back what a worker made: pairs and photos for the landmark's file, and JPEG files by name."""

    pairs: Sequence[dict[str, Any]]
    photos: Sequence[dict[str, Any]]
    pictures: Mapping[str, bytes]


def gather_evidence(run: Run, about: Mapping[str, Any], decided: Decided) -> dict[str, bytes]:
    """Return the files of a release that show why each landmark went, and what was suspicious and stayed.

    With the run's photos and features: thumbnails of training photos, keypoints, models. Without them, as when votes
    came from elsewhere, the pairs are named.

    Args:
        about: what release.json says.
    """
    config = run.config
    chosen = choose_evidence(decided, n_pairs=config.release.pairs_per_landmark)
    pictured = all(is_current(config, step) for step in ("photos", "features", "verified"))
    drawn = _draw_all(run, chosen) if pictured else [_Drawn([*map(_named, each.pairs)], [], {}) for each in chosen]
    credited = _read_credits(config, drawn)
    landmarks = [_describe(each, done, credited) for each, done in zip(chosen, drawn, strict=True)]
    said = _about(config, about, landmarks, pictured=pictured)
    files = {ABOUT_FILE: _as_json(said), PAGE_FILE: render_page(said, landmarks).encode()}
    files |= {pairs_file(landmark["landmark_id"]): _as_json(landmark) for landmark in landmarks}
    return files | {name: content for done in drawn for name, content in done.pictures.items()}


def pair_keys(pair: Mapping[str, Any], train: str) -> tuple[PhotoKey, PhotoKey]:
    """Return the source and id of a pair's query and photo.

    Args:
        train: the source of training photos.
    """
    return (pair["evaluation_set"], pair["query_id"]), (train, pair["image_id"])


def find_rows(keys: Iterable[PhotoKey], tables: Sequence[pa.Table]) -> dict[PhotoKey, Row]:
    """Return the IMAGES rows of some photos, those that are there."""
    wanted = set(keys)
    ids = pa.array(sorted({image_id for _, image_id in wanted}), pa.string())
    found = (row for table in tables for row in table.filter(pc.is_in(table["image_id"], value_set=ids)).to_pylist())
    return {key: row for row in found if (key := (row["source"], row["image_id"])) in wanted}


def verify_record(query: LocalFeatures, photo: LocalFeatures, *, settings: VerifyConfig, match: Any) -> dict[str, Any]:
    """Verify a pair and return all that evidence keeps of it: counts, score, model, and inliers to 0.01 pixels."""
    result = verify_pair(query, photo, settings=settings, match=match)
    points = np.column_stack([query.xy_px[result.inliers[:, 0]], photo.xy_px[result.inliers[:, 1]]])
    return {
        "n_matches": result.n_matches,
        "n_inliers": result.n_inliers,
        "score": float(np.float32(result.score)),
        "status": result.status,
        "geometry": result.geometry,
        "matrix": None if result.matrix is None else result.matrix.ravel().tolist(),
        "inliers": np.round(points.astype(np.float64), 2).tolist(),
        "query_size_px": list(query.size_px),
        "photo_size_px": list(photo.size_px),
    }


def _draw_all(run: Run, chosen: Sequence[LandmarkEvidence]) -> list[_Drawn]:
    config = run.config
    train = read_photos(config, "train")
    keys = {key for each in chosen for pair in each.pairs for key in pair_keys(asdict(pair), config.train.format)}
    rows = find_rows(keys, [train, read_photos(config, "queries"), read_photos(config, "evaluation")])
    folders = feature_folders(config)
    tasks = [_drawing(run, each, rows, train, folders=folders) for each in chosen]
    return run.map_shards(_draw, tasks, label="evidence", sizes=[1] * len(tasks))


def _drawing(
    run: Run, evidence: LandmarkEvidence, rows: Rows, train: pa.Table, *, folders: tuple[Path, ...]
) -> _Drawing:
    keys = {key for pair in evidence.pairs for key in pair_keys(asdict(pair), run.config.train.format)}
    own = {key: rows[key] for key in sorted(keys & rows.keys())}
    album: list[Row] = []
    if not evidence.pairs:
        photos = train.filter(pc.equal(train["landmark_id"], evidence.landmark_id))
        album = photos.slice(0, run.config.release.pairs_per_landmark).to_pylist()
    config = run.config
    return _Drawing(config.verify, config.train.format, folders, evidence, own, album, run.limits)


def _draw(task: _Drawing) -> _Drawn:
    """Draw one landmark; a photo that is gone leaves its pair without a picture.

    Raises:
        UnreachableError: a photo is there but can't be read: what is published stays as it is for ever.
    """
    pairs = [_draw_pair(task, pair) for pair in task.evidence.pairs]
    photos: list[dict[str, Any]] = [{"image_id": row["image_id"]} for row in task.album]
    shown = [pair for pair in pairs if "inliers" in pair]
    rows = {
        row["image_id"]: row for row in (*(task.rows[pair_keys(pair, task.train)[1]] for pair in shown), *task.album)
    }
    pictures: dict[str, bytes] = {}
    names: dict[str, str] = {}
    for image_id, row in rows.items():
        if (content := _thumbnail(row, task.limits)) is not None:
            names[image_id] = f"{EVIDENCE_FOLDER}/{task.evidence.landmark_id}/{len(pictures)}.jpg"
            pictures[names[image_id]] = content
    for each in (*shown, *photos):
        each["thumbnail"] = names.get(each["image_id"])
    return _Drawn(pairs, [photo for photo in photos if photo["thumbnail"]], pictures)


def _draw_pair(task: _Drawing, pair: PairEvidence) -> dict[str, Any]:
    """Return all that is known of a pair; of one whose features or rows are missing what the tables say."""
    read = _feature_reader(task.folders)
    keys = pair_keys(asdict(pair), task.train)
    query, photo = (read(key) if key in task.rows else None for key in keys)
    if query is None or photo is None:
        return _named(pair)
    match = _load_matcher(task.settings)
    record = verify_record(query, photo, settings=task.settings, match=match)
    query_row, photo_row = (task.rows[key] for key in keys)
    box = query_row["crop_px"]
    where = {
        "query_file": Path(query_row["path"]).name,
        "query_box_px": box,
        "query_origin_px": [int(box[0]), int(box[1])] if box else [0, 0],
        "query_sha256": _digest(query_row, task.limits),
        "photo_sha256": _digest(photo_row, task.limits),
    }
    return {**_named(pair), **record, **where}


def _named(pair: PairEvidence) -> dict[str, Any]:
    asked = {"evaluation_set": pair.evaluation_set, "query_id": pair.query_id, "image_id": pair.image_id}
    return {**asked, "state": pair.state, "answers": dict(pair.answers), **pair.verified}


def _digest(row: Row, limits: PhotoLimits) -> str | None:
    return _unless_gone(lambda: hashlib.sha256(read_bytes(row, limits)).hexdigest())


def _thumbnail(row: Row, limits: PhotoLimits) -> bytes | None:
    return _unless_gone(
        lambda: encode_jpeg(resize_within(load_photo(row, limits=limits), _THUMBNAIL_PX), quality=_QUALITY)
    )


def _unless_gone(read: Callable[[], Made]) -> Made | None:
    try:
        return read()
    except DataError as error:
        if isinstance(error, UnreachableError) and not isinstance(error.__cause__, FileNotFoundError):
            raise
        return None


def _read_credits(config: Config, drawn: Sequence[_Drawn]) -> dict[str, Attribution]:
    shown = {each["image_id"] for done in drawn for each in (*done.pairs, *done.photos) if each.get("thumbnail")}
    return read_attributions(upstream_files(config.train)[0].parent / ATTRIBUTION_FILE, shown)


def _describe(evidence: LandmarkEvidence, drawn: _Drawn, known: Mapping[str, Attribution]) -> dict[str, Any]:
    """Return what a landmark's file holds."""

    def with_credit(each: dict[str, Any]) -> dict[str, Any]:
        credit = known.get(each["image_id"])
        return {**each, "credit": None if credit is None else asdict(credit)}

    said = {name: value for name, value in asdict(evidence).items() if name != "pairs"}
    return {**said, "pairs": [*map(with_credit, drawn.pairs)], "photos": [*map(with_credit, drawn.photos)]}


def _about(
    config: Config, about: Mapping[str, Any], landmarks: Sequence[Mapping[str, Any]], *, pictured: bool
) -> dict[str, Any]:
    settings = config.verify
    packages = _PACKAGES if settings.features == "sift" else (*_PACKAGES, *_LEARNED_PACKAGES)
    return {
        **{name: about[name] for name in ("name", "version", "made_with")},
        "training_set": config.train.format,
        "settings": settings.model_dump(mode="json", exclude=_LEFT_OUT),
        "threshold": threshold_of(settings),
        "review_threshold": review_threshold_of(settings, config.review.threshold),
        "weights_sha256": hash_file(settings.weights) if pictured else "",
        "matcher_sha256": hash_file(settings.matcher_weights) if pictured else "",
        "versions": {name: version(name) for name in packages} if pictured else {},
        "pictured": pictured,
        "landmarks": [landmark["landmark_id"] for landmark in landmarks],
    }


def _as_json(value: object) -> bytes:
    return (json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


_feature_reader = lru_cache(maxsize=1)(feature_reader)
_load_matcher = lru_cache(maxsize=1)(load_matcher)
