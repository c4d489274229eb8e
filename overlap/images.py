"""Photos: read, check, decode, crop, orient, resize. The only place that knows pixel conventions.

Convention: arrays are (H, W, 3) uint8 RGB; boxes are (x0, y0, x1, y1) in the stored pixel grid, before any EXIF
rotation, as the evaluation sets' own reference code reads them; pixel centres are at whole numbers after cropping.
"""

import hashlib
import io
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels: TypeAlias = NDArray[np.uint8]
Box: TypeAlias = tuple[float, float, float, float]

# EXIF orientation -> (transpose, flip rows, flip columns), applied in that order.
ORIENTATIONS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


@dataclass(frozen=True)
class PhotoLimits:
    """Bound what an untrusted photo may cost: megabytes on disk, megapixels decoded."""

    mb: int = 100
    mpx: int = 120


def read_bytes(row: Mapping[str, Any], limits: PhotoLimits = PhotoLimits()) -> bytes:
    """Read a photo's file, or its span of an archive.

    Args:
        row: a row of IMAGES.

    Raises:
        DataError: it is missing, empty or larger than allowed.
    """
    archive = row.get("archive")
    path = Path(archive or row["path"])
    try:
        size = row["size"] if archive else path.stat().st_size
        if size > limits.mb * 1_000_000:
            raise DataError(
                f"{row['path']}: {size / 1e6:.0f} MB is over the limit of {limits.mb} MB (run.max_photo_mb)"
            )
        with path.open("rb") as file:
            file.seek(row["offset"] if archive else 0)
            content = file.read(size)
    except (OSError, ValueError) as error:  # ValueError: a path or an offset that no file can have
        raise DataError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) < max(size, 1):
        raise DataError(f"{row['path']}: the file is {'cut short' if content else 'empty'}")
    return content


def decode_photo(content: bytes, *, crop_px: Box | None = None, limits: PhotoLimits = PhotoLimits()) -> Pixels:
    """Decode a JPEG, PNG or WebP photo, crop it to a box, and turn it upright.

    Args:
        content: the file's bytes, untrusted.
        crop_px: the box to keep, in the stored pixel grid; whole pixels that it touches are kept.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: it is none of these formats, too large, truncated or damaged, or the box leaves it.
    """
    import cv2

    orientation = _check_size(content, limits)[2]
    pixels = _decode(content, cv2.IMREAD_COLOR_RGB)
    if crop_px is not None:
        pixels = _crop(pixels, crop_px)
    return _orient(pixels, orientation)


def decode_brightness(content: bytes, *, least_px: int, limits: PhotoLimits = PhotoLimits()) -> Pixels:
    """Decode how bright a photo is, at its size or a half, a quarter, an eighth of it, and turn it upright.

    The coarsest of these is taken whose shorter side has ``least_px``, or the photo's size. A JPEG is decoded at that
    size, which takes a fraction of the time.

    Returns:
        (H, W) uint8.

    Raises:
        DataError: as decode_photo says.
    """
    import cv2

    coarse = (cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_GRAYSCALE_2)
    width, height, orientation = _check_size(content, limits)
    fitting = (flag for flag, factor in zip(coarse, (8, 4, 2), strict=True) if min(width, height) >= factor * least_px)
    pixels = _decode(content, next(fitting, cv2.IMREAD_GRAYSCALE))
    return np.ascontiguousarray(_orient(pixels[:, :, None], orientation)[:, :, 0])


def load_photo(row: Mapping[str, Any], *, crop: bool = True, limits: PhotoLimits = PhotoLimits()) -> Pixels:
    """Read and decode the photo of a row of IMAGES, cropped to the row's box unless ``crop`` is off.

    Raises:
        DataError: as read_bytes and decode_photo say, with the photo's path in front.
    """
    box = row.get("crop_px") if crop else None
    content = read_bytes(row, limits)
    try:
        return decode_photo(content, crop_px=tuple(box) if box is not None else None, limits=limits)
    except DataError as error:
        raise DataError(f"{row['path']}: {error}") from None


