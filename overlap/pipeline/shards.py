"""Shards: the pieces that a step's work is cut into, what names them, and the one way in which they read photos.

Photos are written to disk once, cut (step ``listed``); a shard names a part of that table. Whoever does it reads the
part, makes something of each photo, puts photos that can't be read into the quarantine, and stores the rest.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from overlap.base.config import fingerprint
from overlap.base.errors import ArtifactError, DataError
from overlap.base.images import LimitError, PhotoLimits, UnreachableError
from overlap.base.sheets import replacing
from overlap.base.store import Store, read_json, read_part, read_table, write_json, write_parts, write_table
from overlap.base.tables import IMAGES, QUARANTINE, as_table
from overlap.datasets.photos import MISSING
from overlap.pipeline.cuts import Cut, Rows, cut_in_order, cut_photos
from overlap.pipeline.declared import devices_of, find_step, name_part
from overlap.pipeline.journal import timed, write_line
from overlap.pipeline.run import Run, resolve_device

Row: TypeAlias = dict[str, Any]
Refused: TypeAlias = Sequence[tuple[Mapping[str, Any], DataError]]
Made = TypeVar("Made")

_STAMPED = ("source", "image_id", "offset", "stamp", "crop_px")


@dataclass(frozen=True)
class Shard:
    """Name one piece of a step's work; a worker turns it into one artefact.

    Args:
        size: how many photos or pairs it holds, for the progress bar.
        work: what the step's worker function needs, picklable; ``Photos`` where it reads photos.
    """

    store: Store
    step: str
    fingerprint: str
    size: int
    work: Any


@dataclass(frozen=True)
class Photos:
    """Name the photos of a shard: a part of a table of the step ``listed``.

    Args:
        settings: what the worker needs beside them.
    """

    listed: str
    part: int
    limits: PhotoLimits
    settings: Any


@dataclass(frozen=True)
class Done(Generic[Made]):
    """Hold what became of a shard's photos.

    Args:
        rows: the photos, rows of IMAGES.
        made: what was made of each that could be used, by its place.
        refused: the others.
    """

    rows: list[Row]
    made: dict[int, Made]
    refused: Refused


_CUTS: Mapping[str, Cut] = MappingProxyType({"photos": cut_photos, "photos in order": cut_in_order})


def list_photos(run: Run, images: pa.Table, *, by: Cut) -> tuple[str, list[tuple[int, str]]]:
    """Write photos cut into parts, once.

    Args:
        images: IMAGES.

    Returns:
        The artefact's fingerprint, and of each part its size and what names its photos.
    """
    at_most = run.config.run.photos_per_shard
    listed = fingerprint("listed", by.__name__, at_most, hash_table(images))
    if not run.store.exists("listed", listed):
        images = images.combine_chunks()
        parts: list[tuple[int, str]] = []
        with run.store.put("listed", listed) as folder:
            write_parts(folder, "photos", map(partial(_take, images, parts), by(images, at_most)), IMAGES)
            write_json(folder, "parts", parts)
    return listed, _read_sizes(run.store.get("listed", listed))


def _read_sizes(folder: Path) -> list[tuple[int, str]]:
    parts: Any = read_json(folder, "parts")
    if not isinstance(parts, list) or not parts:
        raise ArtifactError(f"{folder}/parts.json holds no list of parts; delete {folder} and run the step again")
    return [(size, stamp) for size, stamp in parts]


def list_parts(run: Run, parts: Sequence[pa.Table], *whole: object) -> str:
    """Write tables of one schema, none of them empty, that shards read one by one.

    Args:
        whole: what names them all, and how they are cut.

    Returns:
        The artefact's fingerprint.
    """
    listed = fingerprint("listed", *whole)
    if not run.store.exists("listed", listed):
        with run.store.put("listed", listed) as folder:
            write_parts(folder, "parts", parts, parts[0].schema)
    return listed


def _take(images: pa.Table, parts: list[tuple[int, str]], rows: Rows) -> pa.Table:
    part = images.take(rows)
    parts.append((len(rows), fingerprint(list(map(row_stamp, part.select(_STAMPED).to_pylist())))))
    return part


def hash_table(table: pa.Table) -> str:
    """Return a hash of a table of texts, numbers and lists of numbers by its rows, however they lie in memory."""
    digest = hashlib.sha256(repr(table.schema.names).encode())
    for start in range(0, table.num_rows, 1 << 16):
        for column in table.slice(start, 1 << 16).combine_chunks().columns:
            digest.update(b"".join(_list_bytes(column)))
    return digest.hexdigest()


def _list_bytes(column: pa.ChunkedArray) -> Iterator[bytes]:
    yield pc.is_valid(column).to_numpy().tobytes()
    values = column.drop_null().combine_chunks()
    if pa.types.is_string(values.type):
        yield pc.binary_length(values).to_numpy().tobytes()
        yield "".join(values.to_pylist()).encode()
    else:
        flat = values.flatten() if pa.types.is_nested(values.type) else values
        yield flat.to_numpy().tobytes()


def run_photos(
    run: Run,
    step: str,
    images: pa.Table,
    worker: Callable[[Shard], str],
    *,
    settings: Any,
    label: str,
    more: Sequence[object] = (),
    by: Cut | None = None,
) -> tuple[Shard, ...]:
    """Do a step's work on photos, a part of them a shard, and keep what is stored.

    Args:
        images: IMAGES.
        worker: stores a shard, by store_each or store_photos, and returns the fingerprint that it used.
        settings: what the worker needs beside the photos.
        more: what the result depends on beside what the step declares and the photos.
        by: how the photos are cut, where not as the step declares.
    """
    if not images.num_rows:
        return ()
    listed, parts = list_photos(run, images, by=by or _CUTS[find_step(run.config, step).cut])
    devices = work_devices(run, step)
    shards = [
        Shard(
            run.store,
            step,
            name_part(run.config, step, devices, *more, stamps),
            size,
            Photos(listed, part, run.limits, settings),
        )
        for part, (size, stamps) in enumerate(parts)
    ]
    return tuple(run_shards(run, shards, worker, label=label))


def work_devices(run: Run, step: str) -> dict[str, str]:
    """Return the devices that a step's result depends on, by setting."""
    return {key: resolve_device(run, key) for key in devices_of(run.config, step)}


