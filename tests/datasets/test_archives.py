import hashlib
import io
import re
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutate import mutations, within

from overlap.base.errors import DataError
from overlap.datasets.archives import check_md5, index_archive, read_archive

contents = st.dictionaries(st.text("0123456789abcdef", min_size=1, max_size=150), st.binary(max_size=1300), max_size=6)


@given(files=contents, kind=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]))
@settings(max_examples=20, deadline=None)
def test_spans_hold_the_bytes_that_tarfile_extracts(tmp_path_factory, files, kind):
    path = tmp_path_factory.mktemp("tar") / "images_000.tar"
    files = {name[:80]: content for name, content in files.items()}
    with tarfile.open(path, "w", format=kind) as archive:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(f"a/b/{name}.jpg")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    whole = path.read_bytes()
    index = index_archive(path)
    assert index["image_id"].to_pylist() == list(files)
    for row in index.to_pylist():
        assert whole[row["offset"] : row["offset"] + row["size"]] == files[row["image_id"]]


def test_an_archive_cut_anywhere_is_refused(make, tmp_path):
    """Also between two photos and at their ends, where tarfile itself sees no fault."""
    whole = make.tar(tmp_path / "whole.tar", {f"{n}.jpg": bytes([65 + n]) * 600 for n in range(3)}).read_bytes()
    end = 3 * (512 + 1024)
    for length in [0, 1, 511, 512, 700, 1535, 1536, 1537, 2048, 3072, 3584, end - 1, end, end + 1, end + 511]:
        path = make.write(tmp_path / "images_007.tar", whole[:length])
        with pytest.raises(
            DataError, match=r"images_007\.tar: .*(truncated or damaged).*; fetch it again with 'overlap"
        ):
            index_archive(path)
    assert len(index_archive(make.write(tmp_path / "images_007.tar", whole[: end + 512]))) == 3


def test_a_bad_header_in_the_middle_is_refused(make, tmp_path):
    content = bytearray(make.tar(tmp_path / "images_001.tar", {"a.jpg": b"x", "b.jpg": b"y"}).read_bytes())
    content[1024:1100] = b"\x07" * 76
    make.write(tmp_path / "images_001.tar", bytes(content))
    with pytest.raises(DataError, match="truncated or damaged at byte 1024"):
        index_archive(tmp_path / "images_001.tar")


@pytest.mark.parametrize("behind", ["another archive", "a hole of zeros"])
def test_photos_behind_the_end_marker_are_not_lost_in_silence(make, tmp_path, behind):
    """Also of joined archives, and of a download that was given its place on the disk before its bytes came."""
    whole = make.tar(tmp_path / "whole.tar", {"a.jpg": b"x"}).read_bytes()
    more = whole if behind == "another archive" else bytes(2_000_000)
    path = make.write(tmp_path / "images_001.tar", whole + more)
    with pytest.raises(DataError, match=r"images_001\.tar: .*end marker stands at byte 1024, .*; fetch it again with"):
        index_archive(path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("/etc/a.jpg", tarfile.REGTYPE),
        ("../a.jpg", tarfile.REGTYPE),
        ("0/../../a.jpg", tarfile.REGTYPE),
        ("a.jpg", tarfile.SYMTYPE),
        ("a.jpg", tarfile.LNKTYPE),
        ("a.jpg", tarfile.FIFOTYPE),
        ("a.jpg", tarfile.CHRTYPE),
        ("a.jpg", tarfile.GNUTYPE_SPARSE),
    ],
)
def test_what_is_no_plain_file_below_the_root_is_refused(tmp_path, name, kind):
    path = tmp_path / "images_000.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "b.jpg"
        archive.addfile(info)
    with pytest.raises(DataError, match=r"images_000\.tar: .* is no plain file below the archive's root"):
        index_archive(path)


def test_a_photo_twice_in_one_archive_is_refused(make, tmp_path):
    path = make.tar(tmp_path / "images_000.tar", {"0/a.jpg": b"x", "1/a.jpg": b"y"})
    with pytest.raises(DataError, match=r"images_000\.tar photo 1: photo a stands already at .* photo 0"):
        index_archive(path)


def test_missing_archive(tmp_path):
    with pytest.raises(DataError, match=r"images_000\.tar: no such archive; .* --only images_000\.tar"):
        index_archive(tmp_path / "images_000.tar")


def test_an_archive_that_is_a_folder(tmp_path):
    with pytest.raises(DataError, match="can't be read: Is a directory; mend the disk, the network or the permissions"):
        index_archive(tmp_path)


def test_md5(make, tmp_path):
    path = make.write(tmp_path / "images_003.tar", b"content")
    digest = hashlib.md5(b"content").hexdigest()
    make.write(tmp_path / "md5.images_003.txt", f"{digest}  images_003.tar\n")
    check_md5(path)
    check_md5(path.rename(tmp_path / "images_003.tar.part"), name="images_003.tar")
    make.write(path, b"Content")
    with pytest.raises(
        DataError,
        match=rf"images_003\.tar: MD5 [0-9a-f]{{32}} found, {digest} expected by md5.images_003.txt; delete it",
    ):
        check_md5(path)
    make.write(tmp_path / "md5.images_003.txt", "<html>")
    with pytest.raises(DataError, match=r"md5\.images_003\.txt: no MD5 checksum in it; delete it and fetch it again"):
        check_md5(path)
    (tmp_path / "md5.images_003.txt").unlink()
    with pytest.raises(
        DataError, match=r"can't be checked against md5\.images_003\.txt .* --only md5\.images_003\.txt"
    ):
        check_md5(path)


