"""Learned local features through kornia: ALIKED, DISK, KeyNet-AffNet-HardNet."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from overlap.base.errors import ConfigError
from overlap.base.images import Pixels
from overlap.base.tables import FloatArray, LocalFeatures
from overlap.base.weights import check_weights, read_weights
from overlap.features.sift import no_features, resize_to_longest, to_full_size

if TYPE_CHECKING:
    import torch

# (M, 2) positions, (M,) region diameters, (M,) angles in degrees, (M,) responses, (M, D) descriptors.
Detections: TypeAlias = tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]
# Takes a (3, H, W) float32 RGB array in [0, 1].
Detect: TypeAlias = Callable[[FloatArray], Detections]

# kornia checks no hash of these; a cached file that differs is refused.
WEIGHT_HASHES: Mapping[str, str] = MappingProxyType(
    {
        "aliked-n16rot.pth": "ddf3abbf38e86f6a74540d214e1a9712c54b2d8551abc864542199f2347d7332",
        "keynet_pytorch.pth": "59d3a46d57b439513acf531877fdfaa95eb550ccd10ec462e23d7c1f7a86d52a",
        "AffNet.pth": "65c8bb2cf71e913818522d09dcc4262bcbcef5d756baa86a41f28526c2d61160",
        "OriNet.pth": "030e7964ae3e136d00431c7e11c6b67df40ad299f02ac384fee0f1c3fd1dcb30",
    }
)

_SMALLEST_PX = 64
_KEY = "verify.weights"
_STATISTICS = ("running_mean", "running_var")


def extract_learned(pixels: Pixels, *, detect: Detect, size_px: int) -> LocalFeatures:
    """Run a loaded network on a photo resized so that its longer side is ``size_px``, up as well as down.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        detect: what a loader of this module gave.
        size_px: longer side that the network sees; a much longer photo's shorter side is padded to 64 pixels.

    Returns:
        The features in pixels of the given photo, strongest first.
    """
    resized, scale = resize_to_longest(pixels, size_px)
    short = [(0, max(_SMALLEST_PX - side, 0)) for side in resized.shape[:2]]
    padded = np.pad(resized, (*short, (0, 0)), mode="edge")
    xy, scales, angles, responses, descriptors = detect(padded.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    inside = np.flatnonzero((xy[:, 0] < resized.shape[1] - 0.5) & (xy[:, 1] < resized.shape[0] - 0.5))
    if not len(inside):
        return no_features(pixels, dimensions=descriptors.shape[1])
    order = inside[np.lexsort((xy[inside, 0], xy[inside, 1], -responses[inside]))]
    size = (pixels.shape[1], pixels.shape[0])
    return LocalFeatures(
        xy_px=to_full_size(xy[order], scale=scale, size_px=size),
        scales_px=(scales[order] / scale).astype(np.float32),
        angles_deg=(angles[order] % 360).astype(np.float32),
        responses=responses[order].astype(np.float32),
        descriptors=descriptors[order].astype(np.float32),
        size_px=size,
    )


def load_aliked(weights: Path | None, *, keypoints: int, device: str) -> Detect:
    """Load ALIKED n16rot (Zhao et al., TIM 2023).

    Args:
        weights: a state dict; without it kornia's public file, cached by torch.hub.
        keypoints: how many at most.
        device: cpu or cuda.

    Raises:
        ConfigError: the weights can't be read or fetched, or belong to another network.
    """
    import torch
    from kornia.feature import ALIKED

    model = ALIKED("aliked-n16rot", max_num_keypoints=keypoints, detection_threshold=0)
    if weights is None:
        public = fetch_public(lambda: ALIKED.from_pretrained("aliked-n16rot").state_dict(), ["aliked-n16rot.pth"])
        fill_weights(model, public, where="kornia's aliked-n16rot.pth")
    else:
        fill_weights(model, read_weights(weights, key=_KEY), where=str(weights))
    model = model.to(device).eval()

    def detect(image: FloatArray) -> Detections:
        with torch.inference_mode():
            found = model(torch.from_numpy(image)[None].to(device))[0]
        return _as_points(found.keypoints, found.keypoint_scores, found.descriptors)

    return detect


def load_disk(weights: Path | None, *, keypoints: int, device: str) -> Detect:
    """Load DISK (Tyszkiewicz et al., NeurIPS 2020), depth-supervised; arguments and errors as load_aliked."""
    import torch
    from kornia.feature import DISK

    model = DISK()
    if weights is None:
        public = fetch_public(lambda: DISK.from_pretrained("depth").state_dict(), ["depth-save.pth"])
        fill_weights(model, public, where="kornia's depth-save.pth")
    else:
        fill_weights(model, read_weights(weights, key=_KEY), where=str(weights))
    model = model.to(device).eval()

    def detect(image: FloatArray) -> Detections:
        with torch.inference_mode():
            found = model(torch.from_numpy(image)[None].to(device), n=keypoints, pad_if_not_divisible=True)[0]
        return _as_points(found.keypoints, found.detection_scores, found.descriptors)

    return detect


def load_keynet(weights: Path | None, *, keypoints: int, device: str) -> Detect:
    """Load KeyNet-AffNet-HardNet; arguments and errors as load_aliked.

    Args:
        weights: one state dict of all four networks, as ``KeyNetAffNetHardNet().state_dict()`` gives it.

    Source: Barroso-Laguna et al., ICCV 2019; Mishkin et al., ECCV 2018; Mishchuk et al., NeurIPS 2017.
    """
    import torch
    from kornia.feature import KeyNetAffNetHardNet, get_laf_orientation, get_laf_scale, laf_is_filled

    model = _compose_keynet(keypoints)
    if weights is None:
        files = ["keynet_pytorch.pth", "AffNet.pth", "OriNet.pth", "checkpoint_liberty_with_aug.pth"]
        fill_weights(
            model, fetch_public(lambda: KeyNetAffNetHardNet(8).state_dict(), files), where="kornia's KeyNet files"
        )
    else:
        fill_weights(model, read_weights(weights, key=_KEY), where=str(weights))
    model = model.to(device).eval()

    def detect(image: FloatArray) -> Detections:
        grey = torch.from_numpy(image)[None].to(device).mean(dim=1, keepdim=True)
        with torch.inference_mode():
            lafs, responses, descriptors = model(grey)
            kept = laf_is_filled(lafs)[0]
            lafs, responses, descriptors = lafs[:, kept], responses[0, kept], descriptors[0, kept]
            # kornia measures angles counter-clockwise and half-axes; ours are clockwise and diameters.
            angles, scales = -get_laf_orientation(lafs)[0, :, 0], 2 * get_laf_scale(lafs)[0, :, 0, 0]
        parts = (lafs[0, :, :, 2], scales, angles, responses, descriptors)
        xy, sizes, degrees, strengths, rows = (part.float().cpu().numpy() for part in parts)
        return xy, sizes, degrees, strengths, rows

    return detect


def fill_weights(model: "torch.nn.Module", state: Mapping[str, Any], *, where: str) -> None:
    """Put weights into a network; only constants it makes itself may be missing.

    Raises:
        ConfigError: they belong to another network.
    """
    expected = model.state_dict()
    learned = {name for name, _ in model.named_parameters()}
    constants = [name for name in expected if name not in learned and not name.endswith(_STATISTICS)]
    check_weights(
        expected,
        state,
        name=f"the {type(model).__name__} network",
        source=where,
        advice="name the weights of these features in [verify]",
        optional=constants,
    )
    model.load_state_dict(state, strict=False)


def fetch_public(load: Callable[[], dict[str, Any]], files: list[str]) -> dict[str, Any]:
    """Load weights through torch.hub's cache or their public address, and check those whose hash is known.

    Raises:
        ConfigError: they can't be fetched, or a file is not the known one.
    """
    import torch

    try:
        state = load()
    except Exception as error:  # kornia's downloads fail in many ways
        raise ConfigError(
            f"the public weights {', '.join(files)} can't be had ({_first_line(error)}); "
            f"name a local file in [verify], or put them into {torch.hub.get_dir()}/checkpoints"
        ) from None
    for name in files:
        _check_hash(Path(torch.hub.get_dir()) / "checkpoints" / name)
    return state


def _check_hash(path: Path) -> None:
    known = WEIGHT_HASHES.get(path.name)
    if known and path.is_file():
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != known:
            raise ConfigError(
                f"{path}: its SHA-256 starts with {found[:12]}, not {known[:12]}; delete it and run again"
            )


def _compose_keynet(keypoints: int) -> "torch.nn.Module":
    from kornia.feature import HardNet, KeyNetDetector, LAFAffNetShapeEstimator, LAFDescriptor, LAFOrienter, OriNet
    from kornia.feature.integrated import LocalFeature

    detector = KeyNetDetector(
        pretrained=False,
        num_features=keypoints,
        ori_module=LAFOrienter(angle_detector=OriNet(pretrained=False)),
        aff_module=LAFAffNetShapeEstimator(pretrained=False, preserve_orientation=False),
    )
    network: torch.nn.Module = LocalFeature(detector, LAFDescriptor(HardNet(pretrained=False), patch_size=32))
    return network


def _as_points(xy: "torch.Tensor", responses: "torch.Tensor", descriptors: "torch.Tensor") -> Detections:
    """Return detections of a network that gives neither scale nor angle."""
    points, strengths, rows = (part.float().cpu().numpy() for part in (xy, responses, descriptors))
    return points, np.ones(len(points), np.float32), np.full(len(points), np.nan, np.float32), strengths, rows


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200]
