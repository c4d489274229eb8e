"""What every step needs: the config, the store, a way to run shards, and a record of what was done.

``store/current/STEP.json`` says what a step did last: which artefact, for which settings, and what it cost. Results of
several settings stand side by side: each has its record ``STEP-SETTINGS.json``, which is found again with its settings.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from math import ceil
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, TypeAlias

from overlap.config import Config, fingerprint
from overlap.datasets.photos import MISSING
from overlap.devices import choose_device
from overlap.errors import ArtifactError, ConfigError, DataError
from overlap.images import LimitError, PhotoLimits, UnreachableError, stamp_file
from overlap.mirror import Mirror
from overlap.progress import Begin, unseen
from overlap.steps.declared import devices_of, settings_of
from overlap.steps.journal import timed, write_line
from overlap.store import Store, read_json, write_json
from overlap.workers import MapShards

_FORMAT = 2
_SETTINGS = "[0-9a-f]" * 16


@dataclass(frozen=True)
class Run:
    """Carry what every step needs.

    Args:
        config: the settings.
        store: where artefacts lie.
        map_shards: runs shards, here or elsewhere.
        say: takes one line for the person who waits.
        begin: shows how far work is that is no list of shards.
        devices: by setting, what "auto" became where the shards run, as far as it was asked.
    """

    config: Config
    store: Store
    map_shards: MapShards
    say: Callable[[str], None]
    begin: Begin = unseen
    devices: dict[str, str] = field(default_factory=dict)

    @property
    def limits(self) -> PhotoLimits:
        """Return what a photo may cost."""
        return PhotoLimits(mb=self.config.run.max_photo_mb, mpx=self.config.run.max_photo_mpx)


@dataclass(frozen=True)
class Shard:
    """Name one piece of a step's work; a worker turns it into one artefact.

    Args:
        size: how many photos or pairs it holds, for the progress bar.
        work: what the step's worker function needs, picklable; where it reads photos, their ``limits`` too.
    """

    store: Store
    step: str
    fingerprint: str
    size: int
    work: Any


@dataclass(frozen=True)
class Record:
    """Say what a step did last, and on which devices, where these change the result."""

    step: str
    fingerprint: str
    settings: str
    finished_at: str
    seconds: float
    counts: Mapping[str, int]
    devices: Mapping[str, str] = field(default_factory=dict)
    format: int = 1


@contextmanager
def open_run(
    config: Config, *, map_shards: MapShards, say: Callable[[str], None], begin: Begin = unseen
) -> Iterator[Run]:
    """Hold the store of a config for one run.

    Raises:
        ArtifactError: another run holds it.
        ConfigError: its mirror can't be used.
    """
    store = store_of(config)
    with store.lock() as n_unfinished:
        write_line(store, event="run", config=config.name, again=n_unfinished)
        if n_unfinished:
            say(f"a run was stopped before: {n_unfinished} shards that it had begun are done again")
        if store.mirror is not None:
            store.mirror.check()
            if n_sent := store.send_missing():
                say(f"sent to {store.mirror.url}, which lacked them: {n_sent} of the stored results")
        yield Run(config, store, map_shards, say, begin)


def store_of(config: Config) -> Store:
    """Return a config's store, with its mirror."""
    return Store(config.store, None if config.run.mirror is None else Mirror(config.run.mirror))


def follow_run(config: Config, *, map_shards: MapShards) -> Run:
    """Return the run of a process that works beside the one that holds the store, in silence."""
    return Run(config, store_of(config), map_shards, lambda line: None)


