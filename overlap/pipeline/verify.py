"""From candidates to verified pairs: local features of every photo that is needed, then geometry pair by pair."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from overlap.base.config import Config, VerifyConfig, fingerprint
from overlap.base.errors import ArtifactError
from overlap.base.images import load_photo
from overlap.base.store import read_array, read_json, read_part, read_table, write_array, write_json, write_table
from overlap.base.tables import VERIFIED, LocalFeatures, as_table
from overlap.features.catalogue import load_extractor, load_matcher, load_nearest
from overlap.features.storage import FEATURE_ARRAYS, pack_features, unpack_features
from overlap.pipeline.cuts import cut
from overlap.pipeline.declared import declared_part, find_step, name_part
from overlap.pipeline.photos import Sets
from overlap.pipeline.run import Run, find_current, hash_file, recorded, store_of
from overlap.pipeline.shards import (
    Done,
    Shard,
    check_quarantine,
    hash_table,
    join_quarantine,
    keep_parts,
    list_parts,
    number,
    number_refused,
    number_rows,
    put_list,
    read_kept,
    row_stamp,
    run_photos,
    run_shards,
    shard_folders,
    store_each,
    work_devices,
)
from overlap.verify.pairs import PairResult, verify_batch

_CACHED_PHOTOS = 256
# Pairs that a GPU matches at once, if its memory allows.
_BATCH = 32

PhotoKey: TypeAlias = tuple[str, str]
_ASKED = ["evaluation_set", "query_id", "image_id", "landmark_id"]


@dataclass(frozen=True)
class _Pairs:
    """Name the pairs of a shard: a part of a table on disk, with the number of each pair.

    Args:
        train: the source of their photos.
        folders: where the local features lie.
    """

    listed: str
    part: int
    settings: VerifyConfig
    train: str
    folders: tuple[Path, ...]


def check_features(run: Run) -> None:
    """Open the networks that verification asks for, where the shards will run, before any work is done.

    Raises:
        ConfigError: one can't be opened.
    """
    settings = run.config.verify
    if settings.features != "sift" or settings.matcher != "mutual":
        run.map_shards(_open_features, [settings], label="open the networks of [verify]", sizes=[1])


def extract_features(run: Run, sets: Sets, candidates: pa.Table, copies: pa.Table) -> str:
    """Compute the local features of every probe and of every photo that is a candidate, once each.

    Returns:
        The fingerprint of the list of shards.
    """
    with recorded(run, "features") as finish:
        images, candidates = sets.training.images, pa.concat_tables([candidates, copies])
        wanted = pc.is_in(images["image_id"], value_set=pc.unique(candidates["image_id"]))
        photos = pa.concat_tables([_probes(sets, candidates), images.filter(wanted)])
        shards = _find_features(run, photos, label="local features")
        whole = put_list(run, "features", shards)
        quarantine = join_quarantine(shard_folders(run.store, "features", whole))
        check_quarantine(run, quarantine, photos.num_rows)
        finish(whole, photos=photos.num_rows, unreadable=quarantine.num_rows)
    return whole


def verify_candidates(run: Run, candidates: pa.Table, copies: pa.Table, features: str) -> pa.Table:
    """Verify every candidate pair, once whatever number of times it was found.

    Returns:
        VERIFIED, as read_verified orders it.
    """
    with recorded(run, "verified") as finish:
        pairs = pa.concat_tables([candidates, copies]).group_by(_ASKED).aggregate([])
        places = _locate(shard_folders(run.store, "features", features))
        verified = _verify(run, pairs, places, label="verified pairs")
        whole = fingerprint("verified", "joined", hash_table(verified), features)
        if not run.store.exists("verified", whole):
            with run.store.put("verified", whole) as folder:
                write_table(folder, "verified", verified)
        n_ok = pc.sum(pc.equal(verified["status"], "ok")).as_py() or 0
        finish(whole, pairs=verified.num_rows, with_model=n_ok)
    return verified


def verify_training_pairs(run: Run, sets: Sets, pairs: pa.Table, *, label: str) -> pa.Table:
    """Verify pairs of two training photos; local features that are stored are not computed again.

    Args:
        pairs: CANDIDATES whose evaluation_set is the training set's name.

    Returns:
        VERIFIED, as read_verified orders it.
    """
    images = sets.training.images
    asked = pa.concat_tables([pairs.select([name]).rename_columns(["id"]) for name in ("query_id", "image_id")])
    photos = images.filter(pc.is_in(images["image_id"], value_set=pc.unique(asked["id"])))
    shards = _find_features(run, photos, label=f"{label}: local features")
    places = _locate([run.store.get(shard.step, shard.fingerprint) for shard in shards])
    return _verify(run, pairs, places, label=f"{label}: verified pairs")


def read_verified(config: Config) -> pa.Table:
    """Return the present VERIFIED table: by evaluation set and query, the highest score first, ties by photo."""
    return read_table(find_current(config, "verified"), "verified", VERIFIED)


def tabulate_verified(config: Config) -> pa.Table:
    """Return VERIFIED for people: without the matrices."""
    return read_verified(config).select([*_ASKED, "n_matches", "n_inliers", "score", "status"])


def open_features(config: Config) -> Callable[[PhotoKey], LocalFeatures | None]:
    """Return what reads the stored local features of a photo by its source and id; None for one that has none."""
    return feature_reader(feature_folders(config))


def feature_folders(config: Config) -> tuple[Path, ...]:
    """Return the folders of the run's local features."""
    whole = find_current(config, "features")
    return tuple(shard_folders(store_of(config), "features", whole.name))


