"""Where the benchmarks write: the folder is made before anything is measured, and what was measured is kept."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.results import Result


def _measure_and_fail(options: argparse.Namespace) -> Iterator[Result]:
    assert options.out.is_dir()
    yield Result("overhead: an empty shard", 1.5, "ms")
    raise KeyboardInterrupt


def test_a_new_folder_is_made_first_and_keeps_what_was_measured_before_the_end(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(benchmarks, "BENCHMARKS", {"overhead": _measure_and_fail})
    out = tmp_path / "a new" / "folder"
    monkeypatch.setattr(sys, "argv", ["benchmarks", "overhead", "--out", str(out)])
    with pytest.raises(KeyboardInterrupt):
        benchmarks.main()
    [kept] = json.loads((out / "benchmarks.json").read_text())["results"]
    assert (kept["name"], kept["value"]) == ("overhead: an empty shard", 1.5)
    assert "an empty shard" in (out / "benchmarks.md").read_text()


def test_a_folder_that_can_not_be_made_is_said_before_anything_is_measured(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(benchmarks, "BENCHMARKS", {"overhead": lambda options: pytest.fail("it was measured")})
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["benchmarks", "overhead", "--out", str(tmp_path / "file")])
    with pytest.raises(SystemExit) as ended:
        benchmarks.main()
    assert ended.value.code == 2
    assert "file can't be made: File exists; name another folder" in capsys.readouterr().err
