"""How much a geometric model explains, in nats against chance.

Every match is either right, with its trust p, or falls anywhere. If it is right it lies where the model says; so it
adds ``log(1 - p + p * gain)``, where gain is the density of its residual under the model over the density of a random
position. A well-trusted match that the model leaves out counts against it; a match that looks poor but fits counts a
little. Where features have a size and an orientation, these must change as the model says, and gain has two more
factors. Each parameter of a model costs half of what one well-placed match earns for both its coordinates, so that
what any four points would give is worth nothing.
"""

from dataclasses import dataclass

import numpy as np

from overlap.tables import LocalFeatures
from overlap.verify.match import FloatRows, Matches

PARAMETER_NATS = 4.0
SIMILARITY_PARAMETERS, AFFINE_PARAMETERS, HOMOGRAPHY_PARAMETERS, FUNDAMENTAL_PARAMETERS = 4, 6, 8, 7

_ANGLE_SIGMA = np.deg2rad(15.0)
_SCALE_SIGMA = 0.3
_SCALE_RANGE = 3.0
_FRAME_OUTLIERS = 0.1
_SCALES = (1e-3, 1e3)
_FAR = 1e3
# A gain of e^-60 times whatever its other factors can be is nothing beside 1.
_NOWHERE = 60.0
# The diagonal of 1024 x 768 pixels: features are found at about this size, so larger photos place them no better.
_SHARPEST = 1280.0


@dataclass(frozen=True)
class Correspondences:
    """Hold matches in coordinates free of size: the photo's centre is 0, its diagonal 1.

    Args:
        x, y: (P, 2) positions in query and photo.
        trusts: (P,) see Matches.
        angles_x, angles_y: (P,) radians, or NaN.
        scales_x, scales_y: (P,) region sizes.
        area: the geometric mean of both photos' areas.
        sigma: how far a right match lies from where the model says.
    """

    x: FloatRows
    y: FloatRows
    trusts: FloatRows
    angles_x: FloatRows
    angles_y: FloatRows
    scales_x: FloatRows
    scales_y: FloatRows
    area: float
    sigma: float

    @property
    def has_frames(self) -> bool:
        """Tell whether the features have sizes and orientations of their own."""
        return bool(len(self.x)) and bool(np.isfinite(self.angles_x).all() and np.isfinite(self.angles_y).all())


def gather(query: LocalFeatures, photo: LocalFeatures, matches: Matches, *, sigma_px: float) -> Correspondences:
    """Bring the matched features of two photos side by side.

    Args:
        sigma_px: how far a right match lies from where the model says, in pixels of either photo at full size: a
            thumbnail's points are placed less well, measured by its diagonal, than a large photo's.
    """
    i, j = matches.pairs.T
    diagonals = [float(np.hypot(*features.size_px)) for features in (query, photo)]
    areas = [np.prod(one.size_px) / diagonal**2 for one, diagonal in zip((query, photo), diagonals, strict=True)]
    return Correspondences(
        x=centre(query)[i],
        y=centre(photo)[j],
        trusts=matches.trusts,
        angles_x=np.deg2rad(query.angles_deg[i].astype(np.float64)),
        angles_y=np.deg2rad(photo.angles_deg[j].astype(np.float64)),
        scales_x=query.scales_px[i] / diagonals[0],
        scales_y=photo.scales_px[j] / diagonals[1],
        area=float(np.sqrt(np.prod(areas))),
        sigma=sigma_px / float(np.sqrt(np.prod(np.minimum(diagonals, _SHARPEST)))),
    )


def centre(features: LocalFeatures) -> FloatRows:
    """Return (M, 2) positions in the coordinates of Correspondences."""
    size = np.array(features.size_px, np.float64)
    return np.asarray((features.xy_px.astype(np.float64) - (size - 1) / 2) / np.hypot(*size))


def weigh_similarities(found: Correspondences, maps: FloatRows, *, coarseness: float = 1.0) -> FloatRows:
    """Return (S, P) nats of every match under every similarity.

    Args:
        maps: (S, 4) as a, b, c, d: (x, y) goes to (a x - b y + c, b x + a y + d).
    """
    a, b, c, d = (column[:, None] for column in maps.T)
    dx = a * found.x[:, 0] - b * found.x[:, 1] + c - found.y[:, 0]
    dy = b * found.x[:, 0] + a * found.x[:, 1] + d - found.y[:, 1]
    growth = a**2 + b**2
    squares = (dx**2 + dy**2) * (1 + 1 / growth) / 2
    sigma = coarseness * found.sigma
    maps_near, near = np.nonzero(squares < 2 * _NOWHERE * sigma**2)
    gains = _point_gains(squares[maps_near, near], found.area, sigma)
    if found.has_frames:
        turns, sizes = np.arctan2(b, a)[maps_near, 0], np.log(growth)[maps_near, 0] / 2
        turn = _wrap((found.angles_y - found.angles_x)[near] - turns)
        gains = gains * _frame_gains(turn, np.log(found.scales_y / found.scales_x)[near] - sizes)
    nats = np.tile(_nats(found.trusts, np.zeros(1)), (len(maps), 1))
    nats[maps_near, near] = _nats(found.trusts[near], gains)
    return nats


