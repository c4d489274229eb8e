"""What is planted, and how far each detector reaches, against ranks that are counted one by one."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from overlap.base.config import Config, load_config
from overlap.base.errors import ArtifactError
from overlap.base.images import load_photo
from overlap.base.tables import Descriptors
from overlap.cli.main import app
from overlap.pipeline.decisions import read_material
from overlap.pipeline.defence import draw_plots
from overlap.pipeline.photos import read_sets
from overlap.pipeline.planting import PLANTINGS, choose_photos, plant_photos
from overlap.pipeline.recall import (
    LANDMARKS_FOUND,
    PHOTOS_FOUND,
    TRAINING,
    find_positives,
    measure_planted,
    read_recall,
)
from overlap.pipeline.retrieve import describe_beside, describe_sets, read_descriptors, search_candidates
from overlap.pipeline.review import import_votes
from overlap.pipeline.run import Run, open_run


@contextmanager
def _open(config: Config) -> Iterator[Run]:
    """Open a run that works in this process."""

    def map_shards(function: Callable, tasks: Sequence, *, label: str, sizes: Sequence[int]) -> list:
        return list(map(function, tasks))

    with open_run(config, map_shards=map_shards, say=[].append) as run:
        yield run


@pytest.fixture
def voted(tiny_photos: Path) -> Path:
    """Confirm a photo of each landmark for the query."""
    header = "evaluation_set,query_id,image_id,landmark_id,reviewer,answer"
    lines = [f"tiny,q,{0:016x},1,ann,same", f"tiny,q,{4:016x},2,ann,same_other_side"]
    (tiny_photos / "votes.csv").write_text("\n".join([header, *lines, ""]))
    import_votes(load_config(tiny_photos / "config.toml"), tiny_photos / "votes.csv")
    return tiny_photos / "config.toml"


def _vectors(parts: list[Descriptors]) -> dict[str, np.ndarray]:
    return {
        name: row.astype(np.float64) for part in parts for name, row in zip(part.image_ids, part.vectors, strict=True)
    }


def _recall(config: Config, detector: str) -> dict[str, dict[int, float]]:
    curves: dict[str, dict[int, float]] = {}
    for row in read_recall(config).to_pylist():
        if row["detector"] == detector:
            curves.setdefault(row["kind"], {})[row["reach"]] = row["recall"]
    return curves


def test_planted_and_confirmed_photos_have_the_ranks_that_counting_gives(voted: Path):
    config = load_config(voted, ("search.probes=all",))
    without = config.model_copy(update={"search": config.search.model_copy(update={"copies": 0})})
    with _open(without) as run:
        assert {each.detector for each in measure_planted(run)} == {"search"}
    assert set(read_recall(without)["detector"].to_pylist()) == {"search"}
    with _open(config) as run:
        reaches = {(each.detector, each.kind): each for each in measure_planted(run)}
        sets = read_sets(run)
        described = describe_sets(run, sets)
        rows = choose_photos(config, sets, 200)
        planted = {
            kind: describe_beside(run, sets, images, label="") for kind, images in plant_photos(run, rows).items()
        }
        candidates = search_candidates(run, sets, described).to_pylist()
    train = _vectors(read_descriptors(described.train))
    probes = {name: _vectors(read_descriptors(shards)) for (_, name), shards in described.probes.items()}
    own = {"q": [probes["global"]["q"], probes["whole"]["q"]], "d": [probes["database"]["d"]]}
    curves = _recall(config, "search")
    for kind, parts in planted.items():
        ranks = [
            min(
                1 + sum(photo @ probe > vector @ probe for photo in train.values())
                for probe in own[rows[int(n)]["image_id"]]
            )
            for n, vector in _vectors(parts).items()
        ]
        assert len(ranks) == reaches["search", kind].n == 2
        assert curves[kind] == {k: np.mean([rank <= k for rank in ranks]) for k in (1, 2, 5, 6)}
        assert reaches["search", kind].enough == max(ranks)
    asked = [row for row in candidates if row["query_id"] == "q"]
    ranks = [1 + min(row["rank"] for row in asked if row["image_id"] == photo) for photo in train]
    assert curves[PHOTOS_FOUND] == {k: np.mean([rank <= k for rank in ranks]) for k in (1, 2, 5, 6)}
    firsts = [min(ranks[:3]), min(ranks[3:])]
    assert curves[LANDMARKS_FOUND] == {k: np.mean([rank <= k for rank in firsts]) for k in (1, 2, 5, 6)}
    plots = draw_plots(config, read_material(config), None)
    assert [png[1:4] for png in plots.values()] == [b"PNG"]


def test_photos_are_planted_whole_and_changed(tiny_photos: Path):
    config = load_config(tiny_photos / "config.toml")
    with _open(config) as run:
        rows = choose_photos(config, read_sets(run), 1)
        planted = plant_photos(run, rows)
        assert plant_photos(run, rows) == planted
    assert [(row["image_id"], row["crop_px"]) for row in rows] == [("q", None)]
    shapes = {kind: load_photo(images.to_pylist()[0]).shape for kind, images in planted.items()}
    assert shapes == {"recompressed": (96, 128, 3), "half the size": (48, 64, 3), "centre 70 %": (68, 90, 3)}
    assert list(shapes) == list(PLANTINGS)


def test_a_photo_that_cant_be_read_is_not_planted(tiny_photos: Path):
    config = load_config(tiny_photos / "config.toml", ("search.probes=all",))
    with _open(config) as run:
        rows = choose_photos(config, read_sets(run), 9)
        (tiny_photos / "eval" / "jpg" / "q.jpg").write_bytes(b"no photo")
        planted = plant_photos(run, rows)
    places = {row["image_id"]: str(place) for place, row in enumerate(rows)}
    assert [images["image_id"].to_pylist() for images in planted.values()] == [[places["d"]]] * 3


def test_the_command_says_how_far_each_detector_reaches(tiny_photos: Path, tmp_path: Path):
    config = tiny_photos / "config.toml"
    done = CliRunner().invoke(app, ["audit", "recall", "-c", str(config), "--photos", "1"])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert any(
        line.startswith("search: centre 70 %, 1: 100.0% found with search.k = 200; 99 % within ") for line in lines
    )
    assert any(line.startswith("copies: recompressed, 1: 100.0% found with search.copies = 10; 99 %") for line in lines)
    written = CliRunner().invoke(app, ["export", "recall", "-c", str(config), "--out", str(tmp_path / "recall.csv")])
    assert written.exit_code == 0, written.output
    with (tmp_path / "recall.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0].keys() == {"detector", "kind", "reach", "recall", "n"}
    assert {row["n"] for row in rows if row["kind"] == TRAINING} == {"6"}


def test_a_curve_that_was_not_measured_is_not_exported(tiny_photos: Path):
    with pytest.raises(ArtifactError, match="step 'recall' has not run yet"):
        read_recall(load_config(tiny_photos / "config.toml"))


def test_photos_of_a_landmark_that_stays_are_no_positives(tiny_photos: Path):
    """People need not be asked about all queries of a landmark that stays."""
    header = "evaluation_set,query_id,image_id,landmark_id,reviewer,answer"
    lines = [f"tiny,q,{photo:016x},{landmark},ann,same" for photo, landmark in ((0, 1), (1, 1), (4, 2))]
    (tiny_photos / "votes.csv").write_text("\n".join([header, *lines, ""]))
    config = load_config(tiny_photos / "config.toml")
    import_votes(config, tiny_photos / "votes.csv")
    with _open(config) as run:
        read_sets(run)
    strict = config.model_copy(update={"policy": config.policy.model_copy(update={"name": "strict"})})
    found = {each.policy.name: find_positives(each, read_material(each)) for each in (config, strict)}
    assert {name: set(landmarks["tiny", "q"]) for name, landmarks in found.items()} == {"paper": {1}, "strict": {1, 2}}
