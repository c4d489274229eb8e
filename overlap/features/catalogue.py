"""The kinds of local features, and the settings each is used with unless told otherwise."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

from overlap.base.config import VerifyConfig
from overlap.base.devices import choose_device
from overlap.base.errors import ConfigError
from overlap.base.images import Pixels
from overlap.base.tables import FloatArray, LocalFeatures
from overlap.features import learned, lightglue, mutual
from overlap.features.sift import extract_root_sift as extract_root_sift
from overlap.features.storage import round_features

Extract: TypeAlias = Callable[[Pixels], LocalFeatures]
FindNearest: TypeAlias = Callable[[Sequence[tuple[FloatArray, FloatArray]]], list[mutual.Nearest]]


@dataclass(frozen=True)
class FeatureDefaults:
    """Say at which longer side a kind of features is detected, and how many keypoints are kept."""

    size_px: int
    keypoints: int


DEFAULTS: Mapping[str, FeatureDefaults] = MappingProxyType(
    {
        "sift": FeatureDefaults(size_px=1024, keypoints=2048),
        "aliked": FeatureDefaults(size_px=800, keypoints=2048),
        "disk": FeatureDefaults(size_px=800, keypoints=2048),
        "keynet": FeatureDefaults(size_px=800, keypoints=2048),
    }
)

_LOADERS: Mapping[str, Callable[..., learned.Detect]] = MappingProxyType(
    {"aliked": learned.load_aliked, "disk": learned.load_disk, "keynet": learned.load_keynet}
)


def load_extractor(settings: VerifyConfig) -> Extract:
    """Return the function that turns a photo into local features, weights loaded.

    The features are those that storage would give back (see storage.round_features).

    Raises:
        ConfigError: the weights file is missing, is not a plain state dict of this network, or can't be fetched; or
            sift was given weights.
    """
    defaults = DEFAULTS[settings.features]
    size_px, keypoints = settings.size_px or defaults.size_px, settings.keypoints or defaults.keypoints
    if settings.features == "sift":
        if settings.weights is not None:
            raise ConfigError(f"verify.weights = {settings.weights}: sift has no weights; remove the key")
        return partial(_extract_sift, keypoints=keypoints, size_px=size_px)
    device = choose_device(settings.device, key="verify.device")
    detect = _LOADERS[settings.features](settings.weights, keypoints=keypoints, device=device)
    return partial(_extract_learned, detect=detect, size_px=size_px)


def load_matcher(settings: VerifyConfig) -> lightglue.MatchPair | None:
    """Return the learned matcher that verification is handed, or None for mutual nearest neighbours.

    Raises:
        ConfigError: its weights file is missing, is not a plain state dict of this network, or can't be fetched.
    """
    if settings.matcher == "mutual":
        return None
    device = choose_device(settings.device, key="verify.device")
    return lightglue.load_lightglue(settings.features, settings.matcher_weights, device=device)


def load_nearest(settings: VerifyConfig) -> FindNearest | None:
    """Return what finds the nearest neighbours of many pairs at once on the GPU, or None where there is none.

    Raises:
        ConfigError: cuda was asked for and there is none.
    """
    if settings.matcher != "mutual" or choose_device(settings.device, key="verify.device") == "cpu":
        return None
    return partial(mutual.find_nearest, device="cuda")


def _extract_sift(pixels: Pixels, *, keypoints: int, size_px: int) -> LocalFeatures:
    return round_features(extract_root_sift(pixels, keypoints=keypoints, size_px=size_px))


def _extract_learned(pixels: Pixels, *, detect: learned.Detect, size_px: int) -> LocalFeatures:
    return round_features(learned.extract_learned(pixels, detect=detect, size_px=size_px))
