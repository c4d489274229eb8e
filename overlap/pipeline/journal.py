"""A line for every shard that was done, as JSON in ``store/journal.jsonl``, and what a run's lines add up to.

Workers write their own lines, so that those of a killed run are there too.
"""

import json
import os
import resource
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from overlap.base.store import Store

if TYPE_CHECKING:
    from overlap.pipeline.shards import Shard

_NAME = "journal.jsonl"
# Read from the end of a journal that many runs have made long.
_MOST_BYTES = 50_000_000


@dataclass(frozen=True)
class Work:
    """Say what one step of a run cost.

    Args:
        n_shards: shards that were done.
        n_kept: shards that were stored already.
        n: photos or pairs in the shards that were done.
        busy_seconds: what the workers spent, added up.
        seconds: from the start of the first shard to the end of the last.
        peak_mb: of the largest worker.
    """

    step: str
    n_shards: int
    n_kept: int
    n: int
    busy_seconds: float
    seconds: float
    peak_mb: float

    @property
    def rate(self) -> float:
        """Return photos or pairs a second, all workers together."""
        return self.n / self.seconds if self.seconds else 0.0


def write_line(store: Store, **values: object) -> None:
    """Append one line; whole, whoever else writes at the same time."""
    line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **values}, sort_keys=True)
    store.root.mkdir(parents=True, exist_ok=True)
    handle = os.open(store.root / _NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, (line + "\n").encode())
    finally:
        os.close(handle)


def timed(worker: "Callable[[Shard], str | None]") -> "Callable[[Shard], str | None]":
    """Return the worker function with a line in the journal for every shard it ends."""
    return partial(_do_timed, worker)


def read_last_run(store: Store) -> list[dict[str, Any]]:
    """Return the lines of the last run, the oldest first; a line that was cut short is left out."""
    path = store.root / _NAME
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _MOST_BYTES, 0))
        lines = [line for line in map(_parse, file.read().splitlines()) if line is not None]
    starts = [row for row, line in enumerate(lines) if line.get("event") == "run"]
    return lines[starts[-1] :] if starts else lines


def add_up(lines: Iterable[dict[str, Any]]) -> list[Work]:
    """Return what each step of a run cost, in the order in which the steps began."""
    by_step: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        if "step" in line:
            by_step.setdefault(line["step"], []).append(line)
    return [_add_up(step, of_step) for step, of_step in by_step.items()]


def render_report(store: Store) -> str:
    """Return what the last run did, as Markdown."""
    lines = read_last_run(store)
    rows = [
        f"| {work.step} | {work.n_shards:,} | {work.n_kept:,} | {work.n:,} | {work.seconds:,.1f} | {work.rate:,.2f} "
        f"| {work.peak_mb:,.0f} |"
        for work in add_up(lines)
    ]
    again = sum(line.get("again", 0) for line in lines)
    head = "| step | shards done | stored before | photos or pairs | seconds | a second | peak MB a worker |"
    table = [head, "|---" * 7 + "|", *rows] if rows else ["Nothing was left to do."]
    remark = f"{again} shards that a stopped run had begun were begun again." if again else ""
    return "\n".join(["# Run report", "", *table, "", remark]).strip() + "\n"


def _do_timed(worker: "Callable[[Shard], str | None]", shard: "Shard") -> str | None:
    began = time.perf_counter()
    name = worker(shard)
    seconds = time.perf_counter() - began
    write_line(
        shard.store,
        step=shard.step,
        shard=shard.fingerprint,
        n=shard.size,
        seconds=round(seconds, 3),
        rate=round(shard.size / seconds, 3),
        peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )
    return name


def _add_up(step: str, lines: list[dict[str, Any]]) -> Work:
    done = [line for line in lines if "seconds" in line]
    ends = [datetime.fromisoformat(line["time"]).timestamp() for line in done]
    starts = [end - line["seconds"] for end, line in zip(ends, done, strict=True)]
    return Work(
        step=step,
        n_shards=len(done),
        n_kept=sum(line.get("kept", 0) for line in lines),
        n=sum(line["n"] for line in done),
        busy_seconds=sum(line["seconds"] for line in done),
        seconds=max(ends, default=0.0) - min(starts, default=0.0),
        peak_mb=max((line["peak_mb"] for line in done), default=0.0),
    )


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
