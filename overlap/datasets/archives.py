"""Photos read straight out of upstream's tar archives, without unpacking: an index of offsets from headers alone."""

import hashlib
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.errors import DataError
from overlap.base.images import stamp_file
from overlap.base.tables import checked
from overlap.datasets.photos import MISSING, Progress, require_unique

# Where each photo of one archive lies: `size` bytes from `offset`.
ARCHIVE_INDEX = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
    ]
)

_BLOCK = 512
_MOST_PADDING = 1 << 20  # programs fill up to 10,240 bytes, or to what they were told
_PHOTOS_PER_REPORT = 1000
_JPEG = frozenset({".jpg", ".jpeg", ".jpe"})
_PHOTO = _JPEG | {".png", ".webp"}
_FOREIGN = frozenset({"__MACOSX", "@eaDir"})
# How compressed files begin, and what takes the compression off.
_COMPRESSED = {
    b"\x1f\x8b": "gzip -dc",
    b"BZh": "bzip2 -dc",
    b"\xfd7zXZ": "xz -dc",
    b"\x28\xb5\x2f\xfd": "zstd -dc",
    b"\x04\x22\x4d\x18": "lz4 -dc",
    b"\x5d\0\0": "xz -dc",
    b"LZIP\x01": "lzip -dc",
    b"\x1f\x9d": "gzip -dc",
    b"PK\x03\x04": "unzip",
    b"7z\xbc\xaf\x27\x1c": "7z x",
    b"Rar!\x1a\x07": "unrar x",
}
_Place: TypeAlias = tuple[str, int, int]


@dataclass(frozen=True)
class ArchiveContent:
    """Hold what an archive has.

    Args:
        photos: ARCHIVE_INDEX in the archive's order.
        others: the names of other files.
    """

    photos: pa.Table
    others: list[str]


def index_archive(path: Path) -> pa.Table:
    """List the photos of an archive (ARCHIVE_INDEX), as read_archive does."""
    return read_archive(path).photos


def read_archive(path: Path) -> ArchiveContent:
    """List the photos of an uncompressed tar archive, reading its headers only.

    A photo's id is its file name without the ending, which is that of a JPEG, PNG or WebP file. What Macs, Windows and
    WebDataset put beside photos is passed over, and so is a picture of another format beside a JPEG of its name.

    Raises:
        DataError: the archive is missing, compressed, truncated or damaged, holds an absolute path or one with ``..``,
            a photo that is a link, a device or a sparse file, or two photos of one id.
    """
    try:
        _refuse_compressed(path)
        with tarfile.open(path, "r:") as archive:
            places, others, end = _read_places(archive, path)
        _require_end(path, end)
    except DataError:
        raise
    except Exception as error:  # tarfile raises many kinds on damaged headers
        raise DataError(f"{path}: {_reason(error, path)}") from None
    columns = [list(column) for column in zip(*places, strict=True)] or [[], [], []]
    table = checked(pa.table(columns, schema=ARCHIVE_INDEX), ARCHIVE_INDEX)
    require_unique(table["image_id"], what="photo", where=lambda row: f"{path} photo {row}")
    return ArchiveContent(table, others)


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


def stamp_archive(path: Path) -> str:
    """Return what changes when the archive may have changed; ``missing`` for one that can't be found."""
    try:
        return stamp_file(path, "mtime")
    except OSError:
        return MISSING


def _refuse_compressed(path: Path) -> None:
    with path.open("rb") as file:
        begin = file.read(8)
    program = next((program for magic, program in _COMPRESSED.items() if begin.startswith(magic)), None)
    if program is not None:
        plain = f"and name the archive {path.name.split('.')[0]}.tar"
        if not program.endswith("-dc"):  # what comes out may be photos
            plain = "and lay the photos to train/a/b/c/ID.jpg, or put them into a tar archive"
        raise DataError(
            f"{path}: the archive is compressed, but photos are read at their places in it; take the compression off "
            f"with '{program}' {plain}"
        )


def _read_places(archive: tarfile.TarFile, path: Path) -> tuple[list[_Place], list[str], int]:
    """Return the photos, the names of other files, and where the end marker must stand."""
    found: list[tuple[PurePosixPath, int, int]] = []
    others: list[str] = []
    end = 0
    for member in archive:
        if member.size < 0 or archive.offset <= end:  # tarfile would go round for ever
            raise tarfile.ReadError("a file's size is negative")
        end, name = archive.offset, PurePosixPath(member.name)
        _check_member(member, name, path)
        if member.isreg() and _is_photo(name):
            found.append((name, member.offset_data, member.size))
        elif not member.isdir():
            others.append(member.name)
    jpegs = {name.stem for name, _, _ in found if name.suffix.lower() in _JPEG}
    beside = {name for name, _, _ in found if name.suffix.lower() not in _JPEG and name.stem in jpegs}
    places = [(name.stem, offset, size) for name, offset, size in found if name not in beside]
    return places, [*others, *map(str, sorted(beside))], end


def _check_member(member: tarfile.TarInfo, name: PurePosixPath, path: Path) -> None:
    is_plain = (member.isreg() and not member.issparse()) or member.isdir()
    if name.is_absolute() or ".." in name.parts or (_is_photo(name) and not is_plain):
        raise DataError(
            f"{path}: {member.name!r} is no plain file below the archive's root, so the archive is not upstream's; "
            f"{_fetch(path)}"
        )


def _is_photo(name: PurePosixPath) -> bool:
    """Tell by its name whether a file is a photo; Macs, servers and viewers put copies into folders of their own."""
    is_hidden = any(part.startswith(".") or part in _FOREIGN for part in name.parts)
    return name.suffix.lower() in _PHOTO and not is_hidden and _is_text(name.name)


def _is_text(name: str) -> bool:
    """Tell whether a name is UTF-8; bytes that are not come as lone surrogates, and no list names such a file."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _require_end(path: Path, end: int) -> None:
    """Require the end marker, and nothing but some zeros behind it.

    tarfile takes an archive for whole that stops between two files, at a bad header, or at zeros in its middle.
    """
    with path.open("rb") as file:
        file.seek(end)
        marker, behind = file.read(_BLOCK), file.read(_MOST_PADDING)
    if marker != bytes(_BLOCK):
        raise DataError(f"{path}: the archive is truncated or damaged at byte {end}; {_fetch(path)}")
    if len(behind) == _MOST_PADDING or any(behind):
        raise DataError(
            f"{path}: the archive's end marker stands at byte {end}, but {path.stat().st_size - end:,} bytes follow: "
            f"part of a download, or several archives in one; {_fetch(path)}"
        )


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
    stamps = pa.array([stamp_archive(Path(path)) for path in encoded.dictionary.to_pylist()], pa.string())
    n_found = len(found) - found["archive"].null_count
    if progress is not None and n_found:
        progress(n_found)
    place = [found[name].combine_chunks().cast(pa.string()) for name in ("offset", "size")]
    return pc.binary_join_element_wise(stamps.take(encoded.indices), *place, "-")


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


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no such archive; {_fetch(path)}"
    if isinstance(error, OSError):
        return f"can't be read: {error.strerror or error}; mend the disk, the network or the permissions"
    return f"the archive is truncated or damaged ({error}); {_fetch(path)}"


def _fetch(path: Path) -> str:
    return f"fetch it again with 'overlap download gldv2 --only {path.name}'"
