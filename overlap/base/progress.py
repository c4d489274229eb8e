"""Say how work goes on: bars for who watches a terminal, a line every half minute for a file or a pipe."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeAlias

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

EVERY_S = 30.0

# Called with how much is done by now, and a remark that takes the place of the last one.
Move: TypeAlias = Callable[[int, str | None], None]


class Begin(Protocol):
    """Begin a piece of work; without a total it is over when it is moved the first time."""

    def __call__(self, label: str, total: int | None) -> Move:
        """Return what tells how much is done."""
        ...


@dataclass(eq=False)
class _Work:
    label: str
    total: int | None
    began: float
    done: int = 0
    remark: str = ""


class Lines:
    """Say a line about the work that began last, if it has been half a minute since the line before.

    Args:
        say: takes a line.
        clock: gives seconds.
        count: writes a number of what is counted.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        count: Callable[[int], str] = "{:,}".format,
    ) -> None:
        self._say, self._clock, self._count = say, clock, count
        self._last = clock()
        self._going: list[_Work] = []
        self._lock = threading.Lock()

    def begin(self, label: str, total: int | None) -> Move:
        """Begin a piece of work, as Begin says."""
        work = _Work(label, total, self._clock())
        with self._lock:
            self._going.append(work)

        def move(done: int, remark: str | None) -> None:
            work.done, work.remark = done, remark or work.remark
            if total is None or done >= total:
                self._end(work)
            self.tick()

        return move

    def tick(self) -> None:
        """Say a line if it is time."""
        with self._lock:
            if self._going and self._clock() - self._last >= EVERY_S:
                self._last = self._clock()
                self._say(self._describe(self._going[-1]))

    def _end(self, work: _Work) -> None:
        with self._lock:
            if work not in self._going:
                return
            self._going.remove(work)
            if work.total is not None:
                took = self._clock() - work.began
                self._say(f"{work.label}: {self._count(work.total)} in {_span(took)}{self._rate(work, took)}")

    def _describe(self, work: _Work) -> str:
        took = self._clock() - work.began
        if work.total is None:
            return f"{work.label}: {_span(took)} so far"
        known = f"{_span(took / work.done * (work.total - work.done))} left" if work.done else "time left not known yet"
        said = f"{work.label}: {self._count(work.done)} of {self._count(work.total)}{self._rate(work, took)}, {known}"
        return f"{said}, {work.remark}" if work.remark else said

    def _rate(self, work: _Work, took: float) -> str:
        rate = work.done / took if took else 0.0
        return f", {self._count(round(rate)) if rate >= 10 else f'{rate:.2g}'} a second" if rate else ""


@contextmanager
def show_progress(
    console: Console, *columns: ProgressColumn, count: Callable[[int], str] = "{:,}".format
) -> Iterator[Begin]:
    """Show what is begun on the console: bars on a terminal, else lines.

    Args:
        columns: what a bar consists of; by default count, time and time left.
        count: writes a number of what is counted, in a line.
    """
    if console.is_interactive:
        with Progress(*(columns or _columns()), console=console) as bars:
            yield _with_bars(bars)
        return
    lines = Lines(make_say(console), count=count)
    ended = threading.Event()
    threading.Thread(target=_keep_time, args=(lines, ended), daemon=True).start()
    try:
        yield lines.begin
    finally:
        ended.set()


def make_say(console: Console) -> Callable[[str], None]:
    """Return what prints a line on the console as it is: no markup, no colour, no line break.

    A line that can't be written is left out: the work is worth more than its log.
    """

    def say(line: str) -> None:
        with suppress(OSError):
            console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)

    return say


def unseen(label: str, total: int | None) -> Move:  # noqa: ARG001  as Begin has it
    """Begin work that nobody watches."""
    return lambda done, remark: None


def counted(move: Move) -> Callable[[int], None]:
    """Return what is told how much more is done, and tells how much that is in all."""
    done = 0

    def add(more: int) -> None:
        nonlocal done
        done += more
        move(done, None)

    return add


def _with_bars(bars: Progress) -> Begin:
    def begin(label: str, total: int | None) -> Move:
        if total is None:
            return unseen(label, total)
        bar = bars.add_task(label, total=total)
        return lambda done, remark: bars.update(
            bar, completed=done, description=None if remark is None else f"{label}: {remark}"
        )

    return begin


def _columns() -> tuple[ProgressColumn, ...]:
    label = TextColumn("{task.description:<28}", markup=False)
    return label, BarColumn(bar_width=None), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()


def _keep_time(lines: Lines, ended: threading.Event) -> None:
    while not ended.wait(1.0):
        lines.tick()


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
