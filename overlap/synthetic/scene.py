"""Take photos of a building: camera, light, sky, ground, shadows, trees, people, lens and noise.

Everything but the building is drawn anew for every photo, so that two photos never share a tree or a cloud.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.synthetic.buildings import Panel, Points
from overlap.synthetic.camera import Camera, frame
from overlap.synthetic.paint import Bytes, Floats, Rng, Skin, fractal
from overlap.synthetic.planting import plant, walker

Range: TypeAlias = tuple[float, float]
SUPERSAMPLE = 1.5


@dataclass(frozen=True)
class View:
    """Hold where a kind of photo may be taken from.

    Args:
        azimuth_deg: of the photographer, 0 before the front, growing to the building's right; either sign is drawn.
        fill: share of the photo that the building fills.
        shift: largest shift of the building off the middle, as a share of the photo.
        walkers, trees: how many at most.
    """

    azimuth_deg: Range
    fill: Range
    shift: float
    walkers: int
    trees: int


VIEWS: MappingProxyType[str, View] = MappingProxyType(
    {
        "easy": View((0, 14), (0.74, 0.9), 0.04, 4, 3),
        "front": View((0, 27), (0.6, 1.02), 0.09, 7, 5),
        "detail": View((0, 16), (1.3, 1.7), 0.12, 2, 1),
        "corner": View((32, 52), (0.65, 0.95), 0.06, 6, 4),
        "side": View((78, 102), (0.65, 0.9), 0.06, 5, 4),
        "back": View((152, 180), (0.65, 0.9), 0.06, 4, 4),
        "inside": View((0, 12), (1.0, 1.0), 0.0, 0, 0),
    }
)


@dataclass(frozen=True)
class Light:
    """Hold the light of a photo; gains multiply a surface's colour.

    Args:
        ambient, sun: RGB gains.
        towards_sun: (3,) unit.
        zenith, horizon: colours of the sky.
        lamps: how strongly windows shine.
        flood: how strongly floodlights shine on the walls.
        noise: of the sensor, in grey levels.
    """

    ambient: Points
    sun: Points
    towards_sun: Points
    zenith: Points
    horizon: Points
    lamps: float
    flood: float
    noise: float


@dataclass(frozen=True)
class Film:
    """Hold a photo while it is exposed: the functions of this module draw into it.

    Args:
        rgb: (H, W, 3) uint8.
        nearness: (H, W) float32 inverse distance of what is seen, 0 for the sky.
    """

    rgb: Bytes
    nearness: Floats


def day(rng: Rng) -> Light:
    """Draw a day, bright or overcast."""
    bright = float(rng.uniform(0.35, 1.0))
    zenith = np.array([72, 122, 190]) * bright + np.array([176, 184, 194]) * (1 - bright)
    return Light(
        ambient=np.array([0.66, 0.68, 0.72]) + 0.2 * (1 - bright),
        sun=np.array([0.5, 0.47, 0.4]) * bright,
        towards_sun=_direction(rng.uniform(-75, 75), rng.uniform(28, 58)),
        zenith=zenith,
        horizon=np.array([206, 220, 232]),
        lamps=0.0,
        flood=0.0,
        noise=2.2,
    )


def dusk(rng: Rng) -> Light:
    """Draw a dusk: warm low sun, lilac shade, first lamps."""
    return Light(
        ambient=np.array([0.52, 0.47, 0.56]),
        sun=np.array([0.62, 0.4, 0.2]) * rng.uniform(0.7, 1.1),
        towards_sun=_direction(rng.uniform(-70, 70), rng.uniform(8, 16)),
        zenith=np.array([66, 76, 128]) * rng.uniform(0.8, 1.15),
        horizon=np.array([250, rng.uniform(150, 190), rng.uniform(96, 140)]),
        lamps=0.55,
        flood=0.0,
        noise=3.5,
    )


def night(rng: Rng) -> Light:
    """Draw a night with lit windows and floodlit walls."""
    return Light(
        ambient=np.array([0.24, 0.25, 0.35]),
        sun=np.zeros(3),
        towards_sun=_direction(0, 45),
        zenith=np.array([8, 11, 30]),
        horizon=np.array([40, 38, 62]) * rng.uniform(0.8, 1.4),
        lamps=1.0,
        flood=float(rng.uniform(0.65, 0.9)),
        noise=4.0,
    )


LIGHTS = MappingProxyType({"day": day, "dusk": dusk, "night": night})


def _direction(azimuth_deg: float, height_deg: float) -> Points:
    a, h = np.radians(azimuth_deg), np.radians(height_deg)
    return np.array([np.sin(a) * np.cos(h), -np.cos(a) * np.cos(h), np.sin(h)])


def photograph(
    panels: Sequence[Panel], rng: Rng, *, view: str, light: str, size_px: int
) -> tuple[Bytes, tuple[float, float, float, float]]:
    """Take one photo.

    Args:
        panels: of the building, or of its hall for the view ``inside``.
        view: a key of VIEWS.
        light: a key of LIGHTS.
        size_px: longer side of the photo.

    Returns:
        The photo (H, W, 3) and the box (x0, y0, x1, y1) of the building in it.
    """
    import cv2

    lit = LIGHTS[light](rng)
    camera = _stand_inside(panels, rng, size_px) if view == "inside" else _stand_outside(panels, rng, view, size_px)
    fine = camera.scaled(SUPERSAMPLE)
    film = _sky(fine, lit, rng)
    if view != "inside":
        _ground(film, fine, lit, rng, panels)
    for panel in panels:
        _draw(film, fine, panel, lit)
    box = _box(film, camera.size_px)
    if view != "inside":
        _populate(film, fine, lit, rng, panels, VIEWS[view])
    small = cv2.resize(film.rgb, camera.size_px, interpolation=cv2.INTER_AREA)
    return _develop(small, lit, rng), box


def _stand_outside(panels: Sequence[Panel], rng: Rng, view: str, size_px: int) -> Camera:
    kind = VIEWS[view]
    points = np.concatenate([panel.corners for panel in panels])
    extent = np.ptp(points, axis=0)
    azimuth = rng.uniform(*kind.azimuth_deg) * rng.choice([-1, 1])
    distance = max(extent[0], extent[1], extent[2]) * rng.uniform(1.15, 1.9) + extent[1] / 2
    height = rng.uniform(1.6, 3.0) if rng.random() < 0.75 else rng.uniform(5, 14)
    middle = (points.min(0) + points.max(0)) / 2
    away = np.array([np.sin(np.radians(azimuth)), -np.cos(np.radians(azimuth))]) * distance
    position = np.array([middle[0] + away[0], middle[1] + away[1], height])
    wide = max(extent[0], 8.0) > extent[2] * 1.05
    shorter = round(size_px * float(rng.choice([0.75, 0.67, 0.8])))
    size = (size_px, shorter) if wide else (shorter, size_px)
    shift = rng.uniform(-kind.shift, kind.shift, 2)
    return frame(
        points,
        position,
        size_px=size,
        fill=float(rng.uniform(*kind.fill)),
        roll_deg=float(rng.normal(0, 1.6)),
        shift=(float(shift[0]), float(shift[1]) + 0.03),
    )


def _stand_inside(panels: Sequence[Panel], rng: Rng, size_px: int) -> Camera:
    points = panels[0].corners
    position = np.array([rng.uniform(-3, 3), rng.uniform(1.0, 7.0), rng.uniform(1.5, 2.6)])
    fill = float(rng.uniform(0.4, 0.6))
    size = (size_px, round(size_px * 0.75)) if rng.random() < 0.6 else (round(size_px * 0.75), size_px)
    return frame(points, position, size_px=size, fill=fill, roll_deg=float(rng.normal(0, 1)), shift=(0.0, 0.0))


def _draw(film: Film, camera: Camera, panel: Panel, light: Light, gain: Points | None = None) -> None:
    """Draw a panel where it is nearer than what is there; panels seen from behind are left out."""
    import cv2

    normal = panel.normal
    corners = panel.corners
    if (panel.origin - camera.position) @ normal >= 0 or camera.to_camera(corners)[:, 2].min() < 0.3:
        return
    seen = camera.project(corners)
    height, width = film.nearness.shape
    x0, y0 = np.maximum(np.floor(seen.min(0)).astype(int) - 1, 0)
    x1, y1 = np.minimum(np.ceil(seen.max(0)).astype(int) + 2, (width, height))
    if x1 <= x0 or y1 <= y0:
        return
    rgba = _lit_skin(panel, light, normal, _area(seen), gain)
    rows, columns = rgba.shape[:2]
    to_unit = np.array([(1 / columns, 0, 0.5 / columns), (0, 1 / rows, 0.5 / rows), (0, 0, 1.0)])
    to_patch = np.array([(1, 0, -x0), (0, 1, -y0), (0, 0, 1.0)])
    warp = to_patch @ camera.plane(panel.origin, panel.across, panel.down) @ to_unit
    size = (int(x1 - x0), int(y1 - y0))
    patch = cv2.warpPerspective(rgba, warp, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillConvexPoly(mask, np.round(seen - (x0, y0)).astype(np.int32), 255)
    near = _nearness(camera, panel.origin, normal, (int(x0), int(y0), int(x1), int(y1)))
    held = film.nearness[y0:y1, x0:x1]
    opaque = cv2.bitwise_and(mask, cv2.extractChannel(patch, 3))
    wins = cv2.bitwise_and(cv2.compare(near, held, cv2.CMP_GT), cv2.inRange(opaque, 128, 255))
    cv2.copyTo(near, wins, held)
    cv2.copyTo(cv2.cvtColor(patch, cv2.COLOR_RGBA2RGB), wins, film.rgb[y0:y1, x0:x1])


def _area(corners: Points) -> float:
    x, y = corners[:, 0], corners[:, 1]
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


def _nearness(camera: Camera, origin: Points, normal: Points, box: tuple[int, int, int, int]) -> Floats:
    """Return one over the distance of a plane, which is linear in pixels."""
    n = camera.rotation @ normal
    coefficients = np.linalg.inv(camera.intrinsics).T @ n / (n @ camera.to_camera(origin[None])[0])
    xs, ys = np.arange(box[0], box[2]), np.arange(box[1], box[3])
    plane = coefficients[0] * xs[None, :] + coefficients[1] * ys[:, None] + coefficients[2]
    return np.asarray(plane, np.float32)


def _lit_skin(panel: Panel, light: Light, normal: Points, area_px: float, gain: Points | None) -> Bytes:
    """Return the skin (H, W, 4) under the light, at the level that fits its size on the photo."""
    import cv2

    skin = panel.skin
    texels = skin.rgba[0].shape[0] * skin.rgba[0].shape[1]
    level = int(np.clip(np.floor(np.log2(max(texels / max(area_px, 1.0), 1.0)) / 2 + 0.3), 0, len(skin.rgba) - 1))
    rgba, glow = skin.rgba[level], skin.glow[level]
    lit = _brighten(rgba, _shade(light, normal) if gain is None else gain)
    if light.flood and gain is None:
        heights = panel.origin[2] + panel.down[2] * np.linspace(0, 1, rgba.shape[0])
        rows = light.flood * np.exp(-np.clip(heights, 0, None) / 16)[:, None] * np.array([1.0, 0.82, 0.55, 0.0])
        lit = cv2.add(lit, (rgba * rows[:, None].astype(np.float32)).astype(np.uint8))
    if light.lamps and glow.any():
        shine = cv2.merge([glow, glow, glow, np.zeros_like(glow)])
        lit = cv2.add(lit, _brighten(shine, np.array([1.0, 0.8, 0.46]) * light.lamps))
    return np.asarray(lit)


def _brighten(rgba: Bytes, gain: Points) -> Bytes:
    """Multiply the three colours (H, W, 4) by gains, by a table of the 256 values."""
    import cv2

    table = np.clip(np.arange(256)[:, None] * np.append(gain, 1.0), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(rgba, table[None]))


def _shade(light: Light, normal: Points) -> Points:
    lambert = max(0.0, float(normal @ light.towards_sun))
    return np.asarray(light.ambient * (0.86 + 0.14 * normal[2]) + light.sun * lambert)


def _sky(camera: Camera, light: Light, rng: Rng) -> Film:
    """Expose the sky: a gradient by height above the horizon, clouds, hills far off."""
    import cv2

    width, height = camera.size_px
    coarse = (width // 4, height // 4)
    rise = cv2.resize(_rise(camera, 16), coarse, interpolation=cv2.INTER_LINEAR)
    blend = np.clip(rise * 2.2, 0, 1)[:, :, None] ** np.float32(0.75)
    sky = light.horizon * (1 - blend) + light.zenith * blend
    if light.zenith.sum() > 90:
        clouds = np.clip(fractal(rng, (coarse[1], coarse[0]), 4, 5) + rng.uniform(-0.7, 0.3), 0, 1.2)
        cover = cv2.GaussianBlur(clouds, (0, 0), 1.5)[:, :, None] * 0.7
        sky = sky * (1 - cover) + (light.horizon * 0.35 + 160) * cover
    sky = np.clip(sky + rng.uniform(-0.5, 0.5, (coarse[1], coarse[0], 1)), 0, 255).astype(np.uint8)
    film = Film(np.asarray(cv2.resize(sky, camera.size_px)), np.zeros((height, width), np.float32))
    for distance in (0.55, 0.3):
        _hills(film, camera, light, rng, distance)
    return film


def _rise(camera: Camera, step: int) -> Floats:
    """Return the sine of every ray's height above the horizon, on a coarse grid."""
    width, height = camera.size_px
    xs, ys = np.meshgrid(np.linspace(0, width - 1, width // step + 2), np.linspace(0, height - 1, height // step + 2))
    rays = np.stack([xs, ys, np.ones_like(xs)], -1) @ np.linalg.inv(camera.intrinsics).T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    return np.asarray((rays @ camera.rotation)[:, :, 2], np.float32)


def _hills(film: Film, camera: Camera, light: Light, rng: Rng, haze: float) -> None:
    import cv2

    width = camera.size_px[0]
    xs = np.linspace(-60, width + 60, 90)
    middle = np.array([camera.position[:2] + camera.rotation[2, :2] * 4000])
    level = camera.project(np.array([[middle[0, 0], middle[0, 1], camera.position[2]]]))[0]
    tilt = np.arctan2(camera.rotation[0, 2], -camera.rotation[1, 2])
    profile = np.convolve(rng.standard_normal(130).cumsum(), np.ones(12) / 12, "same")[20:110]
    profile = np.interp(np.arange(90), np.arange(90), profile - profile.min()) / max(np.ptp(profile), 1e-6)
    tops = level[1] - np.tan(tilt) * (xs - level[0]) - camera.focal_px * 0.05 * haze * (0.4 + profile)
    outline = np.concatenate([np.stack([xs, tops], 1), [(width + 60, 9e4), (-60, 9e4)]])
    green = np.array([84, 104, 88]) * light.ambient * (1 if light.noise < 4 else 0.4)
    colour = light.horizon * haze * 0.9 + green * (1 - haze * 0.9)
    cv2.fillPoly(film.rgb, [np.clip(outline, -3e4, 3e4).round().astype(np.int32)], colour.tolist(), cv2.LINE_AA)


def _ground(film: Film, camera: Camera, light: Light, rng: Rng, panels: Sequence[Panel]) -> None:
    """Lay lawn and paving under the building, with its shadow."""
    import cv2

    reach, cells = 90.0, 320
    tone = _shade(light, np.array([0, 0, 1.0])) + light.flood * 0.3 * np.array([1, 0.85, 0.6])
    lit = _plan(rng, cells, reach, panels) * tone.astype(np.float32) * _shadow(panels, light, cells, reach)[:, :, None]
    metres = 2 * reach / cells
    to_world = np.array([(metres, 0, -reach), (0, metres, -reach), (0, 0, 1.0)])
    coarse = camera.scaled(1 / SUPERSAMPLE)
    warp = coarse.plane(np.zeros(3), np.array([1.0, 0, 0]), np.array([0, 1.0, 0])) @ to_world
    plan = np.clip(lit, 0, 255).astype(np.uint8)
    ground = cv2.warpPerspective(plan, warp, coarse.size_px, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    rise = cv2.resize(_rise(coarse, 8), coarse.size_px, interpolation=cv2.INTER_LINEAR)
    far = np.exp(np.clip(rise, -1, 0) * 22)[:, :, None] * np.float32(0.8)
    haze = (light.horizon * 0.45 + 60 * light.ambient).astype(np.float32)
    hazy = np.clip(ground * (1 - far) + haze * far, 0, 255).astype(np.uint8)
    below = cv2.compare(cv2.resize(rise, camera.size_px, interpolation=cv2.INTER_LINEAR), -0.002, cv2.CMP_LT)
    cv2.copyTo(cv2.resize(hazy, camera.size_px), below, film.rgb)


def _plan(rng: Rng, cells: int, reach: float, panels: Sequence[Panel]) -> Floats:
    """Paint the ground from above: (cells, cells, 3)."""
    import cv2

    lawn = np.array([96, 122, 62]) * rng.uniform(0.8, 1.15, 3)
    paving = np.array([168, 160, 148]) * rng.uniform(0.75, 1.1)
    green = rng.random() < 0.62
    plan = np.ones((cells, cells, 3), np.float32) * (lawn if green else paving).astype(np.float32)
    points = np.concatenate([panel.corners for panel in panels])[:, :2]
    low, high = points.min(0), points.max(0)

    def cell(x: float, y: float) -> tuple[int, int]:
        return round((x + reach) * cells / 2 / reach), round((y + reach) * cells / 2 / reach)

    path = (paving * rng.uniform(0.85, 1.1)).tolist() if green else (paving * 0.82).tolist()
    apron, wide = float(rng.uniform(2, 7)), max(2, round(rng.uniform(3, 9) * cells / 2 / reach))
    cv2.rectangle(plan, cell(low[0] - apron, low[1] - apron), cell(high[0] + apron, high[1] + apron), path, -1)
    cv2.line(plan, cell(rng.uniform(-4, 4), low[1]), cell(rng.uniform(-25, 25), -reach), path, wide)
    grain = 1 + 0.09 * fractal(rng, (cells, cells), 20, 4) + 0.03 * rng.standard_normal((cells, cells), np.float32)
    return np.asarray(plan * grain[:, :, None], np.float32)


def _shadow(panels: Sequence[Panel], light: Light, cells: int, reach: float) -> Floats:
    """Return the share of light (cells, cells) that the building leaves on the ground."""
    import cv2

    mask = np.zeros((cells, cells), np.uint8)
    sun = light.towards_sun
    for panel in panels:
        corners = panel.corners
        cast = corners[:, :2] - corners[:, 2:] * sun[:2] / max(sun[2], 0.2)
        cells_xy = np.clip((cast + reach) * cells / 2 / reach, -4000, 4000).round().astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(cells_xy), 255)
    depth = 0.42 * min(1.0, float(light.sun.max()) * 2)
    return np.asarray(1 - np.float32(depth / 255) * cv2.GaussianBlur(mask, (0, 0), 1.2).astype(np.float32))


def _box(film: Film, size_px: tuple[int, int]) -> tuple[float, float, float, float]:
    xs, ys = np.flatnonzero(film.nearness.any(0)), np.flatnonzero(film.nearness.any(1))
    low = float(xs[0]) / SUPERSAMPLE, float(ys[0]) / SUPERSAMPLE
    high = float(xs[-1] + 1) / SUPERSAMPLE, float(ys[-1] + 1) / SUPERSAMPLE
    return low[0], low[1], min(high[0], float(size_px[0])), min(high[1], float(size_px[1]))


def _populate(film: Film, camera: Camera, light: Light, rng: Rng, panels: Sequence[Panel], view: View) -> None:
    """Put trees beside and behind the building, and people before it."""
    points = np.concatenate([panel.corners for panel in panels])
    low, high = points.min(0), points.max(0)
    gain = _shade(light, np.array([0, -0.6, 0.8])) + light.flood * 0.25
    trees = [_spot(rng, camera, low, high, aside=True) for _ in range(int(rng.integers(1, view.trees + 4)))]
    for place in filter(lambda spot: not _inside(spot, low, high, 2.5), trees):
        tall = float(rng.uniform(0.25, 0.55) * min(high[2], 24)) + 2
        _stand(film, camera, light, plant(rng), place, tall, gain * rng.uniform(0.85, 1.1))
    people = [_spot(rng, camera, low, high, aside=False) for _ in range(int(rng.integers(0, view.walkers + 1)))]
    for place in filter(lambda spot: not _inside(spot, low, high, 0.8), people):
        _stand(film, camera, light, walker(rng), place, float(rng.uniform(1.5, 1.9)), gain)


def _spot(rng: Rng, camera: Camera, low: Points, high: Points, *, aside: bool) -> tuple[float, float]:
    """Return a place on the ground: beside the building as the camera sees it, or before it."""
    middle = (low + high)[:2] / 2
    line = middle - camera.position[:2]
    right = np.array([line[1], -line[0]]) / np.linalg.norm(line)
    half = float(np.hypot(*(high - low)[:2])) / 2
    along = rng.uniform(0.6, 1.5) if aside else rng.uniform(0.3, 0.85)
    off = (rng.uniform(0.62, 1.3) if aside else rng.uniform(0, 0.8)) * half * rng.choice([-1, 1])
    spot = camera.position[:2] + line * along + right * off * min(along, 1.1)
    return float(spot[0]), float(spot[1])


def _inside(spot: tuple[float, float], low: Points, high: Points, margin: float) -> bool:
    return bool(low[0] - margin < spot[0] < high[0] + margin and low[1] - margin < spot[1] < high[1] + margin)


def _stand(
    film: Film, camera: Camera, light: Light, skin: Skin, place: tuple[float, float], tall_m: float, gain: Points
) -> None:
    """Stand a cut-out on the ground, facing the camera, on a blot of shadow."""
    right = np.array([camera.rotation[0, 0], camera.rotation[0, 1], 0.0])
    right /= np.linalg.norm(right)
    wide = tall_m * skin.rgba[0].shape[1] / skin.rgba[0].shape[0]
    origin = np.array([place[0], place[1], tall_m]) - right * wide / 2
    turn = np.linspace(0, 2 * np.pi, 20)
    blot = np.stack([place[0] + wide * 0.45 * np.cos(turn), place[1] + wide * 0.45 * np.sin(turn), 0 * turn], 1)
    if camera.to_camera(blot)[:, 2].min() > 0.5:
        outline = np.clip(camera.project(blot), -9999, 9999).round().astype(np.int32)
        _darken(film, outline)
    _draw(film, camera, Panel(origin, right * wide, np.array([0, 0, -tall_m]), skin), light, gain)


def _darken(film: Film, outline: NDArray[np.int32]) -> None:
    """Throw a shadow on the ground, where no building stands before it."""
    import cv2

    height, width = film.nearness.shape
    (x0, y0), (x1, y1) = np.maximum(outline.min(0), 0), np.minimum(outline.max(0) + 1, (width, height))
    if x1 > x0 and y1 > y0:
        mask = np.zeros((int(y1 - y0), int(x1 - x0)), np.uint8)
        cv2.fillPoly(mask, [outline - (x0, y0)], 255)
        ground, held = film.rgb[y0:y1, x0:x1], film.nearness[y0:y1, x0:x1]
        hit = cv2.bitwise_and(mask, cv2.inRange(held, 0.0, 0.0))
        cv2.copyTo((ground * np.float32(0.66)).astype(np.uint8), hit, ground)


def _develop(pixels: Bytes, light: Light, rng: Rng) -> Bytes:
    """Add what a camera adds: exposure, white balance, vignette, softness, noise."""
    import cv2

    height, width = pixels.shape[:2]
    picture = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.3, 0.65))).astype(np.float32)
    ys, xs = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    picture *= (1 - 0.14 * (xs**2 + ys**2) / 2).astype(np.float32)[:, :, None]
    picture *= (rng.uniform(0.9, 1.12) * (1 + rng.normal(0, 0.025, 3))).astype(np.float32)
    picture = (picture - 118) * np.float32(rng.uniform(0.96, 1.14)) + 118
    picture += light.noise * rng.standard_normal((height, width, 1), dtype=np.float32)
    return np.asarray(np.clip(picture, 0, 255).astype(np.uint8))
