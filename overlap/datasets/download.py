"""Fetch the public archives: resumed after a cut, checked, renamed when whole, unpacked where needed.

No checksum is invented: where upstream publishes none the table says None, and the length that the server gives, the
first bytes and, for archives, unpacking to the end are the check.
"""

import errno
import gzip
import hashlib
import os
import re
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from overlap.base.errors import ArtifactError, ConfigError, DataError
from overlap.datasets.archives import check_md5
from overlap.datasets.revisited import list_revisited

if TYPE_CHECKING:
    import httpx

# Called with the file's name, the bytes that are there, and the bytes it will have (None if the server does not say).
DownloadProgress: TypeAlias = Callable[[str, int, int | None], None]

_ATTEMPTS = 6
_CHUNK_BYTES = 1 << 20
_BEGIN_BYTES = 100
_TIMEOUT_S = 60.0
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class RemoteFile:
    """Say where a public file lies and how it is checked.

    Args:
        base: the public address in front of ``name``; another one can be given for a mirror.
        name: the file's address below ``base``.
        path: where it goes below the target folder; for an archive, ``jpg/`` beside it receives the photos.
        sha256: of its bytes, where known.
        md5: whether upstream lists its MD5 in a text file beside it.
        begins: a pattern that its first bytes must match.
        unpack: ``flat`` drops the archive's folders, ``tree`` keeps them, ``no`` leaves the archive as it is.
    """

    base: str
    name: str
    path: str
    sha256: str | None = None
    md5: bool = False
    begins: bytes = b""
    unpack: Literal["no", "flat", "tree"] = "no"


@dataclass(frozen=True)
class _Link:
    """Hold what every file of one download shares."""

    client: "httpx.Client"
    base_url: str | None
    progress: DownloadProgress | None
    pause_s: float


class _CutError(Exception):
    """A try failed in a way that another one may mend."""


_GLDV2 = "https://s3.amazonaws.com/google-landmark"
_VGG = "https://www.robots.ox.ac.uk/~vgg/data"
_REVISITOP = "http://cmp.felk.cvut.cz/revisitop/data/datasets"
_R1M = "http://ptak.felk.cvut.cz/revisitop/revisitop1m"
_GZIP = rb"\x1f\x8b"
_MD5 = rb"[0-9a-f]{32}\b"
_NO_PAGE = rb"[^<]"


def _list_gldv2() -> Iterator[RemoteFile]:
    headers = {
        "train_clean.csv": b"landmark_id,images",
        "train.csv": b"id,url,landmark_id",
        "train_label_to_category.csv": b"landmark_id,category",
    }
    for name, header in headers.items():
        yield RemoteFile(_GLDV2, f"metadata/{name}", name, begins=header)
    for number in range(500):
        listed = f"md5.images_{number:03d}.txt"
        yield RemoteFile(_GLDV2, f"md5sum/train/{listed}", f"train/{listed}", begins=_MD5)
        archive = f"train/images_{number:03d}.tar"
        yield RemoteFile(_GLDV2, archive, archive, md5=True)


def _list_r1m() -> Iterator[RemoteFile]:
    yield RemoteFile(_R1M, "revisitop1m.txt", "revisitop1m.txt", begins=_NO_PAGE)
    for number in range(1, 101):
        archive = f"revisitop1m.{number}.tar.gz"
        yield RemoteFile(_R1M, f"jpg/{archive}", archive, begins=_GZIP, unpack="tree")


DOWNLOADS: Mapping[str, tuple[RemoteFile, ...]] = MappingProxyType(
    {
        "gldv2": tuple(_list_gldv2()),
        "roxford5k": (
            RemoteFile(
                f"{_REVISITOP}/roxford5k",
                "gnd_roxford5k.pkl",
                "gnd_roxford5k.pkl",
                sha256="ba7967754bd2d7d2210a5799f9c45ad5835e269a80ef9d3eba44caa35816c471",
            ),
            RemoteFile(
                f"{_VGG}/oxbuildings", "oxbuild_images-v1.tgz", "oxbuild_images-v1.tgz", begins=_GZIP, unpack="flat"
            ),
        ),
        "rparis6k": (
            RemoteFile(
                f"{_REVISITOP}/rparis6k",
                "gnd_rparis6k.pkl",
                "gnd_rparis6k.pkl",
                sha256="d2e729a5293dda7dda8a15c8383424a42e4964a2c4cfea2f32fa85d11d2df499",
            ),
            RemoteFile(f"{_VGG}/parisbuildings", "paris_1-v1.tgz", "paris_1-v1.tgz", begins=_GZIP, unpack="flat"),
            RemoteFile(f"{_VGG}/parisbuildings", "paris_2-v1.tgz", "paris_2-v1.tgz", begins=_GZIP, unpack="flat"),
        ),
        "revisitop1m": tuple(_list_r1m()),
    }
)


