"""Prove a release: its checksums, its figures, and that source minus removals is what it holds, byte by byte.

What follows from the source and removals.csv is derived anew, so that new checksums over edited files deceive nobody:
the filtered files, their Parquet twins, the figures of release.json, Tables 2 and 3, the hashes in the metadata.
Everything else is as trustworthy as the seal, the SHA-256 of SHA256SUMS, and where it was read.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from overlap.base.errors import DataError
from overlap.base.texts import read_json
from overlap.release.apply import RELEASE_FILE
from overlap.release.columnar import difference, parquet_name
from overlap.release.croissant import CROISSANT_FILE
from overlap.release.keep import Tally, keep
from overlap.release.records import read_records
from overlap.release.sums import SUMS_FILE, checksums, read_sums, seal_of, sha256
from overlap.release.tables import read_list, removals_table, table_findings
from overlap.release.write import REMOVALS_FILE

_SHOWN = 100
_LATER = ("landmarks_in", "landmarks_out")  # figures that releases of version 0.1.0 don't give


def verify_release(folder: Path, *, source: Path, seal: str | None = None) -> list[str]:
    """Check a release against the upstream file it was made from.

    Args:
        folder: the release.
        source: the first upstream file, train_clean.csv; or a folder that holds every upstream file, which checks all.
        seal: the SHA-256 that SHA256SUMS must have, as its publisher gave it.

    Returns:
        What is wrong, in words, one finding each; empty when the release is proven.

    Raises:
        DataError: there is no such folder, or no such source, or the source is not a CSV with landmark ids.
    """
    if not folder.is_dir() or not any((folder / name).exists() for name in (RELEASE_FILE, REMOVALS_FILE, SUMS_FILE)):
        raise DataError(f"{folder} is not a release: it holds no {RELEASE_FILE}, {REMOVALS_FILE} or {SUMS_FILE}")
    if not source.exists():
        raise DataError(f"{source} is not there; give the upstream train_clean.csv that the release was made from")
    findings = [*_seal_findings(folder, seal), *_checksum_findings(folder)]
    try:
        said, listed = _read_release(folder), _read_list(folder)
        for name, path in _sources(said["files"], source).items():
            findings += _file_findings(folder / name, path, said["files"][name], listed)
        findings += _list_findings(said["removals"], listed)
        findings += table_findings(folder, said)
    except _BrokenError as error:
        findings.append(str(error))
        return findings
    return [*findings, *_parquet_findings(folder, said), *_metadata_findings(folder)]


class _BrokenError(Exception):
    """The release can't be read far enough to go on."""


def _seal_findings(folder: Path, seal: str | None) -> Iterator[str]:
    if seal is None or not (folder / SUMS_FILE).is_file():
        return
    found = seal_of(folder)
    if found != seal.strip().lower():
        yield f"{SUMS_FILE} has the SHA-256 {found}, not the seal {seal}: this is not the release that was published"


def _checksum_findings(folder: Path) -> Iterator[str]:
    try:
        written = (folder / SUMS_FILE).read_bytes().decode(errors="replace").splitlines(keepends=True)
    except FileNotFoundError:
        yield f"{SUMS_FILE} is missing"
        return
    actual = checksums(folder).splitlines(keepends=True)
    yield from (f"{SUMS_FILE} says {line.rstrip()!r}, which no file matches" for line in written if line not in actual)
    yield from (f"{SUMS_FILE} lacks {line.rstrip()!r}, which is there" for line in actual if line not in written)
    if written != actual and set(written) == set(actual):
        yield f"{SUMS_FILE} is not in order, or says a line twice"


