import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from overlap.base.store import Store
from overlap.pipeline.journal import Work, add_up, read_last_run, render_report, timed, write_line
from overlap.pipeline.shards import Shard


def _nothing(shard: Shard) -> None:
    pass


def _fail(shard: Shard) -> None:
    raise RuntimeError


def test_every_shard_leaves_a_line_and_they_add_up(tmp_path: Path):
    store = Store(tmp_path / "store")
    write_line(store, event="run", config="old", again=5)
    timed(_nothing)(Shard(store, "features", "old", 9, None))
    write_line(store, event="run", config="new", again=2)
    write_line(store, step="features", kept=3)
    for number in range(4):
        timed(_nothing)(Shard(store, "features", f"f{number}", 10, None))
    lines = read_last_run(store)
    assert lines[0]["config"] == "new"
    (work,) = add_up(lines)
    assert (work.step, work.n_shards, work.n_kept, work.n) == ("features", 4, 3, 40)
    assert {line["shard"] for line in lines if "shard" in line} == {"f0", "f1", "f2", "f3"}
    assert work.peak_mb > 1
    report = render_report(store)
    assert "| features | 4 | 3 | 40 |" in report
    assert "2 shards that a stopped run had begun were begun again." in report


def test_seconds_span_shards_that_ran_side_by_side():
    def line(at: str, seconds: float) -> dict[str, object]:
        return {"time": f"2026-01-01T00:00:{at}+00:00", "step": "s", "n": 10, "seconds": seconds, "peak_mb": 5}

    (work,) = add_up([line("10.000", 4.0), line("11.000", 4.0), line("20.000", 6.0)])
    assert work == Work("s", 3, 0, 30, 14.0, 14.0, 5)
    assert work.rate == pytest.approx(30 / 14)


def test_a_shard_that_fails_leaves_no_line(tmp_path: Path):
    store = Store(tmp_path)
    with pytest.raises(RuntimeError):
        timed(_fail)(Shard(store, "features", "f", 1, None))
    assert read_last_run(store) == []
    assert render_report(store) == "# Run report\n\nNothing was left to do.\n"


def test_lines_of_many_writers_stay_whole_and_a_torn_one_is_left_out(tmp_path: Path):
    store = Store(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write_line(store, step="s", n=number, text="x" * 500), range(200)))
    path = tmp_path / "journal.jsonl"
    assert sorted(json.loads(text)["n"] for text in path.read_text().splitlines()) == list(range(200))
    with path.open("a") as file:
        file.write('{"step": "s", "n"')
    assert len(read_last_run(store)) == 200
