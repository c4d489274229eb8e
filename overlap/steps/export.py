"""Tables of a run as CSV for people."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from overlap.config import Config
from overlap.sheets import write_csv
from overlap.steps.photos import read_quarantine
from overlap.steps.publish import decide_removals
from overlap.steps.recall import read_recall
from overlap.steps.retrieve import read_candidates
from overlap.steps.review import read_queue
from overlap.steps.run import require_out
from overlap.steps.verify import read_verified

_VERIFIED_COLUMNS = (
    "evaluation_set",
    "query_id",
    "image_id",
    "landmark_id",
    "n_matches",
    "n_inliers",
    "score",
    "status",
)

EXPORTS: Mapping[str, Callable[[Config], pa.Table]] = MappingProxyType(
    {
        "candidates": read_candidates,
        "verified": lambda config: read_verified(config).select(_VERIFIED_COLUMNS),
        "queue": read_queue,
        "removals": decide_removals,
        "quarantine": read_quarantine,
        "recall": read_recall,
    }
)


def export_table(config: Config, what: str, out: Path) -> int:
    """Write one of EXPORTS as CSV and return its number of rows.

    Raises:
        ArtifactError: the step that makes it has not run, or ran with other settings.
        ConfigError: it can't be written there.
    """
    require_out(out)
    table = EXPORTS[what](config)
    write_csv(out, table)
    return int(table.num_rows)
