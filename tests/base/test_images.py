import io
import os
import re
import struct
import subprocess
import sys
import warnings
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mutate import mutations, within
from pictures import ORIENTATION, before_end, chunk, drawn, encoded, exif, odd_jpegs, odd_others, segment
from PIL import Image, ImageOps

from overlap.base.errors import DataError
from overlap.base.images import (
    PhotoLimits,
    UnreachableError,
    decode_brightness,
    decode_photo,
    encode_jpeg,
    load_header,
    load_photo,
    read_bytes,
    read_header,
    resize_to,
    resize_within,
    stamp_file,
)
from overlap.search.copies import hash_photo


def upright_by_pillow(content):
    with Image.open(io.BytesIO(content)) as photo:
        return np.asarray(ImageOps.exif_transpose(photo).convert("RGB"))


JPEG = encoded(drawn())
FORMS = {
    "baseline": JPEG,
    "progressive": encoded(drawn(), progressive=True),
    "rotated": encoded(drawn(), orientation=6),
    "png": encoded(drawn(), "PNG"),
    "webp": encoded(drawn(), "WEBP"),
    "lossless webp": encoded(drawn(), "WEBP", lossless=True),
}


def with_thumbnail():
    """Put a whole JPEG into a segment before the picture, as cameras do with their thumbnails."""
    inner = encoded(drawn(8, 8))
    segment = b"\xff\xe2" + struct.pack(">H", 2 + len(inner)) + inner
    return JPEG[:2] + segment + JPEG[2:]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_is_turned_as_pillow_turns_it(orientation, kind):
    content = encoded(drawn(), kind, orientation=orientation, **({"quality": 95} if kind == "JPEG" else {}))
    ours, theirs = decode_photo(content), upright_by_pillow(content)
    assert ours.shape == theirs.shape
    assert ours.dtype == np.uint8
    assert ours.flags["C_CONTIGUOUS"]
    assert np.abs(ours.astype(int) - theirs).max() <= 8
    assert read_header(content) == (60, 40, orientation)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_means_upright(orientation):
    content = encoded(drawn(), orientation=orientation)
    assert read_header(content) == (60, 40, 1)
    assert decode_photo(content).shape == (40, 60, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_brightness_is_that_of_the_photo_made_smaller(orientation, kind):
    content = encoded(drawn(80, 120), kind, orientation=orientation)
    grey = decode_brightness(content, least_px=20)
    with Image.open(io.BytesIO(content)) as photo:
        turned = ImageOps.exif_transpose(photo).convert("L").reduce(4)
    assert grey.shape == (turned.height, turned.width)
    assert grey.flags["C_CONTIGUOUS"]
    assert np.abs(grey.astype(int) - np.asarray(turned)).mean() < 3


@pytest.mark.parametrize(("least_px", "factor"), [(5, 8), (6, 4), (10, 4), (11, 2), (20, 2), (21, 1), (500, 1)])
def test_brightness_is_as_coarse_as_the_shorter_side_allows(least_px, factor):
    assert decode_brightness(JPEG, least_px=least_px).shape == (-(-40 // factor), -(-60 // factor))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (JPEG[:-9], "the JPEG is truncated: its end marker is missing"),
        (b"", "not a JPEG, PNG or WebP photo"),
        (encoded(drawn(1001, 1000)), "1000 x 1001 pixels are over the limit of 1 megapixels"),
    ],
)
def test_brightness_is_not_taken_from_a_photo_that_would_be_refused(content, words):
    with pytest.raises(DataError, match=words):
        decode_brightness(content, least_px=20, limits=PhotoLimits(mpx=1))


def test_an_orientation_that_is_text_does_not_cost_the_photo():
    tag = struct.pack("<HHI4s", ORIENTATION, 2, 4, b"top\0")
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + tag + bytes(4)
    content = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif + JPEG[2:]
    with Image.open(io.BytesIO(content)) as photo:
        assert photo.getexif()[ORIENTATION] == "top"
    assert decode_photo(content).shape == (40, 60, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_box_is_cut_before_the_photo_is_turned(orientation):
    content = encoded(drawn(), "PNG", orientation=orientation)
    box = (10, 5, 34, 20)
    with Image.open(io.BytesIO(content)) as photo:
        piece = photo.crop(box)
        piece.getexif()[ORIENTATION] = orientation
        expected = np.asarray(ImageOps.exif_transpose(piece))
    np.testing.assert_array_equal(decode_photo(content, crop_px=box), expected)


@given(st.tuples(st.floats(0, 59), st.floats(0, 39), st.floats(0.01, 61), st.floats(0.01, 41)))
@settings(deadline=None)
def test_every_whole_pixel_that_the_box_touches_is_kept(box):
    x0, y0, x1, y1 = box
    content = FORMS["png"]
    if not (x0 < x1 and y0 < y1):
        with pytest.raises(DataError, match="leaves the picture"):
            decode_photo(content, crop_px=box)
        return
    columns = [x for x in range(60) if x + 1 > x0 and x < x1]
    rows = [y for y in range(40) if y + 1 > y0 and y < y1]
    np.testing.assert_array_equal(decode_photo(content, crop_px=box), drawn()[np.ix_(rows, columns)])


@pytest.mark.parametrize(
    "box",
    [
        (-1, 0, 10, 10),
        (0, -0.5, 10, 10),
        (0, 0, 62, 10),
        (0, 0, 10, 41.5),
        (10, 0, 10, 10),
        (20, 0, 10, 10),
        (60.2, 0, 60.9, 10),
        (0, 40.2, 10, 40.9),
        (float("nan"), 0, 10, 10),
    ],
)
def test_a_box_that_leaves_the_picture_is_refused(box):
    with pytest.raises(DataError, match=r"the box .* leaves the picture of 60 x 40 pixels"):
        decode_photo(JPEG, crop_px=box)


@pytest.mark.parametrize("name", FORMS)
def test_a_photo_cut_anywhere_is_refused(name):
    content = FORMS[name]
    whole = len(content) - 20 if name == "png" else len(content)  # behind its pixels: a checksum, the end
    for cut in [*range(0, whole, max(1, whole // 400)), whole - 1]:
        with pytest.raises(DataError):
            decode_photo(content[:cut])


ODD = odd_jpegs() | odd_others()


@pytest.mark.parametrize("name", ODD)
def test_an_odd_picture_has_the_pixels_that_pillow_gives_it(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of some
        expected = upright_by_pillow(ODD[name])
    np.testing.assert_array_equal(decode_photo(ODD[name]), expected)
    height, width = expected.shape[:2]
    stored, turned = read_header(ODD[name])[:2], read_header(ODD[name])[2] > 4
    assert stored == ((height, width) if turned else (width, height))


@pytest.mark.parametrize("name", ODD)
def test_the_brightness_of_an_odd_picture_is_that_of_its_pixels(name):
    grey = cv2.cvtColor(decode_photo(ODD[name]), cv2.COLOR_RGB2GRAY).astype(int)
    assert np.abs(decode_brightness(ODD[name], least_px=10**4) - grey).max() <= 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (encoded(drawn(), "GIF"), "not a JPEG, PNG or WebP photo"),
        (b"<html>404</html>", "not a JPEG, PNG or WebP photo"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "not a JPEG, PNG or WebP photo"),
        (FORMS["webp"][:-1], r"the WebP is truncated: \d+ bytes of \d+ are there"),
        (FORMS["webp"][:14], r"the WebP is truncated: 14 bytes of \d+ are there"),
        (FORMS["lossless webp"][:50], r"the WebP is truncated: 50 bytes of \d+ are there"),
        (
            FORMS["webp"][:12] + bytes(len(FORMS["webp"]) - 12),
            "not a WebP that can be opened: its header is cut or damaged",
        ),
        (FORMS["png"][:20], "not a PNG that can be opened: its header is cut or damaged"),
        (JPEG[:30], "not a JPEG that can be opened: its header is cut or damaged"),
        (FORMS["png"][:-30], "the photo can't be decoded: image file is truncated"),
        (encoded(np.zeros((4, 5), np.uint16), "PNG"), "16 bits of grey are not read; save it with 8 bits"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(content, words):
    with pytest.raises(DataError, match=words):
        decode_photo(content)


@pytest.mark.parametrize(
    "body", [b"Exif\0\0junk", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_damaged_exif_data_cost_no_photo(body):
    content = JPEG[:2] + segment(0xE1, body) + JPEG[2:]
    np.testing.assert_array_equal(decode_photo(content), decode_photo(JPEG))
    png = before_end(FORMS["png"], chunk(b"eXIf", body))
    np.testing.assert_array_equal(decode_photo(png), drawn())


def test_exif_data_before_a_pngs_pixels_count_before_those_behind():
    early = FORMS["png"][:33] + chunk(b"eXIf", exif(3)) + FORMS["png"][33:]
    assert read_header(before_end(early, chunk(b"eXIf", exif(6))))[2] == 3


def test_pillow_is_not_let_warn_of_a_photo_without_its_name(capfd):
    content = JPEG[:2] + segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff") + JPEG[2:]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        decode_photo(content)
        decode_photo(ODD["PNG, palette with alpha"])
    assert capfd.readouterr() == ("", "")


def test_a_thumbnails_end_is_not_taken_for_the_photos_end():
    content = with_thumbnail()
    assert decode_photo(content).shape == (40, 60, 3)
    pixels = content.rfind(b"\xff\xda")
    for cut in range(len(content)):
        with pytest.raises(DataError, match="the JPEG is truncated" if cut > pixels + 14 else "."):
            decode_photo(content[:cut])


def test_a_truncated_jpeg_is_said_to_be_so():
    with pytest.raises(DataError, match="the JPEG is truncated: its end marker is missing"):
        decode_photo(JPEG[:-20])


def test_damaged_data_is_said_to_be_so():
    data = FORMS["png"]
    damaged = data[:60] + bytes(200) + data[260:]
    with pytest.raises(DataError, match="the photo can't be decoded"):
        decode_photo(damaged)


def test_bytes_after_the_photo_do_no_harm():
    np.testing.assert_array_equal(decode_photo(JPEG + bytes(100)), decode_photo(JPEG))


def huge_png(width, height):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def huge_jpeg():
    start = JPEG.index(b"\xff\xc0")
    return JPEG[: start + 5] + struct.pack(">HH", 65500, 65500) + JPEG[start + 9 :]


def test_a_huge_header_is_refused_before_anything_is_decoded():
    message = r"12000 x 12000 pixels are over the limit of 120 megapixels \(run.max_photo_mpx\)"
    with pytest.raises(DataError, match=message):
        decode_photo(huge_png(12_000, 12_000))
    with pytest.raises(DataError, match="65500 x 65500 pixels are over the limit"):
        decode_photo(huge_jpeg())
    with pytest.raises(DataError, match="2147483647 x 2147483647 pixels are over the limit"):
        decode_photo(huge_png(2**31 - 1, 2**31 - 1))


@pytest.mark.parametrize("name", ["baseline", "png"])
def test_a_photo_that_does_not_fit_into_memory_now_is_not_called_damaged(monkeypatch, name):
    def fail(*_, **__):
        raise ValueError("Insufficient memory (case 4)") if name == "baseline" else MemoryError

    monkeypatch.setattr(simplejpeg, "decode_jpeg", fail)
    monkeypatch.setattr(Image.Image, "crop", fail)
    words = r"60 x 40 pixels do not fit into memory now; work with fewer processes \(--set run.workers=1\)"
    with pytest.raises(UnreachableError, match=words):
        decode_photo(FORMS[name])
    with pytest.raises(UnreachableError, match=words):
        decode_brightness(FORMS[name], least_px=5)


def test_no_limit_but_the_settings_own_counts(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setenv("OPENCV_IO_MAX_IMAGE_PIXELS", "100")
    for content in FORMS.values():
        assert decode_photo(content).size == 40 * 60 * 3
        assert decode_brightness(content, least_px=5).size == 5 * 8


def test_the_limit_is_exact():
    content = encoded(np.zeros((1000, 1000, 3), np.uint8), "PNG")
    assert decode_photo(content, limits=PhotoLimits(mpx=1)).shape == (1000, 1000, 3)
    content = encoded(np.zeros((1000, 1001, 3), np.uint8), "PNG")
    with pytest.raises(DataError, match="1001 x 1000 pixels are over the limit of 1 megapixels"):
        decode_photo(content, limits=PhotoLimits(mpx=1))


_DECODE = """
import re, sys
from overlap.base.images import PhotoLimits, load_photo
row = {"path": sys.argv[1], "archive": None, "crop_px": None}
shape = load_photo(row, limits=PhotoLimits(mpx=250)).shape
print(*shape, *re.findall(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read()))
"""


@pytest.mark.long
@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})])
def test_a_panorama_under_the_limit_is_read_in_bounded_memory(tmp_path, kind, options):
    Image.linear_gradient("L").resize((19_000, 9500)).convert("RGB").save(tmp_path / "wide", kind, **options)
    command = [sys.executable, "-c", _DECODE, str(tmp_path / "wide")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    height, width, depth, peak_kb = map(int, done.stdout.split())
    assert (height, width, depth) == (9500, 19_000, 3)
    assert peak_kb < 1_500_000


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused(kind):
    content = io.BytesIO()
    Image.fromarray(drawn()).save(content, kind)
    with pytest.raises(DataError, match="not a JPEG, PNG or WebP photo"):
        decode_photo(content.getvalue())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
@example(b"")
@example(b"\xff\xd8")
@example(b"\xff\xd8\xff\xd9")
@example(b"RIFF\x10\0\0\0WEBPVP8 ")
def test_garbage_gives_a_data_error_and_nothing_else(content):
    with pytest.raises(DataError):
        decode_photo(content)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(FORMS)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8)
)
def test_a_photo_with_changed_bytes_decodes_or_gives_a_data_error(name, changes):
    content = bytearray(FORMS[name])
    for place, value in changes:
        content[int(place * (len(content) - 1))] = value
    try:
        pixels = decode_photo(bytes(content), limits=PhotoLimits(mpx=1))
    except DataError:
        return
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.dtype == np.uint8


def is_read_strictly(content):
    """Tell whether the strictest reader at hand reads a photo: libjpeg with warnings as errors, or Pillow."""
    try:
        if content[:2] == b"\xff\xd8":
            simplejpeg.decode_jpeg(content, strict=True)
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP")) as photo:
            photo.load()
    except Exception as error:
        return bool(re.search(HARMLESS, str(error)))
    return True


# What libjpeg warns of in metadata, or where something lies between segments, padding or the lists of a scan.
HARMLESS = r"bad ICC marker|unknown JFIF revision|Invalid SOS parameters|Unknown Adobe color|extraneous bytes before"


@pytest.mark.parametrize("n", [100, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", [*FORMS, "restart markers", "cmyk"])
@pytest.mark.filterwarnings("ignore")
def test_no_damage_brings_a_traceback_a_hang_or_pixels_that_a_strict_reader_refuses(name, n):
    more = {"restart markers": encoded(drawn(), restart_marker_blocks=1), "cmyk": encoded(drawn(), mode="CMYK")}
    for content in mutations((FORMS | more)[name], n=n, seed=n):
        try:
            with within(2):
                decode_photo(content, limits=PhotoLimits(mpx=1))
        except DataError:
            continue
        assert is_read_strictly(content)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "1", "LA"])
def test_other_colour_modes_become_rgb(mode):
    photo = Image.fromarray(drawn()).convert(mode)
    content = io.BytesIO()
    photo.save(content, "JPEG" if mode in ("L", "CMYK") else "PNG", **({"quality": 95} if mode == "CMYK" else {}))
    with Image.open(io.BytesIO(content.getvalue())) as again:
        expected = np.asarray(again.convert("RGB")).astype(int)
    assert np.abs(decode_photo(content.getvalue()).astype(int) - expected).mean() < 4


def row(path, **changes):
    return {"path": str(path), "archive": None, "offset": None, "size": None, "crop_px": None} | changes


def test_a_photo_is_read_from_its_file_or_its_span_of_an_archive(tmp_path):
    (tmp_path / "a.jpg").write_bytes(JPEG)
    (tmp_path / "all.tar").write_bytes(b"before" + JPEG + b"after")
    span = row("train/a.jpg", archive=str(tmp_path / "all.tar"), offset=6, size=len(JPEG))
    assert read_bytes(row(tmp_path / "a.jpg")) == read_bytes(span) == JPEG
    np.testing.assert_array_equal(load_photo(span), decode_photo(JPEG))


def test_load_photo_crops_to_the_rows_box_unless_told_not_to(tmp_path):
    (tmp_path / "a.png").write_bytes(FORMS["png"])
    query = row(tmp_path / "a.png", crop_px=[10.0, 5.0, 30.0, 20.0])
    np.testing.assert_array_equal(load_photo(query), drawn()[5:20, 10:30])
    np.testing.assert_array_equal(load_photo(query, crop=False), drawn())


def test_what_is_wrong_with_a_photo_names_its_path(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG[:-9])
    with pytest.raises(DataError, match=r"a\.jpg: the JPEG is truncated"):
        load_photo(row(path))
    with pytest.raises(DataError, match=r"a\.jpg: the JPEG is truncated"):
        hash_photo(row(path))
    path.write_bytes(b"GIF89a")
    with pytest.raises(DataError, match=r"a\.jpg: not a JPEG, PNG or WebP photo"):
        load_header(row(path))
    path.write_bytes(JPEG)
    assert load_header(row(path)) == (60, 40, 1)
    with pytest.raises(DataError, match=r"a\.jpg: the box 0 0 99 9 leaves the picture"):
        load_photo(row(path, crop_px=[0, 0, 99, 9]))


def test_a_missing_empty_short_or_large_file_is_said(tmp_path):
    path = tmp_path / "a.jpg"
    with pytest.raises(DataError, match=r"a\.jpg: can't be read: No such file or directory"):
        read_bytes(row(path))
    with pytest.raises(DataError, match="can't be read: Is a directory"):
        read_bytes(row(tmp_path))
    with pytest.raises(DataError, match="can't be read: embedded null byte"):
        read_bytes(row("a\0b.jpg"))
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.jpg: the file is empty"):
        read_bytes(row(path))
    path.write_bytes(JPEG)
    with pytest.raises(DataError, match="b: the file is cut short"):
        read_bytes(row("b", archive=str(path), offset=100, size=len(JPEG)))
    with pytest.raises(DataError, match="b: the file is empty"):
        read_bytes(row("b", archive=str(path), offset=10**6, size=10))
    os.truncate(path, 3_000_000)
    with pytest.raises(DataError, match=r"a\.jpg: 3 MB is over the limit of 2 MB \(run.max_photo_mb\)"):
        read_bytes(row(path), PhotoLimits(mb=2))


def test_resize_within_bounds_the_longer_side_and_never_grows():
    assert resize_within(drawn(40, 60), 30).shape == (20, 30, 3)
    assert resize_within(drawn(60, 40), 30).shape == (30, 20, 3)
    assert resize_within(drawn(1, 600), 30).shape == (1, 30, 3)
    small = drawn()
    assert resize_within(small, 60) is small
    assert resize_within(small, 1000) is small


def test_shrinking_averages_areas():
    pixels = drawn(40, 60)
    expected = pixels.reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    assert np.abs(resize_to(pixels, (30, 20)) - expected).max() <= 1


def test_growing_interpolates_between_pixels():
    pixels = np.array([[[0, 0, 0], [100, 100, 100]]], np.uint8)
    assert resize_to(pixels, (4, 1))[0, :, 0].tolist() == [0, 25, 75, 100]


def test_an_encoded_picture_decodes_to_itself_and_its_bytes_are_stable():
    content = encode_jpeg(drawn(), quality=95)
    assert encode_jpeg(drawn(), quality=95) == content
    assert np.abs(decode_photo(content).astype(int) - drawn()).mean() < 2
    assert len(encode_jpeg(drawn(), quality=30)) < len(content)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (70_000, 2, 3)])
def test_a_picture_that_no_jpeg_can_hold_is_refused(shape):
    with pytest.raises(DataError, match=r"a picture of shape \(.*\) can't be encoded as JPEG: sides are 1 to 65,500"):
        encode_jpeg(np.zeros(shape, np.uint8))


def test_a_stamp_changes_with_the_bytes(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"one")
    os.utime(path, ns=(1, 1_000_000_001))
    assert stamp_file(path, "mtime") == "3-1000000001"
    before = stamp_file(path, "sha256")
    os.utime(path, ns=(2, 2))
    assert stamp_file(path, "sha256") == before
    assert stamp_file(path, "mtime") == "3-2"
    path.write_bytes(b"two")
    assert stamp_file(path, "sha256") == "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"
    for kind in ("mtime", "sha256"):
        with pytest.raises(FileNotFoundError):
            stamp_file(tmp_path / "none.jpg", kind)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("step", [50, pytest.param(1, marks=pytest.mark.long)])
def test_no_real_photo_is_refused_and_each_has_the_pixels_that_pillow_gives_it(shared, step):
    paths = [path for folder in ("photos", "gldv2_real") for path in sorted((shared / folder).rglob("*.jpg"))]
    assert len(paths) > 4000
    for path in paths[::step]:
        content = path.read_bytes()
        np.testing.assert_array_equal(decode_photo(content), upright_by_pillow(content), err_msg=str(path))
        assert decode_brightness(content, least_px=64).ndim == 2
