"""The loop on photos made up in memory: its loss, its steps, its end, and how it goes on."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from overlap.base.config import TrainingConfig
from overlap.base.errors import ArtifactError, ConfigError, DataError
from overlap.study.training.curve import COLUMNS, Point, read_curve, write_curve
from overlap.study.training.fit import CURVE_FILE, STATE_FILE, Hooks, fit, start_fabric
from overlap.study.training.groups import group_sizes
from overlap.study.training.learner import Learner
from overlap.study.training.reading import Photos
from overlap.study.training.schedule import build_optimiser, learning_rate, set_rate
from overlap.study.training.validation import mean_average_precision, validate_by_retrieval

SIZES = group_sizes(64, "aspect")
SMALL = {"steps": 6, "batch": 4, "size_px": 64, "log_every": 2, "device": "cpu"}


class Tiny(nn.Module):
    """A trunk with batch normalisation, noise in training, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 6)
        self.drop = nn.Dropout(0.2)

    def forward(self, photos: Tensor) -> Tensor:
        return nn.functional.normalize(self.head(self.drop(self.trunk(photos).mean(dim=(-2, -1)))), dim=-1)


def settings(**changes: object) -> TrainingConfig:
    return TrainingConfig(**{**SMALL, **changes})


def learner(chosen: TrainingConfig, *, n_landmarks: int = 3) -> Learner:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = Tiny()
    return Learner(network, dimensions=6, n_landmarks=n_landmarks, settings=chosen, seed=1)


def photos(n: int = 18) -> Photos:
    rng = np.random.default_rng(0)
    colours = rng.integers(20, 235, (3, 3))
    labels = np.arange(n) % 3

    def load(rows: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
        noise = np.stack([np.random.default_rng(row).normal(0, 20, (size_px[1], size_px[0], 3)) for row in rows])
        return (colours[labels[rows]][:, None, None] + noise).clip(0, 255).astype(np.uint8)

    return Photos(labels, np.arange(n) // 7 % 5, SIZES, load)


def train(folder: Path, chosen: TrainingConfig, *, hooks: Hooks = Hooks(), **more) -> tuple[Learner, list[Point]]:
    folder.mkdir(exist_ok=True)
    one = learner(chosen)
    fabric = start_fabric(chosen)
    return one, fit(one, photos(), fabric=fabric, settings=chosen, seed=5, folder=folder, hooks=hooks, **more)


def arcface(
    vectors: list[list[float]], weights: list[list[float]], labels: list[int], margin: float, scale: float
) -> float:
    """Restate the loss of Deng et al. photo by photo; past pi - margin the penalty is the tangent-free one."""
    total = 0.0
    for vector, label in zip(vectors, labels, strict=True):
        logits = []
        for column, weight in enumerate(weights):
            cosine = sum(a * b for a, b in zip(vector, weight, strict=True)) / math.hypot(*vector) / math.hypot(*weight)
            if column == label:
                angle = math.acos(cosine)
                cosine = math.cos(angle + margin) if angle <= math.pi - margin else cosine - margin * math.sin(margin)
            logits.append(scale * cosine)
        total += math.log(sum(math.exp(logit) for logit in logits)) - logits[label]
    return total / len(vectors)


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.2])
def test_the_loss_is_arcface_with_its_margin_in_radians(margin: float) -> None:
    chosen = settings(margin_rad=margin, scale=9.0)
    generator = torch.Generator().manual_seed(3)
    one = learner(chosen, n_landmarks=5)
    one.network = nn.Identity()
    vectors = nn.functional.normalize(torch.randn(30, 6, generator=generator), dim=-1)
    labels = torch.randint(0, 5, (30,), generator=generator)
    expected = arcface(vectors.tolist(), one.classifier.T.tolist(), labels.tolist(), margin, 9.0)
    assert one(vectors, labels).item() == pytest.approx(expected, rel=1e-5)


def test_the_classifier_s_start_depends_on_the_seed_alone() -> None:
    torch.manual_seed(0)
    first = learner(settings()).classifier.clone()
    torch.manual_seed(1)
    assert torch.equal(learner(settings()).classifier, first)


