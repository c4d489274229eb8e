"""Pass on the records that stay, and count what comes in and goes out."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from overlap.base.errors import CheckError
from overlap.release.records import CsvRecord

_SHOWN = 20


@dataclass
class Tally:
    """Count one file while it passes.

    Args:
        kept: the landmarks that stay.
        removed: the images of each removed landmark that was met.
    """

    rows_in: int = 0
    rows_out: int = 0
    images_in: int = 0
    images_out: int = 0
    kept: set[int] = field(default_factory=set)
    removed: Counter[int] = field(default_factory=Counter)

    def figures(self) -> dict[str, int]:
        """Return the counts by name."""
        return {
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "images_in": self.images_in,
            "images_out": self.images_out,
            "landmarks_in": len(self.kept) + len(self.removed),
            "landmarks_out": len(self.kept),
        }


def keep(records: Iterable[CsvRecord], removed: Collection[int], *, tally: Tally) -> Iterator[CsvRecord]:
    """Pass on the records that belong to no removed landmark, and count in `tally` what comes in and goes out."""
    for record in records:
        if record.landmark_id is None:
            yield record
            continue
        tally.rows_in += 1
        tally.images_in += record.n_images
        if record.landmark_id in removed:
            tally.removed[record.landmark_id] += record.n_images
            continue
        tally.kept.add(record.landmark_id)
        tally.rows_out += 1
        tally.images_out += record.n_images
        yield record


def check_met(removed: Collection[int], tally: Tally, source: Path) -> None:
    """Refuse removals that a file knows nothing of.

    Raises:
        CheckError: a removed landmark is not in the source.
    """
    strange = sorted(set(removed) - tally.removed.keys())
    if strange:
        more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
        raise CheckError(
            f"{source} holds no landmark_id {', '.join(map(str, strange[:_SHOWN]))}{more}, which the removals name; "
            "is this the file that they were made for?"
        )
