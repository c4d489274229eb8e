import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from oracles import revisitop

from overlap.base.errors import DataError
from overlap.base.tables import Descriptors
from overlap.study.evaluation.ranking import find_places


def describe(vectors: object) -> Descriptors:
    rows = np.asarray(vectors, dtype=np.float32)
    return Descriptors([f"p{row}" for row in range(len(rows))], rows)


def few_numbers(rows: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float32, (rows, 2), elements=st.sampled_from([-1.0, 0.0, 0.5, 1.0]))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_places_are_those_of_the_whole_ranking_ties_and_all(data: st.DataObject) -> None:
    n_photos, n_distractors = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 20))
    queries, database = data.draw(few_numbers(2)), data.draw(few_numbers(n_photos))
    distractors = data.draw(few_numbers(n_distractors))
    judged = [np.array(sorted(data.draw(st.sets(st.integers(0, n_photos - 1)))), dtype=np.int64) for _ in queries]
    cut = data.draw(st.integers(0, n_distractors))
    places = find_places(
        describe(queries),
        describe(database),
        judged,
        distractors=[describe(distractors[:cut]), describe(distractors[cut:])],
        block=data.draw(st.integers(1, 30)),
    )
    for query, rows, found in zip(queries.tolist(), judged, places, strict=True):
        ranking = revisitop.rank(query, database.tolist(), distractors.tolist())
        assert found.tolist() == [ranking.index(row) for row in rows]


def test_copies_of_a_photo_tie_however_the_distractors_are_cut() -> None:
    rng = np.random.default_rng(5)
    queries, database = (rng.normal(size=(rows, 512)).astype(np.float32) for rows in (6, 90))
    copies = np.repeat(database, 3, axis=0)
    judged = [np.arange(90)] * 6
    alone = find_places(describe(queries), describe(database), judged)
    for block in (7, 64, 8192):
        places = find_places(describe(queries), describe(database), judged, distractors=[describe(copies)], block=block)
        for before, after in zip(alone, places, strict=True):
            np.testing.assert_array_equal(after, before * 4)


def test_float16_and_memory_mapped_shards_are_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(2)
    shard = rng.normal(size=(50, 8)).astype(np.float16)
    np.save(tmp_path / "shard.npy", shard)
    mapped = Descriptors([str(row) for row in range(50)], np.load(tmp_path / "shard.npy", mmap_mode="r"))
    query, photo = describe(rng.normal(size=(1, 8))), describe(rng.normal(size=(1, 8)))
    (places,) = find_places(query, photo, [np.array([0])], distractors=[mapped], block=16)
    products = shard.astype(np.float64) @ query.vectors[0].astype(np.float64)
    assert places.tolist() == [int((products > photo.vectors[0].astype(np.float64) @ query.vectors[0]).sum())]


@pytest.mark.parametrize(
    ("database", "message"),
    [
        (describe(np.zeros((3, 4))), "the database: descriptors of 4 numbers, the queries' have 2; describe both with"),
        (describe([[0, np.nan]]), "the database: the descriptor of p0 holds undefined numbers"),
        (
            Descriptors(["a"], np.zeros((2, 2))),
            r"descriptors of shape \(2, 2\) for 1 ids; expected a row",
        ),
    ],
)
def test_unusable_descriptors_are_named(database: Descriptors, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_places(describe(np.ones((1, 2))), database, [np.array([0])])


def test_unusable_distractors_are_named() -> None:
    one = describe(np.ones((1, 2)))
    with pytest.raises(DataError, match="the distractors: the descriptor of p1 holds undefined numbers"):
        find_places(one, one, [np.array([0])], distractors=[describe([[0, 1], [np.inf, 0]])])


def rank_literally(queries: np.ndarray, photos: np.ndarray) -> np.ndarray:
    return np.argsort(-(queries.astype(np.float64) @ photos.astype(np.float64).T), axis=1, kind="stable")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4", ">f8"])
@pytest.mark.parametrize("scale", [1e-37, 1e-25, 1e-7, 1.0, 1e7, 1e20, 1e36])
@pytest.mark.parametrize("spread", [1.0, 1e-6])
def test_places_are_those_of_float64_at_any_scale(dtype: object, scale: float, spread: float) -> None:
    rng = np.random.default_rng(7)
    queries = rng.normal(size=(5, 64)).astype(dtype)
    photos = ((rng.normal(size=64) + spread * rng.normal(size=(40, 64))) * scale).astype(dtype)
    found = find_places(
        Descriptors([""] * 5, queries),
        Descriptors([""] * 25, photos[:25]),
        [np.arange(25)] * 5,
        distractors=[Descriptors([""] * 15, photos[25:])],
        block=4,
    )
    for ranking, places in zip(rank_literally(queries, photos).tolist(), found, strict=True):
        assert places.tolist() == [ranking.index(row) for row in range(25)]


def test_scores_nearer_than_float32_can_tell_are_told_apart() -> None:
    close = 1 - np.arange(50)[:, None] * 1e-12
    (places,) = find_places(
        Descriptors(["q"], np.ones((1, 1))),
        Descriptors([""] * 30, close[20:]),
        [np.arange(30)],
        distractors=[Descriptors([""] * 20, close[:20])],
    )
    assert places.tolist() == list(range(20, 50))


def test_copies_tie_in_float64_too_and_stand_by_row() -> None:
    rng = np.random.default_rng(5)
    queries, photo = rng.normal(size=(6, 512)), rng.normal(size=(1, 512))
    copies = np.repeat(photo, 301, axis=0)
    others = Descriptors([""] * 301, copies)
    for block in (1, 7, 8192):
        for places in find_places(
            Descriptors([""] * 6, queries), others, [np.arange(301)] * 6, distractors=[others], block=block
        ):
            assert places.tolist() == list(range(301))


def test_memory_that_is_not_contiguous_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    queries, photos = rng.normal(size=(3, 33)), rng.normal(size=(20, 33))
    plain = find_places(describe(queries), describe(photos), [np.arange(20)] * 3)
    turned = Descriptors([""] * 20, np.asfortranarray(photos.astype(np.float32)))
    strided = Descriptors([""] * 20, np.repeat(photos.astype(np.float32), 2, axis=1)[:, ::2])
    for other in (turned, strided):
        for before, after in zip(plain, find_places(describe(queries), other, [np.arange(20)] * 3), strict=True):
            np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
@pytest.mark.parametrize("where", ["queries", "database", "distractors"])
def test_numbers_whose_products_float64_can_not_hold_are_refused(scale: float, where: str) -> None:
    sets = {name: np.ones((2, 3)) for name in ("queries", "database", "distractors")}
    sets[where] = sets[where] * [[1], [scale]]
    made = {name: Descriptors(["a", "b"], rows) for name, rows in sets.items()}
    with pytest.raises(DataError, match=rf"the {where}: the largest number of the descriptor of b is 1e[+-]200, "):
        find_places(made["queries"], made["database"], [np.array([0])] * 2, distractors=[made["distractors"]])
