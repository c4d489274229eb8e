"""Whole: small worlds on disk; their formats, their truth, their traps, their repeatability."""

import csv
import io
import json
import pickle
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from overlap.base.config import SyntheticConfig
from overlap.base.errors import ArtifactError, ConfigError, DataError
from overlap.synthetic import world
from overlap.synthetic.cast import draw_cast
from overlap.synthetic.sheet import FRAME, TILE_PX, write_contact_sheet
from overlap.synthetic.truth import expected_removals
from overlap.synthetic.world import RenderTask, Taken, write_world

SMALL = SyntheticConfig(seed=5, landmarks=10, photos_per_landmark=3, size_px=96)
SETS = ("roxford5k", "rparis6k")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "world"
    write_world(path, SMALL)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        raise AssertionError(f"the pickle asks for {module}.{name}")


def ground_truth(root: Path, name: str) -> dict:
    return PlainUnpickler(io.BytesIO((root / name / f"gnd_{name}.pkl").read_bytes())).load()


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_train_lists_have_the_upstream_formats(root: Path) -> None:
    headers = {
        "train_clean.csv": "landmark_id,images",
        "train.csv": "id,url,landmark_id",
        "train_label_to_category.csv": "landmark_id,category",
        "train_attribution.csv": "id,url,author,license,title",
    }
    for name, header in headers.items():
        text = (root / "gldv2" / name).read_bytes().decode()
        assert text.splitlines()[0] == header
        assert "\r" not in text
    clean = {int(row["landmark_id"]): row["images"].split(" ") for row in rows(root / "gldv2/train_clean.csv")}
    train = {row["id"]: int(row["landmark_id"]) for row in rows(root / "gldv2/train.csv")}
    assert len(clean) == SMALL.landmarks
    assert list(clean) == sorted(clean)
    listed = [image_id for ids in clean.values() for image_id in ids]
    assert len(set(listed)) == len(listed)
    assert all(train[image_id] == landmark for landmark, ids in clean.items() for image_id in ids)
    assert set(train) > set(listed), "train.csv holds photos that train_clean.csv does not"
    assert set(train.values()) > set(clean), "and a landmark"
    assert {int(row["landmark_id"]) for row in rows(root / "gldv2/train_label_to_category.csv")} == set(train.values())
    assert {row["id"] for row in rows(root / "gldv2/train_attribution.csv")} == set(train)


def test_every_listed_photo_is_a_jpeg_at_its_place_and_no_other_is_there(root: Path) -> None:
    ids = {row["id"] for row in rows(root / "gldv2/train.csv")}
    expected = {f"gldv2/train/{i[0]}/{i[1]}/{i[2]}/{i}.jpg" for i in ids}
    for name in SETS:
        gnd = ground_truth(root, name)
        expected |= {f"{name}/jpg/{stem}.jpg" for stem in [*gnd["imlist"], *gnd["qimlist"]]}
    found = {str(path.relative_to(root)) for path in root.rglob("*.jpg")}
    assert found == expected
    for path in sorted(found)[::7]:
        assert max(cv2.imread(str(root / path)).shape[:2]) == SMALL.size_px


def test_ids_are_sixteen_hex_digits_and_some_look_like_numbers(root: Path) -> None:
    ids = [image for row in rows(root / "gldv2/train_clean.csv") for image in row["images"].split()]
    assert all(len(image_id) == 16 and set(image_id) <= set("0123456789abcdef") for image_id in ids)
    assert any(image_id.isdigit() and image_id.startswith("00") for image_id in ids)
    assert any(image_id[:14].isdigit() and image_id[14] == "e" and image_id[15].isdigit() for image_id in ids)


