"""What is said of long work where nobody watches: a line every half minute, and one at the end."""

import io

import pytest
from rich.console import Console

from overlap.base.progress import Lines, make_say, show_progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[str]:
    return []


def test_a_line_every_half_minute_with_step_rate_and_time_left(clock: Clock, said: list[str]):
    lines = Lines(said.append, clock=clock)
    move = lines.begin("descriptors: training", 1_500_000)
    for second in range(121):
        clock.now = float(second)
        move(100 * second, None)
    assert said == [
        "descriptors: training: 3,000 of 1,500,000, 100 a second, 4:09:30 left",
        "descriptors: training: 6,000 of 1,500,000, 100 a second, 4:09:00 left",
        "descriptors: training: 9,000 of 1,500,000, 100 a second, 4:08:30 left",
        "descriptors: training: 12,000 of 1,500,000, 100 a second, 4:08:00 left",
    ]


def test_work_that_stands_still_is_said_too_and_the_end_at_once(clock: Clock, said: list[str]):
    lines = Lines(said.append, clock=clock)
    move = lines.begin("train", 8)
    clock.now = 40
    lines.tick()
    move(2, "loss 0.500")
    clock.now = 80
    lines.tick()
    lines.tick()
    clock.now = 100
    move(8, None)
    clock.now = 200
    lines.tick()
    assert said == [
        "train: 0 of 8, time left not known yet",
        "train: 2 of 8, 0.025 a second, 0:04:00 left, loss 0.500",
        "train: 8 in 0:01:40, 0.08 a second",
    ]


def test_what_began_last_is_said_and_work_without_a_total_only_while_it_lasts(clock: Clock, said: list[str]):
    lines = Lines(said.append, clock=clock, count=lambda n: f"{n} MB")
    outer = lines.begin("candidates", None)
    inner = lines.begin("search", 10)
    clock.now = 30
    inner(5, None)
    inner(10, None)
    clock.now = 75
    lines.tick()
    outer(1, None)
    clock.now = 200
    lines.tick()
    assert said == [
        "search: 5 MB of 10 MB, 0.17 a second, 0:00:30 left",
        "search: 10 MB in 0:00:30, 0.33 a second",
        "candidates: 0:01:15 so far",
    ]


def test_a_file_gets_lines_and_a_terminal_bars():
    file, terminal = io.StringIO(), io.StringIO()
    with show_progress(Console(file=file, width=20)) as begin:
        begin("[a label] that is longer than the console", 3)(3, None)
    with show_progress(Console(file=terminal, force_terminal=True, width=120)) as begin:
        begin("[photos]", 3)(3, "loss 0.5")
        begin("unseen", None)(1, None)
    assert file.getvalue().splitlines() == ["[a label] that is longer than the console: 3 in 0:00:00, " + rate(file)]
    assert "[photos]: loss 0.5" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert " in 0:00:00" not in terminal.getvalue()
    assert "unseen" not in terminal.getvalue()


def rate(file: io.StringIO) -> str:
    return file.getvalue().strip().rsplit(", ", 1)[1]


def test_what_is_said_is_said_as_it_is():
    file = io.StringIO()
    make_say(Console(file=file, width=20))("[bold] /a/[b]/c :smile: " + "long " * 10)
    assert file.getvalue() == "[bold] /a/[b]/c :smile: " + "long " * 10 + "\n"
