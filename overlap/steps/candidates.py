"""What probes found, as the rows of a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from overlap.search.exact import Neighbours
from overlap.tables import CANDIDATES, as_table


def candidate_rows(
    source: str, query_ids: Sequence[str], found: Neighbours, landmarks: Mapping[str, int], *, origin: str
) -> list[dict[str, Any]]:
    """Return rows of CANDIDATES: what each of the queries found."""
    return [
        {
            "evaluation_set": source,
            "query_id": query_id,
            "image_id": image_id,
            "landmark_id": landmarks[image_id],
            "rank": rank,
            "similarity": float(similarity),
            "origin": origin,
        }
        for query_id, image_ids, similarities in zip(query_ids, found.image_ids, found.similarities, strict=True)
        for rank, (image_id, similarity) in enumerate(zip(image_ids, similarities, strict=False))
    ]


def sorted_candidates(rows: list[dict[str, Any]]) -> pa.Table:
    """Return CANDIDATES by evaluation set, query, origin and rank."""
    keys = ("evaluation_set", "query_id", "origin", "rank")
    return as_table(rows, CANDIDATES).sort_by([(name, "ascending") for name in keys])
