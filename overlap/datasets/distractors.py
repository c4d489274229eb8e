"""R1M, the million distractors of revisitop: ``revisitop1m.txt``, a photo name with its ending a line, and ``jpg/``.

Source: github.com/filipradenovic/revisitop.
"""

from pathlib import Path

import pyarrow as pa

from overlap.base.errors import DataError
from overlap.base.texts import read_lines
from overlap.datasets.photos import Progress, build_images, inside, require_unique, stamp_photos

_FETCH = "fetch it again with 'overlap download revisitop1m'"


def read_distractors(
    root: Path, *, name: str = "revisitop1m", stamp: str = "mtime", progress: Progress | None = None
) -> pa.Table:
    """Read the list of distractors.

    Args:
        root: holds NAME.txt and jpg/.

    Returns:
        IMAGES in the list's order; the id is the name as listed, ending included.

    Raises:
        DataError: the list is missing, empty, names a photo twice or one outside jpg/.
    """
    path = root / f"{name}.txt"
    names = [inside(text, f"{path} row {row}") for row, text in enumerate(_read_lines(path), start=1)]
    ids = pa.array(names, pa.string())
    require_unique(ids, what="photo", where=lambda row: f"{path} row {row + 1}")
    paths = pa.array([str(root / "jpg" / name) for name in names], pa.string())
    return build_images(ids, paths, source=name, stamp=stamp_photos(paths, stamp=stamp, progress=progress))


def _read_lines(path: Path) -> list[str]:
    try:
        lines = read_lines(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read ({error}); {_FETCH}") from None
    if not lines:
        raise DataError(f"{path}: the list of distractors is empty; {_FETCH}")
    return lines
