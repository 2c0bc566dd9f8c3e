"""The pixel cache on a node's own disk: the same array, copied once, never a stale one."""

import os
import shutil
from collections import namedtuple

import numpy as np
import pytest

from scanline.core.errors import InputError
from scanline.core.scratch import SCRATCH, local_copy, map_array


@pytest.fixture
def array(tmp_path):
    path = tmp_path / "pixels.npy"
    np.save(path, np.arange(48, dtype=np.uint8).reshape(3, 4, 4))
    return path


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv(SCRATCH, str(folder))
    return folder


@pytest.mark.parametrize("named", [None, ""])
def test_without_scratch_the_file_itself_is_mapped(array, monkeypatch, named):
    monkeypatch.delenv(SCRATCH, raising=False)
    if named is not None:
        monkeypatch.setenv(SCRATCH, named)
    assert local_copy(array) == array
    assert not map_array(array).flags.writeable


def test_the_copy_is_the_same_array_and_made_once(array, scratch):
    copy = local_copy(array)
    assert copy.parent == scratch
    np.testing.assert_array_equal(map_array(array), np.load(array))
    made = copy.stat()
    assert local_copy(array) == copy
    assert (copy.stat().st_ino, copy.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    assert list(scratch.iterdir()) == [copy]


def test_a_file_made_anew_is_copied_anew(array, scratch):
    first = local_copy(array)
    times = array.stat()
    np.save(array.with_name("next.npy"), np.zeros((3, 4, 4), np.uint8))
    array.with_name("next.npy").replace(array)
    os.utime(array, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert array.stat().st_size == times.st_size
    assert local_copy(array) != first
    assert not map_array(array).any()


def test_a_full_disk_leaves_the_file_where_it_lies(array, scratch, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(100, 100, array.stat().st_size))
    assert local_copy(array) == array
    assert not list(scratch.iterdir())


def test_a_folder_that_is_not_there_is_told(array, monkeypatch, tmp_path):
    monkeypatch.setenv(SCRATCH, str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere: found no such folder on this node.*site\.yaml"):
        map_array(array)
