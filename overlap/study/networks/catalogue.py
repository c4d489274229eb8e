"""Every network by name, and the loading of its weights. Torch is imported by the first use, not by this module.

A name is METHOD_BACKBONE, as in ``cider_resnet101``: a method of NETWORKS with a backbone of BACKBONES, or with
``timm/NAME`` where the timm library is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from overlap.base.errors import ConfigError
from overlap.base.weights import check_weights, read_weights
from overlap.study.networks.published import check_published
from overlap.study.networks.settings import (
    CiderSettings,
    DolgSettings,
    GemSettings,
    GlamSettings,
    Settings,
    SolarSettings,
    TokenSettings,
    YokooSettings,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from overlap.study.networks.backbone import Trunk

_DEPTHS = MappingProxyType({18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)})
_TIMM = "timm/"
# What published weights hold beside the trunk.
_CLASSIFIERS = ("fc.", "classifier.")
_ADVICE = "set descriptors.network to what the file holds"


def resnet(depth: int, *, width: int = 64) -> Trunk:
    """Build a ResNet; ``width`` is that of its first stage."""
    from overlap.study.networks.backbone import BasicBlock, Bottleneck, ResNet

    return ResNet(Bottleneck if depth >= 50 else BasicBlock, _DEPTHS[depth], width=width)


def mobilenet_v2() -> Trunk:
    """Build MobileNetV2."""
    from overlap.study.networks.backbone import MobileNetV2

    return MobileNetV2()


# The first two are ResNet-18 at an eighth and a quarter of its width: small enough to train on a CPU.
BACKBONES: Mapping[str, Callable[[], Trunk]] = MappingProxyType(
    {
        "small": lambda: resnet(18, width=8),
        "narrow": lambda: resnet(18, width=16),
        "mobilenet_v2": mobilenet_v2,
        "resnet18": lambda: resnet(18),
        "resnet34": lambda: resnet(34),
        "resnet50": lambda: resnet(50),
        "resnet101": lambda: resnet(101),
    }
)


def gem(trunk: Trunk, dimensions: int | None, _: GemSettings) -> nn.Module:
    """Build the plain network; its descriptor has the trunk's size unless set otherwise."""
    from overlap.study.networks.gem import GemNetwork

    return GemNetwork(trunk, dimensions=dimensions)


def cider(trunk: Trunk, dimensions: int | None, settings: CiderSettings) -> nn.Module:
    """Build CiDeR, 2048 numbers."""
    from overlap.study.networks.cider import Cider

    return Cider(trunk, dimensions=_size(trunk, dimensions, 2048), settings=settings)


def yokoo(trunk: Trunk, dimensions: int | None, settings: YokooSettings) -> nn.Module:
    """Build Yokoo et al.'s network, 512 numbers."""
    from overlap.study.networks.yokoo import Yokoo

    return Yokoo(trunk, dimensions=_size(trunk, dimensions, 512), settings=settings)


def solar(trunk: Trunk, dimensions: int | None, settings: SolarSettings) -> nn.Module:
    """Build SOLAR, 2048 numbers."""
    from overlap.study.networks.solar import Solar

    return Solar(trunk, dimensions=_size(trunk, dimensions, 2048), settings=settings)


def glam(trunk: Trunk, dimensions: int | None, settings: GlamSettings) -> nn.Module:
    """Build GLAM, 512 numbers."""
    from overlap.study.networks.glam import Glam

    return Glam(trunk, dimensions=_size(trunk, dimensions, 512), settings=settings)


def dolg(trunk: Trunk, dimensions: int | None, settings: DolgSettings) -> nn.Module:
    """Build DOLG, 512 numbers."""
    from overlap.study.networks.dolg import Dolg

    return Dolg(trunk, dimensions=_size(trunk, dimensions, 512), settings=settings)


def token(trunk: Trunk, dimensions: int | None, settings: TokenSettings) -> nn.Module:
    """Build Token, 1024 numbers."""
    from overlap.study.networks.tokens import TokenNetwork

    return TokenNetwork(trunk, dimensions=_size(trunk, dimensions, 1024), settings=settings)


# Each method with its default settings.
NETWORKS: Mapping[str, tuple[Callable[[Trunk, int | None, Any], nn.Module], Settings]] = MappingProxyType(
    {
        "gem": (gem, GemSettings()),
        "cider": (cider, CiderSettings()),
        "yokoo": (yokoo, YokooSettings()),
        "solar": (solar, SolarSettings()),
        "glam": (glam, GlamSettings()),
        "dolg": (dolg, DolgSettings()),
        "token": (token, TokenSettings()),
    }
)


