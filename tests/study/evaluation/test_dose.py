import numpy as np
import pytest

from overlap.study.evaluation.dose import BACK, OTHER, OUT, Dose, dose_table, plan_doses

UNITS = ((1, 20), (3,), (5,), (7,), (9,), (11,))


def test_doses_are_nested_and_give_back_whole_buildings():
    plans = plan_doses(UNITS, doses=2, seed=0)
    assert len(plans) == 2
    assert set(plans[0]) < set(plans[1]) < {each for unit in UNITS for each in unit}
    for plan in plans:
        assert (1 in plan) == (20 in plan)
        assert list(plan) == sorted(plan)


def test_as_many_doses_as_buildings_give_back_one_at_a_time():
    plans = plan_doses(UNITS, doses=40, seed=1)
    assert [sum(unit[0] in plan for unit in UNITS) for plan in plans] == [1, 2, 3, 4, 5]
    assert plan_doses(UNITS, doses=0, seed=1) == ()
    assert plan_doses((), doses=3, seed=1) == ()
    assert plan_doses(UNITS, doses=2, seed=1) != plan_doses(UNITS, doses=2, seed=2)


def test_gains_are_averaged_by_what_became_of_the_landmark():
    overlapping = np.array([True, True, True, False])
    doses = [
        Dose(0, np.array([[0.1, 0.2, 0.3, 0.9]]), np.zeros(4, dtype=bool)),
        Dose(2, np.array([[0.1, 0.6, 0.8, 0.9]]), np.array([False, True, True, False])),
    ]
    rows = dose_table(doses, np.arange(4), overlapping, network="gem_small").to_pylist()
    assert [(row["n_landmarks"], row["queries"], row["n_queries"]) for row in rows] == [
        (0, OUT, 3),
        (0, OTHER, 1),
        (2, BACK, 2),
        (2, OUT, 1),
        (2, OTHER, 1),
    ]
    assert [row["value"] for row in rows] == pytest.approx([0, 0, 0.45, 0, 0])
    assert rows[2]["low"] < 0.45 < rows[2]["high"]
