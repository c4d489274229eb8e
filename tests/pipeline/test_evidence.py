"""Evidence of a small run on drawn photos: what a release holds of it, and whether the photos give it again."""

import json
import pickle
import shutil
import sqlite3
from contextlib import contextmanager

import numpy as np
import pytest

from overlap.base.config import load_config
from overlap.base.errors import CheckError
from overlap.base.images import encode_jpeg, load_photo
from overlap.cli.main import app
from overlap.evidence.compare import pairs_file
from overlap.pipeline.curate import curate
from overlap.pipeline.publish import publish
from overlap.pipeline.repeat import verify_evidence
from overlap.pipeline.review import import_votes
from overlap.pipeline.run import open_run
from overlap.release.sums import file_names
from overlap.release.verify import verify_release

CONFIG = """
store = "store"
[train]
format = "gldv2"
root = "."
[[evaluation]]
format = "revisited"
name = "tiny"
root = "eval"
[descriptors]
vocabulary = 4
dimensions = 8
[verify]
keypoints = 256
[names]
words = ["Tower"]
[run]
workers = 1
"""
VOTES = """evaluation_set,query_id,image_id,landmark_id,reviewer,answer
tiny,q0,0000000000000000,1,Ann Secret,same
tiny,q0,0000000000000001,1,Ann Secret,same
tiny,q1,0000000000000010,2,Ann Secret,different
,,,3,Ann Secret,same
"""


def draw(folder, name, scene, *, turn, size):
    """Draw a scene from another angle and distance."""
    import cv2

    rng = np.random.default_rng(scene)
    coarse = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
    wall = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
    for _ in range(60):
        x, y, w, h = (int(n) for n in rng.integers(10, [600, 440, 60, 60]))
        cv2.rectangle(wall, (x, y), (x + w, y + h), rng.integers(0, 255, 3).tolist(), 2)
    view = cv2.warpAffine(wall, cv2.getRotationMatrix2D((320, 240), turn, size), (320, 240))
    path = folder / f"{name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_jpeg(view))