def read_rows(shard: Shard) -> list[Row]:
    """Return the photos of a shard, rows of IMAGES."""
    rows: list[Row] = read_part(shard.store.get("listed", shard.work.listed), "photos", shard.work.part).to_pylist()
    return rows


def store_each(shard: Shard, make: Callable[[Row], Made], write: Callable[[Path, Done[Made]], None]) -> str:
    """Make something of each photo of a shard and store it; photos that can't be used go to the quarantine.

    Args:
        make: called with each row of IMAGES; raises DataError where the photo can't be used.
        write: writes into the artefact's folder.

    Returns:
        The fingerprint under which it is stored.
    """
    made: dict[int, Made] = {}
    refused: list[tuple[Row, DataError]] = []
    rows = read_rows(shard)
    for place, row in enumerate(rows):
        try:
            made[place] = make(row)
        except DataError as error:
            refused.append((row, error))
    return store_photos(shard, refused, lambda folder: write(folder, Done(rows, made, refused)))


def store_photos(shard: Shard, refused: Refused, write: Callable[[Path], None]) -> str:
    """Store what was made of a shard's photos, with the quarantine of those that were refused.

    Returns:
        The fingerprint under which it is stored.
    """
    name = name_shard(shard, refused)
    with shard.store.put(shard.step, name) as folder:
        write(folder)
        write_table(folder, "quarantine", as_table(list(map(_quarantined, refused)), QUARANTINE))
    return name


def _quarantined(refused: tuple[Mapping[str, Any], DataError]) -> Row:
    row, error = refused
    return {**{name: row[name] for name in ("image_id", "source", "path")}, "reason": str(error)}


def join_quarantine(folders: Sequence[Path]) -> pa.Table:
    """Join the quarantine tables of a step's shards."""
    parts = [read_table(folder, "quarantine", QUARANTINE) for folder in folders]
    return pa.concat_tables([QUARANTINE.empty_table(), *parts])


def check_quarantine(run: Run, quarantine: pa.Table, n_photos: int) -> None:
    """Report unreadable photos, and stop when there are too many.

    Args:
        quarantine: QUARANTINE rows of a step.
        n_photos: how many photos the step had.

    Raises:
        DataError: their share is above run.max_unreadable.
    """
    n_bad = quarantine.num_rows
    if not n_bad:
        return
    first = quarantine.slice(0, 1).to_pylist()[0]
    found = f"{n_bad} of {n_photos} photos can't be used, for example {first['reason']}"
    limit = run.config.run.max_unreadable
    if n_bad > limit * n_photos:
        raise DataError(f"{found}; that is over run.max_unreadable = {limit:g}: mend the photos, or raise the limit")
    run.say(f"{found}; 'overlap export quarantine' lists them")


def run_shards(run: Run, shards: Sequence[Shard], worker: Callable[[Shard], str | None], *, label: str) -> list[Shard]:
    """Do the shards, all of one step, that are not stored yet.

    Args:
        worker: stores a shard; returns the fingerprint that it used if not the shard's own.

    Returns:
        The shards with the fingerprints under which they are stored.
    """
    wanted = [name for shard in shards for name in _find_names(shard)]
    stored = run.store.find(shards[0].step, wanted) if shards else frozenset()
    names = [next((name for name in _find_names(shard) if name in stored), None) for shard in shards]
    missing = [shard for shard, name in zip(shards, names, strict=True) if name is None]
    if len(missing) < len(shards):
        run.say(f"{label}: {len(shards) - len(missing)} of {len(shards)} shards are already stored")
        write_line(run.store, step=shards[0].step, kept=len(shards) - len(missing))
    done = iter(run.map_shards(timed(worker), missing, label=label, sizes=[shard.size for shard in missing]))
    return [
        replace(shard, fingerprint=name or next(done) or shard.fingerprint)
        for shard, name in zip(shards, names, strict=True)
    ]