def _find_features(run: Run, photos: pa.Table, *, label: str) -> list[Shard]:
    """Return the shards that hold the local features of some photos (IMAGES); what none holds yet is computed."""
    settings = _settings(run, "features")
    weights = hash_file(settings.weights)
    own = name_part(run.config, "features", work_devices(run, "features"), weights)
    numbers = number_rows(photos, run.limits)
    kept, left = _find_kept(run, own, photos, numbers)
    missing = photos.filter(pa.array(left))
    if kept:
        run.say(f"{label}: {len(photos) - len(missing):,} of {len(photos):,} photos are already stored")
    shards = run_photos(run, "features", missing, _store_features, settings=settings, label=label, more=[weights])
    keep_parts(run.store, "features", own, [*kept, *shards])
    return [*kept, *shards]


def _find_kept(
    run: Run, own: str, photos: pa.Table, numbers: NDArray[np.uint64]
) -> tuple[list[Shard], NDArray[np.bool_]]:
    """Return the stored shards that hold some of the photos, and none as it was before it changed; and which are left.

    A photo has features, or was refused for good, or for limits that are the same still. Of two shards that hold
    it the first counts: its pairs are named by that one.
    """
    wanted: dict[PhotoKey, set[int]] = {}
    keys = zip(photos["source"].to_pylist(), photos["image_id"].to_pylist(), strict=True)
    for key, own_number in zip(keys, numbers[:, 0].tolist(), strict=True):
        wanted.setdefault(key, set()).add(own_number)
    kept, left = [], np.ones(len(numbers), bool)
    for folder in read_kept(run.store, "features", own):
        held, refused = read_array(folder, "numbers"), read_array(folder, "refused")
        names = ((source, image_id) for source, image_id in _read_keys(folder))
        is_stale = any(photo not in wanted.get(key, {photo}) for key, photo in zip(names, held.tolist(), strict=True))
        found = np.isin(numbers, np.concatenate([held, refused])).any(axis=1)
        if not is_stale and (found & left).any():
            kept.append(Shard(run.store, "features", folder.name, 0, None))
            left &= ~found
    return kept, left


