"""From photos to candidates: global descriptors, search, and landmark names."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.config import Config, DescriptorsConfig, fingerprint
from overlap.base.devices import choose_device, use_large_pages
from overlap.base.errors import ConfigError, DataError
from overlap.base.images import PhotoLimits, Pixels
from overlap.base.progress import counted
from overlap.base.store import read_array, read_table, write_array, write_json, write_table
from overlap.base.tables import CANDIDATES, Descriptors, FloatArray, as_table
from overlap.base.workers import count_cores
from overlap.descriptors.batches import grid_shape, load_scaled
from overlap.descriptors.exported import Exported, load_exported, require_common_sizes
from overlap.descriptors.extract import Described as DescribedPhotos
from overlap.descriptors.extract import describe_batches, describe_photos
from overlap.descriptors.vlad import encode_vlad, load_vlad, save_vlad, train_vlad
from overlap.features.catalogue import extract_root_sift
from overlap.lists.names import find_text_candidates
from overlap.pipeline.candidates import hash_landmarks, keep_found, sorted_candidates, tabulate_found
from overlap.pipeline.cuts import Cut, cut_in_order
from overlap.pipeline.declared import declared_part, find_step, name_part
from overlap.pipeline.gpu import check_devices, load_product
from overlap.pipeline.photos import Sets, split_probes
from overlap.pipeline.run import Run, find_current, hash_file, recorded, resolve_device
from overlap.pipeline.shards import (
    Done,
    Row,
    Shard,
    check_quarantine,
    join_quarantine,
    put_list,
    read_rows,
    read_text_list,
    run_photos,
    shard_folders,
    store_each,
    store_photos,
)
from overlap.search.approximate import search_approximate
from overlap.search.exact import Neighbours, search_exact
from overlap.study.networks.catalogue import load_network
from overlap.study.networks.checkpoint import open_saved, read_saved

if TYPE_CHECKING:
    from torch import Tensor

_VLAD_PHOTOS = 1000
_VLAD_KEYPOINTS = 1000
# A landmark may have thousands of photos, all of which come before the first of another.
_PROBES_AT_ONCE = 1024

# What the probes of an origin are, for people.
PROBES: Mapping[str, str] = MappingProxyType(
    {"global": "queries", "whole": "whole queries", "database": "database photos"}
)


@dataclass(frozen=True)
class Described:
    """Name the shards of stored descriptors: of the training photos, and by evaluation set and origin of the probes."""

    train: tuple[Shard, ...]
    probes: Mapping[tuple[str, str], tuple[Shard, ...]]


@dataclass(frozen=True)
class _Describing:
    """Hold what a worker needs beside the photos.

    Args:
        threads: how many decode photos ahead of a network.
        model: the fingerprint of the vocabulary; without one a network describes.
    """

    settings: DescriptorsConfig
    threads: int
    model: str | None


def check_network(run: Run) -> None:
    """Look for the GPUs and open the network that describes photos, where the shards will run, before any work is done.

    Raises:
        ConfigError: one is not there, or can't be opened, or doesn't take photos of the size that the config asks for.
    """
    check_devices(run)
    if run.config.descriptors.kind != "vlad":
        run.map_shards(_open_once, [run.config.descriptors], label="open the network", sizes=[1])


def describe_sets(run: Run, sets: Sets) -> Described:
    """Compute a global descriptor of every training photo and every probe."""
    with recorded(run, "descriptors") as finish:
        model = find_vocabulary(run, sets)
        probes = {
            (evaluation.name, origin): images
            for evaluation in sets.evaluations
            for origin, images in split_probes(run.config, evaluation).items()
        }
        described = Described(
            _describe(run, sets.training.images, model=model, label="descriptors: training"),
            {
                (source, origin): _describe(run, images, model=model, label=f"descriptors: {source}, {PROBES[origin]}")
                for (source, origin), images in probes.items()
            },
        )
        whole = put_list(run, "descriptors", [*described.train, *chain(*described.probes.values())])
        n_photos = sets.training.images.num_rows + sum(images.num_rows for images in probes.values())
        quarantine = join_quarantine(shard_folders(run.store, "descriptors", whole))
        check_quarantine(run, quarantine, n_photos)
        finish(whole, photos=n_photos, unreadable=quarantine.num_rows)
    return described


def describe_images(run: Run, images: pa.Table, *, label: str) -> list[Descriptors]:
    """Compute the descriptor of every photo of a table by the config's network, and keep what is stored.

    Args:
        images: IMAGES.

    Returns:
        Parts whose rows, joined, are the photos in their order.

    Raises:
        ConfigError: the config's descriptors need a vocabulary, which only 'overlap curate' trains.
        DataError: a photo can't be read.
    """
    settings = run.config.descriptors
    if settings.kind == "vlad":
        raise ConfigError('descriptors.kind = "vlad" is no network; set descriptors.kind and descriptors.path')
    shards = _describe(run, images, model=None, label=label, by=cut_in_order)
    bad = join_quarantine([run.store.get(shard.step, shard.fingerprint) for shard in shards]).to_pylist()
    if bad:
        raise DataError(f"{len(bad)} of {images.num_rows} photos can't be used, for example {bad[0]['reason']}")
    return read_descriptors(shards)


def describe_beside(run: Run, sets: Sets, images: pa.Table, *, label: str) -> list[Descriptors]:
    """Compute the descriptor of every photo of a table as those of the sets are computed, and keep what is stored.

    Args:
        images: IMAGES; photos that can't be read are left out.
    """
    return read_descriptors(_describe(run, images, model=find_vocabulary(run, sets), label=label))


def describe_rows(
    rows: Sequence[Row], settings: DescriptorsConfig, *, limits: PhotoLimits = PhotoLimits(), threads: int = 2
) -> DescribedPhotos:
    """Describe photos here, by the network that settings name; it stays loaded.

    Args:
        rows: rows of IMAGES.
        threads: how many decode photos ahead of the network.

    Raises:
        ConfigError: the network can't be opened, or fails.
    """
    network = _load_network(settings)
    fit = network.fit if isinstance(network, Exported) else grid_shape
    return describe_batches(rows, network=network, settings=settings, limits=limits, workers=threads, fit=fit)


def search_candidates(run: Run, sets: Sets, described: Described) -> pa.Table:
    """Find the k training photos that are most similar to each probe.

    Returns:
        CANDIDATES by evaluation set, query, origin and rank.
    """
    with recorded(run, "candidates") as finish:
        train = [shard.fingerprint for shard in described.train]
        probes = [[*name, [shard.fingerprint for shard in shards]] for name, shards in described.probes.items()]
        whole = name_part(run.config, "candidates", run.devices, train, probes, hash_landmarks(sets.training.images))
        if not run.store.exists("candidates", whole):
            found = _search(run, sets, described)
            with run.store.put("candidates", whole) as folder:
                write_table(folder, "candidates", found)
        candidates = read_table(run.store.get("candidates", whole), "candidates", CANDIDATES)
        finish(whole, pairs=candidates.num_rows)
    return candidates


def search_training(run: Run, sets: Sets, described: Described, image_ids: Collection[str]) -> pa.Table:
    """Find the closure.k photos of other landmarks that are most similar to each of some training photos.

    Returns:
        CANDIDATES of origin closure, by photo and rank; a pair of two of the given photos stands there once.
    """
    images = sets.training.images.select(["image_id", "landmark_id"])
    asked = images.filter(pc.is_in(images["image_id"], value_set=pa.array(sorted(image_ids), pa.string())))
    sizes = Counter(
        images["landmark_id"].filter(pc.is_in(images["landmark_id"], value_set=asked["landmark_id"])).to_pylist()
    )
    landmarks = dict(zip(asked["image_id"].to_pylist(), asked["landmark_id"].to_pylist(), strict=True))
    k, photos = run.config.closure.k, read_descriptors(described.train)
    most = max(sizes.values(), default=0)
    product = load_product(run.config.search)
    parts = [CANDIDATES.empty_table()]
    every = _join([_take(part, landmarks.keys()) for part in photos])
    for start in range(0, len(every.image_ids), _PROBES_AT_ONCE):
        some = slice(start, start + _PROBES_AT_ONCE)
        probes = Descriptors(every.image_ids[some], every.vectors[some])
        found = search_exact(probes, photos, k=k + most, product=product)
        known = keep_found(images, found)
        parts.append(tabulate_found(run.config.train.format, probes.image_ids, found, known, origin="closure"))
    return as_table(_of_other_landmarks(pa.concat_tables(parts).to_pylist(), landmarks, k=k), CANDIDATES).sort_by(
        [("query_id", "ascending"), ("rank", "ascending")]
    )


def read_candidates(config: Config) -> pa.Table:
    """Return the present CANDIDATES: those of the search, copies, and text candidates last."""
    steps = ("candidates", "copies", "names")
    return pa.concat_tables([read_table(find_current(config, step), "candidates", CANDIDATES) for step in steps])


def find_names(run: Run, sets: Sets) -> pa.Table:
    """Find the landmarks whose name holds one of the configured words.

    Returns:
        CANDIDATES of origin text.
    """
    with recorded(run, "names") as finish:
        found = find_text_candidates(sets.training.landmarks, run.config.names.words)
        whole = fingerprint("names", found["landmark_id"].to_pylist())
        if not run.store.exists("names", whole):
            with run.store.put("names", whole) as folder:
                write_table(folder, "candidates", found)
        finish(whole, landmarks=found.num_rows)
    return found


def find_vocabulary(run: Run, sets: Sets) -> str | None:
    """Return the fingerprint of VLAD's vocabulary, learned first if need be; None where a network describes."""
    settings = run.config.descriptors
    if settings.kind != "vlad":
        return None
    images = sets.training.images
    sample = images.take(np.linspace(0, images.num_rows - 1, min(_VLAD_PHOTOS, images.num_rows)).round().astype(int))
    own = declared_part(settings, find_step(run.config, "vocabulary-sample"), name="descriptors")
    label = "vocabulary: local features"
    shards = run_photos(run, "vocabulary-sample", sample, _store_sample, settings=own, label=label)
    whole = name_part(run.config, "vocabulary", {}, [shard.fingerprint for shard in shards])
    if not run.store.exists("vocabulary", whole):
        folders = [run.store.get(shard.step, shard.fingerprint) for shard in shards]
        check_quarantine(run, join_quarantine(folders), len(sample))
        vlad = train_vlad(chain(*map(_read_sample, folders)), settings=settings)
        with run.store.put("vocabulary", whole) as folder:
            save_vlad(folder, vlad)
    return whole


