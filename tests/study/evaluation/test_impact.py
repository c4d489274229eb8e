import numpy as np
import pyarrow as pa
import pytest

from overlap.base.errors import DataError
from overlap.base.tables import QUERY_SCORES, as_table
from overlap.study.evaluation.impact import (
    DIFFERENCE,
    OTHER,
    OVERLAPPING,
    PairedScores,
    changes_table,
    effects_table,
    estimate_effects,
    pair_scores,
)


def plant(rng, *, inflation, size_loss, seeds=4, draws=3, noise=0.03):
    """Plant scores: the overlap lifts its own queries, and any smaller training set costs every query something."""
    landmarks = np.repeat(np.arange(20), 3)
    overlapping = landmarks < 12
    base = rng.uniform(0.3, 0.7, 20)[landmarks] + rng.normal(0, 0.02, (seeds, 1))
    lift = inflation * rng.uniform(0.5, 1.5, 20)[landmarks] * overlapping

    def noisy(scores):
        return scores + rng.normal(0, noise, scores.shape)

    return PairedScores(
        tuple(("set", f"q{number}") for number in range(60)),
        noisy(base + lift),
        noisy(base - size_loss),
        noisy(np.repeat((base + lift - size_loss)[:, None], draws, axis=1)),
        landmarks,
        overlapping,
    )


def test_a_planted_effect_is_recovered_and_the_loss_of_size_is_not_taken_for_it():
    found = estimate_effects(plant(np.random.default_rng(1), inflation=0.1, size_loss=0.04), resamples=2000)
    effect = found["effect", OVERLAPPING]
    assert effect.value == pytest.approx(0.1, abs=0.02)
    assert 0.02 < effect.low < 0.1 < effect.high < 0.18
    assert found["full - clean", OVERLAPPING].value == pytest.approx(0.14, abs=0.02)
    assert found["full - placebo", OVERLAPPING].value == pytest.approx(0.04, abs=0.02)
    other = found["effect", OTHER]
    assert other.low < 0 < other.high
    assert found["effect", DIFFERENCE].value == pytest.approx(effect.value - other.value)


def test_effects_found_where_there_is_none_are_rare():
    rng = np.random.default_rng(2)
    found = [estimate_effects(plant(rng, inflation=0, size_loss=0.05), resamples=200) for _ in range(60)]
    effects = [each["effect", OVERLAPPING] for each in found]
    assert np.mean([each.low <= 0 <= each.high for each in effects]) >= 0.9
    assert abs(np.mean([each.value for each in effects])) < 0.005


def test_the_effect_is_the_loss_beyond_the_placebos():
    found = estimate_effects(plant(np.random.default_rng(3), inflation=0.1, size_loss=0.04), resamples=100)
    for kind in (OVERLAPPING, OTHER):
        expected = found["full - clean", kind].value - found["full - placebo", kind].value
        assert found["effect", kind].value == pytest.approx(expected, abs=1e-12)


def test_without_placebos_or_other_queries_there_is_less_to_say():
    scores = plant(np.random.default_rng(4), inflation=0.1, size_loss=0)
    rows = scores.overlapping
    only = PairedScores(
        scores.queries[: rows.sum()],
        scores.full[:, rows],
        scores.clean[:, rows],
        scores.placebos[:, :0, rows],
        scores.groups[rows],
        scores.overlapping[rows],
    )
    assert list(estimate_effects(only, resamples=100)) == [("full - clean", OVERLAPPING)]
    assert changes_table({"gem": only}, protocol="medium")["placebo"].null_count == 36


def rows_of(*, versions, seeds=(0, 1), ids=("a", "b", "none")):
    """Score each query by its version and seed, so that a swapped axis shows."""
    value = {"full": 0.8, "clean": 0.4, "placebo-0": 0.7, "placebo-1": 0.6}
    return as_table(
        [
            {
                "training_set": version,
                "network": "gem_small",
                "seed": seed,
                "evaluation_set": "set",
                "protocol": "medium",
                "query_id": query_id,
                "ap": None if query_id == "none" else value[version] + seed / 100 + (query_id == "b") / 1000,
            }
            for seed in seeds
            for version in versions
            for query_id in ids
        ],
        QUERY_SCORES,
    )


VERSIONS = ("placebo-1", "clean", "full", "placebo-0")
GROUPS = {("set", "b"): 4, ("set", "a"): 2, ("set", "none"): 9}
ABOUT = {"network": "gem_small", "protocol": "medium", "groups": GROUPS, "overlapping": frozenset({("set", "a")})}


def test_scores_are_arranged_by_version_seed_and_query():
    scores = pair_scores(rows_of(versions=VERSIONS), placebos=("placebo-0", "placebo-1"), **ABOUT)
    assert scores.queries == (("set", "b"), ("set", "a"))  # the one without positives is left out
    np.testing.assert_allclose(scores.full, [[0.801, 0.8], [0.811, 0.81]])
    np.testing.assert_allclose(scores.clean, [[0.401, 0.4], [0.411, 0.41]])
    np.testing.assert_allclose(scores.placebos[0], [[0.701, 0.7], [0.601, 0.6]])
    assert scores.groups.tolist() == [4, 2]
    assert scores.overlapping.tolist() == [False, True]


def test_the_tables_say_what_was_compared():
    scores = pair_scores(rows_of(versions=VERSIONS), placebos=("placebo-0", "placebo-1"), **ABOUT)
    effects = effects_table({"gem_small": scores}, protocol="medium").to_pylist()
    effect = next(row for row in effects if row["contrast"] == "effect" and row["queries"] == OVERLAPPING)
    assert effect["value"] == pytest.approx(0.25)
    assert (effect["n_queries"], effect["n_landmarks"], effect["n_seeds"], effect["n_placebos"]) == (1, 1, 2, 2)
    changes = changes_table({"gem_small": scores}, protocol="medium").to_pylist()
    assert changes[1] == {
        "network": "gem_small",
        "evaluation_set": "set",
        "protocol": "medium",
        "query_id": "a",
        "landmark": 2,
        "overlapping": True,
        "full": pytest.approx(0.805),
        "clean": pytest.approx(0.405),
        "placebo": pytest.approx(0.655),
    }


def test_a_missing_score_is_named():
    scores = rows_of(versions=VERSIONS)
    lacking = pa.concat_tables([scores.slice(0, 4), scores.slice(5)])
    with pytest.raises(DataError, match=r"gem_small trained on 'clean' with seed 0 has no score for query b of set"):
        pair_scores(lacking, placebos=("placebo-0", "placebo-1"), **ABOUT)


def test_no_scores_at_all_are_an_error():
    with pytest.raises(DataError, match="there are no scores of gem_small under the protocol 'medium'"):
        pair_scores(QUERY_SCORES.empty_table(), placebos=(), **ABOUT)
