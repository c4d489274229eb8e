"""What every step needs: the config, the store, a way to run shards, and a record of what was done.

``store/current/STEP.json`` says what a step did last: which artefact, for which settings, and what it cost. Results of
several settings stand side by side: each has its record ``STEP-SETTINGS.json``, which is found again with its settings.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path

from overlap.base.config import Config
from overlap.base.devices import choose_device
from overlap.base.errors import ArtifactError, ConfigError
from overlap.base.images import PhotoLimits, stamp_file
from overlap.base.mirror import Mirror
from overlap.base.progress import Begin, unseen
from overlap.base.sheets import replacing
from overlap.base.store import Store
from overlap.base.workers import MapShards
from overlap.pipeline.declared import declared_config, devices_of, find_step, settings_of
from overlap.pipeline.journal import write_line

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


def hand_to(step: str, run: Run) -> Run:
    """Return the run as a step gets it: with the settings that it declares, and no others."""
    return replace(run, config=declared_config(run.config, step))


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
        devices = _find_devices(run, step)
        settings = settings_of(run.config, step, devices)
        _write_record(run.store, Record(step, artefact, settings, finished_at, seconds, counts, devices, _FORMAT))

    yield finish
    move(1, None)


def _find_devices(run: Run, step: str) -> dict[str, str]:
    """Return the devices behind a result: those recorded of the steps that it needs, of the rest this run's."""
    needed = (find_record(run.config, need) for need in find_step(run.config, step).needs)
    known = {key: device for record in needed if record for key, device in record.devices.items()}
    return {key: known.get(key) or resolve_device(run, key) for key in devices_of(run.config, step)}


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
    store, command = store_of(config), find_step(config, step).command
    record, last = find_record(config, step), read_record(store, step)
    if last is None:
        raise ArtifactError(f"{store.root}: step {step!r} has not run yet; run 'overlap {command}' with this config")
    if record is None:
        why = "with other settings" if last.format == _FORMAT else "by an older version, whose results can't be used"
        raise ArtifactError(
            f"{store.root}: step {step!r} last ran {why}; run 'overlap {command}' with this config again (votes are "
            "kept)"
        )
    return store.get(step, record.fingerprint)


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


def _write_record(store: Store, record: Record) -> None:
    folder = store.root / "current"
    folder.mkdir(parents=True, exist_ok=True)
    for name in (f"{record.step}-{record.settings[:16]}", record.step):
        with replacing(folder / f"{name}.json") as file:
            file.write((json.dumps(record.__dict__, indent=2, sort_keys=True) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
