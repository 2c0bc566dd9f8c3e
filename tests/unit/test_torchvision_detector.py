import numpy as np
import pandas as pd
import pytest
import torch
from killed_training import assert_equal_weights, kill_in_epoch, linger

import scanline.core.torchvision_compat
from scanline.core.errors import InputError
from scanline.train.detection import DetectionJob, DetectionSamples, DetectorSpec, detector_family, fit_detector
from scanline.train.device import be_deterministic
from scanline.train.model_store import CHECKPOINT
from scanline.train.network_names import DETECTION_MODELS
from scanline.train.options import BoxAugmentation, DetectTask, ModelOptions, TrainingOptions
from scanline.train.torchvision_detector import (
    DetectorTrainer,
    build_detector,
    load_torchvision,
    save_detector,
)

from torchvision.models import get_model  # isort: skip
from torchvision.ops.roi_align import _roi_align, roi_align  # isort: skip

SSDLITE = "ssdlite320_mobilenet_v3_large"
CPU = torch.device("cpu")
SIZE = 32
RECTANGLES = ((2, 3, 14, 12), (15, 14, 12, 15), (4, 17, 15, 11))  # x, y, width, height; the fourth image has none


def spec_of(architecture, size=64, channels=1, classes=("bleed",)):
    return DetectorSpec("torchvision", architecture, classes, size, channels, (0.2,) * channels, (0.3,) * channels)


def four_images(repeats=1):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60, (4, SIZE, SIZE), dtype=np.uint8)
    boxes = []
    for number, (x, y, width, height) in enumerate(RECTANGLES):
        pixels[number, y : y + height, x : x + width] += 150
        boxes.append(np.array([[x, y, x + width, y + height]], np.float32))
    boxes.append(np.zeros((0, 4), np.float32))
    return DetectionSamples(
        image_ids=np.array(["a", "b", "c", "d"] * repeats, dtype=object),
        rows=np.tile(np.arange(4), repeats),
        boxes=tuple(boxes) * repeats,
        classes=tuple(np.ones(len(own), np.int64) for own in boxes) * repeats,
        sizes=np.full((4 * repeats, 2), SIZE),
        pixels=pixels,
        left_out={"unknown": 0, "without_box": 0},
    )


def job(*, epochs, augmentation=None, precision="float32", seed=1, learning_rate=2e-3, **training):
    return DetectionJob(
        DetectTask(kind="detect", targets=("bleed",), augmentation=augmentation or BoxAugmentation()),
        ModelOptions(architecture=SSDLITE, weights="none", channels=1),
        TrainingOptions(
            **{"epochs": epochs, "patience_epochs": epochs, "batch_size": 4, "device": "cpu"} | training,
            learning_rate=learning_rate,
            precision=precision,
        ),
        seed,
        CPU,
    )


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    be_deterministic(1)
    yield
    torch.set_num_threads(before)


def test_a_detector_overfits_four_images(tmp_path):
    facts = fit_detector(job(epochs=8, learning_rate=3e-3), four_images(repeats=40), four_images(), tmp_path, None)
    history = pd.read_csv(tmp_path / "history.csv")
    assert facts["best_ap50_95"] > 0.7
    assert history.loc[history["is_best"], "ap50"].tolist() == pytest.approx([1.0])
    assert history["train_loss"].iloc[-1] < 0.1 * history["train_loss"].iloc[0]
    assert history["val_loss"].iloc[-1] < 0.1 * history["val_loss"].iloc[0]
    assert (facts["family"], facts["background_images"]["val"], facts["boxes"]["val"]) == ("torchvision", 1, 3)

    spec, detector = load_torchvision(tmp_path / "model.pt", CPU)
    samples = four_images()
    found = detector(samples.pixels)
    assert spec.classes == ("bleed",)
    for boxes, one in zip(samples.boxes[:3], found, strict=False):
        assert one.scores[0] > 0.5
        assert np.abs(one.boxes[0] - boxes[0]).max() < 2
        assert (np.diff(one.scores) <= 0).all()
        assert len(one.scores) <= 100
        assert one.scores.min() >= 0.001
    assert max(found[3].scores, default=0) < min(one.scores[0] for one in found[:3])


AUGMENTED = BoxAugmentation(horizontal_flip=True, crop_min_scale=0.7)


def train(folder, seed=1):
    folder.mkdir(exist_ok=True)
    be_deterministic(1)
    return fit_detector(
        job(epochs=4, augmentation=AUGMENTED, seed=seed), four_images(repeats=4), four_images(), folder, None
    )


def _train_until_killed(folder, ready):
    linger(DetectorTrainer, 3, ready)
    train(folder)


