"""Runs that are killed, or run out of disk, at any moment end with the same result when they are started again."""

import errno
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from overlap.base.config import Config, load_config
from overlap.base.errors import ArtifactError
from overlap.base.store import Store
from overlap.pipeline.curate import curate
from overlap.pipeline.journal import read_last_run
from overlap.pipeline.publish import publish
from overlap.pipeline.run import open_run
from overlap.pipeline.verify import read_verified

AUTOMATIC = ("policy.name=automatic", "verify.threshold=0.0")


def _map_here(function: Callable[[Any], Any], tasks: Sequence[Any], *, label: str, sizes: Sequence[int]) -> list[Any]:
    return [function(one) for one in tasks]


def _finish(config: Config, said: list[str]) -> dict[str, bytes]:
    with open_run(config, map_shards=_map_here, say=said.append) as run:
        curate(run)
        folder = publish(run).folder
    return {name: (folder / name).read_bytes() for name in ("train_clean.csv", "removals.csv")}


def test_a_disk_that_fills_up_at_any_write_is_said_and_the_run_goes_on(
    tiny_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tiny_photos / "config.toml"
    expected = _finish(load_config(path, [*AUTOMATIC, f"store={str(tmp_path / 'whole')!r}"]), [])
    config = load_config(path, [*AUTOMATIC, f"store={str(tmp_path / 'full')!r}", "release.name=full"])
    sync, n_failures = os.fsync, 0
    for room in (0, 3, 17, 40):
        left = iter(range(room))

        def run_out(handle: int, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(handle)

        monkeypatch.setattr("overlap.base.store.os.fsync", run_out)
        with pytest.raises(ArtifactError, match=r"the disk is full: .* free some space and run the same command again"):
            with open_run(config, map_shards=_map_here, say=lambda line: None) as run:
                curate(run)
        n_failures += 1
    monkeypatch.setattr("overlap.base.store.os.fsync", sync)
    said: list[str] = []
    assert _finish(config, said) == expected
    assert n_failures == 4
    assert any("are already stored" in line for line in said), "what was finished is kept"


def test_a_run_says_how_many_begun_shards_it_does_again(tiny_photos: Path):
    config = load_config(tiny_photos / "config.toml", AUTOMATIC)
    for number in range(3):
        (config.store / "features" / f".draft.{number}").mkdir(parents=True)
    said: list[str] = []
    with open_run(config, map_shards=_map_here, say=said.append):
        pass
    assert said == ["a run was stopped before: 3 shards that it had begun are done again"]
    assert read_last_run(Store(config.store))[0]["again"] == 3


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_twenty_times_at_random_moments_it_ends_with_the_same_release(
    curated: Config, tmp_path: Path, open_quietly
):
    if curated.synthetic.seed != 1:
        pytest.skip("one world is enough")
    rng = random.Random(5)
    config = curated.model_copy(update={"store": tmp_path / "store"})
    for _ in range(20):
        _kill_after(curated.store.parent / "config.toml", config.store, rng.uniform(1, 20))
    with open_quietly(config) as run:
        curate(run)
    assert read_verified(config).equals(read_verified(curated))


def _kill_after(config: Path, store: Path, seconds: float) -> None:
    command = [sys.executable, "-m", "overlap", "curate", "--config", str(config), "--set", f"store={str(store)!r}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    time.sleep(1.5)  # its workers see that it is gone, and end
