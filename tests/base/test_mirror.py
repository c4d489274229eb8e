"""The mirror: what is fetched equals what was sent, and what is not whole is never read."""

import errno
import json
import os
import uuid
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.base.errors import ArtifactError, ConfigError
from overlap.base.mirror import Mirror
from overlap.base.store import Store, read_json, write_json

KEY, OTHER = "f" * 64, "e" * 64
NAMES = st.from_regex(r"[a-z]{1,4}(/[a-z]{1,4})?\.npy", fullmatch=True)
# OVERLAP_MIRROR=s3://bucket/prefix runs the same tests against what lies there.
GIVEN = os.environ.get("OVERLAP_MIRROR")


@pytest.fixture(params=["file", "memory", *(["given"] if GIVEN else [])])
def mirror(request: pytest.FixtureRequest, tmp_path: Path) -> Mirror:
    base = {"file": f"file://{tmp_path}", "memory": "memory://", "given": GIVEN}[request.param]
    return Mirror(f"{base}/{uuid.uuid4().hex}")


@pytest.fixture
def sent(tmp_path: Path, mirror: Mirror) -> Store:
    store = Store(tmp_path / "a", mirror)
    with store.put("step", KEY) as folder:
        write_json(folder, "counts", {"n": 1})
    return store


def _elsewhere(store: Store) -> Store:
    """Return the empty store of another machine."""
    return Store(store.root.with_name("b"), store.mirror)


def _place(mirror: Mirror, name: str) -> tuple[fsspec.AbstractFileSystem, str]:
    files, root = fsspec.url_to_fs(mirror.url)
    return files, next(path for path in files.find(root) if path.endswith(name))


def _stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_another_machine_finds_and_fetches_what_was_put(sent: Store):
    other = _elsewhere(sent)
    assert other.exists("step", KEY)
    assert not other.exists("step", OTHER)
    assert other.find("step", [KEY, OTHER]) == {KEY}
    assert other.find("never", [KEY]) == frozenset()
    assert read_json(other.get("step", KEY), "counts") == {"n": 1}
    assert other.get("step", KEY) == other.path("step", KEY)
    with pytest.raises(ArtifactError, match=rf"step.{OTHER} is not there; run what made it again"):
        other.get("step", OTHER)


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=99), min_size=1))
def test_every_byte_of_every_file_comes_back(tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes]):
    base = tmp_path_factory.mktemp("mirror")
    mirror = Mirror(f"memory://{base}")
    for name, data in content.items():
        (base / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (base / "a" / name).write_bytes(data)
    mirror.send("step", KEY, base / "a")
    mirror.fetch("step", KEY, base / "b")
    found = {path.relative_to(base / "b").as_posix(): path.read_bytes() for path in (base / "b").rglob("*.npy")}
    assert found == content


def test_half_an_upload_is_not_there_and_the_next_one_makes_it_whole(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
):
    store = Store(tmp_path / "a", mirror)
    with monkeypatch.context() as patch:
        patch.setattr("overlap.base.mirror._marker", _stop)
        with pytest.raises(KeyboardInterrupt), Store(tmp_path / "a").put("step", KEY) as folder:  # noqa: PT012
            write_json(folder, "counts", {"n": 1})
            mirror.send("step", KEY, folder)
    assert fsspec.url_to_fs(mirror.url)[0].find(fsspec.url_to_fs(mirror.url)[1]), "its files are there"
    assert not store.exists("step", KEY)
    assert store.find("step", [KEY]) == frozenset()
    with store.put("step", KEY) as folder:
        write_json(folder, "counts", {"n": 1})
    assert read_json(_elsewhere(store).get("step", KEY), "counts") == {"n": 1}


def test_a_marker_that_a_full_disk_left_empty_counts_for_nothing(sent: Store, mirror: Mirror):
    files, path = _place(mirror, f"{KEY}.json")
    files.pipe_file(path, b"")
    assert not mirror.holds("step", KEY)
    assert mirror.finished("step") == frozenset()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"attempt": "a"}', b'{"attempt": "a", "sha256": 3}'])
def test_a_damaged_marker_is_named(sent: Store, mirror: Mirror, content: bytes):
    files, path = _place(mirror, f"{KEY}.json")
    files.pipe_file(path, content)
    with pytest.raises(ArtifactError, match=rf"step/{KEY}.json is damaged; delete it and run the same command again"):
        _elsewhere(sent).get("step", KEY)


