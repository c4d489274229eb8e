import re

import numpy as np
import pytest
import simplejpeg
from pictures import drawn, encoded, segment

from overlap.base.errors import DataError
from overlap.base.jpeg import decode_jpeg

NOISE = np.random.default_rng(0).normal(0, 20, (240, 320, 3))
PIXELS = np.clip(drawn(240, 320) + NOISE, 0, 255).astype(np.uint8)
KINDS = {
    "baseline": encoded(PIXELS),
    "progressive": encoded(PIXELS, progressive=True),
    "restart markers": encoded(PIXELS, restart_marker_blocks=4),
    "optimised": encoded(PIXELS, optimize=True),
    "grey": encoded(PIXELS, mode="L"),
}
JPEG = KINDS["baseline"]
DAMAGED = r"the JPEG is damaged: (premature end|bad Huffman|.*extraneous bytes|.*found marker|corrupt)"


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_picture_cut_and_closed_again_is_refused(name, share):
    content = KINDS[name]
    with pytest.raises(DataError, match="the JPEG is damaged: premature end of data segment"):
        decode_jpeg(content[: int(len(content) * share)] + b"\xff\xd9")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("grey", [False, True])
def test_a_hole_of_zeros_is_found_at_every_size(name, share, grey, capfd):
    content = KINDS[name]
    begin = int(len(content) * share)
    damaged = content[:begin] + bytes(2048) + content[begin + 2048 :]
    with pytest.raises(DataError, match=DAMAGED):
        decode_jpeg(damaged, grey=grey, least_px=(40, 30))
    assert capfd.readouterr() == ("", "")


def test_a_hole_up_to_the_end_is_not_taken_for_padding():
    with pytest.raises(DataError, match="the JPEG is damaged: premature end of data segment"):
        decode_jpeg(JPEG[:-1000] + bytes(998) + b"\xff\xd9")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("end", [b"", b"\xff", b"\0" * 50])
def test_a_picture_without_its_end_is_truncated(name, end):
    with pytest.raises(DataError, match="the JPEG is truncated: its end marker is missing"):
        decode_jpeg(KINDS[name][:-2] + end)


def harmless():
    """Return whole pictures that libjpeg warns of all the same."""
    scan, tables = JPEG.rindex(b"\xff\xda"), KINDS["progressive"].rindex(b"\xff\xc4")
    length = int.from_bytes(JPEG[scan + 2 : scan + 4], "big")
    return {
        "ICC profile in a wrong part": JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0\x05\x02" + bytes(9)) + JPEG[2:],
        "ICC profile, a part missing": JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0\x01\x02" + bytes(9)) + JPEG[2:],
        "JFIF of the future": JPEG.replace(b"JFIF\0\x01", b"JFIF\0\x07"),
        "Adobe's transform is that of four colours": JPEG[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\x02") + JPEG[20:],
        "Adobe's transform unknown": JPEG[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0\x09") + JPEG[20:],
        "zeros before the end": JPEG[:-2] + bytes(20) + JPEG[-2:],
        "zeros before a later scan": KINDS["progressive"][:tables] + bytes(20) + KINDS["progressive"][tables:],
        "behind metadata": JPEG[:20] + b"junk" + JPEG[20:],
        "no parameters of the scan": JPEG[: scan + length - 1] + bytes(3) + JPEG[scan + length + 2 :],
    }


@pytest.mark.parametrize("name", harmless())
def test_what_harms_no_pixel_costs_no_photo(name):
    content = harmless()[name]
    with pytest.raises(ValueError, match=r"Corrupt|Warning|Invalid|Unknown"):
        simplejpeg.decode_jpeg(content, strict=True)
    pixels = decode_jpeg(content)
    expected = KINDS["progressive" if "later" in name else "baseline"]
    np.testing.assert_array_equal(pixels, simplejpeg.decode_jpeg(expected))


@pytest.mark.parametrize("name", harmless())
def test_what_harms_no_pixel_hides_no_damage(name):
    content = harmless()[name]
    place = content.rindex(b"\xff\xda") - (4000 if "later" in name else -4000)
    with pytest.raises(DataError, match="the JPEG is damaged: "):
        decode_jpeg(content[:place] + bytes(512) + content[place + 512 :])


@pytest.mark.parametrize("code", [b"\xff\xc0", b"\xff\xc4", b"\xff\xda"])
def test_bytes_behind_the_tables_are_damage_to_the_tables(code):
    place = JPEG.index(code)
    with pytest.raises(DataError, match="the JPEG is damaged: 4 extraneous bytes before marker"):
        decode_jpeg(JPEG[:place] + b"junk" + JPEG[place:])


def test_a_scan_that_ends_in_a_stuffed_byte_keeps_it():
    patches = np.random.default_rng(0).integers(0, 256, (10_000, 8, 8, 1), np.uint8)
    pictures = (simplejpeg.encode_jpeg(patch, colorspace="GRAY") for patch in patches)
    content = next(content for content in pictures if content.endswith(b"\xff\x00\xff\xd9"))
    np.testing.assert_array_equal(decode_jpeg(content[:-2] + bytes(20) + content[-2:]), decode_jpeg(content))


def test_the_smallest_size_that_holds_what_is_needed_is_decoded():
    for factor in (1, 2, 4, 8):
        pixels = decode_jpeg(JPEG, grey=True, least_px=(320 // factor, 240 // factor))
        assert pixels.shape == (240 // factor, 320 // factor, 1)


def test_a_sampling_that_the_simple_interface_lacks_is_left_to_others():
    start = JPEG.index(b"\xff\xc0")
    assert re.match(rb"\x01\x22", JPEG[start + 10 : start + 12])
    assert decode_jpeg(JPEG[: start + 11] + b"\x31" + JPEG[start + 12 :]) is None
