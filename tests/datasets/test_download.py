"""Downloads from a server on the loopback that can cut, refuse, change and forget."""

import errno
import hashlib
import io
import pickle
import re
import sys
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

import pytest

from overlap.base.errors import ArtifactError, ConfigError, DataError
from overlap.datasets import download as module
from overlap.datasets.download import DOWNLOADS, RemoteFile, download

CONTENT = bytes(range(256)) * 40_000


@dataclass
class Site:
    """What the server has, and how it misbehaves."""

    files: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    ranges: bool = True
    etag: str | None = None
    length: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    wrong_start: bool = False


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self):
        site = self.site
        span = self.headers.get("Range")
        site.requests.append((self.path, span))
        content = site.files.get(self.path.lstrip("/"))
        status = site.statuses.pop(0) if site.statuses else 404 if content is None else 200
        if status != 200:
            return self._answer(status, b"<html>sorry</html>", {})
        headers = {"ETag": site.etag} if site.etag else {}
        stale = self.headers.get("If-Range") not in (None, site.etag)
        if not span or not site.ranges or stale:
            return self._answer(200, content, headers)
        start = int(re.fullmatch(r"bytes=(\d+)-", span)[1])
        if start >= len(content):
            return self._answer(416, b"no such range", headers | {"Content-Range": f"bytes */{len(content)}"})
        start -= site.wrong_start
        span = f"bytes {start}-{len(content) - 1}/{'*' if site.wrong_start else len(content)}"
        return self._answer(206, content[start:], headers | {"Content-Range": span})

    def _answer(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.site.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.site.cuts.pop(0) if status in (200, 206) and self.site.cuts else len(body)
        self.wfile.write(body[:cut])
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("SiteHandler", (Handler,), {"site": site}))
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def offer(monkeypatch, site):
    """Put a set of files on the server and into the table."""

    def put(*files, **contents):
        monkeypatch.setattr(module, "DOWNLOADS", MappingProxyType({"toy": files}))
        site.files.update({name.replace("__", "."): content for name, content in contents.items()})

    return put


def toy(name="a.bin", **checks):
    return RemoteFile("http://127.0.0.1:9", name, name, **checks)


def fetch(site, folder, **options):
    return download("toy", folder, **{"base_url": site.url, "pause_s": 0, **options})


def tgz(members, *, kind=tarfile.REGTYPE):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, "x"
            archive.addfile(info, io.BytesIO(content) if kind == tarfile.REGTYPE else None)
    return stream.getvalue()


