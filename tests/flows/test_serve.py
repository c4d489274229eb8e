"""A Prefect server that is killed is started again, and a flow that was running ends with the same result."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from flows import serve
from overlap.config import load_config
from overlap.steps.journal import read_last_run
from overlap.steps.pipeline import curate
from overlap.steps.verify import read_verified
from overlap.store import Store

PROJECT = Path(__file__).resolve().parents[2]
SETTINGS = ("run.photos_per_shard=2", "run.pairs_per_shard=2")


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setenv("PREFECT_API_URL", address)
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    return address


def _sleep(seconds: float) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sleep", str(seconds)])


def test_a_server_that_dies_is_started_again_as_long_as_the_worker_works(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    started: list[subprocess.Popen[bytes]] = []

    def start(address: str) -> "subprocess.Popen[bytes]":
        started.append(_sleep(0.1 if not started else 60))
        return started[-1]

    async def lose_nothing() -> int:
        return 0

    monkeypatch.setattr(serve, "_PAUSE_S", 0.05)
    monkeypatch.setattr(serve, "start_server", start)
    monkeypatch.setattr(serve, "_start_worker", lambda: _sleep(1))
    monkeypatch.setattr(serve, "_prefect", lambda *_: None)
    monkeypatch.setattr(serve, "crash_lost_runs", lose_nothing)
    assert serve.main() == 0
    assert capfd.readouterr().out.splitlines()[1:] == ["the Prefect server ended with code 0 and is started again"]
    assert [server.returncode for server in started] == [0, -signal.SIGTERM], "the second one lives to the end"


def test_a_report_that_the_server_does_not_take_is_a_warning(
    tiny_photos: Path, monkeypatch: pytest.MonkeyPatch, open_quietly
):
    from flows import shards

    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("Connection refused")

    monkeypatch.setattr(shards, "create_markdown_artifact", refuse)
    said: list[str] = []
    logger = SimpleNamespace(warning=lambda text, *values: said.append(text % values))
    monkeypatch.setattr(shards, "get_run_logger", lambda: logger)
    with open_quietly(load_config(tiny_photos / "config.toml")) as run:
        shards._leave_report(run)
    assert said == ["the server did not take the run report (Connection refused); 'overlap status' has the same"]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_flow_outlives_a_server_that_is_killed_and_started_again(
    tiny_photos: Path, tmp_path: Path, open_quietly, address: str
):
    path, store = tiny_photos / "config.toml", tmp_path / "flow"
    server = serve.start_server(address)
    try:
        command = [sys.executable, "-m", "flows.curate", str(path), f"store={str(store)!r}", *SETTINGS]
        with subprocess.Popen(command, cwd=PROJECT) as flow:
            while sum("shard" in line for line in read_last_run(Store(store))) < 2:
                assert flow.poll() is None
                time.sleep(0.01)
            os.kill(server.pid, signal.SIGKILL)
            assert server.wait() == -signal.SIGKILL
            server = serve.start_server(address)
            assert flow.wait() == 0
    finally:
        server.terminate()
        server.wait()
    here = load_config(path, SETTINGS)
    with open_quietly(here) as run:
        curate(run)
    assert read_verified(here.model_copy(update={"store": store})).equals(read_verified(here))
