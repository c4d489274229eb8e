"""The example release that the project ships: it is proven against the upstream beside it, small, and says how."""

import json
from pathlib import Path

from overlap.evidence.compare import read_evidence
from overlap.release.apply import apply_removals
from overlap.release.sums import file_names
from overlap.release.verify import verify_release

FOLDER = Path(__file__).resolve().parents[2] / "data_manifests"
MADE, UPSTREAM = FOLDER / "demo-clean-1.0.0", FOLDER / "demo-upstream"


def test_the_example_is_proven_against_its_upstream(tmp_path):
    assert verify_release(MADE, source=UPSTREAM) == []
    apply_removals(MADE / "removals.csv", UPSTREAM / "train_clean.csv", tmp_path / "clean.csv")
    assert (tmp_path / "clean.csv").read_bytes() == (MADE / "train_clean.csv").read_bytes()


def test_the_example_is_small_and_shows_every_removed_landmark():
    assert sum((MADE / name).stat().st_size for name in file_names(MADE)) < 3_000_000
    said = json.loads((MADE / "release.json").read_text())
    _, landmarks = read_evidence(MADE)
    removed = [landmark for landmark in landmarks if landmark["removed"]]
    assert len(removed) == said["removals"]["landmarks"] > 0
    assert all(landmark["pairs"] or landmark["photos"] for landmark in removed)
