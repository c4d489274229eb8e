"""The checksums of a release, as ``sha256sum --check`` reads them."""

import hashlib
from pathlib import Path

SUMS_FILE = "SHA256SUMS"


def checksums(folder: Path) -> str:
    """Return what SHA256SUMS says of a folder, sorted by name."""
    lines = [f"{sha256(folder / name)}  {name}\n" for name in file_names(folder) if name != SUMS_FILE]
    return "".join(lines)


def read_sums(path: Path) -> dict[str, str]:
    """Read the SHA-256 by file name of a SHA256SUMS file; lines that are none are left out."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {name: digest for digest, blank, name in (line.partition("  ") for line in lines) if blank}


def seal_of(folder: Path) -> str:
    """Return the one number that stands for all of a release: the SHA-256 of its SHA256SUMS."""
    return sha256(folder / SUMS_FILE)


def file_names(folder: Path) -> list[str]:
    """Return the files below a folder, sorted, as they stand in SHA256SUMS."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