def build_network(
    name: str, *, dimensions: int | None = None, seed: int = 0, settings: Settings | None = None
) -> nn.Module:
    """Build a network with random weights, in training mode; the same seed gives the same weights.

    Every network maps RGB photos in 0..1, (B, 3, H, W), to (B, D) unit rows and normalises colours itself. Its trunk is
    the submodule ``trunk``; D is its attribute ``dimensions``.

    Args:
        name: METHOD_BACKBONE.
        dimensions: D; None for the published size, or the trunk's number of channels where that is smaller.
        settings: of that method; None for its defaults.

    Raises:
        ConfigError: there is no such network, or the settings are another method's.
    """
    import torch

    make_trunk, make, defaults = _find(name)
    if settings is not None and type(settings) is not type(defaults):
        raise ConfigError(f"{name} takes {type(defaults).__name__}, not {type(settings).__name__}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(make_trunk(), dimensions, settings or defaults)


def load_network(
    name: str,
    path: Path,
    *,
    dimensions: int | None = None,
    device: str = "cpu",
    settings: Settings | None = None,
) -> nn.Module:
    """Build a network with the weights of a file, in evaluation mode.

    The file holds a state_dict (see ``read_weights``) of the whole network or, for the plain network, in torchvision's
    layout of its trunk alone (a classifier in it is left aside). No code in it is run.

    Args:
        name: METHOD_BACKBONE.
        dimensions: the descriptor's size; None for what the file holds.
        settings: those that the network was trained with; None for the defaults.

    Raises:
        ConfigError: there is no such network or file, it is no checkpoint, or its keys or shapes are another network's.
    """
    weights = read_weights(path)
    network = build_network(name, dimensions=dimensions or _saved_dimensions(weights), settings=settings)
    if _is_trunk(weights):
        _check_nothing_else(network, name=name, path=path)
        _put_trunk(network, weights, name=name, path=path)
    else:
        _put_whole(network, weights, name=name, path=path)
    return for_inference(network, device=device)


def for_inference(network: nn.Module, *, device: str) -> nn.Module:
    """Put a network into evaluation mode, and channels last: convolutions are faster so, on a GPU and on a CPU."""
    import torch

    network.eval().to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it
    return network


def load_trunk(network: nn.Module, path: Path) -> None:
    """Put weights into a network that is to be trained: of its trunk, as published in torchvision's layout, or of all.

    Raises:
        ConfigError: there is no such file, it is not what its published name says, or it holds another network.
    """
    check_published(path)
    weights = read_weights(path, key="network.weights")
    if _is_trunk(weights):
        _put_trunk(network, weights, name="the network's trunk", path=path)
    else:
        _put_whole(network, weights, name="the network", path=path)


def _find(name: str) -> tuple[Callable[[], Trunk], Callable[[Trunk, int | None, Any], nn.Module], Settings]:
    method, _, backbone = name.partition("_")
    known = backbone in BACKBONES or (backbone.startswith(_TIMM) and len(backbone) > len(_TIMM))
    if method not in NETWORKS or not known:
        raise ConfigError(
            f"descriptors.network = {name!r} is unknown; choose METHOD_BACKBONE of {', '.join(NETWORKS)} and "
            f"{', '.join(BACKBONES)}, {_TIMM}NAME"
        )
    return BACKBONES.get(backbone, lambda: _timm(backbone)), *NETWORKS[method]


def _timm(backbone: str) -> Trunk:
    from overlap.study.networks.backbone import TimmTrunk

    return TimmTrunk(backbone.removeprefix(_TIMM))


def _size(trunk: Trunk, dimensions: int | None, published: int) -> int:
    return dimensions or min(published, trunk.channels)


def _is_trunk(weights: Mapping[str, Tensor]) -> bool:
    return not any(key.startswith("trunk.") for key in weights)


def _saved_dimensions(weights: Mapping[str, Tensor]) -> int | None:
    return weights["whiten.bias"].numel() if "whiten.bias" in weights else None


def _check_nothing_else(network: nn.Module, *, name: str, path: Path) -> None:
    """Check that a network has nothing to load beside its trunk; GeM's exponent starts where it is."""
    rest = [key for key in network.state_dict() if not key.startswith(("trunk.", "pool."))]
    if rest:
        raise ConfigError(
            f"{path} holds a trunk alone, without {name}'s {rest[0]} of {tuple(network.state_dict()[rest[0]].shape)}; "
            "name a checkpoint of the whole network, or the plain gem network without dimensions"
        )


def _put_whole(network: nn.Module, weights: Mapping[str, Tensor], *, name: str, path: Path) -> None:
    check_weights(network.state_dict(), weights, name=name, source=str(path), advice=_ADVICE)
    network.load_state_dict(weights, strict=False)


def _put_trunk(network: nn.Module, weights: Mapping[str, Tensor], *, name: str, path: Path) -> None:
    trunk = network.get_submodule("trunk")
    kept = {key: value for key, value in weights.items() if not key.startswith(_CLASSIFIERS)}
    check_weights(trunk.state_dict(), kept, name=name, source=str(path), advice=_ADVICE)
    trunk.load_state_dict(kept, strict=False)
