import csv
import io

import pytest

from overlap.base.grids import Grid
from overlap.base.tables import BOXES, DOSES, EFFECTS, ORDERS, SCORES, STAGES, VERSIONS, as_table
from overlap.report.impact_tables import (
    ablation_grid,
    boxes_grid,
    doses_grid,
    effects_grid,
    grid_csv,
    orders_grid,
    stages_grid,
    table4_grid,
    versions_grid,
)
from overlap.study.evaluation.resampling import Estimate


def score(version, *, seed=0, network="gem", name="ox", protocol="medium", value=0.5, n_queries=3):
    figures = dict.fromkeys(("map", "mp_at_1", "mp_at_5", "mp_at_10"), value)
    about = {"training_set": version, "network": network, "seed": seed, "evaluation_set": name, "protocol": protocol}
    return {**about, "n_queries": n_queries, **figures}


def test_table_4_has_a_row_a_method_and_version_in_the_papers_order():
    rows = [
        score(version, seed=seed, name=name, protocol=protocol, value=base + seed / 10 + (name == "par") / 5)
        for version, base in (("full", 0.5), ("clean", 0.4))
        for seed in (0, 1)
        for name in ("ox", "par")
        for protocol in ("easy", "medium", "hard")
    ]
    grid = table4_grid(as_table(rows, SCORES), versions=("full", "clean"))
    assert grid.columns[:4] == ("METHOD", "TRAIN SET", "MEDIUM ox mAP", "MEDIUM ox mP@10")
    assert grid.columns[-4:] == ("HARD par mAP", "HARD par mP@10", "MEAN", "DIFF")
    assert grid.rows[0] == ("gem", "full", "55.0", "55.0", "75.0", "75.0", "55.0", "55.0", "75.0", "75.0", "65.0", "–")
    assert grid.rows[1][-2:] == ("55.0", "-10.0")


def test_base_columns_come_with_classic_ground_truth_and_empty_protocols_have_none():
    rows = [score("full", protocol="base", name="classic"), score("full", protocol="medium", n_queries=0, value=None)]
    grid = table4_grid(as_table(rows, SCORES), versions=("full", "clean"))
    assert grid.columns == ("METHOD", "TRAIN SET", "BASE classic mAP", "MEAN", "DIFF")
    assert grid.rows == (("gem", "full", "50.0", "–", "–"), ("gem", "clean", "–", "–", "–"))


def test_effects_are_in_points_with_their_interval():
    row = {"network": "gem", "protocol": "medium", "contrast": "effect", "queries": "overlapping", "n_queries": 9}
    counts = {"n_landmarks": 3, "n_seeds": 2, "n_placebos": 2}
    table = as_table([{**row, **counts, "value": 0.1234, "low": -0.01, "high": 0.3}], EFFECTS)
    assert effects_grid(table, protocol="medium").rows == (
        ("gem", "effect", "overlapping", "9", "3", "+12.3", "-1.0 to +30.0"),
    )
    assert effects_grid(table, protocol="hard").rows == ()


def test_the_other_tables_show_what_they_hold():
    orders = [
        {"training_set": "clean", "networks": ["a", "b"], "share": 0.8, "observed": True, "differs_from_full": 0.25},
        {"training_set": "clean", "networks": ["b", "a"], "share": 0.001, "observed": False, "differs_from_full": None},
    ]
    assert orders_grid(as_table(orders, ORDERS)).rows == (("clean", "a > b", "80%", "yes", "25%"),)
    dose = {"network": "gem", "n_landmarks": 2, "queries": "given back", "n_queries": 3}
    table = as_table([{**dose, "value": 0.05, "low": 0.01, "high": 0.09}], DOSES)
    assert doses_grid(table).rows == (("gem", "2", "given back", "3", "+5.0", "+1.0 to +9.0"),)
    version = {"training_set": "full", "n_landmarks": 81313, "n_images": 1580470, "n_landmarks_removed": 0}
    versions = as_table([{**version, "n_images_removed": 0, "landmark_ids": []}], VERSIONS)
    assert versions_grid(versions).rows == (("full", "81,313", "1,580,470", "0", "0"),)
    about = {"method": "gem", "training_s": 10.0, "photo_ms": 2.5}
    stages = [{**about, "seed": s, "evaluation_set": "ox", "protocol": "hard", "map": 0.2 + s / 5} for s in (0, 1)]
    assert stages_grid(as_table(stages, STAGES)).rows == (("gem", "–", "–", "30.0", "10", "2.5"),)
    boxes = [{"method": "mask", "seed": s, "n_queries": 4, "mean_iou": 0.3 + s / 10, "half": 0.5} for s in (0, 1)]
    assert boxes_grid(as_table(boxes, BOXES)).rows == (("mask", "4", "0.350", "50%"),)


def test_an_ablation_has_the_papers_columns_and_what_each_variant_gains():
    rows = [
        score("full", network=label, protocol=protocol, value=value)
        for label, value in (("1", 0.4), ("2", 0.5))
        for protocol in ("medium", "hard")
    ]
    grid = ablation_grid(
        "Table 9",
        ("T",),
        [("1",), ("2",)],
        as_table(rows, SCORES),
        labels=("1", "2"),
        against={"1": Estimate(-0.1, -0.2, 0.01)},
    )
    assert grid.columns == ("T", "MEDIUM ox", "HARD ox", "MEAN", "AGAINST REFERENCE", "95 % INTERVAL")
    assert grid.rows == (
        ("1", "40.0", "40.0", "40.0", "-10.0", "-20.0 to +1.0"),
        ("2", "50.0", "50.0", "50.0", "–", "–"),
    )


@pytest.mark.parametrize(("cell", "written"), [("=1+1", "'=1+1"), ("-10.0", "-10.0"), ("–", ""), ("+2.5", "+2.5")])
def test_cells_of_a_csv_are_numbers_or_harmless(cell, written):
    rows = list(csv.reader(io.StringIO(grid_csv(Grid("", ("A",), ((cell,), ("x",)))).decode())))
    assert rows == [["A"], [written] if written else [""], ["x"]] or (not written and rows == [["A"], [], ["x"]])
