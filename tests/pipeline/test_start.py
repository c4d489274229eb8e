"""What 'publish' would refuse at the end, 'curate' refuses at its start."""

import re

import pytest
from typer.testing import CliRunner

from overlap.base.config import load_config
from overlap.base.errors import DataError
from overlap.cli.main import app
from overlap.pipeline.photos import read_sets

FORMS = {
    "as it is": lambda text: text,
    "mark, CRLF and blank lines": lambda text: "\ufeff" + text.replace("\n", "\r\n") + "\r\n\r\n",
    "blank lines in the middle": lambda text: text.replace("\n", "\n\n").rstrip("\n"),
    "quotes": lambda text: re.sub("([^,\n]+)", r'"\1"', text),
}
TABLE = "image_id,path,landmark_id\na,a.jpg,1\nb,b.jpg,2\n"


@pytest.fixture
def start(tiny_photos, open_quietly):
    """Return what reads the sets of a training set given as a table, or of the lists of Google Landmarks."""

    def begin(content=None, *, table="images.csv"):
        overrides = []
        if content is not None:
            (tiny_photos / table).write_bytes(content if isinstance(content, bytes) else content.encode())
            overrides = ['train.format="csv"', f'train.table="{table}"']
        with open_quietly(load_config(tiny_photos / "config.toml", overrides)) as run:
            return read_sets(run).training.landmarks.num_rows

    return begin


def test_a_sound_table_is_taken(start):
    assert start(TABLE) == 2
    assert start("images," + TABLE.replace("\na", "\nx y,a").replace("\nb", "\nx,b")) == 2
    assert start("\ufeff" + TABLE.replace("\n", "\r\n") + "\r\n") == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TABLE.replace("\n", "\r"), "a CR that ends no line"),
        (TABLE.replace(",2", ",-2"), "row 3: landmark_id '-2' is not a whole number"),
        (TABLE.replace("landmark_id", "landmark_id "), "found image_id, path, 'landmark_id '; mend the table"),
        (TABLE.replace("\n", ",é\n").encode("latin-1"), "byte 0xE9 in line 1 is not UTF-8"),
        ("note,note," + TABLE.replace("\na", "\n,,a").replace("\nb", "\n,,b"), "column note is there more than once"),
        (TABLE.replace("\na,", "\na ,"), "row 2: image_id 'a ' has blanks around it or characters that can't be seen"),
        (TABLE.replace("\na,", "\na\x07,"), r"row 2: image_id 'a\\x07' has blanks around it or characters that can't"),
        (TABLE.replace("\na,", "\n\u00a0,"), "row 2: image_id .* has blanks around it"),
    ],
)
def test_a_table_that_can_not_be_published_is_refused(start, content, message):
    with pytest.raises(DataError, match=r"images\.csv.*" + message):
        start(content)


@pytest.mark.parametrize("name", ["my table.csv", "removals.csv", "table2.csv", "Übersicht.csv"])
def test_a_table_whose_name_no_release_can_hold_is_refused(start, name):
    with pytest.raises(DataError, match=f"'{name}' can't be a file of a release: .*; rename the file"):
        start(TABLE, table=name)


def test_every_list_that_a_release_filters_is_read(start, tiny_photos):
    (tiny_photos / "train.csv").write_text("id,url,landmark_id\nx,y,1\n\nx,y,z,1\n")
    with pytest.raises(DataError, match=r"train\.csv line 4: 4 cells where the header has 3"):
        start()
    (tiny_photos / "train.csv").write_text("id,url,landmark_id\nx,y,-1\n")
    with pytest.raises(DataError, match=r"train\.csv line 2: landmark_id '-1' is not a whole number"):
        start()
    (tiny_photos / "train.csv").write_text('id,url,landmark_id\nx,"y\nz",1\n')
    assert start() == 2


def run_command(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False).stdout


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["images.csv", "train_clean.csv"])
def test_a_list_that_is_taken_is_published_proven_and_applied_to_the_byte(tiny_photos, form, name):
    config, source = tiny_photos / "config.toml", tiny_photos / name
    text = TABLE if name == "images.csv" else source.read_text()
    source.write_bytes(FORMS[form](text).encode())
    own = ["--set", "train.format=csv"] if name == "images.csv" else []
    votes = "evaluation_set,query_id,image_id,landmark_id,reviewer,answer\n,,,2,ann,same\n"
    (tiny_photos / "votes.csv").write_bytes(FORMS[form](votes).encode())
    assert "1 votes added" in run_command("votes", "import", tiny_photos / "votes.csv", "-c", config, *own)
    run_command("publish", "-c", config, *own)
    made = tiny_photos / "data_manifests" / "overlap-clean-1.0.0"
    assert "proven" in run_command("verify-release", made, "--source", source)
    run_command("apply", made / "removals.csv", source, "--out", tiny_photos / "out.csv")
    assert (tiny_photos / "out.csv").read_bytes() == (made / name).read_bytes()
    lines = source.read_bytes().splitlines(keepends=True)
    assert b"".join(lines[:1]) in (made / name).read_bytes()
    assert len((made / name).read_bytes().splitlines()) == len(lines) - 1


def test_a_format_that_can_not_be_published_is_said_at_the_start(tiny_photos, open_quietly):
    (tiny_photos / "annotation_clean_train.txt").write_text("http://x.org/a.jpg 12 0 100 5 90\n")
    said = []
    with open_quietly(load_config(tiny_photos / "config.toml", ['train.format="nc_clean"']), said) as run:
        read_sets(run)
    assert any(
        "'publish' will refuse this training set: train.format \"nc_clean\" has no list" in line for line in said
    )