def test_trained_twice_and_killed_and_resumed_give_equal_weights(tmp_path):
    train(tmp_path / "once")
    train(tmp_path / "twice")
    assert_equal_weights(tmp_path / "once/model.pt", tmp_path / "twice/model.pt")

    killed = tmp_path / "killed"
    killed.mkdir()
    kill_in_epoch(_train_until_killed, killed, ready=tmp_path / "in_third_epoch")
    assert (killed / CHECKPOINT).exists()
    assert not (killed / "history.csv").exists()
    train(killed)
    assert_equal_weights(tmp_path / "once/model.pt", killed / "model.pt")
    histories = [pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (tmp_path / "once", killed)]
    pd.testing.assert_frame_equal(*histories)

    train(tmp_path / "other", seed=2)
    with pytest.raises(AssertionError):
        assert_equal_weights(tmp_path / "once/model.pt", tmp_path / "other/model.pt")


@pytest.mark.parametrize("architecture", [SSDLITE, "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_validation_changes_no_weight_and_no_batch_norm_and_draws_the_same_each_time(tmp_path, architecture):
    base = job(epochs=1)
    options = ModelOptions(architecture=architecture, weights="none", channels=1)
    started = DetectionJob(base.task, options, base.training, 1, CPU)
    trainer = DetectorTrainer(started, four_images(), four_images(), tmp_path)
    trainer.model.eval()
    before = {name: values.clone() for name, values in trainer.model.state_dict().items()}
    random_state = torch.get_rng_state()
    with torch.no_grad():
        first, second = trainer.validate(), trainer.validate()
    assert first == second
    assert first["val_loss"] > 0
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(values, before[name]) for name, values in trainer.model.state_dict().items())
    assert not trainer.model.training


def test_val_loss_draws_the_same_in_each_epoch(tmp_path, monkeypatch):
    trainer = DetectorTrainer(job(epochs=1), four_images(), four_images(), tmp_path)
    trainer.model.eval()
    monkeypatch.setattr(trainer, "_loss", lambda images, targets: torch.rand(()))  # as anchors are drawn
    first = trainer.validate()["val_loss"]
    torch.rand(5)  # what an epoch of training draws
    assert trainer.validate()["val_loss"] == first


def test_patience_waits_until_something_is_found(tmp_path):
    trainer = DetectorTrainer(job(epochs=9, patience_epochs=2), four_images(), four_images(), tmp_path)
    trainer.progress.epoch, trainer.progress.best_epoch, trainer.progress.best = 8, 1, 0.0
    assert not trainer._is_patience_over()
    trainer.progress.best = -0.1
    assert trainer._is_patience_over()


def test_bfloat16_trains_too(tmp_path):
    facts = fit_detector(job(epochs=1, precision="bfloat16"), four_images(repeats=2), four_images(), tmp_path, None)
    history = pd.read_csv(tmp_path / "history.csv")
    assert facts["precision"] == "bfloat16"
    assert np.isfinite(history[["train_loss", "val_loss"]].to_numpy()).all()


@pytest.mark.parametrize(
    "architecture",
    ["fasterrcnn_mobilenet_v3_large_320_fpn", "retinanet_resnet50_fpn", "fasterrcnn_resnet50_fpn", SSDLITE],
)
def test_networks_take_the_cached_size_as_it_is(architecture):
    torch.manual_seed(0)
    model = build_detector(spec_of(architecture))
    images = torch.rand(2, 1, 64, 64)
    batch, _ = model.transform(list(images), None)
    torch.testing.assert_close(batch.tensors, (images - 0.2) / 0.3, rtol=0, atol=1e-6)
    assert batch.image_sizes == [(64, 64)] * 2
    targets = [
        {"boxes": torch.tensor([[5.0, 6, 40, 50]]), "labels": torch.tensor([1])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    with torch.no_grad():
        losses = model.train()(list(images), targets)
    assert all(torch.isfinite(loss) for loss in losses.values())
    heads = getattr(model, "roi_heads", model)
    assert (heads.score_thresh, heads.detections_per_img) == (0.001, 100)


def test_every_name_is_a_detector_of_torchvision():
    assert all(detector_family(name) == "torchvision" for name in DETECTION_MODELS)
    with torch.device("meta"):
        for name in DETECTION_MODELS:
            if not name.startswith("ssdlite"):  # it computes with its weights while it is built
                assert get_model(name, weights=None, weights_backbone=None, num_classes=2)


def test_a_model_comes_back_from_its_file(tmp_path):
    spec = spec_of(SSDLITE, classes=("a", "b"))
    model = build_detector(spec).eval()
    save_detector(tmp_path / "model.pt", spec, model)
    loaded, detector = load_torchvision(tmp_path / "model.pt", CPU)
    assert loaded == spec
    own = model.state_dict()
    assert all(torch.equal(values, own[name]) for name, values in detector.model.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_another_file_is_no_model(tmp_path, content):
    if content is not None:
        (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pt"):
        load_torchvision(tmp_path / "model.pt", CPU)


def test_images_too_small_for_a_network_are_refused():
    with pytest.raises(InputError, match=r"ssd300_vgg16.*32 px"):
        build_detector(spec_of("ssd300_vgg16", size=32))


@pytest.mark.parametrize(
    ("architecture", "classifier", "ours", "theirs"),
    [
        ("fasterrcnn_mobilenet_v3_large_320_fpn", "mobilenet_v3_large", "backbone.body.5.block.0.0.weight",
         "features.5.block.0.0.weight"),
        ("retinanet_resnet50_fpn", "resnet50", "backbone.body.layer3.2.conv1.weight", "layer3.2.conv1.weight"),
        (SSDLITE, "mobilenet_v3_large", "backbone.features.0.5.block.0.0.weight", "features.5.block.0.0.weight"),
        (SSDLITE, "mobilenet_v3_large", "backbone.features.0.13.0.weight", "features.13.block.0.0.weight"),
    ],
)  # fmt: skip
def test_a_classifiers_weights_become_the_backbone(architecture, classifier, ours, theirs):
    state = get_model(classifier, weights=None).state_dict()
    model = build_detector(spec_of(architecture, channels=3), state)
    assert torch.equal(model.state_dict()[ours], state[theirs])


def test_grey_images_get_the_summed_weights_of_the_first_layer():
    state = get_model("mobilenet_v3_large", weights=None).state_dict()
    first = build_detector(spec_of(SSDLITE), state).state_dict()["backbone.features.0.0.0.weight"]
    torch.testing.assert_close(first, state["features.0.0.weight"].sum(dim=1, keepdim=True))


def test_a_detectors_weights_are_taken_but_for_the_head_of_other_classes():
    coco = get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=91).state_dict()
    model = build_detector(spec_of(SSDLITE, channels=3), coco).state_dict()
    taken = [name for name in model if model[name].shape == coco[name].shape and torch.equal(model[name], coco[name])]
    left = set(model) - set(taken)
    assert left
    assert all(name.startswith("head.classification_head.") for name in left)
    same = build_detector(spec_of(SSDLITE, channels=3, classes=tuple("c" * n for n in range(1, 91))), coco)
    assert all(torch.equal(values, coco[name]) for name, values in same.state_dict().items())


@pytest.mark.parametrize(
    "state",
    [
        lambda: get_model("resnet18", weights=None).state_dict(),
        lambda: {"backbone.body.conv1.weight": torch.zeros(64, 3, 7, 7)},
        lambda: {"something.else": torch.zeros(3)},
    ],
)
def test_weights_of_another_network_are_refused(state):
    with pytest.raises(InputError, match="weights that fit"):
        build_detector(spec_of("fasterrcnn_mobilenet_v3_large_320_fpn", channels=3), state())


def test_a_pretrained_backbone_keeps_its_batch_norm(tmp_path):
    state = get_model("mobilenet_v3_large", weights=None).state_dict()
    options = ModelOptions(architecture="fasterrcnn_mobilenet_v3_large_320_fpn", weights="none", channels=1)
    base = job(epochs=1)
    started = DetectionJob(base.task, options, base.training, 1, CPU)
    trainer = DetectorTrainer(started, four_images(), four_images(), tmp_path, state)
    name = "backbone.body.0.1.running_mean"
    before = trainer.model.state_dict()[name].clone()
    trainer.model.train()
    trainer.training_loss(torch.arange(2), torch.Generator().manual_seed(0))
    assert torch.equal(trainer.model.state_dict()[name], before)
    assert trainer.facts()["frozen_batch_norm"]


@pytest.mark.skipif(scanline.core.torchvision_compat.NATIVE_OPERATORS, reason="torchvision's own operators are in use")
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("shape", [(3, 7), (16, 12)])
def test_our_roi_align_is_torchvisions(shape, aligned):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, *shape, generator=generator, requires_grad=True)
    limit = 4 * (torch.tensor([shape[1], shape[0], shape[1], shape[0]]) - 1)
    corners = (torch.rand(10, 2, 2, generator=generator).sort(dim=1).values.flatten(1)) * limit
    numbers = torch.randint(0, 2, (10, 1), generator=generator)
    regions = torch.cat([numbers, corners], dim=1)  # within the image, as proposals are
    reference = _roi_align.__wrapped__(features, regions, 0.25, 7, 5, 2, aligned)  # plain, not compiled
    ours = roi_align(features, regions, (7, 5), 0.25, 2, aligned)
    torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(one.square().sum(), features)[0] for one in (reference, ours)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(scanline.core.torchvision_compat.NATIVE_OPERATORS, reason="torchvision's own operators are in use")
def test_roi_align_is_zero_beyond_the_image():
    pooled = roi_align(torch.ones(1, 1, 4, 4), torch.tensor([[0.0, 4.0, 0.0, 8.0, 4.0]]), (2, 2), 1.0, 2, True)
    assert pooled[0, 0, :, 1].tolist() == [0, 0]
