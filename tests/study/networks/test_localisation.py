import math
from dataclasses import replace

import pytest
import torch
from oracles import blocks as oracle
from torch import Tensor

from overlap.base.errors import ConfigError
from overlap.study.networks.localisation import Localisation, expected_background, fuse_masks, scale_to_unit
from overlap.study.networks.settings import CiderSettings

LITERAL = CiderSettings(gate="hard", background="fixed", background_value=0.25, thresholds=(0.2, 0.5, 0.8))


def draw(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def build(settings: CiderSettings, *, seed: int = 1) -> Localisation:
    torch.manual_seed(seed)
    block = Localisation(6, settings=settings)
    with torch.no_grad():
        block.alphas.copy_(draw(len(settings.thresholds), seed=9))
    return block


def numbers(block: Localisation) -> dict[str, list]:
    return {name: value.tolist() for name, value in block.state_dict().items()}


@pytest.mark.parametrize("gate", ["hard", "straight_through"])
@pytest.mark.parametrize("training", [False, True])
def test_equations_one_to_five(gate: str, training: bool) -> None:
    block = build(replace(LITERAL, gate=gate)).train(training)
    features = draw(2, 6, 4, 5)
    attention = block.attention(features)
    found = block(features)
    for photo in range(2):
        expected = oracle.attention_map(features[photo].tolist(), numbers(block))
        torch.testing.assert_close(attention[photo], torch.tensor(expected), atol=1e-6, rtol=0)
        masks = oracle.masks(attention[photo].tolist(), LITERAL.thresholds, lambda i, y, x: 0.25)
        fused = oracle.fuse(features[photo].tolist(), masks, block.alphas.tolist())
        torch.testing.assert_close(found[photo], torch.tensor(fused), atol=1e-5, rtol=1e-5)


def test_random_backgrounds_are_clipped_normal_noise_drawn_for_each_position_and_mask() -> None:
    block = build(CiderSettings(thresholds=(0.9, 1.0))).train()
    drawn = block.masks(torch.zeros(4, 150, 150))
    assert drawn.shape == (4, 2, 150, 150)
    assert ((drawn >= 0) & (drawn <= 1)).all()
    zero, one = 0.5 * (1 + math.erf(-0.1 / 0.9 / math.sqrt(2))), 0.5 * (1 - math.erf(0.9 / 0.9 / math.sqrt(2)))
    assert (drawn == 0).float().mean().item() == pytest.approx(zero, abs=0.01)  # 45.6 %
    assert (drawn == 1).float().mean().item() == pytest.approx(one, abs=0.01)  # 15.9 %
    assert drawn.mean().item() == pytest.approx(expected_background(0.1, 0.9), abs=0.01)
    assert (drawn[:, 0] != drawn[:, 1]).any()
    assert (block.masks(torch.zeros(4, 150, 150)) != drawn).any()


def test_masks_can_share_a_draw() -> None:
    drawn = build(CiderSettings(thresholds=(0.9, 1.0), noise="shared")).train().masks(torch.zeros(1, 30, 30))
    assert torch.equal(drawn[:, 0], drawn[:, 1])
    assert drawn[:, 0].unique().numel() > 100


def test_foreground_is_left_as_it_is_whatever_the_background() -> None:
    block = build(CiderSettings(thresholds=(0.0, 0.5))).train()
    masks = block.masks(torch.linspace(0, 1, 20).view(1, 4, 5))
    assert (masks[:, 0] == 1).all()
    assert (masks[:, 1].flatten()[10:] == 1).all()


@pytest.mark.parametrize(
    ("settings", "background"),
    [
        (CiderSettings(), expected_background(0.1, 0.9)),
        (CiderSettings(test_background=0.0), 0.0),
        (CiderSettings(background="fixed", background_value=0.5), 0.5),
        (CiderSettings(background="fixed", background_value=0.5, test_background=0.1), 0.1),
    ],
)
def test_in_evaluation_the_background_is_one_value(settings: CiderSettings, background: float) -> None:
    block = build(settings).eval()
    masks = block.masks(torch.tensor([[[0.0, 1.0]]]))
    torch.testing.assert_close(masks, torch.tensor([background, 1.0]).expand(1, 2, 1, 2))


@pytest.mark.parametrize(
    ("mean", "deviation", "expected"),
    [(0.1, 0.9, 0.336), (0.1, 0.9**0.5, 0.343), (0.1, 0.5, 0.246), (0.1, 0.5**0.5, 0.301)],
)
def test_the_expected_background(mean: float, deviation: float, expected: float) -> None:
    assert expected_background(mean, deviation) == pytest.approx(expected, abs=5e-4)


def test_the_hard_gate_passes_no_gradient_to_the_attention_layer_and_the_others_do() -> None:
    reached = {}
    for gate in ("hard", "straight_through", "soft"):
        block = build(replace(LITERAL, gate=gate)).train()
        (block(draw(2, 6, 4, 5)) * draw(2, 6, 4, 5, seed=8)).sum().backward()
        assert block.alphas.grad is not None
        assert block.alphas.grad.abs().sum() > 0
        reached[gate] = block.score.weight.grad
    assert reached["hard"] is None
    assert all(reached[gate] is not None and reached[gate].abs().sum() > 0 for gate in ("straight_through", "soft"))


def test_straight_through_has_the_values_of_hard_and_the_gradient_of_soft() -> None:
    attention = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(1))
    found = {}
    for gate in ("hard", "straight_through", "soft"):
        block = build(replace(LITERAL, gate=gate)).eval()
        seen = attention.clone().requires_grad_()
        masks = block.masks(seen)
        if gate != "hard":
            masks.sum().backward()
        found[gate] = (masks.detach(), seen.grad)
    assert torch.equal(found["hard"][0], found["straight_through"][0])
    torch.testing.assert_close(found["soft"][1], found["straight_through"][1])
    assert not torch.equal(found["hard"][0], found["soft"][0])