def _verify(run: Run, pairs: pa.Table, places: dict[PhotoKey, Path], *, label: str) -> pa.Table:
    """Return VERIFIED of some pairs; only those that no stored shard holds yet are computed."""
    settings = _settings(run, "verified")
    weights = settings.matcher_weights if settings.matcher == "lightglue" else None
    own = name_part(run.config, "verified", work_devices(run, "verified"), hash_file(weights))
    train, at_most = run.config.train.format, run.config.run.pairs_per_shard
    pairs = pairs.select(_ASKED).sort_by([(name, "ascending") for name in ("image_id", "evaluation_set", "query_id")])
    batches = (batch.to_pylist() for batch in pairs.to_batches(max_chunksize=1 << 13))
    numbers = np.array([_number_pair(row, places, train) for rows in batches for row in rows], np.uint64)
    kept = read_kept(run.store, "verified", own)
    done = np.concatenate([np.zeros(0, np.uint64), *(read_array(folder, "numbers") for folder in kept)])
    missing = np.flatnonzero(~np.isin(numbers, done))
    if len(missing) < len(numbers):
        run.say(f"{label}: {len(numbers) - len(missing):,} of {len(numbers):,} pairs are already stored")
    numbered = pairs.append_column("number", pa.array(numbers))
    parts = [numbered.take(np.array(rows)) for rows in cut(missing.tolist(), at_most)]
    listed = list_parts(run, parts, own, at_most, numbers[missing].tolist()) if parts else ""
    shards = [
        Shard(
            run.store,
            "verified",
            fingerprint(own, rows["number"].to_pylist()),
            rows.num_rows,
            _Pairs(listed, part, settings, train, _find_folders(rows, places, train)),
        )
        for part, rows in enumerate(parts)
    ]
    shards = run_shards(run, shards, _store_pairs, label=label)
    keep_parts(run.store, "verified", own, shards)
    return _join_verified([*kept, *(run.store.get(shard.step, shard.fingerprint) for shard in shards)], numbers)


def _number_pair(row: Mapping[str, Any], places: Mapping[PhotoKey, Path], train: str) -> int:
    """Return what names a pair among those verified alike: what it asks, and the features of its two photos."""
    features = [places[key].name if key in places else "" for key in _pair_keys(row, train)]
    return number(*(row[name] for name in _ASKED), *features)


def _join_verified(folders: Sequence[Path], wanted: NDArray[np.uint64]) -> pa.Table:
    parts, left = [], np.unique(wanted)
    for folder in folders:
        numbers = read_array(folder, "numbers")
        chosen = np.isin(numbers, left)
        left = np.setdiff1d(left, numbers)
        if chosen.any():
            parts.append(read_table(folder, "verified", VERIFIED).filter(pa.array(chosen)))
    order = [("evaluation_set", "ascending"), ("query_id", "ascending"), ("score", "descending")]
    return pa.concat_tables([VERIFIED.empty_table(), *parts]).sort_by([*order, ("image_id", "ascending")])


def _probes(sets: Sets, candidates: pa.Table) -> pa.Table:
    """Return the evaluation photos (IMAGES) that have candidates."""
    asked = candidates.group_by(["evaluation_set", "query_id"]).aggregate([])
    photos = pa.concat_tables([sets.queries, sets.evaluation_photos])
    rows = photos.select(["source", "image_id"]).append_column("row", pa.array(np.arange(len(photos))))
    found = rows.join(asked, ["source", "image_id"], ["evaluation_set", "query_id"], join_type="left semi")
    return photos.take(found["row"].sort())


def _settings(run: Run, step: str) -> VerifyConfig:
    """Return the settings that workers of a step get."""
    device = work_devices(run, step).get("verify.device")
    return declared_part(run.config.verify, find_step(run.config, step), name="verify", device=device)


def _locate(folders: list[Path]) -> dict[PhotoKey, Path]:
    return {(source, image_id): folder for folder in reversed(folders) for source, image_id in _read_keys(folder)}


def _read_keys(folder: Path) -> list[list[str]]:
    keys = read_json(folder, "photos")
    if not isinstance(keys, list):
        raise ArtifactError(f"{folder}/photos.json holds no list; delete {folder} and run 'overlap curate'")
    return keys


