"""Artefacts on disk: ``store/<step>/<fingerprint>/``, complete or absent.

An artefact is written under a temporary name, synced, and renamed when whole; what a killed run leaves behind is never
read and is swept by the next one. A long step stores one artefact a shard, so that a killed run goes on where it was.
With a mirror, an artefact is sent there when it is whole, and one that is only there is fetched.
"""

import errno
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from overlap.base.errors import ArtifactError
from overlap.base.mirror import Mirror
from overlap.base.tables import checked

_FINGERPRINT = "[0-9a-f]" * 64
_UNFINISHED = "training"  # checkpoints of trainings that go on, under the fingerprints of what they will be


@dataclass(frozen=True)
class Store:
    """Find and write artefacts below one folder.

    Args:
        root: the store's folder; made when first written.
        mirror: holds the artefacts a second time; other machines send theirs there.
    """

    root: Path
    mirror: Mirror | None = None

    def path(self, step: str, fingerprint: str) -> Path:
        """Return where the artefact lies, or would lie."""
        return self.root / step / fingerprint

    def exists(self, step: str, fingerprint: str) -> bool:
        """Tell whether the artefact is whole, here or in the mirror."""
        here = self.path(step, fingerprint).is_dir()
        return here or (self.mirror is not None and self.mirror.holds(step, fingerprint))

    def find(self, step: str, fingerprints: Iterable[str]) -> frozenset[str]:
        """Return which of a step's artefacts are whole, here or in the mirror, which is asked once at most."""
        wanted = frozenset(fingerprints)
        here = frozenset(one for one in wanted if self.path(step, one).is_dir())
        if self.mirror is None or here == wanted:
            return here
        return here | (wanted & self.mirror.finished(step))

    def get(self, step: str, fingerprint: str) -> Path:
        """Return the artefact's folder, fetching it from the mirror first if it is only there.

        Raises:
            ArtifactError: it is not there; the message names the step to run.
        """
        path = self.path(step, fingerprint)
        if not path.is_dir() and self.mirror is not None:
            self._fetch(step, fingerprint, self.mirror)
        if not path.is_dir():
            raise ArtifactError(f"{path} is not there; run what made it again, mostly 'overlap curate'")
        return path

    @contextmanager
    def put(self, step: str, fingerprint: str) -> Iterator[Path]:
        """Give a folder to write into, which becomes the artefact when the block ends without an error.

        An artefact that is already there stays as it is: the same fingerprint means the same content.

        Raises:
            ArtifactError: the disk is full, or the mirror can't be written to.
        """
        with self._draft(step, fingerprint) as draft:
            yield draft
        if self.mirror is not None and not self.mirror.holds(step, fingerprint):
            self.mirror.send(step, fingerprint, self.path(step, fingerprint))

    def send_missing(self) -> int:
        """Send what the mirror lacks, and return how many artefacts that was.

        Raises:
            ArtifactError: the mirror can't be written to.
        """
        if self.mirror is None:
            return 0
        sent = 0
        for step in sorted({path.parent.name for path in self.root.glob(f"*/{_FINGERPRINT}")} - {_UNFINISHED}):
            there = self.mirror.finished(step)
            for folder in sorted((self.root / step).glob(_FINGERPRINT)):
                if folder.name not in there:
                    self.mirror.send(step, folder.name, folder)
                    sent += 1
        return sent

    def _fetch(self, step: str, fingerprint: str, mirror: Mirror) -> None:
        """Fetch an artefact; of several processes that want one at the same time, the first does it."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".fetch").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if self.path(step, fingerprint).is_dir() or not mirror.holds(step, fingerprint):
                return
            with self._draft(step, fingerprint) as draft:
                mirror.fetch(step, fingerprint, draft)

    @contextmanager
    def _draft(self, step: str, fingerprint: str) -> Iterator[Path]:
        target = self.path(step, fingerprint)
        draft = target.with_name(f".{fingerprint[:16]}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
        try:
            with _explained(target.parent):
                draft.mkdir(parents=True)
            yield draft
            _sync(draft)
            _publish(draft, target)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ArtifactError(
                f"the disk is full: {target} was not written; free some space and run the same command again, "
                "what is finished is kept"
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Hold the store for one run; sweep what killed runs left, and say how many unfinished artefacts that was.

        Raises:
            ArtifactError: another run holds it, or it can't be made.
        """
        with _explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            held = (self.root / ".lock").open("a+")
        with held as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise ArtifactError(
                    f"another run (process {holder}) is writing to {self.root}; wait for it, or use another store"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            drafts = [path for path in self.root.glob("*/.*") if path.is_dir()]
            for draft in drafts:
                shutil.rmtree(draft, ignore_errors=True)
            yield len(drafts)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say which folder can't be written to; of a full disk the caller says more."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ArtifactError(
            f"{folder} can't be made or written to: {error.strerror}; name another folder, or mend its rights"
        ) from None


