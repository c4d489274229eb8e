"""What a release changes against the one before it, for programs (changes.json) and people (CHANGELOG.md)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from overlap.base.errors import CheckError, DataError
from overlap.base.sheets import read_rows
from overlap.base.texts import read_json
from overlap.release.sums import seal_of

_VERSION = re.compile(r"\d+(?:\.\d+)*").fullmatch
_HEADING = "# Changes\n"


def find_previous(folder: Path, *, name: str, version: str) -> Path | None:
    """Return the folder of the highest lower version of a release, beside its own; None for the first."""
    found = {
        _key(path.name.removeprefix(f"{name}-")): path
        for path in folder.parent.glob(f"{name}-*")
        if path.is_dir() and _VERSION(path.name.removeprefix(f"{name}-"))
    }
    lower = [key for key in found if _VERSION(version) and key < _key(version)]
    return found[max(lower)] if lower else None


def compare_releases(previous: Path | None, *, said: Mapping[str, Any], removals: pa.Table) -> dict[str, Any]:
    """Compare a release with the one before it.

    Args:
        said: what release.json says.
        removals: REMOVALS of the new release.

    Returns:
        JSON: the landmarks that are removed now and were not (``added``), that were and are not (``restored``), and
        whose number of images differs (``resized``), by landmark_id; and the upstream files and the policy that differ.

    Raises:
        CheckError: the previous release can't be read.
    """
    before, listed = ({}, {}) if previous is None else _read(previous)
    now = {row["landmark_id"]: row for row in removals.to_pylist()}
    return {
        "name": said["name"],
        "version": said["version"],
        "previous": before.get("version"),
        "previous_seal": None if previous is None else seal_of(previous),
        "added": [_landmark(now[n], now[n]["n_images"]) for n in sorted(now.keys() - listed.keys())],
        "restored": [_landmark(listed[n], int(listed[n]["n_images"])) for n in sorted(listed.keys() - now.keys())],
        "resized": [
            {"landmark_id": n, "n_images": [int(listed[n]["n_images"]), now[n]["n_images"]]}
            for n in sorted(now.keys() & listed.keys())
            if int(listed[n]["n_images"]) != now[n]["n_images"]
        ],
        "upstream": _differing(_digests(before), _digests(said)) if previous else {},
        "policy": _differing(before.get("policy") or {}, said.get("policy") or {}) if previous else {},
    }


def render_changelog(changes: Mapping[str, Any], previous: Path | None) -> str:
    """Return CHANGELOG.md: this version above those before it. Landmarks are named by id: a name is anyone's text."""
    older = ""
    if previous is not None and (previous / "CHANGELOG.md").is_file():
        older = (previous / "CHANGELOG.md").read_text(encoding="utf-8").removeprefix(_HEADING)
    lines = [f"## {changes['version']}", ""]
    if changes["previous"] is None:
        lines.append(f"- The first release: {_landmarks(changes['added'])} removed.")
    else:
        lines += [
            f"- Against {changes['previous']}: {_landmarks(changes['added'])} more removed, "
            f"{_landmarks(changes['restored'])} back in."
        ]
        lines += [f"- Removed: landmark {row['landmark_id']} ({row['n_images']:,} images)" for row in changes["added"]]
        lines += [f"- Back: landmark {row['landmark_id']} ({row['n_images']:,} images)" for row in changes["restored"]]
        lines += [f"- Upstream file changed: {name}" for name in changes["upstream"]]
        lines += [f"- Policy changed: {key}" for key in changes["policy"]]
    return "\n".join([_HEADING, *lines, ""]) + older


def _read(previous: Path) -> tuple[dict[str, Any], dict[int, dict[str, str]]]:
    names = ("landmark_id", "landmark_name", "n_images")
    try:
        said = read_json(previous / "release.json")
        rows = [dict(zip(names, cells, strict=True)) for _, cells in read_rows(previous / "removals.csv", names)]
        _digests(said)
        seal_of(previous)
        listed = {int(row["landmark_id"]): row for row in rows if int(row["n_images"]) >= 0}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError) as error:
        raise CheckError(
            f"{previous}, the release before this one, can't be read ({error}); mend it, or move it away to start anew"
        ) from None
    return said, listed


def _key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _landmark(row: Mapping[str, Any], n_images: int) -> dict[str, Any]:
    return {"landmark_id": int(row["landmark_id"]), "landmark_name": row["landmark_name"], "n_images": n_images}


def _landmarks(rows: list[dict[str, Any]]) -> str:
    images = sum(row["n_images"] for row in rows)
    return f"{len(rows)} {'landmark' if len(rows) == 1 else 'landmarks'} with {images:,} images"


def _digests(said: Mapping[str, Any]) -> dict[str, str]:
    return {name: figures["upstream_sha256"] for name, figures in said["files"].items()}


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    names = sorted({*before, *now})
    return {name: [before.get(name), now.get(name)] for name in names if before.get(name) != now.get(name)}
