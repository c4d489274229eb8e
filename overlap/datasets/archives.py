"""Photos read straight out of upstream's tar archives, without unpacking: an index of offsets from headers alone."""

import hashlib
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from overlap.datasets.photos import MISSING, Progress, require_unique
from overlap.errors import DataError
from overlap.images import stamp_file
from overlap.tables import checked

# Where each photo of one archive lies: `size` bytes from `offset`.
ARCHIVE_INDEX = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
    ]
)

_BLOCK = 512
_PHOTOS_PER_REPORT = 1000
_Place: TypeAlias = tuple[str, int, int]


def index_archive(path: Path) -> pa.Table:
    """List the photos of an uncompressed tar archive, reading its headers only.

    Returns:
        ARCHIVE_INDEX in the archive's order; the id is the file name without its ending.

    Raises:
        DataError: the archive is missing, truncated or damaged, holds a link, a device, a sparse file, an absolute
            path or one with ``..``, or two photos of one id.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            places, end = _read_places(archive, path)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path}: {_reason(error)}; {_fetch(path)}") from None
    _require_end(path, end)
    columns = [list(column) for column in zip(*places, strict=True)] or [[], [], []]
    table = checked(pa.table(columns, schema=ARCHIVE_INDEX), ARCHIVE_INDEX)
    require_unique(table["image_id"], what="photo", where=lambda row: f"{path} photo {row}")
    return table


def check_md5(path: Path, *, name: str | None = None) -> None:
    """Compare an archive with the checksum that upstream gives: images_000.tar with md5.images_000.txt beside it.

    Args:
        name: the archive's own name, when the file still has another.

    Raises:
        DataError: there is no checksum, it is malformed, or the archive differs.
    """
    listed = path.with_name(f"md5.{Path(name or path.name).stem}.txt")
    try:
        words = listed.read_text(encoding="ascii").split()
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} can't be checked against {listed.name} ({error}); {_fetch(listed)}") from None
    if not words or not re.fullmatch("[0-9a-fA-F]{32}", words[0]):
        raise DataError(f"{listed}: no MD5 checksum in it; delete it and {_fetch(listed)}")
    if words[0].lower() != found:
        raise DataError(
            f"{path}: MD5 {found} found, {words[0]} expected by {listed.name}; delete it and {_fetch(path)}"
        )


def join_archives(
    image_ids: pa.Array, archives: Mapping[Path, pa.Table], *, stamp: str, progress: Progress | None = None
) -> pa.Table:
    """Find photos in indexed archives.

    Args:
        image_ids: N ids.
        archives: ARCHIVE_INDEX by archive.
        stamp: ``mtime`` (of the archive, with the photo's place) or ``sha256`` (of the photo's bytes).

    Returns:
        N rows of archive, offset, size, stamp in the order of ``image_ids``, null where no archive holds the photo.

    Raises:
        DataError: a photo is in two archives.
    """
    held = _stack(archives)
    require_unique(held["image_id"], what="photo", where=lambda row: str(held["archive"][row]))
    found = held.take(pc.index_in(image_ids, held["image_id"])).drop_columns("image_id")
    stamps = _stamp_content(found, progress) if stamp == "sha256" else _stamp_places(found, progress)
    return found.append_column("stamp", stamps).combine_chunks()


def _read_places(archive: tarfile.TarFile, path: Path) -> tuple[list[_Place], int]:
    """Return the photos, and where the end marker must stand."""
    places: list[_Place] = []
    end = 0
    for member in archive:
        end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts or not (member.isdir() or member.isreg()) or member.issparse():
            raise DataError(
                f"{path}: {member.name!r} is no plain file below the archive's root, so the archive is not upstream's; "
                f"{_fetch(path)}"
            )
        if member.isreg():
            places.append((name.stem, member.offset_data, member.size))
    return places, end


def _require_end(path: Path, end: int) -> None:
    """Require the end marker: tarfile takes an archive that stops between two files, or at a bad header, for whole."""
    with path.open("rb") as file:
        file.seek(end)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise DataError(f"{path}: the archive is truncated or damaged at byte {end}; {_fetch(path)}")


def _stack(archives: Mapping[Path, pa.Table]) -> pa.Table:
    schema = ARCHIVE_INDEX.insert(0, pa.field("archive", pa.string()))
    tables = [
        table.add_column(0, schema.field("archive"), pa.repeat(pa.scalar(str(path)), len(table)))
        for path, table in sorted(archives.items())
    ]
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()


def _stamp_places(found: pa.Table, progress: Progress | None) -> pa.Array:
    """Stamp by the archive's stamp and the photo's place in it."""
    encoded = pc.dictionary_encode(found["archive"]).combine_chunks()
    stamps = pa.array([_stamp_archive(Path(path)) for path in encoded.dictionary.to_pylist()], pa.string())
    n_found = len(found) - found["archive"].null_count
    if progress is not None and n_found:
        progress(n_found)
    place = [found[name].combine_chunks().cast(pa.string()) for name in ("offset", "size")]
    return pc.binary_join_element_wise(stamps.take(encoded.indices), *place, "-")


def _stamp_archive(path: Path) -> str:
    try:
        return stamp_file(path, "mtime")
    except OSError:
        return MISSING


def _stamp_content(found: pa.Table, progress: Progress | None) -> pa.Array:
    """Stamp by the photos' bytes, archive by archive from front to back."""
    rows = found.append_column("row", pa.array(np.arange(len(found)))).filter(pc.is_valid(found["archive"]))
    stamps: list[str | None] = [None] * len(found)
    for count, row in enumerate(rows.sort_by([("archive", "ascending"), ("offset", "ascending")]).to_pylist(), start=1):
        stamps[row["row"]] = _hash_span(Path(row["archive"]), row["offset"], row["size"])
        if progress is not None and (count % _PHOTOS_PER_REPORT == 0 or count == len(rows)):
            progress((count - 1) % _PHOTOS_PER_REPORT + 1)
    return pa.array(stamps, pa.string())


def _hash_span(path: Path, offset: int, size: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return hashlib.sha256(file.read(size)).hexdigest()
    except OSError:
        return MISSING


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such archive"
    return f"the archive is truncated or damaged ({error})" if isinstance(error, tarfile.TarError) else str(error)


def _fetch(path: Path) -> str:
    return f"fetch it again with 'overlap download gldv2 --only {path.name}'"