def write_table(folder: Path, name: str, table: pa.Table) -> None:
    """Write ``name.parquet`` into a draft folder."""
    pq.write_table(table, folder / f"{name}.parquet", compression="zstd")


def read_table(folder: Path, name: str, schema: pa.Schema) -> pa.Table:
    """Read ``name.parquet`` of an artefact and check it against its schema.

    Raises:
        ArtifactError: the file is missing or damaged, or has other columns.
    """
    path = folder / f"{name}.parquet"
    try:
        return checked(pq.read_table(path), schema)
    except Exception as error:  # pyarrow raises many kinds on damaged files
        raise _unreadable(path, error) from error


def write_parts(folder: Path, name: str, parts: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write ``name.arrow`` into a draft folder: tables that can be read one by one."""
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(folder / f"{name}.arrow", schema, options=options) as file:
        for part in parts:
            file.write_table(part.combine_chunks())


def read_part(folder: Path, name: str, part: int) -> pa.Table:
    """Read one of the tables that write_parts wrote, none of which was empty.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    path = folder / f"{name}.arrow"
    try:
        with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as file:
            return pa.Table.from_batches([file.get_batch(part)])
    except Exception as error:  # pyarrow raises many kinds on damaged files
        raise _unreadable(path, error) from error


def write_open_table(folder: Path, name: str, table: pa.Table) -> None:
    """Write ``name.arrow`` into a draft folder, to be mapped."""
    with pa.ipc.new_file(folder / f"{name}.arrow", table.schema) as file:
        file.write_table(table.combine_chunks())


def map_table(folder: Path, name: str, schema: pa.Schema) -> pa.Table:
    """Map ``name.arrow`` of an artefact and check it against its schema; columns come into memory as they are read.

    Raises:
        ArtifactError: the file is missing or damaged, or has other columns.
    """
    path = folder / f"{name}.arrow"
    try:
        with pa.ipc.open_file(pa.memory_map(str(path))) as file:
            return checked(file.read_all(), schema)
    except Exception as error:  # pyarrow raises many kinds on damaged files
        raise _unreadable(path, error) from error


def write_array(folder: Path, name: str, array: NDArray[np.generic]) -> None:
    """Write ``name.npy`` into a draft folder."""
    if array.dtype.hasobject:
        raise TypeError(f"{name}: an array of Python objects can't be stored")
    whole = np.asarray(array, order="C")
    with (folder / f"{name}.npy").open("wb") as file:  # np.save would not say that the disk is full
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(whole))
        file.write(whole.data)


def read_array(folder: Path, name: str) -> NDArray[Any]:
    """Map ``name.npy`` of an artefact, read-only.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    path = folder / f"{name}.npy"
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy raises nearly every kind on damaged headers
        raise _unreadable(path, error) from error
    return array


def write_json(folder: Path, name: str, value: object) -> None:
    """Write ``name.json`` into a draft folder, keys sorted."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def read_json(folder: Path, name: str) -> object:
    """Read ``name.json`` of an artefact.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    path = folder / f"{name}.json"
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error
    return value


def _unreadable(path: Path, error: Exception) -> ArtifactError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return ArtifactError(f"{path} can't be read ({reason}); delete {path.parent} and run the step again")


def _publish(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        return  # another run was first, with the same content
    _sync_folder(target.parent)


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
