"""What a user sees: exit codes, one-line messages, help."""

import csv
import io
import os
import pickle
import shutil
import subprocess
import sys
import time
from io import TextIOWrapper
from pathlib import Path

import pytest
from tiny import write_truth
from typer.testing import CliRunner

from overlap.base.config import load_config
from overlap.cli.main import app, main
from overlap.pipeline.review import add_reviewer

HEAVY = ("torch", "faiss", "cv2", "kornia", "pycolmap", "prefect", "streamlit", "PIL")
COMMANDS = ("curate", "publish", "run", "export", "status", "demo", "apply", "verify-release", "download", "votes")
COMMANDS += (
    "verify-evidence",
    "compare-paper",
    "train",
    "evaluate",
    "convert",
    "closure",
    "audit",
    "policy",
    "impact",
    "ablate",
)


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["overlap", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


@pytest.fixture
def photos(tiny_photos: Path) -> Path:
    return tiny_photos


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str):
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_help_is_quick():
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "overlap", "--help"], capture_output=True, check=True)
    first = time.perf_counter() - began
    assert b"curate" in done.stdout
    heavy = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, overlap.cli.main; print([m for m in sys.modules if m in HEAVY])".replace(
                "HEAVY", "('torch','faiss','cv2','kornia','pyarrow','numpy','pydantic','prefect','sqlalchemy')"
            ),
        ],
        capture_output=True,
        check=True,
    )
    assert heavy.stdout.strip() == b"[]"
    assert first < 5


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_name_that_the_output_can_not_hold_ends_nothing(photos: Path, monkeypatch, encoding: str):
    config = ("--config", photos / "config.toml")
    add_reviewer(load_config(photos / "config.toml"), "Łukasz 山", role="reviewer")
    streams = {name: TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    assert _run(monkeypatch, "reviewers", "list", *config) == 0
    assert _run(monkeypatch, "reviewers", "revoke", "Łukasz", *config) == 2
    assert _run(monkeypatch, "status", "--config", b"\xff.toml".decode(errors="surrogateescape")) == 2
    said = [
        stream.buffer.getvalue().decode("utf-8" if name == "stdout" else encoding) for name, stream in streams.items()
    ]
    assert said[0].startswith(("Łukasz 山\treviewer", "\\u0141ukasz \\u5c71\treviewer"))
    assert (
        said[1]
        .splitlines()[0]
        .startswith(("error: there is no reviewer 'Łukasz'", "error: there is no reviewer '\\u0141"))
    )
    assert said[1].splitlines()[1].startswith("error: \\udcff.toml: no such config file")


def test_a_locale_without_utf_8_opens_every_folder(photos: Path):
    folder = shutil.copytree(photos, photos / "Ümläut Ł")
    command = [sys.executable, "-m", "overlap", "run", "photos", "--config", "config.toml"]
    where = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run(command, cwd=folder, env=where, check=True, capture_output=True)
    assert done.stderr.startswith(b"photos: 6 in 0:00:0")


def test_an_output_that_is_closed_or_full_ends_without_a_traceback(photos: Path):
    add_reviewer(load_config(photos / "config.toml"), "Ann", role="reviewer")
    reader, writer = os.pipe()
    os.close(reader)

    def run(*arguments: str, **where: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "overlap", *arguments, "--config", str(photos / "config.toml")]
        return subprocess.run(command, check=False, **({"stderr": subprocess.PIPE} | where))

    with os.fdopen(writer, "wb") as closed, Path("/dev/full").open("wb") as full:
        done = run("reviewers", "list", stdout=closed)
        assert (done.returncode in (1, 141), done.stderr) == (True, b"")
        done = run("reviewers", "list", stdout=full)
        said = b"error: the output can't be written: No space left on device; give it another place\n"
        assert (done.returncode, done.stderr) == (2, said)
        work = run("run", "photos", stdout=full, stderr=full)
        assert work.returncode == 0, "a log that is full ends no work"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda at: (at / "train_clean.csv").unlink(), "train_clean.csv"),
        (lambda at: (at / "train_clean.csv").write_text("landmark_id,images\n"), "train_clean.csv"),
        (lambda at: (at / "train_clean.csv").write_text("landmark_id,images\nx12,0000000000000000\n"), "x12"),
        (lambda at: (at / "eval" / "gnd_tiny.pkl").unlink(), "gnd_tiny.pkl"),
        (lambda at: (at / "eval" / "gnd_tiny.pkl").write_bytes(pickle.dumps(subprocess.Popen)), "holds code"),
        (
            lambda at: (at / "eval" / "gnd_tiny.pkl").write_bytes(
                pickle.dumps({"imlist": ["d"], "qimlist": [], "gnd": []})
            ),
            "quer",
        ),
        (lambda at: (at / "config.toml").write_text('stoer = "x"'), "stoer: unknown key"),
        (lambda at: _append(at / "config.toml", '[policy]\nname = "strikt"\n'), "policy 'strikt' is not there"),
        (lambda at: write_truth(at / "eval", [1, 1, 900, 90]), "leaves the picture"),
        (lambda at: (at / "eval" / "jpg" / "q.jpg").write_bytes(b"\xff\xd8 no photo"), "q.jpg"),
        (lambda at: [p.write_bytes(p.read_bytes()[:400]) for p in at.glob("train/*/*/*/*.jpg")], "run.max_unreadable"),
    ],
    ids=[
        "no list",
        "empty list",
        "bad row",
        "no truth",
        "code",
        "no query",
        "key",
        "policy",
        "box",
        "query photo",
        "truncated",
    ],
)
def test_bad_input_ends_with_code_2_and_one_line(photos: Path, break_it, message: str, monkeypatch, capfd):
    break_it(photos)
    assert _run(monkeypatch, "curate", "--config", photos / "config.toml") == 2
    error = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert message in error[0]


