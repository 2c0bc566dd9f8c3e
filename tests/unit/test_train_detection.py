import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from boxed_images import ORIGINAL, SIZE, write_boxed_study

import scanline.train.detection as detection
from scanline.core.errors import InputError
from scanline.evaluate.detection import evaluate_detection
from scanline.train.boxes import xywh_from_corners
from scanline.train.detection import (
    Detections,
    DetectionSamples,
    DetectorSpec,
    detector_family,
    load_detection_samples,
    require_boxes,
)
from scanline.train.detection_ap import average_precision
from scanline.train.detection_batches import augment_with_boxes, gather_boxes
from scanline.train.options import BoxAugmentation


@pytest.fixture
def files(tmp_path):
    return write_boxed_study(tmp_path)


def test_unknown_images_and_positives_without_a_box_are_left_out_and_counted(files):
    samples = load_detection_samples(**files, targets=("bleed",))
    assert {name: len(subset) for name, subset in samples.items()} == {"test": 6, "train": 6, "val": 4}
    expected = {"unknown": 1, "without_box": 1, "other_class": 0}
    assert all(subset.left_out == expected for subset in samples.values())
    assert samples["train"].n_background == 3  # and stay in
    assert samples["train"].boxes[1].shape == (0, 4)


def test_images_that_show_an_excluded_class_alone_leave_the_task_and_are_counted(files):
    labels = pd.read_parquet(files["labels"])
    before = load_detection_samples(**files, targets=("bleed",))["train"]
    labels["clot"] = pd.array([True, True, True, None, False, *[False] * (len(labels) - 5)], dtype="boolean")
    labels.to_parquet(files["labels"])
    samples = load_detection_samples(**files, targets=("bleed",), excluded=("clot",))["train"]
    assert samples.left_out == {"unknown": 1, "without_box": 1, "other_class": 1}
    assert set(before.image_ids) - set(samples.image_ids) == {"made/001"}  # 0 and 2 bleed as well, 3 is unknown
    assert load_detection_samples(**files, targets=("bleed",))["train"].left_out["other_class"] == 0


def test_an_excluded_class_has_to_be_one_of_the_labels(files):
    with pytest.raises(InputError, match="no class 'clot'"):
        load_detection_samples(**files, targets=("bleed",), excluded=("clot",))


def test_boxes_become_corners_in_cache_pixels(files):
    samples = load_detection_samples(**files, targets=("bleed",))["train"]
    boxes = pd.read_parquet(files["boxes"])
    first = boxes[boxes["image_id"] == samples.image_ids[0]].iloc[0]
    expected = [
        first["x"] * SIZE / ORIGINAL[0],
        first["y"] * SIZE / ORIGINAL[1],
        (first["x"] + first["width"]) * SIZE / ORIGINAL[0],
        (first["y"] + first["height"]) * SIZE / ORIGINAL[1],
    ]
    assert samples.boxes[0].dtype == np.float32
    np.testing.assert_allclose(samples.boxes[0], [expected], rtol=1e-6)
    x0, y0, x1, y1 = np.rint(samples.boxes[0][0]).astype(int)
    assert samples.pixels[samples.rows[0], y0:y1, x0:x1].min() >= 150
    assert samples.sizes[0].tolist() == list(ORIGINAL)


