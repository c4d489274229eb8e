"""Who made a photo, and under which licence: train_attribution.csv of Google Landmarks v2."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from overlap.base.errors import DataError

ATTRIBUTION_FILE = "train_attribution.csv"

_COLUMNS = ("id", "url", "author", "license", "title")
_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Attribution:
    """Credit a photo; the texts are anyone's."""

    url: str
    author: str
    license: str
    title: str


def read_attributions(path: Path, image_ids: Collection[str]) -> dict[str, Attribution]:
    """Return the credits of some photos by id, those that are there; none where there is no such file.

    The file is streamed: it has four million rows.

    Raises:
        DataError: it is not CSV with these columns.
    """
    if not path.is_file() or not image_ids:
        return {}
    wanted = pa.array(sorted(image_ids), pa.string())
    options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(_COLUMNS, pa.string()), include_columns=_COLUMNS)
    found: dict[str, Attribution] = {}
    try:
        with pyarrow.csv.open_csv(
            path,
            pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES),
            pyarrow.csv.ParseOptions(newlines_in_values=True),
            options,
        ) as reader:
            for batch in reader:
                for row in batch.filter(pc.is_in(batch["id"], value_set=wanted)).to_pylist():
                    found.setdefault(row.pop("id"), Attribution(**row))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} can't be read as CSV with the columns {', '.join(_COLUMNS)}: {error}") from None
    return found