def name_shard(shard: Shard, refused: Refused) -> str:
    """Return the fingerprint under which a shard is stored, by which of its photos were refused.

    A refusal that may pass is no result. With a photo over a limit, a shard is one for these limits; with one whose
    file could not be reached, the next run does not find the shard and tries again. A file that was missing already
    when the set was read has a stamp of its own, and so has its shard.
    """
    unreachable = [[row["source"], row["image_id"], str(error)] for row, error in refused if may_pass(row, error)]
    if unreachable:
        return fingerprint(_name_limited(shard), unreachable)
    return _name_limited(shard) if any(isinstance(error, LimitError) for _, error in refused) else shard.fingerprint


def may_pass(row: Mapping[str, Any], error: DataError) -> bool:
    """Tell whether a refusal may pass by itself: the file could not be reached, and was not missing from the first."""
    return isinstance(error, UnreachableError) and row["stamp"] != MISSING


def _find_names(shard: Shard) -> tuple[str, ...]:
    return (shard.fingerprint, _name_limited(shard)) if isinstance(shard.work, Photos) else (shard.fingerprint,)


def _name_limited(shard: Shard) -> str:
    return fingerprint(shard.fingerprint, asdict(shard.work.limits))


def put_list(run: Run, step: str, shards: Sequence[Shard]) -> str:
    """Store the list of a step's shards as an artefact of its own and return its fingerprint."""
    members = [shard.fingerprint for shard in shards]
    whole = fingerprint(step, "list", members)
    if not run.store.exists(step, whole):
        with run.store.put(step, whole) as folder:
            write_json(folder, "shards", members)
    return whole


def shard_folders(store: Store, step: str, whole: str) -> list[Path]:
    """Return the folders of the shards that a list names."""
    return [store.get(step, member) for member in read_text_list(store.get(step, whole), "shards")]


def read_text_list(folder: Path, name: str) -> list[str]:
    """Read ``name.json`` of an artefact, a list of texts.

    Raises:
        ArtifactError: it is missing, damaged or something else.
    """
    values = read_json(folder, name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ArtifactError(f"{folder}/{name}.json holds no list of texts; delete {folder} and run the step again")
    return values


def read_kept(store: Store, step: str, own: str) -> list[Path]:
    """Return the folders of the parts of a step that earlier runs kept under a name, those here or in the mirror.

    Raises:
        ArtifactError: the list of them is damaged.
    """
    path = _kept_path(store, step, own)
    try:
        members: list[str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} can't be read ({error}); delete it and run the step again") from None
    found = store.find(step, members)
    return [store.get(step, member) for member in members if member in found]


def keep_parts(store: Store, step: str, own: str, shards: Sequence[Shard]) -> None:
    """Add parts of a step to those that later runs may take from, of what their bytes depend on beside the photos."""
    names = [folder.name for folder in read_kept(store, step, own)]
    path = _kept_path(store, step, own)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(json.dumps(list(dict.fromkeys([*names, *(shard.fingerprint for shard in shards)]))).encode())


def _kept_path(store: Store, step: str, own: str) -> Path:
    return store.root / "current" / f"parts-{step}-{own[:32]}.json"


def number(*parts: object) -> int:
    """Return 64 bits of a fingerprint: of a photo or a pair among those of a step."""
    return int(fingerprint(*parts)[:16], 16)


def number_rows(images: pa.Table, limits: PhotoLimits) -> NDArray[np.uint64]:
    """Number photos (IMAGES).

    Returns:
        (N, 2) numbers: of the photo, and of the photo with these limits.
    """
    found = []
    for batch in images.select(_STAMPED).to_batches(max_chunksize=1 << 13):
        photos = [number(row_stamp(row)) for row in batch.to_pylist()]
        found.append(np.array([(photo, number(photo, asdict(limits))) for photo in photos], np.uint64).reshape(-1, 2))
    return np.concatenate([np.zeros((0, 2), np.uint64), *found])


def number_refused(refused: Refused, limits: PhotoLimits) -> NDArray[np.uint64]:
    """Number the photos that were refused for good, and those over a limit with these limits; others may be tried."""
    photos = [(number(row_stamp(row)), row, error) for row, error in refused]
    numbers = [
        number(photo, asdict(limits)) if isinstance(error, LimitError) else photo
        for photo, row, error in photos
        if not may_pass(row, error)
    ]
    return np.array(numbers, np.uint64)


def row_stamp(row: Mapping[str, Any]) -> list[Any]:
    """Return what tells a photo's row from another and a changed photo from an unchanged one."""
    return [row[name] for name in _STAMPED]
