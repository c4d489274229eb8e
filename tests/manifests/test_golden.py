"""The paper's Tables 2 and 3 to the digit, at full size, from a vote file to a proven release.

Source of the figures: arXiv 2404.01524, Tables 2 and 3, and the table picture of dealicious-inc/RGLDv2-clean.
"""

import json
from collections import defaultdict

import pytest
from golden import N_IMAGES, N_LANDMARKS, N_LEFT, TABLE_2, sizes, write_world

from overlap.manifests.apply import apply_removals
from overlap.manifests.release import write_release
from overlap.manifests.verify import verify_release
from overlap.policy import decide, explain, load_policy
from overlap.review.store import open_store
from overlap.review.votes import import_votes
from overlap.tables import LANDMARKS, VERIFIED, as_table


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    write_world(folder)
    return folder


def test_the_papers_tables_to_the_digit(world):
    assert (len(sizes()), sum(sizes().values())) == (N_LANDMARKS, N_IMAGES)
    store = open_store(world / "votes.sqlite")
    import_votes(store, world / "votes.csv")
    rows = [{"landmark_id": n, "landmark_name": f"Landmark {n}", "n_images": size} for n, size in sizes().items()]
    decision = decide(
        load_policy("paper"),
        items=store.read_items(),
        votes=store.counting_votes(),
        verified=VERIFIED.empty_table(),
        landmarks=as_table(rows, LANDMARKS),
        threshold=0.5,
        queries={name: [f"q{n}" for n in range(70)] for name in ("roxford5k", "rparis6k")},
    )
    assert dict(decision.duplicated_queries) == {"roxford5k": 38, "rparis6k": 36}
    table_2 = defaultdict(lambda: (0, 0))
    for row in decision.removals.to_pylist():
        n, images = table_2[row["evaluation_set"]]
        table_2[row["evaluation_set"]] = (n + 1, images + row["n_images"])
    assert table_2 == {name: row[1:] for name, row in TABLE_2.items()}
    assert len(decision.removals) == 18

    source = world / "train_clean.csv"
    made = write_release(
        world / "release",
        upstream=[source],
        removals=decision.removals,
        reasons=explain(load_policy("paper"), decision.removals),
        about={"name": "golden", "version": "1.0.0"},
    )
    figures = json.loads((made / "release.json").read_text())["files"]["train_clean.csv"]
    assert (figures["rows_in"], figures["images_in"]) == (N_LANDMARKS, N_IMAGES)
    assert (figures["rows_out"], figures["images_out"]) == N_LEFT
    with (made / "train_clean.csv").open() as file:
        counted = [len(line.split(",")[1].split()) for line in file][1:]
    assert (len(counted), sum(counted)) == N_LEFT
    assert verify_release(made, source=source) == []
    apply_removals(made / "removals.csv", source, world / "applied.csv")
    assert (world / "applied.csv").read_bytes() == (made / "train_clean.csv").read_bytes()
