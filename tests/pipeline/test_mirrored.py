"""Machines that share a mirror and no disk: the same result, and nothing is computed twice or lost with a machine."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from overlap.base.config import Config, load_config
from overlap.base.errors import ConfigError
from overlap.base.mirror import Mirror
from overlap.base.store import Store, read_json, write_json
from overlap.base.workers import MapShards
from overlap.cli.main import app
from overlap.pipeline.curate import curate
from overlap.pipeline.journal import read_last_run
from overlap.pipeline.retrieve import read_candidates
from overlap.pipeline.review import read_queue
from overlap.pipeline.run import open_run
from overlap.pipeline.shards import Shard, keep_parts, read_kept
from overlap.pipeline.trials import map_here
from overlap.pipeline.verify import read_verified

SETTINGS = ("run.photos_per_shard=2", "run.pairs_per_shard=2")


def _curate(config: Config, map_shards: MapShards) -> list[Any]:
    with open_run(config, map_shards=map_shards, say=lambda line: None) as run:
        curate(run)
    return [read_candidates(config), read_verified(config), read_queue(config)]


def _map_on_new_machines(
    function: Callable[[Any], Any], tasks: Sequence[Shard], *, label: str, sizes: Sequence[int]
) -> list[Any]:
    """Do every shard with an empty store at the same path, which is gone when the shard is done."""
    return [_do_elsewhere(function, task) for task in tasks]


def _do_elsewhere(function: Callable[[Any], Any], shard: Shard) -> Any:
    here = shard.store.root
    away = here.rename(here.with_name("away"))
    try:
        return function(shard)
    finally:
        shutil.rmtree(here)
        away.rename(here)


def _refuse(function: Callable[[Any], Any], tasks: Sequence[Any], *, label: str, sizes: Sequence[int]) -> list[Any]:
    assert not tasks, f"{label}: {len(tasks)} shards would be done again"
    return []


def test_machines_that_share_no_disk_give_the_same_tables_and_a_new_one_computes_nothing(
    tiny_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def configure(name: str, *more: str) -> Config:
        return load_config(tiny_photos / "config.toml", [*SETTINGS, f"store={str(tmp_path / name)!r}", *more])

    mirror = f"run.mirror='file://{tmp_path}/mirror'"
    expected = _curate(configure("alone"), map_here)
    assert _curate(configure("first", mirror), _map_on_new_machines) == expected
    assert not any("shard" in line for line in read_last_run(Store(tmp_path / "first"))), "all was done elsewhere"
    monkeypatch.setattr(Store, "put", lambda *_: pytest.fail("computed again"))
    assert _curate(configure("second", mirror), _refuse) == expected


def test_a_mirror_that_comes_later_gets_what_is_stored_and_the_run_says_so(tiny_photos: Path, tmp_path: Path):
    config = load_config(tiny_photos / "config.toml", [f"run.mirror='file://{tmp_path}/mirror'"])
    with Store(config.store).put("names", "f" * 64) as folder:
        write_json(folder, "x", 1)
    said: list[str] = []
    for _ in range(2):
        with open_run(config, map_shards=map_here, say=said.append):
            pass
    assert said == [f"sent to file://{tmp_path}/mirror, which lacked them: 1 of the stored results"]


def test_kept_parts_that_are_gone_from_the_disk_are_fetched(tmp_path: Path):
    (tmp_path / "mirror").mkdir()
    store, names = Store(tmp_path / "store", Mirror(f"file://{tmp_path}/mirror")), ["f" * 64, "e" * 64]
    for name in names:
        with store.put("features", name) as folder:
            write_json(folder, "x", 1)
    keep_parts(store, "features", "own", [Shard(store, "features", name, 1, None) for name in names])
    shutil.rmtree(store.root / "features")
    shutil.rmtree(tmp_path / "mirror" / "features" / names[0])
    (tmp_path / "mirror" / "features" / f"{names[0]}.json").unlink()
    assert read_kept(store, "features", "own") == [store.path("features", names[1])]
    assert read_json(store.path("features", names[1]), "x") == 1


def test_a_mirror_that_can_not_be_used_ends_the_command_before_the_work(tiny_photos: Path):
    command = ["curate", "--config", str(tiny_photos / "config.toml"), "--set", "run.mirror='nope://bucket'"]
    with pytest.raises(ConfigError, match=r"run.mirror = 'nope://bucket' can't be opened: Protocol not known: nope"):
        CliRunner().invoke(app, command, catch_exceptions=False)