def leftovers(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_file_comes_whole_with_progress(site, offer, tmp_path):
    offer(toy(sha256=hashlib.sha256(CONTENT).hexdigest()), a__bin=CONTENT)
    seen = []
    assert fetch(site, tmp_path / "new", progress=lambda *step: seen.append(step)) == (tmp_path / "new/a.bin",)
    assert (tmp_path / "new/a.bin").read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["a.bin"]
    assert {step[0] for step in seen} == {"a.bin"}
    assert [step[1] for step in seen] == sorted(step[1] for step in seen)
    assert seen[-1][1:] == (len(CONTENT), len(CONTENT))


def test_a_whole_file_is_not_fetched_again(site, offer, tmp_path):
    offer(toy(), a__bin=CONTENT)
    fetch(site, tmp_path)
    fetch(site, tmp_path)
    assert len(site.requests) == 1


@pytest.mark.parametrize("etag", [None, '"v1"', 'W/"v1"'])
def test_a_cut_connection_goes_on_where_it_was(site, offer, tmp_path, etag):
    offer(toy(), a__bin=CONTENT)
    site.cuts, site.etag = [3_000_000, 2_000_000], etag
    fetch(site, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    starts = [int(span.removeprefix("bytes=").removesuffix("-")) for _, span in site.requests[1:]]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1] < len(CONTENT)
    assert leftovers(tmp_path) == ["a.bin"]


def test_more_cuts_than_attempts_are_survived_while_something_comes(site, offer, tmp_path):
    offer(toy(), a__bin=CONTENT)
    site.cuts = [1_100_000] * 9
    fetch(site, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_killed_run_goes_on(site, offer, tmp_path):
    offer(toy(), a__bin=CONTENT)
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:700])
    fetch(site, tmp_path)
    assert site.requests == [("/a.bin", "bytes=700-")]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_part_that_was_whole_is_only_renamed(site, offer, tmp_path):
    offer(toy(), a__bin=CONTENT)
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    fetch(site, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert len(site.requests) == 1


def test_a_part_longer_than_the_file_starts_over(site, offer, tmp_path):
    offer(toy(), a__bin=CONTENT)
    (tmp_path / "a.bin.part").write_bytes(CONTENT + b"x")
    fetch(site, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_an_answer_from_another_byte_starts_over(site, offer, tmp_path):
    offer(toy(), a__bin=CONTENT)
    site.wrong_start = True
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:700])
    fetch(site, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(site, offer, tmp_path):
    offer(toy(), a__bin=CONTENT)
    site.ranges, site.cuts = False, [3_000_000]
    fetch(site, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_and_lengths_starts_over(site, offer, tmp_path):
    offer(toy(), a__bin=b"short")
    site.ranges = site.length = False
    (tmp_path / "a.bin.part").write_bytes(b"sho")
    fetch(site, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"short"


def test_halves_of_two_versions_are_never_joined(site, offer, tmp_path):
    offer(toy(), a__bin=CONTENT)
    site.etag, site.cuts = '"old"', [3_000_000]
    site.statuses = [200, *[503] * 9]
    with pytest.raises(DataError, match="HTTP 503"):
        fetch(site, tmp_path)
    assert "a.bin.part" in leftovers(tmp_path)
    changed = bytes(reversed(CONTENT))
    site.files["a.bin"], site.etag, site.statuses = changed, '"new"', []
    fetch(site, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == changed


def test_an_answer_without_length_is_taken_to_its_end(site, offer, tmp_path):
    offer(toy(), a__bin=b"short")
    site.length = False
    fetch(site, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"short"


def test_an_empty_file(site, offer, tmp_path):
    offer(toy(), a__bin=b"")
    assert fetch(site, tmp_path)[0].read_bytes() == b""


def test_a_busy_server_is_asked_again(site, offer, tmp_path):
    offer(toy(), a__bin=CONTENT)
    site.statuses = [503, 429, 500]
    fetch(site, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_giving_up(site, offer, tmp_path):
    offer(toy(), a__bin=CONTENT)
    site.statuses = [503] * 99
    with pytest.raises(
        DataError, match=r"/a\.bin: failed 6 times, last with: HTTP 503; what has come is kept, run the same"
    ):
        fetch(site, tmp_path)
    assert len(site.requests) == 6


def test_nobody_listens(site, offer, tmp_path):
    offer(toy())
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:9/a\.bin: failed 6 times, last with: .*refused"):
        fetch(site, tmp_path, base_url=None)


@pytest.mark.parametrize("status", [404, 403])
def test_refusals_are_final(site, offer, tmp_path, status):
    offer(toy(), a__bin=CONTENT)
    site.statuses = [status]
    with pytest.raises(DataError, match=rf"/a\.bin: the server answers HTTP {status} [\w ]+; see whether the file has"):
        fetch(site, tmp_path)
    assert len(site.requests) == 1
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("base", ["ftp://127.0.0.1", "nonsense"])
def test_addresses_that_can_not_be_fetched(site, offer, tmp_path, base):
    offer(toy())
    with pytest.raises(DataError, match=rf"^{base}/a\.bin: no address that can be fetched"):
        fetch(site, tmp_path, base_url=base)


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        (
            {"sha256": "0" * 64},
            r"the checksum does not match: SHA-256 [0-9a-f]{64} found, 0{64} expected; what came was del",
        ),
        (
            {"begins": rb"\x1f\x8b"},
            r"the file begins with b'.*', which is not what it should hold; what came was deleted",
        ),
        ({"md5": True}, r"can't be checked against md5\.a\.txt .*; what came was deleted"),
    ],
)
def test_what_is_not_expected_is_deleted(site, offer, tmp_path, checks, message):
    offer(toy(**checks), a__bin=b"<html>")
    with pytest.raises(DataError, match=rf"/a\.bin: .*{message}"):
        fetch(site, tmp_path)
    assert leftovers(tmp_path) == []


def test_archives_are_checked_by_the_list_beside_them(site, offer, tmp_path):
    digest = hashlib.md5(CONTENT).hexdigest()
    files = (toy("md5.images_000.txt", begins=module._MD5), toy("images_000.tar", md5=True))
    offer(*files, images_000__tar=CONTENT, md5__images_000__txt=f"{digest}  images_000.tar\n".encode())
    site.cuts = [33 + 16]
    assert [path.name for path in fetch(site, tmp_path)] == ["md5.images_000.txt", "images_000.tar"]
    (tmp_path / "images_000.tar").unlink()
    site.files["images_000.tar"] = CONTENT[:-1] + b"x"
    with pytest.raises(
        DataError, match=rf"MD5 [0-9a-f]{{32}} found, {digest} expected by md5\.images_000\.txt; .* deleted"
    ):
        fetch(site, tmp_path)
    assert leftovers(tmp_path) == ["md5.images_000.txt"]


def test_only_some_files_with_their_checksums(site, offer, tmp_path):
    names = [
        "list.csv",
        *(f"{kind}_00{n}.{end}" for n in range(3) for kind, end in (("md5.images", "txt"), ("images", "tar"))),
    ]
    offer(*map(toy, names), **{name.replace(".", "__"): b"x" for name in names})
    fetch(site, tmp_path, only=["images_00[12].tar"])
    assert leftovers(tmp_path) == ["images_001.tar", "images_002.tar", "md5.images_001.txt", "md5.images_002.txt"]
    with pytest.raises(ConfigError, match=r"toy has no file nothing\*; it has images_000\.tar, .*, \.\.\., .*md5"):
        fetch(site, tmp_path, only=["images_000.tar", "nothing*"])
    with pytest.raises(ConfigError, match="toy has no file without a name; it has"):
        fetch(site, tmp_path, only=[])


def test_unknown_set(tmp_path):
    with pytest.raises(
        ConfigError, match="'oxford' can't be downloaded; known sets: gldv2, roxford5k, rparis6k, revisitop1m"
    ):
        download("oxford", tmp_path)


def test_without_httpx(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(
        ConfigError, match=r"downloads need httpx; install it with: pip install 'landmark-overlap\[curate\]'"
    ):
        download("roxford5k", tmp_path)


class FullDisk(io.BytesIO):
    def write(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk(site, offer, tmp_path, monkeypatch):
    offer(toy(), a__bin=CONTENT)
    monkeypatch.setattr(module.os, "fsync", lambda handle: FullDisk().write(b""))
    with pytest.raises(
        ArtifactError, match=r"a\.bin\.part can't be written: the disk is full; free some space and run"
    ):
        fetch(site, tmp_path)
    assert "a.bin" not in leftovers(tmp_path)


def test_a_folder_that_can_not_be_made(site, offer, tmp_path):
    offer(toy(), a__bin=CONTENT)
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"a\.bin can't be written: .*; mend that and run the same command again"):
        fetch(site, tmp_path / "file")


@pytest.mark.parametrize("way", ["flat", "tree"])
def test_unpacking(site, offer, tmp_path, way):
    archives = [tgz([("./paris/a.jpg", b"A"), ("paris/é b.jpg", b"B")]), tgz([("c.jpg", b"C")])]
    offer(*(toy(f"p{n}.tgz", unpack=way) for n in range(2)), p0__tgz=archives[0], p1__tgz=archives[1])
    marks = fetch(site, tmp_path)
    assert [path.name for path in marks] == ["p0.tgz.unpacked", "p1.tgz.unpacked"]
    folder = tmp_path / "jpg" / ("paris" if way == "tree" else "")
    assert (folder / "a.jpg").read_bytes() == b"A"
    assert (folder / "é b.jpg").read_bytes() == b"B"
    assert (tmp_path / "jpg/c.jpg").read_bytes() == b"C"
    assert not list(tmp_path.glob("*.tgz"))
    assert not list(tmp_path.glob(".*"))
    fetch(site, tmp_path)
    assert len(site.requests) == 2


def test_a_killed_unpacking_is_done_again(site, offer, tmp_path):
    offer(toy("p.tgz", unpack="flat"))
    (tmp_path / "p.tgz").write_bytes(tgz([("a.jpg", b"A")]))
    (tmp_path / ".p.tgz.unpacking").mkdir()
    (tmp_path / ".p.tgz.unpacking/half.jpg").write_bytes(b"H")
    fetch(site, tmp_path)
    assert leftovers(tmp_path) == ["a.jpg", "p.tgz.unpacked"]
    assert site.requests == []


def test_damaged_archives_are_deleted(site, offer, tmp_path):
    whole = tgz([(f"{n}.jpg", hashlib.sha512(bytes([n])).digest() * 40) for n in range(9)])
    flipped = bytearray(whole)
    flipped[-6] ^= 1
    for content in (whole[: len(whole) // 2], whole[:-4], bytes(flipped), b"\x1f\x8bnot gzip at all", b"", b"\x1f\x8b"):
        offer(toy("p.tgz", unpack="flat"), p__tgz=content)
        with pytest.raises(
            DataError, match=r"p\.tgz: the archive is truncated or damaged .*; it was deleted, run the same"
        ):
            fetch(site, tmp_path)
        assert leftovers(tmp_path) == []


@pytest.mark.parametrize("way", ["flat", "tree"])
@pytest.mark.parametrize(
    "content",
    [
        tgz([("a.jpg", b"")], kind=tarfile.SYMTYPE),
        tgz([("a.jpg", b"")], kind=tarfile.LNKTYPE),
        tgz([("a.jpg", b"")], kind=tarfile.CHRTYPE),
        tgz([("x/a.jpg", b"1"), ("x/a.jpg", b"2")]),
    ],
    ids=["symbolic link", "hard link", "device", "twice"],
)
def test_archives_with_anything_but_plain_files_are_refused(site, offer, tmp_path, way, content):
    offer(toy("p.tgz", unpack=way), p__tgz=content)
    with pytest.raises(
        DataError, match=r"p\.tgz: '.*a\.jpg' is a link, a device, or stands twice: not upstream's; delete it"
    ):
        fetch(site, tmp_path)
    assert leftovers(tmp_path) == ["p.tgz"]


@pytest.mark.parametrize("name", ["../out.jpg", "a/../../out.jpg", "/out.jpg"])
@pytest.mark.parametrize("way", ["flat", "tree"])
def test_nothing_is_unpacked_outside(site, offer, tmp_path, name, way):
    root = tmp_path / "deep/root"
    offer(toy("p.tgz", unpack=way), p__tgz=tgz([(name, b"1")]))
    try:
        fetch(site, root)
    except DataError as error:
        assert "damaged" in str(error)  # noqa: PT017
    outside = [path for path in tmp_path.rglob("out.jpg") if not path.is_relative_to(root / "jpg")]
    assert outside == []


def test_every_photo_of_the_ground_truth_must_have_come(site, monkeypatch, make, tmp_path):
    truth = pickle.dumps(make.truth())
    files = (toy("gnd_roxford5k.pkl"), toy("p.tgz", unpack="flat"))
    monkeypatch.setattr(module, "DOWNLOADS", MappingProxyType({"roxford5k": files}))
    photos = [(f"{name}.jpg", b"x") for name in ("a_1", "a_2", "b_1", "b_2", "q_1", "q_2")]
    site.files = {"gnd_roxford5k.pkl": truth, "p.tgz": tgz(photos)}
    download("roxford5k", tmp_path / "whole", base_url=site.url)
    site.files["p.tgz"] = tgz(photos[:-1])
    with pytest.raises(DataError, match=r"jpg: 1 of 6 photos of the ground truth are missing, first q_2\.jpg; delete"):
        download("roxford5k", tmp_path / "part", base_url=site.url)
    download("roxford5k", tmp_path / "some", base_url=site.url, only=["p.tgz"])


def test_the_table_of_public_files(shared):
    for name in ("roxford5k", "rparis6k"):
        truth = next(file for file in DOWNLOADS[name] if file.sha256)
        content = (shared / "groundtruth" / truth.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == truth.sha256


def test_every_public_file_is_checked_by_something():
    for files in DOWNLOADS.values():
        assert len({file.path for file in files}) == len(files)
        assert all(file.base.startswith("http") and (file.sha256 or file.md5 or file.begins) for file in files)
    names = [file.name for file in DOWNLOADS["gldv2"]]
    assert {"metadata/train_clean.csv", "train/images_499.tar", "md5sum/train/md5.images_499.txt"} <= set(names)
    assert len(names) == 3 + 2 * 500
    assert len(DOWNLOADS["revisitop1m"]) == 101
