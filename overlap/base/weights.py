"""Weights from files: read without running code, found in what a training wrapped them in, checked name by name."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overlap.base.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

# Files written by torch before 0.4.1 lack these counters, which nothing here reads.
COUNTER = "num_batches_tracked"
# Under which name training scripts store the network's weights beside their own state.
_USUAL = ("state_dict", "model_state", "model_state_dict", "model", "net", "network", "weights")
# What a training keeps beside the network: its momenta are tensors by name, too.
_NOT_WEIGHTS = re.compile(r".*(optim|sched|scaler|callback|loop|hyper_param|args|config).*", re.IGNORECASE)
_DEEPEST = 8
# What wrappers of networks put into names: torch.compile, FSDP and Fabric anywhere, others before all of them.
_INNER = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.")
_OUTER = ("module.", "model.", "net.", "network.")
_COUNT = "n_averaged"  # what torch's averaged model keeps beside the network
# A tensor may repeat its numbers by strides, and so be larger than its file, but not by more than this.
_SPARE_BYTES = 100_000_000


def read_weights(path: Path, *, key: str = "descriptors.path") -> dict[str, Tensor]:
    """Read the weights of a network from a file of torch.save or safetensors, alone or beside a training's state.

    Names lose what wrappers of the network put before them: ``module.``, ``model.``, ``_orig_mod.`` and the like.

    Args:
        key: the setting that names the file, for the messages.

    Raises:
        ConfigError: the file is missing or holds code, no weights, several sets of them, or a number that is undefined.
    """
    weights = find_weights(read_checkpoint(path, key=key), source=str(path))
    check_tensors(weights, path=path)
    return weights


def read_checkpoint(path: Path, *, key: str = "descriptors.path") -> Any:
    """Read what torch.save or safetensors wrote, plain values and tensors only: no code in it is run.

    Args:
        key: as for ``read_weights``.

    Raises:
        ConfigError: the file is missing, or holds anything else.
    """
    try:
        return _load(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such checkpoint; {key} names the file with the weights") from None
    except Exception as error:  # the readers raise nearly every kind on damaged bytes
        raise ConfigError(
            f"{path} is not a checkpoint of plain tensors ({_reason(error)}); fetch it again, or save the network's "
            "state_dict() with torch.save"
        ) from error


def find_weights(content: Any, *, source: str) -> dict[str, Tensor]:
    """Find the one set of weights in what a checkpoint holds.

    Args:
        content: what ``read_checkpoint`` gave.
        source: the file, for the messages.

    Raises:
        ConfigError: there is none, or it can't be told which is meant.
    """
    found = _find(content, seen=set())
    if not found:
        raise ConfigError(
            f"{source} holds {_describe(content)}, not a state_dict of names and tensors; save the network's "
            "state_dict() with torch.save"
        )
    place = _choose(found)
    if place is None:
        listed = ", ".join(f"{each} ({len(weights)} tensors)" for each, weights in found.items())
        raise ConfigError(
            f"{source} holds several sets of weights: {listed}; save the one to take alone, as in "
            f"torch.save(torch.load({Path(source).name!r}){next(iter(found))}, 'weights.pth')"
        )
    return found[place]


def check_tensors(tensors: Mapping[str, Tensor], *, path: Path) -> None:
    """Check that the tensors of a file are plain, finite and no larger than the file can hold.

    Raises:
        ConfigError: one isn't; the message names it.
    """
    most_bytes = path.stat().st_size + _SPARE_BYTES
    for name, value in tensors.items():
        _check_tensor(value, most_bytes=most_bytes, where=f"{path}: {name}")


def check_weights(
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    *,
    name: str,
    source: str,
    advice: str,
    optional: Collection[str] = (),
) -> None:
    """Check that a checkpoint has a network's names and shapes; the counters of batch normalisation may be absent.

    Args:
        name: the network, for the message.
        source: the file, for the message.
        advice: what to do about it.
        optional: names that may be absent, too.

    Raises:
        ConfigError: weights are missing, unknown, of another shape, or integers.
    """
    missing = [key for key in expected if key not in found and key not in optional and not key.endswith(COUNTER)]
    unknown = [key for key in found if key not in expected]
    if missing or unknown:
        raise ConfigError(
            f"{source} is not a checkpoint of {name}: {len(missing)} weights are missing{_first(missing)}, "
            f"{len(unknown)} are not the network's{_first(unknown)}; {advice}"
        )
    wrong = [key for key, value in found.items() if value.shape != expected[key].shape]
    if wrong:
        raise ConfigError(
            f"{source} is not a checkpoint of {name}: {wrong[0]} is {tuple(found[wrong[0]].shape)}, expected "
            f"{tuple(expected[wrong[0]].shape)}; {advice}{_others(wrong)}"
        )
    cut = [key for key, value in found.items() if expected[key].is_floating_point() and not value.is_floating_point()]
    if cut:  # what they were scaled by is not in the file
        raise ConfigError(
            f"{source} is not a checkpoint of {name}: {cut[0]} is {found[cut[0]].dtype}, expected "
            f"{expected[cut[0]].dtype}; save the network before it is quantised{_others(cut)}"
        )


def _load(path: Path) -> Any:
    import torch

    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":
        return _load_safetensors(path)
    if start.startswith(b"PK"):
        _check_zip(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about formats that torch itself will drop
        return torch.load(path, map_location="cpu", weights_only=True)


def _load_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(path)


def _check_zip(path: Path) -> None:
    """Refuse what torch doesn't look for: members that are damaged, and a few bytes that unpack to gigabytes."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > path.stat().st_size + _SPARE_BYTES:  # torch.save doesn't compress
            raise ValueError(f"it unpacks to {unpacked} bytes")
        has_sums = any(member.CRC for member in archive.infolist())  # torch can be told to write none
        damaged = archive.testzip() if has_sums else None
    if damaged is not None:
        raise ValueError(f"{damaged} is damaged: it has another sum than when it was written")