def test_the_soft_gate_is_a_sigmoid_of_the_given_width() -> None:
    block = build(CiderSettings(gate="soft", temperature=0.2, thresholds=(0.5,), test_background=0.0)).eval()
    expected = [oracle.sigmoid((value - 0.5) / 0.2) for value in (0.0, 0.4, 1.0)]
    torch.testing.assert_close(block.masks(torch.tensor([[[0.0, 0.4, 1.0]]])), torch.tensor([[[expected]]]))


def test_a_constant_map_is_foreground_everywhere_and_harms_no_gradient() -> None:
    heat = torch.full((2, 3, 3), 0.7, requires_grad=True)
    found = scale_to_unit(heat)
    found.sum().backward()
    assert (found == 1).all()
    assert heat.grad is not None
    assert heat.grad.isfinite().all()


def test_one_photo_s_extremes_do_not_scale_another_s_map() -> None:
    heat = draw(3, 4, 4)
    scaled = scale_to_unit(heat)
    torch.testing.assert_close(scaled.amin((1, 2)), torch.zeros(3))
    torch.testing.assert_close(scaled.amax((1, 2)), torch.ones(3))
    torch.testing.assert_close(scaled[1:2], scale_to_unit(heat[1:2]))


def test_equal_alphas_give_the_mean_of_the_masks() -> None:
    masks = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(fuse_masks(masks, torch.full((3,), -1.3)), masks.mean(dim=1))


def test_features_keep_their_precision_and_attention_is_float32() -> None:
    block = build(CiderSettings()).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = draw(1, 6, 4, 5).to(torch.bfloat16)
        assert block.attention(features).dtype is torch.float32
        assert block(features).dtype is torch.bfloat16


@pytest.mark.parametrize("thresholds", [(), (0.5, 1.2), (-0.1,)])
def test_thresholds_outside_zero_to_one_are_an_error(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"cider: thresholds = .*; expected one or more numbers from 0 to 1"):
        CiderSettings(thresholds=thresholds)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"noise_deviation": -0.9}])
def test_widths_must_be_positive(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"cider: temperature = .* and noise_deviation = .* must be above 0"):
        CiderSettings(**wrong)