def weigh_homography(found: Correspondences, matrix: FloatRows, *, coarseness: float = 1.0) -> FloatRows:
    """Return (P,) nats of every match under a homography; none where it folds the picture over or tears it.

    Args:
        matrix: (3, 3), query to photo, in the coordinates of Correspondences.
    """
    forth, depths = project(matrix, found.x)
    back, _ = project(np.linalg.pinv(matrix).astype(np.float64), found.y)
    squares = (((forth - found.y) ** 2).sum(axis=1) + ((back - found.x) ** 2).sum(axis=1)) / 2
    slopes = _slopes(matrix, forth, depths)
    growth = slopes[:, 0, 0] * slopes[:, 1, 1] - slopes[:, 0, 1] * slopes[:, 1, 0]
    torn = (depths * np.sign(matrix[2, 2]) <= 0) | ~(growth > _SCALES[0]) | ~(growth < _SCALES[1])
    squares = np.where(torn | ~np.isfinite(squares), _FAR, squares)
    gains = _point_gains(squares, found.area, coarseness * found.sigma)
    if found.has_frames:
        arms = np.stack([np.cos(found.angles_x), np.sin(found.angles_x)], axis=1)
        turned = np.einsum("pij,pj->pi", slopes, arms)
        turn = _wrap(found.angles_y - np.arctan2(turned[:, 1], turned[:, 0]))
        sizes = np.log(found.scales_y / found.scales_x) - np.log(np.clip(growth, *_SCALES)) / 2
        gains = gains * _frame_gains(turn, sizes)
    return _nats(found.trusts, gains)


def weigh_fundamental(found: Correspondences, matrix: FloatRows, *, coarseness: float = 1.0) -> FloatRows:
    """Return (P,) nats of every match under a fundamental matrix: one coordinate is explained, not two.

    Args:
        matrix: (3, 3) F with y' F x = 0, in the coordinates of Correspondences.
    """
    x, y = (np.column_stack([points, np.ones(len(points))]) for points in (found.x, found.y))
    lines, back = x @ matrix.T, y @ matrix
    slopes = (lines[:, :2] ** 2).sum(axis=1) + (back[:, :2] ** 2).sum(axis=1)
    # Twice Sampson's square: the mean over both photos where they are alike.
    squares = 2 * (y * lines).sum(axis=1) ** 2 / np.maximum(slopes, 1e-12)
    side, sigma = np.sqrt(found.area), coarseness * found.sigma
    gains = side / (np.sqrt(2 * np.pi) * sigma) * np.exp(-np.minimum(squares / (2 * sigma**2), 700))
    return _nats(found.trusts, gains)


def project(matrix: FloatRows, points: FloatRows) -> tuple[FloatRows, FloatRows]:
    """Return (P, 2) images of points under a homography, and the (P,) denominators."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        homogeneous = np.column_stack([points, np.ones(len(points))]) @ matrix.T
        return homogeneous[:, :2] / homogeneous[:, 2:], homogeneous[:, 2]


def _nats(trusts: FloatRows, gains: FloatRows) -> FloatRows:
    return np.asarray(np.log1p(trusts * (gains - 1)))


def _point_gains(squares: FloatRows, area: float, sigma: float) -> FloatRows:
    return np.asarray(area / (2 * np.pi * sigma**2) * np.exp(-np.minimum(squares / (2 * sigma**2), 700)))


def _frame_gains(turn: FloatRows, sizes: FloatRows) -> FloatRows:
    """Return how much likelier a change of orientation (radians) and of log size is than a random one."""
    turns = np.exp(-(turn**2) / (2 * _ANGLE_SIGMA**2)) * np.sqrt(2 * np.pi) / _ANGLE_SIGMA
    growths = np.exp(-(sizes**2) / (2 * _SCALE_SIGMA**2)) * _SCALE_RANGE / (np.sqrt(2 * np.pi) * _SCALE_SIGMA)
    right = 1 - _FRAME_OUTLIERS
    return np.asarray((right * turns + _FRAME_OUTLIERS) * (right * growths + _FRAME_OUTLIERS))


def _slopes(matrix: FloatRows, images: FloatRows, depths: FloatRows) -> FloatRows:
    """Return the (P, 2, 2) derivative of a homography at each point."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slopes = (matrix[None, :2, :2] - images[:, :, None] * matrix[2, :2]) / depths[:, None, None]
    return np.nan_to_num(slopes, nan=0.0, posinf=0.0, neginf=0.0)


def _wrap(radians: FloatRows) -> FloatRows:
    return (radians + np.pi) % (2 * np.pi) - np.pi