def _find(content: Any, place: str = "", *, seen: set[int]) -> dict[str, dict[str, Tensor]]:
    """Return the sets of weights below a value, by where they are."""
    if not isinstance(content, dict) or id(content) in seen or place.count("[") > _DEEPEST:
        return {}
    seen.add(id(content))
    weights = _as_weights(content)
    if weights:
        return {place: weights}
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in content.items():
        if isinstance(key, str) and not _NOT_WEIGHTS.fullmatch(key):
            found |= _find(value, f"{place}[{key!r}]", seen=seen)
    return found


def _as_weights(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the tensors of a dict that holds nothing else but plain values; none where it isn't so."""
    import torch

    if not all(isinstance(key, str) for key in content):
        return {}
    tensors = {key: value for key, value in content.items() if isinstance(value, torch.Tensor) and key != _COUNT}
    plain = all(isinstance(value, torch.Tensor | str | int | float | None) for value in content.values())
    return _unwrap(tensors) if plain and any(value.ndim for value in tensors.values()) else {}


def _unwrap(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off what wrappers put into names; a name that would come up twice keeps all of them as they are.

    Beside a network, a module of Lightning may hold a loss with weights: what has no part in the network is left out.
    """
    unwrapped = {_INNER.sub("", name): value for name, value in weights.items()}
    if len(unwrapped) < len(weights):
        return dict(weights)
    while own := next((each for each in _OUTER if any(name.startswith(each) for name in unwrapped)), None):
        unwrapped = {name.removeprefix(own): value for name, value in unwrapped.items() if name.startswith(own)}
    return unwrapped


def _choose(found: Mapping[str, Mapping[str, Tensor]]) -> str | None:
    """Choose the set with a usual name, if no other could be the same network's."""
    if len(found) == 1:
        return next(iter(found))
    usual = [place for place in found if any(place.endswith(f"[{name!r}]") for name in _USUAL)]
    if len(usual) != 1:
        return None
    twins = [place for place, weights in found.items() if weights.keys() == found[usual[0]].keys()]
    return usual[0] if len(twins) == 1 else None


def _check_tensor(value: Tensor, *, most_bytes: int, where: str) -> None:
    import torch

    if value.layout is not torch.strided or value.is_quantized or value.is_meta or value.is_complex():
        raise ConfigError(f"{where} is a {value.dtype} tensor that is not plain; save the network in float32")
    if value.numel() * value.element_size() > most_bytes:
        raise ConfigError(f"{where} is {tuple(value.shape)}, more than its file can hold; fetch the file again")
    if value.is_floating_point() and not bool(torch.isfinite(value.float()).all()):
        raise ConfigError(
            f"{where} holds undefined or infinite numbers: the file is damaged, or its training diverged; take another"
        )


def _describe(content: Any) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    keys = {key: str(key)[:60] if isinstance(key, str | int) else type(key).__name__ for key in list(content)[:6]}
    inside = ", ".join(f"{text} ({type(content[key]).__name__})" for key, text in keys.items())
    return f"a dict of {inside or 'nothing'}"


def _reason(error: Exception) -> str:
    """Return what is wrong in a few words; torch's own text is a page that advises to load the file less safely."""
    wanted = re.search(r"GLOBAL (\S+)", str(error))
    if wanted:
        return f"it asks for {wanted[1]}, which would run code"
    text = " ".join(str(error).split())
    return type(error).__name__ if "weights_only" in text or not text else f"{type(error).__name__}: {text[:120]}"


def _first(keys: list[str]) -> str:
    return f" (first: {keys[0]})" if keys else ""


def _others(keys: list[str]) -> str:
    return f" ({len(keys) - 1} others differ, too)" if len(keys) > 1 else ""