def test_rates_rise_and_fall_as_written() -> None:
    chosen = settings(steps=110, warmup_steps=10, learning_rate=0.5, final_learning_rate=0.1)
    rates = [learning_rate(step, chosen) for step in range(110)]
    assert rates[:10] == pytest.approx([0.05 * (step + 1) for step in range(10)])
    expected = [0.1 + 0.4 * (1 + math.cos(math.pi * step / 100)) / 2 for step in range(100)]
    assert rates[10:] == pytest.approx(expected)
    assert learning_rate(500, chosen) == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_the_trunk_has_a_rate_of_its_own_and_vectors_don_t_decay(kind: str) -> None:
    chosen = settings(optimiser=kind, trunk_rate=0.25, weight_decay=0.01)
    one = learner(chosen)
    optimiser = build_optimiser(one, chosen)
    set_rate(optimiser, 0.4)
    found = {
        id(weight): (group["lr"], group["weight_decay"])
        for group in optimiser.param_groups
        for weight in group["params"]
    }
    expected = {
        name: (0.1 if "trunk" in name else 0.4, 0.01 if weight.ndim > 1 else 0.0)
        for name, weight in one.named_parameters()
    }
    assert {name: found[id(weight)] for name, weight in one.named_parameters()} == expected


def test_the_loss_goes_down(tmp_path: Path) -> None:
    chosen = settings(steps=40, learning_rate=0.02, log_every=5, optimiser="adamw")
    held = photos(6)
    seen: list[int] = []
    hooks = Hooks(validate_by_retrieval(held, batch=4), seen.append)
    _, curve = train(tmp_path, chosen, hooks=hooks)
    assert curve[-1].loss < 0.5 * curve[0].loss
    assert [point.step for point in curve] == list(range(5, 45, 5))
    assert curve[-1].validation_map == 1.0
    assert {point.validation_map for point in curve[:-1]} == {None}
    assert read_curve(tmp_path / CURVE_FILE) == curve
    assert seen == list(range(1, 41))


class CutError(Exception):
    """Stands for the power that fails."""


def same(one: Learner, other: Learner) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("kind", "cut_at"), [("sgd", 3), ("adamw", 6)])
def test_a_run_cut_in_two_is_the_uncut_one_bit_for_bit(tmp_path: Path, kind: str, cut_at: int) -> None:
    chosen = settings(
        steps=8, optimiser=kind, learning_rate=0.01, checkpoint_every=2, log_every=3, accumulate=2, warmup_steps=2
    )
    hooks = Hooks(validate_by_retrieval(photos(6), batch=4))
    whole, expected = train(tmp_path / "whole", chosen, hooks=hooks)

    def cut(step: int) -> None:
        if step == cut_at:
            raise CutError

    with pytest.raises(CutError):
        train(tmp_path / "cut", chosen, hooks=Hooks(hooks.validate, cut))
    torch.manual_seed(99)
    resumed: list[int] = []
    found, curve = train(tmp_path / "cut", chosen, hooks=Hooks(hooks.validate, resumed.append))
    assert resumed[0] == (cut_at - 1) // 2 * 2 + 1
    assert same(whole, found)
    strip = [(point.step, point.loss, point.learning_rate, point.validation_map) for point in expected]
    assert [(p.step, p.loss, p.learning_rate, p.validation_map) for p in curve] == strip
    again, _ = train(tmp_path / "cut", chosen, hooks=hooks)
    assert same(again, whole)


def test_other_seeds_and_drawn_noise_give_other_runs(tmp_path: Path) -> None:
    chosen = settings(steps=2)
    first, _ = train(tmp_path / "a", chosen)
    one = learner(chosen)
    (tmp_path / "b").mkdir()
    fit(one, photos(), fabric=start_fabric(chosen), settings=chosen, seed=6, folder=tmp_path / "b")
    assert not same(first, one)


def test_two_batches_before_a_step_are_one_of_twice_the_size(tmp_path: Path) -> None:
    chosen = settings(steps=1, accumulate=2, batch=9, groups="square", norms="freeze", crop=0, brightness=0, contrast=0)
    ours = photos(18)
    ours = Photos(ours.labels, np.zeros(18, dtype=int), group_sizes(64, "square"), ours.load)

    def once(accumulate: int, batch: int) -> Learner:
        now = chosen.model_copy(update={"accumulate": accumulate, "batch": batch})
        one = learner(now)
        one.network.drop.p = 0.0
        folder = tmp_path / str(accumulate)
        folder.mkdir()
        fit(one, ours, fabric=start_fabric(now), settings=now, seed=5, folder=folder)
        return one

    twice, whole = once(2, 9), once(1, 18)
    for (name, a), b in zip(twice.state_dict().items(), whole.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("norms", ["train", "freeze"])
def test_frozen_parts_stay_to_the_bit(tmp_path: Path, norms: str) -> None:
    chosen = settings(steps=3, norms=norms)
    before = learner(chosen).state_dict()
    one, _ = train(tmp_path, chosen, frozen=("trunk.",))
    after = one.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"network.head.weight", "network.head.bias", "loss.W"}


