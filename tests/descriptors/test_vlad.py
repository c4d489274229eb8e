import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from overlap.base.config import DescriptorsConfig
from overlap.base.errors import ArtifactError, DataError
from overlap.descriptors.vlad import Vlad, aggregate, encode_vlad, load_vlad, save_vlad, train_vlad

SETTINGS = DescriptorsConfig(vocabulary=8, dimensions=24)


def root_sift(n: int, *, seed: int, size: int = 16, kinds: int = 0) -> np.ndarray:
    """Draw descriptors around a few prototypes, so that photos of one seed of kinds look alike."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(kinds).gamma(0.5, size=(12, size))
    rows = np.sqrt(np.abs(centres[rng.integers(0, 12, n)] + 0.05 * rng.normal(size=(n, size))))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def photos(n: int, *, each: int = 60) -> list[np.ndarray]:
    return [root_sift(each, seed=row, kinds=row // 3) for row in range(n)]


def aggregate_by_loops(words: np.ndarray, descriptors: np.ndarray) -> list[float]:
    out: list[float] = []
    for vocabulary in words.astype(float).tolist():
        sums = [[0.0] * len(vocabulary[0]) for _ in vocabulary]
        for row in descriptors.astype(float).tolist():
            distances = [sum((a - b) ** 2 for a, b in zip(row, word, strict=True)) for word in vocabulary]
            word = distances.index(min(distances))
            residual = [a - b for a, b in zip(row, vocabulary[word], strict=True)]
            length = math.sqrt(sum(value * value for value in residual)) or 1.0
            sums[word] = [total + value / length for total, value in zip(sums[word], residual, strict=True)]
        for total in sums:
            roots = [math.copysign(math.sqrt(abs(value)), value) for value in total]
            length = math.sqrt(sum(value * value for value in roots)) or 1.0
            out += [value / length for value in roots]
    length = math.sqrt(sum(value * value for value in out)) or 1.0
    return [value / length for value in out]


@hypothesis_settings(max_examples=25, deadline=None)
@given(m=st.integers(1, 30), words=st.integers(1, 7), vocabularies=st.integers(1, 3), seed=st.integers(0, 10_000))
def test_aggregation_is_the_literal_sum(m: int, words: int, vocabularies: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vocabulary = rng.normal(size=(vocabularies, words, 6)).astype(np.float32)
    descriptors = rng.normal(size=(m, 6)).astype(np.float32)
    np.testing.assert_allclose(
        aggregate(vocabulary, descriptors), aggregate_by_loops(vocabulary, descriptors), atol=2e-4
    )


def test_a_feature_that_is_a_word_adds_nothing() -> None:
    words = np.eye(3, dtype=np.float32)[None]
    assert not aggregate(words, words[0]).any()


@pytest.fixture(scope="module")
def vlad() -> Vlad:
    return train_vlad(photos(60), settings=SETTINGS)


def test_encoding_projects_the_centred_vector(vlad: Vlad) -> None:
    descriptors = root_sift(40, seed=500)
    raw = np.array(aggregate_by_loops(vlad.words, descriptors))
    expected = (raw - vlad.mean.astype(float)) @ vlad.projection.astype(float)
    expected /= math.sqrt(float((expected**2).sum()))
    vector = encode_vlad(vlad, descriptors)
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector[:-1], expected, atol=1e-4)
    assert vector[-1] == 0
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_projection_holds_principal_directions_over_the_fourth_root_of_their_variance(vlad: Vlad) -> None:
    raw = np.stack([aggregate(vlad.words, photo) for photo in photos(60)]).astype(float)
    covariance = np.cov(raw.T, bias=True)
    values = np.sort(np.linalg.eigvalsh(covariance))[::-1][: vlad.dimensions - 1]
    projected = np.cov((raw @ vlad.projection.astype(float)).T, bias=True)
    np.testing.assert_allclose(np.diag(projected), np.sqrt(values), rtol=1e-3)
    np.testing.assert_allclose(projected - np.diag(np.diag(projected)), 0, atol=1e-5)


def test_photos_of_one_kind_are_closest(vlad: Vlad) -> None:
    vectors = np.stack([encode_vlad(vlad, photo) for photo in photos(60)])
    queries = np.stack([encode_vlad(vlad, root_sift(60, seed=900 + row, kinds=row)) for row in range(20)])
    assert (np.argmax(queries @ vectors.T, axis=1) // 3 == np.arange(20)).mean() >= 0.9


def test_a_photo_without_features_is_like_no_other(vlad: Vlad) -> None:
    empty = encode_vlad(vlad, np.zeros((0, 16), np.float32))
    assert empty.tolist() == [0.0] * (vlad.dimensions - 1) + [1.0]
    assert all(encode_vlad(vlad, photo) @ empty == 0 for photo in photos(5))


@pytest.mark.parametrize(("n", "expected"), [(2, 2), (12, 12), (60, 24), (96, 24)])
def test_small_samples_work_with_what_they_can_support(n: int, expected: int) -> None:
    trained = train_vlad(photos(n), settings=SETTINGS)
    assert trained.dimensions == expected
    for photo in photos(n):
        assert np.linalg.norm(encode_vlad(trained, photo)) == pytest.approx(1, abs=1e-5)


def test_a_third_of_the_photos_bounds_the_dimensions() -> None:
    settings = DescriptorsConfig(vocabulary=4, dimensions=512)
    assert train_vlad(photos(120, each=20), settings=settings).dimensions == 41
    assert train_vlad(photos(60, each=20), settings=settings).dimensions == 33


def test_few_features_give_few_words() -> None:
    trained = train_vlad([root_sift(3, seed=1), root_sift(4, seed=2), root_sift(2, seed=3)], settings=SETTINGS)
    assert trained.words.shape[1] == 2


def test_photos_without_features_are_left_out_of_training() -> None:
    empty = np.zeros((0, 16), np.float32)
    with_empty = train_vlad([empty, *photos(6), empty], settings=SETTINGS)
    assert np.array_equal(with_empty.projection, train_vlad(photos(6), settings=SETTINGS).projection)


_PRINT_WORDS = """
import sys, hashlib, numpy, faiss
sys.path.insert(0, {here!r})
from test_vlad import photos, SETTINGS
from overlap.descriptors.vlad import train_vlad
faiss.omp_set_num_threads({threads})
trained = train_vlad(photos(40, each=200), settings=SETTINGS)
assert faiss.omp_get_max_threads() == {threads}
print(hashlib.sha256(trained.words.tobytes()).hexdigest(), *trained.projection[:3, :3].ravel().round(3))
"""


def test_the_words_do_not_depend_on_the_number_of_threads() -> None:
    def run(threads: int) -> str:
        code = _PRINT_WORDS.format(here=str(Path(__file__).parent), threads=threads)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        return subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
        ).stdout

    assert run(1) == run(3) != ""


def test_the_seed_matters() -> None:
    other = train_vlad(photos(12), settings=DescriptorsConfig(vocabulary=8, dimensions=24, seed=1))
    assert not np.array_equal(other.words, train_vlad(photos(12), settings=SETTINGS).words)


def test_a_saved_vlad_comes_back(tmp_path: Path, vlad: Vlad) -> None:
    save_vlad(tmp_path, vlad)
    loaded = load_vlad(tmp_path)
    assert np.array_equal(encode_vlad(loaded, photos(1)[0]), encode_vlad(vlad, photos(1)[0]))


def test_arrays_that_do_not_belong_together_are_refused(tmp_path: Path, vlad: Vlad) -> None:
    save_vlad(tmp_path, vlad)
    np.save(tmp_path / "vlad_mean.npy", vlad.mean[:-1])
    with pytest.raises(ArtifactError, match=r"the VLAD arrays of shapes .* don't belong together; delete the folder"):
        load_vlad(tmp_path)


@pytest.mark.parametrize("n", [0, 1])
def test_training_on_less_than_two_photos_is_refused(n: int) -> None:
    with pytest.raises(DataError, match=rf"VLAD needs at least 2 photos with local features to learn from, found {n};"):
        train_vlad([*photos(n), np.zeros((0, 16), np.float32)], settings=SETTINGS)


def test_training_on_one_photo_many_times_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"all 4 photos of the VLAD sample look the same; use more and different photos"
    ):
        train_vlad(photos(1) * 4, settings=SETTINGS)


def test_the_number_of_threads_changes_no_bit() -> None:
    samples = [root_sift(400, seed=row, size=128) for row in range(60)]
    learned = []
    for threads in (1, 2, 2):
        with threadpool_limits(threads):
            vlad = train_vlad(samples, settings=DescriptorsConfig())
        learned.append((vlad.words.tobytes(), vlad.mean.tobytes(), vlad.projection.tobytes()))
    assert learned[0] == learned[1] == learned[2]