def download(
    name: str,
    folder: Path,
    *,
    base_url: str | None = None,
    only: Sequence[str] | None = None,
    progress: DownloadProgress | None = None,
    pause_s: float = 1.0,
) -> tuple[Path, ...]:
    """Fetch a public set into a folder; what is there already is not fetched again.

    A file under its final name is whole: delete it to fetch it anew. A file on its way is NAME.part. An unpacked
    archive is deleted and leaves NAME.unpacked in its place.

    Args:
        name: a key of DOWNLOADS.
        folder: the set's root, made when missing.
        base_url: a mirror's address, which holds the files under their RemoteFile.name.
        only: patterns of file names, for example ``images_00?.tar``; their checksum files come along.
        pause_s: the wait after a first failure; it doubles with each further one.

    Returns:
        What was asked for, in the table's order: each file, or the mark that it was unpacked.

    Raises:
        ConfigError: the set or the pattern is unknown, or the base install lacks httpx.
        DataError: a server refuses or keeps failing, or a file is not what was expected.
        ArtifactError: the disk is full.
    """
    files = _select(name, only)
    with _client() as client:
        link = _Link(client, base_url, progress, pause_s)
        done = tuple(_obtain(file, folder, link) for file in files)
    if only is None:
        _require_photos(name, folder)
    return done


def _select(name: str, only: Sequence[str] | None) -> tuple[RemoteFile, ...]:
    if name not in DOWNLOADS:
        raise ConfigError(f"{name!r} can't be downloaded; known sets: {', '.join(DOWNLOADS)}")
    if only is None:
        return DOWNLOADS[name]
    names = {Path(file.path).name for file in DOWNLOADS[name]}
    unknown = [pattern for pattern in only if not any(fnmatch(known, pattern) for known in names)]
    if unknown or not only:
        raise ConfigError(f"{name} has no file {', '.join(unknown) or 'without a name'}; it has {_examples(names)}")
    wanted = {known for known in names for pattern in only if fnmatch(known, pattern)}
    wanted |= {f"md5.{Path(known).stem}.txt" for known in wanted}
    return tuple(file for file in DOWNLOADS[name] if Path(file.path).name in wanted)


def _examples(names: set[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed if len(listed) <= 6 else [*listed[:3], "...", *listed[-3:]])


def _client() -> "httpx.Client":
    try:
        import httpx
    except ImportError:
        raise ConfigError("downloads need httpx; install it with: pip install 'landmark-overlap[curate]'") from None
    return httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True, headers={"Accept-Encoding": "identity"})


def _obtain(file: RemoteFile, folder: Path, link: _Link) -> Path:
    """Have one file whole below the folder, unpacked if it is to be."""
    target = folder / file.path
    mark = target.with_name(f"{target.name}.unpacked")
    if mark.is_file():
        return mark
    if not target.is_file():
        with _writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        url = f"{(link.base_url or file.base).rstrip('/')}/{file.name}"
        _fetch(link, url, part)
        _require_whole(file, part, url)
        part.replace(target)
        _etag_path(part).unlink(missing_ok=True)
    if file.unpack == "no":
        return target
    _unpack(target, flat=file.unpack == "flat")
    mark.write_text("unpacked into jpg/\n", encoding="ascii")
    target.unlink()
    return mark


def _fetch(link: _Link, url: str, part: Path) -> None:
    """Fetch an address into a part file, going on where an earlier try was cut."""
    import httpx

    failures, problem = 0, ""
    while failures < _ATTEMPTS:
        before = _size(part)
        try:
            _stream(link, url, part)
        except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL) as error:
            raise DataError(f"{url}: no address that can be fetched ({error})") from None
        except (httpx.TransportError, _CutError) as error:
            problem = str(error) or type(error).__name__
        else:
            return
        # A cut connection that brought something is no reason to give up on a long file.
        failures = 1 if _size(part) > before else failures + 1
        time.sleep(link.pause_s * 2 ** (failures - 1) if failures < _ATTEMPTS else 0)
    raise DataError(
        f"{url}: failed {_ATTEMPTS} times, last with: {problem}; what has come is kept, run the same command again, "
        "or name a mirror"
    )


def _stream(link: _Link, url: str, part: Path) -> None:
    have = _size(part)
    with link.client.stream("GET", url, headers=_range_headers(part, have)) as response:
        start, total = _read_span(response, part, have)
        if start == 0:
            part.unlink(missing_ok=True)
            _keep_etag(response, part)
        _append(response, part, total, link.progress)
    if total is not None and _size(part) != total:
        part.unlink()
        raise _CutError(f"{total} bytes were announced, others came")


