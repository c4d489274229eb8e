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
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from flows import serve
from overlap.base.config import load_config
from overlap.base.store import Store
from overlap.pipeline.curate import curate
from overlap.pipeline.journal import read_last_run
from overlap.pipeline.verify import read_verified

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
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], address: str
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


# A worker that ignores SIGTERM, with a flow in a session of its own, whose process number it says.
_STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
flow = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(flow.pid, flush=True)
time.sleep(60)
"""


def _lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_server_worker_and_flows_within_seconds(
    monkeypatch: pytest.MonkeyPatch, address: str, number: signal.Signals
):
    started: list[subprocess.Popen[bytes]] = []
    flows: list[int] = []
    end = serve._end

    def start_worker() -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen([sys.executable, "-c", _STUBBORN], stdout=subprocess.PIPE))
        flows.append(int(started[-1].stdout.readline()))
        os.kill(os.getpid(), number)
        raise AssertionError("the signal is heard while the worker starts")

    def start_server(address: str) -> "subprocess.Popen[bytes]":
        started.append(_sleep(60))
        return started[-1]

    def end_once_more(*given: object) -> None:
        os.kill(os.getpid(), number)  # once more: it changes nothing
        end(*given)

    async def lose_nothing() -> int:
        return 0

    before = signal.signal(number, signal.default_int_handler)  # a shell may have it ignored in the background
    monkeypatch.setattr(serve, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(serve, "_end", end_once_more)
    monkeypatch.setattr(serve, "start_server", start_server)
    monkeypatch.setattr(serve, "_start_worker", start_worker)
    monkeypatch.setattr(serve, "_prefect", lambda *_: None)
    monkeypatch.setattr(serve, "crash_lost_runs", lose_nothing)
    assert serve.main() == 0
    assert not any(_lives(pid) for pid in (started[0].pid, started[1].pid, *flows))
    assert signal.signal(number, before) is signal.default_int_handler
    started[1].stdout.close()
    started[1].wait()


def test_a_server_on_a_port_that_is_taken_or_no_address_is_refused_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], address: str
):
    def settings(url: str, home: str = "home") -> None:
        found = SimpleNamespace(api=SimpleNamespace(url=url), home=Path(home))
        monkeypatch.setattr(serve, "get_current_settings", lambda: found)

    monkeypatch.setattr(serve, "start_server", lambda address: pytest.fail("it was started"))
    settings(address)
    with socket.create_server(("127.0.0.1", urlsplit(address).port)):
        assert serve.main() == 2
    assert "PREFECT_API_URL: no server can be started at 127.0.0.1:" in capfd.readouterr().err
    settings(address, home="what?/.prefect")
    assert serve.main() == 2
    assert "PREFECT_HOME: what?/.prefect holds '?', where Prefect cuts" in capfd.readouterr().err
    for wrong in ("https://example.org/api", "None", "http://[", "http://127.0.0.1/api"):
        settings(wrong)
        assert serve.main() == 2
        assert f"PREFECT_API_URL: {wrong!r} is no address of a server here, like http://" in capfd.readouterr().err


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
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_make_serve_leaves_nothing_behind(address: str, number: signal.Signals):
    with subprocess.Popen([sys.executable, "-m", "flows.serve"], cwd=PROJECT, stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            if line.startswith(b"ready"):
                break
        family: set[psutil.Process] = set()
        while not any("worker" in each.cmdline() for each in family):
            family = set(psutil.Process(process.pid).children(recursive=True))
        process.send_signal(number)
        process.send_signal(number)
        began = time.monotonic()
        assert process.wait(30) == 0
    assert time.monotonic() - began < 15
    assert not [each for each in family if _lives(each.pid)]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health")


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
