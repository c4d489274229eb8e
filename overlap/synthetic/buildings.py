"""Build houses out of flat panels: churches, temples, rotundas, palaces, castles, gatehouses, gabled houses, arches.

Convention: metres, x to the right of somebody who looks at the front, y away from him, z up; the front looks to -y.
Corners of a ring go against the clock seen from above, so that side i, from corner i to i + 1, reads left to right
from outside; of a rectangle the sides are front, right, back, left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, pairwise
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.synthetic import paint
from overlap.synthetic.paint import Bytes, Canvas, Rng, Skin, Style

Points: TypeAlias = NDArray[np.float64]
Painter: TypeAlias = Callable[[tuple[float, float]], Canvas]


@dataclass(frozen=True)
class Design:
    """Hold what makes one building: the same design always gives the same building.

    Args:
        kind: a key of BUILDERS.
        style: materials and windows.
        width_m, depth_m, height_m: of the main body.
        portal: where the door stands, as a share of the front.
        busy: share of bays with an ornament.
        option: which of the kind's arrangements (one tower or two, dome or none).
        seed: of stones, stains, panes and ornaments.
    """

    kind: str
    style: Style
    width_m: float
    depth_m: float
    height_m: float
    portal: float
    busy: float
    option: int
    seed: tuple[int, ...]


@dataclass(frozen=True)
class Panel:
    """Hold a flat, painted rectangle in space; its skin may be cut out.

    Args:
        origin: (3,) upper left corner, seen from outside.
        across: (3,) from there to the upper right one.
        down: (3,) from there to the lower left one.
        skin: its picture.
    """

    origin: Points
    across: Points
    down: Points
    skin: Skin

    @property
    def normal(self) -> Points:
        """Return (3,) the unit vector that points out of the building."""
        a, b = self.down, self.across
        out = np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
        return np.asarray(out / np.sqrt(out @ out))

    @property
    def corners(self) -> Points:
        """Return (4, 3) corners: upper left, upper right, lower right, lower left."""
        far = self.origin + self.across
        return np.array([self.origin, far, far + self.down, self.origin + self.down])


@dataclass(frozen=True)
class Yard:
    """Hold what every builder needs: the design, its random stream, pixels a metre."""

    design: Design
    scale: float
    rng: Rng = field(repr=False)

    def facade(self, *, portal: float | None = None, storeys: float = 1.0, busy: float = 1.0) -> Painter:
        """Return a painter of windowed walls; ``storeys`` and ``busy`` multiply the style's."""

        def painter(size_m: tuple[float, float]) -> Canvas:
            style = self.design.style
            canvas = paint.blank(self.rng, size_m, style, self.scale)
            floors = max(1, round(size_m[1] / style.floor_m * storeys))
            bays = max(1, round(size_m[0] / style.bay_m))
            if size_m[0] > 8:
                paint.quoins(canvas)
            paint.facade(canvas, floors=floors, bays=bays, portal=portal, busy=self.design.busy * busy)
            if self.rng.random() < 0.25 and size_m[0] > 5:
                self._grow_ivy(canvas)
            paint.weather(canvas)
            paint.band(canvas, 0, 0.5, dentils=size_m[0] > 8)
            return canvas

        return painter

    def _grow_ivy(self, canvas: Canvas) -> None:
        height, width = canvas.glow.shape
        wide, high = round(width * self.rng.uniform(0.12, 0.3)), round(height * self.rng.uniform(0.4, 0.9))
        paint.ivy(canvas, (round(self.rng.uniform(0, width - wide)), height - high, wide, high))

    def plain(self, size_m: tuple[float, float]) -> Canvas:
        """Paint a wall without openings."""
        canvas = paint.blank(self.rng, size_m, self.design.style, self.scale)
        paint.weather(canvas)
        return canvas

    def trim(self, size_m: tuple[float, float]) -> Canvas:
        """Paint a wall of the trim's stone: bases, steps, attics."""
        style = replace(self.design.style, wall="stone", colour=self.design.style.trim)
        canvas = paint.blank(self.rng, size_m, style, self.scale)
        paint.weather(canvas)
        return canvas

    def carved(self, size_m: tuple[float, float]) -> Canvas:
        """Paint a wall of the trim's stone full of reliefs, figures and arms."""
        canvas = self.trim(size_m)
        height, width = canvas.glow.shape
        count = max(1, round(size_m[0] / max(1.6, size_m[1])))
        for place in range(count):
            step = width / count
            kind = str(self.rng.choice(["relief", "relief", "statue", "statue", "shield"]))
            box = (round(step * (place + 0.14)), round(height * 0.16), round(step * 0.72), round(height * 0.7))
            paint.ORNAMENTS[kind](canvas, box)
        paint.band(canvas, 0, min(0.35, size_m[1] / 6))
        return canvas

    def roof(self, size_m: tuple[float, float]) -> Canvas:
        """Paint a slope of the roof."""
        return paint.roofing(self.rng, size_m, self.design.style, self.scale)

    def gable(self, size_m: tuple[float, float]) -> Canvas:
        """Paint a gable: a wall with one round ornament in its middle."""
        canvas = paint.blank(self.rng, size_m, self.design.style, self.scale)
        height, width = canvas.glow.shape
        side = round(min(height * 0.42, width * 0.25))
        box = (width // 2 - side // 2, round(height * 0.5), side, side)
        if self.rng.random() < 0.5:
            paint.window(canvas, box, "oval")
        else:
            paint.ORNAMENTS[str(self.rng.choice(["clock", "shield", "relief"]))](canvas, box)
        paint.weather(canvas)
        return canvas

    def front_of_church(self, size_m: tuple[float, float]) -> Canvas:
        """Paint a west front: portal, rose window, niches with figures."""
        canvas = paint.blank(self.rng, size_m, self.design.style, self.scale)
        height, width = canvas.glow.shape
        radius = round(min(width * 0.2, height * 0.2))
        paint.rose(canvas, (width // 2, round(height * 0.33)), radius)
        wide, high = min(canvas.px(3.2), width // 3), round(height * 0.36)
        paint.door(canvas, (width // 2 - wide // 2, height - high, wide, high), self.design.style.window)
        for side in (0.1, 0.24, 0.7, 0.84):
            if self.rng.random() < 0.8:
                tall = round(height * self.rng.uniform(0.2, 0.3))
                box = (round(width * side), round(height * self.rng.uniform(0.48, 0.62)), round(width * 0.07), tall)
                paint.statue(canvas, box)
        for side in (0.1, 0.78):
            box = (round(width * side), round(height * 0.12), round(width * 0.12), round(height * 0.28))
            paint.window(canvas, box, self.design.style.window)
        paint.band(canvas, size_m[1] * 0.58, 0.3)
        paint.weather(canvas)
        return canvas


def rectangle(centre: tuple[float, float], size: tuple[float, float], z: float) -> Points:
    """Return a ring of four corners, front left first."""
    (x, y), (w, d) = centre, (size[0] / 2, size[1] / 2)
    return np.array([(x - w, y - d, z), (x + w, y - d, z), (x + w, y + d, z), (x - w, y + d, z)])


def polygon(centre: tuple[float, float], radius: float, sides: int, z: float) -> Points:
    """Return a ring of ``sides`` corners; one side looks to the front."""
    turn = -np.pi / 2 - np.pi / sides + 2 * np.pi * np.arange(sides) / sides
    return np.stack([centre[0] + radius * np.cos(turn), centre[1] + radius * np.sin(turn), np.full(sides, float(z))], 1)


def shell(low: Points, high: Points, painters: Sequence[Painter], *, crenels: bool = False) -> list[Panel]:
    """Close the sides between two rings of as many corners; painters are taken in turn."""
    count = len(low)
    sides = [(high[i], high[(i + 1) % count], low[(i + 1) % count], low[i]) for i in range(count)]
    return [
        _panel(np.stack(side), painter, crenels=crenels)
        for side, painter in zip(sides, cycle(painters), strict=False)
        if np.linalg.norm(side[0] - side[3]) + np.linalg.norm(side[1] - side[2]) > 0.2
    ]


def box(
    yard: Yard,
    centre: tuple[float, float],
    size: tuple[float, float],
    span: tuple[float, float],
    painters: Sequence[Painter],
    *,
    crenels: bool = False,
) -> list[Panel]:
    """Raise four walls from height span[0] to span[1], with a flat lid and, off the ground, a flat underside."""
    low, high = rectangle(centre, size, span[0]), rectangle(centre, size, span[1])
    deck = rectangle(centre, size, span[1] - (1.2 if crenels else 0))
    lid = _panel(deck[[3, 2, 1, 0]], yard.roof, crenels=False)
    under = [_panel(low, yard.trim, crenels=False)] if span[0] > 2 else []
    return [*shell(low, high, painters, crenels=crenels), lid, *under]


def drum(
    centre: tuple[float, float],
    radius: float,
    span: tuple[float, float],
    painter: Painter,
    *,
    sides: int = 8,
    crenels: bool = False,
) -> list[Panel]:
    """Raise a round tower of flat sides."""
    rings = [polygon(centre, radius, sides, z) for z in span]
    return shell(rings[0], rings[1], [painter], crenels=crenels)


def cone(
    yard: Yard, centre: tuple[float, float], radius: float, span: tuple[float, float], *, sides: int = 8
) -> list[Panel]:
    """Put a pointed roof on a round tower."""
    return shell(polygon(centre, radius, sides, span[0]), polygon(centre, 0.05, sides, span[1]), [yard.roof])


def dome(yard: Yard, centre: tuple[float, float], radius: float, z: float, *, rise: float = 1.0) -> list[Panel]:
    """Vault a dome of four rings, with a lantern on it."""
    turns = np.linspace(0, np.pi / 2 * 0.93, 5)
    rings = [polygon(centre, radius * np.cos(t), 12, z + rise * radius * np.sin(t)) for t in turns]
    panels = [panel for low, high in pairwise(rings) for panel in shell(low, high, [yard.roof])]
    top, wide = z + rise * radius * 0.97, radius * 0.17
    lantern = drum(centre, wide, (top, top + radius * 0.36), yard.facade(storeys=0.5, busy=0), sides=6)
    tip = cone(yard, centre, wide * 1.25, (top + radius * 0.36, top + radius * 0.75), sides=6)
    return [*panels, *lantern, *tip]


def saddle(
    yard: Yard, centre: tuple[float, float], size: tuple[float, float], z: float, rise: float, *, across: bool = False
) -> list[Panel]:
    """Put a saddle roof on a rectangle; its ridge runs from front to back, or across."""
    low = rectangle(centre, size, z)
    high = low.copy()
    high[:, 2] += rise
    axis = 1 if across else 0
    high[:, axis] = centre[axis]
    painters = [yard.roof, yard.gable] if across else [yard.gable, yard.roof]
    return shell(low, high, painters)


def hip(
    yard: Yard, centre: tuple[float, float], size: tuple[float, float], z: float, rise: float, *, inset: float
) -> list[Panel]:
    """Put a roof of four slopes on a rectangle, drawn in by ``inset`` metres, flat on top."""
    top = (max(0.1, size[0] - 2 * inset), max(0.1, size[1] - 2 * inset))
    low, high = rectangle(centre, (size[0] + 0.6, size[1] + 0.6), z), rectangle(centre, top, z + rise)
    return [*shell(low, high, [yard.roof]), _panel(high[[3, 2, 1, 0]], yard.roof, crenels=False)]


def columns(yard: Yard, left: tuple[float, float], right: tuple[float, float], span: tuple[float, float]) -> Panel:
    """Stand a row of columns between two points of the ground plan."""
    length = float(np.hypot(right[0] - left[0], right[1] - left[1]))
    count = max(2, round(length / (0.75 * yard.design.style.bay_m)))
    size = (length, span[1] - span[0])
    canvas, mask = paint.colonnade(yard.rng, size, yard.design.style, scale=yard.scale, count=count)
    origin = np.array([left[0], left[1], span[1]])
    return Panel(
        origin,
        np.array([right[0] - left[0], right[1] - left[1], 0.0]),
        np.array([0, 0, -size[1]]),
        paint.finish(canvas, mask),
    )


def _panel(corners: Points, painter: Painter, *, crenels: bool) -> Panel:
    """Paint the rectangle around four corners of a plane, and cut it to them."""
    base = corners[2] - corners[3] if np.linalg.norm(corners[2] - corners[3]) > 0.06 else corners[1] - corners[0]
    across = base / np.linalg.norm(base)
    fall = corners[3] + corners[2] - corners[0] - corners[1]
    fall = fall - (fall @ across) * across
    down = fall / np.linalg.norm(fall)
    flat = np.stack([(corners - corners[0]) @ across, (corners - corners[0]) @ down], 1)
    corner, size = flat.min(0), np.maximum(np.ptp(flat, axis=0), 0.15)
    canvas = painter((float(size[0]), float(size[1])))
    origin = corners[0] + corner[0] * across + corner[1] * down
    return Panel(
        origin, across * size[0], down * size[1], paint.finish(canvas, _cut(canvas, (flat - corner) / size, crenels))
    )


def _cut(canvas: Canvas, corners: Points, crenels: bool) -> Bytes | None:
    import cv2

    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    if np.allclose(corners, square, rtol=0, atol=0.01):
        return _battlements(canvas) if crenels else None
    mask = np.zeros(canvas.glow.shape, np.uint8)
    height, width = canvas.glow.shape
    outline = np.round(corners * np.array([width - 1, height - 1])).astype(np.int32)
    cv2.fillPoly(mask, [outline], 255)
    cv2.polylines(mask, [outline], True, 255, 2)
    return mask


def _battlements(canvas: Canvas) -> Bytes:
    mask = np.full(canvas.glow.shape, 255, np.uint8)
    width, step = canvas.rgb.shape[1], canvas.px(1.7)
    count = max(1, round(width / step))
    for gap in range(count):
        left = round(width * (gap + 0.3) / count)
        mask[: canvas.px(1.0), left : round(width * (gap + 0.75) / count)] = 0
    return mask


def _church(yard: Yard) -> list[Panel]:
    design = yard.design
    w, d, h = design.width_m, design.depth_m, design.height_m
    aisle, wall = yard.facade(storeys=0.5), yard.facade(storeys=0.6, busy=0.6)
    nave = box(yard, (0, 0), (w, d), (0, h), [yard.front_of_church, aisle, aisle, aisle])
    panels = [*nave, *saddle(yard, (0, 0), (w + 0.5, d + 0.3), h, w * 0.62)]
    for side, y in np.ndindex(2, max(2, round(d / 6))):
        place = ((side * 2 - 1) * (w / 2 + 0.5), -d / 2 + 3 + 6.0 * y)
        panels += box(yard, place, (1.0, 0.9), (0, h * 0.8), [yard.plain])
    return [*panels, *_steeples(yard, wall)]


def _steeples(yard: Yard, wall: Painter) -> list[Panel]:
    design = yard.design
    w, d, h = design.width_m, design.depth_m, design.height_m
    wide = w * 0.42
    xs = ((-w / 2 - wide * 0.3, w / 2 + wide * 0.3), (-w / 2 - wide * 0.3,), (w / 2 + wide * 0.3,))[design.option % 3]
    panels: list[Panel] = []
    for x in xs:
        top = h * (1.9 if len(xs) == 1 else 1.65)
        panels += box(yard, (x, -d / 2 + wide * 0.4), (wide, wide), (0, top), [wall], crenels=design.option >= 3)
        if design.option < 3:
            panels += hip(yard, (x, -d / 2 + wide * 0.4), (wide, wide), top, h * 0.95, inset=wide / 2)
    return panels


def _temple(yard: Yard) -> list[Panel]:
    design = yard.design
    w, d, h = design.width_m, design.depth_m, design.height_m
    wall = yard.facade(busy=0.8)
    panels = box(yard, (0, -1.5), (w * 0.66 + 3, d + 6), (0, 0.6), [yard.trim])
    panels += box(yard, (0, -1.0), (w * 0.66 + 1.5, d + 4.5), (0.6, 1.2), [yard.trim])
    panels += box(yard, (0, 0), (w * 0.62, d), (1.2, h), [yard.facade(portal=design.portal), wall, wall, wall])
    front, porch = -d / 2 - 2.4, w * 0.62
    panels.append(columns(yard, (-porch / 2, front), (porch / 2, front), (1.2, h - 1.6)))
    panels += box(yard, (0, -d / 2 - 1.2), (porch + 0.6, 2.8), (h - 1.6, h), [yard.carved])
    panels += saddle(yard, (0, -1.2), (porch + 1.0, d + 3.2), h, porch * 0.2)
    for side in (-1, 1):
        wing = (side * w * 0.46, d * 0.08)
        panels += box(yard, wing, (w * 0.36, d * 0.7), (0, h * 0.72), [wall])
    if design.option % 2:
        panels += drum((0, d * 0.1), w * 0.17, (h, h * 1.45), wall, sides=12)
        panels += dome(yard, (0, d * 0.1), w * 0.165, h * 1.45)
    return panels


def _rotunda(yard: Yard) -> list[Panel]:
    design = yard.design
    r, h = design.width_m * 0.42, design.height_m
    panels = drum((0, 0), r * 1.05, (0, 1.0), yard.trim, sides=12)
    panels += drum((0, 0), r, (1.0, h * 0.55), yard.facade(), sides=12)
    panels += shell(polygon((0, 0), r * 1.05, 12, h * 0.55), polygon((0, 0), r * 0.8, 12, h * 0.62), [yard.trim])
    panels += drum((0, 0), r * 0.8, (h * 0.6, h * 1.2), yard.facade(storeys=0.7, busy=1.5), sides=12)
    panels += drum((0, 0), r * 0.86, (h * 1.2, h * 1.3), yard.carved, sides=12)
    if design.option % 2:
        porch = r * 0.9
        panels.append(columns(yard, (-porch / 2, -r - 2.2), (porch / 2, -r - 2.2), (0.4, h * 0.5)))
        panels += box(yard, (0, -r - 0.9), (porch + 0.6, 3.2), (h * 0.5, h * 0.58), [yard.carved])
        panels += saddle(yard, (0, -r - 0.6), (porch + 0.8, 3.6), h * 0.58, porch * 0.22)
    else:
        panels += box(yard, (0, -r - 0.2), (r * 0.62, 2.4), (0, h * 0.62), [yard.facade(portal=0.5)])
    return [*panels, *dome(yard, (0, 0), r * 0.82, h * 1.3, rise=0.95)]


def _palace(yard: Yard) -> list[Panel]:
    design = yard.design
    w, d, h = design.width_m, design.depth_m, design.height_m
    wall, steep = yard.facade(), h * 0.38
    panels = box(yard, (0, 0), (w, d), (0, h), [wall])
    panels += hip(yard, (0, 0), (w, d), h, steep, inset=1.8)
    middle = w * (design.portal - 0.5) * 0.5
    panels += box(yard, (middle, -d / 2), (w * 0.24, 3.0), (0, h * 1.16), [yard.facade(portal=0.5, busy=1.5)])
    if design.option % 2:
        panels += hip(yard, (middle, -d / 2 + 1), (w * 0.24, 5.0), h * 1.16, steep * 1.3, inset=1.9)
    else:
        panels += saddle(yard, (middle, -d / 2 + 1), (w * 0.25, 5.5), h * 1.16, w * 0.07)
    for side in (-1, 1):
        place = (side * w * 0.45, -d * 0.12)
        panels += box(yard, place, (w * 0.16, d * 1.05), (0, h * 1.04), [wall])
        panels += hip(yard, place, (w * 0.16, d * 1.05), h * 1.04, steep * 1.25, inset=w * 0.055)
    for x in np.arange(-w * 0.34, w * 0.35, w * 0.085):
        if abs(x - middle) > w * 0.14:
            panels += _dormer(yard, (float(x), -d / 2 + 0.9), h)
    return panels


def _dormer(yard: Yard, place: tuple[float, float], z: float) -> list[Panel]:
    body = box(yard, place, (1.7, 1.8), (z + 0.3, z + 2.3), [yard.facade(busy=0), yard.plain, yard.plain, yard.plain])
    return [*body, *saddle(yard, place, (2.0, 2.0), z + 2.3, 0.9)]


def _castle(yard: Yard) -> list[Panel]:
    design = yard.design
    w, d, h = design.width_m, design.depth_m, design.height_m
    wall = yard.facade(storeys=0.7)
    curtain = [yard.facade(portal=design.portal, storeys=0.6), wall, wall, wall]
    panels = box(yard, (0, 0), (w, d), (0, h * 0.75), curtain, crenels=True)
    keep = (w * (0.5 - design.portal), d * 0.1)
    panels += box(yard, keep, (w * 0.34, d * 0.4), (0, h * 1.5), [wall], crenels=True)
    for index, (x, y) in enumerate([(-1, -1), (1, -1), (1, 1), (-1, 1)]):
        place, tall = (x * w / 2, y * d / 2), h * (1.0 + 0.22 * ((index + design.option) % 3))
        panels += drum(place, w * 0.095, (0, tall), wall, sides=10, crenels=design.option % 2 == 0)
        if design.option % 2:
            panels += drum(place, w * 0.11, (tall - 1.4, tall), yard.carved, sides=10)
            panels += cone(yard, place, w * 0.125, (tall, tall + h * 0.75), sides=10)
    return panels


def _gatehouse(yard: Yard) -> list[Panel]:
    design = yard.design
    w, d, h = design.width_m, design.depth_m, design.height_m
    wall, tower = yard.facade(), w * 0.3
    middle = w * (design.portal - 0.5) * 0.6
    panels = box(yard, (0, 0), (w, d * 0.6), (0, h), [wall], crenels=design.option % 2 == 0)
    panels += saddle(yard, (0, 0), (w - 1.4, d * 0.6 - 1.2), h - 0.6, d * 0.22, across=True)
    gate = [yard.facade(portal=0.5, busy=1.6), wall, wall, wall]
    panels += box(yard, (middle, -d * 0.16), (tower, d * 0.5), (0, h * 1.8), gate, crenels=True)
    for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        place = (middle + x * tower / 2, -d * 0.16 + y * d * 0.25)
        panels += drum(place, tower * 0.14, (0, h * 2.05), yard.facade(busy=0.5), sides=8)
        panels += cone(yard, place, tower * 0.18, (h * 2.05, h * (2.5 if design.option % 3 else 2.25)), sides=8)
    for x in np.linspace(-w * 0.42, w * 0.42, 4):
        if abs(x - middle) > tower * 0.8:
            panels += box(yard, (float(x), 0.4), (1.1, 1.1), (h, h + d * 0.22 + 1.6), [yard.plain])
    return panels


def _houses(yard: Yard) -> list[Panel]:
    design = yard.design
    count = 3 + design.option % 2
    cuts = np.cumsum([0, *yard.rng.uniform(0.8, 1.25, count)])
    xs = (cuts / cuts[-1] - 0.5) * design.width_m
    panels: list[Panel] = []
    for index, (x0, x1) in enumerate(pairwise(xs)):
        panels += _house(yard, index, (float(x0), float(x1)))
    return panels


def _house(yard: Yard, index: int, span: tuple[float, float]) -> list[Panel]:
    design, rng = yard.design, yard.rng
    colour = tuple(
        float(value) for value in np.clip(np.array(design.style.colour) * rng.uniform(0.55, 1.2, 3), 45, 245)
    )
    wall = str(rng.choice([design.style.wall, design.style.wall, "timber", "plaster"]))
    floor = design.style.floor_m * rng.uniform(0.85, 1.1)
    style = replace(design.style, wall=wall, colour=(colour[0], colour[1], colour[2]), floor_m=floor)
    own = replace(yard, design=replace(design, style=style))
    x, w = sum(span) / 2, span[1] - span[0]
    h = design.height_m * rng.uniform(0.8, 1.15)
    place, depth = (x, float(rng.uniform(-0.5, 0.5))), design.depth_m
    side, portal = own.facade(busy=0.5), float(rng.choice([0.25, 0.5, 0.75]))
    panels = box(own, place, (w, depth), (0, h), [own.facade(portal=portal), side, own.facade(), side])
    roof = saddle(own, place, (w + 0.2, depth + 0.6), h, w * rng.uniform(0.5, 0.85))
    return [*panels, *roof, *box(own, (x + w * 0.3, 1.0 + index * 0.3), (0.9, 0.9), (h, h + w * 0.6), [own.plain])]


def _arch(yard: Yard) -> list[Panel]:
    design = yard.design
    w, d, h = design.width_m * 0.72, design.depth_m * 0.45, design.height_m * 1.35
    gap, spring = w * 0.34, h * 0.5
    panels: list[Panel] = []
    for side in (-1, 1):
        pier = (side * (w + gap) / 4, 0.0)
        wide = (w - gap) / 2
        panels += box(yard, pier, (wide + 0.5, d + 0.5), (0, 1.6), [yard.trim])
        panels += box(yard, pier, (wide, d), (1.6, h * 0.36), [yard.carved])
        panels += box(yard, pier, (wide, d), (h * 0.36, h * 0.76), [yard.carved])
        panels.append(
            columns(yard, (pier[0] - wide / 2, -d / 2 - 0.7), (pier[0] + wide / 2, -d / 2 - 0.7), (1.6, h * 0.76))
        )
    panels += _vault(yard, gap, d, (spring, h * 0.76))
    panels += box(yard, (0, 0), (w + 0.8, d + 1.8), (h * 0.76, h * 0.83), [yard.carved])
    panels += box(yard, (0, 0), (w, d), (h * 0.83, h), [yard.carved])
    if design.option % 2:
        panels += box(yard, (0, 0), (w * 0.4, d * 0.8), (h, h * 1.12), [yard.carved])
    return [*panels, *box(yard, (0, 0), (w * 0.16, d * 0.4), (h, h * 1.2), [yard.carved])]


def _vault(yard: Yard, gap: float, depth: float, span: tuple[float, float]) -> list[Panel]:
    turns = np.linspace(0, np.pi, 7)
    rise = span[1] - span[0] - 0.6
    xs, zs = -gap / 2 * np.cos(turns), span[0] + rise * np.sin(turns)
    front, back = -depth / 2, depth / 2
    panels: list[Panel] = []
    for x0, x1, z0, z1 in zip(xs, xs[1:], zs, zs[1:], strict=False):
        ceiling = np.array([(x1, front, z1), (x1, back, z1), (x0, back, z0), (x0, front, z0)])
        panels.append(_panel(ceiling[[1, 0, 3, 2]], yard.trim, crenels=False))
        for y, order in ((front, [0, 1, 2, 3]), (back, [1, 0, 3, 2])):
            spandrel = np.array([(x0, y, span[1]), (x1, y, span[1]), (x1, y, z1), (x0, y, z0)])
            panels.append(_spandrel(yard, spandrel[order]))
    return panels


def _spandrel(yard: Yard, corners: Points) -> Panel:
    turned = corners[[2, 3, 0, 1]]
    return _panel(turned, yard.trim, crenels=False)


def _belfry(yard: Yard) -> list[Panel]:
    design = yard.design
    w, d, h = design.width_m * 0.3, design.depth_m * 0.8, design.height_m * 2.2
    x = design.width_m * (design.portal - 0.5) * 0.8
    wall = yard.facade(storeys=0.7)
    panels = box(yard, (x, 0), (w, w), (0, h * 0.7), [yard.facade(portal=0.5, storeys=0.7), wall, wall, wall])
    panels += box(yard, (x, 0), (w * 1.1, w * 1.1), (h * 0.7, h * 0.74), [yard.carved])
    panels += box(yard, (x, 0), (w * 0.92, w * 0.92), (h * 0.74, h * 0.94), [yard.facade(storeys=0.6, busy=2)])
    if design.option % 2:
        panels += drum((x, 0), w * 0.36, (h * 0.94, h * 1.08), wall)
        panels += dome(yard, (x, 0), w * 0.38, h * 1.08, rise=1.2)
    else:
        panels += hip(yard, (x, 0), (w * 0.95, w * 0.95), h * 0.94, h * 0.28, inset=w / 2)
    side = -1 if x > 0 else 1
    hall = (x + side * (w * 0.5 + design.width_m * 0.32), d * 0.1)
    panels += box(
        yard, hall, (design.width_m * 0.64, d), (0, design.height_m * 0.8), [yard.facade(portal=0.3), wall, wall, wall]
    )
    return [*panels, *saddle(yard, hall, (design.width_m * 0.66, d + 0.6), design.height_m * 0.8, d * 0.3, across=True)]


BUILDERS: MappingProxyType[str, Callable[[Yard], list[Panel]]] = MappingProxyType(
    {
        "church": _church,
        "temple": _temple,
        "rotunda": _rotunda,
        "palace": _palace,
        "castle": _castle,
        "gatehouse": _gatehouse,
        "houses": _houses,
        "arch": _arch,
        "belfry": _belfry,
    }
)


def build(design: Design, scale: float) -> list[Panel]:
    """Return the building's panels, painted at ``scale`` pixels a metre."""
    return BUILDERS[design.kind](Yard(design, scale, np.random.default_rng(design.seed)))


def build_inside(design: Design, scale: float) -> list[Panel]:
    """Return the walls, floor and ceiling of the building's hall; none of its outside is seen in there."""
    yard = Yard(design, scale, np.random.default_rng((*design.seed, 1)))
    w, d, h, step = 11.0, 24.0, 9.0, 3.0
    panels = [
        _panel(
            np.array([(-w / 2, d, h), (w / 2, d, h), (w / 2, d, 0), (-w / 2, d, 0)]),
            yard.front_of_church,
            crenels=False,
        )
    ]
    bay = yard.facade(storeys=0.7, busy=1.5)
    for y in np.arange(0, d, step):
        left = np.array([(-w / 2, y, h), (-w / 2, y + step, h), (-w / 2, y + step, 0), (-w / 2, y, 0)])
        right = np.array([(w / 2, y + step, h), (w / 2, y, h), (w / 2, y, 0), (w / 2, y + step, 0)])
        floor = np.array([(-w / 2, y + step, 0), (w / 2, y + step, 0), (w / 2, y, 0), (-w / 2, y, 0)])
        vault = np.array([(-w / 2, y, h), (w / 2, y, h), (w / 2, y + step, h), (-w / 2, y + step, h)])
        painters = (bay, bay, yard.roof, yard.carved)
        panels += [
            _panel(side, painter, crenels=False)
            for side, painter in zip((left, right, floor, vault), painters, strict=True)
        ]
    return panels


def draw_design(rng: Rng, seed: tuple[int, ...], kind: str) -> Design:
    """Draw a building of a kind: materials, proportions and details by chance."""
    wall, colour = WALL_COLOURS[int(rng.integers(len(WALL_COLOURS)))]
    window = str(
        rng.choice(
            ["pointed", "round"] if kind in ("church", "castle", "gatehouse") else ["round", "rectangle", "rectangle"]
        )
    )
    style = Style(
        wall=wall,
        colour=colour,
        trim=TRIMS[int(rng.integers(len(TRIMS)))],
        roof=ROOFS[int(rng.integers(len(ROOFS)))],
        window=window,
        panes=(int(rng.integers(2, 4)), int(rng.integers(2, 6))),
        bay_m=float(rng.uniform(2.6, 3.8)),
        floor_m=float(rng.uniform(3.6, 5.2)),
        opening=(float(rng.uniform(0.38, 0.52)), float(rng.uniform(0.5, 0.68))),
    )
    width, depth, height = (float(rng.uniform(low, high)) for low, high in SIZES[kind])
    return Design(
        kind,
        style,
        width,
        depth,
        height,
        float(rng.uniform(0.3, 0.7)),
        float(rng.uniform(0.12, 0.25)),
        int(rng.integers(6)),
        seed,
    )


def draw_rival(design: Design, rng: Rng, seed: tuple[int, ...]) -> Design:
    """Draw another building by the same architect: alike at a glance, other in detail and proportions."""
    style = replace(
        design.style,
        panes=(design.style.panes[0] % 3 + 1, design.style.panes[1] + 1),
        bay_m=design.style.bay_m * float(rng.choice([0.8, 1.25])),
        floor_m=design.style.floor_m * float(rng.choice([0.84, 1.2])),
        opening=(0.9 - design.style.opening[0], 1.18 - design.style.opening[1]),
        window="round" if design.style.window == "rectangle" else "rectangle",
    )
    portal = float(np.clip(1 - design.portal + rng.uniform(-0.05, 0.05), 0.25, 0.75))
    return replace(
        design,
        style=style,
        width_m=design.width_m * float(rng.choice([0.86, 1.16])),
        height_m=design.height_m * float(rng.choice([0.88, 1.14])),
        portal=portal,
        seed=seed,
    )


SIZES: MappingProxyType[str, tuple[tuple[float, float], ...]] = MappingProxyType(
    {
        "church": ((12, 16), (22, 30), (11, 15)),
        "temple": ((32, 42), (16, 22), (10, 13)),
        "rotunda": ((24, 30), (24, 30), (13, 17)),
        "palace": ((36, 50), (12, 16), (12, 16)),
        "castle": ((30, 42), (24, 32), (12, 17)),
        "gatehouse": ((28, 38), (14, 20), (9, 12)),
        "houses": ((22, 30), (10, 14), (9, 13)),
        "arch": ((24, 32), (14, 18), (12, 16)),
        "belfry": ((24, 32), (14, 18), (11, 14)),
    }
)
WALL_COLOURS: tuple[tuple[str, tuple[float, float, float]], ...] = (
    ("stone", (206, 188, 150)),
    ("stone", (188, 176, 160)),
    ("stone", (214, 204, 186)),
    ("stone", (172, 148, 122)),
    ("stone", (196, 160, 138)),
    ("brick", (158, 88, 68)),
    ("brick", (176, 112, 80)),
    ("brick", (132, 78, 66)),
    ("plaster", (226, 196, 130)),
    ("plaster", (206, 140, 112)),
    ("plaster", (196, 206, 188)),
    ("plaster", (228, 218, 196)),
)
TRIMS: tuple[tuple[float, float, float], ...] = ((226, 218, 200), (208, 196, 172), (216, 208, 206), (190, 176, 156))
ROOFS: tuple[tuple[float, float, float], ...] = (
    (92, 98, 112),
    (78, 82, 90),
    (160, 88, 62),
    (138, 76, 58),
    (108, 152, 136),
    (122, 118, 112),
    (104, 84, 72),
)
