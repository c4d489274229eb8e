"""Croissant 1.1 metadata of a release, as JSON-LD.

The record sets read the Parquet files: loaders of CSV guess types, and would make a number of an image id like
``12345678901234e5``. The same image id is an element of one row's list there, text whatever it looks like.

Source: mlcommons.org/croissant/1.1; tests/release/test_documents.py loads every record set with mlcroissant.
"""

import logging
import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from overlap.release.columnar import parquet_name
from overlap.release.sums import sha256
from overlap.release.upstreams import find_upstream

CROISSANT_FILE = "croissant.json"

_TERMS = (
    *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty"),
    *("fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
    *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator"),
    *("source", "subField", "transform"),
)
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    **{term: f"cr:{term}" for term in _TERMS},
}
_MEANING = {
    "landmark_id": "The landmark's number in the training set.",
    "images": "The ids of the landmark's photos, as text.",
    "id": "The photo's id, as text.",
    "n_images": "The landmark's photos in the first upstream file.",
    "evidence": "The ids of the confirmed review items.",
    "reason": "Why the landmark was removed, in words.",
}

_ID = re.compile(r"\S+").fullmatch  # mlcroissant takes no other @id


def build_croissant(folder: Path, said: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a release whose CSV and Parquet files are written.

    Args:
        folder: the release.
        said: what release.json says.
    """
    upstream = find_upstream(said.get("training_format", ""))
    tables = [*said["files"], "removals.csv"]
    names = sorted({*tables, *map(parquet_name, tables)})
    known = {
        "license": said.get("licence") or upstream.licence_url,
        "url": said.get("url") or upstream.url,
        "datePublished": said.get("date"),
        "citeAs": upstream.citation,
        "creator": [{"@type": "Person", "name": name} for name in said.get("authors", ())],
    }
    return {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": said["name"],
        "description": f"{upstream.title} without the landmarks it shares with "
        f"{', '.join(said.get('evaluation_sets', {})) or 'the evaluation sets'}: lists of ids, no photos.",
        "version": said["version"],
        **{key: value for key, value in known.items() if value},
        "distribution": [_file(folder / name) for name in names],
        "recordSet": [_records(folder / parquet_name(name), files=names) for name in tables],
    }


def croissant_findings(folder: Path) -> list[str]:
    """Return what mlcroissant, the readers' library, refuses of a release's metadata; nothing where it is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies
        try:
            import mlcroissant
        except ImportError:
            return []
        logging.getLogger("absl").setLevel(logging.ERROR)  # or it prints what it merely recommends
        try:
            mlcroissant.Dataset(jsonld=str(folder / CROISSANT_FILE))
        except Exception as error:  # mlcroissant raises many kinds on metadata that it refuses
            return [f"{CROISSANT_FILE} is refused by mlcroissant: {error}"]
    return []


def _file(path: Path) -> dict[str, Any]:
    kind = "application/x-parquet" if path.suffix == ".parquet" else "text/csv"
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": kind,
        "sha256": sha256(path),
    }


def _records(path: Path, *, files: Collection[str]) -> dict[str, Any]:
    name = f"{path.stem}-rows" if path.stem in files else path.stem  # an upstream file need not end in .csv
    columns = list(pq.read_schema(path))
    ids = [column.name if _ID(column.name) else f"column_{place}" for place, column in enumerate(columns)]
    # A column without a name, which pandas and R write before the others, can't be pointed at.
    fields = [_field(path, column, f"{name}/{each}") for each, column in zip(ids, columns, strict=True) if column.name]
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields}


def _field(path: Path, column: pa.Field, name: str) -> dict[str, Any]:
    array = {"isArray": True, "arrayShape": "-1"} if pa.types.is_list(column.type) else {}
    return {
        "@type": "cr:Field",
        "@id": name,
        "name": name,
        "description": _MEANING.get(column.name, f"The column {column.name}."),
        "dataType": "sc:Integer" if pa.types.is_int64(column.type) else "sc:Text",
        **array,
        "source": {"fileObject": {"@id": path.name}, "extract": {"column": column.name}},
    }
