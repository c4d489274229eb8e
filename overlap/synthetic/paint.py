"""Paint the skins of buildings: masonry, windows, doors, columns, ornaments, weather.

Every stone has its own shade, every window its own panes and every facade its own stains, so that no two places of the
world look alike to a local feature, as in real stone. Pictures are RGB, x right, y down; lengths in metres become
pixels by the skin's scale.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Colour: TypeAlias = tuple[float, float, float]
Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Rng: TypeAlias = np.random.Generator
BoxPx: TypeAlias = tuple[int, int, int, int]  # x, y, width, height


@dataclass(frozen=True)
class Style:
    """Hold what an architect repeats from house to house: materials, colours, windows.

    Args:
        wall: a key of WALLS.
        colour: of the wall, RGB 0 to 255.
        trim: of frames, cornices and columns.
        roof: of the roofs.
        window: a key of OUTLINES.
        panes: columns and rows of the glazing.
        bay_m, floor_m: distance of windows.
        opening: width and height of a window, as shares of bay and floor.
    """

    wall: str
    colour: Colour
    trim: Colour
    roof: Colour
    window: str
    panes: tuple[int, int]
    bay_m: float
    floor_m: float
    opening: tuple[float, float]


@dataclass(frozen=True)
class Skin:
    """Hold the picture on one panel of a building, with halved copies for far views.

    Args:
        rgba: levels of (H, W, 4) uint8, the finest first.
        glow: levels of (H, W) uint8, what shines at night.
    """

    rgba: tuple[Bytes, ...]
    glow: tuple[Bytes, ...]


@dataclass(frozen=True)
class Canvas:
    """Hold a picture while it is being painted: the functions of this module paint into it.

    Args:
        rgb: (H, W, 3) uint8.
        glow: (H, W) uint8.
        scale: pixels a metre.
    """

    rgb: Bytes
    glow: Bytes
    scale: float
    style: Style
    rng: Rng = field(repr=False)

    def px(self, metres: float) -> int:
        """Return a length in whole pixels, at least 1."""
        return max(1, round(metres * self.scale))


def fractal(rng: Rng, shape: tuple[int, int], cells: int, octaves: int = 4) -> Floats:
    """Return smooth noise (H, W) of about -1 to 1: ``cells`` blobs on the longer side, then twice as many, ..."""
    import cv2

    full, shape = shape, (-(-shape[0] // 2), -(-shape[1] // 2))
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        step = max(height, width) / (cells * 2**octave)
        grid = rng.standard_normal((int(height / step) + 3, int(width / step) + 3), dtype=np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR) * 0.6**octave
    return np.asarray(cv2.resize(total / np.float32(1.6), full[::-1]), np.float32)


def masonry(rng: Rng, shape: tuple[int, int], colour: Colour, *, block: tuple[float, float], contrast: float) -> Floats:
    """Lay courses of blocks (width, height in pixels), each block in its own shade: (H, W, 3) float32."""
    height, width = shape
    wall = np.empty((height, width, 3), np.float32)
    for top, bottom in pairwise(_joints(rng, height, block[1], 0.15)):
        joints = _joints(rng, width, block[0], 0.35)
        tones = 1 + contrast * rng.standard_normal((len(joints) - 1, 1)) + rng.normal(0, 0.02, (len(joints) - 1, 3))
        row = np.repeat(tones * colour, np.diff(joints), axis=0)
        row[joints[1:-1]] *= 0.72
        wall[top:bottom] = row
        wall[top] *= 0.74
    return wall


def _joints(rng: Rng, length: int, step: float, jitter: float) -> list[int]:
    steps = np.maximum(2, step * (1 + rng.uniform(-jitter, jitter, int(length / max(step * 0.5, 1)) + 2)))
    inner = np.unique(np.cumsum(steps).astype(int))
    return [0, *inner[inner < length - 2].tolist(), length]


def _stone(rng: Rng, shape: tuple[int, int], style: Style, scale: float) -> Floats:
    return masonry(rng, shape, style.colour, block=(0.95 * scale, 0.5 * scale), contrast=0.1)


def _brick(rng: Rng, shape: tuple[int, int], style: Style, scale: float) -> Floats:
    wall = masonry(rng, shape, style.colour, block=(0.55 * scale, 0.22 * scale), contrast=0.12)
    return np.asarray(wall * (1 + 0.12 * fractal(rng, shape, 14, 3))[:, :, None], np.float32)


def _plaster(rng: Rng, shape: tuple[int, int], style: Style, scale: float) -> Floats:
    import cv2

    wall = np.ones((*shape, 3), np.float32) * np.asarray(style.colour, np.float32)
    for _ in range(int(shape[0] * shape[1] / scale**2 / 9)):
        centre = (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
        axes = (int(rng.uniform(0.15, 0.9) * scale), int(rng.uniform(0.1, 0.5) * scale))
        shade = tuple(float(value) * rng.uniform(0.8, 1.1) for value in style.colour)
        cv2.ellipse(wall, centre, axes, rng.uniform(0, 180), 0, 360, shade, -1)
    return np.asarray(wall * (1 + 0.1 * fractal(rng, shape, 20, 3))[:, :, None], np.float32)


def _timber(rng: Rng, shape: tuple[int, int], style: Style, scale: float) -> Floats:
    import cv2

    wall = _plaster(rng, shape, style, scale)
    rows, columns = max(1, round(shape[0] / scale / 1.5)), max(1, round(shape[1] / scale / 1.6))
    ys, xs = np.linspace(0, shape[0] - 1, rows + 1), np.linspace(0, shape[1] - 1, columns + 1)
    thick = max(2, round(0.22 * scale))
    for x in xs:
        cv2.line(wall, (int(x), 0), (int(x), shape[0]), _oak(rng), thick)
    for y in ys:
        cv2.line(wall, (0, int(y)), (shape[1], int(y)), _oak(rng), thick)
    for row, column in np.argwhere(rng.random((rows, columns)) < 0.45):
        ends = [(int(xs[column]), int(ys[row])), (int(xs[column + 1]), int(ys[row + 1]))]
        if rng.random() < 0.5:
            ends = [(ends[0][0], ends[1][1]), (ends[1][0], ends[0][1])]
        cv2.line(wall, ends[0], ends[1], _oak(rng), thick)
    return wall


def _oak(rng: Rng) -> Colour:
    shade = rng.uniform(0.7, 1.25)
    return 74 * shade, 52 * shade, 38 * shade


WALLS: MappingProxyType[str, Callable[[Rng, tuple[int, int], Style, float], Floats]] = MappingProxyType(
    {"stone": _stone, "brick": _brick, "plaster": _plaster, "timber": _timber}
)


def _rectangle(x: float, y: float, w: float, h: float) -> NDArray[np.float64]:
    return np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])


def _round_arch(x: float, y: float, w: float, h: float) -> NDArray[np.float64]:
    turn = np.linspace(np.pi, 2 * np.pi, 16)
    rise = min(w / 2, h)
    arc = np.stack([x + w / 2 + w / 2 * np.cos(turn), y + rise + rise * np.sin(turn)], 1)
    return np.concatenate([arc, [(x + w, y + h), (x, y + h)]])


def _pointed_arch(x: float, y: float, w: float, h: float) -> NDArray[np.float64]:
    turn = np.linspace(np.pi, np.pi * 4 / 3, 9)
    rise = min(0.866 * w, h)
    left = np.stack([x + w + w * np.cos(turn), y + rise + rise / 0.866 * np.sin(turn)], 1)
    right = np.stack([2 * x + w - left[::-1, 0], left[::-1, 1]], 1)
    return np.concatenate([left, right, [(x + w, y + h), (x, y + h)]])


def _oval(x: float, y: float, w: float, h: float) -> NDArray[np.float64]:
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return np.stack([x + w / 2 + w / 2 * np.cos(turn), y + h / 2 + h / 2 * np.sin(turn)], 1)


OUTLINES: MappingProxyType[str, Callable[[float, float, float, float], NDArray[np.float64]]] = MappingProxyType(
    {"rectangle": _rectangle, "round": _round_arch, "pointed": _pointed_arch, "oval": _oval}
)


def blank(rng: Rng, size_m: tuple[float, float], style: Style, scale: float) -> Canvas:
    """Return a bare wall of width and height in metres."""
    shape = max(4, round(size_m[1] * scale)), max(4, round(size_m[0] * scale))
    wall = WALLS[style.wall](rng, shape, style, scale)
    return Canvas(_bytes(wall), np.zeros(shape, np.uint8), scale, style, rng)


def roofing(rng: Rng, size_m: tuple[float, float], style: Style, scale: float) -> Canvas:
    """Return a roof of width and height in metres: slates, each in its own shade."""
    shape = max(4, round(size_m[1] * scale)), max(4, round(size_m[0] * scale))
    slates = masonry(rng, shape, style.roof, block=(0.5 * scale, 0.38 * scale), contrast=0.09)
    slates *= (1 + 0.14 * fractal(rng, shape, 10, 3))[:, :, None]
    return Canvas(_bytes(slates), np.zeros(shape, np.uint8), scale, style, rng)


def _bytes(values: NDArray[np.floating]) -> Bytes:
    return np.asarray(np.clip(values, 0, 255).astype(np.uint8))


def _tinted(rng: Rng, colour: Colour, spread: float = 0.08) -> Colour:
    gain = 1 + rng.uniform(-spread, spread)
    return min(255.0, colour[0] * gain), min(255.0, colour[1] * gain), min(255.0, colour[2] * gain)


def _fill(canvas: Canvas, outline: NDArray[np.float64], colour: Colour) -> None:
    import cv2

    cv2.fillPoly(canvas.rgb, [np.round(outline * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)


def _trace(canvas: Canvas, outline: NDArray[np.float64], colour: Colour, thick: int) -> None:
    import cv2

    cv2.polylines(canvas.rgb, [np.round(outline * 16).astype(np.int32)], True, colour, thick, cv2.LINE_AA, 4)


def band(canvas: Canvas, top_m: float, height_m: float, *, dentils: bool = False) -> None:
    """Paint a moulding across the whole wall, with the shadow it throws."""
    width = canvas.rgb.shape[1]
    y, h = round(top_m * canvas.scale), canvas.px(height_m)
    stones = masonry(canvas.rng, (h, width), canvas.style.trim, block=(1.4 * canvas.scale, h), contrast=0.08)
    stones *= np.linspace(1.12, 0.82, h, dtype=np.float32)[:, None, None]
    target = canvas.rgb[y : y + h]
    target[:] = _bytes(stones)[: len(target)]
    shadow = canvas.rgb[y + h : y + h + canvas.px(0.18)]
    shadow[:] = (shadow * 0.6).astype(np.uint8)
    if dentils:
        for x in range(0, width, canvas.px(0.6)):
            canvas.rgb[y + h // 2 : y + h, x : x + canvas.px(0.28)] //= 2


def quoins(canvas: Canvas) -> None:
    """Paint corner stones at both edges, long and short in turn."""
    height, width = canvas.rgb.shape[:2]
    for row, y in enumerate(range(0, height, canvas.px(0.55))):
        long = canvas.px(0.9 if row % 2 else 0.55)
        for x in (0, max(0, width - long)):
            box = canvas.rgb[y : y + canvas.px(0.55) - 1, x : x + long]
            box[:] = np.asarray(_tinted(canvas.rng, canvas.style.trim, 0.14), np.uint8)


def window(canvas: Canvas, box: BoxPx, shape: str) -> None:
    """Paint one window: frame, panes in their own shades, reveal, sill."""
    import cv2

    x, y, w, h = box
    if w < 3 or h < 3:
        return
    rim = canvas.px(0.2)
    frame = _tinted(canvas.rng, canvas.style.trim)
    _fill(canvas, OUTLINES[shape](x - rim, y - rim, w + 2 * rim, h + 2 * rim), frame)
    _trace(canvas, OUTLINES[shape](x - rim, y - rim, w + 2 * rim, h + 2 * rim), _darker(frame, 0.62), 1)
    glass, shine = _glazing(canvas, (h, w))
    mask = np.zeros((h, w), np.uint8)
    cv2.fillPoly(mask, [np.round(OUTLINES[shape](0, 0, w - 1, h - 1)).astype(np.int32)], 255)
    _stencil(canvas, (x, y), glass, shine, mask)
    if shape != "oval":
        _sill(canvas, box, frame)


def _sill(canvas: Canvas, box: BoxPx, colour: Colour) -> None:
    x, y, w, h = box
    _fill(canvas, _rectangle(x - 0.12 * w, y + h, 1.24 * w, canvas.px(0.22)), _darker(colour, 1.08))
    low = y + h + canvas.px(0.22)
    stain = canvas.rgb[low : low + canvas.px(canvas.rng.uniform(0.2, 1.1)), max(0, x) : x + w]
    stain[:] = (stain * canvas.rng.uniform(0.72, 0.92)).astype(np.uint8)


def _stencil(canvas: Canvas, corner: tuple[int, int], picture: Bytes, shine: Bytes, mask: Bytes) -> None:
    x, y = corner
    height, width = canvas.rgb.shape[:2]
    left, top, right, low = max(0, -x), max(0, -y), min(mask.shape[1], width - x), min(mask.shape[0], height - y)
    if right <= left or low <= top:
        return
    inside = mask[top:low, left:right] > 0
    canvas.rgb[y + top : y + low, x + left : x + right][inside] = picture[top:low, left:right][inside]
    canvas.glow[y + top : y + low, x + left : x + right][inside] = shine[top:low, left:right][inside]


def _darker(colour: Colour, gain: float) -> Colour:
    return min(255.0, colour[0] * gain), min(255.0, colour[1] * gain), min(255.0, colour[2] * gain)


def _glazing(canvas: Canvas, shape: tuple[int, int]) -> tuple[Bytes, Bytes]:
    import cv2

    rng, (columns, rows) = canvas.rng, canvas.style.panes
    size = shape[1], shape[0]
    panes = np.array([46.0, 58.0, 74.0]) * rng.uniform(0.45, 1.0) + rng.normal(0, 16, (rows, columns, 1))
    panes = panes + rng.normal(0, 7, (rows, columns, 3)) + (rng.random((rows, columns, 1)) < 0.12) * 60
    if canvas.style.window == "pointed":
        panes = panes + rng.normal(0, 26, (rows, columns, 3))
    glass = cv2.resize(_bytes(panes), size, interpolation=cv2.INTER_NEAREST)
    lit = rng.uniform(90, 255, (rows, columns)) * (rng.random() < 0.62)
    shine = cv2.resize(_bytes(lit), size, interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.35:
        _curtain(canvas, glass)
    glass[: canvas.px(0.16)] //= 2
    glass[:, : canvas.px(0.1)] //= 2
    for picture, colour in ((glass, _tinted(rng, canvas.style.trim, 0.12)), (shine, (30.0, 30.0, 30.0))):
        _bars(picture, (columns, rows), colour, max(1, canvas.px(0.07)))
    return glass, shine


def _curtain(canvas: Canvas, glass: Bytes) -> None:
    rng, (height, width) = canvas.rng, glass.shape[:2]
    cloth = np.asarray(rng.uniform(110, 215, 3), np.uint8)
    part = round(width * rng.uniform(0.2, 0.45))
    glass[:, :part] = cloth
    if rng.random() < 0.6:
        glass[: round(height * rng.uniform(0.2, 1.0)), width - part :] = cloth


def _bars(picture: Bytes, panes: tuple[int, int], colour: Colour, thick: int) -> None:
    import cv2

    height, width = picture.shape[:2]
    for column in range(1, panes[0]):
        x = round(width * column / panes[0])
        cv2.line(picture, (x, 0), (x, height), colour, thick)
    for row in range(1, panes[1]):
        y = round(height * row / panes[1])
        cv2.line(picture, (0, y), (width, y), colour, thick)


def rose(canvas: Canvas, centre: tuple[int, int], radius: int) -> None:
    """Paint a rose window: coloured petals between stone spokes."""
    import cv2

    rng, petals = canvas.rng, int(canvas.rng.integers(8, 17))
    cv2.circle(canvas.rgb, centre, round(radius * 1.18), _tinted(rng, canvas.style.trim), -1, cv2.LINE_AA)
    for ring, petal in np.ndindex(3, petals):
        span = 360 / petals
        reach = round(radius * (1, 0.68, 0.36)[ring])
        start, stop = petal * span + ring * span / 2 + 2, (petal + 1) * span + ring * span / 2 - 2
        glass = tuple(float(value) for value in rng.uniform(20, 150, 3))
        cv2.ellipse(canvas.rgb, centre, (reach, reach), 0, start, stop, glass, -1, cv2.LINE_AA)
        cv2.ellipse(canvas.glow, centre, (reach, reach), 0, start, stop, float(rng.uniform(120, 250)), -1)
        edge = round(radius * (0.7, 0.38, 0.1)[ring])
        cv2.circle(canvas.rgb, centre, edge, _tinted(rng, canvas.style.trim), canvas.px(0.12), cv2.LINE_AA)


def door(canvas: Canvas, box: BoxPx, shape: str) -> None:
    """Paint a portal: receding arches in stone, then two leaves with iron and panels."""
    rng, (x, y, w, h) = canvas.rng, box
    for step in range(3):
        rim = canvas.px(0.28) * (3 - step)
        tone = _darker(_tinted(rng, canvas.style.trim, 0.1), 1.05 - 0.17 * step)
        _fill(canvas, OUTLINES[shape](x - rim, y - rim, w + 2 * rim, h + rim), tone)
        _trace(canvas, OUTLINES[shape](x - rim, y - rim, w + 2 * rim, h + rim), _darker(tone, 0.6), 1)
    wood = tuple(float(value) for value in np.array([92, 58, 36]) * rng.uniform(0.5, 1.3) + rng.uniform(-14, 14, 3))
    _fill(canvas, OUTLINES[shape](x, y, w, h), (wood[0], wood[1], wood[2]))
    for row, leaf in np.ndindex(4, 2):
        panel = _rectangle(x + w * (0.08 + 0.48 * leaf), y + h * (0.3 + 0.17 * row), w * 0.36, h * 0.13)
        _fill(canvas, panel, _tinted(rng, _darker((wood[0], wood[1], wood[2]), 0.8), 0.4))
    _fill(canvas, _rectangle(x + w / 2 - 1, y + h * 0.02, 2, h), (20, 14, 10))


def relief(canvas: Canvas, box: BoxPx) -> None:
    """Paint a carved panel: light from above on random figures."""
    x, y, w, h = box
    if w < 6 or h < 6:
        return
    carving = fractal(canvas.rng, (h, w), 5, 3)
    light = 1 + 0.75 * np.clip(np.roll(carving, 1, 0) - carving + np.roll(carving, 1, 1) - carving, -0.7, 0.7)
    picture = _bytes(light[:, :, None] * np.asarray(_tinted(canvas.rng, canvas.style.trim), np.float32))
    _stencil(canvas, (x, y), picture, np.zeros((h, w), np.uint8), np.full((h, w), 255, np.uint8))
    _trace(canvas, _rectangle(x, y, w, h), _darker(canvas.style.trim, 0.6), max(1, canvas.px(0.08)))


def statue(canvas: Canvas, box: BoxPx) -> None:
    """Paint a figure in a niche."""
    import cv2

    rng, (x, y, w, h) = canvas.rng, box
    _fill(canvas, _round_arch(x, y, w, h), _darker(canvas.style.colour, 0.45))
    skin, lean = _tinted(rng, canvas.style.trim, 0.2), rng.uniform(-0.08, 0.08)
    body = [(0.3, 1.0), (0.24, 0.55), (0.3, 0.38), (0.5 + lean, 0.32), (0.72, 0.38), (0.78, 0.6), (0.7, 1.0)]
    jitter = rng.normal(0, 0.04, (len(body), 2))
    _fill(canvas, (np.array(body) + jitter) * (w, h) + (x, y), skin)
    cv2.circle(canvas.rgb, (round(x + w * (0.5 + lean)), round(y + h * 0.25)), max(1, round(w * 0.15)), skin, -1)
    for _ in range(3):
        fold = rng.uniform((0.3, 0.45), (0.7, 0.7))
        ends = np.round([fold * (w, h) + (x, y), (fold + np.array([0.05, 0.3])) * (w, h) + (x, y)]).astype(int)
        cv2.line(canvas.rgb, ends[0].tolist(), ends[1].tolist(), _darker(skin, 0.6), 1, cv2.LINE_AA)


TINCTURES: tuple[Colour, ...] = (
    (214, 206, 184), (190, 158, 82), (128, 44, 40), (44, 62, 104), (52, 84, 60), (42, 40, 44), (108, 60, 88)
)  # fmt: skip


def shield(canvas: Canvas, box: BoxPx) -> None:
    """Paint a coat of arms in four random tinctures."""
    rng, (x, y, w, h) = canvas.rng, box
    outline = np.array([(0, 0), (1, 0), (1, 0.55), (0.5, 1), (0, 0.55)]) * (w, h) + (x, y)
    _fill(canvas, outline, (235, 225, 190))
    for column, row in np.ndindex(2, 2):
        tincture = TINCTURES[int(rng.integers(len(TINCTURES)))]
        part = _rectangle(x + w * (0.08 + 0.44 * column), y + h * (0.06 + 0.36 * row), w * 0.4, h * 0.32)
        _fill(canvas, part, _tinted(rng, tincture, 0.2))
        charge = _oval(x + w * (0.2 + 0.44 * column), y + h * (0.14 + 0.36 * row), w * 0.16, h * 0.14)
        _fill(canvas, charge, _darker(TINCTURES[int(rng.integers(len(TINCTURES)))], 0.9))
    _trace(canvas, outline, (60, 48, 30), max(1, canvas.px(0.06)))


def clock(canvas: Canvas, box: BoxPx) -> None:
    """Paint a clock that stopped at a random hour."""
    import cv2

    rng, (x, y, w, h) = canvas.rng, box
    centre, radius = (x + w // 2, y + h // 2), max(3, min(w, h) // 2)
    cv2.circle(canvas.rgb, centre, round(radius * 1.2), _darker(canvas.style.trim, 0.7), -1, cv2.LINE_AA)
    face = (236.0, 230.0, 205.0) if rng.random() < 0.6 else (30.0, 42.0, 84.0)
    hand = (24.0, 22.0, 30.0) if face[0] > 99 else (226.0, 190.0, 90.0)
    cv2.circle(canvas.rgb, centre, radius, face, -1, cv2.LINE_AA)
    cv2.circle(canvas.glow, centre, radius, 200, -1)
    for turn, reach in [
        *((hour * np.pi / 6, 0.9) for hour in range(12)),
        *zip(rng.uniform(0, 6.3, 2), (0.5, 0.75), strict=True),
    ]:
        near = 0.74 if reach == 0.9 else 0.0
        ends = [
            (round(centre[0] + radius * r * np.cos(turn)), round(centre[1] + radius * r * np.sin(turn)))
            for r in (near, reach)
        ]
        cv2.line(canvas.rgb, ends[0], ends[1], hand, max(1, radius // 9), cv2.LINE_AA)


def ivy(canvas: Canvas, box: BoxPx) -> None:
    """Paint climbing leaves over a part of the wall."""
    import cv2

    rng, (x, y, w, h) = canvas.rng, box
    climb = rng.random(max(20, w * h // 28))
    for up, side in zip(climb, rng.normal(0.5, 0.2, len(climb)), strict=True):
        spread = 0.5 + (side - 0.5) * (1.25 - up)
        green = np.array([58, 92, 40]) * rng.uniform(0.55, 1.35)
        centre = (round(x + w * spread), round(y + h * (1 - up * up)))
        cv2.circle(canvas.rgb, centre, canvas.px(rng.uniform(0.08, 0.2)), green.tolist(), -1)


ORNAMENTS: MappingProxyType[str, Callable[[Canvas, BoxPx], None]] = MappingProxyType(
    {"relief": relief, "statue": statue, "shield": shield, "clock": clock}
)


def weather(canvas: Canvas) -> None:
    """Darken the wall by stains of all sizes, and by streaks that run down from its top."""
    import cv2

    rng, (height, width) = canvas.rng, canvas.glow.shape
    stains = 1 + 0.13 * fractal(rng, (height, width), 6, 5)
    drips = cv2.resize(rng.random((2, max(3, width // canvas.px(0.35))), np.float32), (width, height))
    fade = np.exp(-np.linspace(0, height / canvas.scale / 2.5, height, dtype=np.float32))[:, None]
    grime = np.exp(-np.linspace(height / canvas.scale / 0.9, 0, height, dtype=np.float32))[:, None]
    gain = stains * (1 - 0.32 * fade * drips) * (1 - 0.25 * grime)
    canvas.rgb[:] = _bytes(canvas.rgb * gain[:, :, None])


def facade(canvas: Canvas, *, floors: int, bays: int, portal: float | None, busy: float) -> None:
    """Fill a wall with floors of windows between bands; some bays hold an ornament instead, none is quite the same.

    Args:
        portal: where the door stands, as a share of the width; None for no door.
        busy: share of bays with an ornament.
    """
    height, width = canvas.rgb.shape[:2]
    for floor, bay in np.ndindex(floors, bays):
        cell = (width * bay / bays, height * floor / floors, width / bays, height / floors)
        at_door = portal is not None and floor == floors - 1 and abs((bay + 0.5) / bays - portal) < 0.62 / bays
        if not at_door:
            _bay(canvas, cell, busy)
    for floor in range(1, floors):
        band(canvas, height * floor / floors / canvas.scale - 0.2, 0.26)
    if portal is not None:
        w, h = min(canvas.px(2.4), width // 2), min(canvas.px(3.6), round(height / floors * 0.82))
        door(
            canvas,
            (round(width * portal - w / 2), height - h, w, h),
            canvas.style.window if canvas.style.window != "oval" else "round",
        )


def _bay(canvas: Canvas, cell: tuple[float, float, float, float], busy: float) -> None:
    x, y, w, h = cell
    wide, high = canvas.style.opening
    box = (round(x + w * (1 - wide) / 2), round(y + h * (1 - high) * 0.55), round(w * wide), round(h * high))
    if canvas.rng.random() >= busy:
        window(canvas, box, canvas.style.window)
        return
    kind = str(canvas.rng.choice(list(ORNAMENTS)))
    side = min(box[2], box[3])
    middle = (box[0] + (box[2] - side) // 2, box[1] + (box[3] - side) // 2, side, side)
    ORNAMENTS[kind](canvas, middle if kind in ("clock", "shield") else box)


def colonnade(rng: Rng, size_m: tuple[float, float], style: Style, *, scale: float, count: int) -> tuple[Canvas, Bytes]:
    """Paint a row of columns; returns the canvas and the mask (H, W) of what is stone."""
    canvas = blank(rng, size_m, Style(**{**vars(style), "wall": "stone", "colour": style.trim}), scale)
    height, width = canvas.glow.shape
    xs = np.arange(width, dtype=np.float32)
    pitch = width / count
    radius = min(0.55 * scale, pitch * 0.3)
    across = ((xs % pitch) - pitch / 2) / radius
    shading = np.where(abs(across) < 1, 0.62 + 0.5 * np.sqrt(np.clip(1 - (across + 0.35) ** 2 / 1.9, 0, 1)), 1)
    shading = shading * (1 - 0.12 * (np.cos(across * 9) > 0.4))
    weather(canvas)
    canvas.rgb[:] = _bytes(canvas.rgb * shading[None, :, None])
    mask = np.broadcast_to(abs(across) < 1, (height, width)).copy()
    canvas.rgb[:] = _bytes(canvas.rgb * rng.uniform(0.82, 1.14, count + 1)[(xs / pitch).astype(int)][None, :, None])
    head, wider = canvas.px(rng.uniform(0.6, 1.1)), abs(across) < 1.35
    for column in range(count):
        relief(canvas, (round(pitch * column), 0, round(pitch), head))
    mask[:head] = wider
    mask[height - head // 2 :] = wider
    canvas.rgb[head - 2 : head + 1] //= 2
    return canvas, mask.astype(np.uint8) * 255


def finish(canvas: Canvas, alpha: Bytes | None = None) -> Skin:
    """Turn a painted canvas into a skin; ``alpha`` (H, W) cuts it out."""
    import cv2

    opaque = np.full(canvas.glow.shape, 255, np.uint8) if alpha is None else alpha
    rgba, glow = [np.dstack([canvas.rgb, opaque])], [canvas.glow]
    while min(rgba[-1].shape[:2]) > 24 and len(rgba) < 4:
        size = (rgba[-1].shape[1] // 2, rgba[-1].shape[0] // 2)
        rgba.append(cv2.resize(rgba[-1], size, interpolation=cv2.INTER_AREA))
        glow.append(cv2.resize(glow[-1], size, interpolation=cv2.INTER_AREA))
    return Skin(tuple(rgba), tuple(glow))
