"""Time and memory a photo as the training set grows: search and the photo list, on generated descriptors.

python -m benchmarks growth [--growth-sizes 10000 100000 1000000]
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.results import Result, forget_files, measure_apart, spending
from benchmarks.search import SIZE, K, make_probes, open_shards, write_shards
from overlap.search.exact import search_exact

_PROBES = 140


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Search sets of growing size; the ratio is to the smallest of them."""
    first: dict[str, float] = {}
    for n_photos in options.growth_sizes:
        with tempfile.TemporaryDirectory(prefix="growth-") as name:
            write_shards(Path(name), n_photos)
            forget_files(Path(name).glob("*.npy"))
            spent = measure_apart("benchmarks.growth", name)
        a_photo = 1e6 * spent["cpu_seconds"] / n_photos
        what = f"growth: {n_photos:,} photos x {SIZE}, {_PROBES} probes"
        first = first or {"time": a_photo, "memory": spent["peak_mb"]}
        peer = f"{options.growth_sizes[0]:,} photos"
        yield Result(f"{what}, processor time a photo", a_photo, "µs", peer, a_photo / first["time"], f"k = {K}")
        yield Result(f"{what}, peak memory", spent["peak_mb"], "MB", peer, spent["peak_mb"] / first["memory"])


def main() -> None:
    """Search one folder of shards and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    probes = make_probes(folder, _PROBES)
    spent: dict[str, Any] = {}
    with spending(spent):
        search_exact(probes, open_shards(folder), k=K)
    print(json.dumps(spent))


if __name__ == "__main__":
    main()
