"""What who downloads a release types: exit codes, messages, and nothing but the base install."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from overlap.cli.main import main

FOLDER = Path(__file__).resolve().parents[2] / "data_manifests"
MADE, SOURCE = FOLDER / "demo-clean-1.0.0", FOLDER / "demo-upstream" / "train_clean.csv"
HEAVY = ("torch", "faiss", "cv2", "kornia", "pycolmap", "prefect", "streamlit", "PIL", "mlcroissant")


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["overlap", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(MADE, tmp_path / "copied")


def test_a_release_is_proven_and_shows_its_seal_which_proves_it_whole(monkeypatch, capsys, copied):
    assert run(monkeypatch, "verify-release", copied, "--source", SOURCE) == 0
    seal = capsys.readouterr().out.split("seal: ")[1].strip()
    (copied / "CITATION.cff").write_text("title: mine\n")
    sums = subprocess.run(
        f"cd {copied} && LC_ALL=C find . -type f ! -name SHA256SUMS -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    (copied / "SHA256SUMS").write_text(sums.stdout)
    assert run(monkeypatch, "verify-release", copied, "--source", SOURCE) == 0
    assert run(monkeypatch, "verify-release", copied, "--source", SOURCE, "--seal", seal) == 1
    assert f"not the seal {seal}" in capsys.readouterr().err


def test_a_changed_upstream_file_an_edited_list_and_a_strange_removal_end_with_code_1(
    monkeypatch, capsys, copied, tmp_path
):
    upstream, out = tmp_path / "train_clean.csv", tmp_path / "clean.csv"
    upstream.write_bytes(SOURCE.read_bytes().replace(b" ", b"  ", 1))
    assert run(monkeypatch, "apply", copied / "removals.csv", upstream, "--out", out) == 1
    assert "it is not the upstream file of this release" in capsys.readouterr().err
    assert run(monkeypatch, "verify-release", copied, "--source", upstream) == 1
    assert "it is not the upstream file of this release" in capsys.readouterr().err
    (copied / "removals.csv").write_bytes((copied / "removals.csv").read_bytes() + b"\n")
    assert run(monkeypatch, "apply", copied / "removals.csv", SOURCE, "--out", out) == 1
    assert "removals.csv was changed" in capsys.readouterr().err
    (tmp_path / "ids.csv").write_text("landmark_id\n4242424242\n")
    assert run(monkeypatch, "apply", tmp_path / "ids.csv", SOURCE, "--out", out) == 1
    assert "holds no landmark_id 4242424242, which the removals name" in capsys.readouterr().err
    assert not out.exists()


def test_the_paper_s_counts_are_compared_row_by_row(monkeypatch, capsys):
    expected = FOLDER / "paper_tables.csv"
    assert run(monkeypatch, "compare-paper", MADE, "--expected", expected) == 1
    shown = capsys.readouterr()
    assert "2      TOTAL      landmarks" in shown.out
    assert "counts are not those of" in shown.err
    assert run(monkeypatch, "compare-paper", MADE, "--expected", FOLDER / "no.csv") == 2


def test_the_base_install_is_enough(tmp_path):
    blocked = f"import sys\nfor name in {HEAVY}: sys.modules[name] = None\n"
    code = f"{blocked}from overlap.cli.main import main\nsys.argv = ['overlap', *sys.argv[1:]]\nmain()"
    for arguments in (
        ("verify-release", MADE, "--source", SOURCE.parent),
        ("apply", MADE / "removals.csv", SOURCE, "--out", tmp_path / "clean.csv"),
    ):
        subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True)
    assert (tmp_path / "clean.csv").read_bytes() == (MADE / "train_clean.csv").read_bytes()
