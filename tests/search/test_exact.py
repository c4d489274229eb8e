import itertools
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.base.errors import DataError
from overlap.base.tables import Descriptors
from overlap.search.exact import Neighbours, score_rows, search_exact
from overlap.search.near import Near
from overlap.search.rows import widen


def search_by_sorting(queries: Descriptors, photos: Descriptors, k: int) -> list[list[str]]:
    """Rank by exact rational-free sums: small integers, so that float64 holds every sum exactly."""
    lists = []
    for query in np.asarray(queries.vectors, dtype=np.float64).tolist():
        scored = [
            (-sum(a * b for a, b in zip(query, vector, strict=True)), image_id)
            for vector, image_id in zip(
                np.asarray(photos.vectors, dtype=np.float64).tolist(), photos.image_ids, strict=True
            )
        ]
        lists.append([image_id for _, image_id in sorted(scored)[:k]])
    return lists


def cut(photos: Descriptors, ends: list[int]) -> list[Descriptors]:
    edges = [0, *sorted({end for end in ends if 0 < end < len(photos.image_ids)}), len(photos.image_ids)]
    return [Descriptors(photos.image_ids[a:b], photos.vectors[a:b]) for a, b in itertools.pairwise(edges)]


def random_descriptors(n: int, size: int, *, seed: int, prefix: str = "p", kind: type = np.float16) -> Descriptors:
    vectors = np.random.default_rng(seed).normal(size=(n, size))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Descriptors([f"{prefix}{row:05d}" for row in range(n)], vectors.astype(kind))


def same(first: Neighbours, second: Neighbours) -> bool:
    return first.image_ids == second.image_ids and np.array_equal(
        first.similarities, second.similarities, equal_nan=True
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_search_equals_sorting_with_many_ties_whatever_the_cut_order_and_block(data: st.DataObject) -> None:
    n, size, k = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 9)), data.draw(st.integers(1, 45))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    vectors = rng.integers(-1, 2, (n, size)).astype(np.float16)
    ids = [str(number) for number in rng.permutation(10 * n)[:n]]
    photos = Descriptors(ids, vectors)
    queries = Descriptors(["a", "b", "c"], rng.integers(-1, 2, (3, size)).astype(np.float16))
    shards = cut(photos, data.draw(st.lists(st.integers(0, n), max_size=4)))
    shards = [shards[row] for row in data.draw(st.permutations(range(len(shards))))]
    found = search_exact(queries, shards, k=k, block=data.draw(st.integers(1, 50)))
    assert found.image_ids == search_by_sorting(queries, photos, k)
    assert found.similarities.shape == (3, min(k, n))
    assert (np.diff(found.similarities, axis=1) <= 0).all()


@pytest.mark.parametrize("size", [64, 384])
def test_not_a_bit_changes_with_cut_block_order_or_product(size: int) -> None:
    photos = random_descriptors(1500, size, seed=1)
    near = photos.vectors[:200].astype(np.float32)
    # Photos that differ from others in the last bit or not at all: rounding decides here, if anything does.
    twins = Descriptors([f"t{row}" for row in range(200)], near.astype(np.float16))
    queries = Descriptors([f"q{row}" for row in range(30)], photos.vectors[:30])
    whole = search_exact(queries, [photos, twins], k=40)
    for block in (7, 100, 1700):
        shards = [twins, *cut(photos, [3, 700, 701])][::-1]
        assert same(search_exact(queries, shards, k=40, block=block), whole)

    def sloppy(rows: np.ndarray, parts: list[np.ndarray]) -> Iterator[np.ndarray]:
        """Sum in another order, in float32."""
        for probes in parts:
            yield (rows[:, ::-1] @ probes[:, ::-1].T).astype(np.float32)

    assert same(search_exact(queries, [photos, twins], k=40, product=sloppy), whole)
    pairs = [ids[0:2] for ids in whole.image_ids]
    assert pairs == [[f"p{row:05d}", f"t{row}"] for row in range(30)]


def test_a_product_with_rounding_errors_cannot_push_a_true_neighbour_out() -> None:
    queries = random_descriptors(5, 128, seed=4, prefix="q", kind=np.float32)
    # Photos so alike that the errors allowed to the product are larger than what tells them apart.
    alike = queries.vectors[0] + 1e-6 * np.random.default_rng(3).normal(size=(400, 128))
    photos = Descriptors([f"p{row}" for row in range(400)], alike.astype(np.float32))
    noise = np.random.default_rng(0)

    def rough(rows: np.ndarray, parts: list[np.ndarray]) -> Iterator[np.ndarray]:
        for probes in parts:
            error = 128 * 2.0**-24 * noise.uniform(-1, 1, (len(rows), len(probes)))
            yield (rows.astype(np.float64) @ probes.T.astype(np.float64) + error).astype(np.float32)

    found = search_exact(queries, [photos], k=10, product=rough)
    for number, ids in enumerate(found.image_ids):
        similarities = score_rows(queries.vectors[number], photos.vectors)
        order = sorted(zip((-similarities).tolist(), photos.image_ids, strict=True))
        assert ids == [image_id for _, image_id in order[:10]]
    assert same(search_exact(queries, [photos], k=10, block=37, product=rough), found)


