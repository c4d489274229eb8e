"""Is the audit's 95 % bound kept, and what does a bound cost? The figures of docs/audit.md.

    python -m benchmarks.audit [--tables 1000] [--out docs] [--worlds FOLDER]

It draws score tables with known truth, errors of detectors and reviewers alike (overlap/audit/simulation.py), audits
each and compares the bound with the truth; FOLDER holds rendered worlds of 'python -m benchmarks.policies --folder',
which are audited as the policy 'paper' leaves them.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.results import make_folder
from overlap.audit.bound import judgements_for_bound
from overlap.audit.simulation import BoundTrial, Scenario, draw_scenario, draw_settings, simulate_audit

N_KEPT = 81_295
BOUNDS = (5, 10, 20, 50, 100, 200)


def main() -> None:
    """Print the coverage and the costs, and write the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of audit.svg")
    parser.add_argument("--worlds", type=Path, help="folder of rendered worlds")
    options = parser.parse_args()
    make_folder(options.out, parser)
    began = time.monotonic()
    outcomes = [_simulate(seed) for seed in range(options.tables)]
    _say("score tables", outcomes)
    for likeness in (0.0, 0.3, 0.6, 0.9):
        _say(f"  likeness {likeness}", [_simulate(seed, likeness=likeness) for seed in range(options.tables // 5)])
    print(f"{time.monotonic() - began:.0f} s")
    costs = {bound: judgements_for_bound(N_KEPT, at_most=bound) for bound in BOUNDS}
    print("landmarks to judge of 81,295 when nothing is found:", costs)
    _plot(outcomes, costs, options.out / "audit.svg")
    if options.worlds:
        for folder in sorted(options.worlds.glob("seed*")):
            left, bound = _audit_world(folder)
            print(
                f"rendered world {folder.name}: {left} left, at most {bound}, {'kept' if left <= bound else 'BROKEN'}"
            )


def _simulate(seed: int, *, likeness: float | None = None) -> BoundTrial:
    rng = np.random.default_rng((seed, 1))
    scenario: Scenario = draw_scenario(rng)
    settings = draw_settings(rng, scenario)
    scenario = scenario if likeness is None else replace(scenario, likeness=likeness)
    return simulate_audit(scenario, settings, seed=seed)


def _say(label: str, outcomes: Sequence[BoundTrial]) -> None:
    kept = sum(outcome.n_left <= outcome.bound for outcome in outcomes)
    print(f"{label}: the bound holds in {kept} of {len(outcomes)} ({kept / len(outcomes):.1%})", flush=True)


def _plot(outcomes: Sequence[BoundTrial], costs: dict[int, int], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "overlap", "font.size": 10})
    from matplotlib import pyplot

    figure, (truth, cost) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    left = np.array([outcome.n_left for outcome in outcomes])
    bound = np.array([outcome.bound for outcome in outcomes])
    broken = left > bound
    truth.scatter(left[~broken], bound[~broken], s=9, alpha=0.5, linewidths=0, color="#2a6f97", label="kept")
    if broken.any():
        truth.scatter(left[broken], bound[broken], s=22, color="#c1121f", marker="x", label="broken")
        truth.legend(frameon=False, loc="lower right")
    ends = [0, max(left.max(), bound.max())]
    truth.plot(ends, ends, color="0.5", linewidth=1)
    truth.set(xscale="symlog", yscale="symlog", xlabel="overlapping landmarks left", ylabel="stated bound, 95 %")
    truth.set_title(f"{len(outcomes):,} simulated audits: kept in {(~broken).mean():.1%}")
    cost.plot(list(costs), list(costs.values()), marker="o", color="#2a6f97")
    cost.set(xscale="log", yscale="log", xlabel="bound on landmarks left", ylabel="landmarks to judge")
    cost.set_xticks(list(costs), [str(each) for each in costs])
    cost.minorticks_off()
    for wanted, judged in costs.items():
        cost.annotate(f"{judged:,}", (wanted, judged), textcoords="offset points", xytext=(6, 4))
    cost.set_title(f"What a bound costs: {N_KEPT:,} landmarks, nothing found")
    for axes in (truth, cost):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(path, metadata={"Date": None})


def _audit_world(folder: Path) -> tuple[int, int]:
    """Audit what the policy 'paper' left of a rendered world; return what is left truly, and the bound."""
    settings = [
        "--set",
        "policy.name=paper",
        "--set",
        "audit.whole=3",
        "--set",
        "audit.below=4",
        "--set",
        "audit.random=9",
    ]
    store, truth = folder / "store", folder / "world" / "truth"
    _overlap(folder, "audit", "sample", *settings)
    _overlap(folder, "votes", "simulate", "--truth", str(truth / "true_pairs.csv"))
    _overlap(folder, "audit", "report", *settings)
    _overlap(folder, "export", "removals", "--out", str(folder / "audited.csv"), *settings)
    record = json.loads((store / "current" / "audited.json").read_text(encoding="utf-8"))
    audit = json.loads((store / "audited" / record["fingerprint"] / "audit.json").read_text(encoding="utf-8"))
    overlapping = {row["landmark_id"] for row in _read(truth / "landmarks.csv") if row["overlaps"] == "1"}
    removed = {row["landmark_id"] for row in _read(folder / "audited.csv")}
    n_found = sum(stratum["found"] for stratum in audit["strata"])
    return len(overlapping - removed) - n_found, audit["bound"]["remaining"]


def _overlap(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "overlap", *arguments, "--config", str(folder / "config.toml")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