def _describe(run: Run, images: pa.Table, *, model: str | None, label: str, by: Cut | None = None) -> tuple[Shard, ...]:
    step, settings = find_step(run.config, "descriptors"), run.config.descriptors
    device = resolve_device(run, step.device) if step.device else None
    own = declared_part(settings, step, name="descriptors", device=device)
    return run_photos(
        run,
        "descriptors",
        images,
        _store_descriptors,
        settings=_Describing(own, _count_threads(run), model),
        label=label,
        more=[model or hash_file(settings.path)],
        by=by,
    )


def _count_threads(run: Run) -> int:
    """Return how many threads of a worker decode photos ahead of the network: all cores, where one feeds a GPU."""
    cores = count_cores()
    return max(cores // (run.config.run.workers or cores), 2)


def _store_sample(shard: Shard) -> str:
    size_px, limits = shard.work.settings.size_px, shard.work.limits

    def find_features(row: Row) -> FloatArray:
        return _root_sift(load_scaled(row, size_px=size_px, scales=(1.0,), limits=limits)[0])

    return store_each(shard, find_features, _write_sample)


def _write_sample(folder: Path, done: Done[FloatArray]) -> None:
    found = [*done.made.values()]
    write_array(folder, "ends", np.cumsum([len(one) for one in found], dtype=np.int64))
    write_array(folder, "sample", np.concatenate([np.zeros((0, 128), np.float32), *found]))


def _read_sample(folder: Path) -> list[FloatArray]:
    """Return the local descriptors of each photo of a shard of the sample."""
    ends = read_array(folder, "ends")
    return np.split(np.asarray(read_array(folder, "sample")), ends[:-1]) if len(ends) else []


def _store_descriptors(shard: Shard) -> str:
    work: _Describing = shard.work.settings
    rows, limits = read_rows(shard), shard.work.limits
    if work.model is not None:
        embed = _load_vlad(shard.store.get("vocabulary", work.model))
        done = describe_photos(rows, embed=embed, settings=work.settings, limits=limits)
    else:
        done = describe_rows(rows, work.settings, limits=limits, threads=work.threads)

    def write(folder: Path) -> None:
        write_json(folder, "photos", done.descriptors.image_ids)
        write_array(folder, "vectors", done.descriptors.vectors)

    return store_photos(shard, [(rows[photo.row], photo.error) for photo in done.refused], write)


@lru_cache(maxsize=1)
def _load_vlad(folder: Path) -> Callable[[Pixels], FloatArray]:
    vlad = load_vlad(folder)
    return lambda pixels: encode_vlad(vlad, _root_sift(pixels))


def _root_sift(pixels: Pixels) -> FloatArray:
    return extract_root_sift(pixels, keypoints=_VLAD_KEYPOINTS, size_px=max(pixels.shape)).descriptors


@lru_cache(maxsize=1)
def _load_network(settings: DescriptorsConfig) -> Callable[["Tensor"], "Tensor"]:
    use_large_pages()
    network = _open_network(settings, device=choose_device(settings.device, key="descriptors.device"))
    if not settings.compile or isinstance(network, Exported):
        return network
    import torch

    # Batches come in many shapes: each would be compiled anew.
    compiled: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=True)
    return compiled


