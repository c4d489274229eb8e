import cv2
import numpy as np
import pytest

from overlap.verify.evidence import HOMOGRAPHY_PARAMETERS, Correspondences
from overlap.verify.geometry import find_models, find_similarities, refine, sample_fundamental, sample_homography


def scene(seed, *, right, wrong, frames=True, noise=0.002):
    """Matches of which ``right`` obey one homography and the rest lie anywhere."""
    rng = np.random.default_rng(seed)
    matrix = np.array([[0.9, -0.15, 0.05], [0.12, 0.95, -0.04], [0.2, -0.1, 1.0]])
    n = right + wrong
    x = rng.uniform(-0.35, 0.35, (n, 2))
    z = np.column_stack([x, np.ones(n)]) @ matrix.T
    y = z[:, :2] / z[:, 2:] + rng.normal(0, noise, (n, 2))
    y[right:] = rng.uniform(-0.35, 0.35, (wrong, 2))
    turns = np.full(n, 0.13) + rng.normal(0, 0.1, n)
    turns[right:] = rng.uniform(0, 6, wrong)
    angles = rng.uniform(0, 6, n)
    sizes = rng.uniform(0.01, 0.03, n)
    order = rng.permutation(n)
    return order < right, Correspondences(
        x=x[order],
        y=y[order],
        trusts=np.full(n, 0.3),
        angles_x=(angles if frames else angles * np.nan)[order],
        angles_y=(angles + turns if frames else angles * np.nan)[order],
        scales_x=sizes[order],
        scales_y=(sizes * np.exp(rng.normal(-0.05, 0.1, n)))[order],
        area=0.48,
        sigma=0.006,
    )


@pytest.mark.parametrize("frames", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_right_matches_are_found_among_four_times_as_many_wrong_ones(seed, frames):
    right, found = scene(seed, right=40, wrong=160, frames=frames)
    model = find_models(found, seed=0)[0]
    assert model.geometry == "homography"
    assert right[model.inliers].mean() > 0.9
    assert right[model.inliers].sum() > 30
    assert model.evidence > 50


@pytest.mark.parametrize("seed", range(6))
def test_chance_gives_no_evidence(seed):
    _, found = scene(seed, right=0, wrong=200)
    assert find_models(found, seed=0)[0].evidence < 15


def test_frames_find_a_model_among_two_percent_right_matches():
    right, found = scene(1, right=12, wrong=100)
    best = find_similarities(found)[0]
    assert right[best.inliers].sum() >= 3


def test_the_same_matches_get_a_homography_after_an_affinity():
    """Every match speaks for both, so only the kind of fit tells what was fitted already."""
    _, found = scene(3, right=60, wrong=0)
    starts = find_similarities(found)
    fits = {}
    refined = [refine(found, start, fits) for start in starts]
    assert max(refined, key=lambda model: model.evidence).n_parameters == HOMOGRAPHY_PARAMETERS
    for start, model in zip(starts, refined, strict=True):
        np.testing.assert_array_equal(refine(found, start, {}).matrix, model.matrix)


def test_the_same_seed_gives_the_same_model():
    _, found = scene(2, right=30, wrong=100)
    for sample in (sample_homography, sample_fundamental):
        np.testing.assert_array_equal(sample(found, seed=3).matrix, sample(found, seed=3).matrix)


def test_too_few_matches_give_no_sample():
    _, found = scene(3, right=4, wrong=0)
    assert sample_homography(found, seed=0) is None
    assert sample_fundamental(found, seed=0) is None


def test_one_place_for_all_matches_gives_no_model():
    _, found = scene(4, right=0, wrong=20, frames=False)
    stacked = Correspondences(**{**found.__dict__, "x": np.zeros((20, 2))})
    assert find_models(stacked, seed=0) == []


def test_a_sampler_that_raises_is_one_that_finds_nothing(monkeypatch):
    def fail(*_):
        raise cv2.error("no model")

    _, found = scene(5, right=30, wrong=30)
    monkeypatch.setattr(cv2, "findFundamentalMat", fail)
    monkeypatch.setattr(cv2, "findHomography", fail)
    assert sample_fundamental(found, seed=0) is None
    assert sample_homography(found, seed=0) is None
