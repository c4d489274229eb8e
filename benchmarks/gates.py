"""What carries a gradient through CiDeR's threshold? The literal one, a soft one and a straight-through one.

    python benchmarks/gates.py [--config flows/configs/gates.toml] [--seeds 3]

Each gate is trained with the same seeds on the config's training set and scored on its evaluation sets. A row is the
mean of the sets' Medium mAP over the seeds, with the standard deviation over the seeds; below, paired differences.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from scipy import stats

from overlap.base.config import NetworkConfig, load_config
from overlap.base.workers import map_in_processes
from overlap.pipeline.run import Run, open_run
from overlap.pipeline.train import evaluate_checkpoint, full_version, train_network

GATES = {
    "hard": {"gate": "hard"},
    "soft": {"gate": "soft"},
    "straight_through": {"gate": "straight_through"},
}


def main() -> None:
    """Train and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("flows/configs/gates.toml"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="further settings, KEY=VALUE")
    options = parser.parse_args()
    config = load_config(options.config, options.set)
    with map_in_processes(config.run.workers) as map_shards:
        with open_run(config, map_shards=map_shards, say=print) as run:
            found: dict[str, list[float]] = {name: [] for name in GATES}
            for seed in range(options.seeds):
                for name in GATES:
                    found[name].append(measure(run, name, seed))
    print(f"| gate | mAP Medium, mean of {options.seeds} seeds | standard deviation | each seed |\n|---|---|---|---|")
    for name, values in found.items():
        each = ", ".join(f"{100 * value:.1f}" for value in values)
        print(f"| {name} | {100 * np.mean(values):.1f} | {100 * np.std(values, ddof=1):.1f} | {each} |")
    for one, other in itertools.combinations(found, 2):
        gain = 100 * (np.array(found[other]) - found[one])
        low, high = stats.t.interval(0.95, len(gain) - 1, gain.mean(), stats.sem(gain))
        print(f"{other} over {one}: {gain.mean():+.1f} ({low:.1f} to {high:.1f}, 95 %, paired by seed)")


def measure(run: Run, name: str, seed: int) -> float:
    """Return the mean over evaluation sets of the Medium mAP."""
    network = NetworkConfig.model_validate({**run.config.network.model_dump(), "cider": GATES[name]})
    trained = train_network(run, full_version(run), network=network, training=run.config.training, seed=seed)
    rows = evaluate_checkpoint(run, trained).scores.to_pylist()
    value = float(np.mean([row["map"] for row in rows if row["protocol"] == "medium"]))
    print(f"{name}, seed {seed}: {100 * value:.1f}", flush=True)
    return value


if __name__ == "__main__":
    main()
