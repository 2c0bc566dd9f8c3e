"""The evaluation of detections as a whole: its tables, its counts, its intervals, its refusals."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from coco_oracle import CLASSES, detection_cases, predicted_table, random_case, truth_table
from hypothesis import given, settings

from scanline.core.errors import InputError
from scanline.evaluate.average_precision import COCO_METRICS
from scanline.evaluate.detection import evaluate_detection as evaluate_with_intervals
from scanline.evaluate.detection_cases import CASE_METRICS
from scanline.evaluate.detection_tables import check_detection_tables, check_images
from scanline.evaluate.froc import FROC_METRICS, LESION_METRICS
from scanline.evaluate.options import EvaluateOptions

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
FEW = EvaluateOptions(bootstrap_resamples=100)


def evaluate_detection(*tables, score_threshold=0.5, options=FEW, **arguments):
    return evaluate_with_intervals(*tables, score_threshold=score_threshold, options=options, **arguments)


@pytest.fixture(scope="module")
def case():
    return random_case()


@pytest.fixture(scope="module")
def result(case):
    return evaluate_detection(*case)


def estimates_in(part):
    """Every estimate of a nested dictionary."""
    if isinstance(part, dict):
        if {"value", "low", "high", "reason"} <= set(part):
            yield part
        else:
            for value in part.values():
                yield from estimates_in(value)


def test_every_number_has_an_interval_or_a_reason(result):
    metrics = result.metrics
    json.dumps(metrics, allow_nan=False)
    rows = len(CLASSES) + 1
    expected = rows * (len(COCO_METRICS) + len(LESION_METRICS) + len(FROC_METRICS)) + 2 * rows * len(CASE_METRICS)
    found = list(estimates_in(metrics))
    assert len(found) == expected
    for estimate in found:
        if estimate["value"] is None:
            assert estimate["reason"]
        else:
            assert estimate["reason"] is None
            assert estimate["low"] <= estimate["high"]
    assert list(metrics["cases"]) == ["image", "patient"]  # no volumes are named
    assert metrics["reference"]["values_compared"] == rows * len(COCO_METRICS)


def test_counts_add_up(case, result):
    truth, predicted, images, classes = case
    metrics = result.metrics
    real = truth[~truth["iscrowd"]]
    assert metrics["images"] == len(images)
    assert metrics["patients"] == metrics["clusters"] == images["patient_id"].nunique()
    assert metrics["truth_boxes"] == len(real) == sum(metrics["per_class"][name]["truth_boxes"] for name in classes)
    assert metrics["left_out"]["crowd_boxes"] == truth["iscrowd"].sum()
    assert metrics["detections"] == len(predicted)
    for name in classes:
        of_class = metrics["per_class"][name]
        assert of_class["positive_images"] + of_class["negative_images"] == len(images)
        assert of_class["positive_images"] == truth.loc[truth["label"] == name, "image_id"].nunique()
        assert of_class["detections"] == (predicted["label"] == name).sum()
        assert set(of_class["truth_boxes_by_size"]) == {"small", "medium", "large"}
        counts = metrics["cases"]["image"]["per_class"][name]
        assert counts["positives"] == of_class["positive_images"]
    lesions = metrics["lesions"]["all_classes"]
    called = result.detections[result.detections["called"]]
    assert (called["outcome"] == "TP").sum() == lesions["tp"] == (result.truth["outcome"] == "found").sum()
    assert (called["outcome"] == "FP").sum() == lesions["fp"]
    assert lesions["recall"]["value"] == lesions["tp"] / len(real)


def test_intervals_resample_patients_and_not_images(case):
    truth, predicted, images, classes = case
    one = images.assign(patient_id="the same")
    for estimate in estimates_in(evaluate_detection(truth, predicted, one, classes).metrics):
        assert estimate["low"] is None
        assert estimate["reason"]
    alone = evaluate_detection(truth, predicted, images["image_id"], classes).metrics
    nulls = evaluate_detection(truth, predicted, images.assign(patient_id=None), classes).metrics
    assert alone == nulls
    assert (alone["clusters"], alone["images_without_patient"], alone["patients"]) == (len(images), len(images), 0)
    volumes = images.assign(patient_id=None, volume_id=images["patient_id"])
    clustered = evaluate_detection(truth, predicted, volumes, classes).metrics
    assert clustered["clusters"] == images["patient_id"].nunique()
    assert clustered["cases"]["volume"]["cases"] == images["patient_id"].nunique()


def test_pseudonyms_and_the_order_of_rows_change_no_number(case, result):
    truth, predicted, images, classes = case
    predicted = predicted.assign(score=np.linspace(0.01, 0.99, len(predicted)))  # no ties
    whole = evaluate_detection(truth, predicted, images, classes)
    shuffled = evaluate_detection(
        truth.sample(frac=1, random_state=1),
        predicted.sample(frac=1, random_state=2),
        images.assign(patient_id="x" + images["patient_id"]),
        classes,
    )
    assert shuffled.metrics == whole.metrics
    assert evaluate_detection(*case).metrics == result.metrics
    other = evaluate_detection(*case, options=FEW, stream=("other",)).metrics
    assert other["metrics"]["ap_50"]["value"] == result.metrics["metrics"]["ap_50"]["value"]
    assert other["metrics"]["ap_50"]["low"] != result.metrics["metrics"]["ap_50"]["low"]


def test_options_reach_the_intervals(case, result):
    for change in ({"interval_method": "bca"}, {"stratified": True}, {"confidence_level": 0.8}):
        changed = evaluate_detection(*case, options=FEW.model_copy(update=change)).metrics["metrics"]["ap_50"]
        before = result.metrics["metrics"]["ap_50"]
        assert changed["value"] == before["value"]
        assert (changed["low"], changed["high"]) != (before["low"], before["high"])


def test_outcomes_of_single_boxes():
    truth = truth_table(
        [
            ("i", "a", 0, 0, 10, 10, 100, False),
            ("i", "a", 50, 50, 10, 10, 100, False),
            ("i", "b", 80, 80, 10, 10, 100, False),
            ("j", "a", 0, 0, 30, 30, 900, True),
        ]
    )
    predicted = predicted_table(
        [
            ("j", "a", 5, 5, 10, 10, 0.95),  # on the crowd
            ("i", "a", 50, 50, 10, 10, 0.3),  # right, below the threshold
            ("i", "a", 1, 0, 10, 10, 0.8),
            ("i", "a", 0, 0, 10, 10, 0.7),  # the better box, too late
            ("i", "b", 200, 200, 10, 10, 0.6),
            ("k", "b", 0, 0, 10, 10, 0.9),  # b is unknown on k
        ]
    )
    labels = pd.DataFrame({"image_id": ["i", "j", "k"], "a": [True, True, False], "b": [True, False, None]})
    result = evaluate_detection(truth, predicted, ["i", "j", "k"], ["a", "b"], labels=labels)
    detections, boxes = result.detections, result.truth
    assert detections["outcome"].tolist() == ["ignored", "TP", "TP", "FP", "FP", "unknown_class"]
    assert detections["called"].tolist() == [True, False, True, True, True, True]
    assert detections["truth_row"].tolist() == [3, 1, 0, pd.NA, pd.NA, pd.NA]
    assert detections["iou"].round(4).tolist()[:3] == [1, 1, 0.8182]
    assert detections["iou"].isna().tolist() == [False, False, False, True, True, True]
    assert boxes["outcome"].tolist() == ["found", "missed", "missed", "ignored"]
    assert boxes["detection_row"].tolist() == [2, 1, pd.NA, pd.NA]
    assert boxes["score"].tolist()[:2] == [0.8, 0.3]
    assert result.metrics["left_out"] == {
        "crowd_boxes": 1,
        "detections_of_unknown_class": 1,
        "surplus_detections": 0,
        "unknown_images": {"a": 0, "b": 1},
    }
    assert result.metrics["per_class"]["b"]["negative_images"] == 1


def confusion_of(truth, predicted, classes=("a", "b"), **thresholds):
    ids = sorted({*truth["image_id"], *predicted["image_id"]})
    result = evaluate_detection(truth, predicted, ids, list(classes), options=FEW, **thresholds)
    matrix = result.confusion.pivot(index="truth", columns="predicted", values="count")
    names = [*classes, "background"]
    assert result.metrics["confusion"]["classes"] == names
    assert np.isnan(matrix.loc["background", "background"])
    return matrix.loc[names, names].fillna(0).astype(int).to_numpy().tolist()


def test_confusion_matrix():
    truth = truth_table(
        [
            ("i", "a", 0, 0, 10, 10, 100, False),
            ("i", "b", 50, 50, 10, 10, 100, False),
            ("i", "b", 90, 90, 10, 10, 100, False),
            ("j", "a", 0, 0, 30, 30, 900, True),
        ]
    )
    predicted = predicted_table(
        [
            ("i", "a", 0, 0, 10, 10, 0.9),
            ("i", "a", 50, 50, 10, 10, 0.9),  # the class is wrong
            ("i", "b", 51, 50, 10, 10, 0.8),  # the box is taken
            ("i", "b", 90, 90, 10, 10, 0.4),  # below the threshold
            ("j", "b", 1, 1, 5, 5, 0.9),  # on a crowd
            ("j", "b", 60, 60, 5, 5, 0.9),
        ]
    )
    assert confusion_of(truth, predicted) == [[1, 0, 0], [1, 0, 1], [0, 2, 0]]
    assert confusion_of(truth, predicted, score_threshold=0.4) == [[1, 0, 0], [1, 1, 0], [0, 2, 0]]
    assert confusion_of(truth, predicted, iou_threshold=1.0, score_threshold=0.4) == [[1, 0, 0], [1, 1, 0], [0, 2, 0]]


def test_confusion_matrix_finds_one_box_of_two_classes_as_both():
    truth = truth_table([("i", "a", 0, 0, 10, 10, 100, False), ("i", "b", 0, 0, 10, 10, 100, False)])
    for order in ("ab", "ba"):
        predicted = predicted_table([("i", label, 1, 0, 10, 10, 0.9) for label in order])
        assert confusion_of(truth, predicted) == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
        assert confusion_of(truth[::-1], predicted) == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_confusion_matrix_takes_real_boxes_before_crowds_and_crowds_again_and_again():
    truth = truth_table([("i", "a", 0, 0, 12, 10, 120, True), ("i", "a", 0, 0, 8, 10, 80, False)])
    for rows in (truth, truth[::-1]):
        predicted = predicted_table([("i", "a", 0, 0, 12, 10, 0.9)])
        assert confusion_of(rows, predicted, ["a"]) == [[1, 0], [0, 0]]
        predicted = predicted_table([("i", "a", 0, 0, 12, 10, score) for score in (0.9, 0.8, 0.7)])
        assert confusion_of(rows, predicted, ["a"]) == [[1, 0], [0, 0]]


def test_the_best_overlap_decides_and_not_the_class():
    truth = truth_table([("i", "a", 0, 0, 10, 10, 100, False), ("i", "b", 2, 0, 10, 10, 100, False)])
    predicted = predicted_table([("i", "a", 1.5, 0, 10, 10, 0.9)])
    assert confusion_of(truth, predicted) == [[0, 0, 1], [1, 0, 0], [0, 0, 0]]


@settings(max_examples=25)
@given(detection_cases())
def test_confusion_margins(case):
    truth, predicted, ids, classes = case
    result = evaluate_detection(truth, predicted, ids, classes)
    matrix = np.array(result.metrics["confusion"]["counts"])
    real = truth.loc[~truth["iscrowd"], "label"]
    assert matrix[:-1].sum(axis=1).tolist() == [(real == name).sum() for name in classes]
    called = predicted.loc[predicted["score"] >= 0.5, "label"]
    columns = matrix[:, :-1].sum(axis=0)
    wanted = np.array([(called == name).sum() for name in classes])
    assert (columns <= wanted).all()
    if not truth["iscrowd"].any():
        assert columns.tolist() == wanted.tolist()


def test_nothing_true_and_nothing_found():
    result = evaluate_detection(truth_table([]), predicted_table([]), ["i", "j"], ["a"])
    metrics = result.metrics
    assert metrics["metrics"]["ap_50"] == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "no truth box of any class",
        "undefined_resamples": None,
        "classes": 0,
    }
    assert metrics["per_class"]["a"]["ap_50"]["reason"] == "no truth box"
    assert metrics["cases"]["image"]["any_class"]["specificity"]["value"] == 1
    assert metrics["cases"]["image"]["any_class"]["auroc"]["reason"] == "no image is positive"
    assert metrics["lesions"]["all_classes"]["false_positives_per_image"]["value"] == 0
    assert metrics["reference"]["values_compared"] == 0
    assert result.precision_recall.empty
    assert result.detections.empty
    json.dumps(metrics, allow_nan=False)


def test_a_class_known_nowhere_says_so(case):
    truth, predicted, images, classes = case
    labels = pd.DataFrame({"image_id": images["image_id"]})
    for name in classes:
        labels[name] = images["image_id"].isin(truth.loc[truth["label"] == name, "image_id"])
    labels["d"] = pd.array([None] * len(images), dtype="boolean")
    result = evaluate_detection(truth, predicted, images, [*classes, "d"], labels=labels).metrics
    assert result["per_class"]["d"]["ap_50"]["reason"] == "the class is unknown on every image"
    assert result["per_class"]["d"]["unknown_images"] == len(images)
    assert result["metrics"]["ap_50"]["classes"] == 3
    assert result["froc"]["all_classes"]["mean_sensitivity"]["reason"] == "no image on which every class is known"
    everything = evaluate_detection(truth, predicted, images, classes).metrics
    assert result["metrics"]["ap_50"] == everything["metrics"]["ap_50"]


def changed(table, column, value, row=1):
    table = table.astype({column: object})
    table.loc[row, column] = value
    return table


GOOD_LABELS = pd.DataFrame({"image_id": ["i", "j"], "a": pd.array([True, None], dtype="boolean")})
ON_J = truth_table([("j", "a", 0, 0, 1, 1, 1, False)])
GOOD = {
    "truth": truth_table([("i", "a", 0, 0, 10, 10, 100, False), ("i", "a", 0, 0, 10, 10, 100, False)]),
    "predicted": predicted_table([("i", "a", 0, 0, 10, 10, 0.5), ("j", "a", 0, 0, 10, 10, 0.5)]),
    "images": pd.DataFrame({"image_id": ["i", "j"], "patient_id": ["p", None], "volume_id": ["v", "w"]}),
    "classes": ["a"],
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"truth": changed(GOOD["truth"], "label", "b")}, "truth: label: row 1: found b; expected one of a"),
        ({"predicted": changed(GOOD["predicted"], "label", "b")}, "predicted: label: row 1: found b"),
        ({"predicted": changed(GOOD["predicted"], "label", None)}, "predicted: label: row 1: found None"),
        ({"truth": changed(GOOD["truth"], "image_id", "k")}, "truth: image_id: row 1: found k; expected an image of"),
        ({"predicted": changed(GOOD["predicted"], "image_id", "k")}, "predicted: image_id: row 1: found k"),
        ({"truth": changed(GOOD["truth"], "width", 0)}, "truth: width: row 1: found 0.0; expected more than 0 pixels"),
        ({"predicted": changed(GOOD["predicted"], "height", -2)}, "predicted: height: row 1: found -2.0"),
        ({"predicted": changed(GOOD["predicted"], "x", np.nan)}, "predicted: x: row 1: found nan; expected a finite"),
        ({"truth": changed(GOOD["truth"], "y", np.inf)}, "truth: y: row 1: found inf"),
        ({"truth": changed(GOOD["truth"], "area", -1)}, "truth: area: row 1: found -1.0"),
        ({"truth": changed(GOOD["truth"], "iscrowd", 2)}, "truth: iscrowd: row 1: found 2.0"),
        ({"predicted": changed(GOOD["predicted"], "score", 1.5)}, "predicted: score: row 1: found 1.5; expected .* 1"),
        ({"predicted": changed(GOOD["predicted"], "score", None)}, "predicted: score: row 1: found nan"),
        ({"predicted": GOOD["predicted"].drop(columns="score")}, "predicted: columns: .* expected score as well"),
        ({"truth": GOOD["truth"].drop(columns=["x", "y"])}, "truth: columns: .* expected x, y as well"),
        ({"images": ["i", "j", "i"]}, "images: image_id: row 2: found i; expected each image once"),
        ({"images": ["i", None]}, "images: image_id: row 1: found None; expected a name"),
        ({"images": []}, "images: found none; expected at least one"),
        ({"images": pd.DataFrame({"id": ["i"]})}, "images: columns: found id; expected image_id as well"),
        ({"images": GOOD["images"].assign(volume_id="v")}, "images: volume v: found the patients p and null"),
        ({"classes": []}, "classes: found .* expected a list of at least one class"),
        ({"classes": "a"}, "classes: found 'a'; expected a list"),
        ({"classes": ["a", "a"]}, "classes: found a more than once"),
        ({"classes": ["a", "background"]}, "classes: found background; expected a name that means a class"),
        ({"classes": ["a", ""]}, "classes: found an empty name"),
        ({"labels": GOOD_LABELS.drop(columns="a")}, "labels: columns: found image_id; expected a as well"),
        ({"labels": GOOD_LABELS[:1]}, "images: row 1: found j; expected an image of the labels table"),
        ({"labels": GOOD_LABELS.assign(image_id="i")}, "labels: image_id: row 1: found i; expected each image once"),
        ({"labels": GOOD_LABELS.assign(a=2)}, "labels: row 0, a: found 2.0"),
        ({"labels": GOOD_LABELS.assign(a=False)}, "labels: image i, a: found false; expected true: the truth holds"),
        ({"labels": GOOD_LABELS.assign(a=True)}, "labels: image j, a: found true; expected a box .* or null"),
        ({"labels": GOOD_LABELS, "truth": ON_J}, "labels: image j, a: found null; expected true: the truth holds"),
        ({"score_threshold": 1.5}, "score_threshold: found 1.5"),
        ({"score_threshold": float("nan")}, "score_threshold: found nan"),
        ({"iou_threshold": 0}, "iou_threshold: found 0; expected a number above 0, up to 1"),
    ],
)
def test_bad_input_is_refused_in_one_line(wrong, message):
    arguments = GOOD | wrong
    positional = [arguments.pop(name) for name in ("truth", "predicted", "images", "classes")]
    with pytest.raises(InputError, match=message) as caught:
        evaluate_detection(*positional, **arguments)
    assert "\n" not in str(caught.value)


def test_good_input_is_good():
    labels = GOOD_LABELS.sample(frac=1, random_state=0)
    tables = check_detection_tables(**GOOD, labels=labels)
    assert tables.known.tolist() == [[True], [False]]
    assert tables.clusters.tolist() == [0, 1]
    numbers = {"truth": GOOD["truth"].assign(image_id=1), "predicted": GOOD["predicted"].assign(image_id=1)}
    assert check_detection_tables(**numbers, images=[1, 2], classes=["a"]).images == ("1", "2")


def test_neither_torch_nor_snakemake_nor_scikit_learn_is_imported():
    code = (
        "import sys, scanline.evaluate.detection, scanline.evaluate.coco;"
        "sys.exit(bool({'torch', 'snakemake', 'sklearn', 'pycocotools'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, env={}).returncode == 0


def test_images_in_any_order_of_any_index_keep_their_patients():
    images = pd.DataFrame({"image_id": ["a", "b", "c"], "patient_id": ["p", "q", "q"]}).iloc[[2, 0, 1]]
    table = check_images(images)
    assert list(zip(table["image_id"], table["patient_id"], strict=True)) == [("c", "q"), ("a", "p"), ("b", "q")]
