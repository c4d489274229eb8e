"""Start a Prefect server and a worker on this machine: ``python -m flows.serve``, or ``make serve``.

SQLite below PREFECT_HOME, loopback only, analytics off. Ctrl-C, SIGTERM and SIGHUP end both, and the flows that run:
run again, they go on where they were. A server that dies is started again: running flows go on.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from urllib.parse import SplitResult, urlsplit

import httpx
import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.settings import get_current_settings
from prefect.states import Crashed

from overlap.base.errors import ConfigError
from overlap.base.ports import require_free

POOL = "landmarks"
_PAUSE_S = 1.0
_PATIENCE_S = 5.0
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PREFECT = (str(Path(sys.executable).with_name("prefect")), "--no-prompt")


def main() -> int:
    """Start the server, bring the deployments in, work until stopped."""
    settings = get_current_settings()
    address = str(settings.api.url)
    try:
        place = _split(address)
        _check_home(settings.home)
        require_free(str(place.hostname), int(place.port or 0), setting="PREFECT_API_URL")
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    with _ending_what_it_starts() as started:
        return _serve(address, started)


def _serve(address: str, started: "list[subprocess.Popen[bytes]]") -> int:
    try:
        server = start_server(address)
        started.append(server)
        _prefect("work-pool", "create", POOL, "--type", "process", "--overwrite")
        _prefect("deploy", "--all")
        asyncio.run(crash_lost_runs())
        print("ready: prefect deployment run 'curate/demo' --watch", flush=True)
        worker = _start_worker()
        started.insert(0, worker)
        while worker.poll() is None:
            if server.poll() is not None:
                print(f"the Prefect server ended with code {server.returncode} and is started again", flush=True)
                server = start_server(address)
                started.append(server)
            time.sleep(_PAUSE_S)
        return worker.returncode
    except KeyboardInterrupt:
        return 0


@contextmanager
def _ending_what_it_starts() -> "Iterator[list[subprocess.Popen[bytes]]]":
    """Turn the first signal to stop into KeyboardInterrupt, and leave no process behind, however the block ends."""
    here = psutil.Process()
    others = set(here.children(recursive=True))
    before = {number: signal.getsignal(number) for number in _STOPS}
    for number in _STOPS:
        if before[number] is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _interrupt)
    started: list[subprocess.Popen[bytes]] = []
    try:
        yield started
    finally:
        for number in _STOPS:
            signal.signal(number, signal.SIG_IGN)
        known = {process.pid for process in started}
        more = [each for each in here.children(recursive=True) if each not in others and each.pid not in known]
        _end(started, more)
        for number in _STOPS:
            signal.signal(number, before[number])


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end(started: "Sequence[subprocess.Popen[bytes]]", more: Sequence[psutil.Process]) -> None:
    """Ask processes to end, and end those that don't within _PATIENCE_S; flows have sessions of their own."""
    for process in (*started, *more):
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    end = time.monotonic() + _PATIENCE_S
    for process in started:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(end - time.monotonic(), 0))
    _, left = psutil.wait_procs(more, timeout=max(end - time.monotonic(), 0))
    for process in (*started, *left):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    for process in started:
        process.wait()
    psutil.wait_procs(left, timeout=1)  # no longer: whoever inherited them may be slow to take them down


def _split(address: str) -> SplitResult:
    """Split an address.

    Raises:
        ConfigError: it is none of a server that could be started here.
    """
    try:
        place = urlsplit(address)
        if place.scheme == "http" and place.hostname and place.port:
            return place
    except ValueError:
        pass
    raise ConfigError(f"PREFECT_API_URL: {address!r} is no address of a server here, like http://127.0.0.1:4200/api")


def _check_home(home: Path) -> None:
    if "?" in str(home):
        raise ConfigError(f"PREFECT_HOME: {home} holds '?', where Prefect cuts the name off; set it to another folder")


def start_server(address: str) -> "subprocess.Popen[bytes]":
    """Start a Prefect server at an address and return it when it answers."""
    place = urlsplit(address)
    server = subprocess.Popen([*_PREFECT, "server", "start", "--host", str(place.hostname), "--port", str(place.port)])
    try:
        _wait_for(address, server)
    except BaseException:
        server.kill()
        server.wait()
        raise
    return server


async def crash_lost_runs() -> int:
    """Mark runs that a killed worker left behind as crashed, and return how many; nothing works here yet.

    Without this a run whose worker was killed with -9 stays "running" for ever.
    """
    running = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])))
    async with get_client() as client:
        lost = await client.read_flow_runs(flow_run_filter=running)
        for flow_run in lost:
            await client.set_flow_run_state(flow_run.id, Crashed(message="its worker was killed"), force=True)
    return len(lost)


def _start_worker() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([*_PREFECT, "worker", "start", "--pool", POOL])


def _wait_for(address: str, server: subprocess.Popen[bytes], *, patience_s: float = 180) -> None:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if server.poll() is not None:
            sys.exit(f"the Prefect server ended with code {server.returncode}; its message is above")
        try:
            if httpx.get(f"{address}/health", timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    sys.exit(f"the Prefect server did not answer at {address} within {patience_s:.0f} s")


def _prefect(*arguments: str) -> None:
    subprocess.run([*_PREFECT, *arguments], check=True, env=os.environ)


if __name__ == "__main__":
    sys.exit(main())
