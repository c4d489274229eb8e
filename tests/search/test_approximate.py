import numpy as np
import pytest

from overlap.base.errors import DataError
from overlap.base.tables import Descriptors
from overlap.search.approximate import measure_overlap, search_approximate
from overlap.search.exact import search_exact


def clustered(n: int, size: int, *, seed: int, prefix: str = "p") -> Descriptors:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(n // 20 + 1, size))
    vectors = centres[rng.integers(0, len(centres), n)] + 0.5 * rng.normal(size=(n, size))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Descriptors([f"{prefix}{row}" for row in range(n)], vectors.astype(np.float16))


def halves(photos: Descriptors) -> list[Descriptors]:
    middle = len(photos.image_ids) // 3
    return [
        Descriptors(photos.image_ids[:middle], photos.vectors[:middle]),
        Descriptors(photos.image_ids[middle:], photos.vectors[middle:]),
    ]


@pytest.mark.parametrize(("kind", "least"), [("hnsw", 0.95), ("ivfpq", 0.7)])
def test_an_index_finds_most_neighbours_and_says_how_many(kind: str, least: float) -> None:
    photos = clustered(3000, 32, seed=1)
    queries = Descriptors([f"q{row}" for row in range(40)], photos.vectors[:40])
    result = search_approximate(queries, halves(photos), k=10, kind=kind)
    exact = search_exact(queries, [photos], k=10)
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(result.neighbours.image_ids, exact.image_ids, strict=True)]
    assert result.n_checked == 40
    assert result.recall == pytest.approx(sum(shares) / 40)
    assert result.recall >= least


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_what_is_found_carries_exact_similarities_in_exact_order(kind: str) -> None:
    photos = clustered(1500, 24, seed=2)
    queries = clustered(8, 24, seed=3, prefix="q")
    found = search_approximate(queries, halves(photos), k=12, kind=kind).neighbours
    everything = search_exact(queries, [photos], k=1500)
    for number, ids in enumerate(found.image_ids):
        true = dict(zip(everything.image_ids[number], everything.similarities[number], strict=True))
        order = [image_id for image_id in everything.image_ids[number] if image_id in set(ids)]
        assert ids == order
        assert [true[image_id] for image_id in ids] == found.similarities[number, : len(ids)].tolist()


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_the_same_photos_give_the_same_answer(kind: str) -> None:
    photos, queries = clustered(1200, 16, seed=4), clustered(10, 16, seed=5, prefix="q")
    first, second = (search_approximate(queries, [photos], k=5, kind=kind) for _ in range(2))
    assert first.neighbours.image_ids == second.neighbours.image_ids
    assert np.array_equal(first.neighbours.similarities, second.neighbours.similarities)


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_small_sets_work(kind: str, n: int) -> None:
    photos = clustered(n, 8, seed=6)
    result = search_approximate(Descriptors(["q"], photos.vectors[:1]), [photos], k=5, kind=kind)
    assert len(result.neighbours.image_ids[0]) == min(5, n)
    assert result.neighbours.image_ids[0][0] == "p0"


@pytest.mark.parametrize("size", [0, 8])
def test_no_queries_give_no_neighbours(size: int) -> None:
    none = Descriptors([], np.zeros((0, size), np.float16))
    result = search_approximate(none, [clustered(300, 8, seed=7)], k=5, kind="hnsw")
    assert result.neighbours.image_ids == []
    assert (result.recall, result.n_checked) == (1.0, 0)


def test_overlap_counts_expected_ids_that_were_found() -> None:
    assert measure_overlap([["a", "b"], ["x"], []], [["b", "c"], ["x"], []]) == pytest.approx(0.75)
    assert measure_overlap([], []) == 1.0


def test_an_index_over_nothing_is_refused() -> None:
    with pytest.raises(DataError, match=r"there are no photos to build an index over; run the step descriptors first"):
        search_approximate(clustered(2, 8, seed=0), [], k=3, kind="hnsw")
