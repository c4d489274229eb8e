import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from oracles import published
from torch import Tensor

from overlap.base.errors import ConfigError
from overlap.base.weights import read_weights
from overlap.study.networks.catalogue import build_network, load_network
from overlap.study.networks.convert import CONVERTERS, convert
from overlap.study.networks.settings import DolgSettings, Settings

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
Shapes = Mapping[str, tuple[int, ...]]

PUBLIC: dict[str, tuple[Callable[[], Shapes], Callable[[Tensor, Mapping[str, Tensor]], Tensor], Settings | None]] = {
    "solar": (published.solar_shapes, published.solar_describe, None),
    "dolg": (published.dolg_shapes, published.dolg_describe, None),
    "dolg fixed exponent": (
        lambda: published.dolg_shapes(learned_exponent=False),
        published.dolg_describe,
        None,
    ),
    "dolg multi-atrous": (
        lambda: published.dolg_shapes(multi_atrous=True),
        published.dolg_describe,
        DolgSettings(multi_atrous=True),
    ),
    "token": (published.token_shapes, published.token_describe, None),
}


def draw_weights(shapes: Shapes, *, seed: int = 1) -> dict[str, Tensor]:
    """Draw weights that keep numbers of a common size through the whole network."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator)
        if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            value = 1 + 0.2 * value.clamp(-2, 2)
        elif name.endswith(".p"):
            value = torch.full(shape, 2.6)
        else:
            value = value / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.1 * value
        weights[name] = value
    return weights


def photos() -> Tensor:
    return torch.rand((2, 3, 96, 128), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("variant", sorted(PUBLIC))
def test_converted_networks_give_the_public_descriptors(variant: str) -> None:
    shapes, describe, settings = PUBLIC[variant]
    name = f"{variant.split()[0]}_resnet50"
    weights = draw_weights(shapes())
    network = build_network(name, settings=settings).eval()
    network.load_state_dict(convert(name, weights, settings=settings), strict=True)
    normal = (photos() - MEAN) / DEVIATION
    with torch.inference_mode():
        expected = describe(normal.flip(1) if name.startswith("dolg") else normal, weights)
        found = network(photos())
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def blank_weights(shapes: Shapes) -> dict[str, Tensor]:
    """Give weights that take no memory."""
    return {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}


def test_a_converted_file_loads_by_name(tmp_path: Path) -> None:
    stored = {f"module.{key}": value for key, value in blank_weights(published.dolg_shapes()).items()}
    torch.save({"model_state": stored, "cfg": "MODEL: ...", "epoch": 7}, tmp_path / "public.pth")
    torch.save(convert("dolg_resnet50", read_weights(tmp_path / "public.pth")), tmp_path / "ours.pth")
    assert load_network("dolg_resnet50", tmp_path / "ours.pth").dimensions == 512


def test_the_published_depth_is_resnet101() -> None:
    with pytest.raises(ConfigError, match=r"the public file is not a checkpoint of solar_resnet101: \d+ weights are m"):
        convert("solar", blank_weights(published.solar_shapes()))


def test_an_old_solar_file_s_unused_weight_is_left_out() -> None:
    weights = blank_weights(published.solar_shapes())
    before = convert("solar_resnet50", weights)
    after = convert("solar_resnet50", {**weights, "features.soa5.gamma": torch.zeros(1)})
    assert before.keys() == after.keys()


def test_converting_changes_no_weight_of_the_source() -> None:
    weights = blank_weights(published.dolg_shapes())
    convert("dolg_resnet50", weights)["trunk.conv1.weight"].add_(1)
    assert not weights["globalmodel.stem.conv.weight"].any()


def test_an_unknown_converter_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no public checkpoints of 'glam' are known; choose of solar, dolg, token"):
        convert("glam", {})


@pytest.mark.parametrize("method", CONVERTERS)
def test_an_unknown_weight_is_named(method: str) -> None:
    with pytest.raises(ConfigError, match=rf"'head.weight' is no weight of the public {method} network; give the file"):
        convert(f"{method}_resnet50", {"head.weight": torch.zeros(1)})


@pytest.mark.parametrize("method", CONVERTERS)
def test_a_missing_weight_is_named(method: str) -> None:
    weights = blank_weights(PUBLIC[method][0]())
    first = next(key for key in weights if key.endswith(("conv1.0.weight", "stem.conv.weight", "block1.0.weight")))
    del weights[first]
    with pytest.raises(ConfigError, match=r"1 weights are missing \(first: trunk.conv1.weight\), 0 are not"):
        convert(f"{method}_resnet50", weights)


def test_a_weight_that_fits_a_pattern_but_no_network_is_named() -> None:
    weights = {**blank_weights(published.token_shapes()), "tr.encoder.1.mlp.bias": torch.zeros(1024)}
    with pytest.raises(ConfigError, match=r"1 are not the network's \(first: encoders.1.mix.bias\); name the network"):
        convert("token_resnet50", weights)


def test_a_weight_of_another_shape_is_named() -> None:
    weights = {**blank_weights(published.solar_shapes()), "whiten.bias": torch.zeros(512)}
    with pytest.raises(ConfigError, match=r"whiten.bias is \(512,\), expected \(2048,\); name the network that it hol"):
        convert("solar_resnet50", weights)
