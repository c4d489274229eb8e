from types import SimpleNamespace

from pictures import drawn, encoded

from overlap.base.config import load_config
from review_app.room import Room


def test_a_box_whose_photo_could_not_be_read_is_looked_for_again(tiny_photos):
    path = tiny_photos / "box.jpg"
    row = {"path": str(path), "archive": None, "crop_px": [6, 4, 30, 20]}
    config = load_config(tiny_photos / "config.toml")
    room = Room(config, None, SimpleNamespace(rows={"key": row}), b"", None, None)
    assert room.box("key") is None
    path.write_bytes(encoded(drawn()))
    assert room.box("key") == [0.1, 0.1, 0.5, 0.5]
