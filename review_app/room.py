"""What the server's routes and pages share: the desk, the photos, and which pictures were handed out to whom."""

import hashlib
import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from overlap.base.config import Config
from overlap.base.errors import DataError
from overlap.base.images import ORIENTATIONS, PhotoLimits, encode_jpeg, load_header, load_photo, resize_within
from overlap.pipeline.desk import Gallery, Lines, PhotoKey, open_desk, open_gallery, open_lines
from overlap.pipeline.review import check_queue
from overlap.review.desk import Desk, now_ms
from overlap.review.reviewers import Reviewer, end_session, find_reviewer, has_ended, session_key
from review_app.invitation import Invitation, invite
from review_app.oidc import Auth

LARGE_PX = 1280
SMALL_PX = 192
_KEPT_PICTURES = 600
_TRUSTED_S = 2.0


@dataclass(frozen=True)
class Picture:
    """A way to show a photo: ``crop`` to its box, ``whole``, or ``small``."""

    key: PhotoKey
    view: str


@dataclass
class Room:
    """Hold what lives as long as the server does; `open_room` makes it."""

    config: Config
    desk: Desk
    gallery: Gallery
    key: bytes
    open_lines: Callable[[], Callable[[PhotoKey, PhotoKey], Lines]]
    auth: Auth | None = None
    invitation: Invitation | None = None
    pictures: dict[str, tuple[str, Picture]] = field(default_factory=dict)
    rendered: OrderedDict[Picture, bytes] = field(default_factory=OrderedDict)
    boxes: dict[PhotoKey, list[float] | None] = field(default_factory=dict)
    trusted: dict[tuple[str, str, str], tuple[float, Reviewer | None]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def address(self, reviewer: str, picture: Picture) -> str:
        """Return where this reviewer alone can fetch the picture; the address says nothing about the photo."""
        text = "\0".join((reviewer, *picture.key, picture.view))
        name = hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()[:40]
        self.pictures[name] = (reviewer, picture)
        return f"/pictures/{name}"

    def find(self, reviewer: str, name: str) -> Picture | None:
        """Return the picture that was handed out to this reviewer under the name."""
        owner, picture = self.pictures.get(name, ("", None))
        return picture if owner == reviewer else None

    def render(self, picture: Picture) -> bytes:
        """Return the picture as JPEG.

        Raises:
            DataError: the photo can't be read.
        """
        with self.lock:
            if picture in self.rendered:
                self.rendered.move_to_end(picture)
                return self.rendered[picture]
        pixels = load_photo(self.gallery.rows[picture.key], crop=picture.view != "whole", limits=self.limits)
        small = picture.view == "small"
        content = encode_jpeg(resize_within(pixels, SMALL_PX if small else LARGE_PX), quality=75 if small else 85)
        with self.lock:
            self.rendered[picture] = content
            while len(self.rendered) > _KEPT_PICTURES:
                self.rendered.popitem(last=False)
        return content

    @property
    def limits(self) -> PhotoLimits:
        """Return what a photo may cost."""
        return PhotoLimits(mb=self.config.run.max_photo_mb, mpx=self.config.run.max_photo_mpx)

    def box(self, key: PhotoKey) -> list[float] | None:
        """Return a query's box in its whole upright picture, as shares of width and height; None without one."""
        if key not in self.boxes:
            try:
                self.boxes[key] = self._read_box(self.gallery.rows[key])
            except DataError:
                return None  # not for ever: its disk may come back
        return self.boxes[key]

    def _read_box(self, row: Mapping[str, Any]) -> list[float] | None:
        if row["crop_px"] is None:
            return None
        width, height, orientation = load_header(row, self.limits)
        return upright_box(row["crop_px"], width=width, height=height, orientation=orientation)

    def reviewer(self, name: str, token_id: str, session: str) -> Reviewer | None:
        """Return the reviewer if still let in by this session; asked of the database every other second."""
        known = self.trusted.get((name, token_id, session))
        if known is not None and time.monotonic() - known[0] < _TRUSTED_S:
            return known[1]
        store = self.desk.board.store
        found = None if has_ended(store, session) else find_reviewer(store, name, token_id=token_id)
        self.trusted[name, token_id, session] = (time.monotonic(), found)
        return found

    def end(self, session: str) -> None:
        """Let nobody in by this session any more."""
        end_session(self.desk.board.store, session, now_ms=now_ms())
        self.trusted.clear()


def open_room(config: Config, auth: Auth | None = None) -> Room:
    """Open everything the app needs.

    Raises:
        ArtifactError: 'curate' has not filled the review queue yet.
    """
    check_queue(config)
    desk = open_desk(config)
    store = desk.board.store
    gallery = open_gallery(config, store.read_items())
    lines = lru_cache(maxsize=1)(lambda: open_lines(config))
    invitation = None if auth else invite(config, store)
    return Room(config, desk, gallery, session_key(store).encode(), lines, auth, invitation)


_rooms: list[Room] = []


def enter(room: Room) -> None:
    """Make a room the one of this process."""
    _rooms[:] = [room]


def current_room() -> Room:
    """Return the room of this process."""
    return _rooms[0]


def upright_box(box: Any, *, width: int, height: int, orientation: int) -> list[float]:
    """Turn a box of the stored pixel grid as EXIF turns the picture; shares of the upright width and height."""
    x0, y0, x1, y1 = box[0] / width, box[1] / height, box[2] / width, box[3] / height
    transpose, flip_rows, flip_columns = ORIENTATIONS.get(orientation, (False, False, False))
    if transpose:
        x0, y0, x1, y1 = y0, x0, y1, x1
    if flip_rows:
        y0, y1 = 1 - y1, 1 - y0
    if flip_columns:
        x0, x1 = 1 - x1, 1 - x0
    return [min(max(each, 0.0), 1.0) for each in (x0, y0, x1, y1)]