def test_classes_are_numbered_from_1_in_the_order_of_the_targets(files):
    boxes, labels = pd.read_parquet(files["boxes"]), pd.read_parquet(files["labels"])
    other = boxes.iloc[[0]].assign(label="clot")
    pd.concat([boxes, other]).to_parquet(files["boxes"])
    labels["clot"] = pd.array(labels["image_id"] == other["image_id"].iloc[0], dtype="boolean")
    labels.to_parquet(files["labels"])
    samples = load_detection_samples(**files, targets=("clot", "bleed"))["train"]
    assert samples.classes[0].tolist() == [2, 1]
    alone = load_detection_samples(**files, targets=("clot",))["train"]
    assert alone.classes[0].tolist() == [1]
    assert alone.n_background == 7
    assert alone.left_out == {"unknown": 0, "without_box": 0, "other_class": 0}


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("index", lambda table: table.iloc[1:], "no row for image"),
        ("labels", lambda table: table.iloc[1:], "no row for image"),
        ("labels", lambda table: table.rename(columns={"bleed": "oedema"}), "no class 'bleed'"),
        ("boxes", lambda table: table.assign(x=500.0), "a box outside the image"),
    ],
)
def test_tables_that_do_not_fit_are_refused(files, table, change, message):
    change(pd.read_parquet(files[table])).to_parquet(files[table])
    with pytest.raises(InputError, match=message):
        load_detection_samples(**files, targets=("bleed",))


def test_train_and_val_need_boxes(files):
    pd.read_parquet(files["boxes"]).iloc[:1].to_parquet(files["boxes"])
    samples = load_detection_samples(**files, targets=("bleed",))
    with pytest.raises(InputError, match="val: found no box of 'bleed'"):
        require_boxes(samples, ("bleed",), files["split"])


def test_families():
    assert detector_family("ssdlite320_mobilenet_v3_large") == "torchvision"
    assert detector_family("yolov8n") == detector_family("yolo11n") == detector_family("yolov5nu") == "ultralytics"
    with pytest.raises(InputError, match="resnet18"):
        detector_family("resnet18")


def test_the_interface_imports_neither_torch_nor_a_family():
    tree = ast.parse(Path(detection.__file__).read_text("utf-8"))
    names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert not [name for name in names if name.split(".")[0] in {"torch", "torchvision", "ultralytics"}]
    assert not [name for name in names if name.endswith("_detector")]


def test_a_spec_comes_back_from_its_text():
    spec = DetectorSpec("torchvision", "retinanet_resnet50_fpn", ("a", "b"), 64, 1, (0.1,), (0.2,))
    assert DetectorSpec.from_json(spec.as_json()) == spec


def noisy_detections(samples, rng):
    """True boxes moved a little, and some false ones."""
    found = []
    for boxes in samples.boxes:
        false = rng.uniform(0, 10, (2, 4)) + np.array([0, 0, 12, 12])
        moved = np.concatenate([boxes + rng.normal(0, 1.5, boxes.shape), false])
        scores = np.sort(rng.random(len(moved)))[::-1]
        found.append(Detections(moved.astype(np.float32), np.ones(len(moved), np.int64), scores.astype(np.float32)))
    return found


def test_ap_while_training_is_the_one_of_the_evaluation(files):
    rng = np.random.default_rng(1)
    samples = load_detection_samples(**files, targets=("bleed",))["train"]
    found = noisy_detections(samples, rng)

    def rows(boxes_of, **more):
        tables = []
        for image_id, boxes in zip(samples.image_ids, boxes_of, strict=True):
            table = pd.DataFrame(xywh_from_corners(boxes), columns=["x", "y", "width", "height"])
            tables.append(table.assign(image_id=image_id, label="bleed"))
        return pd.concat(tables, ignore_index=True).assign(**more)

    predicted = rows([one.boxes for one in found], score=np.concatenate([one.scores for one in found]))
    images = pd.DataFrame({"image_id": samples.image_ids})
    metrics = evaluate_detection(rows(samples.boxes), predicted, images, ["bleed"], score_threshold=0.5).metrics
    ours = average_precision(samples, found)
    assert 0.1 < ours["ap50"] < 1
    assert ours["ap50"] == pytest.approx(metrics["metrics"]["ap_50"]["value"], abs=1e-12)
    assert ours["ap50_95"] == pytest.approx(metrics["metrics"]["ap_50_95"]["value"], abs=1e-12)


