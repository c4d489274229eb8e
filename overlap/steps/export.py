"""Tables of a run as CSV for people."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from overlap.config import Config
from overlap.sheets import write_csv
from overlap.steps.decisions import decide_now, decide_removals
from overlap.steps.photos import read_quarantine
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
        "decisions": lambda config: decide_now(config).items,
        "landmarks": lambda config: _flat(decide_now(config).landmarks),
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


def _flat(outcomes: pa.Table) -> pa.Table:
    """Write what beat a landmark as text, ``SET QUERY: LANDMARK`` and so on."""
    cells = [
        "; ".join(f"{each['evaluation_set']} {each['query_id']}: {each['landmark_id']}" for each in beaten)
        for beaten in outcomes["beaten"].to_pylist()
    ]
    return outcomes.set_column(outcomes.column_names.index("beaten"), "beaten", pa.array(cells, pa.string()))
