"""Checkpoints: files of plain tensors, read without running code, and checked name by name."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overlap.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

# Under which name training scripts store the weights beside their own state.
_WRAPPERS = ("state_dict", "model_state")
# Files written by torch before 0.4.1 lack these counters, which nothing here reads.
COUNTER = "num_batches_tracked"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the state_dict that torch.save wrote, alone or beside a training's state.

    The file is read with ``weights_only=True``: no code in it is run.

    Raises:
        ConfigError: the file is missing, or holds no tensors by name.
    """
    import torch

    content = read_checkpoint(path)
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ConfigError(f"{path} holds a {type(content).__name__}, not a state_dict of names and tensors")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def read_checkpoint(path: Path) -> Any:
    """Read what torch.save wrote, plain values and tensors only: no code in it is run.

    Raises:
        ConfigError: the file is missing, or holds anything else.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such checkpoint; descriptors.path names the file with the weights") from None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise ConfigError(
            f"{path} is not a checkpoint of plain tensors ({type(error).__name__}); save the network's state_dict with "
            "torch.save"
        ) from None


def check_weights(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], *, name: str, source: str, advice: str
) -> None:
    """Check that a checkpoint has a network's names and shapes; the counters of batch normalisation may be absent.

    Args:
        name: the network, for the message.
        source: the file, for the message.
        advice: what to do about it.

    Raises:
        ConfigError: weights are missing, unknown or of another shape.
    """
    missing = [key for key in expected if key not in found and not key.endswith(COUNTER)]
    unknown = [key for key in found if key not in expected]
    if missing or unknown:
        raise ConfigError(
            f"{source} is not a checkpoint of {name}: {len(missing)} weights are missing{_first(missing)}, "
            f"{len(unknown)} are not the network's{_first(unknown)}; {advice}"
        )
    for key, value in found.items():
        if value.shape != expected[key].shape:
            raise ConfigError(
                f"{source} is not a checkpoint of {name}: {key} is {tuple(value.shape)}, expected "
                f"{tuple(expected[key].shape)}; {advice}"
            )


def _first(keys: list[str]) -> str:
    return f" (first: {keys[0]})" if keys else ""
