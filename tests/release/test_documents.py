"""Metadata that others' programs read: Croissant by mlcroissant, YAML by a YAML reader."""

import json
import warnings

import pytest
import yaml

from overlap.base.tables import REMOVALS, as_table
from overlap.release.croissant import build_croissant, croissant_findings
from overlap.release.documents import render_documents
from overlap.release.write import write_release

CLEAN = b"landmark_id,images\n1,12345678901234e5 0000123456789012\n7,dd\n9,1234567890123456\n12,00e0000000000000\n"
TRAIN = (
    b"id,url,landmark_id\n12345678901234e5,http://x/a.jpg,1\n0000123456789012,http://x/b.jpg,1\n0000000000000001,,500\n"
)
NAMES = b"landmark_id,category\n1,1e5\n7,x\n9,0012\n"
ABOUT = {
    "name": "tiny",
    "version": "1.0.0",
    "training_format": "gldv2",
    "authors": ['A "B": {C}'],
    "date": "2026-11-21",
    "url": "https://example.org/tiny",
    "policy": {"name": "paper", "evidence": "votes", "description": "most *confirmed* <b>"},
    "evaluation_sets": {"roxford5k": {"queries": 70, "duplicated_queries": 1}},
    "items": 3,
    "item_states": {"confirmed": 2, "rejected": 0, "not_asked": 1, "open": 0},
    "review": "complete",
    "votes": 8,
    "reviewers": 3,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documents")
    for name, content in (("train_clean", CLEAN), ("train", TRAIN), ("train_label_to_category", NAMES)):
        (folder / f"{name}.csv").write_bytes(content)
    row = {"landmark_id": 7, "landmark_name": "0012", "evaluation_set": "roxford5k", "origin": "global"}
    row |= {"n_queries": 1, "n_confirmed": 1, "n_not_asked": 3, "n_images": 1, "evidence": ["1e5", "2"]}
    return write_release(
        folder / "out" / "tiny-1.0.0",
        upstream=[folder / f"{name}.csv" for name in ("train_clean", "train", "train_label_to_category")],
        removals=as_table([row], REMOVALS),
        reasons={7: "seen"},
        about=ABOUT,
    )


def test_mlcroissant_loads_every_record_set_and_ids_come_out_as_text(made, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies
        import mlcroissant

        data = mlcroissant.Dataset(jsonld=str(made / "croissant.json"))
        found = {each.id: list(data.records(each.id)) for each in data.metadata.record_sets}
    assert not data.metadata.issues.errors
    assert not data.metadata.issues.warnings
    assert not [record for record in caplog.records if "not standard" in record.getMessage()]
    assert data.metadata.version == "1.0.0"
    assert found["train_clean"] == [
        {"train_clean/landmark_id": 1, "train_clean/images": [b"12345678901234e5", b"0000123456789012"]},
        {"train_clean/landmark_id": 9, "train_clean/images": [b"1234567890123456"]},
        {"train_clean/landmark_id": 12, "train_clean/images": [b"00e0000000000000"]},
    ]
    assert [row["train/id"] for row in found["train"]] == [
        b"12345678901234e5",
        b"0000123456789012",
        b"0000000000000001",
    ]
    assert [row["train_label_to_category/category"] for row in found["train_label_to_category"]] == [b"1e5", b"0012"]
    [removal] = found["removals"]
    assert removal["removals/landmark_name"] == b"0012"
    assert removal["removals/evidence"] == [b"1e5", b"2"]
    assert (removal["removals/n_not_asked"], removal["removals/n_queries_not_asked"]) == (3, None)
    assert len(found) == 4
    arrays = {field.id for each in data.metadata.record_sets for field in each.fields if field.is_array}
    assert arrays == {"train_clean/images", "removals/evidence"}


@pytest.mark.parametrize("name", ["list.csv", "list.txt", "LIST.CSV", "list"])
def test_mlcroissant_loads_an_own_list_whatever_its_name_and_its_columns(tmp_path, name):
    header = ',image_id,path,landmark_id,"taken by",taken_by,"a\nb",é\n'  # the first one is pandas' index
    (tmp_path / name).write_text(header + "0,x1,x.jpg,1,A,B,C,D\n1,x2,y.jpg,7,E,F,G,H\n", encoding="utf-8")
    row = {"landmark_id": 7, "landmark_name": "", "evaluation_set": "own", "origin": "global"}
    row |= {"n_queries": 1, "n_confirmed": 1, "n_images": 1, "evidence": ["1"]}
    folder = write_release(
        tmp_path / "out" / "own-1.0.0",
        upstream=[tmp_path / name],
        removals=as_table([row], REMOVALS),
        reasons={},
        about={"name": "own", "version": "1.0.0", "training_format": "csv"},
    )
    assert croissant_findings(folder) == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies
        import mlcroissant

        data = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
        [records, _] = data.metadata.record_sets
        [record] = data.records(records.id)
    assert list(record.values()) == [b"x1", b"x.jpg", 1, b"A", b"B", b"C", b"D"]


def test_the_metadata_name_no_place_or_time_of_the_run(made):
    said = json.loads((made / "release.json").read_text())
    text = json.dumps(build_croissant(made, said))
    assert str(made.parent) not in text
    assert build_croissant(made, {**said, "licence": "MIT"})["license"] == "MIT"
    bare = build_croissant(made, {**said, "training_format": "csv", "authors": [], "url": None, "date": None})
    assert not {"license", "url", "datePublished", "creator", "citeAs"} & bare.keys()


def test_the_card_s_front_matter_is_what_hugging_face_reads(made):
    _, front, body = (made / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(front)
    assert card["license"] == "cc-by-4.0"
    assert card["size_categories"] == ["n<1K"]
    assert {entry["config_name"]: entry["data_files"] for entry in card["configs"]} == {
        "train_clean": "train_clean.parquet",
        "train": "train.parquet",
        "train_label_to_category": "train_label_to_category.parquet",
        "removals": "removals.parquet",
    }
    assert all((made / entry["data_files"]).is_file() for entry in card["configs"])
    assert "| this release | 3 | 4 |" in body
    assert "the rows of 1 landmark were removed" in body


def test_the_citation_is_yaml_whatever_the_authors_are_called(made):
    cited = yaml.safe_load((made / "CITATION.cff").read_text())
    assert cited["authors"] == [{"name": 'A "B": {C}'}]
    assert (cited["cff-version"], cited["type"], cited["version"]) == ("1.2.0", "dataset", "1.0.0")
    assert (cited["license"], cited["date-released"]) == ("CC-BY-4.0", "2026-11-21")
    assert cited["references"][0]["identifiers"][0]["value"] == "arXiv:2404.01524"
    assert "Weyand" in cited["references"][1]["notes"]


def test_the_datasheet_says_what_was_recorded_and_what_was_not(made):
    sheet = (made / "DATASHEET.md").read_text()
    assert "most \\*confirmed\\* &lt;b&gt;" in sheet
    assert "Votes: 8; reviewers: 3" in sheet
    words = " ".join(sheet.split())
    assert "Review items when the list was decided: 3: 2 confirmed, 0 rejected, 1 not asked, 0 open." in words
    assert "The review was complete." in words
    assert "not confirmed" not in words
    figures = {"counted": True, "landmarks_in": 2, "landmarks_out": 2_000, "images_in": 9, "images_out": 2_000_000}
    said = {"name": "n", "version": "1", "files": {"t.csv": figures}, "removals": {"landmarks": 0, "images": 0}}
    bare = {name: content.decode() for name, content in render_documents(said).items()}
    assert "by the policy `not recorded`." in bare["DATASHEET.md"]
    assert "when the list was decided:\nnot recorded.\n" in bare["DATASHEET.md"]
    assert "The review was" not in bare["DATASHEET.md"]
    scored = said | {"item_states": {"confirmed": 3}, "review": "complete", "policy": {"evidence": "scores"}}
    assert "The review was" not in render_documents(scored)["DATASHEET.md"].decode(), "nobody was asked"
    assert "Who made it, who paid for it?** Not recorded." in bare["DATASHEET.md"]
    assert 'license: "other"' in bare["README.md"]
    assert 'size_categories: ["1M<n<10M"]' in bare["README.md"]
    assert "license" not in yaml.safe_load(bare["CITATION.cff"])
    assert yaml.safe_load(bare["CITATION.cff"])["authors"] == [{"name": "n curators (not recorded)"}]
