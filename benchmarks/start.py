"""Does a short training help? MobileNetV2 from ImageNet, before and after, on real photos it was not trained on.

    python benchmarks/start.py --photos ROOT --weights mobilenet_v2.pth [--network cider_mobilenet_v2]

ROOT holds gldv2/, roxford5k/ and truth.csv (landmark_id, overlaps). The training set is a synthetic world and ROOT's
landmarks that are in no evaluation set; settings are those of flows/configs/mobilenet.toml, which is told where
everything lies. Printed is the mAP on roxford5k of the ImageNet network with GeM pooling, and of the trained one.
"""

import argparse
import csv
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from overlap.base.config import SyntheticConfig, TrainConfig
from overlap.base.workers import map_in_processes
from overlap.datasets.catalogue import read_training_set
from overlap.synthetic.world import RenderTask, Taken, write_world

CONFIG = Path("flows/configs/mobilenet.toml")
HOME = Path("runs/mobilenet")
WORLD = SyntheticConfig(seed=11, landmarks=60, photos_per_landmark=8, size_px=320)
# Landmark ids of the synthetic world begin here, above those of the photos.
FIRST_SYNTHETIC = 10_000_000


def main() -> None:
    """Lay everything out, train, and print both figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--network", default="cider_mobilenet_v2")
    parser.add_argument("--set", action="append", default=[], help="further settings, KEY=VALUE")
    options = parser.parse_args()
    lay_out(options.photos.absolute(), options.weights.absolute())
    settings = [word for each in [f"network.name={options.network}", *options.set] for word in ("--set", each)]
    trained = HOME / f"{options.network}.pt"
    _overlap("evaluate", *settings, "--out", str(HOME / "before.csv"))
    _overlap("train", *settings, "--out", str(trained))
    _overlap("evaluate", *settings, "--checkpoint", str(trained), "--out", str(HOME / f"{options.network}.csv"))


def lay_out(photos: Path, weights: Path) -> None:
    """Link photos and weights to where the config looks, render the world, and list the training set."""
    (HOME / "set").mkdir(parents=True, exist_ok=True)
    _link(HOME / "roxford5k", photos / "roxford5k")
    _link(HOME / "mobilenet_v2.pth", weights)
    _link(HOME / "set" / "real", photos / "gldv2")
    with map_in_processes() as run_tasks:

        def map_tasks(function: Callable[[RenderTask], list[Taken]], tasks: Sequence[RenderTask]) -> list[list[Taken]]:
            return run_tasks(function, tasks, label="render the world", sizes=[1] * len(tasks))

        write_world(HOME / "set" / "world", WORLD, map_tasks=map_tasks)
    with (photos / "truth.csv").open(newline="") as file:
        overlapping = {int(row["landmark_id"]) for row in csv.DictReader(file) if row["overlaps"] == "1"}
    rows = [
        *_list(HOME / "set" / "real", first=0, without=overlapping),
        *_list(HOME / "set" / "world" / "gldv2", first=FIRST_SYNTHETIC, without=set()),
    ]
    lines = ["image_id,path,landmark_id", *(",".join(map(str, row)) for row in rows)]
    (HOME / "set" / "images.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")


def _list(root: Path, *, first: int, without: set[int]) -> list[tuple[str, Path, int]]:
    images = read_training_set(TrainConfig(format="gldv2", root=root)).images
    return [
        (row["image_id"], Path(row["path"]).relative_to(HOME / "set"), first + row["landmark_id"])
        for row in images.to_pylist()
        if row["landmark_id"] not in without
    ]


def _link(place: Path, target: Path) -> None:
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def _overlap(command: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "overlap", command, "--config", str(CONFIG), *arguments], check=True)


if __name__ == "__main__":
    main()
