"""Draw placebo removals: as many landmarks, of like size, that no evaluation set shows."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa

from overlap.base.errors import ConfigError

# A landmark stands in for another if it has up to a quarter more or fewer photos; else one of the nearest few does.
_TOLERANCE = 0.25
_NEAREST = 5


def draw_placebos(
    landmarks: pa.Table, removed: Collection[int], *, draws: int, seed: int, spared: Collection[int] = ()
) -> tuple[tuple[int, ...], ...]:
    """Draw sets of landmarks that match the removed ones in number and, one by one, in size.

    Each removed landmark, the largest first, is matched with a random one of like size; within a draw none is taken
    twice.

    Args:
        landmarks: LANDMARKS of the whole training set.
        removed: ids.
        spared: further ids that must not be drawn.

    Returns:
        ``draws`` sets of ids, each ascending; a longer list begins with the shorter one's sets.

    Raises:
        ConfigError: too few landmarks are left to draw from.
    """
    sizes = dict(zip(landmarks["landmark_id"].to_pylist(), landmarks["n_images"].to_pylist(), strict=True))
    pool = [landmark_id for landmark_id in sizes if landmark_id not in removed and landmark_id not in spared]
    if len(pool) < len(removed):
        raise ConfigError(
            f"{len(removed)} landmarks are removed and {len(pool)} are left to draw placebos from; use a larger "
            "training set, or set impact.placebos=0"
        )
    return tuple(_match(sizes, removed, pool, np.random.default_rng([seed, draw])) for draw in range(draws))


def count_images(landmarks: pa.Table, chosen: Collection[int]) -> int:
    """Count the photos of some landmarks (LANDMARKS)."""
    sizes = zip(landmarks["landmark_id"].to_pylist(), landmarks["n_images"].to_pylist(), strict=True)
    return sum(n_images for landmark_id, n_images in sizes if landmark_id in chosen)


def _match(
    sizes: dict[int, int], removed: Collection[int], pool: list[int], rng: np.random.Generator
) -> tuple[int, ...]:
    left = np.array(sorted(pool), dtype=np.int64)
    chosen: list[int] = []
    for size in sorted((sizes[landmark_id] for landmark_id in removed), reverse=True):
        distances = np.abs(np.array([sizes[landmark_id] for landmark_id in left.tolist()]) - size)
        alike = np.flatnonzero(distances <= _TOLERANCE * size)
        nearest = alike if len(alike) else np.argsort(distances, kind="stable")[:_NEAREST]
        place = int(rng.choice(nearest))
        chosen.append(int(left[place]))
        left = np.delete(left, place)
    return tuple(sorted(chosen))
