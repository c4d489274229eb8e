from pathlib import Path

import pytest
from typer.testing import CliRunner

from overlap.base.store import Store
from overlap.cli.main import app
from overlap.pipeline.journal import write_line
from overlap.pipeline.plan import Line, compare_plan, count_featured, render_plan


def test_the_plan_of_a_tiny_set_counts_what_there_is_to_do(tiny_photos: Path):
    done = CliRunner().invoke(app, ["plan", "--config", str(tiny_photos / "config.toml"), "--photos", "4"])
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines()]
    counts = {row[0]: row[1:3] for row in rows}
    assert counts["descriptors"] == ["7", "photos"]
    assert counts["hashes"] == ["8", "photos"]
    assert counts["candidates"] == ["1", "probes"]
    assert counts["features"] == ["7", "photos"]
    assert counts["verified"] == ["6", "pairs"]
    assert counts["review"] == ["9", "decisions"]
    assert "measured on 4 photos of the set; few of them show the same landmark" in done.stdout
    assert counts["machine"][1] == "min,"
    assert not list((tiny_photos / "store").glob(".plan-*"))


@pytest.mark.parametrize(("probes", "photos", "k", "expected"), [(1, 100, 10, 10), (5, 100, 100, 100), (0, 9, 3, 0)])
def test_featured_photos_are_at_most_what_all_probes_choose(probes: int, photos: int, k: int, expected: int):
    assert count_featured(probes, photos, k) == expected


def test_two_probes_that_choose_at_random_share_some():
    assert count_featured(2, 1000, 500) == 750


def test_a_plan_is_compared_with_what_was_done(tmp_path: Path):
    store = Store(tmp_path)
    write_line(store, event="run")
    write_line(store, step="features", n=10, seconds=8.0, peak_mb=1)
    planned = [Line("features", 10, "photos", 10.0, 0, ""), Line("verified", 5, "pairs", 3.0, 0, "")]
    assert compare_plan(store, planned) == {"features": pytest.approx(1.25)}
    assert render_plan(planned)[-1] == "machine 0.2 min, 0.00 GB in the store; people 0.0 min"
