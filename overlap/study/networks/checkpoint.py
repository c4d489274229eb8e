"""Checkpoints that say what they are: weights beside the network's name, size and settings, and the landmarks.

A file is a dict of plain values and tensors, read with ``weights_only=True``: no code in it is run.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from overlap.base.errors import ConfigError
from overlap.base.weights import check_tensors, check_weights, read_checkpoint, read_weights
from overlap.study.networks.catalogue import NETWORKS, build_network, for_inference
from overlap.study.networks.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 1
_MOST_DIMENSIONS = 65_536


@dataclass(frozen=True)
class NetworkSpec:
    """Say which network it is.

    Args:
        name: METHOD_BACKBONE.
        dimensions: of the descriptor.
        settings: of the method.
    """

    name: str
    dimensions: int
    settings: Settings


@dataclass(frozen=True, eq=False)
class Saved:
    """Hold what a checkpoint says beside the weights.

    Args:
        spec: the network.
        landmark_ids: those that it was trained to tell apart, in the classifier's order; none where it isn't known.
        training_set: the name of the version that it was trained on.
        seed: of the training.
        steps: of the optimiser.
    """

    spec: NetworkSpec
    landmark_ids: tuple[int, ...] = ()
    training_set: str | None = None
    seed: int | None = None
    steps: int | None = None


def make_settings(name: str, values: Mapping[str, Any]) -> Settings:
    """Build the settings of a network's method from the values of a TOML table; what is left out has its default.

    Args:
        name: METHOD_BACKBONE.

    Raises:
        ConfigError: the method is unknown, it has no such setting, or a value has the wrong type or range.
    """
    from pydantic import TypeAdapter, ValidationError

    method = name.partition("_")[0]
    if method not in NETWORKS:
        raise ConfigError(f"network.name = {name!r} is unknown; choose METHOD_BACKBONE of {', '.join(NETWORKS)}")
    kind = type(NETWORKS[method][1])
    known = [field.name for field in fields(kind)]
    unknown = [key for key in values if key not in known]
    if unknown:
        raise ConfigError(f"network.{method}.{unknown[0]}: unknown key; there are {', '.join(known) or 'none'}")
    try:
        settings: Settings = TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        found = error.errors()[0]
        key = ".".join(str(part) for part in found["loc"])
        raise ConfigError(f"network.{method}.{key}: {found['msg']} (found {found['input']!r})") from None
    return settings


def size_of(network: nn.Module) -> int:
    """Return the number of dimensions of a network's descriptor."""
    return int(cast(Any, network).dimensions)


def save_checkpoint(path: Path, network: nn.Module, saved: Saved, *, classifier: Tensor) -> None:
    """Write the checkpoint of a training, whole or not at all.

    Args:
        classifier: (dimensions, landmarks) weights of the classifier, columns in the order of ``saved.landmark_ids``.
    """
    import torch

    training = {
        "classifier": classifier.detach().cpu(),
        "landmark_ids": torch.tensor(saved.landmark_ids, dtype=torch.int64),
        "training": {"set": saved.training_set, "seed": saved.seed, "steps": saved.steps},
    }
    weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    _write(path, {**_content(saved.spec, weights), **training})


def save_weights(path: Path, spec: NetworkSpec, weights: Mapping[str, Tensor]) -> None:
    """Write the weights of a network of which no training is known, whole or not at all."""
    _write(path, _content(spec, weights))


def read_saved(path: Path) -> Saved | None:
    """Read what a checkpoint says of itself; None for a file of weights alone.

    Raises:
        ConfigError: the file is missing, holds no plain tensors, or was written by a newer version.
    """
    content = read_checkpoint(path)
    if not isinstance(content, dict) or "format" not in content or "network" not in content:
        return None
    if content.get("format") != FORMAT:
        raise ConfigError(
            f"{path} has checkpoint format {content.get('format')!r}, expected {FORMAT}; it was written by another "
            "version of this program: train again, or use that version"
        )
    try:
        network, training = content["network"], content.get("training")
        settings = make_settings(network["name"], network["settings"])
        spec = NetworkSpec(network["name"], _require_size(network["dimensions"]), settings)
        if training is None:
            return Saved(spec)
        landmark_ids = tuple(content["landmark_ids"].tolist())
        return Saved(spec, landmark_ids, training["set"], training["seed"], training["steps"])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except Exception as error:  # any value may be of any kind
        raise ConfigError(f"{path} is a damaged checkpoint ({type(error).__name__}: {error}); train again") from error


def open_saved(path: Path, saved: Saved, *, device: str = "cpu") -> nn.Module:
    """Build the network of a checkpoint with its weights, in evaluation mode.

    Raises:
        ConfigError: there is no such network, or the weights are another's.
    """
    try:
        network = build_network(saved.spec.name, dimensions=saved.spec.dimensions, settings=saved.spec.settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    load_saved(network, path, saved, name=saved.spec.name)
    return for_inference(network, device=device)


def load_saved(network: nn.Module, path: Path, saved: Saved, *, name: str) -> None:
    """Put the weights of a checkpoint into a network.

    Args:
        name: of the network, as the config has it.

    Raises:
        ConfigError: the checkpoint is of another network, or its weights have other names or shapes.
    """
    if saved.spec.name != name:
        raise ConfigError(f"{path} holds {saved.spec.name}, not {name}; name a checkpoint of that network")
    weights = read_weights(path)
    advice = "give the network the dimensions and settings that it was trained with"
    check_weights(network.state_dict(), weights, name=name, source=str(path), advice=advice)
    network.load_state_dict(weights)


def read_classifier(path: Path, landmark_ids: Sequence[int]) -> Tensor | None:
    """Return the (dimensions, landmarks) classifier of a checkpoint, columns in the order of the given landmarks.

    None for a checkpoint of weights of which no training is known, such as a converted one.

    Raises:
        ConfigError: the checkpoint was not trained on one of them, or its classifier is damaged.
    """
    content = read_checkpoint(path)
    if "landmark_ids" not in content:
        return None
    known, classifier = content["landmark_ids"].tolist(), content.get("classifier")
    if getattr(classifier, "shape", None) != (content["network"]["dimensions"], len(known)):
        raise ConfigError(
            f"{path} is a damaged checkpoint: its classifier is not one of {len(known)} landmarks; set "
            'training.classifier = "new" to begin without it'
        )
    check_tensors({"classifier": classifier}, path=path)
    columns = {landmark_id: column for column, landmark_id in enumerate(known)}
    missing = [landmark_id for landmark_id in landmark_ids if landmark_id not in columns]
    if missing:
        raise ConfigError(
            f"{path} was trained on {len(columns)} landmarks without {missing[0]} and {len(missing) - 1} others of "
            'this training set; set training.classifier = "new" to begin with another classifier, or train on the '
            "landmarks that the checkpoint knows"
        )
    chosen: Tensor = classifier[:, [columns[landmark_id] for landmark_id in landmark_ids]]
    return chosen


def _require_size(dimensions: int) -> int:
    if not 1 <= int(dimensions) <= _MOST_DIMENSIONS:
        raise ValueError(f"{dimensions} dimensions")
    return int(dimensions)


def _content(spec: NetworkSpec, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    network = {**asdict(spec), "settings": _plain(asdict(spec.settings))}
    return {"format": FORMAT, "network": network, "state_dict": dict(weights)}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    import torch

    draft = path.with_name(f".{path.name[:32]}.{uuid.uuid4().hex[:8]}")
    try:
        torch.save(content, draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