def read_header(content: bytes) -> tuple[int, int, int]:
    """Return stored width, height and EXIF orientation (1 to 8) without decoding.

    Raises:
        DataError: the bytes are no JPEG, PNG or WebP photo.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP")) as photo:
                return photo.width, photo.height, _read_orientation(photo)
    except Image.DecompressionBombError as error:
        raise DataError(f"the photo is too large: {error}") from None
    except Exception as error:  # Pillow's parsers raise many kinds on hostile bytes
        raise DataError(f"not a JPEG, PNG or WebP photo ({type(error).__name__})") from None


def check_box(box: Box, *, width: int, height: int) -> None:
    """Refuse a box that leaves a picture of that size by more than a pixel.

    Raises:
        DataError: it does.
    """
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= width + 1 and 0 <= y0 < y1 <= height + 1 and x0 < width and y0 < height):
        raise DataError(f"the box {x0:g} {y0:g} {x1:g} {y1:g} leaves the picture of {width} x {height} pixels")


def resize_within(pixels: Pixels, longest_px: int) -> Pixels:
    """Shrink a photo so that its longer side is at most ``longest_px``; smaller photos stay as they are."""
    height, width = pixels.shape[:2]
    scale = longest_px / max(height, width)
    return pixels if scale >= 1 else resize_to(pixels, (round(width * scale), round(height * scale)))


def resize_to(pixels: Pixels, size_px: tuple[int, int]) -> Pixels:
    """Resize to width and height: averaging areas when shrinking, bilinear when growing."""
    import cv2

    width, height = max(size_px[0], 1), max(size_px[1], 1)
    shrinks = width * height < pixels.shape[0] * pixels.shape[1]
    return np.asarray(
        cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    )


def encode_jpeg(pixels: Pixels, *, quality: int = 85) -> bytes:
    """Encode RGB pixels as JPEG; the same pixels give the same bytes.

    Raises:
        DataError: the picture has no pixels, or more rows or columns than a JPEG can have.
    """
    import cv2

    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, content = cv2.imencode(".jpg", pixels[:, :, ::-1], settings) if pixels.size else (False, pixels)
    if not done:
        raise DataError(f"a picture of shape {pixels.shape} can't be encoded as JPEG: sides are 1 to 65,500 pixels")
    return bytes(content.tobytes())


def stamp_file(path: Path, kind: str) -> str:
    """Return what changes when the file's bytes may have changed: size and mtime, or SHA-256 (kind ``sha256``).

    Raises:
        FileNotFoundError: there is no such file.
    """
    if kind == "sha256":
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return stamp_status(path.stat())


def stamp_status(status: os.stat_result) -> str:
    """Return the stamp of kind ``mtime`` from a status that is at hand: a Path a photo is slow for a million photos."""
    return f"{status.st_size}-{status.st_mtime_ns}"


def _check_size(content: bytes, limits: PhotoLimits) -> tuple[int, int, int]:
    width, height, orientation = read_header(content)
    if width * height > limits.mpx * 1_000_000:
        raise DataError(f"{width} x {height} pixels are over the limit of {limits.mpx} megapixels (run.max_photo_mpx)")
    return width, height, orientation


def _decode(content: bytes, flags: int) -> Pixels:
    import cv2

    if content[:2] == b"\xff\xd8" and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
        raise DataError("the JPEG is truncated: its end marker is missing")
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise DataError(f"the photo can't be decoded: {error}") from None
    if pixels is None:
        raise DataError("the photo can't be decoded: its data is damaged")
    return np.asarray(pixels, np.uint8)


def _read_orientation(photo: "Image") -> int:
    # Pillow decodes a PNG whole to look for EXIF data behind its pixels
    is_costly = photo.format == "PNG" and not {"exif", "Raw profile type exif"} & photo.info.keys()
    orientation = None if is_costly else photo.getexif().get(0x0112)
    return orientation if isinstance(orientation, int) and orientation in ORIENTATIONS else 1


def _crop(pixels: Pixels, box: Box) -> Pixels:
    height, width = pixels.shape[:2]
    check_box(box, width=width, height=height)
    x0, y0, x1, y1 = box
    left, top, right, bottom = int(x0), int(y0), min(int(np.ceil(x1)), width), min(int(np.ceil(y1)), height)
    return np.ascontiguousarray(pixels[top:bottom, left:right])


def _orient(pixels: Pixels, orientation: int) -> Pixels:
    transpose, flip_rows, flip_columns = ORIENTATIONS.get(orientation, (False, False, False))
    if transpose:
        pixels = pixels.transpose(1, 0, 2)
    return np.ascontiguousarray(pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])