def test_a_damaged_file_is_named_and_nothing_is_stored(sent: Store, mirror: Mirror):
    files, path = _place(mirror, "counts.json")
    files.pipe_file(path, b'{"n": 2}\n')
    other = _elsewhere(sent)
    message = rf"step/{KEY}/\w+/counts.json is damaged: it is not the file that was sent; delete .*/{KEY}.json and run"
    with pytest.raises(ArtifactError, match=message):
        other.get("step", KEY)
    assert not other.path("step", KEY).exists()


@pytest.mark.parametrize("name", ["../../../x", "/x"])
def test_a_marker_can_not_write_outside_of_the_artefact(sent: Store, mirror: Mirror, name: str):
    files, path = _place(mirror, f"{KEY}.json")
    files.pipe_file(path, json.dumps({"attempt": "a", "sha256": {name: "0"}}).encode())
    with pytest.raises(ArtifactError, match=rf"{KEY}.json names '{name}', outside of the artefact"):
        _elsewhere(sent).get("step", KEY)


def test_a_shared_folder_may_have_any_name(tmp_path: Path):
    mirror = Mirror(f"file://{tmp_path}/50% a@b#c?d::e [f] ü%20")
    mirror.check()
    store = Store(tmp_path / "a", mirror)
    with store.put("step", KEY) as folder:
        write_json(folder, "counts", {"n": 1})
    other = _elsewhere(store)
    assert other.find("step", [KEY]) == {KEY}
    assert read_json(other.get("step", KEY), "counts") == {"n": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["50% a@b#c?d::e [f] ü%20", "a", "b"]


def test_what_was_stored_before_the_mirror_is_sent_once_without_drafts_and_trainings(tmp_path: Path, mirror: Mirror):
    alone, store = Store(tmp_path / "a"), Store(tmp_path / "a", mirror)
    assert alone.send_missing() == 0
    for step, key in (("step", KEY), ("step", OTHER), ("training", KEY)):
        with alone.put(step, key) as folder:
            write_json(folder, "counts", {"n": 1})
    (alone.root / "step" / ".draft").mkdir()
    assert [store.send_missing(), store.send_missing()] == [2, 0]
    assert _elsewhere(store).find("step", [KEY, OTHER]) == {KEY, OTHER}
    assert not mirror.holds("training", KEY)


def test_what_the_mirror_holds_is_not_sent_again(sent: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Mirror, "send", _stop)
    with _elsewhere(sent).put("step", KEY) as folder:
        write_json(folder, "counts", {"n": 1})


def test_a_full_disk_while_fetching_is_said_as_while_writing(sent: Store, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("overlap.base.mirror._sum", full)
    with pytest.raises(ArtifactError, match=r"the disk is full: .* free some space and run the same command again"):
        _elsewhere(sent).get("step", KEY)


def test_the_check_leaves_a_small_file_and_nothing_that_counts(mirror: Mirror):
    mirror.check()
    assert mirror.finished("step") == frozenset()
    assert _place(mirror, "mirror.json")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("bucket/prefix", r"run.mirror = 'bucket/prefix' is no URL; expected one like 's3://BUCKET/PREFIX'"),
        (
            "s3://key:secret@bucket",
            r"run.mirror holds '@' or '\?', as credentials do; give them through",
        ),
        ("abfs://box?sig=secret", r"run.mirror holds '@' or '\?'"),
        (
            "nope://bucket",
            r"run.mirror = 'nope://bucket' can't be opened: Protocol not known: nope; 's3://BUCKET",
        ),
        (
            "file:///proc/no",
            r"run.mirror: file:///proc/no can't be written to \(\w+: .*\); check that it is there",
        ),
    ],
)
def test_a_mirror_that_can_not_be_used_is_refused_and_no_secret_is_shown(url: str, message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        Mirror(url).check()
    assert "secret" not in str(caught.value)


def test_a_protocol_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    def miss(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", miss)
    with pytest.raises(
        ConfigError, match=r"Install s3fs to access S3; .* \(pip install 'landmark-overlap\[scale,s3\]'\)"
    ):
        Mirror("s3://bucket/prefix").check()


@pytest.mark.parametrize("error", [PermissionError("The AWS Access Key Id does not exist"), RuntimeError("no route")])
def test_an_error_of_the_file_system_says_what_and_what_to_do(
    sent: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("overlap.base.mirror._connect", refuse)
    with pytest.raises(
        ArtifactError, match=rf"can't be read \({type(error).__name__}: {error}\); check that it is there"
    ):
        _elsewhere(sent).exists("step", KEY)
    message = rf"can't be written to \({type(error).__name__}: {error}\); .* what is finished is kept"
    with pytest.raises(ArtifactError, match=message):
        Mirror(f"{sent.mirror.url}").send("step", KEY, sent.get("step", KEY))
