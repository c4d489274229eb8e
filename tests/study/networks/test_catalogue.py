import copy
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from overlap.base.errors import ConfigError
from overlap.study.networks.catalogue import BACKBONES, NETWORKS, build_network, for_inference, load_network, load_trunk
from overlap.study.networks.settings import (
    CiderSettings,
    DolgSettings,
    GlamSettings,
    Settings,
    SolarSettings,
    TokenSettings,
    YokooSettings,
)

SHARED = Path(os.environ.get("OVERLAP_SHARED", Path(__file__).parents[3] / ".." / "shared"))


def photos(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


VARIANTS: dict[str, tuple[str, Settings | None]] = {
    **{f"{method}_small": (f"{method}_small", None) for method in NETWORKS},
    "gem_resnet50": ("gem_resnet50", None),
    "gem_mobilenet_v2": ("gem_mobilenet_v2", None),
    "cider_mobilenet_v2": ("cider_mobilenet_v2", None),
    "solar_mobilenet_v2": ("solar_mobilenet_v2", None),
    "dolg_mobilenet_v2": ("dolg_mobilenet_v2", None),
    **{f"cider {name}": ("cider_small", CiderSettings(enhancement=name)) for name in ("none", "eca", "non_local")},
    "cider gather_excite": ("cider_small", CiderSettings(enhancement="gather_excite", whitening="batch_norm")),
    "cider aspp": ("cider_small", CiderSettings(context="aspp", pooling="gap")),
    "cider no context": ("cider_small", CiderSettings(context="none", gate="soft")),
    "cider no localisation": ("cider_small", CiderSettings(localisation="none", whitening="none")),
    "cider hard": ("cider_small", CiderSettings(gate="hard", thresholds=(0.2, 0.4, 0.9), noise="shared")),
    "cider fixed": ("cider_small", CiderSettings(background="fixed", test_background=0.0)),
    "yokoo dropout": ("yokoo_small", YokooSettings(dropout=0.2)),
    "solar last": ("solar_small", SolarSettings(attention=("last",))),
    "glam local": ("glam_small", GlamSettings(attention="local", dropout=0.1)),
    "glam global": ("glam_small", GlamSettings(attention="global")),
    "glam none": ("glam_small", GlamSettings(attention="none")),
    "dolg multi-atrous": ("dolg_small", DolgSettings(multi_atrous=True)),
    "token two": ("token_small", TokenSettings(tokens=2, heads=4, encoders=2, decoders=1, dropout=0.0)),
}
# The gate that the paper prints is a step: no gradient passes it.
UNREACHED = {"cider hard": ["localise.score.weight", "localise.score.bias"]}


def stir(network: nn.Module) -> nn.Module:
    """Move every weight a little, so that layers which start at zero pass something on."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
    return network


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def variant(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def network(variant: str) -> nn.Module:
    name, settings = VARIANTS[variant]
    return stir(build_network(name, seed=1, settings=settings)).eval()


@pytest.mark.parametrize("size", [(64, 64), (33, 97), (20, 20)])
def test_every_network_returns_unit_rows_of_its_size_for_any_photo(network: nn.Module, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        vectors = network(photos(2, 3, *size))
    assert vectors.shape == (2, network.dimensions)
    assert vectors.dtype is torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


def test_no_network_lets_photos_of_a_batch_touch_each_other(network: nn.Module) -> None:
    batch = photos(3, 3, 64, 80)
    with torch.inference_mode():
        alone = torch.cat([network(photo[None]) for photo in batch])
        torch.testing.assert_close(network(batch), alone, atol=1e-5, rtol=0)


def test_every_network_gives_the_same_whether_channels_come_first_or_last(network: nn.Module) -> None:
    batch = photos(2, 3, 64, 80)
    ready = for_inference(copy.deepcopy(network), device="cpu")
    wide = [weight for weight in ready.parameters() if weight.ndim == 4 and min(weight.shape[1:]) > 1]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in wide)
    with torch.inference_mode():
        expected = network(batch)
        for layout in (torch.contiguous_format, torch.channels_last):
            torch.testing.assert_close(ready(batch.to(memory_format=layout)), expected, atol=1e-5, rtol=0)


def test_every_network_gives_the_same_twice_in_evaluation_and_leaves_torch_s_generator_alone(
    network: nn.Module,
) -> None:
    before = torch.get_rng_state()
    with torch.inference_mode():
        assert torch.equal(network(photos(2, 3, 64, 64)), network(photos(2, 3, 64, 64)))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_network_passes_gradients_to_every_weight(variant: str) -> None:
    name, settings = VARIANTS[variant]
    network = stir(build_network(name, seed=1, settings=settings)).train()
    weights = torch.randn(2, network.dimensions, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    (network(photos(2, 3, 96, 96)) * weights).sum().backward()
    unreached = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert unreached == UNREACHED.get(variant, [])
    grads = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
    assert [name for name, grad in grads.items() if not grad.isfinite().all()] == []
    assert [name for name, grad in grads.items() if not grad.any()] == []


def test_no_network_loses_its_bearings_in_bfloat16(network: nn.Module, variant: str) -> None:
    batch = photos(2, 3, 64, 64)
    with torch.inference_mode():
        exact = network(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(batch)
    assert rough.dtype is torch.float32
    torch.testing.assert_close(rough.norm(dim=1), torch.ones(2))
    assert ((exact * rough).sum(dim=1) > 0.98).all()


def test_every_network_normalises_colours_itself(network: nn.Module) -> None:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    batch = photos(1, 3, 64, 64)
    seen: list[Tensor] = []
    first = next(layer for layer in network.trunk.modules() if isinstance(layer, nn.Conv2d))
    handle = first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        network(batch)
    handle.remove()
    torch.testing.assert_close(seen[0], (batch - mean) / deviation)


def test_dimensions_add_one_linear_layer() -> None:
    network = build_network("gem_small", dimensions=24).eval()
    with torch.inference_mode():
        assert network(photos(2, 3, 64, 64)).shape == (2, 24)
    assert network.state_dict()["whiten.weight"].shape == (24, 64)


def test_the_same_seed_gives_the_same_weights_and_leaves_torch_s_generator_alone() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first, second, other = (build_network("gem_small", seed=seed).state_dict() for seed in (4, 4, 5))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["trunk.conv1.weight"], other["trunk.conv1.weight"])


def norm_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    vectors = {f"{name}.{key}": (channels,) for key in ("weight", "bias", "running_mean", "running_var")}
    return {**vectors, f"{name}.num_batches_tracked": ()}


def resnet_shapes(depths: tuple[int, ...], *, bottleneck: bool) -> dict[str, tuple[int, ...]]:
    """Restate torchvision's layout from its documentation of the published files."""
    shapes = {"conv1.weight": (64, 3, 7, 7), **norm_shapes("bn1", 64)}
    channels = 64
    for stage, depth in enumerate(depths):
        width = 64 * 2**stage
        out = width * (4 if bottleneck else 1)
        for row in range(depth):
            name = f"layer{stage + 1}.{row}"
            kernels = [(width, channels, 1, 1), (width, width, 3, 3), (out, width, 1, 1)]
            if not bottleneck:
                kernels = [(width, channels, 3, 3), (width, width, 3, 3)]
            for number, kernel in enumerate(kernels, start=1):
                shapes[f"{name}.conv{number}.weight"] = kernel
                shapes.update(norm_shapes(f"{name}.bn{number}", kernel[0]))
            if channels != out:
                shapes[f"{name}.downsample.0.weight"] = (out, channels, 1, 1)
                shapes.update(norm_shapes(f"{name}.downsample.1", out))
            channels = out
    return shapes


def mobilenet_shapes() -> dict[str, tuple[int, ...]]:
    shapes = {"features.0.0.weight": (32, 3, 3, 3), **norm_shapes("features.0.1", 32)}
    blocks = [16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320]
    channels = 32
    for row, out in enumerate(blocks, start=1):
        name, width = f"features.{row}.conv", channels if row == 1 else channels * 6
        step = 0
        if row > 1:
            shapes[f"{name}.0.0.weight"] = (width, channels, 1, 1)
            shapes.update(norm_shapes(f"{name}.0.1", width))
            step = 1
        shapes[f"{name}.{step}.0.weight"] = (width, 1, 3, 3)
        shapes.update(norm_shapes(f"{name}.{step}.1", width))
        shapes[f"{name}.{step + 1}.weight"] = (out, width, 1, 1)
        shapes.update(norm_shapes(f"{name}.{step + 2}", out))
        channels = out
    shapes["features.18.0.weight"] = (1280, 320, 1, 1)
    return {**shapes, **norm_shapes("features.18.1", 1280)}


LAYOUTS = {
    "gem_resnet18": resnet_shapes((2, 2, 2, 2), bottleneck=False),
    "gem_resnet34": resnet_shapes((3, 4, 6, 3), bottleneck=False),
    "gem_resnet50": resnet_shapes((3, 4, 6, 3), bottleneck=True),
    "gem_resnet101": resnet_shapes((3, 4, 23, 3), bottleneck=True),
    "gem_mobilenet_v2": mobilenet_shapes(),
}
# Published parameter counts less the classifiers' (512 or 2048 or 1280 x 1000 + 1000).
PARAMETERS = {
    "gem_resnet18": 11_689_512 - 513_000,
    "gem_resnet34": 21_797_672 - 513_000,
    "gem_resnet50": 25_557_032 - 2_049_000,
    "gem_resnet101": 44_549_160 - 2_049_000,
    "gem_mobilenet_v2": 3_504_872 - 1_281_000,
}


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_trunks_have_torchvision_s_layout(name: str) -> None:
    trunk = build_network(name).get_submodule("trunk")
    assert {key: tuple(value.shape) for key, value in trunk.state_dict().items()} == LAYOUTS[name]
    assert sum(weight.numel() for weight in trunk.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(("stage", "stride"), [("layer1.0", 1), ("layer2.0", 2), ("layer4.0", 2)])
def test_bottlenecks_stride_on_the_3x3_convolution(stage: str, stride: int) -> None:
    block = build_network("gem_resnet50").get_submodule(f"trunk.{stage}")
    assert [block.conv1.stride[0], block.conv2.stride[0], block.conv3.stride[0]] == [1, stride, 1]


def test_a_saved_network_loads_whole(tmp_path: Path) -> None:
    network = for_inference(build_network("gem_small", dimensions=16, seed=3), device="cpu")
    torch.save({"state_dict": {f"module.{key}": value for key, value in network.state_dict().items()}}, tmp_path / "w")
    loaded = load_network("gem_small", tmp_path / "w")
    assert not loaded.training
    with torch.inference_mode():
        assert torch.equal(loaded(photos(2, 3, 64, 64)), network(photos(2, 3, 64, 64)))


def test_a_trunk_with_a_classifier_loads_without_it(tmp_path: Path) -> None:
    source = build_network("gem_resnet18", seed=9).get_submodule("trunk").state_dict()
    weights = {key: value for key, value in source.items() if not key.endswith("num_batches_tracked")}
    torch.save(
        {**weights, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, tmp_path / "resnet18.pth"
    )
    loaded = load_network("gem_resnet18", tmp_path / "resnet18.pth").get_submodule("trunk").state_dict()
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)


@pytest.mark.parametrize("name", ["gem_resnet51", "resnet50", "fasttext_small", "cider", "gem_timm/"])
def test_unknown_networks_are_named(name: str) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"descriptors.network = '{name}' is unknown; choose METHOD_BACKBONE of gem, cider, .* and small, narrow",
    ):
        build_network(name)


def test_settings_of_another_method_are_named() -> None:
    with pytest.raises(ConfigError, match=r"solar_small takes SolarSettings, not CiderSettings"):
        build_network("solar_small", settings=CiderSettings())


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_every_method_takes_every_backbone_at_its_published_size(backbone: str) -> None:
    published = {"cider": 2048, "yokoo": 512, "solar": 2048, "glam": 512, "dolg": 512, "token": 1024, "gem": 4096}
    for method, size in published.items():
        with torch.device("meta"):
            network = build_network(f"{method}_{backbone}")
        assert network.dimensions == min(size, network.get_submodule("trunk").channels)


@pytest.mark.parametrize("backbone", ["small", "mobilenet_v2", "resnet50"])
def test_trunks_give_both_maps_and_can_be_cut_between_them(backbone: str) -> None:
    trunk = build_network(f"gem_{backbone}").eval().get_submodule("trunk")
    batch = photos(1, 3, 96, 65)
    with torch.inference_mode():
        middle, last = trunk.maps(batch)
        assert middle.shape == (1, trunk.middle_channels, 6, 5)
        assert last.shape == (1, trunk.channels, 3, 3)
        assert torch.equal(last, trunk(batch))
        assert torch.equal(last, trunk.last(trunk.middle(batch)))


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.pth: no such checkpoint; descriptors.path names"):
        load_network("gem_small", tmp_path / "absent.pth")


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("trapped",)


def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Trap()}, tmp_path / "w.pth")
    with pytest.raises(
        ConfigError, match=r"w.pth is not a checkpoint of plain tensors \(it asks for posix.mkdir, which would run code"
    ):
        load_network("gem_small", tmp_path / "w.pth")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04broken"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ConfigError, match=r"w.pth is not a checkpoint of plain tensors"):
        load_network("gem_small", tmp_path / "w.pth")


