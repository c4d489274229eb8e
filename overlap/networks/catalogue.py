"""Every network by name, and the loading of its weights. Torch is imported by the first use, not by this module."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from overlap.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

_RESNETS = MappingProxyType({18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)})
# What published weights hold beside the trunk.
_CLASSIFIERS = ("fc.", "classifier.")
# Files written by torch before 0.4.1 lack these counters, which nothing here reads.
_COUNTER = "num_batches_tracked"


def gem_resnet18(dimensions: int | None) -> nn.Module:
    """Build GeM on ResNet-18, 512 channels."""
    return _gem_resnet(18, dimensions)


def gem_resnet34(dimensions: int | None) -> nn.Module:
    """Build GeM on ResNet-34, 512 channels."""
    return _gem_resnet(34, dimensions)


def gem_resnet50(dimensions: int | None) -> nn.Module:
    """Build GeM on ResNet-50, 2048 channels."""
    return _gem_resnet(50, dimensions)


def gem_resnet101(dimensions: int | None) -> nn.Module:
    """Build GeM on ResNet-101, 2048 channels."""
    return _gem_resnet(101, dimensions)


def gem_small(dimensions: int | None) -> nn.Module:
    """Build GeM on an eighth-width ResNet-18, 64 channels: small enough to train on a CPU."""
    return _gem_resnet(18, dimensions, width=8)


def gem_mobilenet_v2(dimensions: int | None) -> nn.Module:
    """Build GeM on MobileNetV2, 1280 channels."""
    from overlap.networks.backbone import MobileNetV2
    from overlap.networks.gem import GemNetwork

    trunk = MobileNetV2()
    return GemNetwork(trunk, channels=trunk.channels, dimensions=dimensions)


NETWORKS: Mapping[str, Callable[[int | None], nn.Module]] = MappingProxyType(
    {
        "gem_small": gem_small,
        "gem_resnet18": gem_resnet18,
        "gem_resnet34": gem_resnet34,
        "gem_resnet50": gem_resnet50,
        "gem_resnet101": gem_resnet101,
        "gem_mobilenet_v2": gem_mobilenet_v2,
    }
)


def build_network(name: str, *, dimensions: int | None = None, seed: int = 0) -> nn.Module:
    """Build a network with random weights, in training mode; the same seed gives the same weights.

    Every network maps RGB photos in 0..1, (B, 3, H, W), to (B, D) unit rows and normalises colours itself.

    Args:
        name: a key of NETWORKS.
        dimensions: D; None for the trunk's own number of channels.

    Raises:
        ConfigError: there is no such network.
    """
    import torch

    if name not in NETWORKS:
        raise ConfigError(f"descriptors.network = {name!r} is unknown; choose one of {', '.join(NETWORKS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name](dimensions)


def load_network(name: str, path: Path, *, dimensions: int | None = None, device: str = "cpu") -> nn.Module:
    """Build a network with the weights of a file, in evaluation mode.

    The file is a state_dict saved by torch.save, of the whole network or, in torchvision's layout, of its trunk alone
    (a classifier in it is left aside). It is read with ``weights_only=True``: no code in it is run.

    Args:
        name: a key of NETWORKS.
        dimensions: the descriptor's size; None for what the file holds.

    Raises:
        ConfigError: there is no such network or file, it is no checkpoint, or its keys or shapes are another network's.
    """
    weights = _read_weights(path)
    is_trunk = not any(key.startswith("trunk.") for key in weights)
    weights = _drop_classifier(weights) if is_trunk else weights
    network = build_network(name, dimensions=dimensions or _saved_dimensions(weights))
    if is_trunk and any(key.startswith("whiten.") for key in network.state_dict()):
        raise ConfigError(
            f"{path} holds a trunk alone, without the layer to {dimensions} dimensions; leave the dimensions out, "
            "or name a checkpoint of the whole network"
        )
    target = network.get_submodule("trunk") if is_trunk else network
    _check_weights(target.state_dict(), weights, name=name, path=path)
    target.load_state_dict(weights, strict=False)
    return network.eval().to(device)


def _gem_resnet(depth: int, dimensions: int | None, *, width: int = 64) -> nn.Module:
    from overlap.networks.backbone import BasicBlock, Bottleneck, ResNet
    from overlap.networks.gem import GemNetwork

    trunk = ResNet(Bottleneck if depth >= 50 else BasicBlock, _RESNETS[depth], width=width)
    return GemNetwork(trunk, channels=trunk.channels, dimensions=dimensions)


def _read_weights(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such checkpoint; descriptors.path names the file with the weights") from None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ConfigError(
            f"{path} is not a checkpoint of plain tensors ({type(error).__name__}); save the network's state_dict with "
            "torch.save"
        ) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ConfigError(f"{path} holds a {type(content).__name__}, not a state_dict of names and tensors")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _drop_classifier(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if not key.startswith(_CLASSIFIERS)}


def _saved_dimensions(weights: dict[str, Tensor]) -> int | None:
    return len(weights["whiten.bias"]) if "whiten.bias" in weights else None


def _check_weights(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], *, name: str, path: Path) -> None:
    missing = [key for key in expected if key not in found and not key.endswith(_COUNTER)]
    unknown = [key for key in found if key not in expected]
    if missing or unknown:
        raise ConfigError(
            f"{path} is not a checkpoint of {name}: {len(missing)} weights are missing{_first(missing)}, "
            f"{len(unknown)} are not the network's{_first(unknown)}; set descriptors.network to what the file holds"
        )
    for key, value in found.items():
        if value.shape != expected[key].shape:
            raise ConfigError(
                f"{path} is not a checkpoint of {name}: {key} is {tuple(value.shape)}, expected "
                f"{tuple(expected[key].shape)}; set descriptors.network to what the file holds"
            )


def _first(keys: list[str]) -> str:
    return f" (first: {keys[0]})" if keys else ""
