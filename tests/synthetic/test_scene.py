"""Oracles for cameras, planes and hidden surfaces; and the world's reason to be: what a geometric verifier sees."""

from functools import cache
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap.synthetic import scene
from overlap.synthetic.buildings import (
    BUILDERS,
    Design,
    Panel,
    build,
    build_inside,
    draw_design,
    draw_rival,
    polygon,
    rectangle,
    shell,
)
from overlap.synthetic.camera import Camera, frame, look_at
from overlap.synthetic.paint import OUTLINES, Canvas, Skin, blank
from overlap.synthetic.scene import VIEWS, Film, photograph

finite = st.floats(-40, 40, allow_nan=False)


def camera_at(x: float, y: float, z: float, roll: float = 0.0) -> Camera:
    position = np.array([x, y, z])
    return Camera(position, look_at(position, np.array([0.0, 0.0, 4.0]), roll), 300.0, (160.0, 120.0), (320, 240))


def project_slowly(camera: Camera, point: np.ndarray) -> tuple[float, float]:
    right, down, forward = camera.rotation
    away = [point[i] - camera.position[i] for i in range(3)]
    along = sum(away[i] * forward[i] for i in range(3))
    x = camera.focal_px * sum(away[i] * right[i] for i in range(3)) / along + camera.centre_px[0]
    y = camera.focal_px * sum(away[i] * down[i] for i in range(3)) / along + camera.centre_px[1]
    return x, y


@given(x=finite, z=st.floats(0.5, 30), s=st.floats(0, 1), t=st.floats(0, 1), roll=st.floats(-8, 8))
def test_the_homography_of_a_plane_takes_its_points_where_the_camera_does(
    x: float, z: float, s: float, t: float, roll: float
) -> None:
    camera = camera_at(x, -60, z, roll)
    origin, across, down = np.array([-5.0, 1, 9]), np.array([9.0, 3, 0]), np.array([0, 1.0, -8])
    seen = camera.plane(origin, across, down) @ (s, t, 1)
    point = origin + s * across + t * down
    assert np.allclose(seen[:2] / seen[2], project_slowly(camera, point), atol=1e-6)
    assert np.allclose(camera.project(point[None])[0], project_slowly(camera, point), atol=1e-6)


def test_a_camera_sees_up_above_down_and_right_on_the_right() -> None:
    camera = camera_at(0, -50, 2)
    middle, up, right = camera.project(np.array([[0, 0, 4.0], [0, 0, 9], [3, 0, 4]]))
    assert up[1] < middle[1]
    assert right[0] > middle[0]


@given(x=finite, u=st.integers(0, 319), v=st.integers(0, 239))
def test_nearness_is_one_over_the_distance_along_the_view(x: float, u: int, v: int) -> None:
    camera = camera_at(x, -60, 5)
    origin, normal = np.array([1.0, -2.0, 3.0]), np.array([0.1, -0.99, 0.1])
    ray = camera.rotation.T @ np.array([(u - 160) / 300, (v - 120) / 300, 1.0])
    depth = ((origin - camera.position) @ normal) / (ray @ normal)
    found = scene._nearness(camera, origin, normal, (u, v, u + 1, v + 1))
    assert found[0, 0] == pytest.approx(1 / depth, rel=1e-3, abs=1e-5)


def flat_panel(y: float, grey: int, half: float) -> Panel:
    skin = Skin((np.full((32, 32, 4), (grey, grey, grey, 255), np.uint8),), (np.zeros((32, 32), np.uint8),))
    return Panel(np.array([-half, y, 4 + half]), np.array([2 * half, 0, 0]), np.array([0, 0, -2 * half]), skin)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_panel_hides_the_farther_in_any_order(order: tuple[int, int]) -> None:
    camera, gain = camera_at(0, -50, 4), np.ones(3)
    film = Film(np.zeros((240, 320, 3), np.uint8), np.zeros((240, 320), np.float32))
    panels = [flat_panel(-5, 200, 3), flat_panel(5, 90, 8)]
    for index in order:
        scene._draw(film, camera, panels[index], scene.day(np.random.default_rng(1)), gain)
    assert film.rgb[120, 160, 0] == 200
    assert film.rgb[120, 200, 0] == 90
    assert film.rgb[5, 5, 0] == 0


def test_a_panel_that_touches_one_pixel_is_drawn() -> None:
    film = Film(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.float32))
    scene._draw(film, camera_at(0, -50, 4), flat_panel(0, 200, 90), scene.day(np.random.default_rng(1)), np.ones(3))
    assert film.rgb.tolist() == [[[200, 200, 200]]]
    scene._darken(film, np.array([[0, 0], [1, 0], [1, 1]], np.int32))
    assert film.rgb.tolist() == [[[200, 200, 200]]]


def test_panels_seen_from_behind_are_not_drawn() -> None:
    film = Film(np.zeros((240, 320, 3), np.uint8), np.zeros((240, 320), np.float32))
    scene._draw(film, camera_at(0, 50, 4), flat_panel(0, 200, 5), scene.day(np.random.default_rng(1)), np.ones(3))
    assert not film.nearness.any()


@given(fill=st.floats(0.3, 1.2), x=finite, shift=st.floats(-0.1, 0.1))
def test_framed_points_fill_their_share_of_the_photo(fill: float, x: float, shift: float) -> None:
    points = rectangle((0, 0), (20, 10), 0.0)
    points = np.concatenate([points, points + np.array([0, 0, 12])])
    camera = frame(points, np.array([x, -60, 2]), size_px=(480, 360), fill=fill, roll_deg=2, shift=(shift, 0))
    seen = camera.project(points)
    assert np.max(np.ptp(seen, axis=0) / (480, 360)) == pytest.approx(fill, abs=1e-6)
    assert (seen.min(0) + seen.max(0))[0] / 2 == pytest.approx(480 * (0.5 + shift), abs=1e-6)