def cut(rows: Sequence[Any], at_most: int) -> list[Sequence[Any]]:
    """Cut rows into shards of at most the given size, and a small set into about sixteen, on any machine alike."""
    size = min(at_most, max(ceil(len(rows) / 16), 1))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def cut_photos(rows: Iterable[dict[str, Any]], at_most: int) -> list[Sequence[dict[str, Any]]]:
    """Cut rows of IMAGES into shards of at most the given size, by the photo alone: its archive and a hash of its id.

    So the order of the rows changes nothing, and a photo more changes the shard that it comes into, or splits it in
    two. Photos that lie in no archive are cut into sixteen parts at least.
    """
    by_archive: dict[str, list[_Hashed]] = {}
    for row in rows:
        digest = hashlib.sha256(f"{row['source']}\0{row['image_id']}".encode()).digest()
        by_archive.setdefault(row["archive"] or "", []).append((int.from_bytes(digest), row))
    parts = (
        part
        for archive, hashed in sorted(by_archive.items())
        for part in _split(hashed, at_most, bit=0, least=0 if archive else _LEAST_BITS)
    )
    return [[row for _, row in sorted(part, key=itemgetter(0))] for part in parts]


_Hashed: TypeAlias = tuple[int, dict[str, Any]]
_LEAST_BITS = 4


def _split(hashed: list[_Hashed], at_most: int, *, bit: int, least: int) -> Iterator[list[_Hashed]]:
    """Halve by one bit of the hash after another until the parts are small enough; empty ones are left out."""
    if not hashed:
        return
    if len(hashed) <= at_most and bit >= least:
        yield hashed
        return
    for side in (0, 1):
        half = [each for each in hashed if each[0] >> (255 - bit) & 1 == side]
        yield from _split(half, at_most, bit=bit + 1, least=least)


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


def name_shard(shard: Shard, refused: Sequence[tuple[Mapping[str, Any], DataError]]) -> str:
    """Return the fingerprint under which a shard is stored, by which of its photos were refused.

    A refusal that may pass is no result. With a photo over a limit, a shard is one for these limits; with one whose
    file could not be reached, the next run does not find the shard and tries again. A file that was missing already
    when the set was read has a stamp of its own, and so has its shard.
    """
    unreachable = [[row["source"], row["image_id"], str(error)] for row, error in refused if may_pass(row, error)]
    if unreachable:
        return fingerprint(_name_limited(shard), unreachable)
    return _name_limited(shard) if any(isinstance(error, LimitError) for _, error in refused) else shard.fingerprint


def read_kept(store: Store, step: str, own: str) -> list[Path]:
    """Return the folders of the parts of a step that earlier runs kept under a name, as far as they are here."""
    path = _kept_path(store, step, own)
    members: list[str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return [store.path(step, member) for member in members if store.path(step, member).is_dir()]


def keep_parts(store: Store, step: str, own: str, shards: Sequence[Shard]) -> None:
    """Add parts of a step to those that later runs may take from, of what their bytes depend on beside the photos."""
    names = [folder.name for folder in read_kept(store, step, own)]
    path = _kept_path(store, step, own)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(list(dict.fromkeys([*names, *(shard.fingerprint for shard in shards)]))))
    draft.replace(path)


def _kept_path(store: Store, step: str, own: str) -> Path:
    return store.root / "current" / f"parts-{step}-{own[:32]}.json"


def number(*parts: object) -> int:
    """Return 64 bits of a fingerprint: of a photo or a pair among those of a step."""
    return int(fingerprint(*parts)[:16], 16)


def may_pass(row: Mapping[str, Any], error: DataError) -> bool:
    """Tell whether a refusal may pass by itself: the file could not be reached, and was not missing from the first."""
    return isinstance(error, UnreachableError) and row["stamp"] != MISSING


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


@contextmanager
def recorded(run: Run, step: str) -> Iterator[Callable[..., None]]:
    """Time a step and write its record; the block calls what it gets with the artefact's fingerprint and counts."""
    began, move = time.monotonic(), run.begin(step, None)

    def finish(artefact: str, **counts: int) -> None:
        before = find_record(run.config, step)
        if before is not None and before.fingerprint == artefact:
            seconds, finished_at = before.seconds, before.finished_at  # nothing was done again
        else:
            seconds, finished_at = round(time.monotonic() - began, 1), _now()
        devices = {key: resolve_device(run, key) for key in devices_of(run.config, step)}
        settings = settings_of(run.config, step, devices)
        _write_record(run.store, Record(step, artefact, settings, finished_at, seconds, counts, devices, _FORMAT))

    yield finish
    move(1, None)


