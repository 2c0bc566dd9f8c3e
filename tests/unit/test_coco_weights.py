"""Weights of COCO: fetched from a server by the acquire stage's code, taken by the detectors but for their heads."""

import functools
import http.server
import inspect
import json
import threading

import numpy as np
import pytest
import torch
from ultralytics_job import make_job, make_samples, train

import scanline.core.torchvision_compat  # noqa: F401
from scanline.acquire.weights import DIGESTS, acquire_weights, weights_url
from scanline.core.options import check_options
from scanline.train.detection import fit_detector
from scanline.train.network_names import DETECTION_MODELS
from scanline.train.options import ModelOptions
from scanline.train.torchvision_classifier import IMAGENET_MEAN, IMAGENET_STD
from scanline.train.torchvision_detector import COCO_STATISTICS
from scanline.train.ultralytics_detector import import_ultralytics

from torchvision.models import get_model  # isort: skip

SSDLITE = "ssdlite320_mobilenet_v3_large"
BARELY = 1e-12  # a learning rate that leaves the weights as they are


@pytest.fixture
def fetched(tmp_path):
    """A function that publishes what torch.save makes on a server, fetches it, stops the server, gives the record."""

    def fetch(content, name, architecture):
        (tmp_path / "published").mkdir()
        torch.save(content, tmp_path / "published" / name)
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "published")
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            url = f"http://127.0.0.1:{server.server_port}/{name}"
            try:
                record = acquire_weights(architecture, url, tmp_path / "data")
            finally:
                server.shutdown()
                thread.join()
        assert record["url"] == url
        (tmp_path / "published" / name).unlink()
        path = tmp_path / f"{architecture}.json"
        path.write_text(json.dumps(record))
        return path

    return fetch


@pytest.fixture
def ultralytics(tmp_path):
    import_ultralytics(tmp_path / "settings")
    from scanline.train import ultralytics_trainer

    return ultralytics_trainer


def trained(folder):
    return torch.load(folder / "model.pt", weights_only=True)["state"]


def test_ultralytics_own_release_is_asked(ultralytics):
    from ultralytics.utils import downloads

    defaults = inspect.signature(downloads.attempt_download_asset).parameters
    release = f"https://github.com/{defaults['repo'].default}/releases/download/{defaults['release'].default}"
    for name in ("yolov8n", "yolo11n", "yolov5nu", "yolo12s", "yolo26x"):
        assert weights_url(name) == f"{release}/{name}.pt"
        assert f"{name}.pt" in downloads.GITHUB_ASSETS_NAMES
    assert set(DIGESTS) <= downloads.GITHUB_ASSETS_NAMES


def test_importing_ultralytics_leaves_the_printing_of_arrays_alone(ultralytics):
    assert str(np.array([0.5])) == "[0.5]"


def test_yolo_takes_all_but_the_head_of_other_classes(fetched, ultralytics, tmp_path):
    torch.manual_seed(2)
    coco = ultralytics.build_network("yolov8n", 80, 3)
    coco.__class__ = ultralytics.DetectionModel  # which ultralytics saves
    record = fetched({"model": coco.half(), "ema": None, "epoch": -1}, "yolo_of_coco.pt", "yolov8n")
    job = make_job(weights="coco", channels=3, epochs=1, learning_rate=BARELY)
    facts = train(tmp_path / "run", job, record)
    own, theirs = trained(tmp_path / "run"), coco.float().state_dict()
    fitting = {name for name in own if own[name].shape == theirs[name].shape}
    assert (facts["weights"], facts["tensors_from_weights"]) == ("coco", len(fitting))
    left = set(own) - fitting
    assert left
    assert all(".cv3." in name for name in left)
    torch.testing.assert_close(own["model.0.conv.weight"], theirs["model.0.conv.weight"], atol=1e-6, rtol=0)


def test_a_torchvision_detector_takes_all_but_the_head_of_other_classes(fetched, tmp_path):
    torch.manual_seed(2)
    coco = get_model(SSDLITE, weights=None, weights_backbone=None, num_classes=91).state_dict()
    record = fetched(coco, "ssdlite.pth", SSDLITE)
    job = make_job(SSDLITE, weights="coco", channels=3, epochs=1, learning_rate=BARELY)
    facts = fit_detector(job, make_samples(4), make_samples(4, first=100), tmp_path / "run", record)
    saved = torch.load(tmp_path / "run/model.pt", weights_only=True)
    own = saved["state"]
    fitting = {name for name in own if own[name].shape == coco[name].shape}
    assert (facts["weights"], facts["tensors_from_weights"]) == ("coco", len(fitting))
    left = set(own) - fitting
    assert left
    assert all(name.startswith("head.classification_head.") for name in left)
    first = "backbone.features.0.0.0.weight"
    torch.testing.assert_close(own[first], coco[first], atol=1e-6, rtol=0)
    assert json.loads(saved["spec"])["mean"] == [0.5] * 3


@pytest.mark.parametrize("architecture", DETECTION_MODELS)
def test_images_are_normalised_as_torchvision_did_for_coco(architecture):
    theirs = get_model(architecture, weights=None, weights_backbone=None, num_classes=2).transform
    ours = COCO_STATISTICS.get(architecture, (IMAGENET_MEAN, IMAGENET_STD))
    assert (list(theirs.image_mean), list(theirs.image_std)) == (list(ours[0]), list(ours[1]))


@pytest.mark.parametrize(
    ("architecture", "weights", "published"),
    [
        ("yolov8n", "coco", "yolov8n"),
        ("fasterrcnn_resnet50_fpn", "coco", "fasterrcnn_resnet50_fpn"),
        ("fasterrcnn_resnet50_fpn", "imagenet", "resnet50"),
        ("resnet18", "imagenet", "resnet18"),
        ("yolov8n", "none", None),
        ("yolov8n", "mine.pt", None),
    ],
)
def test_what_has_to_be_acquired(architecture, weights, published):
    model = check_options(ModelOptions, {"architecture": architecture, "weights": weights}, "here")
    assert model.published_network() == published
