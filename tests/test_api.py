"""The public API: what is in it, what it costs to import, and that it says what the pipeline says."""

import doctest
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from facade import draw_facade
from oracles import revisitop
from PIL import Image

import overlap
from overlap.base.config import DescriptorsConfig, load_config
from overlap.base.errors import CheckError, ConfigError, DataError
from overlap.base.images import load_photo
from overlap.base.tables import IMAGES, as_table
from overlap.pipeline.evidence import pair_keys
from overlap.pipeline.photos import read_photos
from overlap.pipeline.retrieve import describe_images
from overlap.pipeline.verify import read_verified
from overlap.study.networks.catalogue import build_network
from overlap.study.networks.checkpoint import NetworkSpec, make_settings, save_weights

PROJECT = Path(__file__).resolve().parents[1]
MANIFESTS = PROJECT / "data_manifests"
RELEASE, SOURCE = MANIFESTS / "demo-clean-1.0.0", MANIFESTS / "demo-upstream" / "train_clean.csv"
HEAVY = ("torch", "faiss", "cv2", "kornia", "pycolmap", "PIL", "simplejpeg")


def run_python(code, **options):
    where = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], env=where, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, time; before = time.perf_counter(); import overlap; took = time.perf_counter() - before; "
        "print(took, *sys.modules)"
    )
    took, *modules = run_python(code).split()
    assert float(took) < 0.3
    assert not {"pyarrow", "numpy", "pydantic", "overlap.api", *HEAVY} & set(modules)


def test_the_base_install_is_enough_for_releases_and_scores(tmp_path):
    code = f"""
import sys
for name in {HEAVY}:
    sys.modules[name] = None
import overlap
overlap.verify_release({str(RELEASE)!r}, source={str(SOURCE)!r})
overlap.apply_removals({str(RELEASE / "removals.csv")!r}, {str(SOURCE)!r}, "clean.csv")
print(overlap.evaluate_rankings([[1, 0]], [{{"easy": [1], "hard": [], "junk": []}}])["easy"].map)
"""
    assert run_python(code, cwd=tmp_path) == "1.0"
    assert (tmp_path / "clean.csv").read_bytes() == (RELEASE / "train_clean.csv").read_bytes()


def test_every_name_is_there_and_no_other():
    assert set(overlap.__all__) <= set(dir(overlap))
    assert all(getattr(overlap, name) for name in overlap.__all__)
    assert overlap.DataError is DataError
    with pytest.raises(AttributeError, match=r"no attribute 'find_overlaps'; there are .*find_overlap"):
        overlap.find_overlaps  # noqa: B018


def test_the_version_is_that_of_the_project_file_and_types_are_marked():
    assert f'\nversion = "{overlap.__version__}"\n' in (PROJECT / "pyproject.toml").read_text()
    assert (PROJECT / "overlap" / "py.typed").is_file()


def test_the_page_s_examples_run(tmp_path, monkeypatch):
    shutil.copytree(MANIFESTS, tmp_path / "data_manifests")
    monkeypatch.chdir(tmp_path)
    page = PROJECT / "docs" / "python.md"
    text = re.sub("^```.*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    told = []
    assert doctest.DocTestRunner().run(examples, out=told.append).failed == 0, "".join(told)


def test_a_release_that_differs_is_an_error_that_lists_the_differences(tmp_path):
    copied = shutil.copytree(RELEASE, tmp_path / "copied")
    (copied / "CITATION.cff").write_text("title: mine\n")
    with pytest.raises(CheckError, match=r"copied is not what it says:\n  - SHA256SUMS says .*CITATION\.cff"):
        overlap.verify_release(copied, source=SOURCE)


def as_score(score):
    return score.n_queries, score.map, (score.mp_at_1, score.mp_at_5, score.mp_at_10)


def test_rankings_score_as_the_reference_does_from_a_file_and_from_its_entries(tmp_path):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, (4, 30))
    truth = [
        {name: np.flatnonzero(row == n).tolist() for n, name in enumerate(("easy", "hard", "junk"))} for row in labels
    ]
    content = {"imlist": [f"d{row}" for row in range(30)], "qimlist": list("abcd"), "gnd": truth}
    (tmp_path / "gnd_tiny.pkl").write_bytes(pickle.dumps(content))
    ranks = np.stack([rng.permutation(30) for _ in range(4)])
    found = overlap.evaluate_rankings(ranks, truth)
    assert found == overlap.evaluate_rankings(ranks, tmp_path / "gnd_tiny.pkl")
    assert list(found) == ["easy", "medium", "hard"]
    for protocol, score in found.items():
        expected = [
            revisitop.score(ranking.tolist(), entry, protocol) for ranking, entry in zip(ranks, truth, strict=True)
        ]
        assert score.ap == pytest.approx([ap for ap, _ in expected])
        assert score.map == pytest.approx(np.mean(score.ap))
        means = np.mean([precision for _, precision in expected], axis=0)
        assert (score.mp_at_1, score.mp_at_5, score.mp_at_10) == pytest.approx(means)