def _open_once(settings: DescriptorsConfig) -> None:
    _load_network(settings)


def _open_network(settings: DescriptorsConfig, *, device: str) -> Callable[["Tensor"], "Tensor"]:
    if settings.path is None:
        raise ConfigError(f'descriptors.kind = "{settings.kind}" needs descriptors.path')
    if settings.kind == "exported":
        program = load_exported(settings.path, device=device, compiled=settings.compile)
        require_common_sizes(program, size_px=settings.size_px, scales=settings.scales)
        return program
    saved = read_saved(settings.path)
    if saved is None:
        return load_network(settings.network, settings.path, device=device)
    if "network" in settings.model_fields_set and settings.network != saved.spec.name:
        raise ConfigError(
            f"{settings.path} holds {saved.spec.name}, but descriptors.network = {settings.network!r}; leave "
            "descriptors.network out: the checkpoint knows"
        )
    return open_saved(settings.path, saved, device=device)


def _search(run: Run, sets: Sets, described: Described) -> pa.Table:
    """Search with the probes of all evaluation sets at once: the photos are read once."""
    probes = [(*name, part) for name, shards in described.probes.items() for part in read_descriptors(shards)]
    found = _find_neighbours(run, _join([part for *_, part in probes]), read_descriptors(described.train))
    images = keep_found(sets.training.images, found)
    parts, first = [CANDIDATES.empty_table()], 0
    for source, origin, part in probes:
        own = slice(first, first := first + len(part.image_ids))
        neighbours = Neighbours(found.image_ids[own], found.similarities[own])
        parts.append(tabulate_found(source, part.image_ids, neighbours, images, origin=origin))
    return sorted_candidates(parts)


