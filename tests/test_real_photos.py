"""Real photos, decoded: none is refused, and their pixels are those that another decoder gives."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from overlap.images import decode_brightness, decode_photo

pytestmark = pytest.mark.filterwarnings("ignore")


def decode_all(paths):
    for path in paths:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as photo:
            expected = np.asarray(ImageOps.exif_transpose(photo).convert("RGB"))
        np.testing.assert_array_equal(decode_photo(content), expected, err_msg=str(path))
        assert decode_brightness(content, least_px=64).ndim == 2


def test_no_photo_of_some_is_refused_and_all_have_their_pixels(shared):
    paths = sorted(shared.glob("photos/**/*.jpg")) + sorted(shared.glob("gldv2_real/**/*.jpg"))
    assert len(paths) > 4000
    decode_all(paths[::50])


@pytest.mark.long
def test_no_photo_of_all_is_refused_and_all_have_their_pixels(shared):
    decode_all([path for folder in ("photos", "gldv2_real") for path in sorted((shared / folder).rglob("*.jpg"))])
