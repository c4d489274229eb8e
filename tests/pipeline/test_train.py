"""Trainings end to end on a small world: once only, cut and resumed, on versions, in two stages."""

import dataclasses
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from overlap.base.config import Config, DescriptorsConfig, NetworkConfig, TrainingConfig, load_config
from overlap.base.errors import ConfigError, DataError
from overlap.base.images import encode_jpeg
from overlap.base.store import Store
from overlap.pipeline import train as steps
from overlap.pipeline.run import Run
from overlap.pipeline.split import hold_out
from overlap.study.networks.catalogue import build_network
from overlap.study.networks.checkpoint import NetworkSpec, make_settings, read_classifier, read_saved, save_weights
from overlap.study.networks.settings import GemSettings
from overlap.study.training.curve import read_curve

N_LANDMARKS, N_PHOTOS = 6, 8
SMALL = {"steps": 6, "batch": 8, "size_px": 64, "log_every": 2, "validation_landmarks": 3, "cache_gb": 0.1}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write photos of six landmarks, each of its own colours, in three shapes, and an evaluation set of three."""
    folder, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(2)
    colours = rng.integers(30, 220, (N_LANDMARKS, 2, 2, 3))

    def write(path: Path, landmark: int, shape: tuple[int, int] = (80, 100)) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.kron(colours[landmark], np.ones((shape[0] // 2, shape[1] // 2, 1)))
        pixels = pixels + rng.normal(0, 20, pixels.shape)
        path.write_bytes(encode_jpeg(pixels.clip(0, 255).astype(np.uint8)))

    lines = ["image_id,path,landmark_id"]
    for row in range(N_LANDMARKS * N_PHOTOS):
        landmark = row % N_LANDMARKS
        write(folder / "train" / f"t{row}.jpg", landmark, [(80, 100), (100, 60), (60, 100)][row // 7 % 3])
        lines.append(f"t{row},t{row}.jpg,{10 + landmark}")
    (folder / "train" / "images.csv").write_text("\n".join([*lines, ""]))
    gnd = [{"bbx": [0, 0, 90, 80], "easy": [row], "hard": [row + 3], "junk": []} for row in range(3)]
    for row in range(6):
        write(folder / "one" / "jpg" / f"d{row}.jpg", row % 3)
    for row in range(3):
        write(folder / "one" / "jpg" / f"q{row}.jpg", row)
    truth = {"imlist": [f"d{row}" for row in range(6)], "qimlist": ["q0", "q1", "q2"], "gnd": gnd}
    (folder / "one" / "gnd_one.pkl").write_bytes(pickle.dumps(truth))
    (folder / "config.toml").write_text(
        'store = "store"\n[train]\nformat = "csv"\nroot = "train"\n'
        '[[evaluation]]\nformat = "revisited"\nname = "one"\nroot = "one"\n'
        "[descriptors]\nsize_px = 96\n[run]\nworkers = 1\n"
    )
    return folder


@pytest.fixture
def run(world: Path, tmp_path: Path) -> Run:
    config = load_config(world / "config.toml", [f"store={str(tmp_path / 'store')!r}"])
    return here(config, [])


def here(config: Config, said: list[str]) -> Run:
    def map_here(function: Callable, tasks: list, *, label: str, sizes: list[int]) -> list:
        return [function(task) for task in tasks]

    return Run(config, Store(config.store), map_here, said.append)


def settings(**changes: object) -> TrainingConfig:
    return TrainingConfig(**{**SMALL, **changes})


def train(
    run: Run, version: steps.Version | None = None, *, name: str = "gem_small", seed: int = 0, **changes
) -> steps.Trained:
    network = NetworkConfig(name=name, dimensions=changes.pop("dimensions", 16))
    return steps.train_network(
        run, version or steps.full_version(run), network=network, training=settings(**changes), seed=seed
    )


def weights(trained: steps.Trained) -> dict[str, torch.Tensor]:
    content = torch.load(trained.checkpoint, weights_only=True)
    return {**content["state_dict"], "classifier": content["classifier"]}


def same(one: steps.Trained, other: steps.Trained) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_network_is_trained_once_and_knows_its_landmarks_and_name(run: Run) -> None:
    trained = train(run)
    saved = read_saved(trained.checkpoint)
    assert (saved.spec.name, saved.spec.dimensions, saved.seed, saved.steps) == ("gem_small", 16, 0, 6)
    assert saved.landmark_ids == tuple(range(10, 16))
    assert saved.training_set == "full"
    curve = read_curve(trained.curve)
    assert [point.step for point in curve] == [2, 4, 6]
    assert 0 < curve[-1].validation_map <= 1
    assert not list((run.store.root / "training").iterdir())
    before = trained.checkpoint.stat().st_mtime_ns
    assert train(run) == trained
    assert trained.checkpoint.stat().st_mtime_ns == before
    assert train(run, cache_gb=0.2, checkpoint_every=1, seed=0) == trained
    assert train(run, seed=1) != trained


def test_photos_read_afresh_train_the_same_network_as_kept_ones(run: Run) -> None:
    assert same(train(run), dataclasses.replace(train(run, cache_gb=0.0, steps=6)))


def test_a_trained_network_is_scored_and_curates(run: Run) -> None:
    trained = train(run)
    scores = steps.evaluate_checkpoint(run, trained, training_set="placebo 1").scores.to_pylist()
    assert {(row["network"], row["training_set"], row["seed"]) for row in scores} == {("gem_small", "placebo 1", 0)}
    assert steps.evaluate_checkpoint(run, trained.checkpoint, network="ours").scores["network"][0].as_py() == "ours"
    from overlap.pipeline.photos import read_sets
    from overlap.pipeline.retrieve import describe_sets, search_candidates

    settings = DescriptorsConfig(kind="network", path=trained.checkpoint, size_px=96)
    curating = dataclasses.replace(run, config=run.config.model_copy(update={"descriptors": settings}))
    sets = read_sets(curating)
    found = search_candidates(curating, sets, describe_sets(curating, sets))
    assert found.num_rows == 3 * N_LANDMARKS * N_PHOTOS


def test_versions_leave_landmarks_out_and_shift_nothing(run: Run, tmp_path: Path) -> None:
    part = steps.version_without(run, "part", [12, 14])
    assert set(part.images["landmark_id"].to_pylist()) == {10, 11, 13, 15}
    (tmp_path / "clean-1.0.0").mkdir()
    (tmp_path / "clean-1.0.0" / "removals.csv").write_text("landmark_id,n_images\n12,8\n14,8\n")
    released = steps.version_of_release(run, tmp_path / "clean-1.0.0")
    assert released.name == "clean-1.0.0"
    assert released.images.equals(part.images)
    assert steps.version_of_release(run, tmp_path / "clean-1.0.0" / "removals.csv").name == "clean-1.0.0"
    (tmp_path / "mine.csv").write_text("landmark_id\n12\n")
    assert steps.version_of_release(run, tmp_path / "mine.csv").name == "mine"
    trained = train(run, part)
    assert read_saved(trained.checkpoint).landmark_ids == (10, 11, 13, 15)
    assert read_saved(trained.checkpoint).training_set == "part"
    with pytest.raises(DataError, match=r"version 'odd': landmark 7 and 1 others are not in the training set; name"):
        steps.version_without(run, "odd", [7, 8, 12])


def test_versions_hold_out_the_same_photos(run: Run) -> None:
    base = steps.full_version(run).images
    held = hold_out(base, 3)
    assert len(held) == 6
    landmarks = dict(zip(base["image_id"].to_pylist(), base["landmark_id"].to_pylist(), strict=True))
    chosen = {landmarks[image_id] for image_id in held}
    assert len(chosen) == 3
    assert hold_out(base.slice(0, 47), 3) != set()
    assert hold_out(base, 0) == set()
    few = base.filter(pa.compute.less(pa.array(range(base.num_rows)), 18))  # three photos of each landmark
    assert hold_out(few, 3) == set()


def test_training_goes_on_from_a_checkpoint_by_landmark_id(run: Run) -> None:
    first = train(run)
    part = steps.version_without(run, "part", [12])
    network = NetworkConfig(name="gem_small", dimensions=16, weights=first.checkpoint)
    still = settings(steps=1, learning_rate=1e-30, final_learning_rate=0.0)
    second = steps.train_network(run, part, network=network, training=still, seed=3)
    before, after = weights(first), weights(second)
    kept = [0, 1, 3, 4, 5]
    torch.testing.assert_close(after["classifier"], before["classifier"][:, kept])
    torch.testing.assert_close(after["whiten.weight"], before["whiten.weight"])
    alone = train(run, part)
    other = NetworkConfig(name="gem_small", dimensions=16, weights=alone.checkpoint)
    with pytest.raises(
        ConfigError, match=r'without 12 and 0 others of this training set; set training.classifier = "new" to begin'
    ):
        steps.train_network(run, steps.full_version(run), network=other, training=still, seed=0)
    anew = settings(steps=1, learning_rate=1e-30, final_learning_rate=0.0, classifier="new")
    third = steps.train_network(run, steps.full_version(run), network=other, training=anew, seed=0)
    torch.testing.assert_close(weights(third)["whiten.weight"], weights(alone)["whiten.weight"])
    assert read_saved(third.checkpoint).landmark_ids == tuple(range(10, 16))
    wrong = NetworkConfig(name="yokoo_small", dimensions=16, weights=first.checkpoint)
    with pytest.raises(ConfigError, match=r"checkpoint.pt holds gem_small, not yokoo_small; name a checkpoint of that"):
        steps.train_network(run, part, network=wrong, training=still, seed=0)
    small = NetworkConfig(name="gem_small", dimensions=8, weights=first.checkpoint)
    with pytest.raises(ConfigError, match=r"whiten.weight is \(16, 64\), expected \(8, 64\); give the network the dim"):
        steps.train_network(run, part, network=small, training=still, seed=0)


def test_training_starts_from_a_converted_checkpoint(run: Run, tmp_path: Path) -> None:
    spec = NetworkSpec("gem_small", 16, GemSettings())
    converted = build_network("gem_small", dimensions=16, seed=9).state_dict()
    save_weights(tmp_path / "converted.pt", spec, converted)
    network = NetworkConfig(name="gem_small", dimensions=16, weights=tmp_path / "converted.pt")
    for classifier in ("keep", "new"):
        still = settings(steps=1, learning_rate=1e-30, final_learning_rate=0.0, classifier=classifier)
        trained = steps.train_network(run, steps.full_version(run), network=network, training=still, seed=0)
        torch.testing.assert_close(weights(trained)["whiten.weight"], converted["whiten.weight"])
        assert read_saved(trained.checkpoint).landmark_ids == tuple(range(10, 16))


def test_two_stages_start_from_a_checkpoint_of_the_whole_network(run: Run, tmp_path: Path) -> None:
    spec = NetworkSpec("cider_small", 16, make_settings("cider_small", {}))
    converted = build_network("cider_small", dimensions=16, seed=9).state_dict()
    save_weights(tmp_path / "converted.pt", spec, converted)
    network = NetworkConfig(name="cider_small", dimensions=16, weights=tmp_path / "converted.pt")
    still = settings(stages="two", trunk_rate=0, norms="freeze", steps=2)
    trained = steps.train_network(run, steps.full_version(run), network=network, training=still, seed=0)
    torch.testing.assert_close(weights(trained)["trunk.conv1.weight"], converted["trunk.conv1.weight"])


BAD_CLASSIFIERS = {
    "gone": (
        lambda content: content.pop("classifier"),
        r"is a damaged checkpoint: its classifier is not one of 6 land",
    ),
    "small": (
        lambda content: content.update(classifier=content["classifier"][:, :5]),
        r"is not one of 6 landmarks; set",
    ),
    "undefined": (
        lambda content: content["classifier"].fill_(torch.nan),
        r"c.pt: classifier holds undefined or infini",
    ),
}


@pytest.mark.parametrize("case", sorted(BAD_CLASSIFIERS))
def test_a_damaged_classifier_is_named(run: Run, tmp_path: Path, case: str) -> None:
    change, message = BAD_CLASSIFIERS[case]
    content = torch.load(train(run, steps=1).checkpoint, weights_only=True)
    change(content)
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(ConfigError, match=message):
        read_classifier(tmp_path / "c.pt", range(10, 16))


def test_keeping_the_classifier_is_what_trainings_did_before_there_was_a_choice() -> None:
    network, training = NetworkConfig(name="gem_small"), settings()
    assert "classifier" not in steps._identify(network, training)[1]
    assert steps._identify(network, settings(classifier="new"))[1]["classifier"] == "new"


def test_training_starts_from_published_weights_of_the_backbone(run: Run, tmp_path: Path) -> None:
    trunk = build_network("gem_small", seed=9).get_submodule("trunk").state_dict()
    torch.save(trunk, tmp_path / "trunk.pth")
    network = NetworkConfig(name="cider_small", dimensions=16, weights=tmp_path / "trunk.pth")
    still = settings(steps=1, trunk_rate=0.0, norms="freeze")
    trained = steps.train_network(run, steps.full_version(run), network=network, training=still, seed=0)
    found = weights(trained)
    assert all(torch.equal(found[f"trunk.{key}"], value) for key, value in trunk.items())


def test_two_stages_train_the_trunk_first_and_then_the_rest(run: Run) -> None:
    trained = train(run, name="cider_small", stages="two", first_stage=0.34, steps=6)
    points = read_curve(trained.curve)
    assert [point.step for point in points] == [2, 4, 6]
    plain = train(run, name="gem_small", dimensions=None, steps=2)
    found, first = weights(trained), weights(plain)
    trunk = [key for key in first if key.startswith("trunk.")]
    assert trunk
    assert all(torch.equal(found[key], first[key]) for key in trunk)


def test_a_training_that_was_cut_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(run, steps=5)
    cut = dataclasses.replace(run, store=Store(run.store.root.with_name("other")))
    from overlap.study.training import fit

    original = fit._take_step

    def fail(session: object, batches: object, *, step: int) -> torch.Tensor:
        if step == 3:
            raise KeyboardInterrupt
        return original(session, batches, step=step)

    monkeypatch.setattr(fit, "_take_step", fail)
    with pytest.raises(KeyboardInterrupt):
        train(cut, steps=5, checkpoint_every=2)
    steps_done: list[int] = []
    monkeypatch.setattr(fit, "_take_step", lambda s, b, *, step: steps_done.append(step) or original(s, b, step=step))
    assert same(train(cut, steps=5, checkpoint_every=2), whole)
    assert steps_done == [2, 3, 4]


def test_an_unreadable_photo_is_left_out_and_said(run: Run, world: Path) -> None:
    photo = world / "train" / "t5.jpg"
    content = photo.read_bytes()
    photo.write_bytes(content[:-200])
    try:
        said: list[str] = []
        loose = run.config.model_copy(update={"run": run.config.run.model_copy(update={"max_unreadable": 0.1})})
        train(here(loose, said))
        assert any(line.startswith("1 of 48 photos can't be used, for example") for line in said)
        strict = run.config.model_copy(update={"run": run.config.run.model_copy(update={"max_unreadable": 0.0})})
        with pytest.raises(DataError, match=r"1 of 48 photos can't be used, .* over run.max_unreadable = 0"):
            train(here(strict, []), seed=4)
    finally:
        photo.write_bytes(content)


def test_photos_of_an_injected_landmark_are_trained_on(run: Run) -> None:
    full = steps.full_version(run)
    rows = [{**row, "image_id": f"x{row['image_id']}", "landmark_id": 99} for row in full.images.to_pylist()[:9]]
    more = steps.Version(
        "injected", pa.concat_tables([full.images, pa.Table.from_pylist(rows, schema=full.images.schema)])
    )
    assert read_saved(train(run, more, validation_landmarks=0).checkpoint).landmark_ids == (*range(10, 16), 99)


BAD_NETWORKS = {
    "method": (
        NetworkConfig(name="vgg_small"),
        r"network.name = 'vgg_small' is unknown; choose METHOD_BACKBONE of gem",
    ),
    "key": (
        NetworkConfig(name="cider_small", cider={"gates": "soft"}),
        r"network.cider.gates: unknown key; there are en",
    ),
    "value": (
        NetworkConfig(name="cider_small", cider={"gate": "iron"}),
        r"network.cider.gate: Input should be 'hard', ",
    ),
    "none": (NetworkConfig(name="gem_small", gem={"p": 3}), r"network.gem.p: unknown key; there are none"),
    "range": (
        NetworkConfig(name="cider_small", cider={"thresholds": [2.0]}),
        r"cider: thresholds = \(2.0,\); expected",
    ),
}


@pytest.mark.parametrize("case", sorted(BAD_NETWORKS))
def test_wrong_settings_of_a_network_are_named(run: Run, case: str) -> None:
    network, message = BAD_NETWORKS[case]
    with pytest.raises(ConfigError, match=message):
        steps.train_network(run, steps.full_version(run), network=network, training=settings(), seed=0)


def test_settings_of_a_method_reach_the_checkpoint(run: Run) -> None:
    network = NetworkConfig(name="cider_small", dimensions=16, cider={"gate": "soft", "thresholds": [0.25, 0.5, 0.75]})
    trained = steps.train_network(run, steps.full_version(run), network=network, training=settings(steps=1), seed=0)
    found = read_saved(trained.checkpoint).spec.settings
    assert (found.gate, found.thresholds) == ("soft", (0.25, 0.5, 0.75))
    assert steps.evaluate_checkpoint(run, trained).scores.num_rows == 3


BAD_CHECKPOINTS = {
    "newer": (lambda content: content.update(format=2), r"checkpoint format 2, expected 1; it was written by another"),
    "damaged": (lambda content: content.pop("landmark_ids"), r"is a damaged checkpoint \(KeyError: 'landmark_ids'\)"),
    "no dict": (lambda content: content.update(network=3), r"is a damaged checkpoint \(TypeError: "),
    "huge": (
        lambda content: content["network"].update(dimensions=10**12),
        r"is a damaged checkpoint \(ValueError: 1000000000000 dimensions\)",
    ),
    "method": (lambda content: content["network"].update(name="x_small"), r"c.pt: network.name = 'x_small' is unknown"),
}


@pytest.mark.parametrize("case", sorted(BAD_CHECKPOINTS))
def test_checkpoints_that_can_t_be_understood_are_named(run: Run, tmp_path: Path, case: str) -> None:
    change, message = BAD_CHECKPOINTS[case]
    content = torch.load(train(run, steps=1).checkpoint, weights_only=True)
    change(content)
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(ConfigError, match=message):
        read_saved(tmp_path / "c.pt")


def test_the_command_trains_without_a_release_s_landmarks(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    from overlap.cli.main import main

    @contextmanager
    def map_here(workers: int, *, console: object) -> Iterator[Callable]:
        yield lambda function, tasks, *, label, sizes: [function(task) for task in tasks]

    monkeypatch.setattr("overlap.base.workers.map_in_processes", map_here)
    (tmp_path / "removals.csv").write_text("landmark_id\n11\n")
    changes = {**{f"training.{key}": value for key, value in SMALL.items()}, "network.name": "gem_small"}
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    command = [
        "overlap",
        "train",
        "--config",
        str(world / "config.toml"),
        "--set",
        f"store={str(tmp_path / 's')!r}",
        *words,
    ]
    arguments = ["--without", str(tmp_path / "removals.csv"), "--out", str(tmp_path / "c.pt")]
    monkeypatch.setattr("sys.argv", [*command, *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert read_saved(tmp_path / "c.pt").landmark_ids == (10, 12, 13, 14, 15)
    shown = capfd.readouterr()
    assert f"checkpoint: {tmp_path / 'c.pt'}" in shown.out
    assert "train gem_small" in shown.err
    monkeypatch.setattr("sys.argv", [*command, "--out", str(tmp_path / "absent" / "c.pt")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "absent is not there or can't be written to" in capfd.readouterr().err


def test_a_second_process_works_beside_the_one_that_holds_the_store(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    from overlap.cli.options import is_follower, open_config

    place = [f"store={str(tmp_path / 's')!r}"]
    assert not is_follower()
    monkeypatch.setenv("RANK", "1")
    assert is_follower()
    with (
        open_config(world / "config.toml", place) as first,
        open_config(world / "config.toml", place, follows=True) as more,
    ):
        assert more.store == first.store
        more.say("nothing")
    assert "nothing" not in capfd.readouterr().err


@pytest.mark.long
@pytest.mark.timeout(280)
def test_torchrun_trains_one_network_with_two_processes(world: Path, tmp_path: Path) -> None:
    changes = {**{f"training.{key}": value for key, value in SMALL.items()}, "network.name": "gem_small"}
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "overlap"]
    command = [*torchrun, "train", "--config", str(world / "config.toml"), "--set", f"store={str(tmp_path / 's')!r}"]
    done = subprocess.run(
        [*command, *words, "--out", str(tmp_path / "c.pt")], capture_output=True, check=True, env={**os.environ}
    )
    assert done.stdout.count(b"checkpoint: ") == 1
    assert read_saved(tmp_path / "c.pt").landmark_ids == tuple(range(10, 16))
