"""Evidence made again from the photos, by whoever doubts a release."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from overlap.base.config import Config, VerifyConfig
from overlap.base.errors import CheckError, DataError
from overlap.base.images import PhotoLimits, decode_photo, naming, read_bytes
from overlap.base.tables import LocalFeatures
from overlap.evidence.compare import ABOUT_FILE, EVIDENCE_FOLDER, compare_pair, read_evidence
from overlap.features.catalogue import load_extractor, load_matcher
from overlap.pipeline.evidence import PAGE_FILE, Rows, find_rows, pair_keys, verify_record
from overlap.pipeline.photos import read_sets
from overlap.pipeline.run import Run, hash_file
from overlap.pipeline.verify import PhotoKey
from overlap.release.sums import SUMS_FILE, file_names, read_sums, sha256


@dataclass(frozen=True)
class _Repetition:
    """Carry one recorded landmark to a worker, with the IMAGES rows of its pairs."""

    settings: VerifyConfig
    landmark_id: int
    pairs: Sequence[Mapping[str, Any]]
    train: str
    rows: Rows
    limits: PhotoLimits


def verify_evidence(run: Run, folder: Path) -> tuple[int, list[str]]:
    """Extract features of the recorded pairs from the photos and verify them again, as recorded.

    Returns:
        How many pairs were verified, and in words which file of the evidence was edited, which photo is gone or was
        changed, and what comes out otherwise.

    Raises:
        CheckError: the evidence can't be read, or was made with other weights.
        DataError: a set of the config can't be read.
    """
    about, landmarks = read_evidence(folder)
    findings = _find_edited(folder)
    settings = _recorded_settings(about, run.config, folder)
    train = run.config.train.format
    recorded = {each["landmark_id"]: [pair for pair in each["pairs"] if "inliers" in pair] for each in landmarks}
    keys = {key for pairs in recorded.values() for pair in pairs for key in pair_keys(pair, train)}
    sets = read_sets(run)
    rows = find_rows(keys, [sets.training.images, sets.queries, sets.evaluation_photos])
    tasks = [
        _Repetition(settings, landmark, pairs, train, _own_rows(rows, pairs, train), run.limits)
        for landmark, pairs in recorded.items()
        if pairs
    ]
    found = run.map_shards(_repeat, tasks, label="verify again", sizes=[len(task.pairs) for task in tasks])
    return sum(map(len, recorded.values())), [*findings, *(text for texts in found for text in texts)]


def _find_edited(folder: Path) -> list[str]:
    """Compare the evidence with SHA256SUMS; the rest of a release is for verify-release."""
    if not (folder / SUMS_FILE).is_file():
        return [f"{folder / SUMS_FILE} is missing: whether the evidence was edited can't be told"]
    sums = {name: digest for name, digest in read_sums(folder / SUMS_FILE).items() if _is_evidence(name)}
    here = {name: sha256(folder / name) for name in file_names(folder) if _is_evidence(name)}
    return [
        f"{folder / name} " + ("is missing" if name not in here else "was edited: its SHA-256 is not in SHA256SUMS")
        for name in sorted({*sums, *here})
        if sums.get(name) != here.get(name)
    ]


def _is_evidence(name: str) -> bool:
    return name == PAGE_FILE or name.startswith(f"{EVIDENCE_FOLDER}/")


def _recorded_settings(about: Mapping[str, Any], config: Config, folder: Path) -> VerifyConfig:
    """Return the settings of the record, with this config's weights, which must be the recorded ones."""
    own = config.verify
    for name, path, key in (
        ("verify.weights", own.weights, "weights_sha256"),
        ("verify.matcher_weights", own.matcher_weights, "matcher_sha256"),
    ):
        if (found := hash_file(path)) != about[key]:
            raise CheckError(
                f"{folder / ABOUT_FILE}: the evidence was made with {name} of SHA-256 {about[key] or '(none given)'}, "
                f"the config has {found or 'none'}; set the same weights"
            )
    try:
        recorded = VerifyConfig.model_validate({**about["settings"], "device": own.device})
    except (ValidationError, TypeError) as error:
        raise CheckError(
            f"{folder / ABOUT_FILE} can't be read: its settings are none of this version: {error}"
        ) from None
    return recorded.model_copy(update={"weights": own.weights, "matcher_weights": own.matcher_weights})


def _own_rows(rows: Rows, pairs: Sequence[Mapping[str, Any]], train: str) -> Rows:
    keys = {key for pair in pairs for key in pair_keys(pair, train)}
    return {key: rows[key] for key in sorted(keys & rows.keys())}


def _repeat(task: _Repetition) -> list[str]:
    """Return what differs in one landmark's pairs, each named by its query and photo."""
    findings = []
    known: dict[PhotoKey, LocalFeatures] = {}
    for pair in task.pairs:
        keys = pair_keys(pair, task.train)
        digests = (pair.get("query_sha256"), pair.get("photo_sha256"))
        try:
            for key, digest in zip(keys, digests, strict=True):
                if key not in known:
                    known[key] = _extract(task, key, digest)
            query, photo = (known[key] for key in keys)
            found = verify_record(query, photo, settings=task.settings, match=_load_matcher(task.settings))
            differences = compare_pair(pair, found)
        except DataError as error:
            differences = [str(error)]
        findings += [
            f"landmark {task.landmark_id}, query {keys[0][1]}, photo {keys[1][1]}: {text}" for text in differences
        ]
    return findings


def _extract(task: _Repetition, key: PhotoKey, digest: str | None) -> LocalFeatures:
    """Return the features of a photo that is as it was.

    Raises:
        DataError: it is not in its set, gone, unreadable or another one.
    """
    row = task.rows.get(key)
    if row is None:
        raise DataError(f"{key[1]} is not in {key[0]}")
    content = read_bytes(row, task.limits)
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise DataError(f"{row['path']} was changed: its SHA-256 was {digest}, is {found}")
    box = row["crop_px"]
    with naming(row):
        pixels = decode_photo(content, crop_px=tuple(box) if box else None, limits=task.limits)
    return _load_extractor(task.settings)(pixels)


_load_extractor = lru_cache(maxsize=1)(load_extractor)
_load_matcher = lru_cache(maxsize=1)(load_matcher)
