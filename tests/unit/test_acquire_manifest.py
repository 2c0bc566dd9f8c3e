"""The manifest of a raw folder, and local sources."""

import hashlib
import os

import pytest

from scanline.acquire.manifest import make_manifest
from scanline.acquire.methods import acquire
from scanline.acquire.options import LocalSource, read_acquire_options
from scanline.core.errors import InputError
from scanline.core.tables import FILES, read_table, write_table

HOW = "Download it, then run: make phe-sich DATA=<folder>"


def local(path):
    return LocalSource(method="local", path=str(path), how_to_get=HOW)


def put(folder, name, content=b"x"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_paths_are_sorted_relative_and_hashed(tmp_path):
    put(tmp_path, "b/2.png", b"two")
    put(tmp_path, "b/1.png", b"one")
    put(tmp_path, "a.xml", b"")
    files = make_manifest(tmp_path)
    assert files["path"].tolist() == ["a.xml", "b/1.png", "b/2.png"]
    assert files["bytes"].tolist() == [0, 3, 3]
    assert files["sha256"].tolist() == [hashlib.sha256(text).hexdigest() for text in (b"", b"one", b"two")]


def test_hidden_files_and_litter_are_left_out(tmp_path):
    for name in (".DS_Store", "a/.DS_Store", "Thumbs.db", "__MACOSX/a.png", ".hidden/a.png", "desktop.ini"):
        put(tmp_path, name)
    put(tmp_path, "a/real.png")
    assert make_manifest(tmp_path)["path"].tolist() == ["a/real.png"]


def test_odd_names_come_through_the_table(tmp_path):
    names = ["with space.png", 'quote".png', "apos'trophe.png", "new\nline.png", "ünï.png", "$(x);.png"]
    for name in names:
        put(tmp_path / "raw", name)
    write_table(make_manifest(tmp_path / "raw"), tmp_path / "files.parquet", FILES)
    assert read_table(tmp_path / "files.parquet", FILES)["path"].tolist() == sorted(names)


def test_links_are_followed_to_the_same_manifest(tmp_path):
    put(tmp_path / "real", "sub/a.png", b"a")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "holder").mkdir()
    (tmp_path / "holder/sub").symlink_to(tmp_path / "real/sub")
    expected = make_manifest(tmp_path / "real")
    assert make_manifest(tmp_path / "link").equals(expected)
    assert make_manifest(tmp_path / "holder").equals(expected)
    assert acquire(local(tmp_path / "link")).equals(expected)


@pytest.mark.parametrize("target", ["nowhere", "."])
def test_a_link_that_leads_nowhere_or_back_is_named(tmp_path, target):
    put(tmp_path, "a.png")
    (tmp_path / "bad").symlink_to(tmp_path / target)
    with pytest.raises(InputError, match="bad: found a link"):
        make_manifest(tmp_path)


def test_a_name_that_is_no_utf8_is_named(tmp_path):
    try:
        with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb"):  # noqa: PTH123 - a name in bytes
            pass
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(InputError, match="expected names in UTF-8"):
        make_manifest(tmp_path)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: None, "nothing there"),
        (lambda path: path.mkdir(), "no file in it"),
        (lambda path: put(path, ".DS_Store"), "no file in it"),
        (lambda path: path.write_text("x"), "a file"),
    ],
)
def test_what_is_not_there_says_how_to_get_it(tmp_path, make, found):
    make(tmp_path / "raw")
    with pytest.raises(InputError, match=f"found {found}") as error:
        acquire(local(tmp_path / "raw"))
    assert str(error.value).endswith(HOW)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"method": "ftp"}', "any of the expected tags: 'local', 'phantom', 'pypi', 'http'"),
        ('{"method": "local", "path": "x"}', "how_to_get"),
        ('{"method": "local", "path": "x", "how_to_get": "y", "pth": 1}', "pth: found an unknown key"),
        ('{"method": "phantom", "path": "/etc"}', "a folder under data/"),
        ("nonsense", "expected JSON"),
    ],
)
def test_wrong_options_are_told(text, said):
    with pytest.raises(InputError, match=said):
        read_acquire_options(text)