def _append(response: "httpx.Response", part: Path, total: int | None, progress: DownloadProgress | None) -> None:
    # The body that comes with 416 is an explanation, not the file.
    chunks = iter(()) if response.status_code == 416 else response.iter_raw(_CHUNK_BYTES)
    with _writing(part), part.open("ab") as file:
        for chunk in chunks:
            file.write(chunk)
            if progress is not None:
                progress(part.name.removesuffix(".part"), file.tell(), total)
        file.flush()
        os.fsync(file.fileno())


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _etag_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _keep_etag(response: "httpx.Response", part: Path) -> None:
    """Remember the file's version, so that a later try never joins halves of two versions."""
    etag = response.headers.get("ETag", "")
    with _writing(part):
        _etag_path(part).write_text("" if etag.startswith("W/") else etag, encoding="utf-8")


def _range_headers(part: Path, have: int) -> dict[str, str]:
    if not have:
        return {}
    etag = _etag_path(part).read_text(encoding="utf-8") if _etag_path(part).is_file() else ""
    return {"Range": f"bytes={have}-", **({"If-Range": etag} if etag else {})}


def _read_span(response: "httpx.Response", part: Path, have: int) -> tuple[int, int | None]:
    """Return where the answer starts in the file, and the file's length where the server says it."""
    status = response.status_code
    if status == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
    if status == 206 and span and span[1] == str(have):
        return have, int(span[2]) if span[2].isdigit() else None
    if status == 416 and span and span[2] == str(have):
        return have, have
    if status in (206, 416):
        part.unlink(missing_ok=True)
        raise _CutError(f"HTTP {status} does not go on from byte {have}")
    if status in _RETRIED:
        raise _CutError(f"HTTP {status}")
    raise DataError(
        f"{response.url}: the server answers HTTP {status} {response.reason_phrase}; see whether the file has "
        "moved, and name a mirror if so"
    )


def _require_whole(file: RemoteFile, part: Path, url: str) -> None:
    """Check a fetched file; delete it when it is not what was expected."""
    problem = _find_problem(file, part)
    if problem:
        part.unlink()
        _etag_path(part).unlink(missing_ok=True)
        raise DataError(f"{url}: {problem}; what came was deleted, run the same command again, or name a mirror")


def _find_problem(file: RemoteFile, part: Path) -> str:
    with part.open("rb") as content:
        begins = content.read(_BEGIN_BYTES)
        content.seek(0)
        found = hashlib.file_digest(content, "sha256").hexdigest() if file.sha256 else None
    if not re.match(file.begins, begins):
        return f"the file begins with {begins[:40]!r}, which is not what it should hold"
    if found != file.sha256:
        return f"the checksum does not match: SHA-256 {found} found, {file.sha256} expected"
    if not file.md5:
        return ""
    try:
        check_md5(part, name=Path(file.path).name)
    except DataError as error:
        return str(error)
    return ""


def _unpack(archive: Path, *, flat: bool) -> None:
    """Unpack a tgz into jpg/ beside it, by way of a folder that no reader looks into."""
    draft = archive.with_name(f".{archive.name}.unpacking")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with _writing(archive):
            draft.mkdir()
            _extract(archive, draft, flat=flat)
            _move_files(draft, archive.with_name("jpg"))
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        archive.unlink()
        raise DataError(
            f"{archive}: the archive is truncated or damaged ({error}); it was deleted, run the same command again"
        ) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _extract(archive: Path, draft: Path, *, flat: bool) -> None:
    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as members:
        for member in members:
            if member.isdir():
                continue
            name = PurePosixPath(member.name).name if flat else member.name
            if not member.isreg() or (draft / name).exists():
                raise DataError(
                    f"{archive}: {member.name!r} is a link, a device, or stands twice: not upstream's; delete it"
                )
            members.extract(member.replace(name=name, deep=False), draft, filter="data")
        # The checksum stands at the end, behind what tarfile reads.
        while stream.read(_CHUNK_BYTES):
            pass


def _move_files(draft: Path, target: Path) -> None:
    for path in [path for path in draft.rglob("*") if path.is_file()]:
        place = target / path.relative_to(draft)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)


def _require_photos(name: str, folder: Path) -> None:
    """Require a photo for every name in the ground truth."""
    if not (folder / f"gnd_{name}.pkl").is_file():
        return
    names = list_revisited(folder, name=name)
    missing = [photo for photo in names if not (folder / "jpg" / f"{photo}.jpg").is_file()]
    if missing:
        raise DataError(
            f"{folder / 'jpg'}: {len(missing)} of {len(names)} photos of the ground truth are missing, first "
            f"{missing[0]}.jpg; delete {folder}/*.unpacked and run the same command again"
        )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except gzip.BadGzipFile:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some space" if full else "mend that"
        reason = "the disk is full" if full else error.strerror or str(error)
        raise ArtifactError(f"{path} can't be written: {reason}; {remedy} and run the same command again") from None
