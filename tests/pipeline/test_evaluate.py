"""'overlap evaluate' and 'overlap convert' as a person runs them, against the restated reference."""

import csv
import io
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from mutate import mutations, within
from oracles import published, revisitop
from torch import Tensor, nn

from overlap.base.config import load_config
from overlap.base.errors import ConfigError, DataError
from overlap.base.images import encode_jpeg
from overlap.base.store import Store
from overlap.base.tables import IMAGES, QUERY_SCORES, SCORES
from overlap.cli.main import main
from overlap.pipeline.retrieve import describe_images
from overlap.pipeline.run import Run as OpenRun
from overlap.study.evaluation.matrices import read_matrix
from overlap.study.networks.catalogue import build_network
from overlap.study.networks.checkpoint import NetworkSpec, make_settings, save_weights

HEAVY = ("torch", "faiss", "cv2", "kornia", "pycolmap", "prefect", "streamlit", "PIL")
N_QUERIES, N_PHOTOS = 4, 30
Run = Callable[..., int]


@contextmanager
def map_here(workers: int, *, console: object) -> Iterator[Callable[..., list[object]]]:
    """Do the shards in this process: starting others takes longer than the work."""
    yield lambda function, tasks, *, label, sizes: [function(task) for task in tasks]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("overlap.base.workers.map_in_processes", map_here)

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["overlap", *map(str, arguments)])
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return call