def test_frozen_norms_keep_their_statistics_and_learn_their_scale(tmp_path: Path) -> None:
    chosen = settings(steps=3, norms="freeze")
    before = learner(chosen).state_dict()
    after = train(tmp_path, chosen)[0].state_dict()
    assert torch.equal(before["network.trunk.1.running_mean"], after["network.trunk.1.running_mean"])
    assert not torch.equal(before["network.trunk.1.weight"], after["network.trunk.1.weight"])


@pytest.mark.parametrize("changes", [{"channels_last": True}, {"precision": "bfloat16"}])
def test_layout_and_precision_change_little(tmp_path: Path, changes: dict[str, object]) -> None:
    _, expected = train(tmp_path / "a", settings())
    _, found = train(tmp_path / "b", settings(**changes))
    assert [point.loss for point in found] == pytest.approx([point.loss for point in expected], rel=0.02)


def test_a_diverging_training_says_where_and_what_to_try(tmp_path: Path) -> None:
    chosen = settings(steps=20, learning_rate=1e30, log_every=4)
    with pytest.raises(
        ConfigError,
        match=r"the training diverged: the loss of step 2 is (nan|inf) at learning rate 9.9\de\+29; lower training",
    ):
        train(tmp_path, chosen)


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_bytes(b"no state")
    with pytest.raises(ArtifactError, match=r"state.pt can't be read \(\w+\); delete it, and the training begins anew"):
        train(tmp_path, settings())


def test_absent_cuda_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ConfigError, match=r'training.device = "cuda", but torch finds no CUDA device here; use "auto"'):
        start_fabric(settings(device="cuda"))


def test_a_batch_that_processes_can_t_share_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match=r"training.batch = 4 can't be shared by 3 processes; set a multiple"):
        start_fabric(settings())


def test_average_precision_is_that_of_a_slow_walk() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12, 4)).astype(np.float32)
    labels = np.arange(12) % 4
    total = 0.0
    for query in range(12):
        others = [row for row in range(12) if row != query]
        others.sort(key=lambda row: -float(vectors[query] @ vectors[row]))
        hits = [labels[row] == labels[query] for row in others]
        found = [sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit]
        total += sum(found) / len(found)
    assert mean_average_precision(vectors, labels) == pytest.approx(total / 12, abs=1e-6)


def test_a_curve_with_something_else_in_it_is_named(tmp_path: Path) -> None:
    write_curve(tmp_path / "c.csv", [Point(1, 2.5, 0.1, 3.0)])
    text = (tmp_path / "c.csv").read_text()
    assert text.splitlines() == [",".join(COLUMNS), "1,2.5,0.1,3.0,"]
    (tmp_path / "c.csv").write_text(text.replace("2.5", "loss"))
    with pytest.raises(DataError, match=r"c.csv line 2: expected numbers, found 1,loss,0.1,3.0,"):
        read_curve(tmp_path / "c.csv")


_TOGETHER = """
import sys, torch
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_fit
torch.set_num_threads(1)
chosen = test_fit.settings(steps=4, norms="freeze", optimiser="adamw", learning_rate=0.01)
one = test_fit.learner(chosen)
one.network.drop.p = 0.0
fabric = test_fit.start_fabric(chosen)
curve = test_fit.fit(one, test_fit.photos(), fabric=fabric, settings=chosen, seed=5, folder=Path({folder!r}))
if fabric.is_global_zero:
    torch.save((one.state_dict(), [point.loss for point in curve]), Path({folder!r}) / "end.pt")
"""


@pytest.mark.long
@pytest.mark.timeout(280)
def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    ends = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        script = tmp_path / f"run{processes}.py"
        script.write_text(_TOGETHER.format(tests=str(Path(__file__).parent), folder=str(folder)))
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        subprocess.run([*torchrun, str(script)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        ends.append(torch.load(folder / "end.pt"))
    assert ends[1][1] == pytest.approx(ends[0][1], rel=1e-5)
    for key, value in ends[0][0].items():
        torch.testing.assert_close(ends[1][0][key], value, atol=1e-5, rtol=1e-4, msg=key)
