"""Perspective cameras: where a photographer stands, and where a point of the world falls on the photo.

Convention: world metres with z up; camera x right, y down, z forward; pixels (x, y), pixel centres at whole numbers.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """Hold a pinhole camera.

    Args:
        position: (3,) in metres.
        rotation: (3, 3) from world to camera.
        focal_px: focal length.
        centre_px: principal point (x, y).
        size_px: width and height of the photo.
    """

    position: Matrix
    rotation: Matrix
    focal_px: float
    centre_px: tuple[float, float]
    size_px: tuple[int, int]

    @property
    def intrinsics(self) -> Matrix:
        """Return the (3, 3) matrix from camera directions to pixels."""
        x, y = self.centre_px
        return np.array([(self.focal_px, 0, x), (0, self.focal_px, y), (0, 0, 1.0)])

    def to_camera(self, points: Matrix) -> Matrix:
        """Return (N, 3) world points in the camera's axes."""
        return np.asarray((points - self.position) @ self.rotation.T)

    def project(self, points: Matrix) -> Matrix:
        """Return the (N, 2) pixels of (N, 3) world points before the camera."""
        seen = self.to_camera(points) @ self.intrinsics.T
        return np.asarray(seen[:, :2] / seen[:, 2:])

    def plane(self, origin: Matrix, across: Matrix, down: Matrix) -> Matrix:
        """Return the (3, 3) homography to pixels from (s, t, 1), the point origin + s across + t down."""
        axes = np.stack(
            [across @ self.rotation.T, down @ self.rotation.T, (origin - self.position) @ self.rotation.T], 1
        )
        return np.asarray(self.intrinsics @ axes)

    def scaled(self, factor: float) -> "Camera":
        """Return the same view on a finer or coarser pixel grid."""
        return replace(
            self,
            focal_px=self.focal_px * factor,
            centre_px=((self.centre_px[0] + 0.5) * factor - 0.5, (self.centre_px[1] + 0.5) * factor - 0.5),
            size_px=(round(self.size_px[0] * factor), round(self.size_px[1] * factor)),
        )


def look_at(position: Matrix, target: Matrix, roll_deg: float) -> Matrix:
    """Return the (3, 3) rotation of a camera that looks from a position at a target, turned by roll."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cosine, sine = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    return np.stack([cosine * right + sine * down, cosine * down - sine * right, forward])


def frame(
    points: Matrix,
    position: Matrix,
    *,
    size_px: tuple[int, int],
    fill: float,
    roll_deg: float,
    shift: tuple[float, float],
) -> Camera:
    """Aim and zoom a camera so that the points fill a share of the photo.

    Args:
        points: (N, 3) of what is to be seen.
        fill: share of the photo's width or height, whichever is met first; above 1 crops.
        shift: how far their middle lies off the photo's middle, as shares of its size.
    """
    middle = (points.min(0) + points.max(0)) / 2
    camera = Camera(position, look_at(position, middle, roll_deg), 1.0, (0.0, 0.0), size_px)
    seen = camera.project(points)
    low, high = seen.min(0), seen.max(0)
    focal = fill * float(np.min(np.array(size_px) / (high - low)))
    centre = np.array(size_px) * (0.5 + np.array(shift)) - focal * (low + high) / 2
    return replace(camera, focal_px=focal, centre_px=(float(centre[0]), float(centre[1])))
