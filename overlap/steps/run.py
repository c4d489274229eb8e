"""What every step needs: the config, the store, a way to run shards, and a record of what was done.

``store/current/STEP.json`` says which artefact is the present one of a step, for whom it was made and what it cost;
``overlap status``, ``export`` and ``publish`` read it.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

from overlap.config import Config, fingerprint
from overlap.errors import ArtifactError, ConfigError
from overlap.images import PhotoLimits, stamp_file
from overlap.mirror import Mirror
from overlap.progress import Begin, unseen
from overlap.steps.journal import timed, write_line
from overlap.store import Store, read_json, write_json
from overlap.workers import MapShards

_SETS = ("train", "evaluation", "synthetic")
_RETRIEVAL = (*_SETS, "descriptors", "search")

# The config sections, or single keys, that a step's result depends on.
SECTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "photos": _SETS,
        "descriptors": (*_SETS, "descriptors"),
        "candidates": _RETRIEVAL,
        "copies": (*_SETS, "search"),
        "names": ("train", "names"),
        "features": (*_RETRIEVAL, "verify"),
        "verified": (*_RETRIEVAL, "verify"),
        "audit": (*_RETRIEVAL, "verify", "audit", "policy"),
        "recall": _RETRIEVAL,
        "audited": (*_RETRIEVAL, "verify", "audit", "policy"),
        "closure": (*_RETRIEVAL, "verify", "closure"),
        "queue": (*_RETRIEVAL, "verify", "names", "review.threshold"),
    }
)


@dataclass(frozen=True)
class Run:
    """Carry what every step needs.

    Args:
        config: the settings.
        store: where artefacts lie.
        map_shards: runs shards, here or elsewhere.
        say: takes one line for the person who waits.
        begin: shows how far work is that is no list of shards.
    """

    config: Config
    store: Store
    map_shards: MapShards
    say: Callable[[str], None]
    begin: Begin = unseen

    @property
    def limits(self) -> PhotoLimits:
        """Return what a photo may cost."""
        return PhotoLimits(mb=self.config.run.max_photo_mb, mpx=self.config.run.max_photo_mpx)


@dataclass(frozen=True)
class Shard:
    """Name one piece of a step's work; a worker turns it into one artefact.

    Args:
        size: how many photos or pairs it holds, for the progress bar.
        work: what the step's worker function needs, picklable.
    """

    store: Store
    step: str
    fingerprint: str
    size: int
    work: Any


@dataclass(frozen=True)
class Record:
    """Say what a step did last."""

    step: str
    fingerprint: str
    settings: str
    finished_at: str
    seconds: float
    counts: Mapping[str, int]


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


def run_shards(run: Run, shards: Sequence[Shard], worker: Callable[[Shard], None], *, label: str) -> None:
    """Do the shards, all of one step, that are not stored yet."""
    stored = run.store.find(shards[0].step, [shard.fingerprint for shard in shards]) if shards else frozenset()
    missing = [shard for shard in shards if shard.fingerprint not in stored]
    if len(missing) < len(shards):
        run.say(f"{label}: {len(shards) - len(missing)} of {len(shards)} shards are already stored")
        write_line(run.store, step=shards[0].step, kept=len(shards) - len(missing))
    run.map_shards(timed(worker), missing, label=label, sizes=[shard.size for shard in missing])


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
        before = read_record(run.store, step)
        if before is not None and before.fingerprint == artefact:
            seconds, finished_at = before.seconds, before.finished_at  # nothing was done again
        else:
            seconds, finished_at = round(time.monotonic() - began, 1), _now()
        _write_record(run.store, Record(step, artefact, settings_of(run.config, step), finished_at, seconds, counts))

    yield finish
    move(1, None)


def read_record(store: Store, step: str) -> Record | None:
    """Return what the step did last, or None if it never ran here."""
    path = store.root / "current" / f"{step}.json"
    if not path.exists():
        return None
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path} can't be read ({error}); delete it and run 'overlap run {step}'") from None


def settings_of(config: Config, step: str) -> str:
    """Return the fingerprint of the config sections that a step's result depends on."""
    return fingerprint(*(attrgetter(section)(config) for section in SECTIONS[step]))


def is_current(config: Config, step: str) -> bool:
    """Tell whether the step's last result was made with these settings."""
    record = read_record(Store(config.store), step)
    return record is not None and record.settings == settings_of(config, step)


def find_current(config: Config, step: str) -> Path:
    """Return the folder of a step's present artefact.

    Raises:
        ArtifactError: the step never ran, or ran with other settings.
    """
    store = store_of(config)
    record = read_record(store, step)
    if record is None:
        raise ArtifactError(f"{store.root}: step {step!r} has not run yet; run 'overlap curate' with this config")
    if record.settings != settings_of(config, step):
        raise ArtifactError(
            f"{store.root}: step {step!r} last ran with other settings; run 'overlap curate' with this config again"
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
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(f"{path}: folder {folder} is not there or can't be written to")
    return path


def _write_record(store: Store, record: Record) -> None:
    folder = store.root / "current"
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{record.step}.{os.getpid()}"
    draft.write_text(json.dumps(record.__dict__, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(folder / f"{record.step}.json")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