def _read_release(folder: Path) -> dict[str, Any]:
    try:
        said = read_json(folder / RELEASE_FILE)
        files, removals = said["files"], said["removals"]
        if not files or not all(isinstance(figures, dict) for figures in (*files.values(), removals)):
            raise ValueError("no figures")
        if any(Path(name).name != name for name in files):
            raise ValueError("a file's name holds a folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _BrokenError(f"{RELEASE_FILE} can't be read: {error}") from None
    return dict(said)


def _read_list(folder: Path) -> dict[int, str]:
    try:
        return read_list(folder / REMOVALS_FILE)
    except (DataError, ValueError) as error:
        raise _BrokenError(f"{REMOVALS_FILE} can't be read: {error}") from None


def _parquet_findings(folder: Path, said: Mapping[str, Any]) -> Iterator[str]:
    """Compare each Parquet file with its CSV twin, which has been proven; one with a wrong checksum is not opened."""
    sums = read_sums(folder / SUMS_FILE) if (folder / SUMS_FILE).is_file() else {}
    for name in (*said["files"], REMOVALS_FILE):
        twin = folder / parquet_name(name)
        if not twin.is_file():
            yield f"{twin.name} is missing"
        elif (folder / name).is_file() and sums.get(twin.name) == sha256(twin):
            yield from _twin_findings(folder / name, twin)


def _twin_findings(listed: Path, twin: Path) -> Iterator[str]:
    try:
        found = difference(removals_table(listed) if listed.name == REMOVALS_FILE else listed, twin)
    except (DataError, ValueError) as error:
        found = f"{listed.name} can't be compared with {twin.name}: {error}"
    if found:
        yield found


def _metadata_findings(folder: Path) -> Iterator[str]:
    """Compare the hashes in the metadata with the files, so that its readers get what this check saw."""
    try:
        described = read_json(folder / CROISSANT_FILE)["distribution"]
        digests = {str(entry["contentUrl"]): entry["sha256"] for entry in described}
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"{CROISSANT_FILE} can't be read: {error}"
        return
    for name, digest in digests.items():
        path = folder / name
        if Path(name).name != name or not path.is_file() or sha256(path) != digest:
            yield f"{CROISSANT_FILE} says {name} has the SHA-256 {digest}, which it has not"


def _sources(files: Mapping[str, Any], source: Path) -> dict[str, Path]:
    if source.is_dir():
        return {name: source / name for name in files}
    digest = sha256(source)
    by_hash = [name for name, figures in files.items() if figures.get("upstream_sha256") == digest]
    named = [name for name in files if name == source.name]
    counted = [name for name, figures in files.items() if figures.get("counted")]
    return {next(iter([*by_hash, *named, *counted, *files])): source}


def _file_findings(released: Path, source: Path, said: Mapping[str, Any], listed: Mapping[int, str]) -> list[str]:
    name = released.name
    if not source.is_file() or not released.is_file():
        return [f"{path} is missing" for path in (source, released) if not path.is_file()]
    digest, tally = sha256(source), Tally()
    findings = []
    if said.get("upstream_sha256") != digest:
        findings.append(
            f"{source} has SHA-256 {digest}, but {RELEASE_FILE} says that {name} was made from "
            f"{said.get('upstream_sha256')}: it is not the upstream file of this release"
        )
    findings += _byte_findings(released, source, listed.keys(), tally)
    figures = tally.figures()
    if {key: said.get(key, figures[key] if key in _LATER else None) for key in figures} != figures:
        findings.append(f"{RELEASE_FILE} says {said} of {name}, but source minus removals has {figures}")
    return findings + _image_findings(source, tally, listed, said)


def _byte_findings(released: Path, source: Path, removed: Collection[int], tally: Tally) -> list[str]:
    """Compare until the first difference, but read the source to its end for the counts."""
    findings: list[str] = []
    with released.open("rb") as file:
        line = 1
        for record in keep(read_records(source), removed, tally=tally):
            if findings:
                continue
            found = file.read(len(record.raw))
            if found != record.raw:
                findings.append(_difference(released, line, found + file.readline(), source, record.line, record.raw))
            line += record.raw.count(b"\n")
        rest = b"" if findings else file.readline()
    if rest:
        findings.append(f"{released.name} line {line}: {_shown(rest)} and what follows is not in {source}")
    return findings


def _difference(released: Path, line: int, found: bytes, source: Path, source_line: int, expected: bytes) -> str:
    return (
        f"{released.name} line {line} differs: expected {_shown(expected)} (line {source_line} of {source}), "
        f"found {_shown(found.splitlines(keepends=True)[0] if found else b'')}"
    )


def _shown(raw: bytes) -> str:
    text = raw[:_SHOWN].decode(errors="backslashreplace")
    return repr(text) + ("..." if len(raw) > _SHOWN else "")


def _image_findings(source: Path, tally: Tally, listed: Mapping[int, str], said: Mapping[str, Any]) -> list[str]:
    """Compare the list's n_images with the file they were counted in, the first upstream file."""
    if not said.get("counted"):
        return []
    return [
        f"{REMOVALS_FILE} says {n_images} images of landmark_id {landmark}, {source} holds {tally.removed[landmark]}"
        for landmark, n_images in listed.items()
        if landmark not in tally.removed or str(tally.removed[landmark]) != n_images
    ]


def _list_findings(said: Mapping[str, Any], listed: Mapping[int, str]) -> list[str]:
    images = sum(int(n_images) for n_images in listed.values() if n_images.isdigit())
    found = {"landmarks": len(listed), "images": images}
    return [] if said == found else [f"{RELEASE_FILE} says {dict(said)} were removed, {REMOVALS_FILE} lists {found}"]