def test_a_classic_set_has_its_own_protocol_and_a_protocol_without_positives_no_figures():
    assert list(overlap.evaluate_rankings([[1, 0]], [{"ok": [1], "junk": []}])) == ["base"]
    assert as_score(overlap.evaluate_rankings([[1, 0]], [{"easy": [1]}], protocols=["hard"])["hard"]) == (
        0,
        None,
        (None,) * 3,
    )


@pytest.mark.parametrize(
    ("rankings", "truth", "message"),
    [
        ([[0, 1]], [{"hard": [0]}], "ground truth of query 0: expected lists 'easy'.*found 'hard'"),
        (
            [[0.5, 1]],
            [{"easy": [0]}],
            r"ranking 0: expected row numbers, found an array of shape \(2,\) and type float64",
        ),
        ([[0, 1]], [{"easy": ["d0"]}], "'easy' of query 0: expected row numbers"),
        ([[0, 1], [1, 0]], [{"easy": [0]}], "1 queries, but ground truth or rankings of 2"),
        ([[5, 1]], [{"easy": [0]}], "don't cut it at k"),
    ],
)
def test_rankings_that_can_t_be_scored_are_told(rankings, truth, message):
    with pytest.raises(DataError, match=message):
        overlap.evaluate_rankings(rankings, truth)


@pytest.fixture(scope="module")
def curated(tmp_path_factory, copy_curated):
    return load_config(copy_curated(tmp_path_factory.mktemp("world"), "1"))


def test_the_overlap_is_the_pipeline_s_table_above_a_score(curated):
    before = read_verified(curated)
    assert overlap.find_overlap(curated, min_score=0).equals(before)
    found = overlap.find_overlap(curated)
    assert 0 < found.num_rows < before.num_rows
    assert found["score"].to_pylist() == [score for score in before["score"].to_pylist() if score >= 0.1]


def test_the_overlap_is_found_on_this_machine_alone(curated):
    config = curated.model_copy(update={"run": curated.run.model_copy(update={"engine": "dask"})})
    with pytest.raises(ConfigError, match=r'run\.engine = "dask" is for the flows; set run\.engine = "processes"'):
        overlap.find_overlap(config)
    with pytest.raises(ConfigError, match="no such config file"):
        overlap.find_overlap("none.toml")


def test_a_pair_gets_what_the_pipeline_s_table_says(curated):
    rows = overlap.find_overlap(curated, min_score=0).to_pylist()
    photos = {
        (row["source"], row["image_id"]): row
        for name in ("train", "queries")
        for row in read_photos(curated, name).to_pylist()
    }
    best = max(rows, key=lambda row: row["score"])
    others = [next(row for row in rows if row["status"] == status) for status in ("ok", "no_model")]
    for row in (best, *others):
        query, photo = (photos[key] for key in pair_keys(row, curated.train.format))
        found = overlap.verify_pair(
            query["path"],
            Path(photo["path"]),
            query_box_px=query["crop_px"],
            size_px=curated.verify.size_px,
            keypoints=curated.verify.keypoints,
        )
        as_row = {**vars(found), "matrix": None if found.matrix is None else found.matrix.ravel().tolist()}
        assert as_row == {name: row[name] for name in as_row}
        assert (
            overlap.verify_pair(load_photo(query), load_photo(photo), size_px=480, keypoints=1024).score == found.score
        )


