"""Removals to a release: the upstream files without the removed landmarks, the list, the figures, the checksums."""

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from overlap.base.errors import CheckError, DataError
from overlap.base.sheets import csv_bytes
from overlap.base.store import Store
from overlap.base.tables import REMOVALS, checked
from overlap.release.apply import RELEASE_FILE
from overlap.release.changes import compare_releases, find_previous, render_changelog
from overlap.release.columnar import REASONED, parquet_name, write_parquet, write_removals
from overlap.release.croissant import CROISSANT_FILE, build_croissant
from overlap.release.documents import DOCUMENTS, render_documents
from overlap.release.keep import Tally, check_met, keep
from overlap.release.records import CsvRecord, read_records
from overlap.release.sums import SUMS_FILE, checksums, file_names

REMOVALS_FILE = "removals.csv"
REMOVALS_COLUMNS = tuple(REASONED.names)

# What 'publish' adds beside the evidence's folder.
TABLES = ("evidence.csv", "evidence.html", "table2.csv", "table3.csv")

_CHANGES_FILES = ("changes.json", "CHANGELOG.md")
_CHUNK = 1 << 20
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*").fullmatch


def write_release(
    folder: Path,
    *,
    upstream: Sequence[Path],
    removals: pa.Table,
    reasons: Mapping[int, str],
    about: Mapping[str, object],
    extra: Mapping[str, bytes] = {},
    check: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Write a release, whole or not at all.

    It holds the filtered files under the upstream's names and as Parquet, the list, the figures, metadata and
    documents, what changed since the version before (the highest lower one beside the folder), and checksums.

    Args:
        folder: the release's own folder; one that is there with the same content is left as it is.
        upstream: CSV files with a column landmark_id; the first, train_clean.csv, is the one whose images are counted.
        removals: REMOVALS.
        reasons: why, in words, by landmark_id.
        about: what release.json says besides: at least name and version; also policy, tool, counts and so on, as JSON.
        extra: further files by name, which may hold a folder, such as ``evidence/votes.csv``.
        check: called with the finished release before it takes its place, which it does not if this raises.

    Returns:
        The folder.

    Raises:
        DataError: an upstream file is not sound, or a name can't be a file of a release.
        CheckError: the folder holds another release or one that was edited, a removed landmark is not in the first
            upstream file or has another number of images there, or the version before can't be read.
        ArtifactError: the disk is full.
    """
    folder = folder.absolute()
    removals = checked(removals, REMOVALS).sort_by("landmark_id")
    _check_names([path.name for path in upstream], list(extra), about)
    _sweep_drafts(folder)
    with Store(folder.parent.parent).put(folder.parent.name, folder.name) as draft:
        files = {
            path.name: _filter(path, draft / path.name, removals, counted=path == upstream[0]) for path in upstream
        }
        for name, content in extra.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(content)
        said = _write_list(draft, removals, reasons, {**about, "files": files})
        _describe(draft, said, removals, find_previous(folder, name=str(about["name"]), version=str(about["version"])))
        (draft / SUMS_FILE).write_text(checksums(draft), encoding="utf-8")
        if folder.exists():
            _check_same(draft, folder)
        check(draft)
    return folder


def check_upstream(upstream: Sequence[Path]) -> None:
    """Refuse files that no release can be made of, before weeks of work go into one.

    Args:
        upstream: as for `write_release`.

    Raises:
        DataError: a file is not sound, or has a name that a release can't hold.
    """
    _check_names([path.name for path in upstream], TABLES, {"name": "", "version": ""})
    for path in upstream:
        for _ in read_records(path):
            pass


def _write_list(
    draft: Path, removals: pa.Table, reasons: Mapping[int, str], about: Mapping[str, object]
) -> dict[str, Any]:
    words = pa.array([reasons.get(landmark, "") for landmark in removals["landmark_id"].to_pylist()], pa.string())
    listed = removals.append_column("reason", words).select(REMOVALS_COLUMNS)
    (draft / REMOVALS_FILE).write_bytes(csv_bytes(listed))
    write_removals(listed, draft / parquet_name(REMOVALS_FILE))
    figures = {"landmarks": len(removals), "images": sum(removals["n_images"].to_pylist())}
    said: dict[str, Any] = {**about, "removals": figures}
    _write_json(draft / RELEASE_FILE, said)
    return said


def _describe(draft: Path, said: Mapping[str, Any], removals: pa.Table, previous: Path | None) -> None:
    changes = compare_releases(previous, said=said, removals=removals)
    _write_json(draft / _CHANGES_FILES[0], changes)
    (draft / _CHANGES_FILES[1]).write_text(render_changelog(changes, previous), encoding="utf-8")
    for name, content in render_documents(said).items():
        (draft / name).write_bytes(content)
    _write_json(draft / CROISSANT_FILE, build_croissant(draft, said))


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _sweep_drafts(folder: Path) -> None:
    """Delete what killed runs left of this release: drafts whose process is no more."""
    for draft in folder.parent.glob(f".{folder.name[:16]}.*.*"):
        number = draft.name.split(".")[-2]
        if number.isdecimal() and not _is_running(int(number)):
            shutil.rmtree(draft, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's, or no process number at all: leave it
        return True
    return True


def _check_names(upstream: Sequence[str], extra: Sequence[str], about: Mapping[str, object]) -> None:
    missing = [key for key in ("name", "version") if key not in about]
    if missing:
        raise DataError(f"a release needs a {' and a '.join(missing)} in what it says about itself")
    given = [*upstream, *map(parquet_name, upstream), *extra]
    own = [REMOVALS_FILE, parquet_name(REMOVALS_FILE), RELEASE_FILE, CROISSANT_FILE, SUMS_FILE]
    taken = Counter([*given, *own, *_CHANGES_FILES, *DOCUMENTS])
    wrong = [name for name in given if taken[name] > 1 or not _SAFE_NAME(name)]
    if wrong:
        raise DataError(
            f"{wrong[0]!r} can't be a file of a release: it is taken, or not a plain relative name; rename the file"
        )


def _filter(source: Path, target: Path, removals: pa.Table, *, counted: bool) -> dict[str, object]:
    n_images = dict(zip(removals["landmark_id"].to_pylist(), removals["n_images"].to_pylist(), strict=True))
    tally, digest = Tally(), hashlib.sha256()
    with target.open("wb") as file:
        for record in keep(_hashed(source, digest), n_images.keys(), tally=tally):
            file.write(record.raw)
    if counted:
        check_met(n_images.keys(), tally, source)
        _check_images(n_images, tally, source)
    write_parquet(target, target.with_name(parquet_name(target.name)))
    return {"upstream_sha256": digest.hexdigest(), "counted": counted, **tally.figures()}


def _hashed(source: Path, digest: "hashlib._Hash") -> Iterator[CsvRecord]:
    for record in read_records(source):
        digest.update(record.raw)
        yield record


def _check_images(n_images: Mapping[int, int], tally: Tally, source: Path) -> None:
    wrong = [landmark for landmark in sorted(n_images) if n_images[landmark] != tally.removed[landmark]]
    if wrong:
        raise CheckError(
            f"{source} holds {tally.removed[wrong[0]]} images of landmark_id {wrong[0]}, the removals say "
            f"{n_images[wrong[0]]}; is this the file that they were made for?"
        )


def _check_same(draft: Path, folder: Path) -> None:
    names = sorted({*file_names(draft), *file_names(folder)})
    different = [name for name in names if not _equal(draft / name, folder / name)]
    if different:
        raise CheckError(
            f"{folder} holds another release, or was edited ({', '.join(different[:5])} would change); "
            "a release never changes: set a higher release.version"
        )


def _equal(one: Path, other: Path) -> bool:
    if not (one.is_file() and other.is_file() and one.stat().st_size == other.stat().st_size):
        return False
    with one.open("rb") as left, other.open("rb") as right:
        return all(chunk == right.read(_CHUNK) for chunk in _chunks(left))


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK), b"")
