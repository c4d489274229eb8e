"""Lay a contact sheet of a synthetic world: a row a building, with its query's box and its look-alike.

Run as ``python -m overlap.synthetic.sheet ROOT OUT.jpg``.
"""

import csv
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from overlap.base.errors import DataError
from overlap.base.images import Pixels, encode_jpeg, load_photo, resize_to

TILE_PX = (224, 216)
GAP_PX = 6
COLUMNS = (("easy", "day"), ("corner", "day"), ("front", "dusk"), ("front", "night"))
FRAME = (255, 196, 0)


def write_contact_sheet(root: Path, out_path: Path, *, rows: int = 6) -> None:
    """Write a JPEG that shows what is in a world.

    A row is a building that an evaluation set asks for: its query with the box, four training photos (day, around the
    corner, dusk, night), and a look-alike, framed in grey. Buildings that have a look-alike come first.

    Raises:
        DataError: the folder holds no synthetic world.
    """
    if not (root / "world.json").is_file():
        raise DataError(f"{root} holds no synthetic world; write one there first")
    likes = {row["like"]: row["building"] for row in _read(root, "buildings") if row["like"]}
    shown = {row["building"] for row in _read(root, "photos")}
    queries = {row["building"]: row for row in reversed(_read(root, "queries")) if row["building"] in shown}
    order = sorted(queries, key=lambda building: (building not in likes, building))[:rows]
    strips = [_strip(root, queries[building], likes.get(building, "")) for building in order]
    gap = np.full((GAP_PX, strips[0].shape[1], 3), 255, np.uint8)
    sheet = np.concatenate([gap, *(part for strip in strips for part in (strip, gap))])
    out_path.write_bytes(encode_jpeg(sheet, quality=80))


def _strip(root: Path, query: dict[str, str], like: str) -> Pixels:
    photos = _read(root, "photos")
    views = (_photo_tile(root, photos, query["building"], look) for look in COLUMNS)
    tiles = [_query_tile(root, query), *views]
    twin = _photo_tile(root, photos, like, COLUMNS[0])
    tiles.append(_framed(twin, (0, 0, *TILE_PX), (130, 130, 130)) if like else twin)
    gap = np.full((TILE_PX[1], GAP_PX, 3), 255, np.uint8)
    return np.concatenate([gap, *(part for tile in tiles for part in (tile, gap))], axis=1)


def _query_tile(root: Path, query: dict[str, str]) -> Pixels:
    name = query["evaluation_set"]
    truth = pickle.loads((root / name / f"gnd_{name}.pkl").read_bytes())  # noqa: S301  written by write_world
    box = truth["gnd"][truth["qimlist"].index(query["query_id"])]["bbx"]
    photo = load_photo({"path": str(root / name / "jpg" / f"{query['query_id']}.jpg")})
    return _fitted(_framed(photo, box, FRAME))


def _photo_tile(root: Path, photos: Sequence[dict[str, str]], building: str, look: tuple[str, str]) -> Pixels:
    """Return the first photo of a building that looks so, or a blank tile."""
    for photo in photos:
        if (photo["building"], photo["view"], photo["light"]) == (building, *look):
            image_id = photo["image_id"]
            path = root / "gldv2" / "train" / Path(*image_id[:3]) / f"{image_id}.jpg"
            return _fitted(load_photo({"path": str(path)}))
    return np.full((TILE_PX[1], TILE_PX[0], 3), 244, np.uint8)


def _framed(pixels: Pixels, box: Sequence[float], colour: tuple[int, int, int]) -> Pixels:
    framed, thick = pixels.copy(), max(2, max(pixels.shape) // 120)
    x0, y0, x1, y1 = (round(edge) for edge in box)
    for part in (np.s_[y0 : y0 + thick, x0:x1], np.s_[max(0, y1 - thick) : y1, x0:x1]):
        framed[part] = colour
    for part in (np.s_[y0:y1, x0 : x0 + thick], np.s_[y0:y1, max(0, x1 - thick) : x1]):
        framed[part] = colour
    return framed


def _fitted(pixels: Pixels) -> Pixels:
    """Fit a photo into a tile, whole, on a pale ground."""
    height, width = pixels.shape[:2]
    scale = min(TILE_PX[0] / width, TILE_PX[1] / height)
    small = resize_to(pixels, (round(width * scale), round(height * scale)))
    tile = np.full((TILE_PX[1], TILE_PX[0], 3), 244, np.uint8)
    y, x = (TILE_PX[1] - small.shape[0]) // 2, (TILE_PX[0] - small.shape[1]) // 2
    tile[y : y + small.shape[0], x : x + small.shape[1]] = small
    return tile


def _read(root: Path, name: str) -> list[dict[str, str]]:
    with (root / "truth" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    write_contact_sheet(Path(sys.argv[1]), Path(sys.argv[2]))