def test_one_bad_photo_goes_to_quarantine_and_the_run_goes_on(photos: Path, monkeypatch, capfd, tmp_path: Path):
    bad = next(photos.glob("train/*/*/*/*.jpg"))
    bad.write_bytes(bad.read_bytes()[:-300])
    config = ("--config", photos / "config.toml", "--set", "run.max_unreadable=0.5")
    assert _run(monkeypatch, "curate", *config) == 0
    assert _run(monkeypatch, "export", "quarantine", *config, "--out", tmp_path / "q.csv") == 0
    with (tmp_path / "q.csv").open(newline="") as file:
        [row] = list(csv.DictReader(file))
    assert row["image_id"] == bad.stem
    assert "truncated" in row["reason"]
    assert "1 of 7 photos can't be used" in capfd.readouterr().err


def test_publishing_without_a_vote_is_refused(photos: Path, monkeypatch, capfd):
    assert _run(monkeypatch, "publish", "--config", photos / "config.toml") == 2
    assert "there is no vote yet" in capfd.readouterr().err


def test_exporting_before_curating_names_the_command(photos: Path, monkeypatch, capfd, tmp_path: Path):
    arguments = ("export", "verified", "--config", photos / "config.toml", "--out", tmp_path / "v.csv")
    assert _run(monkeypatch, *arguments) == 2
    assert "run 'overlap curate' with this config" in capfd.readouterr().err


def test_votes_to_a_release_that_is_proven_and_an_edited_one_that_is_not(photos: Path, monkeypatch, capfd):
    config = ("--config", photos / "config.toml")
    votes = photos / "votes.csv"
    votes.write_text(
        "evaluation_set,query_id,image_id,landmark_id,reviewer,answer\ntiny,q,0000000000000000,1,ann,same\n"
    )
    assert _run(monkeypatch, "votes", "import", votes, *config) == 0
    assert _run(monkeypatch, "publish", *config, "--set", "release.version=1.2.0") == 0
    shown = capfd.readouterr().out
    assert "Table 2" in shown
    assert "Table 3" in shown
    folder = photos / "data_manifests" / "overlap-clean-1.2.0"
    assert (folder / "train_clean.csv").read_text().splitlines()[1].startswith("2,")
    check = ("verify-release", folder, "--source", photos / "train_clean.csv")
    assert _run(monkeypatch, *check) == 0
    assert (
        _run(monkeypatch, "apply", folder / "removals.csv", photos / "train_clean.csv", "--out", photos / "c.csv") == 0
    )
    assert (photos / "c.csv").read_bytes() == (folder / "train_clean.csv").read_bytes()
    (folder / "train_clean.csv").write_text("landmark_id,images\n")
    assert _run(monkeypatch, *check) == 1
    assert "train_clean.csv" in capfd.readouterr().err


def test_votes_go_out_as_they_came_in(photos: Path, monkeypatch, tmp_path: Path):
    config = ("--config", photos / "config.toml")
    votes = photos / "votes.csv"
    votes.write_text(
        "evaluation_set,query_id,image_id,landmark_id,reviewer,answer\ntiny,q,0000000000000000,1,ann,same\n"
    )
    assert _run(monkeypatch, "votes", "import", votes, *config) == 0
    assert _run(monkeypatch, "votes", "export", *config, "--out", tmp_path / "out.csv") == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        [row] = list(csv.DictReader(file))
    assert (row["image_id"], row["landmark_id"], row["answer"]) == ("0000000000000000", "1", "same")


def test_the_base_install_is_enough_to_check_and_apply(photos: Path):
    blocked = f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\n"
    code = f"{blocked}from overlap.cli.main import main\nsys.argv = ['overlap', *sys.argv[1:]]\nmain()"
    (photos / "removals.csv").write_text("landmark_id\n1\n")
    arguments = ("apply", photos / "removals.csv", photos / "train_clean.csv", "--out", photos / "c.csv")
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True)
    assert (photos / "c.csv").read_text().splitlines()[1].startswith("2,")