def read_record(store: Store, step: str) -> Record | None:
    """Return what the step did last, or None if it never ran here."""
    path = store.root / "current" / f"{step}.json"
    return _open_record(path) if path.exists() else None


def find_record(config: Config, step: str) -> Record | None:
    """Return the record of the step's result with these settings, or None."""
    store = Store(config.store)
    last = read_record(store, step)
    if last is None or is_made_by(config, last):
        return last
    others = map(_open_record, sorted((store.root / "current").glob(f"{step}-{_SETTINGS}.json")))
    return next((record for record in others if is_made_by(config, record)), None)


def _open_record(path: Path) -> Record:
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path} can't be read ({error}); delete it and run 'overlap curate' again") from None


def resolve_device(run: Run, key: str) -> str:
    """Return the device of a setting; where it is "auto", what the machine that does the shards makes of it."""
    asked: str = attrgetter(key)(run.config)
    if asked != "auto":
        return asked
    if key not in run.devices:
        run.devices[key] = run.map_shards(_choose_device, [key], label=f"look for a GPU ({key})", sizes=[1])[0]
    return run.devices[key]


def _choose_device(key: str) -> str:
    return choose_device("auto", key=key)


def is_made_by(config: Config, record: Record) -> bool:
    """Tell whether a step's result was made with these settings, on whatever device where they leave it open."""
    return record.settings == settings_of(config, record.step, record.devices)


def is_current(config: Config, step: str) -> bool:
    """Tell whether the step has a result with these settings."""
    return find_record(config, step) is not None


def find_current(config: Config, step: str) -> Path:
    """Return the folder of the step's result with these settings.

    Raises:
        ArtifactError: the step never ran, or only with other settings.
    """
    store = store_of(config)
    record, last = find_record(config, step), read_record(store, step)
    if last is None:
        raise ArtifactError(f"{store.root}: step {step!r} has not run yet; run 'overlap curate' with this config")
    if record is None:
        why = "with other settings" if last.format == _FORMAT else "by an older version, whose results can't be used"
        raise ArtifactError(
            f"{store.root}: step {step!r} last ran {why}; run 'overlap curate' with this config again (votes are kept)"
        )
    return store.get(step, record.fingerprint)


def row_stamp(row: Mapping[str, Any]) -> list[Any]:
    """Return what tells a photo's row from another and a changed photo from an unchanged one."""
    return [row["source"], row["image_id"], row["offset"], row["stamp"], row["crop_px"]]


def hash_file(path: Path | None) -> str:
    """Return the SHA-256 of a file of weights, or nothing for no file.

    Raises:
        ConfigError: there is no such file.
    """
    if path is None:
        return ""
    try:
        return stamp_file(path, "sha256")
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}; give the path of the weights") from None


def require_out(path: Path) -> Path:
    """Return the path if a file can be written there.

    Raises:
        ConfigError: it can't.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise ConfigError(f"{path}: this is a folder; name the file to write in it")
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: this is a device or a pipe, and would be replaced; name a file")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(f"{path}: folder {folder} is not there or can't be written to")
    return path


def _find_names(shard: Shard) -> tuple[str, ...]:
    return (shard.fingerprint, _name_limited(shard)) if hasattr(shard.work, "limits") else (shard.fingerprint,)


def _name_limited(shard: Shard) -> str:
    return fingerprint(shard.fingerprint, asdict(shard.work.limits))


def _write_record(store: Store, record: Record) -> None:
    folder = store.root / "current"
    folder.mkdir(parents=True, exist_ok=True)
    for name in (f"{record.step}-{record.settings[:16]}", record.step):
        draft = folder / f".{name}.{os.getpid()}"
        draft.write_text(json.dumps(record.__dict__, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        draft.replace(folder / f"{name}.json")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
