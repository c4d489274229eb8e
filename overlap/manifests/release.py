"""Removals to a release: the upstream files without the removed landmarks, the list, the figures, the checksums."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from overlap.errors import DataError
from overlap.manifests.records import Record, read_records
from overlap.sheets import csv_bytes, replacing
from overlap.store import Store
from overlap.tables import REMOVALS, checked

REMOVALS_FILE = "removals.csv"
RELEASE_FILE = "release.json"
SUMS_FILE = "SHA256SUMS"
REMOVALS_COLUMNS = (
    "landmark_id",
    "landmark_name",
    "evaluation_set",
    "origin",
    "n_queries",
    "n_confirmed",
    "n_images",
    "reason",
    "evidence",
)

_CHUNK = 1 << 20
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*").fullmatch


@dataclass
class Tally:
    """Count one file while it passes; `removed` gives the images of each removed landmark that was met."""

    rows_in: int = 0
    rows_out: int = 0
    images_in: int = 0
    images_out: int = 0
    removed: Counter[int] = field(default_factory=Counter)

    def figures(self) -> dict[str, int]:
        """Return the four counts by name."""
        return {name: count for name, count in asdict(self).items() if name != "removed"}


def keep(records: Iterable[Record], removed: Collection[int], *, tally: Tally) -> Iterator[Record]:
    """Pass on the records that belong to no removed landmark, and count in `tally` what comes in and goes out."""
    for record in records:
        if record.landmark_id is None:
            yield record
            continue
        tally.rows_in += 1
        tally.images_in += record.n_images
        if record.landmark_id in removed:
            tally.removed[record.landmark_id] += record.n_images
            continue
        tally.rows_out += 1
        tally.images_out += record.n_images
        yield record


def write_release(
    folder: Path,
    *,
    upstream: Sequence[Path],
    removals: pa.Table,
    reasons: Mapping[int, str],
    about: Mapping[str, object],
    extra: Mapping[str, bytes] = {},
) -> Path:
    """Write a release, whole or not at all: filtered files under the upstream's names, the list, figures, checksums.

    Args:
        folder: the release's own folder; one that is there with the same content is left as it is.
        upstream: CSV files with a column landmark_id; the first, train_clean.csv, is the one whose images are counted.
        removals: REMOVALS.
        reasons: why, in words, by landmark_id.
        about: what release.json says besides: at least name and version; also policy, tool, counts and so on, as JSON.
        extra: further files by name, which may hold a folder, such as ``evidence/votes.csv``.

    Returns:
        The folder.

    Raises:
        DataError: the folder holds another release, an upstream file is not sound, a removed landmark is not in the
            first upstream file or has another number of images there, or a name can't be a file of a release.
        ArtifactError: the disk is full.
    """
    folder = folder.absolute()
    removals = checked(removals, REMOVALS).sort_by("landmark_id")
    _check_names([*(path.name for path in upstream), *extra], about)
    with Store(folder.parent.parent).put(folder.parent.name, folder.name) as draft:
        files = {
            path.name: _filter(path, draft / path.name, removals, counted=path == upstream[0]) for path in upstream
        }
        for name, content in {**extra, **_lists(removals, reasons, about, files)}.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(content)
        (draft / SUMS_FILE).write_text(checksums(draft), encoding="utf-8")
        if folder.exists():
            _check_same(draft, folder)
    return folder


def apply_removals(removals_csv: Path, source: Path, out: Path) -> dict[str, int]:
    """Write `source` without the landmarks of a list, of which only the column landmark_id is read.

    Returns:
        rows_in, rows_out, images_in, images_out.

    Raises:
        DataError: `out` is one of the inputs, a file is not sound, or a landmark of the list is not in the source.
        ArtifactError: `out` can't be written.
    """
    for given in (removals_csv, source):
        if out.exists() and given.exists() and given.samefile(out):
            raise DataError(f"{out} is an input and would be overwritten; give another file to write to")
    removed = read_removed(removals_csv)
    tally = Tally()
    with replacing(out) as file:
        for record in keep(read_records(source), removed, tally=tally):
            file.write(record.raw)
        _check_met(removed, tally, source)
    return tally.figures()


def read_removed(path: Path) -> set[int]:
    """Read the landmark ids of a removal list.

    Raises:
        DataError: the file is not CSV with whole numbers in a column landmark_id.
    """
    return {record.landmark_id for record in read_records(path) if record.landmark_id is not None}


def checksums(folder: Path) -> str:
    """Return what SHA256SUMS says of a folder: ``sha256sum -c`` reads it; sorted by name."""
    lines = [f"{sha256(folder / name)}  {name}\n" for name in file_names(folder) if name != SUMS_FILE]
    return "".join(lines)


def file_names(folder: Path) -> list[str]:
    """Return the files below a folder, sorted, as they stand in SHA256SUMS."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_names(names: Sequence[str], about: Mapping[str, object]) -> None:
    missing = [key for key in ("name", "version") if key not in about]
    if missing:
        raise DataError(f"a release needs a {' and a '.join(missing)} in what it says about itself")
    taken = Counter([*names, REMOVALS_FILE, RELEASE_FILE, SUMS_FILE])
    wrong = [name for name in names if taken[name] > 1 or not _SAFE_NAME(name)]
    if wrong:
        raise DataError(f"{wrong[0]!r} can't be a file of a release: it is taken, or not a plain relative name")


