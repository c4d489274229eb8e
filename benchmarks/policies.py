"""What each policy removes on synthetic worlds whose truth is known: the table of docs/policies.md.

    python -m benchmarks.policies [--seeds 1 2 3 4 5] [--folder FOLDER]

Every world has second ids of buildings that queries see (split) and further ids with photos of the inside only (far).
Simulated reviewers make no mistake, so what differs is the policies alone. Closure and votes are repeated until nothing
new is proposed.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

POLICIES = ("automatic", "paper", "all-confirmed", "strict")
CONFIG = """
name = "policies"
store = "store"
[train]
format = "synthetic"
root = "world"
[[evaluation]]
format = "synthetic"
name = "oxsynth"
root = "world"
[[evaluation]]
format = "synthetic"
name = "parsynth"
root = "world"
[synthetic]
seed = {seed}
landmarks = 14
photos_per_landmark = 6
size_px = 320
far_ids = 2
[search]
k = 25
[closure]
k = 25
[verify]
size_px = 480
keypoints = 1024
"""


def main() -> None:
    """Print a row a policy and seed, then their sums."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--folder", type=Path, help="keep the worlds and stores here")
    options = parser.parse_args()
    sums: dict[str, Counter[str]] = {policy: Counter() for policy in POLICIES}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in options.seeds:
            folder = (options.folder or Path(scratch)) / f"seed{seed}"
            rounds = _curate(folder, seed)
            for policy in POLICIES:
                counts = _count(folder, policy)
                sums[policy] += counts
                print(f"seed {seed}, {rounds} rounds: {_row(policy, counts)}", flush=True)
    print("\n| policy | overlapping landmarks found | second ids | far ids | one misfiled photo | false removals |")
    print("|---|---|---|---|---|---|")
    for policy, counts in sums.items():
        print(_row(policy, counts))


def _curate(folder: Path, seed: int) -> int:
    """Fill the store and let faultless reviewers answer until closure proposes nothing new; return its rounds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(CONFIG.format(seed=seed), encoding="utf-8")
    _overlap(folder, "curate")
    for rounds in range(1, 10):
        _overlap(folder, "votes", "simulate", "--truth", str(folder / "world" / "truth" / "true_pairs.csv"))
        if "nothing new" in _overlap(folder, "closure"):
            return rounds
    raise RuntimeError("closure does not come to an end")


def _count(folder: Path, policy: str) -> Counter[str]:
    """Count removals by the truth: of overlapping landmarks, of those with a single right photo, of others."""
    _overlap(folder, "export", "removals", "--out", str(folder / f"{policy}.csv"), "--set", f"policy.name={policy}")
    removed = {row["landmark_id"] for row in _read(folder / f"{policy}.csv")}
    truth = folder / "world" / "truth"
    landmarks = {row["landmark_id"]: row for row in _read(truth / "landmarks.csv")}
    overlapping = {landmark for landmark, row in landmarks.items() if row["overlaps"] == "1"}
    asked = {row["building"] for row in _read(truth / "queries.csv")}
    touched = {row["landmark_id"] for row in _read(truth / "photos.csv") if row["building"] in asked} - overlapping
    counts = Counter(
        found=len(removed & overlapping),
        of=len(overlapping),
        misfiled=len(removed & touched),
        false=len(removed - overlapping - touched),
    )
    for role in ("split", "far"):
        ids = {landmark for landmark, row in landmarks.items() if row["role"] == role}
        counts += Counter({role: len(removed & ids), f"{role} of": len(ids)})
    return counts


def _row(policy: str, counts: Counter[str]) -> str:
    found = f"{counts['found']} of {counts['of']} ({counts['found'] / counts['of']:.0%})"
    ids = " | ".join(f"{counts[role]} of {counts[f'{role} of']}" for role in ("split", "far"))
    return f"| `{policy}` | {found} | {ids} | {counts['misfiled']} | {counts['false']} |"


def _overlap(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "overlap", *arguments, "--config", str(folder / "config.toml")]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