def test_similarities_are_the_inner_products() -> None:
    photos, queries = random_descriptors(50, 33, seed=5), random_descriptors(4, 33, seed=6, prefix="q")
    found = search_exact(queries, [photos], k=50)
    rows = {image_id: row for row, image_id in enumerate(photos.image_ids)}
    for number, ids in enumerate(found.image_ids):
        expected = [
            float(np.dot(queries.vectors[number].astype(float), photos.vectors[rows[image_id]].astype(float)))
            for image_id in ids
        ]
        np.testing.assert_allclose(found.similarities[number], expected, atol=1e-7)


def test_one_row_scores_the_same_in_any_company() -> None:
    photos = random_descriptors(5000, 200, seed=7)
    query = photos.vectors[0].astype(np.float32)
    together = score_rows(query, photos.vectors)
    assert [score_rows(query, photos.vectors[row : row + 1])[0] for row in (0, 1, 2047, 2048, 4999)] == [
        together[row] for row in (0, 1, 2047, 2048, 4999)
    ]


def test_empty_cases() -> None:
    queries = random_descriptors(2, 8, seed=0)
    for shards in ([], [Descriptors([], np.zeros((0, 8), np.float16))]):
        found = search_exact(queries, shards, k=3)
        assert found.image_ids == [[], []]
        assert found.similarities.shape == (2, 0)
    found = search_exact(Descriptors([], np.zeros((0, 8), np.float16)), [queries], k=3)
    assert found.image_ids == []
    assert found.similarities.shape == (0, 0)


def test_ids_of_digits_stay_text_and_sort_as_text() -> None:
    vectors = np.ones((3, 4), np.float16) / 2
    photos = Descriptors(["9", "12345678901234e5", "0000123456789012"], vectors)
    assert search_exact(Descriptors(["q"], vectors[:1]), [photos], k=3).image_ids == [
        ["0000123456789012", "12345678901234e5", "9"]
    ]


def test_memory_is_bounded_by_the_block_not_by_the_photos(tmp_path: Path) -> None:
    photos = random_descriptors(20_000, 256, seed=2)
    np.save(tmp_path / "v.npy", photos.vectors)
    mapped = Descriptors(photos.image_ids, np.load(tmp_path / "v.npy", mmap_mode="r"))
    queries = random_descriptors(4, 256, seed=9, prefix="q")
    tracemalloc.start()
    search_exact(queries, [mapped], k=10, block=500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000  # the photos take 20 MB in float32; one block and what is computed on it 2 to 4 MB


def test_descriptors_of_another_size_are_refused() -> None:
    with pytest.raises(
        DataError, match=re.escape("a shard has descriptors of shape (3, 9), the queries of 8 numbers; ")
    ):
        search_exact(random_descriptors(1, 8, seed=0), [random_descriptors(3, 9, seed=0)], k=1)


def test_undefined_numbers_are_refused() -> None:
    photos = random_descriptors(3, 8, seed=0)
    photos.vectors[1, 2] = np.nan
    with pytest.raises(DataError, match=r"a shard: the descriptor of p00001 holds infinite, undefined or huge numbers"):
        search_exact(random_descriptors(1, 8, seed=0), [photos], k=1)
    with pytest.raises(DataError, match=r"the queries: the descriptor of p00001 holds"):
        search_exact(photos, [], k=1)


def test_ids_that_do_not_match_the_vectors_are_refused() -> None:
    with pytest.raises(DataError, match=r"a shard has 2 ids for 3 descriptors; delete it and run the step"):
        search_exact(random_descriptors(1, 8, seed=0), [Descriptors(["a", "b"], np.zeros((3, 8), np.float16))], k=1)


def test_every_half_is_widened_as_numpy_does_it() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(-1, 8)
    expected = every.astype(np.float32)
    finite = np.isfinite(expected).all(axis=1)
    for rows in (every, every[finite], every[finite][:, ::2], expected):
        out = np.full(rows.shape, 7, np.float32)
        widen(rows, out)
        np.testing.assert_array_equal(out, rows.astype(np.float32))
        assert np.array_equal(np.signbit(out), np.signbit(rows))


@pytest.mark.parametrize("rising", [True, False])
def test_photos_that_come_in_the_worst_order_are_ranked_all_the_same(rising: bool) -> None:
    photos, queries = random_descriptors(3000, 16, seed=11), random_descriptors(6, 16, seed=12, prefix="q")
    closeness = photos.vectors.astype(np.float64) @ queries.vectors[0].astype(np.float64)
    order = np.argsort(closeness if rising else -closeness)
    sorted_photos = Descriptors([photos.image_ids[row] for row in order], photos.vectors[order])
    found = search_exact(queries, cut(sorted_photos, [100, 101, 900]), k=7, block=64)
    assert same(found, search_exact(queries, [photos], k=7, block=5000))
    assert found.image_ids[0] == [photos.image_ids[row] for row in np.argsort(-closeness)[:7]]


def test_what_fails_while_the_last_product_is_looked_at_is_not_lost(monkeypatch):
    def fail(*_, **__):
        raise MemoryError("no room to look")

    monkeypatch.setattr(Near, "offer", fail)
    photos = Descriptors(["a", "b"], np.eye(2, dtype=np.float32))
    with pytest.raises(MemoryError, match="no room to look"):
        search_exact(photos, [photos], k=1)


def test_an_undefined_query_is_named_wherever_it_stands():
    queries = random_descriptors(4100, 4, seed=0, prefix="q")
    queries.vectors[4098, 2] = np.nan
    with pytest.raises(DataError, match=r"the queries: the descriptor of q04098 holds"):
        search_exact(queries, [], k=1)
