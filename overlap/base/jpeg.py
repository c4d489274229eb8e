"""Decode JPEG pictures, and tell damage from what harms no pixel.

Of damaged data libjpeg decodes what it can, and only warns. Here each of its warnings refuses the picture, unless the
picture's own segments, without metadata and padding, are read without one.
"""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from overlap.base.errors import DataError

_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_SCAN_END = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers that no length follows
_END, _SCAN, _JFIF, _ADOBE, _COMMENT = 0xD9, 0xDA, 0xE0, 0xEE, 0xFE
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})


def decode_jpeg(content: bytes, *, grey: bool = False, least_px: tuple[int, int] = (0, 0)) -> NDArray[np.uint8] | None:
    """Decode the first picture of a JPEG file; what lies behind its end does not matter.

    Args:
        least_px: the width and height that are needed; of the sizes that libjpeg decodes to, the smallest that holds
            them is taken. 0 for the picture's own.

    Returns:
        (H, W, 3) uint8 RGB, or (H, W, 1) grey; None for a sampling of colours that libjpeg's simple interface lacks.

    Raises:
        DataError: the picture is truncated or damaged.
        MemoryError: it does not fit into memory.
    """
    try:
        return _decode(content, grey, least_px)
    except ValueError:
        pass
    try:
        return _decode(b"".join(_own_segments(content)), grey, least_px)
    except ValueError as error:
        reason = str(error)
    if reason.startswith("Insufficient memory"):
        raise MemoryError
    if "Could not determine subsampling" in reason:
        return None
    if "Premature end" in reason:
        raise DataError("the JPEG is truncated: its end marker is missing")
    raise DataError(f"the JPEG is damaged: {reason.removeprefix('Corrupt JPEG data: ')}")


def _decode(content: bytes, grey: bool, least_px: tuple[int, int]) -> NDArray[np.uint8]:
    import simplejpeg

    width, height = least_px
    pixels = simplejpeg.decode_jpeg(content, "GRAY" if grey else "RGB", min_width=width, min_height=height, strict=True)
    return np.asarray(pixels, np.uint8)


def _own_segments(content: bytes) -> Iterator[bytes]:
    """Yield what the first picture is decoded from: no metadata, nothing behind them, no zeros behind a scan.

    Bytes behind any other segment stay, for libjpeg to refuse: that segment was damaged.
    """
    place, is_sequential, hides_rest = 0, False, True
    while (found := _MARKER.search(content, place)) is not None:
        code = found[1][0]
        if not hides_rest:
            yield content[place : found.start()]
        end = place = found.end()
        if code == _END:
            yield b"\xff\xd9"
            return
        if code not in _ALONE:
            end = place + int.from_bytes(content[place : place + 2], "big")
        segment = bytearray(b"\xff" + bytes([code]) + content[place:end])
        hides_rest, place = _is_metadata(code, segment), end
        is_sequential |= code in _SEQUENTIAL
        if code == _SCAN:
            stop = _SCAN_END.search(content, end)
            place = len(content) if stop is None else stop.start()
            if is_sequential:
                segment[-3:] = b"\x00\x3f\x00"  # some encoders write zeros, which libjpeg overlooks too
            segment += _without_padding(content[end:place])
        if not hides_rest or code == _JFIF:
            yield bytes(segment)


def _without_padding(scan: bytes) -> bytes:
    """Return a scan without the zeros behind it: by the standard its last byte is filled with ones."""
    bare = scan.rstrip(b"\0")
    return bare + b"\0" if bare.endswith(b"\xff") else bare


def _is_metadata(code: int, segment: bytearray) -> bool:
    """Tell whether a segment is an application's own; Adobe's may say that colours are stored as they are."""
    if code == _JFIF:
        segment[9:10] = b"\x01"  # whatever the revision, it is read as the first
    tells_colours = code == _ADOBE and len(segment) > 15 and segment[15] == 0
    return (_JFIF <= code <= 0xEF or code == _COMMENT) and not tells_colours
