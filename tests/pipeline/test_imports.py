"""Vote files from the command line: refused as a whole, declared void as a whole, and the release that follows."""

import csv
import json
import os
import shutil
import threading

import pytest
from typer.testing import CliRunner

from overlap.base.config import load_config
from overlap.base.errors import DataError, ReviewError
from overlap.cli.main import app
from overlap.pipeline import review as steps
from overlap.release.verify import verify_release
from overlap.review.votes import import_votes

HEADER = "evaluation_set,query_id,image_id,landmark_id,reviewer,answer,voted_at"
PHOTOS = [f"{number:016x}" for number in range(6)]  # three of landmark 1, three of landmark 2


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False).stdout


@pytest.fixture
def world(tiny_photos):
    """Return a folder where landmark 1 has a confirmed photo."""
    bring(tiny_photos, f"tiny,q,{PHOTOS[0]},1,ann,same,2026-01-31T12:00:00Z")
    return tiny_photos


def bring(folder, *rows, name="votes.csv"):
    (folder / name).write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")
    return run("votes", "import", folder / name, "-c", folder / "config.toml")


def publish(folder, *overrides):
    words = [word for each in overrides for word in ("--set", each)]
    run("publish", "-c", folder / "config.toml", *words)
    [made] = [path for path in (folder / "data_manifests").iterdir() if not path.name.startswith(".")]
    return made


def removed(made):
    with (made / "removals.csv").open(newline="", encoding="utf-8") as file:
        return [row["landmark_id"] for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"tiny,q,{PHOTOS[0]},2,ann,same,", f"photo '{PHOTOS[0]}' is of landmark 1, not of landmark_id 2"),
        (
            f"tiny,q,{PHOTOS[3]}.jpg,2,ann,same,",
            f"image_id '{PHOTOS[3]}.jpg' is no photo .*nearest one is '{PHOTOS[3]}'",
        ),
        (f"tiny,d,{PHOTOS[3]},2,ann,same,", "query_id 'd' is no query of evaluation_set 'tiny'"),
        (f"tinny,q,{PHOTOS[3]},2,ann,same,", "evaluation_set 'tinny' is none of tiny; the nearest one is 'tiny'"),
        (f"tiny,q,{PHOTOS[3]},2,ann,same,2999-01-01T00:00:00Z", r"voted_at 2999-01-01T00:00:00\+00:00 is after now"),
    ],
)
def test_a_file_with_a_wrong_line_changes_nothing(world, row, message):
    with pytest.raises(DataError, match=r"wrong\.csv line 3: .*" + message + ".*; nothing was imported"):
        bring(world, f"tiny,q,{PHOTOS[4]},2,ann,same,", row, name="wrong.csv")
    assert removed(publish(world)) == ["1"]


def test_a_file_that_is_not_there_is_named(world):
    with pytest.raises(DataError, match=r"none\.csv can't be read: No such file"):
        run("votes", "import", world / "none.csv", "-c", world / "config.toml")


def test_with_probes_all_database_photos_are_asked_about(world):
    (world / "config.toml").write_text((world / "config.toml").read_text() + '[search]\nprobes = "all"\n')
    assert "1 votes added" in bring(world, f"tiny,d,{PHOTOS[3]},2,ann,same,")


def test_a_void_import_is_out_of_the_release_and_stands_in_it_with_its_reason(world):
    assert "2 votes added" in bring(world, f"tiny,q,{PHOTOS[3]},2,bob,same,", ",,,2,bob,same,", name="wrong.csv")
    assert "import 2 is void: 2 votes count no more" in run(
        "votes", "void", "2", "--reason", "Bob had <another> list", "-c", world / "config.toml"
    )
    made = publish(world)
    assert removed(made) == ["1"]
    said = json.loads((made / "release.json").read_text())
    assert said["void_imports"] == [{"import": 2, "file": "wrong.csv", "votes": 2, "reason": "Bob had <another> list"}]
    assert (said["votes"], said["reviewers"], said["items"]) == (1, 1, 1)
    assert "declared void and counts nowhere: Bob had &lt;another&gt; list" in (made / "DATASHEET.md").read_text()
    assert verify_release(made, source=world) == []
    listed = run("votes", "imports", "-c", world / "config.toml").splitlines()
    assert [line.split("\t")[0] for line in listed] == ["1", "2"]
    assert listed[1].endswith("\t2 votes\twrong.csv\tvoid: Bob had <another> list")
    assert "3 votes, none changed, none missing" in run("votes", "audit", "-c", world / "config.toml")


