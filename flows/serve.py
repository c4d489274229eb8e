"""Start a Prefect server and a worker on this machine: ``python -m flows.serve``, or ``make serve``.

SQLite below PREFECT_HOME, loopback only, analytics off. Ctrl-C ends both. A server that dies is started again:
running flows go on.
"""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.settings import get_current_settings
from prefect.states import Crashed

POOL = "landmarks"
_PAUSE_S = 1.0
_PREFECT = (str(Path(sys.executable).with_name("prefect")), "--no-prompt")


def main() -> int:
    """Start the server, bring the deployments in, work until stopped."""
    address = str(get_current_settings().api.url)
    server = worker = None
    try:
        server = start_server(address)
        _prefect("work-pool", "create", POOL, "--type", "process", "--overwrite")
        _prefect("deploy", "--all")
        asyncio.run(crash_lost_runs())
        print("ready: prefect deployment run 'curate/demo' --watch", flush=True)
        worker = _start_worker()
        while worker.poll() is None:
            if server.poll() is not None:
                print(f"the Prefect server ended with code {server.returncode} and is started again", flush=True)
                server = start_server(address)
            time.sleep(_PAUSE_S)
        return worker.returncode
    except KeyboardInterrupt:
        return 0
    finally:
        for process in (worker, server):
            if process is not None:
                process.terminate()
                process.wait()


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
