"""Exact search over stored shards against faiss.IndexFlatIP holding everything, reading included for both.

    python -m benchmarks search [--search-sizes 1580470x140 1580470x11455]

Shards of 1,000 x 2,048 half-precision unit rows, as the pipeline stores them, are generated in a folder and deleted
afterwards. Each method runs in a fresh process, after the system was asked to forget the files. The index is filled in
place, without the copies of ``add``, and with the same conversion from half precision as ours: it could not be cheaper.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmarks.results import Result, forget_files, measure_apart, spending
from overlap.base.tables import Descriptors
from overlap.search.approximate import measure_overlap, search_approximate
from overlap.search.exact import search_exact

SIZE = 2048
K = 200
_SHARD = 1000
_PEER = "faiss.IndexFlatIP"


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Compare both, for the queries alone and for all evaluation photos, and the indexes beside."""
    for n_photos, sizes in itertools.groupby(options.search_sizes, key=lambda size: size[0]):
        with tempfile.TemporaryDirectory(prefix="search-") as name:
            write_shards(Path(name), n_photos)
            for _, n_probes in sizes:
                yield from _compare(Path(name), n_photos, n_probes)
    yield from _measure_indexes(options.search_index_photos)


def _compare(folder: Path, n_photos: int, n_probes: int) -> Iterator[Result]:
    found = {method: _run(method, folder, n_probes) for method in ("exact", "flat")}
    ours, peer = found["exact"], found["flat"]
    same = measure_overlap(ours["image_ids"], peer["image_ids"])
    what = f"search: {n_probes:,} probes in {n_photos:,} x {SIZE}"
    note = f"k = {K}; peer {peer['seconds']:.1f} s; {same:.4%} of the photos found are the same"
    yield Result(f"{what}, time", ours["seconds"], "s", _PEER, ours["seconds"] / peer["seconds"], note)
    yield Result(
        f"{what}, processor time",
        ours["cpu_seconds"],
        "s",
        _PEER,
        ours["cpu_seconds"] / peer["cpu_seconds"],
        f"peer {peer['cpu_seconds']:.1f} s",
    )
    yield Result(
        f"{what}, peak memory",
        ours["peak_mb"],
        "MB",
        _PEER,
        ours["peak_mb"] / peer["peak_mb"],
        f"peer {peer['peak_mb']:,.0f} MB; Python and libraries included in both",
    )


def _measure_indexes(n_photos: int) -> Iterator[Result]:
    with tempfile.TemporaryDirectory(prefix="search-") as name:
        write_shards(Path(name), n_photos, n_clusters=n_photos // 20)
        exact = _run("exact", Path(name), 140)
        for kind in ("hnsw", "ivfpq"):
            found = _run(kind, Path(name), 140)
            what = f"search: {kind}, 140 probes in {n_photos:,} x {SIZE} of {n_photos // 20:,} clusters"
            recall = measure_overlap(found["image_ids"], exact["image_ids"])
            yield Result(f"{what}, recall of {K}", recall, "share", "exact search", recall)
            yield Result(
                f"{what}, time with building",
                found["seconds"],
                "s",
                "exact search",
                found["seconds"] / exact["seconds"],
                f"exact search {exact['seconds']:.1f} s; the index is built on one thread",
            )


def write_shards(folder: Path, n_photos: int, *, n_clusters: int = 0) -> None:
    """Write unit rows, all directions alike, or about so many centres."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((n_clusters, SIZE), dtype=np.float32)
    for number, start in enumerate(range(0, n_photos, _SHARD)):
        n_rows = min(_SHARD, n_photos - start)
        rows = rng.standard_normal((n_rows, SIZE), dtype=np.float32)
        if n_clusters:
            rows = centres[rng.integers(0, n_clusters, n_rows)] + np.float32(0.7) * rows
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        np.save(folder / f"{number:06d}.npy", rows.astype(np.float16))


def make_probes(folder: Path, n_probes: int) -> Descriptors:
    """Return probes that are photos with noise, so that each has something to find."""
    rng = np.random.default_rng(1)
    shards = sorted(folder.glob("*.npy"))
    some = np.load(shards[len(shards) // 2]).astype(np.float32)
    rows = some[rng.integers(0, len(some), n_probes)]
    rows = rows + np.float32(0.7 / np.sqrt(SIZE)) * rng.standard_normal(rows.shape, dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Descriptors([f"q{number}" for number in range(n_probes)], rows)


def open_shards(folder: Path) -> list[Descriptors]:
    """Map the shards; the id of a photo is its row."""
    shards: list[Descriptors] = []
    start = 0
    for path in sorted(folder.glob("*.npy")):
        vectors = np.load(path, mmap_mode="r")
        shards.append(Descriptors([str(row) for row in range(start, start + len(vectors))], vectors))
        start += len(vectors)
    return shards


def search_flat(probes: Descriptors, shards: list[Descriptors]) -> list[list[str]]:
    """Let FAISS hold all photos in float32 and search them at once."""
    import faiss

    n_photos = sum(len(shard.image_ids) for shard in shards)
    index = faiss.IndexFlatIP(SIZE)
    index.codes.resize(n_photos * SIZE * 4)
    held = faiss.rev_swig_ptr(index.codes.data(), n_photos * SIZE * 4).view(np.float32).reshape(n_photos, SIZE)
    codec = faiss.IndexScalarQuantizer(SIZE, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    for shard in shards:
        codec.sa_decode(np.array(shard.vectors).view(np.uint8), held[index.ntotal : index.ntotal + len(shard.vectors)])
        index.ntotal += len(shard.vectors)
    _, rows = index.search(np.asarray(probes.vectors, np.float32), K)
    return [[str(row) for row in ids] for ids in rows.tolist()]


def _search_exact(probes: Descriptors, shards: list[Descriptors]) -> list[list[str]]:
    return search_exact(probes, shards, k=K).image_ids


def _search_index(kind: str) -> Callable[[Descriptors, list[Descriptors]], list[list[str]]]:
    def search(probes: Descriptors, shards: list[Descriptors]) -> list[list[str]]:
        return search_approximate(probes, shards, k=K, kind=kind, n_checked=0).neighbours.image_ids

    return search


METHODS: Mapping[str, Callable[[Descriptors, list[Descriptors]], list[list[str]]]] = MappingProxyType(
    {"exact": _search_exact, "flat": search_flat, "hnsw": _search_index("hnsw"), "ivfpq": _search_index("ivfpq")}
)


def _run(method: str, folder: Path, n_probes: int) -> dict[str, Any]:
    forget_files(folder.glob("*.npy"))
    spent = measure_apart("benchmarks.search", method, folder, n_probes)
    return spent | {"image_ids": json.loads((folder / f"{method}.json").read_text())}


def main() -> None:
    """Search with one method and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("probes", type=int)
    given = parser.parse_args()
    probes = make_probes(given.folder, given.probes)
    spent: dict[str, Any] = {}
    with spending(spent):
        found = METHODS[given.method](probes, open_shards(given.folder))
    (given.folder / f"{given.method}.json").write_text(json.dumps(found))
    print(json.dumps(spent))


if __name__ == "__main__":
    main()
