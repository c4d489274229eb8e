"""LightGlue, a learned matcher (Lindenberger et al., ICCV 2023), through kornia."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.base.errors import ConfigError
from overlap.base.tables import FloatArray, LocalFeatures
from overlap.base.weights import read_weights
from overlap.features.learned import fetch_public, fill_weights

if TYPE_CHECKING:
    import torch

# Gives (P, 2) int32 rows of both and (P,) float32 confidences in [0, 1].
MatchPair: TypeAlias = Callable[[LocalFeatures, LocalFeatures], tuple[NDArray[np.int32], FloatArray]]

# KeyNet's LightGlue needs affine shapes, which are not kept.
_FILES: Mapping[str, str] = MappingProxyType(
    {
        "sift": "sift_lightglue_v0-1_arxiv-pth",
        "aliked": "aliked_lightglue_v0-1_arxiv-pth",
        "disk": "disk_lightglue_v0-1_arxiv-pth",
    }
)
_OWN = "matcher."
_UNUSED = re.compile(r"(matcher\.)?log_assignment\.\d+\.r")


def load_lightglue(features: str, weights: Path | None, *, device: str) -> MatchPair:
    """Load the matcher trained for a kind of features.

    Args:
        features: sift, aliked or disk.
        weights: a state dict; without it the public file, cached by torch.hub.
        device: cpu or cuda.

    Raises:
        ConfigError: there is no LightGlue for these features, or its weights can't be read, fetched or used.
    """
    import torch
    from kornia.feature import LightGlue

    if features not in _FILES:
        raise ConfigError(f'matcher = "lightglue" works with {", ".join(_FILES)}, not with {features}')
    if weights is None:
        state = fetch_public(lambda: LightGlue(features).state_dict(), [_FILES[features]])
    else:
        state = rename_weights(read_weights(weights, key="verify.matcher_weights"))
    model = LightGlue(None, **{**LightGlue.features[features], "weights": None})
    fill_weights(model, state, where=str(weights or _FILES[features]))
    model = model.to(device).eval()

    def match(query: LocalFeatures, photo: LocalFeatures) -> tuple[NDArray[np.int32], FloatArray]:
        if not len(query.xy_px) or not len(photo.xy_px):
            return np.zeros((0, 2), np.int32), np.zeros(0, np.float32)
        with torch.inference_mode():
            found = model({"image0": _as_input(query, device), "image1": _as_input(photo, device)})
        pairs, confidences = found["matches"][0].cpu().numpy(), found["scores"][0].float().cpu().numpy()
        return pairs.astype(np.int32), confidences.astype(np.float32)

    return match


def rename_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the weights of the published files to the names of today's network.

    Left out are a number a layer that the network no longer has (1 in all published files), as kornia leaves them out,
    and what a training of both kept of the extractor beside the matcher.
    """
    own = {name: value for name, value in state.items() if name.startswith(_OWN)} or state
    return {_rename(name.removeprefix(_OWN)): own[name] for name in own if not _UNUSED.fullmatch(name)}


def _rename(name: str) -> str:
    first, _, rest = name.partition(".")
    layer, _, tail = rest.partition(".")
    return f"transformers.{layer}.{first}.{tail}" if first in ("self_attn", "cross_attn") else name


def _as_input(features: LocalFeatures, device: str) -> "dict[str, torch.Tensor]":
    import torch

    radians = np.deg2rad(np.nan_to_num(features.angles_deg))
    arrays = {
        "keypoints": features.xy_px,
        "descriptors": features.descriptors,
        "scales": features.scales_px / 2,
        "oris": np.where(radians > np.pi, radians - 2 * np.pi, radians).astype(np.float32),
        "image_size": np.array(features.size_px, np.float32),
    }
    return {name: torch.from_numpy(array)[None].to(device) for name, array in arrays.items()}
