"""The program and its data in folders of any name."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
NAMES = ("landmark%20overlap", "100% sure", "a #1 [b] {c}", 'it\'s "ü"', "what?; $HOME & <x>")
SMALLEST = (
    "store='store'",
    "train.root='world'",
    "evaluation.0.root='world'",
    "evaluation.1.root='world'",
    "release.out='manifests'",
    "synthetic.landmarks=10",
    "synthetic.photos_per_landmark=2",
    "synthetic.size_px=96",
    "descriptors.size_px=96",
    "descriptors.vocabulary=4",
    "descriptors.dimensions=8",
    "verify.size_px=96",
    "run.workers=1",
)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_the_demo_runs_in_a_folder_of_any_name(tmp_path: Path, name: str):
    folder = tmp_path / name
    for part in ("overlap", "review_app"):
        shutil.copytree(PROJECT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "flows" / "configs" / "demo.toml", folder / "the config.toml")

    def overlap(*arguments: str) -> str:
        options = ["--config", "the config.toml", *(word for each in SMALLEST for word in ("--set", each))]
        command = [sys.executable, "-m", "overlap", *arguments, *options]
        where = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=folder, env=where, check=True, capture_output=True, text=True).stdout

    made = folder / "manifests" / "demo-clean-1.0.0"
    shown = overlap("demo")
    assert f"manifest: {made}\n" in shown
    assert "make app CONFIG='the config.toml'" in shown
    assert overlap("reviewers", "add", "ann").strip()
    source = str(folder / "world" / "gldv2")
    command = [sys.executable, "-m", "overlap", "verify-release", str(made), "--source", source]
    assert ": proven: " in subprocess.run(command, check=True, capture_output=True, text=True).stdout