@contextmanager
def quietly(config):
    """Open a run that works in this process."""

    def map_shards(function, tasks, *, label, sizes):
        return [function(task) for task in tasks]

    with open_run(config, map_shards=map_shards, say=lambda line: None) as run:
        yield run


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return a folder with three landmarks of drawn photos, two queries, and a published release."""
    folder = tmp_path_factory.mktemp("evidence")
    scenes = {1: "0000000000000000", 2: "0000000000000010", 3: "0000000000000020"}
    ids = {landmark: [first, first[:-1] + "1"] for landmark, first in scenes.items()}
    for landmark, own in ids.items():
        for number, image_id in enumerate(own):
            draw(folder / "train" / "0" / "0" / "0", image_id, landmark, turn=6 * number, size=0.5 + 0.02 * number)
    for name, scene, turn in (("q0", 1, 3), ("q1", 2, -4), ("d", 9, 0)):
        draw(folder / "eval" / "jpg", name, scene, turn=turn, size=0.55)
    (folder / "train_clean.csv").write_text(
        "landmark_id,images\n" + "".join(f"{landmark},{' '.join(own)}\n" for landmark, own in ids.items())
    )
    (folder / "train_label_to_category.csv").write_text("landmark_id,category\n1,Category:<b>Gate\n3,Category:Tower\n")
    (folder / "train_attribution.csv").write_text(
        "id,url,author,license,title\n0000000000000000,https://example.org/a,Doe & Co,CC BY 4.0,File:a.jpg\n"
    )
    entry = {"bbx": [8, 8, 312, 232], "easy": [0], "hard": [], "junk": []}
    truth = {"imlist": ["d"], "qimlist": ["q0", "q1"], "gnd": [entry, entry]}
    (folder / "eval" / "gnd_tiny.pkl").write_bytes(pickle.dumps(truth))
    (folder / "config.toml").write_text(CONFIG)
    (folder / "votes.csv").write_text(VOTES)
    config = load_config(folder / "config.toml")
    with quietly(config) as run:
        curate(run)
        import_votes(config, folder / "votes.csv")
        publish(run)
    return folder


def config_of(world, *overrides):
    return load_config(world / "config.toml", overrides)


@pytest.fixture(scope="module")
def made(world):
    return world / "data_manifests" / "overlap-clean-1.0.0"


@pytest.fixture
def copied(made, tmp_path):
    """Return a release that a test may break."""
    return shutil.copytree(made, tmp_path / made.name)


def check(world, folder, *overrides):
    with quietly(config_of(world, *overrides)) as run:
        return verify_evidence(run, folder)


def landmark(made, number):
    return json.loads((made / pairs_file(number)).read_text())


def test_every_removed_and_every_suspicious_landmark_has_its_evidence(made):
    about = json.loads((made / "evidence" / "about.json").read_text())
    assert about["landmarks"] == [1, 3, 2]
    assert about["settings"]["seed"] == 0
    assert set(about["versions"]) == {"numpy", "opencv-python-headless"}
    gate, other, tower = (landmark(made, number) for number in (1, 2, 3))
    assert (gate["removed"], gate["n_pairs"], len(gate["pairs"])) == (True, 2, 2)
    for pair in gate["pairs"]:
        assert pair["state"] == "confirmed"
        assert pair["answers"] == {"same": 1}
        assert len(pair["inliers"]) == pair["n_inliers"] > 20
        assert (pair["query_size_px"], pair["photo_size_px"]) == ([304, 224], [320, 240])
        points = np.array(pair["inliers"])
        mapped = np.column_stack([points[:, :2], np.ones(len(points))]) @ np.array(pair["matrix"]).reshape(3, 3).T
        assert np.median(np.abs(mapped[:, :2] / mapped[:, 2:] - points[:, 2:])) < 2
    credited = {pair["image_id"]: pair["credit"] for pair in gate["pairs"]}
    assert credited["0000000000000000"]["author"] == "Doe & Co"
    assert credited["0000000000000001"] is None
    assert (other["removed"], other["reason"]) == (False, "2 items: 2 open")
    assert other["pairs"][0]["answers"] == {"different": 1} or other["pairs"][1]["answers"] == {"different": 1}
    assert (tower["pairs"], tower["answers"], len(tower["photos"])) == ([], {"same": 1}, 2)


def test_the_pictures_are_training_photos_and_nobody_is_named(world, made):
    pictures = [name for name in file_names(made) if name.endswith(".jpg")]
    assert pictures == [f"evidence/{number}/{k}.jpg" for number in (1, 2, 3) for k in (0, 1)]
    for pair in landmark(made, 1)["pairs"]:
        image_id = pair["image_id"]
        original = load_photo({"path": str(world / "train" / "0" / "0" / "0" / f"{image_id}.jpg")}).astype(int)
        shown = load_photo({"path": str(made / pair["thumbnail"])}).astype(int)
        assert np.abs(original - shown).mean() < 12
    page = (made / "evidence.html").read_text()
    assert "&lt;b&gt;Gate" in page
    assert "Doe &amp; Co" in page
    assert all(name in page for name in pictures)
    assert not [name for name in file_names(made) if b"Secret" in (made / name).read_bytes()]


def test_the_release_is_proven_and_the_same_again(world, made):
    assert verify_release(made, source=world) == []
    with quietly(config_of(world)) as run:
        assert publish(run).folder == made


def test_the_photos_give_the_evidence_again(world, made):
    n_pairs, findings = check(world, made)
    assert n_pairs == sum(len(landmark(made, number)["pairs"]) for number in (1, 2, 3)) >= 3
    assert findings == []


def test_changed_and_missing_photos_are_named(world, made):
    photo, query = world / "train" / "0" / "0" / "0" / "0000000000000000.jpg", world / "eval" / "jpg" / "q1.jpg"
    before = {path: path.read_bytes() for path in (photo, query)}
    listed = (world / "train_clean.csv").read_text()
    try:
        photo.write_bytes(encode_jpeg(np.zeros((240, 320, 3), np.uint8)))
        query.unlink()
        (world / "train_clean.csv").write_text(listed.replace(" 0000000000000001\n", "\n"))
        _, findings = check(world, made)
    finally:
        for path, content in before.items():
            path.write_bytes(content)
        (world / "train_clean.csv").write_text(listed)
    said = "\n".join(findings)
    assert "landmark 1, query q0, photo 0000000000000000: " in said
    assert "0000000000000000.jpg was changed: its SHA-256 was " in said
    assert "photo 0000000000000001: 0000000000000001 is not in gldv2" in said
    assert "q1.jpg: can't be read: No such file or directory" in said


def edit(folder, number, **changed):
    path = folder / pairs_file(number)
    said = json.loads(path.read_text())
    said["pairs"][0] |= changed
    path.write_text(json.dumps(said))


def test_edited_evidence_is_named_even_where_no_checksum_tells(world, copied):
    edit(copied, 1, n_inliers=400)
    (copied / "evidence" / "1" / "1.jpg").unlink()
    _, findings = check(world, copied)
    assert any("pairs.json was edited: its SHA-256 is not in SHA256SUMS" in text for text in findings)
    assert any("1.jpg is missing" in text for text in findings)
    (copied / "SHA256SUMS").unlink()
    _, [missing, finding] = check(world, copied)
    assert "SHA256SUMS is missing: whether the evidence was edited can't be told" in missing
    assert "landmark 1, query q0, photo " in finding
    assert "n_inliers was 400, is " in finding


def test_other_weights_and_other_settings_are_refused(world, copied):
    (copied.parent / "weights.pth").write_bytes(b"x")
    with pytest.raises(
        CheckError, match=r"about\.json: the evidence was made with verify\.weights of SHA-256 \(none g"
    ):
        check(world, copied, f"verify.weights='{copied.parent}/weights.pth'")
    about = json.loads((copied / "evidence" / "about.json").read_text())
    about["settings"]["features"] = "crystal"
    (copied / "evidence" / "about.json").write_text(json.dumps(about))
    with pytest.raises(CheckError, match=r"about\.json can't be read: its settings are none of this version"):
        check(world, copied)


def test_the_command_ends_with_what_differs(world, copied):
    from typer.testing import CliRunner

    (copied / "evidence" / "about.json").unlink()
    done = CliRunner().invoke(app, ["verify-evidence", str(copied), "--config", str(world / "config.toml")])
    assert isinstance(done.exception, CheckError)
    assert done.exception.exit_code == 1
    assert "about.json can't be read" in str(done.exception)


def test_without_the_run_s_photos_the_pairs_are_named(world, tmp_path):
    config = config_of(world, f"store='{tmp_path}/store'", f"release.out='{tmp_path}/out'")
    with quietly(config) as run:
        import_votes(config, world / "votes.csv")
        made = publish(run).folder
    assert not [name for name in file_names(made) if name.endswith(".jpg")]
    assert [pair["image_id"] for pair in landmark(made, 1)["pairs"]] == ["0000000000000000", "0000000000000001"]
    assert "The photos were not at hand when this was made" in (made / "evidence.html").read_text()
    assert verify_release(made, source=world) == []
    assert check(world, made) == (0, [])


def test_a_broken_chain_of_votes_is_named_and_nothing_published(world, tmp_path):
    config = config_of(world, f"store='{tmp_path}/store'", f"release.out='{tmp_path}/out'")
    import_votes(config, world / "votes.csv")
    with sqlite3.connect(tmp_path / "store" / "reviews.sqlite") as database:
        for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {trigger}")
        database.execute("UPDATE votes SET answer = 'different'")
    database.close()
    with quietly(config) as run, pytest.raises(CheckError, match="the log of votes is not as it was written"):
        publish(run)
    assert not (tmp_path / "out").exists()
