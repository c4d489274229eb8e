import csv
import io
import random
from collections import defaultdict

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.base.errors import DataError
from overlap.base.grids import render_text
from overlap.base.tables import REMOVALS, as_table
from overlap.report.tables import (
    OverlapRow,
    SizesRow,
    overlap_grid,
    overlap_table,
    render_csv,
    sizes_grid,
    sizes_table,
)

PAPER_TABLE_2 = (
    OverlapRow("RPar", 70, 36, 11, 1227, 0),
    OverlapRow("ROxf", 70, 38, 6, 315, 0),
    OverlapRow("TEXT", None, None, 1, 23),
    OverlapRow("TOTAL", 140, 74, 18, 1565, 0),
)
PAPER_TABLE_2_PRINTED = [
    ["EVAL", "#EVAL IMG", "#DUPL EVAL", "#DUPL GLDv2 GID", "#DUPL GLDv2 IMG"],
    ["RPar", "70", "36 (51%)", "11", "1,227"],
    ["ROxf", "70", "38 (54%)", "6", "315"],
    ["TEXT", "", "", "1", "23"],
    ["TOTAL", "140", "74", "18", "1,565"],
]
QUERIES = {"RPar": 70, "ROxf": 70}
DUPLICATED = {"RPar": 36, "ROxf": 38}


def removal(landmark_id, evaluation_set, n_images, origin="global"):
    return {
        "landmark_id": landmark_id,
        "landmark_name": f"landmark {landmark_id}",
        "evaluation_set": evaluation_set,
        "origin": origin,
        "n_queries": 1,
        "n_confirmed": 1,
        "n_images": n_images,
        "evidence": [f"item-{landmark_id}"],
    }