def _find_folders(pairs: pa.Table, places: Mapping[PhotoKey, Path], train: str) -> tuple[Path, ...]:
    """Return where the local features of pairs lie."""
    keys = {key for row in pairs.to_pylist() for key in _pair_keys(row, train)}
    return tuple(sorted({places[key] for key in keys if key in places}))


def _pair_keys(row: Mapping[str, Any], train: str) -> tuple[PhotoKey, PhotoKey]:
    return (row["evaluation_set"], row["query_id"]), (train, row["image_id"])


def _store_features(shard: Shard) -> str:
    extract, limits = _load_extractor(shard.work.settings), shard.work.limits

    def write(folder: Path, done: Done[LocalFeatures]) -> None:
        rows = [done.rows[place] for place in done.made]
        write_json(folder, "photos", [[row["source"], row["image_id"]] for row in rows])
        write_array(folder, "numbers", np.array([number(row_stamp(row)) for row in rows], np.uint64))
        write_array(folder, "refused", number_refused(done.refused, limits))
        for part, array in pack_features([*done.made.values()]).items():
            write_array(folder, part, array)

    return store_each(shard, lambda row: extract(load_photo(row, limits=limits)), write)


def _store_pairs(shard: Shard) -> None:
    work: _Pairs = shard.work
    pairs = read_part(shard.store.get("listed", work.listed), "parts", work.part)
    asked = pairs.to_pylist()
    read = feature_reader(tuple(shard.store.get("features", folder.name) for folder in work.folders))
    rows = []
    for start in range(0, len(asked), _BATCH):
        rows += _verify_rows(asked[start : start + _BATCH], work, read)
    with shard.store.put(shard.step, shard.fingerprint) as folder:
        write_table(folder, "verified", as_table(rows, VERIFIED))
        write_array(folder, "numbers", pairs["number"].to_numpy())


def _verify_rows(
    rows: Sequence[dict[str, Any]], work: _Pairs, read: Callable[[PhotoKey], LocalFeatures | None]
) -> list[dict[str, Any]]:
    pairs = [tuple(map(read, _pair_keys(row, work.train))) for row in rows]
    whole = [(query, photo) for query, photo in pairs if query is not None and photo is not None]
    results = iter(
        verify_batch(
            whole,
            settings=work.settings,
            match=_load_matcher(work.settings),
            find_nearest=_load_nearest(work.settings),
        )
    )
    return [_verified_row(row, None if None in pair else next(results)) for row, pair in zip(rows, pairs, strict=True)]


def _verified_row(row: dict[str, Any], result: PairResult | None) -> dict[str, Any]:
    asked = {name: row[name] for name in _ASKED}
    if result is None:
        nothing = {"n_matches": 0, "n_inliers": 0, "score": 0.0, "geometry": "none", "matrix": None}
        return {**asked, **nothing, "status": "unreadable"}
    return {
        **asked,
        "n_matches": result.n_matches,
        "n_inliers": result.n_inliers,
        "score": result.score,
        "status": result.status,
        "geometry": result.geometry,
        "matrix": None if result.matrix is None else result.matrix.ravel().tolist(),
    }


def feature_reader(folders: tuple[Path, ...]) -> Callable[[PhotoKey], LocalFeatures | None]:
    """Return what reads stored local features, as open_features does; the last photos are kept in memory."""
    places = {
        (source, image_id): (folder, row)
        for folder in folders
        for row, (source, image_id) in enumerate(_read_keys(folder))
    }
    arrays = {folder: {name: read_array(folder, name) for name in FEATURE_ARRAYS} for folder in folders}

    @lru_cache(maxsize=_CACHED_PHOTOS)
    def read(key: PhotoKey) -> LocalFeatures | None:
        if key not in places:
            return None
        folder, row = places[key]
        return unpack_features(arrays[folder], row)

    return read


def _open_features(settings: VerifyConfig) -> None:
    _load_extractor(settings)
    _load_matcher(settings)


_load_extractor = lru_cache(maxsize=1)(load_extractor)
_load_matcher = lru_cache(maxsize=1)(load_matcher)
_load_nearest = lru_cache(maxsize=1)(load_nearest)