@pytest.mark.parametrize("sides", [4, 8, 12])
def test_the_walls_of_a_ring_look_outwards_and_reach_its_corners(sides: int) -> None:
    low, high = polygon((3, 4), 5, sides, 1), polygon((3, 4), 4, sides, 9)
    panels = shell(low, high, [bare_wall])
    assert len(panels) == sides
    for panel, (here, there) in zip(panels, pairwise([*low, low[0]]), strict=True):
        middle = panel.corners.mean(0)
        assert panel.normal @ (middle - (3, 4, 5)) > 0
        assert np.allclose(panel.corners[3], here, atol=1e-6)
        assert np.allclose(panel.corners[2], there, atol=1e-6)


def bare_wall(size_m: tuple[float, float]) -> Canvas:
    return blank(np.random.default_rng(0), size_m, design("church", 1).style, 8)


@given(shape=st.sampled_from(sorted(OUTLINES)), x=finite, y=finite, w=st.floats(1, 60), h=st.floats(1, 90))
def test_outlines_stay_in_their_box_and_touch_its_sides(shape: str, x: float, y: float, w: float, h: float) -> None:
    outline = OUTLINES[shape](x, y, w, h)
    assert outline.min(0) == pytest.approx((x, y), abs=0.02 * max(w, h))
    assert outline.max(0) == pytest.approx((x + w, y + h), abs=0.02 * max(w, h))


def design(kind: str, seed: int) -> Design:
    return draw_design(np.random.default_rng((seed, 0)), (seed, 1), kind)


@pytest.mark.parametrize("kind", sorted(BUILDERS))
def test_every_kind_of_building_stands_on_the_ground_and_is_seen(kind: str) -> None:
    panels = build(design(kind, 3), 8)
    corners = np.concatenate([panel.corners for panel in panels])
    assert corners[:, 2].min() == pytest.approx(0, abs=1e-6)
    assert np.isfinite(corners).all()
    pixels, (x0, y0, x1, y1) = photograph(panels, np.random.default_rng(4), view="easy", light="day", size_px=160)
    assert pixels.dtype == np.uint8
    assert max(pixels.shape[:2]) == 160
    assert max((x1 - x0) / pixels.shape[1], (y1 - y0) / pixels.shape[0]) > 0.6
    assert pixels.std() > 12


@cache
def gatehouse(*, inside: bool) -> list[Panel]:
    return (build_inside if inside else build)(design("gatehouse", 2), 8)


@pytest.mark.parametrize("view", sorted(VIEWS))
@pytest.mark.parametrize("light", ["day", "dusk", "night"])
def test_the_same_stream_gives_the_same_photo_in_every_view_and_light(view: str, light: str) -> None:
    panels = gatehouse(inside=view == "inside")
    one, two = (photograph(panels, np.random.default_rng(9), view=view, light=light, size_px=128) for _ in range(2))
    assert np.array_equal(one[0], two[0])
    assert one[1] == two[1]


def count_inliers(one: np.ndarray, two: np.ndarray) -> int:
    """Count homography inliers of mutual nearest RootSIFT neighbours that pass the ratio test."""
    sift = cv2.SIFT_create(1000)
    (p, a), (q, b) = (sift.detectAndCompute(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), None) for photo in (one, two))
    a, b = (np.sqrt(rows / rows.sum(1, keepdims=True)) for rows in (a, b))
    likeness = a @ b.T
    first, second = np.sort(likeness, 1)[:, [-1, -2]].T
    best = likeness.argmax(1)
    kept = (likeness.argmax(0)[best] == np.arange(len(a))) & (1 - first < 0.72 * (1 - second))
    if kept.sum() < 4:
        return 0
    here = np.float32([p[i].pt for i in np.flatnonzero(kept)])
    there = np.float32([q[i].pt for i in best[kept]])
    _, mask = cv2.findHomography(here, there, cv2.USAC_MAGSAC, 4.0)
    return 0 if mask is None else int(mask.sum())


@pytest.mark.parametrize("kind", ["church", "palace", "rotunda"])
def test_a_verifier_tells_the_same_face_from_another_and_from_a_look_alike(kind: str) -> None:
    original = design(kind, 11)
    rival = draw_rival(original, np.random.default_rng(12), (13,))
    panels, others = build(original, 16), build(rival, 16)

    def shoot(walls: list[Panel], seed: int, view: str, light: str = "day") -> np.ndarray:
        return photograph(walls, np.random.default_rng(seed), view=view, light=light, size_px=360)[0]

    query = shoot(panels, 1, "easy")
    same = [count_inliers(query, shoot(panels, 2, "easy")), count_inliers(query, shoot(panels, 3, "front"))]
    dark = count_inliers(query, shoot(panels, 4, "front", "night"))
    wrong = [
        count_inliers(query, shoot(others, 5, "easy")),
        count_inliers(query, shoot(build_inside(original, 16), 6, "inside")),
    ]
    if kind != "rotunda":  # of a round house, neighbouring sides are seen from the back as from nowhere else
        wrong.append(count_inliers(query, shoot(panels, 7, "back")))
    assert min(same) >= 40
    assert dark >= 20
    assert max(wrong) <= 16
    assert min(same) >= 3 * max(wrong)