def draw_truth(rng: np.random.Generator) -> list[dict[str, list[int]]]:
    labels = [rng.choice(4, N_PHOTOS, p=[0.2, 0.2, 0.1, 0.5]) for _ in range(N_QUERIES)]
    truth = [
        {name: np.flatnonzero(each == row).tolist() for row, name in enumerate(("easy", "hard", "junk"))}
        for each in labels
    ]
    truth[1] = {"easy": [], "hard": truth[1]["hard"], "junk": truth[1]["junk"]}
    return truth


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Write ground truth, matrices of three types, and distractors."""
    rng = np.random.default_rng(3)
    truth = draw_truth(rng)
    content = {
        "imlist": [f"d{row}" for row in range(N_PHOTOS)],
        "qimlist": [f"q{row}" for row in range(N_QUERIES)],
        "gnd": [{"bbx": [0, 0, 9, 9], **each} for each in truth],
    }
    (tmp_path / "gnd_tiny.pkl").write_bytes(pickle.dumps(content))
    np.save(tmp_path / "q.npy", rng.normal(size=(N_QUERIES, 8)).astype(np.float16))
    np.save(tmp_path / "x.npy", rng.normal(size=(N_PHOTOS, 8)).astype(np.float32))
    np.save(tmp_path / "r.npy", rng.normal(size=(50, 8)))
    return tmp_path


def expected(folder: Path, protocol: str, *, distractors: bool = False) -> list[tuple[float, list[float]]]:
    queries, database, more = (np.load(folder / f"{name}.npy").astype(float).tolist() for name in "qxr")
    truth = pickle.loads((folder / "gnd_tiny.pkl").read_bytes())["gnd"]
    return [
        revisitop.score(revisitop.rank(query, database, more if distractors else []), each, protocol)
        for query, each in zip(queries, truth, strict=True)
    ]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def matrices(folder: Path) -> tuple[object, ...]:
    return (
        *("evaluate", "--queries", folder / "q.npy", "--database", folder / "x.npy"),
        *("--ground-truth", folder / "gnd_tiny.pkl"),
    )


@pytest.mark.parametrize("distractors", [False, True])
def test_saved_matrices_get_the_reference_s_figures(saved: Path, run: Run, capfd, distractors: bool) -> None:
    more = ("--distractors", saved / "r.npy") if distractors else ()
    assert run(*matrices(saved), *more, "--training-set", "clean", "--seed", 5, "--out", saved / "s.csv") == 0
    shown = capfd.readouterr().out
    scores = read(saved / "s.csv")
    assert [row["protocol"] for row in scores] == ["easy", "medium", "hard"]
    assert list(scores[0]) == SCORES.names
    for row in scores:
        found = expected(saved, row["protocol"], distractors=distractors)
        assert float(row["map"]) == pytest.approx(revisitop.mean([ap for ap, _ in found]), abs=1e-12)
        assert float(row["mp_at_5"]) == pytest.approx(revisitop.mean([p[1] for _, p in found]), abs=1e-12)
        assert f"{100 * float(row['map']):.2f}" in shown
        name = "tiny+r" if distractors else "tiny"
        assert [row[k] for k in ("network", "training_set", "seed", "evaluation_set")] == ["x", "clean", "5", name]
    by_query = read(saved / "per_query.csv")
    assert list(by_query[0]) == QUERY_SCORES.names
    easy = [row for row in by_query if row["protocol"] == "easy"]
    assert [row["query_id"] for row in easy] == ["q0", "q1", "q2", "q3"]
    assert easy[1]["ap"] == easy[1]["mp_at_10"] == ""
    assert scores[0]["n_queries"] == "3"


def test_saved_matrices_need_no_boxes(saved: Path, run: Run, capfd) -> None:
    run(*matrices(saved), "--out", saved / "with.csv")
    content = pickle.loads((saved / "gnd_tiny.pkl").read_bytes())
    for entry in content["gnd"]:
        del entry["bbx"]
    (saved / "gnd_tiny.pkl").write_bytes(pickle.dumps(content))
    assert run(*matrices(saved), "--out", saved / "without.csv") == 0
    assert (saved / "with.csv").read_bytes() == (saved / "without.csv").read_bytes()


@pytest.mark.parametrize("scale", [1e-25, 1e20])
def test_the_scale_of_matrices_changes_no_figure(saved: Path, run: Run, capfd, scale: float) -> None:
    run(*matrices(saved), "--out", saved / "before.csv")
    np.save(saved / "x.npy", np.load(saved / "x.npy").astype(np.float32) * np.float32(scale))
    assert run(*matrices(saved), "--out", saved / "after.csv") == 0
    assert (saved / "before.csv").read_bytes() == (saved / "after.csv").read_bytes()


def test_a_protocol_without_positives_is_blank(saved: Path, run: Run, capfd) -> None:
    path = saved / "gnd_tiny.pkl"
    content = pickle.loads(path.read_bytes())
    for entry in content["gnd"]:
        entry["hard"] = []
    path.write_bytes(pickle.dumps(content))
    assert run(*matrices(saved), "--out", saved / "s.csv") == 0
    hard = read(saved / "s.csv")[2]
    assert (hard["protocol"], hard["n_queries"], hard["map"], hard["mp_at_10"]) == ("hard", "0", "", "")
    assert capfd.readouterr().out.splitlines()[-2].split() == ["tiny", "hard", "0", "-", "-", "-", "-"]


def test_classic_ground_truth_is_scored_by_the_classic_protocol(saved: Path, run: Run) -> None:
    path = saved / "gnd_tiny.pkl"
    content = pickle.loads(path.read_bytes())
    for entry in content["gnd"]:
        entry["ok"] = sorted(entry.pop("easy") + entry.pop("hard"))
    path.write_bytes(pickle.dumps(content))
    before = path.read_bytes()
    assert run(*matrices(saved), "--out", saved / "s.csv") == 0
    [row] = read(saved / "s.csv")
    for entry in content["gnd"]:
        entry.update(easy=entry.pop("ok"), hard=[])
    path.write_bytes(pickle.dumps(content))
    found = expected(saved, "base")
    assert before != path.read_bytes()
    assert row["protocol"] == "base"
    assert float(row["map"]) == pytest.approx(revisitop.mean([ap for ap, _ in found]), abs=1e-12)


def test_the_text_ground_truth_of_the_classic_sets_is_read_from_its_folder(tmp_path: Path, run: Run) -> None:
    (tmp_path / "jpg").mkdir()
    for name in ("a_000001", "b_000001"):
        (tmp_path / "jpg" / f"{name}.jpg").write_bytes(b"")
    for kind, lines in {"query": "oxc1_a_000001 0 0 9 9", "good": "a_000001", "ok": "b_000001", "junk": ""}.items():
        (tmp_path / f"a_1_{kind}.txt").write_text(lines)
    np.save(tmp_path / "q.npy", np.eye(2)[:1])
    np.save(tmp_path / "x.npy", np.eye(2))
    arguments = ("--queries", tmp_path / "q.npy", "--database", tmp_path / "x.npy", "--ground-truth", tmp_path)
    assert run("evaluate", *arguments, "--out", tmp_path / "s.csv") == 0
    [row] = read(tmp_path / "s.csv")
    assert (row["protocol"], float(row["map"])) == ("base", 1.0)


def test_saved_matrices_need_the_base_install_only(saved: Path) -> None:
    blocked = f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\n"
    code = f"{blocked}from overlap.cli.main import main\nsys.argv = ['overlap', *sys.argv[1:]]\nmain()"
    done = subprocess.run([sys.executable, "-c", code, *map(str, matrices(saved))], check=True, capture_output=True)
    assert b"medium" in done.stdout


def header_of(shape: tuple[int, ...]) -> bytes:
    made = io.BytesIO()
    np.lib.format.write_array_header_1_0(made, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return made.getvalue()


BAD = {
    "rows": (lambda at: np.save(at / "x.npy", np.ones((29, 8))), "x.npy: 29 rows, but the ground truth has 30 datab"),
    "transposed": (lambda at: np.save(at / "x.npy", np.ones((8, 30))), "30 database photos: is it transposed? One"),
    "nan": (lambda at: np.save(at / "x.npy", np.full((30, 8), np.nan)), "x.npy row 0 holds undefined numbers; desc"),
    "zeros": (lambda at: np.save(at / "q.npy", np.eye(8)[:4] * [[1], [1], [0], [1]]), "q.npy row 2 holds zeros only"),
    "integers": (lambda at: np.save(at / "q.npy", np.ones((4, 8), int)), "q.npy holds int64 of shape (4, 8); save one"),
    "one row": (lambda at: np.save(at / "q.npy", np.ones(4)), "q.npy holds float64 of shape (4,); save one row a"),
    "objects": (lambda at: np.save(at / "q.npy", np.array([[{}]])), "q.npy is not a .npy file of plain numbers ("),
    "text": (lambda at: (at / "q.npy").write_text("no"), "q.npy is not a .npy file of plain numbers ("),
    "absent": (lambda at: (at / "q.npy").unlink(), "q.npy: no such file; save one row a photo with numpy.save"),
    "cut": (lambda at: (at / "q.npy").write_bytes((at / "q.npy").read_bytes()[:180]), "q.npy is not a .npy file of pl"),
    "header": (
        lambda at: (at / "q.npy").write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8', ("),
        "q.npy is not a .npy file of plain numbers (",
    ),
    "zip": (
        lambda at: (at / "q.npy").write_bytes(b"PK\x03\x04" + bytes(99)),
        "is not a .npy file of plain numbers (",
    ),
    "huge": (
        lambda at: (at / "q.npy").write_bytes(header_of((10**15, 8)) + bytes(99)),
        "q.npy is not a .npy file of plain numbers (",
    ),
    "overflow": (
        lambda at: np.save(at / "x.npy", np.full((30, 8), np.inf, np.float16)),
        "x.npy row 0 holds undefined numbers",
    ),
    "too large": (
        lambda at: np.save(at / "x.npy", np.full((30, 8), 1e200)),
        "is 1e+200, too far from 1 for product",
    ),
    "archive": (
        lambda at: [np.savez(at / "z.npz", np.eye(8)), (at / "z.npz").replace(at / "q.npy")],
        "q.npy holds several arrays",
    ),
    "sizes": (lambda at: np.save(at / "x.npy", np.ones((30, 7))), "descriptors of 7 numbers, the queries' have 8"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_matrices_are_named(saved: Path, run: Run, capfd, case: str) -> None:
    break_it, message = BAD[case]
    break_it(saved)
    assert run(*matrices(saved)) == 2
    assert message in capfd.readouterr().err


@pytest.mark.parametrize("n", [60, pytest.param(1000, marks=pytest.mark.long)])
def test_damaged_matrices_are_read_as_numpy_reads_them_or_refused(tmp_path: Path, n: int) -> None:
    good, bad = tmp_path / "good.npy", tmp_path / "bad.npy"
    np.save(good, np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32))
    for content in mutations(good.read_bytes(), n=n, seed=0):
        bad.write_bytes(content)
        with within(2):
            try:
                found = read_matrix(bad, [""] * 9, what="photos")
            except DataError as error:
                assert "bad.npy" in str(error)  # noqa: PT017
                continue
        np.testing.assert_array_equal(found.vectors, np.load(bad))


def test_distractors_without_numbers_are_named(saved: Path, run: Run, capfd) -> None:
    np.save(saved / "r.npy", np.vstack([np.ones((9000, 8)), np.full((1, 8), np.inf)]))
    assert run(*matrices(saved), "--distractors", saved / "r.npy") == 2
    assert "r.npy row 9000 holds undefined numbers" in capfd.readouterr().err


CALLS = {
    "nothing": ((), "a network is scored on the evaluation sets of a config: give --config C"),
    "half": (("--queries", "q.npy"), "saved descriptors are scored by --queries Q.npy --database X.npy with --gro"),
    "both": (
        ("--queries", "q.npy", "--database", "x.npy", "--checkpoint", "c.pt"),
        "--checkpoint, --exported and --whiten are for networks",
    ),
    "no truth": (("--queries", "q.npy", "--database", "x.npy"), "saved descriptors need ground truth: --ground-truth"),
    "odd truth": (
        ("--queries", "q.npy", "--database", "x.npy", "--ground-truth", "truth.pkl"),
        "truth.pkl: expected gnd_NAME.pkl as revisitop has it, or a folder of *_query.txt files",
    ),
    "no folder": (("--out", "absent/s.csv"), "absent/s.csv: folder"),
    "same name": (("--out", "per_query.csv"), "per_query.csv: per_query.csv is written beside it; choose another"),
}


@pytest.mark.parametrize("case", sorted(CALLS))
def test_calls_that_make_no_sense_say_what_would(run: Run, capfd, tmp_path: Path, monkeypatch, case: str) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, message = CALLS[case]
    assert run("evaluate", *arguments) == 2
    assert message in capfd.readouterr().err


class Shrink(nn.Module):
    """Describe a photo by 4 x 4 mean colours, less grey."""

    def forward(self, photos: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(photos, (4, 4)).flatten(1) - 0.5


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two evaluation sets of flat photos that differ by colour, a training set, distractors, and a config."""
    folder, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(1)
    colours = rng.integers(30, 220, (3, 2, 2, 3))

    def write(path: Path, landmark: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.kron(colours[landmark], np.ones((40, 50, 1))) + rng.normal(0, 12, (80, 100, 3))
        path.write_bytes(encode_jpeg(pixels.clip(0, 255).astype(np.uint8)))

    for name in ("one", "two"):
        for row in range(6):
            write(folder / name / "jpg" / f"d{row}.jpg", row % 3)
        for row in range(3):
            write(folder / name / "jpg" / f"q{row}.jpg", row)
        gnd = [{"bbx": [0, 0, 90, 80], "easy": [row], "hard": [row + 3], "junk": []} for row in range(3)]
        truth = {"imlist": [f"d{row}" for row in range(6)], "qimlist": ["q0", "q1", "q2"], "gnd": gnd}
        (folder / name / f"gnd_{name}.pkl").write_bytes(pickle.dumps(truth))
    lines = ["image_id,path,landmark_id"]
    for row in range(60):
        write(folder / "train" / f"t{row}.jpg", row % 3)
        lines.append(f"t{row},t{row}.jpg,{row % 3}")
    (folder / "train" / "images.csv").write_text("\n".join([*lines, ""]))
    for row in range(5):
        write(folder / "noise" / "jpg" / f"n{row}.jpg", row % 3)
    (folder / "noise" / "revisitop1m.txt").write_text("".join(f"n{row}.jpg\n" for row in range(5)))
    sets = "".join(f'[[evaluation]]\nformat = "revisited"\nname = "{n}"\nroot = "{n}"\n' for n in ("one", "two"))
    (folder / "config.toml").write_text(
        f'store = "store"\n[train]\nformat = "csv"\nroot = "train"\n{sets}[run]\nworkers = 1\n'
    )
    torch.export.save(
        torch.export.export(
            Shrink(),
            (torch.rand(2, 3, 96, 128),),
            dynamic_shapes=({0: torch.export.Dim("batch"), 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO},),
        ),
        folder / "shrink.pt2",
    )
    return folder


def test_an_exported_program_is_scored_on_every_set(world: Path, run: Run, capfd, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    exported = ("evaluate", "--config", world / "config.toml", "--exported", world / "shrink.pt2")
    assert run(*exported, "--out", out) == 0
    rows = read(out)
    assert [(row["evaluation_set"], row["protocol"]) for row in rows] == [
        (name, protocol) for name in ("one", "two") for protocol in ("easy", "medium", "hard")
    ]
    assert {row["network"] for row in rows} == {"shrink"}
    assert {float(row["map"]) for row in rows} == {1.0}
    assert capfd.readouterr().out.count("100.00") == 24
    more = (*exported, "--evaluation", "two", "--distractors", world / "noise", "--whiten", "--out", out)
    assert run(*more) == 0
    noisy = read(out)
    assert {row["evaluation_set"] for row in noisy} == {"two+R1M"}
    assert float(noisy[0]["map"]) < 1


def test_a_checkpoint_says_which_network_it_is(world: Path, run: Run, capfd, tmp_path: Path) -> None:
    name, values = "cider_small", {"gate": "soft", "thresholds": [0.2, 0.4, 0.6]}
    settings = make_settings(name, values)
    network = build_network(name, dimensions=8, settings=settings)
    save_weights(tmp_path / "c.pt", NetworkSpec(name, 8, settings), network.state_dict())
    arguments = (
        "evaluate",
        "--config",
        world / "config.toml",
        "--evaluation",
        "one",
        "--set",
        "descriptors.size_px=96",
    )
    assert run(*arguments, "--checkpoint", tmp_path / "c.pt", "--out", tmp_path / "s.csv") == 0
    assert {row["network"] for row in read(tmp_path / "s.csv")} == {name}
    assert run(*arguments, "--checkpoint", tmp_path / "c.pt", "--network", "gem_small") == 2
    assert "c.pt holds cider_small, but descriptors.network = 'gem_small'; leave" in capfd.readouterr().err
    torch.save(build_network("gem_small").state_dict(), tmp_path / "w.pt")
    plain = ("--checkpoint", tmp_path / "w.pt", "--network", "gem_small", "--out", tmp_path / "s.csv")
    assert run(*arguments, *plain) == 0
    assert {row["network"] for row in read(tmp_path / "s.csv")} == {"gem_small"}


NETWORK_CALLS = {
    "vlad": ((), "which network? Name --checkpoint or --exported, saved descriptors by --queries"),
    "two": (("--checkpoint", "c", "--exported", "e"), "a network is a --checkpoint or an --exported program; name one"),
    "set": (("--exported", "e", "--evaluation", "six"), "evaluation set 'six' is not one of the config's one, two"),
    "file": (("--checkpoint", "absent.pt"), "absent.pt: no such checkpoint"),
}


@pytest.mark.parametrize("case", sorted(NETWORK_CALLS))
def test_networks_that_are_not_there_are_named(world: Path, run: Run, capfd, case: str) -> None:
    arguments, message = NETWORK_CALLS[case]
    assert run("evaluate", "--config", world / "config.toml", *arguments) == 2
    assert message in capfd.readouterr().err


def test_vlad_is_no_network_to_describe_photos_with(world: Path) -> None:
    config = load_config(world / "config.toml")
    run = OpenRun(config, Store(config.store), lambda *_, **__: [], lambda line: None)
    with pytest.raises(
        ConfigError, match=r'descriptors.kind = "vlad" is no network; set descriptors.kind and descript'
    ):
        describe_images(run, IMAGES.empty_table(), label="")


def test_matrices_of_one_set_of_a_config(world: Path, run: Run, capfd, tmp_path: Path) -> None:
    np.save(tmp_path / "q.npy", np.eye(3))
    np.save(tmp_path / "x.npy", np.tile(np.eye(3), (2, 1)))
    arguments = ("evaluate", "--queries", tmp_path / "q.npy", "--database", tmp_path / "x.npy", "--config")
    assert run(*arguments, world / "config.toml", "--evaluation", "two") == 0
    assert capfd.readouterr().out.count("100.00") == 12
    assert run(*arguments, world / "config.toml") == 2
    assert "evaluation set: name one of the config's one, two (--evaluation NAME)" in capfd.readouterr().err
    assert run(*arguments, world / "config.toml", "--evaluation", "six") == 2
    assert "evaluation set: 'six' is not one of the config's one, two" in capfd.readouterr().err


def test_a_set_without_ground_truth_can_t_be_scored(world: Path, run: Run, capfd, tmp_path: Path) -> None:
    text = (world / "config.toml").read_text()
    table = text.replace(
        'format = "revisited"\nname = "two"\nroot = "two"', 'format = "csv"\nname = "two"\nroot = "train"'
    )
    (world / "table.toml").write_text(table)
    assert run("evaluate", "--config", world / "table.toml", "--exported", world / "shrink.pt2") == 2
    assert "evaluation set 'two' is a table without ground truth and can't be scored" in capfd.readouterr().err


def test_an_unreadable_photo_stops_the_evaluation(world: Path, run: Run, capfd) -> None:
    photo = world / "one" / "jpg" / "d3.jpg"
    content = photo.read_bytes()
    photo.write_bytes(content[:300])
    try:
        assert run("evaluate", "--config", world / "config.toml", "--exported", world / "shrink.pt2") == 2
    finally:
        photo.write_bytes(content)
    error = capfd.readouterr().err
    assert "1 of 6 photos can't be used, for example" in error
    assert "d3.jpg" in error


def test_whitening_needs_two_photos_of_a_landmark(world: Path, run: Run, capfd) -> None:
    lines = ["image_id,path,landmark_id", *(f"t{row},t{row}.jpg,{row}" for row in range(3))]
    (world / "train" / "single.csv").write_text("\n".join([*lines, ""]))
    arguments = ("evaluate", "--config", world / "config.toml", "--set", "train.table=single.csv", "--whiten")
    assert run(*arguments, "--exported", world / "shrink.pt2") == 2
    assert "whitening: no landmark of the training set has two photos" in capfd.readouterr().err


def test_a_public_checkpoint_is_converted_to_one_that_loads(tmp_path: Path, run: Run, capfd) -> None:
    stored = {key: torch.zeros(1).expand(shape) for key, shape in published.dolg_shapes().items()}
    torch.save({"model_state": stored}, tmp_path / "public.pth")
    convert = ("convert", tmp_path / "public.pth", "--network", "dolg", "--backbone", "resnet50")
    assert run(*convert, "--out", tmp_path / "ours.pt") == 0
    assert capfd.readouterr().out.strip().endswith("ours.pt: dolg_resnet50, 512 numbers")
    from overlap.study.networks.catalogue import load_network
    from overlap.study.networks.checkpoint import read_saved

    saved = read_saved(tmp_path / "ours.pt")
    assert (saved.spec.name, saved.landmark_ids, saved.seed) == ("dolg_resnet50", (), None)
    assert load_network("dolg_resnet50", tmp_path / "ours.pt").dimensions == 512
    assert run(*convert, "--multi-atrous", "--out", tmp_path / "ours.pt") == 2
    assert "is not a checkpoint of dolg_resnet50" in capfd.readouterr().err
