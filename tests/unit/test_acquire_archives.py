import errno
import io
import tarfile
import zipfile

import pytest

from scanline.acquire import archives
from scanline.acquire.local import acquire
from scanline.acquire.options import LocalSource
from scanline.core.errors import InputError


def source(folder, **keys):
    return LocalSource(method="local", path=str(folder), how_to_get="Get it.", **{"unpack": True, **keys})


def write_tar(path, *members, links=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name in members:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            archive.addfile(info, io.BytesIO(name.encode()))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


def write_zip(path, *members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr(name, name)
    return path


def test_each_archive_becomes_a_folder_and_stands_aside(tmp_path):
    folder = tmp_path / "raw"
    write_tar(folder / "images_001.tar.gz", "images/a.png", "images/b.png")
    write_tar(folder / "images_002.tar", "images/c.png")
    write_zip(folder / "images_003.zip", "images/d.png")
    (folder / "list.txt").write_text("a.png")
    images = [
        "images_001/images/a.png",
        "images_001/images/b.png",
        "images_002/images/c.png",
        "images_003/images/d.png",
    ]
    assert list(acquire(source(folder))["path"]) == [*images, "list.txt"]
    assert (folder / images[0]).read_text() == "images/a.png"
    assert (folder / "images_001.tar.gz").is_file()
    assert len(acquire(source(folder, unpack=False))) == 8


def test_what_is_unpacked_is_left_alone_and_what_was_half_done_is_done_again(tmp_path):
    folder = tmp_path / "raw"
    write_tar(folder / "one.tar.gz", "a.png")
    (folder / ".one.part").mkdir()
    (folder / ".one.part/half.png").write_text("half")
    assert list(acquire(source(folder))["path"]) == ["one/a.png"]
    assert not (folder / ".one.part").exists()
    (folder / "one/a.png").write_text("mended by hand")
    acquire(source(folder))
    assert (folder / "one/a.png").read_text() == "mended by hand"


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: write_tar(folder / "x.tar.gz", "../out.png"),
        lambda folder: write_tar(folder / "x.tar", "a.png", links=[("b.png", "../../out.png")]),
        lambda folder: write_tar(folder / "x.tar", "/out.png"),
        lambda folder: write_zip(folder / "x.zip", "../out.png"),
        lambda folder: write_zip(folder / "x.zip", "/out.png"),
        lambda folder: write_tar(folder / "x.tar.gz", "a.png").write_bytes(b"\x1f\x8b\x08 no archive"),
        lambda folder: write_zip(folder / "x.zip", "a.png").write_bytes(b"no archive"),
    ],
)
def test_what_leads_elsewhere_or_is_damaged_is_one_line_and_leaves_no_folder(tmp_path, write):
    folder = tmp_path / "raw/folder"
    write(folder)
    with pytest.raises(InputError) as caught:
        acquire(source(folder))
    assert "\n" not in str(caught.value)
    assert "x." in str(caught.value)
    assert not (folder / "x").exists()
    assert not list(tmp_path.rglob("out.png"))


def one_line(folder, **keys):
    with pytest.raises(InputError) as caught:
        acquire(source(folder, **keys))
    assert "\n" not in str(caught.value)
    assert [path.name for path in folder.iterdir()] == [path.name for path in folder.iterdir() if path.is_file()]
    return str(caught.value)


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
def test_a_small_archive_that_becomes_enormous_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(archives, "SMALL_BYTES", 100_000)
    zeros = bytes(5_000_000)
    if name.endswith("zip"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", zeros)
    else:
        with tarfile.open(tmp_path / name, "w:gz") as archive:
            info = tarfile.TarInfo("a.png")
            info.size = len(zeros)
            archive.addfile(info, io.BytesIO(zeros))
    assert "grows out of all proportion" in one_line(tmp_path)
    assert list(acquire(source(tmp_path, largest_unpacked_gb=0.005))["bytes"]) == [5_000_000]


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_too_many_files_are_refused(tmp_path, monkeypatch, write):
    monkeypatch.setattr(archives, "ENTRIES", 3)
    write(tmp_path / ("x.zip" if write is write_zip else "x.tar"), "a", "b", "c", "d")
    assert "in 3 files" in one_line(tmp_path)


def test_a_password_is_told(tmp_path):
    write_zip(tmp_path / "x.zip", "a.png")
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the central directory
    (tmp_path / "x.zip").write_bytes(content)
    assert "an archive with a password" in one_line(tmp_path)


def test_a_disk_too_small_or_full_is_told_and_cleared(tmp_path, monkeypatch):
    write_zip(tmp_path / "x.zip", "a.png")
    usage = type("Usage", (), {"free": 2})
    with monkeypatch.context() as patch:
        patch.setattr(archives.shutil, "disk_usage", lambda path: usage)
        assert "GB free where it needs" in one_line(tmp_path)
    (tmp_path / "x.zip").unlink()
    write_tar(tmp_path / "x.tar", "a.png")

    def full(content, copy):
        copy.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(archives.shutil, "copyfileobj", full)
        assert "x.tar: found No space left on device" in one_line(tmp_path)
    assert len(acquire(source(tmp_path))) == 1