def _join(parts: Sequence[Descriptors]) -> Descriptors:
    image_ids = [image_id for part in parts for image_id in part.image_ids]
    return Descriptors(image_ids, np.concatenate([part.vectors for part in parts]) if parts else np.zeros((0, 0)))


def _take(part: Descriptors, image_ids: Collection[str]) -> Descriptors:
    rows = [row for row, image_id in enumerate(part.image_ids) if image_id in image_ids]
    return Descriptors([part.image_ids[row] for row in rows], np.asarray(part.vectors[rows]))


def _find_neighbours(run: Run, probes: Descriptors, photos: list[Descriptors]) -> Neighbours:
    settings = run.config.search
    if settings.index == "exact":
        progress = counted(run.begin("search", sum(len(part.image_ids) for part in photos)))
        return search_exact(probes, photos, k=settings.k, product=load_product(settings), progress=progress)
    found = search_approximate(probes, photos, k=settings.k, kind=settings.index)
    run.say(f"{settings.index}: {found.recall:.1%} of the exact {settings.k} nearest photos are found")
    return found.neighbours


def _of_other_landmarks(
    rows: Sequence[dict[str, Any]], landmarks: Mapping[str, int], *, k: int
) -> list[dict[str, Any]]:
    kept: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        others = kept.setdefault(row["query_id"], [])
        if row["landmark_id"] != landmarks[row["query_id"]] and len(others) < k:
            others.append({**row, "rank": len(others)})
    ends = {(row["query_id"], row["image_id"]) for others in kept.values() for row in others}
    return [
        row
        for others in kept.values()
        for row in others
        if (row["image_id"], row["query_id"]) not in ends or row["query_id"] < row["image_id"]
    ]


def read_descriptors(shards: Sequence[Shard]) -> list[Descriptors]:
    """Return the stored descriptors of shards, those without any left out."""
    folders = [shard.store.get(shard.step, shard.fingerprint) for shard in shards]
    parts = [Descriptors(read_text_list(folder, "photos"), read_array(folder, "vectors")) for folder in folders]
    return [part for part in parts if part.image_ids]
