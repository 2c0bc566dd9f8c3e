"""The real pip, against a folder of wheels in place of the index."""

import json
import stat
import zipfile

import pytest

from scanline.acquire.methods import acquire
from scanline.acquire.options import PypiSource, read_acquire_options
from scanline.core.errors import InputError
from scanline.core.files import sha256_of_file

MEMBER = "xray/data/table.csv"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project, and an index of one wheel."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    make_wheel(tmp_path)
    return tmp_path


def make_wheel(project, content=b"a,b\n1,2\n", version="1.0", extra=()):
    path = project / f"index/xray-{version}-py3-none-any.whl"
    path.parent.mkdir(exist_ok=True)
    info = f"xray-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, content)
        archive.writestr("xray/data/boxes.csv", b"x\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: xray\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        for name, body in extra:
            archive.writestr(name, body)
    return path


def source(**keys):
    values = {"method": "pypi", "path": "data/x", "package": "xray", "version": "1.0", "files": [MEMBER]}
    return read_acquire_options(json.dumps({**values, **keys}))


def test_the_named_files_alone_are_unpacked_and_recorded(project):
    files = acquire(source())
    assert list(files["path"]) == ["table.csv"]
    assert (project / "data/x/table.csv").read_bytes() == b"a,b\n1,2\n"
    record = json.loads((project / "data/x/.pypi.json").read_text())
    assert record["sha256"] == sha256_of_file(project / "index/xray-1.0-py3-none-any.whl")
    assert sorted(path.name for path in (project / "data/x").iterdir()) == [".pypi.json", "table.csv"]


def test_what_is_there_is_not_fetched_again_and_what_was_changed_is(project):
    acquire(source())
    wheel = project / "index/xray-1.0-py3-none-any.whl"
    kept = wheel.rename(project / "kept.whl")
    assert list(acquire(source())["path"]) == ["table.csv"]
    (project / "data/x/table.csv").write_text("changed")
    with pytest.raises(InputError, match=r"pip cannot fetch xray==1\.0"):
        acquire(source())
    kept.rename(wheel)
    acquire(source())
    assert (project / "data/x/table.csv").read_bytes() == b"a,b\n1,2\n"


def test_another_wheel_of_the_same_version_is_refused(project):
    acquire(source())
    (project / "data/x/table.csv").unlink()
    make_wheel(project, content=b"other")
    with pytest.raises(InputError, match="written at the first download"):
        acquire(source())
    assert not (project / "data/x/table.csv").exists()


def test_another_version_replaces_the_files(project):
    acquire(source())
    make_wheel(project, content=b"newer", version="1.1")
    acquire(source(version="1.1"))
    assert (project / "data/x/table.csv").read_bytes() == b"newer"


def test_a_wrong_hash_unpacks_nothing(project):
    with pytest.raises(InputError, match=r"acquire\.sha256 of the study file") as caught:
        acquire(source(sha256="0" * 64))
    assert "\n" not in str(caught.value)
    assert not (project / "data/x/table.csv").exists()
    right = sha256_of_file(project / "index/xray-1.0-py3-none-any.whl")
    assert len(acquire(source(sha256=right))) == 1


def test_files_put_there_by_hand_need_no_index(project):
    (project / "data/x").mkdir(parents=True)
    (project / "data/x/table.csv").write_text("by hand")
    (project / "data/x/list.txt").write_text("more")
    (project / "index/xray-1.0-py3-none-any.whl").unlink()
    assert list(acquire(source(by_hand=["list.txt"]))["path"]) == ["list.txt", "table.csv"]


def test_no_index_at_all_is_one_line(project, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(InputError, match="the package index cannot be reached") as caught:
        acquire(source())
    assert "\n" not in str(caught.value)
    assert "table.csv" in str(caught.value)


def test_a_version_that_is_not_there_is_one_line(project):
    with pytest.raises(InputError, match=r"No matching distribution found for xray==9.9") as caught:
        acquire(source(version="9.9"))
    assert "\n" not in str(caught.value)


def test_a_file_that_the_wheel_lacks_is_told_with_those_it_has(project):
    with pytest.raises(InputError, match=r"no file xray/data/tables\.csv; among its files: xray/data/table\.csv"):
        acquire(source(files=["xray/data/boxes.csv", "xray/data/tables.csv"]))
    assert not (project / "data/x/boxes.csv").exists()


def test_links_and_doubled_members_are_refused(project):
    link = zipfile.ZipInfo("xray/link.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    make_wheel(project, extra=[(link, "/etc/passwd")])
    with pytest.raises(InputError, match="a link, a folder or an enormous file"):
        acquire(source(files=["xray/link.csv"]))
    with pytest.warns(UserWarning, match="Duplicate name"):
        make_wheel(project, extra=[(MEMBER, b"second")])
    with pytest.raises(InputError, match="several files of that name"):
        acquire(source())


@pytest.mark.parametrize("name", ["../table.csv", "/etc/table.csv", "a/../../b.csv", "a\\b.csv", "a/.hidden", "a//b"])
def test_names_that_lead_elsewhere_are_refused_before_anything_runs(name):
    with pytest.raises(InputError, match="without"):
        source(files=[name])


def test_two_files_of_one_name_and_a_folder_elsewhere_are_refused():
    with pytest.raises(InputError, match="different names"):
        source(files=["a/x.csv", "b/x.csv"])
    with pytest.raises(InputError, match="a folder under data/"):
        source(path="elsewhere")
    with pytest.raises(InputError):
        source(package="--index-url=http://x")
    assert isinstance(source(), PypiSource)
