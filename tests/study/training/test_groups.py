import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap.base.errors import DataError
from overlap.study.training.groups import count_batches, find_group, group_sizes, merge_small, plan_epoch

SIZES = group_sizes(448, "aspect")
groups = st.lists(st.integers(0, 4), min_size=1, max_size=120).map(np.array)


def test_groups_are_the_public_code_s() -> None:
    assert SIZES == ((512, 352), (512, 384), (448, 448), (384, 512), (352, 512))
    ratios = [0.5, 0.66, 0.68, 0.76, 0.78, 1.0, 1.32, 1.34, 1.49, 1.51, 3.0]
    found = [find_group(1000, round(1000 * ratio), kind="aspect") for ratio in ratios]
    assert found == [0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4]
    assert group_sizes(128, "square") == ((128, 128),)
    assert find_group(10, 90, kind="square") == 0
    assert all(side % 16 == 0 and side >= 64 for size in group_sizes(70, "aspect") for side in size)


@given(groups, st.integers(1, 9), st.integers(0, 5))
def test_an_epoch_holds_every_photo_in_full_batches_of_one_shape(own: np.ndarray, batch: int, epoch: int) -> None:
    merged = merge_small(own, batch=batch)
    plan = plan_epoch(merged, sizes=SIZES, batch=batch, seed=3, epoch=epoch)
    assert len(plan) == count_batches(merged, batch=batch)
    counts = np.zeros(len(own), dtype=int)
    for each in plan:
        assert len(each.rows) == batch
        assert {SIZES[group] for group in merged[each.rows]} == {each.size_px}
        np.add.at(counts, each.rows, 1)
    assert counts.min() >= 1
    for group in np.unique(merged):
        members = counts[merged == group]
        assert members.sum() - len(members) < batch
        if len(members) >= batch:
            assert members.max() <= 2
            assert all(len(set(each.rows)) == batch for each in plan if merged[each.rows[0]] == group)


@given(groups, st.integers(1, 9))
def test_small_groups_join_the_nearest_that_fills_a_batch(own: np.ndarray, batch: int) -> None:
    merged = merge_small(own, batch=batch)
    counts = np.bincount(own, minlength=5)
    enough = [group for group in range(5) if counts[group] >= batch]
    for before, after in zip(own, merged, strict=True):
        if enough:
            assert after in enough
            assert abs(after - before) == min(abs(group - before) for group in enough)
        else:
            assert after == counts.argmax()


def test_epochs_differ_and_the_seed_repeats_them() -> None:
    own = np.arange(40) % 3

    def rows(**changes: int) -> list[int]:
        plan = plan_epoch(own, sizes=SIZES, batch=4, **{"seed": 1, "epoch": 0, **changes})
        return np.concatenate([each.rows for each in plan]).tolist()

    assert rows() == rows()
    assert rows() != rows(epoch=1) != rows(seed=2)


def test_no_photos_are_named() -> None:
    with pytest.raises(DataError, match=r"there are no photos to train on; landmarks with at least one readable photo"):
        plan_epoch(np.zeros(0, int), sizes=SIZES, batch=4, seed=0, epoch=0)
