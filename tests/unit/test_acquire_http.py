"""A source of several files on a web server: what is fetched, kept, compared, unpacked and told."""

import base64
import hashlib
import io
import json
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from fault_server import Fault, serving

from scanline.acquire import archives, download
from scanline.acquire.environment import check_encrypted
from scanline.acquire.methods import acquire
from scanline.acquire.options import read_acquire_options
from scanline.core.errors import InputError

FILES = {"a.csv": b"a,b\n1,2\n", "sub/b c.png": b"picture" * 9, "d.bin": bytes(1000)}
ADDRESSES = {"a.csv": "/a.csv", "sub/b c.png": "/b%20c.png", "d.bin": "/d.bin"}


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.delenv("SCANLINE_OFFLINE", raising=False)
    monkeypatch.chdir(tmp_path)
    with serving() as site:
        site.files = {"/a.csv": FILES["a.csv"], "/b c.png": FILES["sub/b c.png"], "/d.bin": FILES["d.bin"]}
        yield site


def source(site, names=tuple(FILES), **keys):
    files = [{"url": site.url(ADDRESSES.get(name, f"/{name}")), "name": name} for name in names]
    values = {"method": "http", "path": "data/x", "files": files, "retries": 2}
    return read_acquire_options(json.dumps({**values, **keys}))


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def refusal(options):
    with pytest.raises(InputError) as caught:
        acquire(options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def zipped(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def test_files_land_under_their_names_and_in_the_manifest(site):
    files = acquire(source(site))
    assert dict(zip(files["path"], files["sha256"], strict=True)) == {
        name: sha256(content) for name, content in FILES.items()
    }
    record = json.loads(Path("data/x/.scanline/record.json").read_text())["files"]
    assert record["sub/b c.png"] == {
        "origin": site.url("/b%20c.png"),
        "bytes": 63,
        "sha256": sha256(FILES["sub/b c.png"]),
    }


def test_the_name_is_that_of_the_address_without_its_query(site):
    options = source(site, files=[{"url": site.url("/b%20c.png?download=1&key=SECRET")}])
    assert list(acquire(options)["path"]) == ["b c.png"]
    assert "SECRET" not in Path("data/x/.scanline/record.json").read_text()


def test_what_is_there_is_not_fetched_again_and_what_is_missing_is(site):
    before = acquire(source(site))
    asked = len(site.asked)
    assert acquire(source(site)).equals(before)
    assert len(site.asked) == asked
    Path("data/x/d.bin").unlink()
    assert acquire(source(site)).equals(before)
    assert [path for path, _ in site.asked[asked:]] == ["/d.bin"]


def test_a_failure_keeps_what_came_and_the_next_run_fetches_the_rest(site):
    site.faults["/d.bin"] = [Fault(status=403)]
    assert "HTTP 403" in refusal(source(site, connections=1))
    assert not Path("data/x/d.bin").exists()
    assert Path("data/x/a.csv").read_bytes() == FILES["a.csv"]
    assert len(acquire(source(site))) == 3
    assert [path for path, _ in site.asked].count("/a.csv") == 1


def test_a_file_changed_after_it_was_fetched_is_told_and_never_overwritten(site):
    acquire(source(site))
    Path("data/x/a.csv").write_text("mine")
    found = refusal(source(site))
    assert found.startswith(f"data/x/a.csv: found SHA-256 {sha256(b'mine')}; expected {sha256(FILES['a.csv'])}")
    assert "make rescan" in found
    assert Path("data/x/a.csv").read_text() == "mine"


def test_a_file_put_there_by_hand_is_taken_and_recorded(site):
    Path("data/x").mkdir(parents=True)
    Path("data/x/a.csv").write_text("by hand")
    assert dict(acquire(source(site)).set_index("path")["sha256"])["a.csv"] == sha256(b"by hand")
    Path("data/x/a.csv").write_text("changed")
    assert "as at first sight" in refusal(source(site))


def test_a_given_hash_holds_for_what_is_fetched_and_for_what_is_there(site):
    given = {"a.csv": sha256(b"other")}
    assert f"expected {given['a.csv']}" in refusal(source(site, sha256=given))
    assert not Path("data/x/a.csv").exists()
    Path("data/x/a.csv").write_text("by hand")
    assert "as the study file says" in refusal(source(site, sha256=given))
    assert "found 'b.csv'; expected one of the source's files: a.csv" in refusal(
        source(site, sha256={"b.csv": "0" * 64})
    )


def test_another_address_for_a_name_replaces_ours_and_not_the_users(site):
    acquire(source(site, ["a.csv"]))
    other = [{"url": site.url("/d.bin"), "name": "a.csv"}]
    assert list(acquire(source(site, files=other))["bytes"]) == [1000]
    Path("data/x/a.csv").write_text("mine")
    assert "the file of http" in refusal(source(site, ["a.csv"]))
    assert Path("data/x/a.csv").read_text() == "mine"


def test_files_no_longer_named_stay_and_are_not_listed(site):
    acquire(source(site))
    Path("data/x/notes.txt").write_text("mine")
    assert list(acquire(source(site, ["a.csv"]))["path"]) == ["a.csv", "notes.txt"]
    assert Path("data/x/d.bin").exists()


def test_archives_are_unpacked_and_stand_aside(site):
    site.files["/set.zip"] = zipped(**{"images/1.png": b"one", "images/2.png": b"two"})
    options = source(site, ["set.zip"], unpack=True)
    files = acquire(options)
    assert list(files["path"]) == ["set/images/1.png", "set/images/2.png"]
    assert acquire(options).equals(files)
    Path("data/x/set.zip").unlink()
    assert acquire(options).equals(files), "the archive may be removed once it is unpacked"
    assert len(site.asked) == 1


def test_another_archive_in_place_of_an_unpacked_one_is_told(site):
    site.files["/set.zip"] = zipped(one=b"1")
    acquire(source(site, ["set.zip"], unpack=True))
    Path("data/x/set.zip").unlink()
    site.files["/set.zip"] = zipped(two=b"2")
    site.files["/new/set.zip"] = zipped(two=b"2")
    other = [{"url": site.url("/new/set.zip")}]
    assert "the content of another archive" in refusal(source(site, files=other, unpack=True))


def test_a_bomb_fills_no_disk(site, monkeypatch):
    monkeypatch.setattr(archives, "SMALL_BYTES", 1_000_000)
    site.files["/bomb.zip"] = zipped(zeros=bytes(20_000_000))
    options = source(site, ["bomb.zip"], unpack=True)
    assert "grows out of all proportion" in refusal(options)
    assert sorted(path.name for path in Path("data/x").iterdir()) == [".scanline", "bomb.zip"]
    assert len(acquire(source(site, ["bomb.zip"], unpack=True, largest_unpacked_gb=0.02))) == 1


def test_offline_lists_what_is_missing_and_asks_nobody(site, monkeypatch):
    acquire(source(site, ["a.csv"]))
    monkeypatch.setenv("SCANLINE_OFFLINE", "1")
    assert list(acquire(source(site, ["a.csv"]))["path"]) == ["a.csv"]
    found = refusal(source(site))
    assert "found 1 of 3 files; missing: sub/b c.png, d.bin; expected all of them, as SCANLINE_OFFLINE is set" in found
    assert len(site.asked) == 1
    monkeypatch.setenv("SCANLINE_OFFLINE", "perhaps")
    assert "SCANLINE_OFFLINE: found 'perhaps'" in refusal(source(site))


def test_credentials_come_from_the_environment_and_are_named_when_absent(site, monkeypatch, caplog):
    seen = []

    def closed(query, headers):
        seen.append(headers.get("authorization"))
        return (200, {}, b"x") if headers.get("authorization") else (401, {}, b"")

    site.pages["/closed"] = closed
    monkeypatch.delenv("PLACE_TOKEN", raising=False)
    assert "found no PLACE_TOKEN in the environment" in refusal(source(site, ["closed"], token_variable="PLACE_TOKEN"))
    monkeypatch.setenv("PLACE_TOKEN", "SECRET")
    acquire(source(site, ["closed"], token_variable="PLACE_TOKEN"))
    Path("data/x/closed").unlink()
    monkeypatch.setenv("PLACE_USER", "me")
    monkeypatch.setenv("PLACE_PASSWORD", "SECRET")
    acquire(source(site, ["closed"], user_variable="PLACE_USER", password_variable="PLACE_PASSWORD"))
    assert seen == ["Bearer SECRET", "Basic " + base64.b64encode(b"me:SECRET").decode()]
    assert "SECRET" not in caplog.text
    with pytest.raises(InputError, match="without encryption"):
        check_encrypted("http://example.org/x")
    check_encrypted("https://example.org/x")


def test_the_home_folders_netrc_is_not_read(site, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password SECRET\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    acquire(source(site, ["a.csv"]))
    assert "authorization" not in site.asked[0][1]


def test_files_are_fetched_side_by_side(site):
    names = [f"{number}.bin" for number in range(20)]
    site.files |= {f"/{name}": name.encode() for name in names}
    site.faults |= {f"/{name}": [Fault(status=503), Fault(cut_after=2)] for name in names}
    files = acquire(source(site, names, connections=8))
    assert list(files["path"]) == sorted(names)
    assert [Path("data/x", name).read_text() for name in names] == names


def test_as_many_files_are_asked_for_at_once_as_there_are_connections(site):
    names = [f"{number}.bin" for number in range(4)]
    site.files |= {f"/{name}": name.encode() for name in names}
    site.together = threading.Barrier(4, timeout=30)
    assert len(acquire(source(site, names, connections=4, retries=0))) == 4


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"path": "elsewhere"}, "a folder under data/"),
        ({"path": "data/../.."}, "a folder under data/"),
        ({"files": [{"url": "ftp://x/y"}]}, "begins with https:// or http://"),
        ({"files": [{"url": "https://me:pw@x/y"}]}, "without a password"),
        ({"files": [{"url": "https://x/"}]}, "a path below the source's folder"),
        ({"files": [{"url": "https://x/y", "name": "../y"}]}, "a path below the source's folder"),
        ({"files": [{"url": "https://x/y", "name": ".hidden"}]}, "a path below the source's folder"),
        ({"files": [{"url": "https://x/%2e%2e%2fy"}]}, "a path below the source's folder"),
        ({"user_variable": "A"}, "together"),
        ({"token_variable": "A", "user_variable": "A", "password_variable": "B"}, "either token_variable"),
        ({"sha256": {"a.csv": "xyz"}}, "match pattern"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_asked(site, keys, said):
    with pytest.raises(InputError, match=said):
        source(site, **keys)


@pytest.mark.parametrize("names", [["x", "x"], ["x", "x/y"]])
def test_two_files_of_one_name_are_refused(site, names):
    assert "two files, or a file and a folder, named 'x'" in refusal(source(site, names))


def test_a_full_disk_ends_the_command_in_one_line(site, tmp_path):
    """A real limit on the size of files, as no disk can be filled here."""
    site.files["/large.bin"] = bytes(3_000_000)
    script = Path(__file__).parents[2] / "workflow/scripts/acquire_source.py"
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000));"
    limited += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    options = source(site, ["large.bin"]).model_dump_json()
    command = [sys.executable, "-c", limited, str(script), "--name", "x", "--options", options, "--files", "f.parquet"]
    sys_path = {"PYTHONPATH": ":".join(sys.path), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=sys_path, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "large.bin: found File too large while writing; expected space" in done.stderr
    assert not Path("data/x/large.bin").exists()
    assert not Path("f.parquet").exists()
    assert len(acquire(source(site, ["large.bin"]))) == 1
    assert site.ranges("/large.bin")[1] is not None


def test_heavy_clients_are_imported_by_their_methods_alone():
    code = (
        "import sys, scanline.config, scanline.acquire.methods\n"
        "found = {'boto3', 'kagglesdk', 'gdown', 'torch'} & set(sys.modules)\n"
        "sys.exit(', '.join(found) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True)
    assert done.returncode == 0, done.stderr