def test_a_file_that_is_no_state_dict_is_named(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"w.pth holds a list, not a state_dict of names and tensors"):
        load_network("gem_small", tmp_path / "w.pth")


def test_another_network_s_checkpoint_is_named(tmp_path: Path) -> None:
    torch.save(build_network("gem_small").get_submodule("trunk").state_dict(), tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"conv1.weight is \(8, 3, 7, 7\), expected \(64, 3, 7, 7\); set desc"):
        load_network("gem_resnet18", tmp_path / "w.pth")
    with pytest.raises(
        ConfigError, match=r"not a checkpoint of gem_mobilenet_v2: \d+ weights are missing \(first: featu"
    ):
        load_network("gem_mobilenet_v2", tmp_path / "w.pth")


@pytest.mark.parametrize(("name", "dimensions"), [("gem_small", 32), ("cider_small", None)])
def test_a_trunk_cannot_give_what_comes_after_it(tmp_path: Path, name: str, dimensions: int | None) -> None:
    torch.save(build_network("gem_small").get_submodule("trunk").state_dict(), tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=rf"w.pth holds a trunk alone, without {name}'s .* of \(.*\); name a check"):
        load_network(name, tmp_path / "w.pth", dimensions=dimensions)


@pytest.mark.parametrize("method", sorted(NETWORKS))
def test_every_method_s_checkpoint_loads_with_its_size(tmp_path: Path, method: str) -> None:
    network = for_inference(stir(build_network(f"{method}_small", dimensions=24, seed=3)), device="cpu")
    torch.save({"model_state": network.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    loaded = load_network(f"{method}_small", tmp_path / "w.pth")
    with torch.inference_mode():
        assert torch.equal(loaded(photos(2, 3, 64, 64)), network(photos(2, 3, 64, 64)))


def test_weights_of_the_whole_network_start_a_training(tmp_path: Path) -> None:
    source = build_network("cider_small", seed=9).state_dict()
    torch.save({"state_dict": {f"model.{name}": value for name, value in source.items()}}, tmp_path / "whole.ckpt")
    network = build_network("cider_small", seed=1)
    load_trunk(network, tmp_path / "whole.ckpt")
    assert all(torch.equal(value, source[name]) for name, value in network.state_dict().items())
    with pytest.raises(ConfigError, match=r"whole.ckpt is not a checkpoint of the network: \d+ weights are missing"):
        load_trunk(build_network("dolg_small"), tmp_path / "whole.ckpt")


def test_a_trunk_s_published_weights_start_a_training(tmp_path: Path) -> None:
    source = build_network("gem_small", seed=9).get_submodule("trunk").state_dict()
    torch.save({**source, "fc.weight": torch.zeros(10, 64)}, tmp_path / "trunk.pth")
    network = build_network("cider_small", seed=1)
    before = network.state_dict()["whiten.weight"].clone()
    load_trunk(network, tmp_path / "trunk.pth")
    found = network.get_submodule("trunk").state_dict()
    assert all(torch.equal(found[key], source[key]) for key in source)
    assert torch.equal(network.state_dict()["whiten.weight"], before)
    with pytest.raises(ConfigError, match=r"trunk.pth is not a checkpoint of the network's trunk: \d+ weights"):
        load_trunk(build_network("cider_mobilenet_v2"), tmp_path / "trunk.pth")


class FakeTimm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, stride=16, padding=1), nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.feature_info = types.SimpleNamespace(channels=lambda: [16, 32])

    def forward(self, x: Tensor) -> list[Tensor]:
        middle = self.first(x).relu()
        return [middle, self.second(middle).relu()]


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, object]]]:
    """Stand in for the timm library, which the development machines don't have."""
    calls: list[tuple[str, dict[str, object]]] = []

    def create_model(name: str, **options: object) -> nn.Module:
        calls.append((name, options))
        if name == "absent":
            raise RuntimeError("Unknown model (absent)")
        return FakeTimm()

    module = types.ModuleType("timm")
    module.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", module)
    return calls