@pytest.mark.parametrize(
    ("given", "options", "error", "message"),
    [
        (np.zeros((9, 9), np.uint8), {}, DataError, r"query: expected \(H, W, 3\) uint8 RGB, found shape \(9, 9\)"),
        (np.zeros((9, 9, 3)), {}, DataError, "found shape .* of float64"),
        ("none.jpg", {}, DataError, "none.jpg: can't be read: No such file"),
        (np.zeros((9, 9, 3), np.uint8), {"query_box_px": (0, 0, 5, 5)}, DataError, "query_box_px is for a file"),
        ("none.jpg", {"keypoints": 0}, ConfigError, "verify_pair: keypoints: .*found 0"),
    ],
)
def test_what_is_no_photo_is_told(given, options, error, message):
    with pytest.raises(error, match=message):
        overlap.verify_pair(given, np.zeros((9, 9, 3), np.uint8), **options)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    sizes = ((320, 240), (100, 150), (320, 240))
    for number, (width, height) in enumerate(sizes):
        Image.fromarray(draw_facade(number, width=width, height=height)).save(folder / f"{number}.png")
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    network = build_network("gem_resnet50", dimensions=8, seed=0)
    path = tmp_path_factory.mktemp("network") / "gem.pt"
    save_weights(path, NetworkSpec("gem_resnet50", 8, make_settings("gem_resnet50", {})), network.state_dict())
    return path


def test_photos_are_described_as_overlap_evaluate_describes_them(checkpoint, pictures, open_quietly, curated):
    settings = DescriptorsConfig(kind="network", path=checkpoint, size_px=128, scales=(1.0, 0.7), device="cpu")
    found = overlap.describe(pictures, checkpoint=checkpoint, size_px=128, scales=[1.0, 0.7], device="cpu")
    rows = [{"image_id": path.stem, "source": "some", "path": str(path), "stamp": path.stem} for path in pictures]
    with open_quietly(curated.model_copy(update={"descriptors": settings})) as run:
        parts = describe_images(run, as_table(rows, IMAGES), label="photos")
    assert found.dtype == np.float32
    assert np.array_equal(found, np.concatenate([part.vectors for part in parts]).astype(np.float32))
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=2e-3)


def test_what_can_t_be_described_is_told(checkpoint, pictures, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"1 of 4 photos can't be used, for example .*bad\.jpg: not a JPEG"):
        overlap.describe([*pictures, tmp_path / "bad.jpg"], checkpoint=checkpoint, size_px=64, device="cpu")
    with pytest.raises(ConfigError, match=r"by which network\? Give one of"):
        overlap.describe(pictures)
    with pytest.raises(ConfigError, match=r"describe: batch: .*found 0"):
        overlap.describe(pictures, checkpoint=checkpoint, batch=0)


@pytest.mark.long
def test_the_wheel_works_with_the_base_install_alone(tmp_path):
    """Long: pip fetches the build backend and the base install's packages."""
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, PROJECT], check=True)
    [wheel] = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    python = tmp_path / "bare" / "bin" / "python"
    pinned = ["--constraint", PROJECT / "constraints.txt"]
    subprocess.run([*pip, "--python", python, "install", *pinned, wheel], check=True)
    code = f"""
import sys, overlap
from importlib.resources import files
overlap.verify_release({str(RELEASE)!r}, source={str(SOURCE)!r})
print(overlap.__version__, files("overlap").joinpath("py.typed").is_file(), sys.prefix in overlap.__file__)
"""
    where = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, "-c", code], env=where, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [overlap.__version__, "True", "True"]
