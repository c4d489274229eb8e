"""The whole study on a handful of patterns, in a few steps of training: that it runs and its parts fit together."""

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest

from overlap.base.config import load_config
from overlap.base.errors import ConfigError
from overlap.base.images import encode_jpeg
from overlap.base.store import Store
from overlap.pipeline import findings
from overlap.pipeline.findings import measure_impact
from overlap.pipeline.impact import study_impact

NETWORKS = ("cider_small", "gem_small")


@pytest.fixture(scope="module")
def study(tmp_path_factory, open_quietly):
    """Return the config and findings of a study, and what was said in it and in a second run of it."""
    folder = tmp_path_factory.mktemp("impact")
    _write_set(folder)
    config = load_config(_write_config(folder))
    said: list[list[str]] = [[], []]
    with open_quietly(config, said[0]) as run:
        findings = measure_impact(run)
    with open_quietly(config, said[1]) as run:
        assert study_impact(run).query_scores.num_rows
    return config, findings, said


def _write_config(folder: Path) -> Path:
    path = folder / "config.toml"
    path.write_text(
        """
store = "store"
[train]
format = "gldv2"
root = "."
[[evaluation]]
format = "revisited"
name = "ox"
root = "ox"
[training]
steps = 4
batch = 8
size_px = 64
validation_landmarks = 2
log_every = 2
[impact]
networks = ["cider_small", "gem_small"]
release = "release"
doses = 1
size_px = 64
pictures = 2
[run]
workers = 1
""",
        encoding="utf-8",
    )
    return path


def _write_set(folder: Path) -> None:
    """Write photos of patterns: eight landmarks to train on, the first two of which are asked for, and another one."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 255, (9, 6, 8, 3), dtype=np.uint8)

    def write(path: Path, landmark: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 60, (96, 128, 3), dtype=np.uint8)
        path.write_bytes(encode_jpeg(patterns[landmark].repeat(16, axis=0).repeat(16, axis=1) // 2 + noise))

    lines = []
    for landmark in range(8):
        ids = [f"{landmark}{number:015x}" for number in range(5)]
        lines.append(f"{landmark + 1},{' '.join(ids)}")
        for image_id in ids:
            write(folder / "train" / "/".join(image_id[:3]) / f"{image_id}.jpg", landmark)
    (folder / "train_clean.csv").write_text("\n".join(["landmark_id,images", *lines, ""]))
    shown = [0, 1, 8]
    database = [landmark for landmark in shown for _ in range(4)]
    for place, landmark in enumerate(database):
        write(folder / "ox" / "jpg" / f"d{place}.jpg", landmark)
    for place, landmark in enumerate(shown):
        write(folder / "ox" / "jpg" / f"q{place}.jpg", landmark)
    gnd = [
        {"bbx": [10, 5, 120, 90], "easy": [4 * place, 4 * place + 1], "hard": [4 * place + 2], "junk": [4 * place + 3]}
        for place in range(3)
    ]
    truth = {"imlist": [f"d{place}" for place in range(12)], "qimlist": ["q0", "q1", "q2"], "gnd": gnd}
    (folder / "ox" / "gnd_ox.pkl").write_bytes(pickle.dumps(truth))
    (folder / "release").mkdir()
    (folder / "release" / "removals.csv").write_text("landmark_id\n1\n2\n")
    evidence = "evaluation_set,query_id,image_id,landmark_id\nox,q0,a,1\nox,q1,b,2\n"
    (folder / "release" / "evidence.csv").write_text(evidence)


def _rows(findings, name):
    text = (findings.page.parent / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_every_network_is_scored_on_every_version(study):
    _, findings, _ = study
    versions = {row["training_set"] for row in _rows(findings, "versions.csv")}
    assert {"full", "clean", "placebo-1"} < versions
    assert any(version.startswith("dose-") for version in versions)
    scored = {(row["network"], row["training_set"]) for row in _rows(findings, "scores.csv")}
    assert scored == {(network, version) for network in NETWORKS for version in versions}
    assert {row["seed"] for row in _rows(findings, "per_query.csv")} == {"0"}


def test_clean_and_placebo_lost_as_many_landmarks(study):
    _, findings, _ = study
    rows = {row["training_set"]: row for row in _rows(findings, "versions.csv")}
    assert rows["full"]["n_landmarks_removed"] == "0"
    assert rows["clean"]["n_landmarks_removed"] == rows["placebo-1"]["n_landmarks_removed"] != "0"
    assert not set(rows["clean"]["landmark_ids"].split()) & set(rows["placebo-1"]["landmark_ids"].split())


def test_the_effect_is_that_of_the_scores(study):
    _, findings, _ = study
    scores = {}
    for row in _rows(findings, "changes.csv"):
        if row["network"] == "gem_small" and row["overlapping"] == "true":
            scores[row["query_id"]] = float(row["placebo"]) - float(row["clean"])
    (effect,) = [
        row
        for row in _rows(findings, "effect.csv")
        if (row["network"], row["protocol"], row["contrast"], row["queries"])
        == ("gem_small", "medium", "effect", "overlapping")
    ]
    assert float(effect["value"]) == pytest.approx(sum(scores.values()) / len(scores))
    assert int(effect["n_queries"]) == len(scores) > 0


def test_tables_and_pictures_lie_beside_the_page(study):
    _, findings, _ = study
    page = findings.page.read_text(encoding="utf-8")
    for name in ("effects", "changes", "doses", "curves", "attention", "rankings", "embeddings"):
        assert (findings.page.parent / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert page.count("data:image/png;base64,") == 7
    assert "1 seed and 1 placebo draw carry no claim" in page
    assert "The overlapping queries show 2 landmarks only" in page
    methods = {row["method"] for row in _rows(findings, "stages.csv")}
    assert methods == {
        *NETWORKS,
        "gem_small, crop by cider_small",
        "gem_small, crop by its own activation",
        "gem_small, crop of the middle",
    }
    assert len({row["method"] for row in _rows(findings, "boxes.csv")}) == 5


def test_a_second_run_trains_nothing_again(study):
    config, _, said = study
    assert any("loss" in line for line in said[0])
    assert not any("loss" in line for line in said[1])
    assert len(list((Store(config.store).root / "trained").iterdir())) == 8


def test_results_that_would_have_no_place_are_refused_before_anything_is_trained(
    tiny_photos, open_quietly, monkeypatch
):
    monkeypatch.setattr(findings, "study_impact", lambda run: pytest.fail("it was trained"))
    config = load_config(tiny_photos / "config.toml", ["impact.out=train_clean.csv"])
    with open_quietly(config) as run:
        with pytest.raises(
            ConfigError, match=r"impact\.out: .*train_clean\.csv can't be made: File exists; name another"
        ):
            measure_impact(run)
