"""Draw what stands in a photo's way: trees, bushes and people, each one different."""

import numpy as np

from overlap.synthetic.paint import Bytes, Rng, Skin


def plant(rng: Rng) -> Skin:
    """Draw a tree: broad, slim or conifer, in a season's colours."""
    kind = int(rng.choice(3, p=[0.6, 0.2, 0.2]))
    shape = ((180, 164), (196, 74), (190, 100))[kind]
    rgba = np.zeros((*shape, 4), np.uint8)
    _trunk(rgba, rng)
    leaf = np.array(
        ((78, 108, 52), (96, 112, 44), (44, 84, 56), (150, 110, 48))[int(rng.choice(4, p=[0.45, 0.2, 0.25, 0.1]))]
    )
    for up, side, size in _crown(rng, kind):
        _blob(rgba, (side, up), size, leaf * (0.5 + 0.55 * up - 0.28 * side) * rng.uniform(0.75, 1.25))
    return Skin((rgba,), (np.zeros(shape, np.uint8),))


def _trunk(rgba: Bytes, rng: Rng) -> None:
    import cv2

    height, width = rgba.shape[:2]
    bark = (*(np.array([84, 66, 50]) * rng.uniform(0.6, 1.2)).tolist(), 255)
    cv2.line(
        rgba, (width // 2, height), (width // 2 + int(rng.integers(-8, 9)), height // 3), bark, max(4, width // 18)
    )
    for _ in range(4):
        tip = (int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.2, 0.5) * height))
        cv2.line(rgba, (width // 2, int(height * rng.uniform(0.5, 0.75))), tip, bark, 3)


def _crown(rng: Rng, kind: int) -> list[tuple[float, float, float]]:
    """Return leaves as (height 0 to 1, side -1 to 1, size), the shaded ones first."""
    count = (230, 130, 150)[kind]
    up, side = rng.random(count), rng.uniform(-1, 1, count)
    if kind == 2:
        side *= 1 - up
        up = up * 0.86 + 0.12
    else:
        turn, reach = (
            rng.uniform(0, 2 * np.pi, count),
            np.sqrt(rng.random(count)) * (0.82 + 0.18 * np.sin(rng.uniform(0, 6) + 5 * up)),
        )
        side, up = reach * np.cos(turn) * 0.92, 0.62 + 0.36 * reach * np.sin(turn)
    size = rng.uniform(0.025, 0.062, count)
    order = np.argsort(up - 0.5 * side + rng.normal(0, 0.22, count), kind="stable")
    return [(float(up[i]), float(side[i]), float(size[i])) for i in order]


def _blob(
    rgba: Bytes, place: tuple[float, float], size: float, colour: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> None:
    import cv2

    height, width = rgba.shape[:2]
    centre = (int(width * (0.5 + place[0] * 0.46)), int(height * (1 - place[1])))
    cv2.circle(rgba, centre, max(2, int(size * height)), (*colour.tolist(), 255), -1)


def walker(rng: Rng) -> Skin:
    """Draw a person: legs, coat, arms, head, sometimes a bag or a hat."""
    import cv2

    rgba = np.zeros((120, 48, 4), np.uint8)
    coat, cloth = (_dye(rng) for _ in range(2))
    skin = (*(np.array([214, 170, 140]) * rng.uniform(0.45, 1.05)).tolist(), 255)
    stride = int(rng.integers(2, 9))
    for step in (-stride, stride):
        cv2.line(rgba, (24, 66), (24 + step, 116), cloth, 9)
    cv2.ellipse(rgba, (24, 46), (11, 25), 0, 0, 360, coat, -1)
    for side in (-1, 1):
        cv2.line(rgba, (24 + side * 9, 30), (24 + side * int(rng.integers(10, 17)), 62), coat, 6)
    cv2.circle(rgba, (24, 13), 8, skin, -1)
    cv2.ellipse(rgba, (24, 10), (8, 7), 0, 180, 360, (*rng.uniform(15, 120, 3).tolist(), 255), -1)
    if rng.random() < 0.4:
        cv2.rectangle(rgba, (32, 50), (42, 66), _dye(rng), -1)
    return Skin((rgba,), (np.zeros((120, 48), np.uint8),))


def _dye(rng: Rng) -> tuple[float, ...]:
    """Return a colour of cloth, rarely bright."""
    grey = rng.uniform(25, 190)
    return (*np.clip(grey + rng.normal(0, 26, 3), 10, 235).tolist(), 255.0)