def split(total, parts):
    return [total // parts + (part < total % parts) for part in range(parts)]


def paper_removals():
    rows = [removal(1000 + i, "RPar", n) for i, n in enumerate(split(1227, 11))]
    rows += [removal(2000 + i, "ROxf", n) for i, n in enumerate(split(315, 6))]
    rows += [removal(3000, "RPar", 23, origin="text")]
    random.Random(5).shuffle(rows)
    return as_table(rows, REMOVALS)


def paper_rows(**not_asked):
    return overlap_table(
        paper_removals(), n_queries=QUERIES, duplicated_queries=DUPLICATED, not_asked_queries=not_asked
    )


def test_overlap_table_reproduces_the_papers_table_2_to_the_digit():
    rows = paper_rows()
    assert rows == PAPER_TABLE_2
    grid = overlap_grid(rows)
    assert [list(grid.columns), *map(list, grid.rows)] == PAPER_TABLE_2_PRINTED
    assert paper_rows(RPar=0, ROxf=0) == rows


def test_queries_that_people_were_not_asked_about_are_said_beside_those_that_show_a_removed_landmark():
    rows = overlap_table(
        as_table([removal(1, "ROxf", 9)], REMOVALS),
        n_queries={"RPar": 9_000, "ROxf": 36},
        duplicated_queries={"ROxf": 8},
        not_asked_queries={"ROxf": 15, "RPar": 1_200},
    )
    assert [row.n_not_asked for row in rows] == [1_200, 15, None, 1_215]
    assert overlap_grid(rows).rows == (
        ("RPar", "9,000", "0 (0%), and 1,200 not asked", "0", "0"),
        ("ROxf", "36", "8 (22%), and 15 not asked", "1", "9"),
        ("TEXT", "", "", "0", "0"),
        ("TOTAL", "9,036", "8, and 1,215 not asked", "1", "9"),
    )
    [line] = [line for line in render_text(overlap_grid(rows)).splitlines() if line.startswith("ROxf")]
    assert line.split() == ["ROxf", "36", "8", "(22%),", "and", "15", "not", "asked", "1", "9"]


def test_sizes_table_reproduces_the_papers_table_3_to_the_digit():
    removed = paper_rows()[-1]
    rows = sizes_table(
        {
            "GLDv2-clean": (1_580_470, 81_313),
            "RGLDv2-clean": (1_580_470 - removed.n_images, 81_313 - removed.n_landmarks),
        }
    )
    assert sizes_grid(rows).rows == (("GLDv2-clean", "1,580,470", "81,313"), ("RGLDv2-clean", "1,578,905", "81,295"))


def test_plain_text_holds_the_papers_lines_aligned():
    lines = render_text(overlap_grid(paper_rows())).splitlines()
    assert [line.split() for line in lines if line.startswith(("RPar", "ROxf", "TEXT", "TOTAL"))] == [
        ["RPar", "70", "36", "(51%)", "11", "1,227"],
        ["ROxf", "70", "38", "(54%)", "6", "315"],
        ["TEXT", "1", "23"],
        ["TOTAL", "140", "74", "18", "1,565"],
    ]
    body = [line for line in lines[1:] if not line.startswith("-")]
    assert len({len(line) for line in body}) == 1, "numbers end at the same column"


@pytest.mark.parametrize("not_asked", [{}, {"RPar": 15}])
def test_csv_reads_back_as_the_same_counts(not_asked):
    rows = paper_rows(**not_asked)
    assert render_csv(rows).splitlines()[0] == "name,n_queries,n_duplicated,n_landmarks,n_images,n_not_asked"
    assert "TEXT,,,1,23," in render_csv(rows).splitlines()
    assert f"RPar,70,36,11,1227,{not_asked.get('RPar', 0)}" in render_csv(rows).splitlines()
    read = [
        OverlapRow(line["name"], *(int(value) if value else None for name, value in line.items() if name != "name"))
        for line in csv.DictReader(io.StringIO(render_csv(rows)))
    ]
    assert tuple(read) == rows


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"])
def test_csv_neutralises_a_name_that_a_spreadsheet_would_run(name):
    written = list(csv.reader(io.StringIO(render_csv([SizesRow(name, 1, 2)]), newline="")))
    assert written[1] == [f"'{name}", "1", "2"]


def test_csv_of_nothing_is_empty():
    assert render_csv([]) == ""


def test_nothing_removed_gives_zeros():
    rows = overlap_table(REMOVALS.empty_table(), n_queries=QUERIES, duplicated_queries={})
    assert overlap_grid(rows).rows == (
        ("RPar", "70", "0 (0%)", "0", "0"),
        ("ROxf", "70", "0 (0%)", "0", "0"),
        ("TEXT", "", "", "0", "0"),
        ("TOTAL", "140", "0", "0", "0"),
    )


def test_a_landmark_counts_once_and_what_was_seen_goes_first():
    rows = [removal(5, "RPar", 7, origin="text"), removal(5, "ROxf", 7), removal(5, "RPar", 7), removal(6, "ROxf", 2)]
    found = overlap_table(as_table(rows, REMOVALS), n_queries=QUERIES, duplicated_queries={})
    assert [(row.n_landmarks, row.n_images) for row in found] == [(1, 7), (1, 2), (0, 0), (2, 9)]


def test_landmarks_confirmed_as_a_whole_have_rows_of_their_own_where_there_are_any():
    rows = [removal(1, "ROxf", 2), removal(2, "", 3, origin="closure"), removal(3, "", 4, origin="audit")]
    found = overlap_table(as_table(rows, REMOVALS), n_queries=QUERIES, duplicated_queries=DUPLICATED)
    assert [(row.name, row.n_landmarks, row.n_images) for row in found] == [
        ("RPar", 0, 0),
        ("ROxf", 1, 2),
        ("TEXT", 0, 0),
        ("CLOSURE", 1, 3),
        ("AUDIT", 1, 4),
        ("TOTAL", 3, 9),
    ]
    assert [row.n_duplicated for row in found[2:5]] == [None, None, None]
    assert [row.n_not_asked for row in found] == [0, 0, None, None, None, 0]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["RPar", "ROxf"]), st.sampled_from(["global", "closure", "text"])),
        max_size=30,
    ),
    st.randoms(),
)
def test_overlap_table_equals_a_literal_count_whatever_the_order(marks, chance):
    n_images = {landmark_id: 3 * landmark_id + 1 for landmark_id in range(10)}
    table = as_table([removal(i, name, n_images[i], origin) for i, name, origin in marks], REMOVALS)
    expected = defaultdict(set)
    for landmark_id in range(10):
        names = ["TEXT" if origin == "text" else name for i, name, origin in marks if i == landmark_id]
        for name in ("RPar", "ROxf", "TEXT"):
            if name in names:
                expected[name].add(landmark_id)
                break
    order = list(range(len(marks)))
    chance.shuffle(order)
    for shuffled in (table, table.take(pa.array(order, pa.int64()))):
        found = overlap_table(shuffled, n_queries=QUERIES, duplicated_queries=DUPLICATED)
        for row in found[:3]:
            assert row.n_landmarks == len(expected[row.name])
            assert row.n_images == sum(n_images[i] for i in expected[row.name])
        assert found[3].n_landmarks == len({i for i, _, _ in marks})


def test_an_unknown_evaluation_set_is_an_error():
    with pytest.raises(DataError, match=r"evaluation set\(s\) other are not among those of the config \(RPar, ROxf\)"):
        overlap_table(as_table([removal(1, "other", 1)], REMOVALS), n_queries=QUERIES, duplicated_queries={})
    with pytest.raises(DataError, match="more are not among"):
        overlap_table(REMOVALS.empty_table(), n_queries=QUERIES, duplicated_queries={"more": 1})


def test_more_duplicated_queries_than_queries_is_an_error():
    with pytest.raises(DataError, match="RPar: 71 duplicated queries are more than its 70 queries"):
        overlap_table(REMOVALS.empty_table(), n_queries=QUERIES, duplicated_queries={"RPar": 71})
