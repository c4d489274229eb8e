import cv2
import numpy as np
import pytest
from facade import draw_facade

from overlap.features.sift import extract_root_sift


def test_descriptors_are_the_square_roots_of_opencvs():
    picture = draw_facade(1)
    found = extract_root_sift(picture, keypoints=10_000, size_px=320)
    detector = cv2.SIFT.create(nfeatures=10_000, contrastThreshold=0.02, edgeThreshold=12, enable_precise_upscale=True)
    points, descriptors = detector.detectAndCompute(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), None)
    assert len(points) == len(found.xy_px) > 100
    by_place = {(*np.float32(p.pt), np.float32(p.angle)): row for p, row in zip(points, descriptors, strict=True)}
    for xy, angle, row in list(zip(found.xy_px, found.angles_deg, found.descriptors, strict=True))[:50]:
        raw = min(by_place.items(), key=lambda item: np.abs(np.array(item[0]) - [*xy, angle]).sum())[1]
        for mine, theirs in zip(row, raw, strict=True):
            assert mine == pytest.approx((theirs / raw.sum()) ** 0.5, abs=1e-6)


def test_at_most_so_many_keypoints_and_the_strongest():
    picture = draw_facade(2)
    few = extract_root_sift(picture, keypoints=50, size_px=320)
    many = extract_root_sift(picture, keypoints=10_000, size_px=320)
    assert len(few.xy_px) == 50
    assert few.responses.min() >= np.sort(many.responses)[-60]


@pytest.mark.parametrize("size_px", [160, 320, 640])
def test_a_spot_is_found_where_it_is_at_any_size(size_px):
    y, x = np.mgrid[:240, :320]
    spot = 40 + 200 * np.exp(-((x - 70.0) ** 2 + (y - 110.0) ** 2) / (2 * 8**2))
    picture = np.repeat(spot.astype(np.uint8)[:, :, None], 3, axis=2)
    found = extract_root_sift(picture, keypoints=50, size_px=size_px)
    nearest = np.abs(found.xy_px - [70, 110]).max(axis=1).argmin()
    np.testing.assert_allclose(found.xy_px[nearest], [70, 110], atol=0.3)
    # The region of a blob: twice its standard deviation in radius, over the blob's best-fitting kernel.
    assert 12 < found.scales_px[nearest] < 24


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_constant_picture_has_no_features(value):
    found = extract_root_sift(np.full((60, 80, 3), value, np.uint8), keypoints=100, size_px=640)
    assert found.xy_px.shape == (0, 2)
    assert found.descriptors.shape == (0, 128)
    assert found.size_px == (80, 60)


def test_a_picture_of_one_pixel_has_no_features():
    assert not len(extract_root_sift(np.zeros((1, 1, 3), np.uint8), keypoints=10, size_px=640).xy_px)
