import numpy as np
import pyarrow as pa
import pytest
from tiny import write_truth

from overlap.base.config import load_config
from overlap.base.errors import DataError
from overlap.base.tables import IMAGES, LANDMARKS, as_table
from overlap.datasets.catalogue import read_evaluation_set
from overlap.datasets.sets import EvaluationSet, QueryTruth
from overlap.pipeline.versions import (
    NO_LOOKALIKES,
    Overlap,
    find_lookalikes,
    find_release,
    number_queries,
    plan_versions,
    read_overlap,
)
from overlap.study.evaluation.impact import CLEAN, FULL

EVIDENCE = "evaluation_set,query_id,image_id,landmark_id\n"


def evaluation(name, *, positives):
    rows = [{"image_id": f"q{number}", "source": name, "path": "p", "stamp": "s"} for number in range(len(positives))]
    empty = np.array([], dtype=np.int64)
    truths = tuple(QueryTruth(np.array(each, dtype=np.int64), empty, empty) for each in positives)
    images = as_table(rows, IMAGES)
    return EvaluationSet(name, images, images, truths)


SETS = (evaluation("ox", positives=[[0], [0], [1]]), evaluation("par", positives=[[0], [2]]))


def write_release(folder, *, removed, evidence):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "removals.csv").write_text("landmark_id\n" + "".join(f"{each}\n" for each in removed))
    (folder / "evidence.csv").write_text(EVIDENCE + "".join(f"{line}\n" for line in evidence))
    return folder


def test_queries_of_all_sets_are_numbered_by_what_they_show():
    numbers = number_queries(SETS)
    assert numbers == {("ox", "q0"): 0, ("ox", "q1"): 0, ("ox", "q2"): 1, ("par", "q0"): 2, ("par", "q1"): 3}


def test_the_overlap_is_read_from_the_release(tmp_path):
    folder = write_release(
        tmp_path,
        removed=[50, 10, 20, 30],
        evidence=["ox,q0,a,10", "ox,q1,b,20", "par,q1,c,30", ",,,50", "ox,q2,d,77"],
    )
    overlap = read_overlap(folder, SETS)
    assert overlap.removed == (10, 20, 30, 50)
    assert overlap.units == ((10, 20), (30,), (50,))  # 10 and 20 show what q0 and q1 ask for
    assert overlap.overlapping == {("ox", "q0"), ("ox", "q1"), ("par", "q1")}
    assert overlap.restored((20,)) == {("ox", "q0"), ("ox", "q1")}
    assert overlap.restored((50,)) == frozenset()


def test_a_release_that_removes_nothing_has_no_impact(tmp_path):
    with pytest.raises(DataError, match=r"removals.csv removes nothing; there is no impact to measure"):
        read_overlap(write_release(tmp_path, removed=[], evidence=[]), SETS)


def test_evidence_of_other_queries_is_refused(tmp_path):
    folder = write_release(tmp_path, removed=[10], evidence=["ox,q0,a,10", "ox,elsewhere,a,10"])
    with pytest.raises(DataError, match=r"evidence.csv line 3: query elsewhere of 'ox' is not in the config's"):
        read_overlap(folder, SETS)


def config_of(photos, *settings):
    return load_config(photos / "config.toml", settings)


def test_versions_are_full_clean_placebos_doses_and_one_without_lookalikes(tiny_photos, monkeypatch):
    landmarks = as_table([{"landmark_id": key, "landmark_name": "n", "n_images": 5} for key in range(1, 21)], LANDMARKS)
    overlap = Overlap((1, 2, 3), {}, ((1, 2), (3,)), (frozenset({0}), frozenset({1})))
    monkeypatch.setattr("overlap.pipeline.versions.find_lookalikes", lambda config, removed: (7, 9))
    config = config_of(tiny_photos, "impact.placebos=2", "impact.doses=9", "impact.lookalikes=2")
    plans = {plan.name: plan for plan in plan_versions(config, overlap, landmarks)}
    assert plans[FULL].without == ()
    assert plans[CLEAN].without == (1, 2, 3)
    assert all(len(plans[name].without) == 3 and min(plans[name].without) > 3 for name in ("placebo-1", "placebo-2"))
    (dose,) = [plan for name, plan in plans.items() if name.startswith("dose-")]
    assert sorted(dose.without + dose.back) == [1, 2, 3]
    assert dose.back in ((1, 2), (3,))
    assert plans[NO_LOOKALIKES].without == (1, 2, 3, 7, 9)
    assert list(plans) == [FULL, CLEAN, "placebo-1", "placebo-2", f"dose-{len(dose.back)}", NO_LOOKALIKES]


def test_lookalikes_are_the_kept_landmarks_most_similar_to_a_query(tiny_photos, monkeypatch):
    found = pa.table(
        {
            "image_id": ["a", "b", "c", "d", None, "e"],
            "landmark_id": pa.array([1, 5, 6, 5, 8, 6], pa.int64()),
            "similarity": pa.array([0.9, 0.5, 0.7, 0.8, 0.99, 0.98], pa.float32()),
            "origin": ["global", "global", "database", "whole", "text", "copy"],
        }
    )
    monkeypatch.setattr("overlap.pipeline.versions.read_candidates", lambda config: found)
    assert find_lookalikes(config_of(tiny_photos, "impact.lookalikes=1"), (1,)) == (5,)
    assert find_lookalikes(config_of(tiny_photos, "impact.lookalikes=9"), (1,)) == (5, 6)


def test_real_photos_without_a_release_are_refused(tiny_photos, open_quietly):
    with open_quietly(config_of(tiny_photos)) as run:
        with pytest.raises(DataError, match=r"holds no removals.csv; publish a release with 'overlap publish'"):
            find_release(run)


def test_a_release_that_is_named_is_taken(tiny_photos, open_quietly):
    folder = write_release(tiny_photos / "mine", removed=[1], evidence=["tiny,q,a,1"])
    with open_quietly(config_of(tiny_photos, "impact.release=mine")) as run:
        assert find_release(run) == folder


def test_ground_truth_is_needed(tiny_photos):
    write_truth(tiny_photos / "eval", [1, 1, 90, 90])
    whole = read_evaluation_set(config_of(tiny_photos).evaluation[0])
    bare = EvaluationSet(whole.name, whole.queries, whole.photos, None)
    with pytest.raises(DataError, match="without ground truth"):
        number_queries([bare])
