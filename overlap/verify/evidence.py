"""How much a geometric model explains, in nats against chance.

Every match is either right, with its trust p, or falls anywhere. If it is right it lies where the model says; so it
adds ``log(1 - p + p * gain)``, where gain is the density of its residual under the model over the density of a random
position. A well-trusted match that the model leaves out counts against it; a match that looks poor but fits counts a
little. Where features have a size and an orientation, these must change as the model says, and gain has two more
factors. Each parameter of a model costs half of what one well-placed match earns for both its coordinates, so that
what any four points would give is worth nothing.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from overlap.base.tables import FloatArray, LocalFeatures
from overlap.verify.match import FloatRows, Matches

PARAMETER_NATS = 4.0
SIMILARITY_PARAMETERS, AFFINE_PARAMETERS, HOMOGRAPHY_PARAMETERS, FUNDAMENTAL_PARAMETERS = 4, 6, 8, 7

_ANGLE_SIGMA = np.deg2rad(15.0)
_SCALE_SIGMA = 0.3
_SCALE_RANGE = 3.0
_FRAME_OUTLIERS = 0.1
_SCALES = (1e-3, 1e3)
_FAR = 1e3
# A gain of e^-40 times whatever its other factors can be is nothing beside 1.
_NOWHERE = 40.0
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

    @cached_property
    def has_frames(self) -> bool:
        """Tell whether the features have sizes and orientations of their own."""
        return bool(len(self.x)) and bool(np.isfinite(self.angles_x).all() and np.isfinite(self.angles_y).all())

    @cached_property
    def arms_x(self) -> FloatRows:
        """Return the (P, 2) directions of the query's features."""
        return np.column_stack([np.cos(self.angles_x), np.sin(self.angles_x)])

    @cached_property
    def log_growths(self) -> FloatRows:
        """Return by what (P,) log factors sizes change."""
        return np.log(self.scales_y / self.scales_x)


@dataclass(frozen=True)
class Residuals:
    """Hold how far matches are from what a homography says.

    Args:
        found: P matches.
        squares: (P,) squared distances, the mean over both photos.
        frames: (P,) how much likelier the change of size and orientation is than a random one.
    """

    found: Correspondences
    squares: FloatRows
    frames: FloatRows

    def weigh(self, coarseness: float = 1.0) -> FloatRows:
        """Return the (P,) nats of every match, were right matches so many times as far off."""
        gains = _point_gains(self.squares, self.found.area, coarseness * self.found.sigma) * self.frames
        return _nats(self.found.trusts, gains)


def gather(query: LocalFeatures, photo: LocalFeatures, matches: Matches, *, sigma_px: float) -> Correspondences:
    """Bring the matched features of two photos side by side.

    Args:
        sigma_px: how far a right match lies from where the model says, in pixels of either photo at full size: a
            thumbnail's points are placed less well, measured by its diagonal, than a large photo's.
    """
    i, j = matches.pairs.T
    diagonals = [math.hypot(*features.size_px) for features in (query, photo)]
    areas = [math.prod(one.size_px) / diagonal**2 for one, diagonal in zip((query, photo), diagonals, strict=True)]
    return Correspondences(
        x=centre(query.xy_px[i], query.size_px),
        y=centre(photo.xy_px[j], photo.size_px),
        trusts=matches.trusts,
        angles_x=np.deg2rad(query.angles_deg[i].astype(np.float64)),
        angles_y=np.deg2rad(photo.angles_deg[j].astype(np.float64)),
        scales_x=query.scales_px[i] / diagonals[0],
        scales_y=photo.scales_px[j] / diagonals[1],
        area=math.sqrt(math.prod(areas)),
        sigma=sigma_px / math.sqrt(math.prod(min(diagonal, _SHARPEST) for diagonal in diagonals)),
    )


def centre(xy_px: FloatArray, size_px: tuple[int, int]) -> FloatRows:
    """Return (M, 2) positions of pixels in the coordinates of Correspondences."""
    width, height = size_px
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.asarray((xy_px - middle) / math.hypot(width, height))


def weigh_similarities(found: Correspondences, maps: FloatRows, *, coarseness: float = 1.0) -> FloatRows:
    """Return (S, P) nats of every match under every similarity.

    Args:
        maps: (S, 4) as a, b, c, d: (x, y) goes to (a x - b y + c, b x + a y + d).
    """
    factors, shifts = maps[:, 0] + 1j * maps[:, 1], maps[:, 2] + 1j * maps[:, 3]
    off = np.multiply.outer(factors, found.x[:, 0] + 1j * found.x[:, 1])
    off += shifts[:, None]
    off -= found.y[:, 0] + 1j * found.y[:, 1]
    growths = np.abs(factors)
    squares = (off.real**2 + off.imag**2) * (1 + 1 / growths[:, None] ** 2) / 2
    sigma = coarseness * found.sigma
    maps_near, near = np.divmod(np.flatnonzero(squares < 2 * _NOWHERE * sigma**2), len(found.x))
    gains = _point_gains(squares[maps_near, near], found.area, sigma)
    if found.has_frames:
        turn = _wrap((found.angles_y - found.angles_x)[near] - np.angle(factors)[maps_near])
        gains = gains * _frame_gains(turn, found.log_growths[near] - np.log(growths)[maps_near])
    nats = np.empty(squares.shape)
    nats[:] = _nats(found.trusts, np.zeros(1))
    nats[maps_near, near] = _nats(found.trusts[near], gains)
    return nats


def measure_homography(found: Correspondences, matrix: FloatRows) -> Residuals:
    """Measure every match under a homography; all are far off where it folds the picture over or tears it.

    Args:
        matrix: (3, 3), query to photo, in the coordinates of Correspondences.
    """
    adjugate, determinant = _adjugate(matrix)
    forth, depths = project(matrix, found.x)
    back, _ = project(adjugate, found.y)
    squares = (((forth - found.y) ** 2).sum(axis=1) + ((back - found.x) ** 2).sum(axis=1)) / 2
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        growth = determinant / depths**3
    torn = (depths * np.sign(matrix[2, 2]) <= 0) | ~(growth > _SCALES[0]) | ~(growth < _SCALES[1])
    squares = np.where(torn | ~np.isfinite(squares), _FAR, squares)
    if not found.has_frames:
        return Residuals(found, squares, np.ones(len(squares)))
    # The derivative's product with an arm, times the square of the depth.
    turned = found.arms_x @ matrix[:2, :2].T * depths[:, None] - _numerators(matrix, found.x) * (
        found.arms_x @ matrix[2, :2, None]
    )
    turn = _wrap(found.angles_y - np.arctan2(turned[:, 1], turned[:, 0]))
    sizes = found.log_growths - np.log(np.where(torn, 1.0, growth)) / 2
    return Residuals(found, squares, _frame_gains(turn, sizes))


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
    depths = points @ matrix[2, :2] + matrix[2, 2]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _numerators(matrix, points) / depths[:, None], depths


def _numerators(matrix: FloatRows, points: FloatRows) -> FloatRows:
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def _adjugate(matrix: FloatRows) -> tuple[FloatRows, float]:
    """Return the inverse times the determinant, and the determinant."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    adjugate = [
        [e * i - f * h, c * h - b * i, b * f - c * e],
        [f * g - d * i, a * i - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ]
    return np.array(adjugate), a * adjugate[0][0] + b * adjugate[1][0] + c * adjugate[2][0]


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


def _wrap(radians: FloatRows) -> FloatRows:
    return (radians + np.pi) % (2 * np.pi) - np.pi
