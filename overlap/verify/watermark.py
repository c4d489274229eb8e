"""COLMAP's two-view geometry on the survivors: is what agrees only a mark stuck to the borders of both pictures?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from overlap.base.tables import LocalFeatures
from overlap.verify.match import FloatRows

_MOST_TRIALS = 500
_LEAST_INLIERS = 8
_FOCAL_TO_LONGER_SIDE = 1.2


def is_watermark(query: LocalFeatures, photo: LocalFeatures, inliers: NDArray[np.int32], *, seed: int) -> bool:
    """Tell whether inliers lie in the borders of both photos and differ by one shift.

    Args:
        inliers: (I, 2) rows of the query's and the photo's features.
        seed: of COLMAP's sampling.

    Source: Schönberger and Frahm, CVPR 2016, section 4.1; the shares and widths are COLMAP's defaults.
    """
    import pycolmap

    if len(inliers) < _LEAST_INLIERS:
        return False
    points = [one.xy_px[rows].astype(np.float64) for one, rows in zip((query, photo), inliers.T, strict=True)]
    cameras = [_camera(features) for features in (query, photo)]
    options = pycolmap.TwoViewGeometryOptions()
    options.min_num_inliers = _LEAST_INLIERS
    options.ransac.random_seed = seed
    options.ransac.num_threads = 1
    options.ransac.max_num_trials = _MOST_TRIALS
    if not _may_be_watermark(query, photo, points, options):
        return False
    rows = np.arange(len(inliers), dtype=np.uint32)
    found = pycolmap.estimate_two_view_geometry(
        cameras[0], points[0], cameras[1], points[1], np.column_stack([rows, rows]), options
    )
    return bool(found.config == pycolmap.TwoViewGeometryConfiguration.WATERMARK)


def _may_be_watermark(query: LocalFeatures, photo: LocalFeatures, points: list[FloatRows], options: Any) -> bool:
    """Tell whether enough points lie in both borders and differ by about one shift for COLMAP to say so.

    COLMAP's own answer takes far longer, and needs this share of at least so many inliers within the error of a shift.
    """
    in_borders = [_in_border(features, xy, options) for features, xy in zip((query, photo), points, strict=True)]
    shifts = (points[1] - points[0])[np.logical_and(*in_borders)]
    apart = np.linalg.norm(shifts[:, None] - shifts, axis=2)
    alike = (apart <= 2 * options.watermark_detection_max_error).sum(axis=1)
    return bool(alike.max(initial=0) >= options.watermark_min_inlier_ratio * options.min_num_inliers)


def _in_border(features: LocalFeatures, points: FloatRows, options: Any) -> NDArray[np.bool_]:
    width = options.watermark_border_size * np.hypot(*features.size_px)
    return np.asarray(((points < width) | (points > np.array(features.size_px) - width)).any(axis=1))


def _camera(features: LocalFeatures) -> Any:
    import pycolmap

    width, height = features.size_px
    focal = _FOCAL_TO_LONGER_SIDE * max(width, height)
    return pycolmap.Camera(
        model="SIMPLE_PINHOLE",
        width=width,
        height=height,
        params=[focal, width / 2, height / 2],
        has_prior_focal_length=False,
    )
