"""The flows give what the command gives, on processes of this machine and on Dask workers."""

import importlib
import os
import shutil
import signal
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from overlap.base.config import load_config
from overlap.base.errors import ConfigError
from overlap.base.store import Store
from overlap.cli.main import app
from overlap.pipeline.curate import curate
from overlap.pipeline.journal import read_last_run
from overlap.pipeline.publish import Published, publish
from overlap.pipeline.verify import read_verified

if TYPE_CHECKING:
    from distributed import LocalCluster

PROJECT = Path(__file__).resolve().parents[2]
SETTINGS = ("policy.name=automatic", "run.photos_per_shard=2", "run.pairs_per_shard=2")


def _deployments() -> list[dict]:
    import yaml

    return yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]


def test_every_deployment_names_a_flow_and_a_config_that_load():
    assert {("curate", "demo"), ("publish", "demo")} <= {
        (deployment["entrypoint"].split(":")[1], deployment["name"]) for deployment in _deployments()
    }
    for deployment in _deployments():
        file, name = deployment["entrypoint"].split(":")
        module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        assert getattr(module, name).name == name
        load_config(PROJECT / deployment["parameters"]["config"])


def test_the_server_is_found_on_loopback_and_sends_nothing():
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["prefect"]
    assert settings["api"]["url"].startswith("http://127.0.0.1:")
    assert settings["server"]["analytics_enabled"] is False


def test_publish_returns_the_folder_of_the_release(tmp_path: Path, monkeypatch):
    from flows import publish as flow

    monkeypatch.setattr(flow, "open_flow_run", lambda config, overrides: nullcontext())
    made = Published(tmp_path / "demo-1.0.0", tmp_path / "report.html", (), ())
    monkeypatch.setattr(flow.steps, "publish", lambda run: made)
    assert flow.publish.fn("demo.toml") == str(made.folder)


@pytest.fixture(scope="module")
def harness() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=200):
            yield


@pytest.fixture
def address() -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def _released(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("train_clean.csv", "removals.csv")}


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_the_flow_gives_the_same_table_as_the_command(tiny_photos: Path, tmp_path: Path, open_quietly, harness: None):
    from flows.curate import curate as flow

    path = tiny_photos / "config.toml"
    flow(str(path), (f"store={str(tmp_path / 'flow')!r}",))
    config = load_config(path)
    with open_quietly(config) as run:
        curate(run)
    by_flow = read_verified(config.model_copy(update={"store": tmp_path / "flow"}))
    assert by_flow.num_rows == 6
    assert by_flow.equals(read_verified(config))


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_the_flow_on_dask_gives_the_same_release_byte_for_byte(
    tiny_photos: Path, tmp_path: Path, open_quietly, harness: None, address: str
):
    from prefect.client.orchestration import get_client

    from flows.curate import curate as flow

    path, store = tiny_photos / "config.toml", f"store={str(tmp_path / 'dask')!r}"
    shutil.copy(next(tiny_photos.glob("train/*/*/*/*.jpg")), tiny_photos / "eval" / "jpg" / "q.jpg")  # to be removed
    flow(str(path), (store, "run.engine=dask", f"run.dask_address={address!r}", *SETTINGS))
    elsewhere = {line["worker"] for line in read_last_run(Store(tmp_path / "dask")) if "worker" in line}
    assert len(elsewhere) == 2, "both workers did shards"
    with get_client(sync_client=True) as client:
        reports = [str(one.data) for one in client.read_artifacts() if one.key == "run-report"]
    assert any("| verified | 6 | 0 | 6 |" in report for report in reports)
    here, there = load_config(path, SETTINGS), load_config(path, (store, *SETTINGS, "release.name=dask"))
    with open_quietly(here) as run:
        curate(run)
        local = publish(run)
    with open_quietly(there) as run:
        on_dask = publish(run)
    assert read_verified(there).equals(read_verified(here))
    assert _released(on_dask.folder) == _released(local.folder)
    assert (local.folder / "removals.csv").read_text().count("\n") > 1


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("default")
def test_a_dask_worker_that_is_killed_changes_no_result(tiny_photos: Path, tmp_path: Path, open_quietly, harness: None):
    from distributed import LocalCluster

    from flows.curate import curate as flow

    path, store = tiny_photos / "config.toml", tmp_path / "dask"
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        killer = threading.Thread(target=_kill_one, args=(cluster, Store(store)))
        killer.start()
        address = f"run.dask_address={cluster.scheduler_address!r}"
        flow(str(path), (f"store={str(store)!r}", "run.engine=dask", address, *SETTINGS))
        killer.join()
    here = load_config(path, SETTINGS)
    with open_quietly(here) as run:
        curate(run)
    assert read_verified(here.model_copy(update={"store": store})).equals(read_verified(here))


def _kill_one(cluster: "LocalCluster", store: Store) -> None:
    """Kill a worker when the second shard is done."""
    while sum("shard" in line for line in read_last_run(store)) < 2:
        time.sleep(0.01)
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)


def test_the_command_line_says_where_dask_is_for(tiny_photos: Path):
    config = str(tiny_photos / "config.toml")
    with pytest.raises(ConfigError, match=r"run.engine = 'dask' is for the flows; start 'python -m flows.curate"):
        CliRunner().invoke(app, ["curate", "--config", config, "--set", "run.engine=dask"], catch_exceptions=False)
