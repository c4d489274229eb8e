"""Photos: read, check, decode, crop, orient, resize. The only place that knows pixel conventions.

Convention: arrays are (H, W, 3) uint8 RGB; boxes are (x0, y0, x1, y1) in the stored pixel grid, before any EXIF
rotation, as the evaluation sets' own reference code reads them; pixel centres are at whole numbers after cropping.
"""

import hashlib
import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.base.errors import DataError
from overlap.base.jpeg import decode_jpeg

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

# How the files that are read begin.
_KINDS = {b"\xff\xd8": "JPEG", b"\x89PNG": "PNG", b"RIFF": "WebP"}
# What may say, in front of a PNG's pixels or behind them, how it is turned.
_PNG_NOTES = frozenset({b"eXIf", b"iTXt", b"tEXt", b"zTXt"})
_STRIP_ROWS = 256
_SILENCE = threading.Lock()


@dataclass(frozen=True)
class PhotoLimits:
    """Bound what an untrusted photo may cost: megabytes on disk, megapixels decoded."""

    mb: int = 100
    mpx: int = 120


class LimitError(DataError):
    """A photo costs more than the settings allow: raise the limit that is named."""


class UnreachableError(DataError):
    """A photo can't be read for now: mend the disk, the network, the permissions or the memory; it may be fine."""


def read_bytes(row: Mapping[str, Any], limits: PhotoLimits = PhotoLimits()) -> bytes:
    """Read a photo's file, or its span of an archive.

    Args:
        row: a row of IMAGES.

    Raises:
        LimitError: it is larger than allowed.
        UnreachableError: it is missing, or can't be read.
        DataError: it is empty, or has a path that no file can have.
    """
    archive = row.get("archive")
    path = Path(archive or row["path"])
    try:
        size = row["size"] if archive else path.stat().st_size
        if size > limits.mb * 1_000_000:
            raise LimitError(
                f"{row['path']}: {size / 1e6:.0f} MB is over the limit of {limits.mb} MB (run.max_photo_mb)"
            )
        with path.open("rb") as file:
            file.seek(row["offset"] if archive else 0)
            content = file.read(size)
    except OSError as error:
        raise UnreachableError(f"{path}: can't be read: {error.strerror or error}") from error
    except ValueError as error:  # a path or an offset that no file can have
        raise DataError(f"{path}: can't be read: {error}") from None
    if len(content) < max(size, 1):
        kind = UnreachableError if size else DataError
        raise kind(f"{row['path']}: the file is {'cut short' if content else 'empty'}")
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
    photo = _open_within(content, limits)
    with _memory_minded(photo):
        pixels = _decode(photo, content)
    if crop_px is not None:
        pixels = _crop(pixels, crop_px)
    return _orient(pixels, _read_orientation(photo, content))


