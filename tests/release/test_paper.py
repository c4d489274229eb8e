"""A release beside the paper's counts, cell by cell."""

import json
from pathlib import Path

import pytest

from overlap.base.errors import CheckError, DataError
from overlap.release.paper import compare_tables, read_expected, render_comparison

PAPER = Path(__file__).resolve().parents[2] / "data_manifests" / "paper_tables.csv"
LISTED = "landmark_id,evaluation_set,origin,n_images\n1,rparis6k,global,1227\n2,roxford5k,global,315\n3,,text,23\n"


def write(folder, *, n_landmarks=81_313):
    (folder / "removals.csv").write_text(LISTED)
    sizes = {"images_in": 1_580_470, "landmarks_in": n_landmarks, "images_out": 1_578_905, "landmarks_out": 81_295}
    sets = {
        "rparis6k": {"queries": 70, "duplicated_queries": 36},
        "roxford5k": {"queries": 70, "duplicated_queries": 38},
    }
    said = {"evaluation_sets": sets, "files": {"train.csv": {"counted": False}, "a.csv": {"counted": True, **sizes}}}
    (folder / "release.json").write_text(json.dumps(said))
    return folder


def test_the_expected_counts_are_the_paper_s():
    expected = read_expected(PAPER)
    assert [expected["2", row, "landmarks"] for row in ("rparis6k", "roxford5k", "TEXT", "TOTAL")] == [11, 6, 1, 18]
    assert [expected["2", row, "images"] for row in ("rparis6k", "roxford5k", "TEXT", "TOTAL")] == [1227, 315, 23, 1565]
    assert expected["3", "upstream", "images"] - expected["3", "release", "images"] == expected["2", "TOTAL", "images"]
    assert expected["3", "upstream", "landmarks"] - expected["3", "release", "landmarks"] == 18


def test_each_count_is_compared_and_those_that_differ_are_marked(tmp_path):
    cells = compare_tables(write(tmp_path, n_landmarks=81_312), read_expected(PAPER))
    differ = {(cell.table, cell.row, cell.column): (cell.expected, cell.found) for cell in cells if not cell.agrees}
    assert differ == {
        ("2", "rparis6k", "landmarks"): (11, 1),
        ("2", "roxford5k", "landmarks"): (6, 1),
        ("2", "TOTAL", "landmarks"): (18, 3),
        ("3", "upstream", "landmarks"): (81_313, 81_312),
    }
    lines = render_comparison(cells).splitlines()
    assert len(lines) == 19
    assert lines[3].split() == ["2", "rparis6k", "landmarks", "11", "1", "differs"]
    assert lines[4].split() == ["2", "rparis6k", "images", "1,227", "1,227"]


def test_landmarks_confirmed_as_a_whole_are_counted_by_what_brought_them_up(tmp_path):
    write(tmp_path)
    (tmp_path / "removals.csv").write_text(LISTED + "4,,closure,50\n5,,audit,60\n6,,closure,1\n")
    found = {(cell.row, cell.column): cell.found for cell in compare_tables(tmp_path, {})}
    assert (found["CLOSURE", "landmarks"], found["CLOSURE", "images"], found["AUDIT", "images"]) == (2, 51, 60)
    assert (found["TEXT", "landmarks"], found["TOTAL", "landmarks"], found["TOTAL", "images"]) == (1, 6, 1676)


def test_a_count_that_only_one_side_has_differs(tmp_path):
    (tmp_path / "e.csv").write_text("table,row,column,count\n2,oxford,images,5\n")
    cells = compare_tables(write(tmp_path), read_expected(tmp_path / "e.csv"))
    assert (cells[0].expected, cells[0].found, cells[1].expected) == (5, None, None)
    assert "-" in render_comparison(cells[:1])


def test_bad_input_is_named(tmp_path):
    (tmp_path / "e.csv").write_text("table,row,column,count\n2,TOTAL,images,many\n")
    with pytest.raises(DataError, match=r"e\.csv line 2: the count 'many' is not a whole number"):
        read_expected(tmp_path / "e.csv")
    with pytest.raises(CheckError, match="holds no release that can be read"):
        compare_tables(tmp_path, {})