def test_ap_of_nothing_and_of_everything(files):
    samples = load_detection_samples(**files, targets=("bleed",))["train"]
    nothing = [Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(samples)
    assert average_precision(samples, nothing) == {"ap50": 0.0, "ap50_95": 0.0}
    perfect = [
        Detections(boxes, classes, np.full(len(boxes), 0.9, np.float32))
        for boxes, classes in zip(samples.boxes, samples.classes, strict=True)
    ]
    assert average_precision(samples, perfect) == {"ap50": 1.0, "ap50_95": 1.0}


def one_rectangle(size=64, count=1):
    """Images whose only bright pixels are a rectangle, at another place on each."""
    rng = np.random.default_rng(3)
    pixels, boxes = np.zeros((count, size, size), np.uint8), []
    for number in range(count):
        width, height = rng.integers(10, 20, 2)
        x, y = rng.integers(0, size - 20, 2)
        pixels[number, y : y + height, x : x + width] = 200
        boxes.append(np.array([[x, y, x + width, y + height]], np.float32))
    return DetectionSamples(
        image_ids=np.arange(count).astype(str).astype(object),
        rows=np.arange(count),
        boxes=tuple(boxes),
        classes=tuple(np.ones(1, np.int64) for _ in boxes),
        sizes=np.full((count, 2), size),
        pixels=pixels,
        left_out={},
    )


@pytest.mark.parametrize(
    "options",
    [
        BoxAugmentation(horizontal_flip=True),
        BoxAugmentation(vertical_flip=True),
        BoxAugmentation(horizontal_flip=True, vertical_flip=True, crop_min_scale=0.5),
    ],
)
def test_boxes_go_where_their_pixels_go(options):
    samples = one_rectangle(count=64)
    images, targets = gather_boxes(samples, torch.arange(64))
    before = [target["boxes"].clone() for target in targets]
    changed, moved = augment_with_boxes(images, targets, options, torch.Generator().manual_seed(0))
    assert all(torch.equal(target["boxes"], boxes) for target, boxes in zip(targets, before, strict=True))
    kept = 0
    for image, target in zip(changed[:, 0], moved, strict=True):
        bright = torch.nonzero(image > 100)
        if len(target["boxes"]) and len(bright):
            (y0, x0), (y1, x1) = bright.min(dim=0).values, bright.max(dim=0).values + 1
            seen = torch.stack([x0, y0, x1, y1]).float()
            assert (target["boxes"][0] - seen).abs().max() <= 1  # resampling blurs an edge by up to a pixel
            kept += 1
        assert len(target["labels"]) == len(target["boxes"])
    assert kept > 40
    assert any(not torch.equal(target["boxes"], boxes) for target, boxes in zip(moved, before, strict=True))


def test_flips_are_exact_and_come_from_the_generator():
    samples = one_rectangle(count=16)
    images, targets = gather_boxes(samples, torch.arange(16))
    options = BoxAugmentation(horizontal_flip=True)
    _, first = augment_with_boxes(images, targets, options, torch.Generator().manual_seed(5))
    _, again = augment_with_boxes(images, targets, options, torch.Generator().manual_seed(5))
    flipped = 0
    for old, new, same in zip(targets, first, again, strict=True):
        x0, y0, x1, y1 = old["boxes"][0].tolist()
        assert new["boxes"][0].tolist() in ([x0, y0, x1, y1], [64 - x1, y0, 64 - x0, y1])
        assert torch.equal(new["boxes"], same["boxes"])
        flipped += new["boxes"][0, 0] != x0
    assert 2 < flipped < 14


def test_boxes_are_cut_at_the_crop_and_dropped_below_a_quarter():
    samples = one_rectangle(count=200)
    images, targets = gather_boxes(samples, torch.arange(200))
    _, moved = augment_with_boxes(
        images, targets, BoxAugmentation(crop_min_scale=0.1), torch.Generator().manual_seed(1)
    )
    lost = sum(len(target["boxes"]) == 0 for target in moved)
    assert 20 < lost < 180
    assert all(((target["boxes"] >= 0) & (target["boxes"] <= 64)).all() for target in moved)