def _filter(source: Path, target: Path, removals: pa.Table, *, counted: bool) -> dict[str, object]:
    n_images = dict(zip(removals["landmark_id"].to_pylist(), removals["n_images"].to_pylist(), strict=True))
    tally, digest = Tally(), hashlib.sha256()
    with target.open("wb") as file:
        for record in keep(_hashed(source, digest), n_images.keys(), tally=tally):
            file.write(record.raw)
    if counted:
        _check_met(n_images.keys(), tally, source)
        _check_images(n_images, tally, source)
    return {"upstream_sha256": digest.hexdigest(), "counted": counted, **tally.figures()}


def _hashed(source: Path, digest: "hashlib._Hash") -> Iterator[Record]:
    for record in read_records(source):
        digest.update(record.raw)
        yield record


def _check_met(removed: Collection[int], tally: Tally, source: Path) -> None:
    strange = sorted(set(removed) - tally.removed.keys())
    if strange:
        raise DataError(
            f"{source} holds no landmark_id {', '.join(map(str, strange[:20]))}, which the removals name; "
            "is this the file that they were made for?"
        )


def _check_images(n_images: Mapping[int, int], tally: Tally, source: Path) -> None:
    wrong = [landmark for landmark in sorted(n_images) if n_images[landmark] != tally.removed[landmark]]
    if wrong:
        raise DataError(
            f"{source} holds {tally.removed[wrong[0]]} images of landmark_id {wrong[0]}, the removals say "
            f"{n_images[wrong[0]]}; is this the file that they were made for?"
        )


def _lists(
    removals: pa.Table, reasons: Mapping[int, str], about: Mapping[str, object], files: Mapping[str, object]
) -> dict[str, bytes]:
    words = pa.array([reasons.get(landmark, "") for landmark in removals["landmark_id"].to_pylist()], pa.string())
    listed = csv_bytes(removals.append_column("reason", words).select(REMOVALS_COLUMNS))
    figures = {"landmarks": len(removals), "images": sum(removals["n_images"].to_pylist())}
    said: dict[str, Any] = {**about, "files": dict(files), "removals": figures}
    text = json.dumps(said, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return {REMOVALS_FILE: listed, RELEASE_FILE: text.encode()}


def _check_same(draft: Path, folder: Path) -> None:
    names = sorted({*file_names(draft), *file_names(folder)})
    different = [name for name in names if not _equal(draft / name, folder / name)]
    if different:
        raise DataError(
            f"{folder} holds another release ({', '.join(different[:5])} would change); "
            "a release never changes: set a higher release.version"
        )


def _equal(one: Path, other: Path) -> bool:
    if not (one.is_file() and other.is_file() and one.stat().st_size == other.stat().st_size):
        return False
    with one.open("rb") as left, other.open("rb") as right:
        return all(chunk == right.read(_CHUNK) for chunk in _chunks(left))


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK), b"")
