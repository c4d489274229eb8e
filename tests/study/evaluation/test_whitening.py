import numpy as np
import pytest

from overlap.base.errors import DataError
from overlap.study.evaluation import whitening as module
from overlap.study.evaluation.whitening import apply_whitening, learn_whitening


def draw_pairs(rng: np.random.Generator, n_landmarks: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photos of landmarks that differ by noise of very unequal strength."""
    centres = np.repeat(rng.normal(size=(n_landmarks, size)), 2, axis=0)
    vectors = centres + rng.normal(size=centres.shape) * np.geomspace(0.01, 3, size) @ rng.normal(size=(size, size))
    rows = np.arange(len(vectors))
    return vectors, rows[::2], rows[1::2]


def whiten_by_loops(vectors, queries, positives):  # type: ignore[no-untyped-def]
    """Restate the reference with columns, explicit sums and numpy's general eigenvalues."""
    size = vectors.shape[1]
    mean = sum(vectors[row] for row in queries) / len(queries)
    covariance = np.zeros((size, size))
    for first, second in zip(queries, positives, strict=True):
        difference = vectors[first] - vectors[second]
        covariance += np.outer(difference, difference) / len(queries)
    white = np.linalg.inv(np.linalg.cholesky(covariance))
    scatter = np.zeros((size, size))
    for row in vectors:
        scatter += np.outer(white @ (row - mean), white @ (row - mean))
    values, axes = np.linalg.eig(scatter)
    return mean, axes[:, np.argsort(-values.real)].real.T @ white


def test_learned_whitening_is_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 13)
    vectors, queries, positives = draw_pairs(np.random.default_rng(1), 60, 8)
    learned = learn_whitening(vectors, queries, positives)
    mean, projection = whiten_by_loops(vectors, queries, positives)
    np.testing.assert_allclose(learned.mean, mean, atol=1e-12)
    signs = np.sign((learned.projection * projection).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(learned.projection, projection * signs, rtol=1e-6, atol=1e-8)


def test_whitened_pairs_differ_equally_in_all_directions_and_photos_vary_less_and_less() -> None:
    vectors, queries, positives = draw_pairs(np.random.default_rng(2), 400, 6)
    learned = learn_whitening(vectors, queries, positives)
    white = (vectors - learned.mean) @ learned.projection.T
    differences = white[queries] - white[positives]
    np.testing.assert_allclose(differences.T @ differences / len(queries), np.eye(6), atol=1e-6)
    scatter = white.T @ white
    np.testing.assert_allclose(scatter, np.diag(np.diag(scatter)), atol=1e-6 * scatter.max())
    assert (np.diff(np.diag(scatter)) < 0).all()


def test_whitening_brings_the_photos_of_a_landmark_together() -> None:
    rng = np.random.default_rng(3)
    vectors, queries, positives = draw_pairs(rng, 300, 6)
    white = apply_whitening(learn_whitening(vectors, queries, positives), vectors)

    def hits(rows: np.ndarray) -> float:
        products = rows[queries] @ rows[positives].T
        return float((products.argmax(axis=1) == np.arange(len(queries))).mean())

    assert hits(white) > hits(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) + 0.2


def test_applied_rows_are_unit_float32_of_the_size_asked_for() -> None:
    vectors, queries, positives = draw_pairs(np.random.default_rng(4), 30, 5)
    learned = learn_whitening(vectors.astype(np.float16), queries, positives)
    rows = apply_whitening(learned, vectors.astype(np.float32), dimensions=3)
    assert rows.dtype == np.float32
    assert rows.shape == (60, 3)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)
    one = learned.projection[:3] @ (vectors[7].astype(np.float32) - learned.mean)
    np.testing.assert_allclose(rows[7], one / (np.linalg.norm(one) + 1e-6), atol=1e-6)


def test_fewer_pairs_than_numbers_still_whiten() -> None:
    vectors, queries, positives = draw_pairs(np.random.default_rng(5), 3, 8)
    learned = learn_whitening(vectors, queries, positives)
    assert np.isfinite(learned.projection).all()


def test_the_sign_of_every_axis_is_fixed() -> None:
    vectors, queries, positives = draw_pairs(np.random.default_rng(6), 40, 5)
    differences = vectors[queries] - vectors[positives]
    factor = np.linalg.cholesky(differences.T @ differences / len(queries))
    axes = learn_whitening(vectors, queries, positives).projection @ factor
    np.testing.assert_allclose(axes @ axes.T, np.eye(5), atol=1e-8)
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    assert (largest > 0).all()


@pytest.mark.parametrize(("queries", "positives"), [([], []), ([0, 1], [2])])
def test_pairs_must_be_pairs(queries: list[int], positives: list[int]) -> None:
    with pytest.raises(DataError, match=rf"{len(queries)} queries and {len(positives)} positives; expected pairs"):
        learn_whitening(np.eye(3), np.array(queries, dtype=np.int64), np.array(positives, dtype=np.int64))


def test_undefined_numbers_are_an_error() -> None:
    vectors = np.eye(4)
    vectors[0, 0] = np.nan
    with pytest.raises(DataError, match="the descriptors hold undefined numbers; describe"):
        learn_whitening(vectors, np.array([0]), np.array([1]))


@pytest.mark.parametrize(("shape", "kept"), [((2, 3), None), ((2, 4), 5), ((2, 4), 0), ((4,), None)])
def test_whitening_of_another_size_is_an_error(shape: tuple[int, ...], kept: int | None) -> None:
    vectors, queries, positives = draw_pairs(np.random.default_rng(7), 20, 4)
    learned = learn_whitening(vectors, queries, positives)
    with pytest.raises(DataError, match=r"whitening of 4 numbers can't turn descriptors of shape .* numbers; learn it"):
        apply_whitening(learned, np.zeros(shape), dimensions=kept)
