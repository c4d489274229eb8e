"""Remove the landmarks of a list from an upstream file: all that many people want of a release."""

from pathlib import Path

from overlap.base.errors import CheckError, DataError
from overlap.base.sheets import replacing
from overlap.base.texts import read_json
from overlap.release.keep import Tally, check_met, keep
from overlap.release.records import read_records
from overlap.release.sums import SUMS_FILE, read_sums, sha256

RELEASE_FILE = "release.json"


def apply_removals(removals_csv: Path, source: Path, out: Path) -> dict[str, int]:
    """Write `source` without the landmarks of a list, of which only the column landmark_id is read.

    Where the list still lies in its release, the list must be as released and the source one of the release's
    upstream files. Nothing is written unless all is well.

    Returns:
        rows_in, rows_out, images_in, images_out, landmarks_in, landmarks_out.

    Raises:
        DataError: `out` is one of the inputs, or a file is not sound.
        CheckError: the list was changed, the source is another file than the release was made from, or a landmark of
            the list is not in the source.
        ArtifactError: `out` can't be written.
    """
    for given in (removals_csv, source):
        if out.exists() and given.exists() and given.samefile(out):
            raise DataError(f"{out} is an input and would be overwritten; give another file to write to")
    removed = read_removed(removals_csv)
    _check_release(removals_csv, source)
    tally = Tally()
    with replacing(out) as file:
        for record in keep(read_records(source), removed, tally=tally):
            file.write(record.raw)
        check_met(removed, tally, source)
    return tally.figures()


def read_removed(path: Path) -> set[int]:
    """Read the landmark ids of a removal list.

    Raises:
        DataError: the file is not CSV with whole numbers in a column landmark_id.
    """
    return {record.landmark_id for record in read_records(path) if record.landmark_id is not None}


def _check_release(removals_csv: Path, source: Path) -> None:
    """Compare with release.json and SHA256SUMS where they lie beside the list; a list of ids alone has neither."""
    release, sums = (removals_csv.parent / name for name in (RELEASE_FILE, SUMS_FILE))
    if not release.is_file():
        return
    alone = f"to use the list without its release, copy {removals_csv.name} to another folder"
    said = read_sums(sums).get(removals_csv.name) if sums.is_file() else None
    if said is not None and said != sha256(removals_csv):
        raise CheckError(
            f"{removals_csv} was changed: its SHA-256 is not the one in {sums}; fetch it again, or {alone}"
        )
    upstream = _upstream_digests(release)
    if not source.is_file():
        return  # reading it says so
    found = sha256(source)
    if found not in upstream:
        known = ", ".join(f"{name} {digest}" for digest, name in upstream.items())
        raise CheckError(
            f"{source} has SHA-256 {found}, but {release} was made from {known}: it is not the upstream file of this "
            f"release; fetch that one, or {alone}"
        )


def _upstream_digests(release: Path) -> dict[str, str]:
    try:
        files = read_json(release)["files"]
        return {figures["upstream_sha256"]: name for name, figures in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckError(f"{release} can't be read ({error}); fetch the release again") from None
