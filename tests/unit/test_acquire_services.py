"""Kaggle, Google Drive and Roboflow: their clients and ours against stubs of what those services answer."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import kagglesdk.kaggle_env
import pytest
import requests
from fault_server import Fault, serving

from scanline.acquire import download, roboflow
from scanline.acquire.methods import acquire
from scanline.acquire.options import read_acquire_options
from scanline.core.errors import InputError

DATASET = "/v1/datasets.DatasetApiService/DownloadDataset"
EVERYTHING = "/v1/competitions.CompetitionApiService/DownloadDataFiles"
ONE_FILE = "/v1/competitions.CompetitionApiService/DownloadDataFile"
EXPORT = "/rooms/heads/3/coco"
DRIVE_ID = "1abcDEFghiJKLmnoPQRstuVWXyz_0123"


def zipped(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


ARCHIVE = zipped(**{"train/_annotations.coco.json": b"{}", "train/a 1.jpg": b"a" * 500})


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("SCANLINE_OFFLINE", "KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "ROBOFLOW_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as site:
        site.files["/storage/archive.zip"] = ARCHIVE
        monkeypatch.setitem(kagglesdk.kaggle_env._env_to_endpoint, kagglesdk.kaggle_env.KaggleEnv.PROD, site.address)
        yield site


def source(**keys):
    return read_acquire_options(json.dumps({"path": "data/x", "retries": 2, **keys}))


def refusal(options):
    with pytest.raises(InputError) as caught:
        acquire(options)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)
    return str(caught.value)


def redirect(site, path, authorization=None):
    """A page that sends whoever may enter on to a signed link."""

    def page(query, headers):
        if authorization is not None and headers.get("authorization") != authorization:
            return 401, {"Content-Type": "application/json"}, b'{"code": 401, "message": "who?"}'
        return 302, {"Location": site.url(f"{path}?signature=hush")}, b""

    return page


def kaggle(**keys):
    return source(method="kaggle", **{"dataset": "someone/heads", **keys})


def test_a_kaggle_data_set_is_one_archive_unpacked(site, monkeypatch):
    site.pages[DATASET] = redirect(site, "/storage/archive.zip", "Bearer hush")
    assert "found no KAGGLE_USERNAME in the environment" in refusal(kaggle())
    monkeypatch.setenv("KAGGLE_API_TOKEN", "hush")
    files = acquire(kaggle(version=2))
    assert list(files["path"]) == ["heads/train/_annotations.coco.json", "heads/train/a 1.jpg"]
    record = Path("data/x/.scanline/record.json").read_text()
    assert json.loads(record)["files"]["heads.zip"]["origin"] == "kaggle:someone/heads@2/heads.zip"
    assert "hush" not in record
    storage = [headers for path, headers in site.asked if path == "/storage/archive.zip"]
    assert "authorization" not in storage[-1], "the token is Kaggle's, not the storage's"


def test_a_kaggle_user_and_key_do_too(site, monkeypatch):
    site.pages[DATASET] = redirect(site, "/storage/archive.zip", requests.auth._basic_auth_str("me", "hush"))
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    monkeypatch.setenv("KAGGLE_KEY", "hush")
    assert len(acquire(kaggle())) == 2


def test_a_kaggle_download_asks_for_a_new_link_and_goes_on_after_a_cut(site, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "hush")
    site.pages[DATASET] = redirect(site, "/storage/archive.zip")
    site.faults[DATASET] = [Fault(status=429, headers={"Retry-After": "0"})]
    options = kaggle(unpack=False)
    site.faults["/storage/archive.zip"] = [Fault(), Fault(cut_after=300)]
    assert list(acquire(options)["sha256"]) == [hashlib.sha256(ARCHIVE).hexdigest()]
    assert "bytes=300-" in site.ranges("/storage/archive.zip")
    assert len(site.ranges(DATASET)) == 3


def test_files_of_a_competition_are_unwrapped_where_kaggle_zips_them(site, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "hush")
    site.files["/storage/train.csv.zip"] = zipped(**{"train.csv": b"a,b\n"})
    site.pages[ONE_FILE] = redirect(site, "/storage/train.csv.zip")
    options = source(method="kaggle", competition="rsna-heads", files=["train.csv"])
    acquire(options)
    assert Path("data/x/train.csv").read_bytes() == b"a,b\n"
    site.pages[EVERYTHING] = redirect(site, "/storage/archive.zip")
    assert len(acquire(source(method="kaggle", competition="rsna-heads", path="data/y"))) == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_kaggles_refusal_is_one_line_with_its_reason(site, monkeypatch, status):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "hush")
    body = json.dumps({"code": status, "message": "accept the rules first, hush"}).encode()
    site.faults[EVERYTHING] = [Fault(status=status, headers={"Content-Type": "application/json"}, body=body)]
    found = refusal(source(method="kaggle", competition="rsna-heads"))
    assert f"found HTTP {status} (accept the rules first, ***)" in found
    assert "kaggle.com/competitions/rsna-heads/rules" in found
    assert len(site.asked) == 1


def test_kaggle_options_are_one_of_both():
    for keys in ({"competition": "c"}, {"dataset": None}, {"dataset": None, "competition": "c", "version": 1}):
        with pytest.raises(InputError, match=r"either dataset or competition|no version"):
            kaggle(**keys)


def rooms(site, **keys):
    values = {"method": "roboflow", "workspace": "rooms", "project": "heads", "version": 3, "api_url": site.address}
    return source(**{**values, **keys})


def test_a_roboflow_export_is_waited_for_fetched_and_unpacked(site, monkeypatch):
    monkeypatch.setattr(roboflow, "POLL_SECONDS", 0.001)
    monkeypatch.setenv("ROBOFLOW_API_KEY", "hush")
    answers = [(202, {}, b'{"progress": 0.5}')]

    def export(query, headers):
        assert query["api_key"] == "hush"
        link = {"export": {"link": site.url("/storage/archive.zip?signature=hush")}}
        return answers.pop() if answers else (200, {}, json.dumps(link).encode())

    site.pages[EXPORT] = export
    site.faults["/storage/archive.zip"] = [Fault(cut_after=300)]
    files = acquire(rooms(site))
    assert list(files["path"]) == [
        "heads-v3-coco/train/_annotations.coco.json",
        "heads-v3-coco/train/a 1.jpg",
    ]
    assert site.ranges("/storage/archive.zip") == [None, "bytes=300-"]
    assert "hush" not in Path("data/x/.scanline/record.json").read_text()


def test_roboflow_without_or_with_a_wrong_key_or_for_too_long_is_one_line(site, monkeypatch):
    assert "found no ROBOFLOW_API_KEY in the environment" in refusal(rooms(site))
    monkeypatch.setenv("ROBOFLOW_API_KEY", "hush")
    site.faults[EXPORT] = [Fault(status=401, body=b'{"message": "no such key: hush"}')]
    assert "found HTTP 401 (no such key: ***)" in refusal(rooms(site))
    site.faults[EXPORT] = [Fault(status=200, body=b"busy")]
    assert "an answer that is no JSON" in refusal(rooms(site))
    monkeypatch.setattr(roboflow, "LONGEST_SECONDS", 0.0)
    monkeypatch.setattr(roboflow, "POLL_SECONDS", 0.001)
    site.pages[EXPORT] = lambda query, headers: (202, {}, b"{}")
    assert "the export is not ready" in refusal(rooms(site, retries=0))
    assert "without encryption" in refusal(rooms(site, api_url="http://api.example.org"))


@pytest.fixture
def drive(site, monkeypatch):
    """Google Drive's addresses lead to the site, as paths below their host's name."""
    real = requests.Session.get

    def get(session, url, **keys):
        parts = urlsplit(url)
        if parts.hostname is not None and parts.hostname.endswith(("google.com", "googleusercontent.com")):
            url = f"{site.address}/{parts.hostname}{parts.path}?{parts.query}"
        return real(session, url, **keys)

    monkeypatch.setattr(requests.Session, "get", get)
    monkeypatch.setattr(requests, "get", lambda url, **keys: get(requests.Session(), url, **keys))
    site.files["/drive.usercontent.google.com/download"] = ARCHIVE
    return site


def drive_source(**keys):
    return source(method="gdrive", **{"files": [{"id": DRIVE_ID, "name": "set one.zip"}], **keys})


LARGE = b"""<html><form id="download-form" action="https://drive.usercontent.google.com/download" method="get">
<input type="hidden" name="id" value="1abc"><input type="hidden" name="confirm" value="t"></form></html>"""


def test_a_large_drive_file_is_fetched_behind_the_page_that_asks_back(drive):
    drive.pages["/drive.google.com/uc"] = lambda query, headers: (200, {"Content-Type": "text/html"}, LARGE)
    drive.faults["/drive.usercontent.google.com/download"] = [Fault(cut_after=300)]
    assert list(acquire(drive_source())["sha256"]) == [hashlib.sha256(ARCHIVE).hexdigest()]
    assert drive.ranges("/drive.usercontent.google.com/download") == [None, "bytes=300-"]
    assert Path("data/x/set one.zip").exists()


def test_a_small_drive_file_comes_at_once(drive):
    drive.pages["/drive.google.com/uc"] = lambda query, headers: (
        200,
        {"Content-Disposition": 'attachment; filename="set one.zip"'},
        ARCHIVE,
    )
    options = drive_source(unpack=True)
    assert list(acquire(options)["path"]) == ["set one/train/_annotations.coco.json", "set one/train/a 1.jpg"]


def test_a_drive_quota_and_a_missing_file_are_one_line(drive):
    quota = b'<p class="uc-error-subcaption">Too many users have viewed this file recently.</p>'
    drive.pages["/drive.google.com/uc"] = lambda query, headers: (200, {"Content-Type": "text/html"}, quota)
    assert "found Too many users have viewed this file recently." in refusal(drive_source())
    drive.pages["/drive.google.com/uc"] = lambda query, headers: (404, {}, b"")
    assert f"gdrive:{DRIVE_ID}: found HTTP 404" in refusal(drive_source())


def test_a_drive_folder_is_listed_once_and_its_list_recorded(drive, monkeypatch):
    page = f"""<html><title>heads</title>
    <a href="https://drive.google.com/file/d/{DRIVE_ID}/view">a b.png</a></html>""".encode()
    drive.pages["/drive.google.com/embeddedfolderview"] = lambda query, headers: (200, {}, page)
    drive.pages["/drive.google.com/uc"] = lambda query, headers: (
        200,
        {"Content-Disposition": 'attachment; filename="a b.png"', "Content-Type": "image/png"},
        b"picture",
    )
    options = source(method="gdrive", folder="folder_id_of_heads_0123456789")
    files = acquire(options)
    assert list(files["path"]) == ["a b.png"]
    monkeypatch.setenv("SCANLINE_OFFLINE", "1")
    assert acquire(options).equals(files)
    assert "found no list of its files" in refusal(source(method="gdrive", folder="other", path="data/y"))
    monkeypatch.delenv("SCANLINE_OFFLINE")
    drive.pages["/drive.google.com/embeddedfolderview"] = lambda query, headers: (403, {}, b"")
    assert "found no list of its files (DownloadError)" in refusal(
        source(method="gdrive", folder="closed", path="data/y")
    )


def test_files_of_one_name_in_a_drive_folder_are_refused(drive):
    link = '<a href="https://drive.google.com/file/d/{}/view">a b.png</a>'
    page = f"<html><title>heads</title>{link.format(DRIVE_ID)}{link.format(DRIVE_ID[::-1])}</html>".encode()
    drive.pages["/drive.google.com/embeddedfolderview"] = lambda query, headers: (200, {}, page)
    told = refusal(source(method="gdrive", folder="folder_id_of_heads_0123456789"))
    assert "found 1 names that several files of the folder share, first 'a b.png'" in told
    assert "acquire.files" in told


def test_gdown_writes_nothing_to_the_home_folder(drive, tmp_path):
    drive.pages["/drive.google.com/uc"] = lambda query, headers: (
        200,
        {"Content-Disposition": 'attachment; filename="set one.zip"'},
        ARCHIVE,
    )
    acquire(drive_source())
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_drive_folder_that_the_user_has_to_name_is_asked_for_in_one_line():
    options = source(method="gdrive", how_to_get="Set acquire.folder to the long word in the link.")
    message = refusal(options)
    assert "data/x: acquire.folder: found null" in message
    assert "Set acquire.folder to the long word in the link." in message
    with pytest.raises(InputError, match="how_to_get"):
        source(method="gdrive")
