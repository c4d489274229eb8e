"""From photos to candidates that are nearly the same picture: a hash of every photo, and those near each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from overlap.base.config import Config
from overlap.base.store import read_array, read_table, write_array, write_json, write_table
from overlap.base.tables import CANDIDATES
from overlap.datasets.catalogue import EvaluationSet
from overlap.pipeline.candidates import hash_landmarks, keep_found, sorted_candidates, tabulate_found
from overlap.pipeline.declared import name_part
from overlap.pipeline.photos import Sets, find_probes, find_whole
from overlap.pipeline.run import Run, recorded
from overlap.pipeline.shards import Done, Shard, put_list, read_text_list, run_photos, store_each
from overlap.search.copies import Hashes, hash_photo, search_copies


@dataclass(frozen=True)
class Hashed:
    """Name the shards of stored hashes: of the training photos, and of each evaluation set's photos."""

    train: tuple[Shard, ...]
    probes: Mapping[str, tuple[Shard, ...]]


def find_copies(run: Run, sets: Sets) -> pa.Table:
    """Find the training photos whose hash is near that of a query, whole or cut to its box, or of a database photo.

    A photo that can't be read has no hash; the step descriptors, which reads the same photos, has it in quarantine.

    Returns:
        CANDIDATES of origin copy, by evaluation set, query and rank; none where search.copies is 0.
    """
    with recorded(run, "copies") as finish:
        settings = run.config.search
        hashed = hash_sets(run, sets) if settings.copies else Hashed((), {})
        shards = [*hashed.train, *chain(*hashed.probes.values())]
        hashes = put_list(run, "hashes", shards)
        whole = name_part(run.config, "copies", run.devices, hashes, hash_landmarks(sets.training.images))
        if not run.store.exists("copies", whole):
            found = _search(run, sets, hashed)
            with run.store.put("copies", whole) as folder:
                write_table(folder, "candidates", found)
        candidates = read_table(run.store.get("copies", whole), "candidates", CANDIDATES)
        finish(whole, photos=sum(shard.size for shard in shards), pairs=candidates.num_rows)
    return candidates


def hash_sets(run: Run, sets: Sets) -> Hashed:
    """Compute the hash of every training photo and every photo that is compared with them."""
    return Hashed(
        hash_images(run, sets.training.images, label="hashes: training"),
        {
            evaluation.name: hash_images(run, _find_hashed(run.config, evaluation), label=f"hashes: {evaluation.name}")
            for evaluation in sets.evaluations
        },
    )


def hash_images(run: Run, images: pa.Table, *, label: str) -> tuple[Shard, ...]:
    """Compute the hash of every photo of a table (IMAGES), and keep what is stored."""
    return run_photos(run, "hashes", images, _store_hashes, settings=None, label=label)


def read_hashes(shards: Sequence[Shard]) -> Hashes:
    """Return the stored hashes of shards, joined."""
    folders = [shard.store.get(shard.step, shard.fingerprint) for shard in shards]
    codes = [read_array(folder, "codes") for folder in folders]
    return Hashes(
        [image_id for folder in folders for image_id in read_text_list(folder, "photos")],
        np.concatenate([np.zeros(0, np.uint64), *codes]),
    )


def _find_hashed(config: Config, evaluation: EvaluationSet) -> pa.Table:
    """Return what training photos are compared with: a copy shows a query's whole photo, or what is in its box."""
    return pa.concat_tables([find_probes(config, evaluation), find_whole(evaluation.queries)])


def _search(run: Run, sets: Sets, hashed: Hashed) -> pa.Table:
    settings, photos = run.config.search, read_hashes(hashed.train)
    parts = [CANDIDATES.empty_table()]
    for source, shards in hashed.probes.items():
        query_ids, found = search_copies(read_hashes(shards), photos, bits=settings.copies, k=settings.k)
        images = keep_found(sets.training.images, found)
        parts.append(tabulate_found(source, query_ids, found, images, origin="copy"))
    return sorted_candidates(parts)


def _store_hashes(shard: Shard) -> str:
    return store_each(shard, partial(hash_photo, limits=shard.work.limits), _write_hashes)


def _write_hashes(folder: Path, done: Done[int]) -> None:
    write_json(folder, "photos", [done.rows[place]["image_id"] for place in done.made])
    write_array(folder, "codes", np.array([*done.made.values()], np.uint64))