@pytest.mark.parametrize("name", SETS)
def test_ground_truth_has_revisitops_format(root: Path, name: str) -> None:
    gnd = ground_truth(root, name)
    assert set(gnd) == {"imlist", "qimlist", "gnd"}
    assert len(gnd["gnd"]) == len(gnd["qimlist"]) > 0
    assert not set(gnd["imlist"]) & set(gnd["qimlist"])
    for query, truth in zip(gnd["qimlist"], gnd["gnd"], strict=True):
        assert set(truth) == {"bbx", "easy", "hard", "junk"}
        height, width = cv2.imread(str(root / name / "jpg" / f"{query}.jpg")).shape[:2]
        x0, y0, x1, y1 = truth["bbx"]
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert (x1 - x0) * (y1 - y0) > 0.15 * width * height
        places = [*truth["easy"], *truth["hard"], *truth["junk"]]
        assert len(set(places)) == len(places)
        assert all(0 <= place < len(gnd["imlist"]) for place in places)
        assert all(truth[label] == sorted(truth[label]) for label in ("easy", "hard", "junk"))
        assert truth["easy"]
        assert truth["hard"]
        stem = query.rpartition("_")[0]
        assert {gnd["imlist"][place].rpartition("_")[0] for place in places} == {stem}


def expected_by_the_letter(root: Path) -> dict[str, list[int]]:
    """Restate the policies, reading only the truth's photos, queries and landmarks."""
    photos = [row for row in rows(root / "truth/photos.csv") if row["clean"] == "1"]
    queries = rows(root / "truth/queries.csv")
    landmarks = rows(root / "truth/landmarks.csv")
    asked = {query["building"] for query in queries}
    by_text = set()
    for row in landmarks:
        for word in ("Oxford", "Paris"):
            inside = f" {row['landmark_name']} "
            for mark in "(),.:'":
                inside = inside.replace(mark, " ")
            if f" {word} " in inside and row["building"] in asked:
                by_text.add(int(row["landmark_id"]))
    paper, confirmed, automatic = set(), set(), set()
    for query in queries:
        votes: dict[int, int] = defaultdict(int)
        for photo in photos:
            if photo["building"] == query["building"]:
                votes[int(photo["landmark_id"])] += 1
                confirmed.add(int(photo["landmark_id"]))
                if photo["view"] != "inside":
                    automatic.add(int(photo["landmark_id"]))
        paper |= {landmark for landmark, number in votes.items() if number == max(votes.values())}
    return {
        "paper": sorted(paper | by_text),
        "all-confirmed": sorted(confirmed | by_text),
        "automatic": sorted(automatic),
        "strict": sorted(confirmed | {int(row["landmark_id"]) for row in landmarks if row["building"] in asked}),
    }


def test_expected_lists_follow_from_photos_and_queries_by_the_letter_of_the_policies(root: Path) -> None:
    for name, expected in expected_by_the_letter(root).items():
        found = [int(row["landmark_id"]) for row in rows(root / f"truth/expected_{name}.csv")]
        assert found == expected, name
        assert found


def test_true_pairs_are_all_pairs_that_show_the_same_building(root: Path) -> None:
    photos = [row for row in rows(root / "truth/photos.csv") if row["clean"] == "1"]
    expected = {
        (query["evaluation_set"], query["query_id"], photo["image_id"], photo["landmark_id"])
        for query in rows(root / "truth/queries.csv")
        for photo in photos
        if photo["building"] == query["building"]
    }
    found = [tuple(row.values()) for row in rows(root / "truth/true_pairs.csv")]
    assert {row for row in found if row[1]} == expected
    assert len(set(found)) == len(found)
    assert all(row[:3] == ("", "", "") for row in found if not row[1])


def test_the_true_landmarks_stand_in_the_truth_as_a_whole(root: Path) -> None:
    whole = [int(row["landmark_id"]) for row in rows(root / "truth/true_pairs.csv") if not row["query_id"]]
    assert whole == [int(row["landmark_id"]) for row in rows(root / "truth/landmarks.csv") if row["overlaps"] == "1"]


def test_far_ids_show_the_inside_only_and_only_strict_removes_them() -> None:
    settings = SyntheticConfig(seed=3, landmarks=24, photos_per_landmark=7, far_ids=2)
    cast = draw_cast(settings, SETS)
    far = {landmark.landmark_id: landmark.building for landmark in cast.landmarks if landmark.role == "far"}
    assert len(far) == 2
    assert {photo.view for photo in cast.photos if photo.landmark_id in far} == {"inside"}
    for building in far.values():
        main = [m.landmark_id for m in cast.landmarks if m.role == "overlap" and m.building == building]
        views = [photo.view for photo in cast.photos if photo.landmark_id in main]
        assert views.count("inside") >= 2
    expected = expected_removals(cast)
    assert set(far) <= set(expected["strict"])
    for policy in ("paper", "all-confirmed", "automatic"):
        assert not set(far) & set(expected[policy])


