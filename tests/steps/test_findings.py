"""The whole study on a small world, in a few steps of training: that it runs, and that its parts fit together."""

import csv

import pytest

from overlap.config import Config, load_config
from overlap.steps.findings import measure_impact
from overlap.store import Store

NETWORKS = ("cider_small", "gem_small")


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_config, open_quietly):
    """Return the config and findings of a study, and what was said in it and in a second run of it."""
    folder = tmp_path_factory.mktemp("impact")
    world = folder / "world"
    settings = (
        "training.steps=4",
        "training.batch=8",
        "training.size_px=64",
        "training.validation_landmarks=2",
        "training.log_every=2",
        'impact.networks=["cider_small", "gem_small"]',
        "impact.doses=1",
        "impact.size_px=64",
        "impact.pictures=2",
        "impact.release=release",
        "synthetic.size_px=240",
        "run.workers=1",
    )
    config = load_config(write_config(folder, world=world), settings)
    said: list[list[str]] = [[], []]
    with open_quietly(config, said[0]) as run:
        from overlap.steps.photos import read_sets

        read_sets(run)
        _release(config)
        findings = measure_impact(run)
    with open_quietly(config, said[1]) as run:
        assert measure_impact(run).grids[0] == findings.grids[0]
    return config, findings, said


def _release(config: Config) -> None:
    """Write the release that faultless reviewers would come to."""
    pairs = list(csv.DictReader((config.train.root / "truth" / "true_pairs.csv").open(encoding="utf-8")))
    config.impact.release.mkdir()
    ids = sorted({int(row["landmark_id"]) for row in pairs if row["query_id"]})
    (config.impact.release / "removals.csv").write_text("landmark_id\n" + "".join(f"{each}\n" for each in ids))
    lines = [",".join(row[name] for name in ("evaluation_set", "query_id", "image_id", "landmark_id")) for row in pairs]
    text = "\n".join(["evaluation_set,query_id,image_id,landmark_id", *lines])
    (config.impact.release / "evidence.csv").write_text(text + "\n")


def _rows(findings, name):
    return list(csv.DictReader((findings.page.parent / name).open(encoding="utf-8")))


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
    assert "1 seed(s) and 1 placebo draw(s) carry no claim" in page
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
