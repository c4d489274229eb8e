"""The paper's case at full size through the command line: a list, a vote file, no photo anywhere."""

import pickle
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from golden import TABLE_2, write_world

CONFIG = """
store = "store"
[train]
format = "gldv2"
root = "."
[[evaluation]]
format = "revisited"
name = "rparis6k"
root = "truth"
[[evaluation]]
format = "revisited"
name = "roxford5k"
root = "truth"
[release]
name = "rgldv2-clean"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_world(tmp_path)
    (tmp_path / "truth").mkdir()
    for name in TABLE_2:
        if name:
            entry = {"bbx": [0, 0, 9, 9], "easy": [0], "hard": [], "junk": []}
            truth = {"imlist": ["d"], "qimlist": [f"q{n}" for n in range(70)], "gnd": [entry] * 70}
            (tmp_path / "truth" / f"gnd_{name}.pkl").write_bytes(pickle.dumps(truth))
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


def _overlap(*arguments: object) -> str:
    done = subprocess.run([sys.executable, "-m", "overlap", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_papers_tables_from_a_vote_file(folder: Path):
    config = ("--config", folder / "config.toml")
    began = time.monotonic()
    _overlap("votes", "import", folder / "votes.csv", *config)
    shown = _overlap("publish", *config)
    release = folder / "data_manifests" / "rgldv2-clean-1.0.0"
    proven = _overlap("verify-release", release, "--source", folder / "train_clean.csv")
    seconds = time.monotonic() - began
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    for line in (
        "rparis6k 70 36 (51%) 11 1,227",
        "roxford5k 70 38 (54%) 6 315",
        "TEXT 1 23",
        "TOTAL 140 74 18 1,565",
        "training set 1,580,470 81,313",
        "rgldv2-clean 1,578,905 81,295",
    ):
        assert line in lines
    assert "proven" in proven
    _overlap("apply", release / "removals.csv", folder / "train_clean.csv", "--out", folder / "applied.csv")
    assert (folder / "applied.csv").read_bytes() == (release / "train_clean.csv").read_bytes()
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{seconds:.1f} s, peak {peak_mb:.0f} MB")
    assert peak_mb < 2000
