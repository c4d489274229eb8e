"""Artefacts a second time, below a URL that every machine reaches: S3, a file share, whatever fsspec opens.

``URL/<step>/<fingerprint>/<attempt>/`` holds the files, ``URL/<step>/<fingerprint>.json`` their sums and the attempt.
The latter is written last: what a killed machine leaves behind is never read, and two senders never mix.
"""

import errno
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from overlap.base.errors import ArtifactError, ConfigError, OverlapError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Mirror:
    """Send artefacts to a URL and fetch them from there. Credentials come from the environment, never from the URL.

    Args:
        url: of a folder, as fsspec takes it: ``s3://bucket/prefix``, ``file:///mnt/share``.
    """

    url: str

    def check(self) -> None:
        """Write a small file there, so that a wrong URL or missing right is known before the work.

        Raises:
            ConfigError: the URL can't be used.
        """
        if "://" not in self.url:
            raise ConfigError(f"run.mirror = {self.url!r} is no URL; expected one like 's3://BUCKET/PREFIX'")
        if not _is_local(self.url) and ("@" in self.url or "?" in self.url):
            raise ConfigError(
                "run.mirror holds '@' or '?', as credentials do; give them through the environment (for S3 "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) and the plain URL here"
            )
        try:
            with self._open("written to") as (files, root):
                files.pipe_file(f"{root}/mirror.json", b'{"holds": "artefacts of overlap"}\n')
        except ArtifactError as error:
            raise ConfigError(f"run.mirror: {error}") from None

    def holds(self, step: str, fingerprint: str) -> bool:
        """Tell whether the artefact is there and whole."""
        with self._open("read") as (files, root):
            try:
                return bool(files.info(_marker(root, step, fingerprint))["size"])
            except FileNotFoundError:
                return False

    def finished(self, step: str) -> frozenset[str]:
        """Return the fingerprints of a step's artefacts that are there and whole, by one request."""
        with self._open("read") as (files, root):
            try:
                found = files.ls(f"{root}/{step}", detail=True)
            except FileNotFoundError:
                return frozenset()
        names = [PurePosixPath(one["name"]) for one in found if one["type"] == "file" and one["size"]]
        return frozenset(name.stem for name in names if name.suffix == ".json")

    def send(self, step: str, fingerprint: str, folder: Path) -> None:
        """Send an artefact's files, then say that they are whole.

        Raises:
            ArtifactError: the mirror can't be written to.
        """
        attempt, sums = uuid.uuid4().hex[:8], {}
        with self._open("written to") as (files, root):
            for path in sorted(one for one in folder.rglob("*") if one.is_file()):
                name = path.relative_to(folder).as_posix()
                files.put_file(str(path), f"{root}/{step}/{fingerprint}/{attempt}/{name}")
                sums[name] = _sum(path)
            marker = json.dumps({"attempt": attempt, "sha256": sums}, indent=2, sort_keys=True)
            files.pipe_file(_marker(root, step, fingerprint), marker.encode())

    def fetch(self, step: str, fingerprint: str, into: Path) -> None:
        """Fetch an artefact's files into a folder and compare them with what was sent.

        Raises:
            ArtifactError: the mirror can't be read, or a file is not the one that was sent.
        """
        with self._open("read") as (files, root):
            marker = _marker(root, step, fingerprint)
            attempt, sums = _parse(files.cat_file(marker), place=f"{self.url}/{step}/{fingerprint}.json")
            for name, expected in sums.items():
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                files.get_file(f"{root}/{step}/{fingerprint}/{attempt}/{name}", str(into / name))
                if _sum(into / name) != expected:
                    raise ArtifactError(
                        f"{self.url}/{step}/{fingerprint}/{attempt}/{name} is damaged: it is not the file that was "
                        f"sent; delete {self.url}/{step}/{fingerprint}.json and run the same command again"
                    )

    @contextmanager
    def _open(self, doing: str) -> Iterator[tuple[Any, str]]:
        """Give the file system and the folder's path on it; every file system has errors of its own."""
        try:
            yield _connect(self.url)
        except OverlapError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                raise
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            raise ArtifactError(
                f"{self.url} can't be {doing} ({reason}); check that it is there and that this machine's credentials "
                "allow it, then run the same command again: what is finished is kept"
            ) from None


def _connect(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        if _is_local(url):  # taken as it stands: in a folder's name "::" joins no file systems
            return LocalFileSystem(auto_mkdir=True), LocalFileSystem._strip_protocol(url)
        files, root = url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"run.mirror = {url!r} can't be opened: {error}; 's3://BUCKET/PREFIX' needs the extras "
            "scale and s3 (pip install 'landmark-overlap[scale,s3]'), 'file:///FOLDER' the first"
        ) from None
    return files, root.rstrip("/")


def _is_local(url: str) -> bool:
    return url.startswith(("file:", "local:"))


def _marker(root: str, step: str, fingerprint: str) -> str:
    return f"{root}/{step}/{fingerprint}.json"


def _parse(content: bytes, *, place: str) -> tuple[str, Mapping[str, str]]:
    """Return the attempt and the sums of a marker; names may not leave the artefact's folder."""
    try:
        found = json.loads(content)
        attempt, sums = str(found["attempt"]), {str(name): str(one) for name, one in found["sha256"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArtifactError(f"{place} is damaged; delete it and run the same command again") from None
    for name in (attempt, *sums):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ArtifactError(f"{place} names {name!r}, outside of the artefact; who wrote it? delete it")
    return attempt, sums


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