def test_truth_agrees_with_the_lists_and_the_ground_truth(root: Path) -> None:
    filed = {row["image_id"]: row["landmark_id"] for row in rows(root / "truth/photos.csv")}
    assert filed == {row["id"]: row["landmark_id"] for row in rows(root / "gldv2/train.csv")}
    queries = [(row["evaluation_set"], row["query_id"]) for row in rows(root / "truth/queries.csv")]
    assert queries == [(name, query) for name in SETS for query in ground_truth(root, name)["qimlist"]]


@pytest.mark.parametrize(("seed", "landmarks", "photos"), [(1, 10, 2), (2, 11, 8), (3, 40, 8), (4, 400, 5)])
def test_majorities_are_clear_cut(seed: int, landmarks: int, photos: int) -> None:
    settings = SyntheticConfig(seed=seed, landmarks=landmarks, photos_per_landmark=photos)
    cast = draw_cast(settings, SETS)
    for building in {photo.building for photo in cast.evaluation if photo.query}:
        counts = Counter(
            p.landmark_id for p in cast.photos if p.clean and p.building == building and p.view != "inside"
        )
        best, *others = sorted(counts.values(), reverse=True) or [0]
        assert all(best >= 2 * other for other in others)
    assert sum(landmark.clean for landmark in cast.landmarks) == landmarks


@pytest.mark.parametrize("seed", [1, 2, -3])
def test_every_role_and_every_trap_is_there(seed: int) -> None:
    cast = draw_cast(SyntheticConfig(seed=seed, landmarks=10), SETS)
    roles = {landmark.role for landmark in cast.landmarks if landmark.clean}
    wanted = {"overlap", "split", "text_true", "mislabelled", "lookalike", "site", "text_false", "trap"}
    assert roles == wanted
    names = {landmark.name for landmark in cast.landmarks}
    assert {"Parish church of St. Wendelin", "Parisot", "Oxfordshire Museum"} <= names
    assert "Hôtel de Varenne-Soubise (Paris)" in names
    own = {landmark.landmark_id: landmark.building for landmark in cast.landmarks}
    asked = {photo.building for photo in cast.evaluation if photo.query}
    wrong = [p for p in cast.photos if p.building in asked and own[p.landmark_id] not in asked]
    assert [(photo.view, photo.light) for photo in wrong if photo.clean] == [("easy", "day")]
    inside = {p.landmark_id for p in cast.photos if p.view == "inside"}
    hidden = next(m for m in cast.landmarks if m.role == "text_true")
    assert inside == {hidden.landmark_id}
    assert hidden.building in asked
    expected = expected_removals(cast)
    split = next(m.landmark_id for m in cast.landmarks if m.role == "split")
    assert split not in expected["paper"]
    assert split in expected["all-confirmed"]
    assert hidden.landmark_id in expected["paper"]
    assert hidden.landmark_id not in expected["automatic"]


