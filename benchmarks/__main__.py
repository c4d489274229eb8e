"""All benchmarks: ``make bench``, or ``python -m benchmarks [NAME ...]`` for some.

Results go to docs/benchmarks.json, where a name that was not measured again keeps its line and date, and from there to
docs/benchmarks.md with its plot.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from benchmarks import colmap, extraction, growth, network, overhead, pairs, planning, search
from benchmarks.page import read_results, write_page
from benchmarks.results import Result, make_folder, one_thread, today

DOCS = Path(__file__).parents[1] / "docs"
BENCHMARKS: Mapping[str, Callable[[argparse.Namespace], Iterator[Result]]] = MappingProxyType(
    {
        "overhead": overhead.measure,
        "extraction": extraction.measure,
        "network": network.measure,
        "search": search.measure,
        "growth": growth.measure,
        "verification": pairs.measure,
        "colmap": colmap.measure,
        "plan": planning.measure,
    }
)
_NEEDS_PHOTOS = frozenset({"verification", "colmap"})
_OF_A_CORE = frozenset({"extraction", "verification", "colmap"})


def main() -> int:
    """Run the benchmarks that are named, or all of them, and write every result as soon as it is there."""
    options = _parse()
    known = {result.name: result for result in read_results(options.out)}
    for name in options.names or BENCHMARKS:
        if name in _NEEDS_PHOTOS and options.photos is None:
            print(f"{name}: left out; it needs a folder of real photos, PHOTOS=... or --photos", file=sys.stderr)
            continue
        with one_thread() if name in _OF_A_CORE else nullcontext():
            for result in BENCHMARKS[name](options):
                known[result.name] = replace(result, date=today())
                print(f"{result.name}: {result.value:,.4g} {result.unit}" + _beside(result), flush=True)
                write_page(options.out, list(known.values()))
    return 0


def _beside(result: Result) -> str:
    ratio = "" if result.ratio is None else f", {result.ratio:.3g} times {result.peer}"
    return ratio + (f" ({result.note})" if result.note else "")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; without one, all")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of benchmarks.json and benchmarks.md")
    parser.add_argument("--photos", type=Path, help="a folder of real photos, as docs/photos.md describes it")
    sizes = [(1_580_470, 140), (1_580_470, 11_455)]
    parser.add_argument("--search-sizes", type=_size, nargs="+", default=sizes, metavar="PHOTOSxPROBES")
    parser.add_argument("--search-index-photos", type=int, default=20_000)
    parser.add_argument("--growth-sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--extraction-photos", type=int, default=60)
    parser.add_argument("--network", default="gem_resnet50", metavar="METHOD_BACKBONE")
    parser.add_argument("--network-px", type=int, default=512, help="longer side of a photo")
    parser.add_argument("--verification-share", type=float, default=0.2, help="share of all pairs that is compared")
    parser.add_argument("--colmap-pairs", type=int, default=60)
    parser.add_argument("--cache", type=Path, help="folder that keeps local features between runs")
    parser.add_argument("--plan-photos", type=int, default=32)
    parser.add_argument("--plan-workers", type=int, default=0)
    options = parser.parse_args()
    unknown = set(options.names) - BENCHMARKS.keys()
    if unknown:
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    make_folder(options.out, parser)
    return options


def _size(text: str) -> tuple[int, int]:
    n_photos, _, n_probes = text.partition("x")
    return int(n_photos), int(n_probes)


if __name__ == "__main__":
    sys.exit(main())
