"""Pictures that are odd but whole, as cameras, phones, editors and web servers write them."""

import base64
import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

ORIENTATION = 0x0112
_ADOBE = b"Adobe\0\x64\0\0\0\0\0"  # colours, or inks, are stored as they are

# 40 x 24 pixels in arithmetic coding, which no library of this project writes.
_ARITHMETIC = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQ"
    "YEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//yQARCAAYACgD"
    "ASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwDQsqviuObSpkPD4ztfxRspjwSxOsBGgwOgqdEmsaNc0mb2OyJx/WZdQ63QGzX+Oprp"
    "r8Ps5mzPFpu1hP78fHDJBMbEhWs2EUuHfJ37U/3m/9k="
)


def drawn(height=40, width=60):
    """Draw a smooth picture without any symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (4 * x, 255 - 5 * y, 90 + 2 * x - y)
    return np.stack([np.clip(channel, 0, 255) for channel in channels], axis=2).astype(np.uint8)


def encoded(pixels, kind="JPEG", orientation=None, mode=None, **options):
    """Encode pixels, in another mode first if one is given."""
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][ORIENTATION] = orientation
    content, photo = io.BytesIO(), Image.fromarray(pixels)
    (photo if mode is None else photo.convert(mode)).save(content, kind, **options)
    return content.getvalue()


def segment(code, body):
    """Return a segment of a JPEG."""
    return bytes([0xFF, code]) + struct.pack(">H", 2 + len(body)) + body


def chunk(kind, body):
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def exif(orientation):
    """Return EXIF data, as PNG files hold them, that say how a photo is turned."""
    return b"II*\0" + struct.pack("<IHHHIII", 8, 1, ORIENTATION, 3, 1, orientation, 0)


def before_end(png, *chunks):
    """Put chunks between a PNG's pixels and its end."""
    return png[:-12] + b"".join(chunks) + png[-12:]


def odd_jpegs():
    """Return JPEG pictures by name, all whole."""
    pixels, jpeg = drawn(), encoded(drawn())
    stored = encoded(pixels, keep_rgb=True)
    scan = jpeg.rindex(b"\xff\xda")
    second = [Image.fromarray(pixels[::-1])]
    return {
        "JPEG": jpeg,
        "JPEG, grey": encoded(pixels, mode="L"),
        "JPEG, grey with ICC": encoded(pixels, mode="L", icc_profile=bytes(300)),
        "JPEG, CMYK": encoded(pixels, mode="CMYK"),
        "JPEG, CMYK, turned": encoded(pixels, mode="CMYK", orientation=6),
        "JPEG, CMYK, transform unknown": encoded(pixels, mode="CMYK").replace(_ADOBE, _ADOBE[:-1] + b"\1", 1),
        "JPEG, stored as RGB, a wrong ICC profile": stored[:2] + segment(0xE2, b"ICC_PROFILE\0\5\2") + stored[2:],
        "JPEG, stored as RGB": stored,
        "JPEG, 4:4:4": encoded(pixels, subsampling=0),
        "JPEG, 4:2:2": encoded(pixels, subsampling=1),
        "JPEG, 1 x 1": encoded(drawn(1, 1)),
        "JPEG, 1 x 5,000": encoded(drawn(5000, 1)),
        "JPEG, 5,000 x 1": encoded(drawn(1, 5000)),
        "JPEG, progressive": encoded(pixels, progressive=True),
        "JPEG, optimised": encoded(pixels, optimize=True),
        "JPEG, restart markers": encoded(pixels, restart_marker_blocks=1),
        "JPEG, arithmetic coding": base64.b64decode(_ARITHMETIC),
        "JPEG, quality 1": encoded(pixels, quality=1),
        "MPO": encoded(pixels, "MPO", save_all=True, append_images=second),
        "MPO, turned": encoded(pixels, "MPO", orientation=8, save_all=True, append_images=second),
        "JPEG, trailing zeros": jpeg + bytes(100),
        "JPEG, a second picture behind": jpeg + encoded(pixels[::-1]),
        "JPEG, half a picture behind": jpeg + encoded(pixels[::-1])[:-30],
        "JPEG, film behind": jpeg + b"\0\0\0\x1cftypmp42" + b"\xff\xda\0\x01\xff" * 9,
        "JPEG, zip behind": jpeg + b"PK\x03\x04" + b"\xff\xda" + bytes(40) + b"PK\x05\x06" + bytes(18),
        "JPEG, trailer with an end": jpeg + b"SEFH\xff\xd9\xff\xd8\xff\xda\xff\xe1",
        "JPEG, fill before a marker": jpeg[:scan] + b"\xff\xff\xff" + jpeg[scan:],
        "JPEG, fill before the end": jpeg[:-2] + b"\xff\xff" + jpeg[-2:],
        "JPEG, comment": jpeg[:2] + segment(0xFE, b"\xff\xd9\xff\xda") + jpeg[2:],
        "JPEG, preview in EXIF": jpeg[:2] + segment(0xE2, encoded(drawn(8, 8))) + jpeg[2:],
    } | {f"JPEG, EXIF {way}": encoded(pixels, orientation=way) for way in range(1, 9)}


def odd_others():
    """Return PNG and WebP pictures by name, all whole."""
    pixels, png = drawn(), encoded(drawn(), "PNG")
    second = [Image.fromarray(pixels[::-1])]
    deep = cv2.imencode(".png", pixels.astype(np.uint16) * 257 - 3)[1].tobytes()
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'
    return (
        {
            "PNG": png,
            "PNG, grey": encoded(pixels, "PNG", mode="L"),
            "PNG, grey and alpha": encoded(pixels, "PNG", mode="LA"),
            "PNG, alpha": encoded(pixels, "PNG", mode="RGBA"),
            "PNG, black and white": encoded(pixels, "PNG", mode="1"),
            "PNG, palette": encoded(pixels, "PNG", mode="P"),
            "PNG, palette with alpha": encoded(pixels, "PNG", mode="P", transparency=bytes(range(0, 250, 10))),
            "PNG, palette with one clear colour": encoded(pixels, "PNG", mode="P", transparency=3),
            "PNG, a clear colour": encoded(pixels, "PNG", transparency=(0, 255, 90)),
            "PNG, 16 bit": deep,
            "PNG, 1 x 1": encoded(drawn(1, 1), "PNG"),
            "PNG, 1 x 5,000": encoded(drawn(5000, 1), "PNG"),
            "PNG, animated": encoded(pixels, "PNG", save_all=True, append_images=second),
            "PNG, without its end": png[:-12],
            "PNG, half its end": png[:-5],
            "PNG, bytes behind": png + b"\xff\xda\xff\xd9",
            "PNG, EXIF behind its pixels, no end": before_end(png, chunk(b"eXIf", exif(6)))[:-12],
            "PNG, XMP behind its pixels": before_end(png, chunk(b"iTXt", xmp)),
            "WebP": encoded(pixels, "WEBP"),
            "WebP, lossless": encoded(pixels, "WEBP", lossless=True),
            "WebP, alpha": encoded(pixels, "WEBP", mode="RGBA"),
            "WebP, animated": encoded(pixels, "WEBP", save_all=True, append_images=second),
            "WebP, bytes behind": encoded(pixels, "WEBP") + b"more",
        }
        | {
            f"{kind}, EXIF {way}": encoded(pixels, kind.upper(), orientation=way)
            for kind in ("PNG", "WebP")
            for way in (3, 6)
        }
        | {f"PNG, EXIF {way} behind its pixels": before_end(png, chunk(b"eXIf", exif(way))) for way in range(1, 9)}
    )
