from contextlib import suppress

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from overlap.base.errors import DataError
from overlap.datasets.photos import inside, require_unique, stamp_photos


@given(st.lists(st.text("ab", max_size=3)))
@settings(deadline=None)
def test_unique_means_what_a_set_says(values):
    check = lambda: require_unique(pa.array(values, pa.string()), what="word", where="row {}".format)  # noqa: E731
    second = next((row for row, value in enumerate(values) if value in values[:row]), None)
    if second is None:
        check()
        return
    first = values.index(values[second])
    with pytest.raises(DataError, match=rf"^row {second}: word {values[second]} stands already at row {first}"):
        check()


@given(st.lists(st.sampled_from(["..", ".", "a", "b c", "...", "", "c:", "\\"]), min_size=1, max_size=5))
@example(["", "", "a"])
@settings(deadline=None)
def test_what_is_let_through_stays_inside(tmp_path_factory, parts):
    name = "/".join(parts)
    root = tmp_path_factory.getbasetemp().resolve()
    with suppress(DataError):
        assert (root / inside(name, "list row 1")).resolve().is_relative_to(root)


@pytest.mark.parametrize("name", ["a.jpg", "a/b.jpg", "..a/b..jpg", "a b.jpg", "1b/é.png"])
def test_plain_paths_are_let_through(name):
    assert inside(name, "row 1") == name


def test_progress_comes_every_thousand(tmp_path):
    seen = []
    assert set(
        stamp_photos(pa.array([str(tmp_path / "no")] * 2500), stamp="mtime", progress=seen.append).to_pylist()
    ) == {"missing"}
    assert seen == [1000, 1000, 500]
