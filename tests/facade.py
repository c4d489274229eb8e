"""A picture full of corners: rectangles, discs and lines at random."""

import cv2
import numpy as np


def draw_facade(seed, *, width=320, height=240):
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 128, np.uint8)
    for _ in range(120):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        w, h = (int(side) for side in rng.integers(4, 40, 2))
        cv2.rectangle(picture, (x, y), (x + w, y + h), colour, -1)
        cv2.circle(picture, (int(rng.integers(0, width)), int(rng.integers(0, height))), w // 3 + 2, colour[::-1], -1)
    return cv2.GaussianBlur(picture, (0, 0), 0.7)
