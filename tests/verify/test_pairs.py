import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from facade import draw_facade

from overlap.base.config import VerifyConfig
from overlap.base.tables import STATUSES, LocalFeatures
from overlap.verify.pairs import glance, strongest_features, threshold_of, verify_batch, verify_pair
from overlap.verify.presets import PRESETS

SIFT = VerifyConfig()


def describe(picture, keypoints=600):
    """RootSIFT by OpenCV alone: verification must not need the features stage."""
    points, rows = cv2.SIFT.create(nfeatures=keypoints).detectAndCompute(
        cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), None
    )
    rows = np.rint(np.sqrt(rows / rows.sum(axis=1, keepdims=True)) * 256).clip(0, 255) / 256
    frames = np.array([(*p.pt, p.size, p.angle, p.response) for p in points], np.float32)
    order = np.argsort(-frames[:, 4], kind="stable")
    return LocalFeatures(
        frames[order, :2],
        frames[order, 2],
        frames[order, 3],
        frames[order, 4],
        rows[order].astype(np.float32),
        (picture.shape[1], picture.shape[0]),
    )


def take(features, rows):
    return LocalFeatures(
        features.xy_px[rows],
        features.scales_px[rows],
        features.angles_deg[rows],
        features.responses[rows],
        features.descriptors[rows],
        features.size_px,
    )


def random_features(seed, n=500, *, frames=True):
    rng = np.random.default_rng(seed)
    rows = rng.gamma(0.5, size=(n, 128))
    return LocalFeatures(
        rng.uniform(0, 320, (n, 2)).astype(np.float32),
        rng.uniform(2, 20, n).astype(np.float32),
        (rng.uniform(0, 360, n) if frames else np.full(n, np.nan)).astype(np.float32),
        np.ones(n, np.float32),
        (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32),
        (320, 320),
    )


WARPS = {
    "itself": np.eye(3),
    "turned and shrunk": np.array([[0.6, -0.2, 70], [0.2, 0.6, 10], [0, 0, 1.0]]),
    "seen from the side": np.array([[0.7, 0.05, 20], [-0.1, 0.85, 40], [-0.0006, 0.0002, 1.0]]),
}


@pytest.mark.parametrize("frames", [True, False])
@pytest.mark.parametrize("name", WARPS)
def test_a_picture_and_its_warp_are_the_same_place(name, frames):
    picture, truth = draw_facade(1), WARPS[name]
    warped = cv2.warpPerspective(picture, truth, (320, 240), borderValue=(90, 90, 90))
    query, photo = describe(picture), describe(warped)
    if not frames:
        query, photo = (
            LocalFeatures(
                one.xy_px,
                one.scales_px,
                np.full_like(one.angles_deg, np.nan),
                one.responses,
                one.descriptors,
                one.size_px,
            )
            for one in (query, photo)
        )
    result = verify_pair(query, photo, settings=SIFT)
    assert result.status == "ok"
    assert result.score > 0.7
    assert result.geometry == "homography"
    corners = np.array([[[60, 60]], [[260, 60]], [[260, 180]], [[60, 180]]], np.float64)
    found, wanted = (cv2.perspectiveTransform(corners, matrix) for matrix in (result.matrix, truth))
    assert np.abs(found - wanted).max() < 1.5


def test_inliers_are_true_pairs_of_rows_and_sorted():
    picture, truth = draw_facade(2), WARPS["seen from the side"]
    query, photo = describe(picture), describe(cv2.warpPerspective(picture, truth, (320, 240)))
    result = verify_pair(query, photo, settings=SIFT)
    assert result.inliers.dtype == np.int32
    assert result.inliers.shape == (result.n_inliers, 2)
    assert result.n_inliers <= result.n_matches
    assert result.inliers.tolist() == sorted(result.inliers.tolist())
    goal = cv2.perspectiveTransform(query.xy_px[result.inliers[:, 0]][:, None].astype(np.float64), truth)[:, 0]
    assert (np.linalg.norm(goal - photo.xy_px[result.inliers[:, 1]], axis=1) < 6).mean() > 0.95


@pytest.mark.parametrize("seed", range(5))
def test_other_pictures_score_low(seed):
    result = verify_pair(describe(draw_facade(10 + seed)), describe(draw_facade(20 + seed)), settings=SIFT)
    assert result.score < 0.3


