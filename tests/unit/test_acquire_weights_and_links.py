import hashlib
import re

import pytest
import torch
from fault_server import Fault, serving

from scanline.acquire import download
from scanline.acquire.link import link_folder
from scanline.acquire.options import LocalSource
from scanline.acquire.weights import acquire_weights, weights_url
from scanline.core.errors import InputError
from scanline.train.network_names import CLASSIFICATION_MODELS, DETECTION_MODELS

BODY = b"weights " * 1000
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.delenv("SCANLINE_OFFLINE", raising=False)
    with serving() as site:
        names = (f"net-{DIGEST[:8]}.pth", "wrong-00000000.pth", "yolov8n.pt", "yolov5nu.pt")
        site.files = {f"/{name}": BODY for name in names}
        yield site


@pytest.fixture
def server(site):
    return site.address


def shown(folder):
    """What lies in a folder and is not hidden."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def test_weights_are_fetched_once_and_checked(server, tmp_path):
    url = f"{server}/net-{DIGEST[:8]}.pth"
    record = acquire_weights("net", url, tmp_path)
    assert record == {"path": str(tmp_path / f"net-{DIGEST[:8]}.pth"), "sha256": DIGEST, "url": url}
    assert acquire_weights("net", "http://127.0.0.1:9/" + url.rsplit("/")[-1], tmp_path)["sha256"] == DIGEST


def test_weights_go_on_after_a_cut_and_wait_for_a_busy_server(site, tmp_path):
    name = f"/net-{DIGEST[:8]}.pth"
    site.faults[name] = [Fault(cut_after=1000), Fault(status=503), Fault(status=429)]
    assert acquire_weights("net", site.url(name), tmp_path)["sha256"] == DIGEST
    assert site.ranges(name) == [None, "bytes=1000-", "bytes=1000-", "bytes=1000-"]


@pytest.mark.parametrize("name", ["missing-00000000.pth", "wrong-00000000.pth"])
def test_weights_that_cannot_be_had_are_one_line_that_names_the_choice(server, tmp_path, name):
    with pytest.raises(InputError, match="set weights: none") as caught:
        acquire_weights("net", f"{server}/{name}", tmp_path)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    assert shown(tmp_path) == []


def test_offline_the_weights_that_are_there_are_used_and_others_named(server, tmp_path, monkeypatch):
    url = f"{server}/net-{DIGEST[:8]}.pth"
    monkeypatch.setenv("SCANLINE_OFFLINE", "1")
    with pytest.raises(InputError, match="found nothing there; expected published weights, as SCANLINE_OFFLINE is set"):
        acquire_weights("net", url, tmp_path)
    (tmp_path / f"net-{DIGEST[:8]}.pth").write_bytes(BODY)
    assert acquire_weights("net", url, tmp_path)["sha256"] == DIGEST


def test_no_server_names_the_choice(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT_SECONDS", 0.001)
    with pytest.raises(InputError, match="set weights: none"):
        acquire_weights("net", "http://127.0.0.1:9/net-00000000.pth", tmp_path)


def test_torchvision_tells_the_address():
    assert weights_url("resnet18") == "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    assert weights_url("fasterrcnn_resnet50_fpn").endswith("models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth")
    for name in (*DETECTION_MODELS, *CLASSIFICATION_MODELS):
        assert re.search(r"-[0-9a-f]{8,}\.pth$", weights_url(name)), name


def test_a_file_of_known_digest_must_have_it(server, tmp_path):
    with pytest.raises(InputError, match=r"yolov8n\.pt: found .*SHA-256 .*begins with f59b3d833e2ff32e"):
        acquire_weights("yolov8n", f"{server}/yolov8n.pt", tmp_path)
    assert shown(tmp_path) == []


def test_a_file_that_promises_no_digest_must_be_a_whole_archive(server, tmp_path):
    with pytest.raises(InputError, match=r"yolov5nu\.pt: found .*no archive"):
        acquire_weights("yolov5nu", f"{server}/yolov5nu.pt", tmp_path)
    path = tmp_path / "yolov5nu.pt"
    torch.save({"weight": torch.arange(1000.0)}, path)
    assert acquire_weights("yolov5nu", f"{server}/yolov5nu.pt", tmp_path)["path"] == str(path)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(torch.arange(1000.0).numpy().tobytes()[400:440])] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="a damaged one"):
        acquire_weights("yolov5nu", f"{server}/yolov5nu.pt", tmp_path)


@pytest.fixture
def source(tmp_path):
    return LocalSource(method="local", path=str(tmp_path / "data/heads"), how_to_get="Download it from X.")


def test_data_is_linked_and_stays_linked(source, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    for _ in range(2):
        link_folder(str(tmp_path / "mine"), source)
        assert (tmp_path / "data/heads/file").exists()
    link_folder("", source)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    with pytest.raises(InputError, match="Move"):
        link_folder(str(tmp_path / "other"), source)


@pytest.mark.parametrize("data", ["", "no/such/folder", "empty"])
def test_missing_or_empty_data_says_how_to_get_it(source, tmp_path, data):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"Download it from X\."):
        link_folder(data and str(tmp_path / data), source)