def test_a_release_without_void_imports_says_nothing_of_them(world):
    made = publish(world)
    assert "void" not in (made / "release.json").read_text() + (made / "DATASHEET.md").read_text()


def test_an_import_that_is_not_there_is_named(world):
    with pytest.raises(ReviewError, match="there is no import 7; there are: 1; 'overlap votes imports' lists them"):
        run("votes", "void", "7", "--reason", "x", "-c", world / "config.toml")


def test_simulated_votes_can_be_declared_void(world):
    (world / "truth.csv").write_text(f"evaluation_set,query_id,image_id,landmark_id\ntiny,q,{PHOTOS[0]},1\n")
    run("votes", "simulate", "--truth", world / "truth.csv", "-c", world / "config.toml")
    assert "import 2 is void: 3 votes count no more" in run(
        "votes", "void", "2", "--reason", "a rehearsal", "-c", world / "config.toml"
    )


def test_votes_of_an_earlier_export_come_back_whole(world):
    bring(world, f"tiny,q,{PHOTOS[0]},1,ann,withdrawn,2026-01-31T12:00:01Z", ",,,2,bob,unsure,")
    run("votes", "export", "-c", world / "config.toml", "--out", world / "old.csv")
    shutil.rmtree(world / "store")
    assert "3 votes added" in run("votes", "import", world / "old.csv", "-c", world / "config.toml")
    run("votes", "export", "-c", world / "config.toml", "--out", world / "new.csv")
    assert (world / "old.csv").read_bytes() == (world / "new.csv").read_bytes()


def test_who_has_no_name_here_is_a_number(world, monkeypatch):
    def unknown():
        raise KeyError("uid not found")

    monkeypatch.setattr(steps.getpass, "getuser", unknown)
    bring(world, ",,,2,bob,same,")
    assert steps.open_reviews(load_config(world / "config.toml")).imports()[-1].source.who.startswith("user ")


def test_votes_may_come_through_a_pipe(world):
    os.mkfifo(world / "pipe")
    writer = threading.Thread(target=(world / "pipe").write_text, args=(f"{HEADER}\n,,,2,bob,same,\n",))
    writer.start()
    assert "1 votes added" in run("votes", "import", world / "pipe", "-c", world / "config.toml")
    writer.join()


def test_a_file_that_is_closed_to_the_user_is_named(world, monkeypatch):
    def closed(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(steps, "sha256", closed)
    with pytest.raises(
        DataError, match=r"votes\.csv can't be read: Permission denied; let the user who runs this read"
    ):
        run("votes", "import", world / "votes.csv", "-c", world / "config.toml")


def test_a_reason_in_another_encoding_than_the_terminal_s_is_kept_as_far_as_it_goes(world):
    run("votes", "void", "1", "--reason", "Stra\udcdfe", "-c", world / "config.toml")
    assert "void: Stra?e" in run("votes", "imports", "-c", world / "config.toml")


def test_an_import_older_than_the_list_is_named_by_its_file(world):
    (world / "old.csv").write_text(f"{HEADER}\ntiny,q,{PHOTOS[3]},2,ann,same,\n")
    import_votes(steps.open_reviews(load_config(world / "config.toml")), world / "old.csv")
    said = run("votes", "void", world / "old.csv", "--reason", "of another set", "-c", world / "config.toml")
    assert "import 2 is void: 1 votes count no more" in said
    assert removed(publish(world)) == ["1"]
    with pytest.raises(DataError, match=r"none\.csv can't be read: No such file"):
        run("votes", "void", "none.csv", "--reason", "x", "-c", world / "config.toml")