def decode_brightness(content: bytes, *, least_px: int, limits: PhotoLimits = PhotoLimits()) -> Pixels:
    """Decode how bright a photo is, at its size or a half, a quarter, an eighth of it, and turn it upright.

    The coarsest of these is taken whose shorter side has ``least_px``, or the photo's size. A JPEG is decoded at that
    size, which takes a fraction of the time.

    Returns:
        (H, W) uint8.

    Raises:
        DataError: as decode_photo says.
    """
    photo = _open_within(content, limits)
    factor = next((factor for factor in (8, 4, 2) if min(photo.size) >= factor * least_px), 1)
    with _memory_minded(photo):
        grey = _decode_grey(photo, content, size_px=(-(-photo.width // factor), -(-photo.height // factor)))
    return np.ascontiguousarray(_orient(grey[:, :, None], _read_orientation(photo, content))[:, :, 0])


def load_photo(row: Mapping[str, Any], *, crop: bool = True, limits: PhotoLimits = PhotoLimits()) -> Pixels:
    """Read and decode the photo of a row of IMAGES, cropped to the row's box unless ``crop`` is off.

    Raises:
        DataError: as read_bytes and decode_photo say, with the photo's path in front.
    """
    box = row.get("crop_px") if crop else None
    content = read_bytes(row, limits)
    with naming(row):
        return decode_photo(content, crop_px=tuple(box) if box is not None else None, limits=limits)


def load_header(row: Mapping[str, Any], limits: PhotoLimits = PhotoLimits()) -> tuple[int, int, int]:
    """Return what read_header does of the photo of a row of IMAGES.

    Raises:
        DataError: as read_bytes and read_header say, with the photo's path in front.
    """
    content = read_bytes(row, limits)
    with naming(row):
        return read_header(content)


@contextmanager
def naming(row: Mapping[str, Any]) -> Iterator[None]:
    """Put the path of a row of IMAGES in front of what is wrong with the photo's bytes."""
    try:
        yield
    except DataError as error:
        raise type(error)(f"{row['path']}: {error}") from None


def read_header(content: bytes) -> tuple[int, int, int]:
    """Return stored width, height and EXIF orientation (1 to 8) without decoding.

    Raises:
        DataError: the bytes are no JPEG, PNG or WebP photo.
    """
    photo = _open(content)
    return photo.width, photo.height, _read_orientation(photo, content)


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


def _open_within(content: bytes, limits: PhotoLimits) -> "Image":
    photo = _open(content)
    if photo.width * photo.height > limits.mpx * 1_000_000:
        raise LimitError(
            f"the photo is too large: {photo.width} x {photo.height} pixels are over the limit of {limits.mpx} "
            "megapixels (run.max_photo_mpx)"
        )
    return photo


def _open(content: bytes) -> "Image":
    """Return the photo with its header read, its pixels not yet."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # run.max_photo_mpx decides
    try:
        with _silenced():
            return Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP"))
    except Exception as error:  # Pillow's parsers raise many kinds on hostile bytes
        raise DataError(_say_unopened(content, error)) from None


def _say_unopened(content: bytes, error: Exception) -> str:
    kind = next((kind for begin, kind in _KINDS.items() if content.startswith(begin)), None)
    if kind is None or (kind == "WebP" and content[8:12] != b"WEBP"):
        return f"not a JPEG, PNG or WebP photo ({type(error).__name__})"
    size = 8 + int.from_bytes(content[4:8], "little")
    if kind == "WebP" and len(content) < size:
        return f"the WebP is truncated: {len(content):,} bytes of {size:,} are there"
    return f"not a {kind} that can be opened: its header is cut or damaged, or of a rare kind ({type(error).__name__})"


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep Pillow from warning, which it does without the photo's name; filters are one for all threads."""
    with _SILENCE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read_orientation(photo: "Image", content: bytes) -> int:
    from PIL import Image

    try:
        with _silenced():
            if photo.format == "PNG" and "exif" not in photo.info:
                photo.info.update(_read_png_notes(content))
            # A PNG's own method decodes it whole.
            orientation = Image.Image.getexif(photo).get(0x0112)
    except Exception:  # whatever Pillow raises: damaged EXIF data cost no photo
        return 1
    return orientation if isinstance(orientation, int) and orientation in ORIENTATIONS else 1


def _read_png_notes(content: bytes) -> dict[Any, Any]:
    """Return what Pillow reads from a PNG's EXIF and text, wherever they stand."""
    from PIL import Image

    notes, place = [], 8
    while place + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        if kind in _PNG_NOTES:
            notes.append((kind, content[place + 8 : place + 8 + size]))
        place += 12 + size
    header, end = content[:33], (b"IEND", b"")
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (*notes, end)
    ]
    return Image.open(io.BytesIO(header + b"".join(chunks)), formats=("PNG",)).info


@contextmanager
def _memory_minded(photo: "Image") -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise UnreachableError(
            f"{photo.width} x {photo.height} pixels do not fit into memory now; work with fewer processes "
            "(--set run.workers=1)"
        ) from None


def _decode(photo: "Image", content: bytes) -> Pixels:
    pixels = decode_jpeg(content) if photo.format in ("JPEG", "MPO") else None
    # Pillow turns the four inks of a CMYK photo into colours, once it is known to be whole.
    return _decode_by_pillow(photo) if pixels is None or photo.mode == "CMYK" else pixels


def _decode_grey(photo: "Image", content: bytes, *, size_px: tuple[int, int]) -> Pixels:
    import cv2

    if photo.format in ("JPEG", "MPO") and photo.mode != "CMYK":
        pixels = decode_jpeg(content, grey=True, least_px=size_px)
        if pixels is not None:
            return pixels[:, :, 0]
    return resize_to(np.asarray(cv2.cvtColor(_decode(photo, content), cv2.COLOR_RGB2GRAY), np.uint8), size_px)


def _decode_by_pillow(photo: "Image") -> Pixels:
    """Return the RGB pixels, turned into them strip by strip: whole, that takes twice the memory."""
    if photo.mode.startswith("I"):
        raise DataError("16 bits of grey are not read; save it with 8 bits a pixel")  # Pillow would make all white
    photo.info.pop("transparency", None)  # Pillow would warn that it is dropped
    try:
        pixels = np.empty((photo.height, photo.width, 3), np.uint8)
        for top in range(0, photo.height, _STRIP_ROWS):
            bottom = min(top + _STRIP_ROWS, photo.height)
            pixels[top:bottom] = np.asarray(photo.crop((0, top, photo.width, bottom)).convert("RGB"))
    except MemoryError:
        raise
    except Exception as error:  # as many kinds as for headers
        raise DataError(f"the photo can't be decoded: {error}") from None
    return pixels


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
