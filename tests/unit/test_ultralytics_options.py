"""The options of ultralytics' trainer: what the installed package honours, what is refused, what is mapped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ultralytics_job import SIZE, make_job, make_samples, train

from scanline.config import Study, check_names
from scanline.core.errors import InputError
from scanline.core.options import check_options, read_options
from scanline.train.detector_model import TunedModel
from scanline.train.options import ModelOptions, TrainingOptions
from scanline.train.study_options import StudyModel
from scanline.train.ultralytics_detector import import_ultralytics
from scanline.train.ultralytics_options import (
    BOX_DEFAULT,
    CLS_DEFAULT,
    REFUSED,
    UltralyticsOptions,
    explain_settings,
    trainer_settings,
    training_with,
)

import_ultralytics()
STUDY = yaml.safe_load((Path(__file__).parents[2] / "config/studies/phe_sich.yaml").read_text("utf-8"))
DROPPED = ("obj", "obj_pw", "label_smoothing", "anchor_t", "iou_t", "fl_gamma", "image_weights")
MIXED = {
    "mosaic": 0.6,
    "mixup": 0.3,
    "cutmix": 0.5,
    "hsv_v": 0.4,
    "degrees": 10.0,
    "shear": 2.0,
    "perspective": 0.0005,
    "close_mosaic": 1,
    "cos_lr": False,
    "optimizer": "SGD",
    "momentum": 0.8,
    "warmup_momentum": 0.5,
    "lrf": 0.1,
    "save_period": 2,
}


def defaults():
    from ultralytics.cfg import DEFAULT_CFG_DICT

    return DEFAULT_CFG_DICT


def job_with(channels=3, **options):
    given = {name: options.pop(name) for name in ("epochs", "learning_rate") if name in options}
    job = make_job(channels=channels, **given)
    network = {**job.model.model_dump(), "ultralytics": options}
    return replace(job, model=TunedModel(**network))


def refused(name, value, **others):
    models = {**STUDY["models"], "yolov8n": {**STUDY["models"]["yolov8n"], "ultralytics": {name: value, **others}}}
    with pytest.raises(InputError) as caught:
        check_options(Study, {**STUDY, "models": models}, "a.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert "a.yaml: models.yolov8n.ultralytics" in message
    return message


# --- against the installed package ----------------------------------------------------------------------------------


def test_every_option_is_one_of_the_installed_trainer():
    assert set(UltralyticsOptions.model_fields) - {"gains"} <= set(defaults())
    assert (defaults()["box"], defaults()["cls"], defaults()["cls_pw"], defaults()["dfl"]) == (7.5, 0.5, 0.0, 1.5)
    assert (defaults()["box"], defaults()["cls"]) == (BOX_DEFAULT, CLS_DEFAULT)


@pytest.mark.parametrize("name", DROPPED)
def test_what_is_refused_as_dropped_is_no_option_of_the_installed_trainer(name):
    from ultralytics.cfg import get_cfg

    assert name in REFUSED
    assert name not in defaults()
    if name == "label_smoothing":  # dropped with a warning
        assert not hasattr(get_cfg(overrides={name: 0.1}), name)
    else:
        with pytest.raises(SyntaxError, match=name):
            get_cfg(overrides={name: 0.1})


def test_pasting_changes_nothing_where_there_are_boxes_alone():
    from ultralytics.data.augment import CopyPaste
    from ultralytics.utils.instance import Instances

    boxes = np.array([[4, 4, 20, 20]], np.float32)
    image = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    labels = {
        "img": image.copy(),
        "cls": np.zeros((1, 1)),
        "instances": Instances(boxes, np.zeros((0, 1000, 2), np.float32), bbox_format="xyxy", normalized=False),
    }
    changed = CopyPaste(None, p=1.0)(labels)
    assert np.array_equal(changed["img"], image)
    assert len(changed["instances"]) == 1


def test_boxes_are_trained_without_erasing_and_policies_of_classification():
    from ultralytics.data.augment import v8_transforms

    class Noting:
        cache, data = False, {}

        def __init__(self):
            self.asked = set()

        def __getattr__(self, name):
            if name not in defaults():
                raise AttributeError(name)
            self.asked.add(name)
            return defaults()[name]

    asked = Noting()
    v8_transforms(Noting(), 64, asked)
    assert not {"erasing", "auto_augment"} & asked.asked
    own = {"mosaic", "mixup", "cutmix", "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear"}
    assert {*own, "perspective", "flipud", "fliplr"} == asked.asked - {"copy_paste", "copy_paste_mode"}


def test_every_optimizer_is_one_that_the_installed_trainer_builds():
    from ultralytics.models.yolo.detect import DetectionTrainer

    names = UltralyticsOptions.model_fields["optimizer"].annotation.__args__[0].__args__
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    for name in names:
        built = DetectionTrainer.build_optimizer(None, network, name=name, lr=0.01, momentum=0.7, decay=0.1)
        assert type(built).__name__ == name
        assert 0.7 in (built.param_groups[0].get("momentum"), *built.param_groups[0].get("betas", ()))


def images_with(folder, **options):
    """Training images under these options, as the trainer makes them."""
    from scanline.prepare.yolo_export import write_yolo
    from scanline.train import ultralytics_detector as detector
    from scanline.train.ultralytics_trainer import ResumableTraining, build_network

    samples, job = make_samples(6), job_with(**options)
    job, _ = detector._with_own_options(job)
    subset = detector._yolo_subset(samples)
    write_yolo(folder, samples.pixels, {"train": subset, "val": subset}, ["bleed"], 3)
    settings = detector._settings(job, detector._spec(job, samples), folder, 1)
    folders = {name: folder / "images" / name for name in ("train", "val")}
    network = build_network("yolov8n", 1, 3)
    training = ResumableTraining(settings, network, ["bleed"], folders, samples, samples, folder)
    images = training.build_dataset(str(folders["train"]), "train", 4)
    images.epoch_seed = 3
    return images


@pytest.fixture(scope="module")
def plain_images(tmp_path_factory):
    images = images_with(tmp_path_factory.mktemp("plain"))
    return [images[place]["img"] for place in range(6)]


@pytest.mark.parametrize(
    "options",
    [
        {"hsv_v": 0.9},
        {"degrees": 40.0},
        {"translate": 0.4},
        {"scale": 0.6},
        {"scale": [0.3, 0.4]},
        {"shear": 20.0},
        {"perspective": 0.002},
        {"flipud": 1.0},
        {"fliplr": 0.0},
        {"mosaic": 1.0},
        {"mixup": 1.0},
        {"cutmix": 1.0},
    ],
    ids=str,
)
def test_each_augmentation_changes_the_training_images_and_depends_on_epoch_and_image_alone(
    tmp_path, plain_images, options
):
    images = images_with(tmp_path, **options)
    first = [images[place] for place in range(6)]
    assert any(not torch.equal(one["img"], plain) for one, plain in zip(first, plain_images, strict=True))
    np.random.seed(1)  # noqa: NPY002  (which ultralytics draws from)
    backwards = [images[place] for place in reversed(range(6))][::-1]
    for one, other in zip(first, backwards, strict=True):
        assert torch.equal(one["img"], other["img"])
        assert torch.equal(one["bboxes"], other["bboxes"])
        assert one["img"].shape == (3, SIZE, SIZE)
    if "hsv_v" not in options and "mixup" not in options:
        assert not any((one["img"] == 114).float().mean() > 0.01 for one in first)  # what is uncovered is black


def test_hue_and_saturation_change_no_grey_image(tmp_path, plain_images):
    images = images_with(tmp_path, hsv_h=1.0, hsv_s=1.0)
    assert all(torch.equal(images[place]["img"], plain) for place, plain in enumerate(plain_images))


def test_the_boxes_of_a_mosaic_lie_on_what_is_bright(tmp_path):
    images = images_with(tmp_path, mosaic=1.0, translate=0.0, scale=0.0)
    seen = 0
    for epoch in range(12):
        images.epoch_seed = epoch
        item = images[0]
        bright = item["img"][0].numpy() > 130
        told = np.zeros_like(bright)
        for x, y, width, height in item["bboxes"].numpy() * SIZE:
            x1, y1, x2, y2 = (
                round(float(side)) for side in (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            )
            told[y1:y2, x1:x2] = True
        seen += len(item["bboxes"])
        assert (bright & ~told).mean() < 0.03, epoch  # slivers that the trainer leaves out
        assert (told & ~bright).mean() < 0.03, epoch
    assert seen > 12


def test_what_a_mosaic_leaves_uncovered_is_black(tmp_path):
    images = images_with(tmp_path, mosaic=1.0, translate=0.0, scale=[0.5, 0.5])
    uncovered = 0
    for epoch in range(12):
        images.epoch_seed = epoch
        image = images[0]["img"]
        assert (image == 114).float().mean() < 0.01  # ultralytics' grey
        uncovered += bool((image == 0).float().mean() > 0.1)
    assert uncovered


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory):
    """Loss of one epoch under some options."""
    root = tmp_path_factory.mktemp("epochs")

    def loss(name, **options):
        facts = train(root / name, job_with(epochs=1, **options))
        return float(np.genfromtxt(root / name / "history.csv", delimiter=",", names=True)["val_loss"]), facts

    return loss


def test_each_gain_reaches_the_loss(one_epoch):
    plain, facts = one_epoch("plain")
    assert "ultralytics_notes" not in facts
    for options in ({"box": 15.0}, {"cls": 2.0}, {"dfl": 4.0}):
        loss, facts = one_epoch(str(options), **options)
        assert loss > 1.01 * plain, options
        assert facts["ultralytics_settings"].items() >= options.items()
    _, old = one_epoch("old", gains="yolov5", box=0.1, cls_pw=1.0)
    assert old["ultralytics_settings"]["box"] == pytest.approx(15.0)
    assert old["ultralytics_settings"]["cls_pw"] == 0.0
    assert set(old["ultralytics_notes"]) == {"box", "cls_pw"}


def test_a_stopped_run_with_mixed_images_and_another_optimizer_resumes_to_the_same_weights(tmp_path, monkeypatch):
    from scanline.train.ultralytics_trainer import ResumableTraining

    job = job_with(epochs=3, **MIXED)
    facts = train(tmp_path / "undisturbed", job)
    assert facts["ultralytics_settings"].items() >= {n: v for n, v in MIXED.items() if n != "close_mosaic"}.items()
    save = ResumableTraining.save_model

    def save_and_stop(training):
        save(training)
        if training.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ResumableTraining, "save_model", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped", job)
    train(tmp_path / "stopped", job)
    one, other = (torch.load(tmp_path / name / "model.pt")["state"] for name in ("stopped", "undisturbed"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    kept = sorted(path.name for path in (tmp_path / "undisturbed").glob("epoch*.pt"))
    assert kept == ["epoch2.pt"]
    assert torch.load(tmp_path / "undisturbed" / "epoch2.pt").keys() == one.keys()


# --- in the configuration -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refused_option_is_one_line_with_its_name_and_its_reason(name):
    message = refused(name, 0.5)
    assert f"no {name} (found 0.5)" in message
    assert REFUSED[name] in message


@pytest.mark.parametrize(
    ("name", "value", "others", "words"),
    [
        ("box", 0.05, {}, "YOLOv5's scale, whose default is 0.05 where today's is 7.5; set gains: yolov5"),
        ("cls_pw", 0.5, {"gains": "yolov5"}, "weights positives, which today's loss cannot"),
        ("scale", [1.2, 0.9], {}, "from a smaller to a larger factor"),
        ("optimizer", "auto", {}, "'AdamW'"),
        ("flip_lr", 0.5, {}, "Did you mean 'fliplr'?"),
        ("lr0", 1.5, {}, "1"),
    ],
)
def test_what_does_not_fit_is_one_line(name, value, others, words):
    assert words in refused(name, value, **others)


def test_an_option_is_told_once_and_to_a_network_that_has_it():
    with pytest.raises(ValueError, match=r"either ultralytics\.lr0 or training\.learning_rate"):
        StudyModel(architecture="yolov8n", weights="none", training={"learning_rate": 0.1}, ultralytics={"lr0": 0.1})
    with pytest.raises(ValueError, match="not one of its networks"):
        StudyModel(architecture="fasterrcnn_resnet50_fpn", weights="none", ultralytics={"lr0": 0.1})


def test_one_class_alone_needs_a_task_with_one_target():
    detecting = next(name for name, task in STUDY["tasks"].items() if task["kind"] == "detect")
    run = {"split": "grouped", "tasks": [detecting], "models": ["yolov8n"], "seeds": [1]}
    models = {**STUDY["models"], "yolov8n": {**STUDY["models"]["yolov8n"], "ultralytics": {"single_cls": True}}}
    study = {**STUDY, "models": models, "runs": [run]}
    check_names(check_options(Study, study, "a.yaml"), Path("a.yaml"))
    tasks = {**STUDY["tasks"], detecting: {**STUDY["tasks"][detecting], "targets": ["haemorrhage", "other"]}}
    sources = {
        name: {**source, "curate": {**source["curate"], "annotated_classes": ["haemorrhage", "other"]}}
        for name, source in STUDY["sources"].items()
    }
    two = {**study, "tasks": tasks, "sources": sources, "labels": [*STUDY["labels"], "other"]}
    with pytest.raises(InputError, match=r"single_cls for the task .* which has 2 targets.*one target"):
        check_names(check_options(Study, two, "a.yaml"), Path("a.yaml"))


def test_a_network_without_the_section_is_told_to_the_trainer_as_before():
    plain = StudyModel(architecture="yolov8n", weights="none")
    assert plain.network() == {"architecture": "yolov8n", "weights": "none"}
    told = StudyModel(architecture="yolov8n", weights="none", ultralytics={"mosaic": 1.0}).network()
    assert TunedModel(**told).ultralytics == {"gains": "ultralytics", "mosaic": 1.0}


def test_the_rule_reads_both_kinds_of_networks():
    import json
    import sys

    sys.path.insert(0, str(Path(__file__).parents[2] / "workflow/scripts"))
    from train_detector import TrainDetectorOptions

    task = {"kind": "detect", "targets": ["bleed"]}
    for network, kind in (
        (StudyModel(architecture="yolov8n", weights="none"), ModelOptions),
        (StudyModel(architecture="yolov8n", weights="none", ultralytics={"mosaic": 1.0}), TunedModel),
    ):
        text = json.dumps({"task": task, "model": network.network(), "training": {}})
        assert type(read_options(TrainDetectorOptions, text).model) is kind


def test_options_of_training_stand_in_their_places():
    study = TrainingOptions(epochs=30, learning_rate=0.5, weight_decay=0.5, warmup_epochs=5, patience_epochs=9)
    options = UltralyticsOptions(lr0=0.01, weight_decay=0.1, warmup_epochs=2, patience=4)
    told = training_with(options, study)
    assert (told.learning_rate, told.weight_decay, told.warmup_epochs, told.patience_epochs) == (0.01, 0.1, 2, 4)
    assert training_with(UltralyticsOptions(), study) == study
    assert training_with(UltralyticsOptions(patience=0), study).patience_epochs == 30  # never stops early
    assert trainer_settings(options) == {}
    lines = explain_settings(options, 1, 1)
    assert lines["lr0"] == "stands in the place of training.learning_rate"
    assert len(lines) == 4


def test_gains_of_yolov5_are_taken_to_the_same_multiple_of_the_default_and_told():
    old = UltralyticsOptions(gains="yolov5", box=0.05, cls=0.3, cls_pw=1.0, dfl=1.5)
    assert trainer_settings(old) == {"box": pytest.approx(7.5), "cls": pytest.approx(0.3), "cls_pw": 0.0, "dfl": 1.5}
    lines = explain_settings(old, 3, 1)
    assert lines["box"].startswith("YOLOv5's 0.05 taken as 7.5")
    assert set(lines) == {"box", "cls", "cls_pw", "dfl"}
    assert trainer_settings(UltralyticsOptions(box=7.5, cls=0.5)) == {"box": 7.5, "cls": 0.5}
    assert trainer_settings(UltralyticsOptions()) == {}
    assert trainer_settings(UltralyticsOptions(scale=0.5))["scale"] == [0.5, 1.5]
    assert trainer_settings(UltralyticsOptions(scale=(0.5, 0.9)))["scale"] == [0.5, 0.9]


def test_what_has_no_effect_is_told():
    given = {"hsv_h": 0.1, "hsv_s": 0.1, "hsv_v": 0.1, "warmup_momentum": 0.8, "close_mosaic": 10, "cls_pw": 0.5}
    lines = explain_settings(UltralyticsOptions(**given), 1, 1)
    assert lines.keys() == given.keys()
    assert all("no effect" in line for line in lines.values())
    others = UltralyticsOptions(hsv_v=0.1, warmup_momentum=0.8, close_mosaic=10, mosaic=1, optimizer="SGD", cls_pw=0.5)
    lines = explain_settings(others, 3, 2)
    assert lines.keys() == {"cls_pw"}
    assert "no effect" not in lines["cls_pw"]
