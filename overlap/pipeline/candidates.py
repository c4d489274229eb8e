"""What probes found, as the rows of a table."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.tables import CANDIDATES, checked
from overlap.pipeline.shards import hash_table
from overlap.search.exact import Neighbours


def keep_found(images: pa.Table, found: Neighbours) -> pa.Table:
    """Return image_id and landmark_id of those photos that somebody found."""
    image_ids = pc.unique(pa.array(chain(*found.image_ids), pa.string()))
    return images.select(["image_id", "landmark_id"]).filter(pc.is_in(images["image_id"], value_set=image_ids))


def hash_landmarks(images: pa.Table) -> str:
    """Return a hash of which landmark each photo shows, in whatever order they stand."""
    return hash_table(images.select(["image_id", "landmark_id"]).sort_by("image_id"))


def tabulate_found(
    source: str, query_ids: Sequence[str], found: Neighbours, images: pa.Table, *, origin: str
) -> pa.Table:
    """Return CANDIDATES: what each of the queries found, by query and rank.

    Args:
        images: image_id and landmark_id, of what was found at least.
    """
    lengths = [len(image_ids) for image_ids in found.image_ids]
    image_ids = pa.array(chain(*found.image_ids), pa.string())
    ranks = [np.arange(length, dtype=np.int32) for length in lengths]
    columns = {
        "evaluation_set": pa.repeat(pa.scalar(source), len(image_ids)),
        "query_id": pa.array(query_ids, pa.string()).take(pa.array(np.repeat(np.arange(len(lengths)), lengths))),
        "image_id": image_ids,
        "landmark_id": images["landmark_id"].take(pc.index_in(image_ids, value_set=images["image_id"])),
        "rank": np.concatenate([np.zeros(0, np.int32), *ranks]),
        "similarity": found.similarities[~np.isnan(found.similarities)].astype(np.float32),
        "origin": pa.repeat(pa.scalar(origin), len(image_ids)),
    }
    return checked(pa.table(columns), CANDIDATES)


def sorted_candidates(parts: Sequence[pa.Table]) -> pa.Table:
    """Return CANDIDATES by evaluation set, query, origin and rank."""
    keys = ("evaluation_set", "query_id", "origin", "rank")
    return pa.concat_tables(parts).sort_by([(name, "ascending") for name in keys])
