import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from overlap.base.config import Config, load_config
from overlap.base.errors import ArtifactError, ConfigError
from overlap.base.store import write_json
from overlap.base.workers import map_in_processes
from overlap.pipeline.declared import settings_of
from overlap.pipeline.run import (
    Run,
    find_current,
    hash_file,
    is_current,
    open_run,
    read_record,
    recorded,
    require_out,
)


@pytest.fixture
def run(tmp_path: Path, write_config) -> Iterator[Run]:
    config = load_config(write_config(tmp_path, world=tmp_path / "world"))
    with map_in_processes(1, console=Console(file=io.StringIO())) as map_shards:
        with open_run(config, map_shards=map_shards, say=lambda line: None) as opened:
            yield opened


def test_a_record_says_what_was_done_and_for_which_settings(run: Run):
    with recorded(run, "photos") as finish:
        with run.store.put("photos", "abc") as folder:
            write_json(folder, "x", 1)
        finish("abc", photos=12)
    record = read_record(run.store, "photos")
    assert record is not None
    assert (record.fingerprint, dict(record.counts)) == ("abc", {"photos": 12})
    assert find_current(run.config, "photos").name == "abc"
    other = run.config.model_copy(update={"synthetic": run.config.synthetic.model_copy(update={"seed": 2})})
    assert is_current(run.config, "photos")
    assert not is_current(other, "photos")
    with pytest.raises(ArtifactError, match="step 'photos' last ran with other settings; run 'overlap curate'"):
        find_current(other, "photos")


def test_a_step_that_finds_its_result_stored_keeps_the_first_time(run: Run, monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 7.0, 10.0, 11.0])
    monkeypatch.setattr("overlap.pipeline.run.time.monotonic", lambda: next(clock))
    for _ in range(2):
        with recorded(run, "photos") as finish:
            finish("abc", photos=12)
    record = read_record(run.store, "photos")
    assert record is not None
    assert record.seconds == 7.0


def test_the_queue_outlives_settings_of_the_review_that_do_not_make_it(run: Run):
    def with_review(**update: object) -> Config:
        return run.config.model_copy(update={"review": run.config.review.model_copy(update=update)})

    assert settings_of(with_review(port=9999), "queue", {}) == settings_of(run.config, "queue", {})
    assert settings_of(with_review(threshold=0.3), "queue", {}) != settings_of(run.config, "queue", {})


def test_a_step_that_fails_leaves_no_record(run: Run):
    with pytest.raises(RuntimeError), recorded(run, "photos"):
        raise RuntimeError
    assert read_record(run.store, "photos") is None


def test_a_step_that_never_ran_is_named(run: Run):
    with pytest.raises(ArtifactError, match="step 'verified' has not run yet; run 'overlap curate'"):
        find_current(run.config, "verified")


def test_a_damaged_record_is_named(run: Run):
    path = run.store.root / "current" / "photos.json"
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(ArtifactError, match=r"photos\.json can't be read.*delete it and run 'overlap curate'"):
        read_record(run.store, "photos")


def test_weights_are_named_by_their_bytes(tmp_path: Path):
    (tmp_path / "a.pth").write_bytes(b"abc")
    assert hash_file(tmp_path / "a.pth") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_file(None) == ""
    with pytest.raises(ConfigError, match=r"gone\.pth: can't be read: No such file"):
        hash_file(tmp_path / "gone.pth")


def test_an_export_into_no_folder_is_refused(tmp_path: Path):
    assert require_out(tmp_path / "a.csv") == tmp_path / "a.csv"
    with pytest.raises(ConfigError, match="is not there or can't be written to"):
        require_out(tmp_path / "none" / "a.csv")
    with pytest.raises(ConfigError, match="this is a folder; name the file to write in it"):
        require_out(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="this is a device or a pipe, and would be replaced; name a file"):
        require_out(tmp_path / "pipe")
