import io
import tarfile
import zipfile

import pytest

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