@pytest.mark.parametrize("method", ["cider", "dolg", "token"])
def test_timm_networks_serve_as_backbones(timm: list[tuple[str, dict[str, object]]], method: str) -> None:
    network = build_network(f"{method}_timm/convnext_tiny.fb_in1k").eval()
    assert timm == [("convnext_tiny.fb_in1k", {"pretrained": False, "features_only": True, "out_indices": (-2, -1)})]
    with torch.inference_mode():
        assert network(photos(2, 3, 64, 64)).shape == (2, 32)


def test_solar_takes_a_timm_backbone_with_attention_at_its_end(timm: object) -> None:
    network = build_network("solar_timm/x", settings=SolarSettings(attention=("last",))).eval()
    with torch.inference_mode():
        assert network(photos(2, 3, 64, 64)).shape == (2, 32)
    with pytest.raises(ConfigError, match=r"solar: a timm backbone can't take attention in its middle; set attention"):
        build_network("solar_timm/x")


def test_an_unknown_timm_network_is_named(timm: object) -> None:
    with pytest.raises(ConfigError, match=r"timm can't give feature maps of 'absent': Unknown model"):
        build_network("gem_timm/absent")


def test_a_missing_timm_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"the backbone timm/resnet50 needs the timm library, which is not installed"):
        build_network("gem_timm/resnet50")


def test_token_heads_must_share_the_channels() -> None:
    with pytest.raises(ConfigError, match=r"token: 5 heads don't share 32 channels evenly; set heads"):
        build_network("token_small", settings=TokenSettings(heads=5))


def test_importing_the_catalogue_does_not_import_torch() -> None:
    code = "import sys, overlap.study.networks.catalogue; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_published_mobilenet_weights_give_the_exported_program_s_descriptors() -> None:
    weights, program = SHARED / "weights/mobilenet_v2_imagenet.pth", SHARED / "weights/mobilenet_v2_gem.pt2"
    if not (weights.exists() and program.exists()):
        pytest.skip(f"{weights} and {program.name} are not here")
    exported = torch.export.load(program).module(check_guards=False)
    with torch.inference_mode():
        batch = photos(2, 3, 160, 224)
        torch.testing.assert_close(load_network("gem_mobilenet_v2", weights)(batch), exported(batch), atol=1e-6, rtol=0)
