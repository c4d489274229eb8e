import numpy as np
import pytest

from overlap.base.errors import ConfigError
from overlap.base.tables import LANDMARKS, as_table
from overlap.study.evaluation.placebo import count_images, draw_placebos

rng = np.random.default_rng(0)
SIZES = {landmark_id: int(size) for landmark_id, size in enumerate(rng.integers(2, 60, 400), start=1)}
TABLE = as_table(
    [{"landmark_id": key, "landmark_name": "n", "n_images": size} for key, size in SIZES.items()], LANDMARKS
)
REMOVED = frozenset(range(1, 41))


def test_placebos_match_the_removed_landmarks_in_number_and_size():
    for chosen in draw_placebos(TABLE, REMOVED, draws=5, seed=3):
        assert len(set(chosen)) == len(REMOVED)
        assert not set(chosen) & REMOVED
        sizes = sorted(SIZES[key] for key in chosen)
        expected = sorted(SIZES[key] for key in REMOVED)
        assert all(abs(a - b) <= max(2, 0.3 * b) for a, b in zip(sizes, expected, strict=True))
        assert count_images(TABLE, chosen) == pytest.approx(count_images(TABLE, REMOVED), rel=0.1)


def test_draws_differ_and_more_of_them_begin_with_the_same():
    two, five = (draw_placebos(TABLE, REMOVED, draws=draws, seed=3) for draws in (2, 5))
    assert five[:2] == two
    assert len(set(five)) == 5
    assert draw_placebos(TABLE, REMOVED, draws=2, seed=4) != two


def test_spared_landmarks_are_never_drawn():
    spared = frozenset(range(41, 300))
    for chosen in draw_placebos(TABLE, REMOVED, draws=3, seed=0, spared=spared):
        assert min(chosen) >= 300


def test_the_nearest_sizes_stand_in_where_none_is_alike():
    table = as_table(
        [
            {"landmark_id": key, "landmark_name": "n", "n_images": size}
            for key, size in enumerate((90, 30, 5, 4, 3, 2, 1))
        ],
        LANDMARKS,
    )
    assert all(0 not in chosen and len(chosen) == 1 for chosen in draw_placebos(table, {0}, draws=20, seed=0))
    assert {chosen[0] for chosen in draw_placebos(table, {0}, draws=40, seed=0)} == {1, 2, 3, 4, 5}


def test_too_small_a_training_set_is_refused():
    with pytest.raises(ConfigError, match=r"390 landmarks are removed and 10 are left .* set impact.placebos=0"):
        draw_placebos(TABLE, frozenset(range(1, 391)), draws=1, seed=0)