def test_categories_carry_percent_escapes_and_accents(root: Path) -> None:
    categories = [row["category"] for row in rows(root / "gldv2/train_label_to_category.csv")]
    names = {row["landmark_name"] for row in rows(root / "truth/landmarks.csv")}
    prefix = "http://commons.wikimedia.org/wiki/Category:"
    assert all(category.startswith(prefix) and " " not in category for category in categories)
    assert names < {unquote(category.removeprefix(prefix)).replace("_", " ") for category in categories}
    assert any("%" in category for category in categories)


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(root: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        write_world(tmp_path / "again", SMALL, map_tasks=pool.map)
    assert content(tmp_path / "again") == content(root)


def test_another_seed_gives_another_world() -> None:
    one, two = (draw_cast(SyntheticConfig(seed=seed, landmarks=10), SETS) for seed in (1, 2))
    assert not {p.image_id for p in one.photos} & {p.image_id for p in two.photos}
    assert one.buildings[0].design != two.buildings[0].design


def test_a_finished_world_stays_as_it_is(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    write_world(root, SMALL, map_tasks=refuse)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def refuse(render: object, tasks: Sequence[RenderTask]) -> Iterable[list[Taken]]:
    raise AssertionError("nothing is to be rendered")


def test_other_settings_in_the_folder_are_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"other settings .*choose another folder, or delete this one"):
        write_world(root, SMALL.model_copy(update={"seed": 6}))
    with pytest.raises(DataError, match="other settings"):
        write_world(root, SMALL, evaluation_names=["roxford5k"])


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(DataError, match=r"no synthetic world; choose another folder"):
        write_world(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_too_few_landmarks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"synthetic.landmarks = 10 is too few for 3 evaluation sets; 11 or more"):
        write_world(tmp_path / "world", SMALL, evaluation_names=["a", "b", "c"])
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world, "write_truth", full)
    with pytest.raises(ArtifactError, match=r"not written to .*No space left on device; free some space"):
        write_world(tmp_path / "world", SMALL, map_tasks=skip)
    assert not list(tmp_path.iterdir())


def skip(render: object, tasks: Sequence[RenderTask]) -> Iterable[list[Taken]]:
    return [[Taken(shot.path, (0.0, 0.0, 1.0, 1.0)) for shot in task.shots] for task in tasks]


def test_of_several_at_once_one_renders_and_the_others_wait(tmp_path: Path) -> None:
    rendered = []
    everybody = threading.Barrier(4)

    def note(render: object, tasks: Sequence[RenderTask]) -> Iterable[list[Taken]]:
        rendered.append(tmp_path)
        return skip(render, tasks)

    def begin() -> None:
        everybody.wait()
        write_world(tmp_path / "new" / "world", SMALL, map_tasks=note)

    with ThreadPoolExecutor(4) as pool:
        for begun in [pool.submit(begin) for _ in range(4)]:
            begun.result()
    assert len(rendered) == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["world"]


def test_any_set_of_evaluation_names_is_written(tmp_path: Path) -> None:
    write_world(tmp_path / "world", SMALL, evaluation_names=["towns"], map_tasks=skip)
    assert len(ground_truth(tmp_path / "world", "towns")["qimlist"]) >= 3
    assert json.loads((tmp_path / "world/world.json").read_text())["evaluation_names"] == ["towns"]
    folders = {path.name for path in (tmp_path / "world").iterdir()}
    assert folders == {"gldv2", "towns", "truth", "world.json"}


def test_tens_of_thousands_of_photos_are_cast_in_seconds() -> None:
    cast = draw_cast(SyntheticConfig(landmarks=3000, photos_per_landmark=8), SETS)
    assert len(cast.photos) > 20_000
    assert len({photo.image_id for photo in cast.photos}) == len(cast.photos)
    assert len({landmark.name for landmark in cast.landmarks}) == len(cast.landmarks)
    for name in SETS:
        names = [photo.name for photo in cast.evaluation if photo.evaluation_set == name]
        assert len(set(names)) == len(names)


def test_a_sheet_shows_queries_with_their_boxes(root: Path, tmp_path: Path) -> None:
    write_contact_sheet(root, tmp_path / "sheet.jpg", rows=2)
    sheet = cv2.imread(str(tmp_path / "sheet.jpg"))[:, :, ::-1].astype(int)
    assert sheet.shape[0] >= 2 * TILE_PX[1]
    assert sheet.shape[1] >= 6 * TILE_PX[0]
    first, rest = sheet[:, : TILE_PX[0] + 6], sheet[:, TILE_PX[0] + 6 :]
    frame = [(np.abs(part - FRAME).max(2) < 60).mean() for part in (first, rest)]
    assert frame[0] > 0.005 > frame[1]


def test_a_sheet_of_no_world_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no synthetic world; write one there first"):
        write_contact_sheet(tmp_path, tmp_path / "sheet.jpg")