def test_what_macs_windows_and_webdataset_put_beside_photos_is_passed_over(make, tmp_path):
    beside = [
        *(".DS_Store", "0/.DS_Store", "._0a.jpg", "0/._0a.jpg", "__MACOSX/0a.jpg", "__MACOSX/._0a.jpg", "Thumbs.db"),
        *(
            "0a.json",
            "0a.cls",
            "0a.txt",
            "0a.png",
            "0b.gif",
            "README",
            "index.html",
            "._.DS_Store",
            ".0c.jpg",
            "0c.mp4",
            "0/@eaDir/0a.jpg/SYNOPHOTO_THUMB_M.jpg",
            "1/@eaDir/0d.jpeg/SYNOPHOTO_THUMB_M.jpg",
            "@eaDir/0a.jpg",
            ".picasaoriginals/0a.jpg",
            ".Trashes/501/0a.jpg",
            "0/.AppleDouble/0a.jpg",
        ),
    ]
    photos = {"0/0a.jpg": b"first", "0b.JPG": b"second", "0c.png": b"third", "1/0d.jpeg": b"4", "0e.webp": b""}
    path = make.tar(tmp_path / "images_000.tar", dict.fromkeys(beside, b"x") | photos)
    content = read_archive(path)
    assert content.photos["image_id"].to_pylist() == ["0a", "0b", "0c", "0d", "0e"]
    assert content.photos["size"].to_pylist() == [5, 6, 5, 1, 0]
    assert sorted(content.others) == sorted(beside)
    assert index_archive(path).equals(content.photos)


def test_names_that_no_list_can_hold_and_links_that_are_no_photos_are_passed_over(tmp_path):
    path = tmp_path / "images_000.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("a\udcff.jpg", tarfile.REGTYPE), ("latest", tarfile.SYMTYPE), ("pipe", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            archive.addfile(info)
    content = read_archive(path)
    assert content.photos.num_rows == 0
    assert len(content.others) == 3


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_of_other_kinds_and_folders_are_no_files(tmp_path, kind):
    path = tmp_path / "images_000.tar"
    with tarfile.open(path, "w", format=kind, pax_headers={"comment": "of all files"}) as archive:
        folder = tarfile.TarInfo("a.jpg")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        info = tarfile.TarInfo("a.jpg/" + "long" * 50 + "/b.jpg")
        info.mtime = 1.5
        archive.addfile(info)
    content = read_archive(path)
    assert content.photos["image_id"].to_pylist() == ["b"]
    assert content.others == []


@pytest.mark.parametrize(("mode", "program"), [("w:gz", "gzip -dc"), ("w:bz2", "bzip2 -dc"), ("w:xz", "xz -dc")])
@pytest.mark.parametrize("name", ["images_000.tar", "images_000.tar.gz", "images_000.tgz"])
def test_a_compressed_archive_is_named_with_its_remedy(make, tmp_path, mode, program, name):
    path = make.tar(tmp_path / name, {"a.jpg": b"x"}, mode=mode)
    words = rf"{re.escape(name)}: the archive is compressed, .* with '{program}' and name the archive images_000\.tar"
    with pytest.raises(DataError, match=words):
        read_archive(path)


@pytest.mark.parametrize(
    ("start", "program"),
    [
        (b"\x28\xb5\x2f\xfd", "zstd -dc"),
        (b"PK\x03\x04", "unzip' and lay the photos to train/a/b/c/ID.jpg, or"),
        (b"\x04\x22\x4d\x18", "lz4 -dc"),
        (b"\x5d\0\0", "xz -dc"),
        (b"LZIP\x01", "lzip -dc"),
        (b"\x1f\x9d", "gzip -dc"),
        (b"7z\xbc\xaf\x27\x1c", "7z x"),
        (b"Rar!\x1a\x07", "unrar x"),
    ],
)
def test_other_compression_is_named_too(make, tmp_path, start, program):
    with pytest.raises(DataError, match=f"the archive is compressed, .*'{program}"):
        read_archive(make.write(tmp_path / "images_000.tar", start + bytes(2000)))


@pytest.mark.timeout(10)
def test_a_negative_size_is_refused_at_once(make, tmp_path):
    content = bytearray(make.tar(tmp_path / "images_000.tar", {"a.jpg": b"x", "b.jpg": b"y"}).read_bytes())
    content[1024 + 124 : 1024 + 136] = b"\xff" * 10 + b"\xfe\x00"  # -512 in base 256: the same header again
    content[1024 + 148 : 1024 + 156] = b" " * 8
    content[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(content[1024:1536])
    with pytest.raises(DataError, match=r"images_000\.tar: the archive is truncated or damaged"):
        read_archive(make.write(tmp_path / "images_000.tar", bytes(content)))


@pytest.mark.parametrize("n", [100, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_no_damage_brings_a_traceback_a_hang_or_photos_that_tarfile_does_not_find(tmp_path, n, kind):
    path, whole = tmp_path / "images_000.tar", io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=kind) as archive:
        for number in range(4):
            info = tarfile.TarInfo("long/" * 25 * (number % 2) + f"{number}.jpg")
            info.size, info.mtime = 700, 0.5
            archive.addfile(info, io.BytesIO(bytes([number]) * 700))
    for content in mutations(whole.getvalue(), n=n, seed=n):
        path.write_bytes(content)
        try:
            with within(2):
                found = read_archive(path)
        except DataError:
            continue
        with tarfile.open(path, "r:", errorlevel=2) as archive:
            strict = {(member.offset_data, member.size) for member in archive}
        for row in found.photos.to_pylist():
            assert (row["offset"], row["size"]) in strict
            assert row["offset"] + row["size"] <= len(content)
