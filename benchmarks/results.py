"""What a benchmark gives: a figure beside the figure of a peer, measured in the same run."""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
from threadpoolctl import threadpool_limits


@dataclass(frozen=True)
class Result:
    """One line of docs/benchmarks.json.

    Args:
        name: ``group: what was measured``.
        value: the figure, in ``unit``.
        peer: what it is compared with, in the same run; empty where there is none.
        ratio: the figure over the peer's.
        note: what must be known to read it.
    """

    name: str
    value: float
    unit: str
    peer: str = ""
    ratio: float | None = None
    note: str = ""
    date: str = ""


@dataclass(frozen=True)
class Spent:
    """Say what a piece of work cost, in seconds of the clock, seconds of processor, and megabytes at the peak."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def make_folder(folder: Path, parser: argparse.ArgumentParser) -> None:
    """Make the folder that results go to before anything is measured, or end with a sentence."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"{folder} can't be made: {error.strerror}; name another folder")


def measure_apart(module: str, *arguments: object) -> dict[str, Any]:
    """Run ``python -m module arguments`` in a fresh process and return the JSON of its last line.

    A peak of memory can only be told from a process of its own.
    """
    words = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def spending(into: dict[str, Any]) -> Iterator[None]:
    """Measure a block and put seconds, cpu_seconds and peak_mb of this process into a dict."""
    began, busy = time.perf_counter(), time.process_time()
    yield
    spent = Spent(
        time.perf_counter() - began,
        time.process_time() - busy,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
    into.update(asdict(spent))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let the linear algebra and image libraries use one thread in a block: a core's rate is measured, not a machine's.

    Threads that wait for each other would count as processor time, too.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        cv2.setNumThreads(before)


def forget_files(paths: Iterable[Path]) -> None:
    """Ask the system to forget what it holds of files in memory, so that they are read from disk."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def describe_machine() -> Mapping[str, str]:
    """Return what the figures depend on."""
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / 1e6:.0f} GB",
        "gpu": "none",
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def today() -> str:
    """Return the date of a measurement."""
    return datetime.now(UTC).date().isoformat()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
