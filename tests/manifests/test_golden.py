"""The paper's Tables 2 and 3 to the digit, at full size, from a vote file to a proven release.

Source of the figures: arXiv 2404.01524, Tables 2 and 3, and the table picture of dealicious-inc/RGLDv2-clean.
"""

import json
from collections import defaultdict

import pytest

from overlap.manifests.release import apply_removals, write_release
from overlap.manifests.verify import verify_release
from overlap.policy import decide, explain, load_policy
from overlap.review.store import open_store
from overlap.review.votes import import_votes
from overlap.tables import LANDMARKS, VERIFIED, as_table

N_LANDMARKS, N_IMAGES = 81_313, 1_580_470
# Evaluation set: duplicated queries, landmarks removed, their images.
TABLE_2 = {"rparis6k": (36, 11, 1227), "roxford5k": (38, 6, 315), "": (0, 1, 23)}
N_LEFT = (81_295, 1_578_905)


def shares(total, n):
    """Cut a total into n parts that differ by one at most."""
    return [total // n + (k < total % n) for k in range(n)]


def planted():
    """Return the images of each landmark to be removed, by evaluation set; ids are spread over the file."""
    ids = iter(range(4, N_LANDMARKS * 2, N_LANDMARKS // 10))
    return {name: {next(ids): size for size in shares(images, n)} for name, (_, n, images) in TABLE_2.items()}


def sizes():
    gone = {landmark: size for landmarks in planted().values() for landmark, size in landmarks.items()}
    # Some ids are missing in the real file as well.
    kept = [n for n in range(1, 3 * N_LANDMARKS) if n not in gone][: N_LANDMARKS - len(gone)]
    return dict(sorted((gone | dict(zip(kept, shares(N_IMAGES - sum(gone.values()), len(kept)), strict=True))).items()))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    number = 0
    with (folder / "train_clean.csv").open("w") as file:
        file.write("landmark_id,images\n")
        for landmark, size in sizes().items():
            file.write(f"{landmark}," + " ".join(f"{n:016x}" for n in range(number, number + size)) + "\n")
            number += size
    (folder / "votes.csv").write_text("\n".join(vote_lines()) + "\n")
    return folder


def vote_lines():
    """Vote as three reviewers, of whom one says yes to what is there; a smaller landmark loses each query's count."""
    yield "evaluation_set,query_id,image_id,landmark_id,reviewer,answer"
    for evaluation_set, landmarks in planted().items():
        if not evaluation_set:
            yield from (f",,,{landmark},r1,same" for landmark in landmarks)
            yield ",,,999,r1,different"
            continue
        for query in range(TABLE_2[evaluation_set][0]):
            landmark = list(landmarks)[query % len(landmarks)]
            asked = [(f"{evaluation_set}{n}", landmark, "same") for n in range(3)]
            asked += [("second", 77, "same_other_side"), ("wrong", 78, "different"), ("unknown", 79, "unsure")]
            for photo, photo_landmark, answer in asked:
                yield f"{evaluation_set},q{query},{photo},{photo_landmark},r1,{answer}"
                yield f"{evaluation_set},q{query},{photo},{photo_landmark},r2,different"
                yield f"{evaluation_set},q{query},{photo},{photo_landmark},r3,unsure"


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
