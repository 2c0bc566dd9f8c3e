"""COCO's JSON keeps names on the way out and back, its sample gives its numbers, damage is told in one line."""

import contextlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from coco_oracle import detection_cases, random_case
from hypothesis import given, settings
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from scanline.core.errors import InputError
from scanline.core.tables import BOXES, validate
from scanline.evaluate.average_precision import CocoMetrics
from scanline.evaluate.coco import (
    number_coco,
    read_coco_results,
    read_coco_truth,
    write_coco_results,
    write_coco_truth,
)
from scanline.evaluate.detection import evaluate_detection
from scanline.evaluate.detection_tables import check_detection_tables
from scanline.evaluate.options import EvaluateOptions

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = {"ap_50_95": 0.5045807, "ap_50": 0.6969727, "ap_75": 0.5729817}
STATS = (
    "ap_50_95", "ap_50", "ap_75", "ap_small", "ap_medium", "ap_large",
    "ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip


@pytest.fixture(scope="module")
def coco_sample():
    root = Path(os.environ.get("SCANLINE_DATA", REPOSITORY / "../shared/data")) / "coco_sample"
    if not root.is_dir():
        pytest.skip(f"real data absent: {root} (set SCANLINE_DATA)")
    return root / "instances_val2014_100.json", root / "instances_val2014_fakebbox100_results.json"


def pycocotools_stats(truth_path, results_path):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth_path))
        evaluation = COCOeval(coco, coco.loadRes(str(results_path)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(STATS, evaluation.stats, strict=True))


def values_of(truth, predicted, images, classes):
    coco = CocoMetrics(check_detection_tables(truth, predicted, images, classes))
    return {name: value[0] for name, value in coco(np.ones((1, coco.tables.cluster_count))).items()}


def test_the_coco_sample_gives_its_published_numbers(coco_sample):
    truth = read_coco_truth(coco_sample[0])
    predicted = read_coco_results(coco_sample[1], truth.numbers)
    assert (len(truth.images), len(truth.boxes), len(predicted), len(truth.classes)) == (100, 839, 734, 80)
    assert truth.boxes["iscrowd"].sum() == 9
    ours = values_of(truth.boxes, predicted, truth.images, truth.classes)
    for name, value in PUBLISHED.items():
        assert ours[name] == pytest.approx(value, abs=1e-6)
    for name, value in pycocotools_stats(*coco_sample).items():
        assert ours[name] == pytest.approx(value, abs=1e-9), name


def test_the_coco_sample_through_the_main_function(coco_sample):
    truth = read_coco_truth(coco_sample[0])
    predicted = read_coco_results(coco_sample[1], truth.numbers)
    result = evaluate_detection(
        truth.boxes,
        predicted,
        truth.images,
        truth.classes,
        score_threshold=0.5,
        options=EvaluateOptions(bootstrap_resamples=100),
    ).metrics
    ap = result["metrics"]["ap_50_95"]
    assert ap["value"] == pytest.approx(PUBLISHED["ap_50_95"], abs=1e-6)
    assert ap["low"] < ap["high"]
    assert ap["classes"] == truth.boxes.loc[~truth.boxes["iscrowd"], "label"].nunique()
    assert result["reference"]["largest_difference"] < 1e-9
    assert result["left_out"]["crowd_boxes"] == 9


def test_the_coco_sample_keeps_its_numbers_on_the_way_out_and_back(coco_sample, tmp_path):
    truth = read_coco_truth(coco_sample[0], name_key="file_name")
    assert truth.images["image_id"].str.startswith("COCO_val2014_").all()
    predicted = read_coco_results(coco_sample[1], truth.numbers)
    numbers = write_coco_truth(tmp_path / "truth.json", truth.boxes, truth.images, truth.classes)
    write_coco_results(tmp_path / "results.json", predicted, numbers)
    again = read_coco_truth(tmp_path / "truth.json")
    pd.testing.assert_frame_equal(again.boxes, truth.boxes)
    pd.testing.assert_frame_equal(read_coco_results(tmp_path / "results.json", again.numbers), predicted)
    pd.testing.assert_frame_equal(again.images, truth.images)
    stats = pycocotools_stats(tmp_path / "truth.json", tmp_path / "results.json")
    assert stats["ap_50_95"] == pytest.approx(PUBLISHED["ap_50_95"], abs=1e-6)


@settings(max_examples=40)
@given(detection_cases())
def test_round_trip_changes_no_table(tmp_path_factory, case):
    truth, predicted, ids, classes = case
    folder = tmp_path_factory.mktemp("coco")
    numbers = write_coco_truth(folder / "truth.json", truth, ids, classes)
    write_coco_results(folder / "results.json", predicted, numbers)
    again = read_coco_truth(folder / "truth.json")
    pd.testing.assert_frame_equal(again.boxes, truth)
    pd.testing.assert_frame_equal(read_coco_results(folder / "results.json", again.numbers), predicted)
    assert (again.images["image_id"].tolist(), list(again.classes)) == (ids, classes)
    assert again.numbers == numbers == number_coco(ids, classes)


def test_written_files_are_what_pycocotools_reads_and_name_no_patient(tmp_path):
    truth, predicted, images, classes = random_case()
    images = images.assign(file_name=[f"{name}.png" for name in images["image_id"]], width=300, height=pd.NA)
    numbers = write_coco_truth(tmp_path / "truth.json", truth, images, classes)
    write_coco_results(tmp_path / "results.json", predicted, numbers)
    content = json.loads((tmp_path / "truth.json").read_text())
    assert content["images"][0] == {"id": 1, "image_id": "s/000", "file_name": "s/000.png", "width": 300}
    assert "patient" not in (tmp_path / "truth.json").read_text()
    assert min(entry["id"] for entry in content["annotations"]) == 1
    ours = values_of(truth, predicted, images, classes)
    for name, value in pycocotools_stats(tmp_path / "truth.json", tmp_path / "results.json").items():
        assert ours[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name


def test_boxes_fit_the_boxes_table_and_images_are_in_the_order_of_their_numbers(tmp_path):
    content = {
        "images": [{"id": 10, "patient_id": "p", "width": 5}, {"id": 9}],
        "categories": [{"id": 3, "name": "y"}, {"id": 0, "name": "x"}],
        "annotations": [{"image_id": 10, "category_id": 0, "bbox": [1, 2, 3, 4]}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    truth = read_coco_truth(tmp_path / "truth.json")
    assert truth.images["image_id"].tolist() == ["9", "10"]
    assert truth.images["patient_id"].isna().tolist() == [True, False]
    assert truth.images["width"].tolist() == [pd.NA, 5]
    assert truth.classes == ("x", "y")
    assert truth.boxes.loc[0, "area"] == 12
    validate(truth.boxes[list(BOXES.columns)], BOXES, "boxes")


def test_results_may_name_images_by_number_or_name(tmp_path):
    entries = [{"image_id": image, "category_id": 1, "bbox": [0, 0, 1, 1.5], "score": 1} for image in (2, "a/1", "a/2")]
    (tmp_path / "results.json").write_text(json.dumps(entries))
    predicted = read_coco_results(tmp_path / "results.json", number_coco(["a/1", "a/2"], ["x"]))
    assert predicted["image_id"].tolist() == ["a/2", "a/1", "a/2"]
    assert predicted.dtypes.astype(str).tolist() == ["str", "str"] + ["float64"] * 5


def test_empty_results_are_a_table(tmp_path):
    (tmp_path / "results.json").write_text("[]")
    predicted = read_coco_results(tmp_path / "results.json", number_coco(["i"], ["x"]))
    assert predicted.empty
    assert list(predicted.columns) == ["image_id", "label", "x", "y", "width", "height", "score"]


GOOD_RESULT = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "found an object with a; expected COCO results"),
        ([GOOD_RESULT, 5], "results: entry 1: found no image_id"),
        ([{**GOOD_RESULT, "image_id": 7}], "results: entry 0: image_id: found 7; expected an image of the ground"),
        ([{**GOOD_RESULT, "image_id": "j"}], "image_id: found 'j'; expected an image of the ground truth"),
        ([{**GOOD_RESULT, "image_id": True}], "image_id: found True"),
        ([{**GOOD_RESULT, "image_id": [1]}], r"image_id: found \[1\]"),
        ([GOOD_RESULT, {**GOOD_RESULT, "category_id": 0}], "entry 1: category_id: found 0; expected one of 1"),
        ([{**GOOD_RESULT, "bbox": [0, 0, 1]}], "bbox: found .* expected four numbers: x, y, width, height"),
        ([{**GOOD_RESULT, "bbox": [0, 0, 1, "1"]}], "bbox: found"),
        ([{**GOOD_RESULT, "score": "high"}], "score: found 'high'; expected a number"),
        ([{**GOOD_RESULT, "score": None}], "score: found None; expected a number"),
        ([{key: GOOD_RESULT[key] for key in ("image_id", "category_id", "bbox")}], "entry 0: found no score"),
    ],
)
def test_damaged_results_are_refused_in_one_line(tmp_path, content, message):
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        read_coco_results(tmp_path / "results.json", number_coco(["i"], ["x"]))
    assert "results.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def good_truth(**changes):
    return {
        "images": [{"id": 1, "name": "i"}, {"id": 2, "name": "i"}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}],
    } | changes


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        ([], None, "found a list; expected COCO ground truth"),
        ({"images": []}, None, "found an object with images; expected COCO ground truth"),
        (good_truth(images={}), None, "images: found .* expected a list"),
        (good_truth(images=[{"id": "1"}]), None, "images: entry 0: id: found '1'; expected a whole number"),
        (good_truth(images=[{"id": 1}, {"id": 1}]), None, "images: id: found 1 more than once"),
        (good_truth(), "name", "images: name: found 'i' more than once; expected each image once"),
        (good_truth(), "file_name", "images: entry 0: found no file_name"),
        (good_truth(images=[{"id": 1, "width": "5"}]), None, "width: found '5'; expected a whole number"),
        (good_truth(categories=[{"id": 1, "name": "x"}] * 2), None, "categories: id: found 1 more than once"),
        (
            good_truth(categories=[{"id": 1, "name": "x"}, {"id": 2, "name": "x"}]),
            None,
            "categories: name: found 'x' more than once",
        ),
        (
            good_truth(annotations=[{"image_id": 3, "category_id": 1, "bbox": [0, 0, 1, 1]}]),
            None,
            "annotations: entry 0: image_id: found 3; expected an image of the ground truth",
        ),
        (
            good_truth(annotations=[{"image_id": 1, "category_id": 9, "bbox": [0, 0, 1, 1]}]),
            None,
            "annotations: entry 0: category_id: found 9; expected one of 1",
        ),
    ],
)
def test_damaged_truth_is_refused_in_one_line(tmp_path, content, key, message):
    (tmp_path / "truth.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        read_coco_truth(tmp_path / "truth.json", key)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_json_is_refused(tmp_path):
    (tmp_path / "truth.json").write_text("{")
    for name in ("truth.json", "absent.json"):
        with pytest.raises(InputError, match=name):
            read_coco_truth(tmp_path / name)


def test_what_is_written_is_checked(tmp_path):
    truth, predicted, images, classes = random_case()
    numbers = number_coco(images, classes)
    with pytest.raises(InputError, match=r"predicted: score: row 0: found 2\.0"):
        write_coco_results(tmp_path / "r.json", predicted.assign(score=2), numbers)
    with pytest.raises(InputError, match="truth: label: row"):
        write_coco_truth(tmp_path / "t.json", truth, images, ["a", "b"])
    assert not list(tmp_path.iterdir())