@pytest.mark.parametrize("frames", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_random_features_score_low(seed, frames):
    query, photo = random_features(seed, frames=frames), random_features(seed + 50, frames=frames)
    assert verify_pair(query, photo, settings=SIFT).score < 0.3


def test_the_order_of_the_keypoints_changes_nothing():
    picture = draw_facade(3)
    query, photo = describe(picture), describe(cv2.warpPerspective(picture, WARPS["turned and shrunk"], (320, 240)))
    rng = np.random.default_rng(0)
    plain = verify_pair(query, photo, settings=SIFT)
    order_q, order_p = (rng.permutation(len(one.xy_px)) for one in (query, photo))
    mixed = verify_pair(take(query, order_q), take(photo, order_p), settings=SIFT)
    assert mixed.score == pytest.approx(plain.score, abs=1e-9)
    back = np.column_stack([order_q[mixed.inliers[:, 0]], order_p[mixed.inliers[:, 1]]])
    assert {tuple(pair) for pair in back.tolist()} == {tuple(pair) for pair in plain.inliers.tolist()}


def test_query_and_photo_may_change_places():
    picture = draw_facade(4)
    query, photo = describe(picture), describe(cv2.warpPerspective(picture, WARPS["seen from the side"], (320, 240)))
    forth, back = verify_pair(query, photo, settings=SIFT), verify_pair(photo, query, settings=SIFT)
    assert forth.score == pytest.approx(back.score, abs=0.03)


THREADS = """
import sys
import cv2, numpy as np
from overlap.base.config import VerifyConfig
from overlap.base.tables import LocalFeatures
from overlap.verify.pairs import verify_pair
cv2.setNumThreads(int(sys.argv[2]))
saved = np.load(sys.argv[1])
query, photo = (LocalFeatures(*(saved[f"{side}{i}"] for i in range(5)), (320, 240)) for side in "qp")
result = verify_pair(query, photo, settings=VerifyConfig())
print(result.score.hex(), result.n_inliers, result.matrix.tobytes().hex(), result.inliers.tobytes().hex())
"""


def test_the_number_of_threads_changes_no_bit(tmp_path):
    picture = draw_facade(5)
    photos = {
        "q": describe(picture),
        "p": describe(cv2.warpPerspective(picture, WARPS["turned and shrunk"], (320, 240))),
    }
    names = ("xy_px", "scales_px", "angles_deg", "responses", "descriptors")
    arrays = {f"{side}{i}": getattr(photos[side], name) for side in photos for i, name in enumerate(names)}
    np.savez(tmp_path / "features.npz", **arrays)
    said = []
    for threads in ("1", "4"):
        environment = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-c", THREADS, str(tmp_path / "features.npz"), threads]
        root = Path(__file__).parents[2]
        ran = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
        said.append(ran.stdout)
    assert said[0] == said[1]
    assert len(said[0]) > 100


def points(xy, seed=0):
    """Features at given places whose descriptors match one to one."""
    xy = np.asarray(xy, np.float32)
    rows = np.random.default_rng(seed).gamma(0.5, size=(len(xy), 128))
    ones = np.ones(len(xy), np.float32)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return LocalFeatures(xy, 4 * ones, 0 * ones, ones, rows, (320, 240))


LINE = np.column_stack([np.linspace(10, 300, 60), np.linspace(20, 200, 60)])
GRID = np.stack(np.meshgrid(np.arange(20, 300, 30), np.arange(20, 220, 30)), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize(
    ("query", "photo", "status"),
    [
        (GRID[:0], GRID, "too_few_matches"),
        (GRID[:0], GRID[:0], "too_few_matches"),
        (GRID[:3], GRID[:3], "too_few_matches"),
        (GRID, np.full_like(GRID, 50), "too_few_matches"),
    ],
)
def test_too_little_to_compare_scores_nothing(query, photo, status):
    result = verify_pair(points(query), points(photo), settings=SIFT)
    assert (result.status, result.score, result.geometry, result.matrix) == (status, 0.0, "none", None)
    assert result.inliers.shape == (0, 2)


@pytest.mark.parametrize("frames", [True, False])
def test_points_on_a_line_are_survived(frames):
    photo = points(LINE)
    if not frames:
        photo = LocalFeatures(
            photo.xy_px, photo.scales_px, photo.angles_deg * np.nan, photo.responses, photo.descriptors, photo.size_px
        )
    result = verify_pair(photo, photo, settings=SIFT)
    assert result.status in STATUSES
    assert np.isfinite(result.score)


def test_matches_in_scattered_places_have_no_model():
    rng = np.random.default_rng(0)
    result = verify_pair(points(GRID[:5]), points(rng.uniform(0, 240, (5, 2))), settings=SIFT)
    assert (result.status, result.geometry, result.n_inliers) == ("no_model", "none", 0)
    assert 0 <= result.score < 0.05


def test_a_mirrored_picture_is_not_the_same_place():
    result = verify_pair(points(GRID), points(GRID * [-1, 1] + [319, 0]), settings=SIFT)
    assert result.score < threshold_of(SIFT)


def test_a_deep_scene_is_held_together_by_a_fundamental_matrix():
    rng = np.random.default_rng(0)
    x = rng.uniform([70, 20], [330, 220], (150, 2))
    shift = rng.uniform(-60, 60, 150)
    photo = points(x)
    nan = np.full(150, np.nan, np.float32)
    query, moved = (
        LocalFeatures(xy.astype(np.float32), photo.scales_px, nan, photo.responses, photo.descriptors, (400, 240))
        for xy in (x, x + np.column_stack([shift, 0 * shift]))
    )
    result = verify_pair(query, moved, settings=SIFT)
    assert result.geometry == "fundamental"
    assert result.score > 0.5
    i, j = result.inliers.T
    ones = np.ones(len(i))
    lines = np.column_stack([query.xy_px[i], ones]) @ result.matrix.T
    off = (np.column_stack([moved.xy_px[j], ones]) * lines).sum(axis=1) / np.hypot(lines[:, 0], lines[:, 1])
    assert np.median(np.abs(off)) < 2
    assert np.linalg.norm(result.matrix) == pytest.approx(1)


def test_a_mark_on_the_border_of_two_other_pictures_is_called_a_watermark():
    rng = np.random.default_rng(0)
    mark = rng.uniform([330, 280], [390, 295], (40, 2))
    elsewhere = rng.uniform(0, 280, (2, 10, 2))
    query, photo = (points(np.concatenate([mark, others])) for others in elsewhere)
    query, photo = (
        LocalFeatures(one.xy_px, one.scales_px, one.angles_deg, one.responses, one.descriptors, (400, 300))
        for one in (query, photo)
    )
    result = verify_pair(query, photo, settings=SIFT)
    assert (result.status, result.score) == ("watermark", 0.0)
    assert result.n_inliers >= 30


def test_a_repeated_photo_is_no_watermark():
    photo = describe(draw_facade(6))
    assert verify_pair(photo, photo, settings=SIFT).status == "ok"


def test_the_threshold_is_the_preset_unless_set():
    for kind, preset in PRESETS.items():
        assert threshold_of(VerifyConfig(features=kind)) == preset.threshold
    assert threshold_of(VerifyConfig(threshold=0.7)) == 0.7


def test_a_learned_matcher_is_used_when_given():
    picture = describe(draw_facade(7))
    asked = []

    def match(query, photo):
        asked.append(1)
        rows = np.arange(len(query.xy_px), dtype=np.int32)
        return np.column_stack([rows, rows]), np.ones(len(rows), np.float32)

    assert verify_pair(picture, picture, settings=SIFT, match=match).score > 0.7
    assert asked


def test_a_glance_stops_at_chance_and_lets_a_landmark_through():
    many = [random_features(seed, n=1500) for seed in range(4)]
    stopped = [glance(many[0], other, preset=PRESETS["sift"]) for other in many[1:]]
    assert any(stopped)
    for result, other in zip(stopped, many[1:], strict=True):
        if result is not None:
            assert (result.status, result.geometry, result.n_inliers) == ("no_model", "none", 0)
            assert result.n_matches > 0
            assert result.score < 0.02
            again = verify_pair(many[0], other, settings=SIFT)
            assert (again.status, again.score) == (result.status, result.score)
    assert glance(many[0], many[0], preset=PRESETS["sift"]) is None
    assert verify_pair(many[0], many[0], settings=SIFT).status == "ok"


def test_a_glance_takes_no_time_where_it_saves_none():
    few = [random_features(seed, n=1024) for seed in range(2)]
    assert glance(few[0], few[1], preset=PRESETS["sift"]) is None


def test_a_batch_gives_what_its_pairs_give_one_by_one_whatever_finds_the_neighbours():
    picture = draw_facade(8)
    seen = [describe(cv2.warpPerspective(picture, warp, (320, 240))) for warp in WARPS.values()]
    crowds = [random_features(seed, n=1500) for seed in range(2)]
    batch = [(seen[0], seen[1]), (crowds[0], crowds[1]), (seen[0], take(seen[2], [0])), (crowds[0], seen[2])]
    alone = [verify_pair(*photos, settings=SIFT) for photos in batch]
    assert {result.status for result in alone} == {"ok", "no_model", "too_few_matches"}
    for results in (
        verify_batch(batch, settings=SIFT),
        verify_batch(batch, settings=SIFT, find_nearest=nearest_by_sorting),
    ):
        for one, other in zip(alone, results, strict=True):
            assert repr(one) == repr(other)


def nearest_by_sorting(pairs):
    found = []
    for query, photo in pairs:
        cosines = query @ photo.T
        best = [np.sort(each, axis=1)[:, :-3:-1] for each in (cosines, cosines.T)]
        found.append((cosines.argmax(axis=1), *best))
    return found


def test_the_strongest_features_come_first():
    features = random_features(3, n=50)
    few = strongest_features(features, 20)
    assert few.size_px == features.size_px
    for name in ("xy_px", "scales_px", "angles_deg", "responses", "descriptors"):
        np.testing.assert_array_equal(getattr(few, name), getattr(features, name)[:20])
