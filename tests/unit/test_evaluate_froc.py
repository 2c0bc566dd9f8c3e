"""FROC and the lesions at a threshold equal counts made from scratch at every threshold by pycocotools."""

import numpy as np
import pandas as pd
import pytest
from coco_oracle import detection_cases, predicted_table, random_case, repeat_images, run_pycocotools, truth_table
from hypothesis import given, settings
from hypothesis import strategies as st

from scanline.evaluate.coco_matching import match_detections
from scanline.evaluate.detection_tables import check_detection_tables
from scanline.evaluate.froc import FROC_METRICS, LESION_METRICS, RATES, FrocMetrics, LesionMetrics

IOU = 0.3


def measures(truth, predicted, images, classes, threshold=0.5, labels=None):
    tables = check_detection_tables(truth, predicted, images, classes, labels)
    matches = match_detections(tables, (IOU,))
    return FrocMetrics(tables, matches), LesionMetrics(tables, matches, threshold)


def count_at(truth, predicted, ids, classes, threshold):
    """True and false positives, (images, classes), among the detections of this score or higher: matched anew."""
    kept = predicted[predicted["score"] >= threshold]
    counts = np.zeros((2, len(ids), len(classes)), dtype=int)
    evaluation = run_pycocotools(truth, kept, ids, classes, [IOU])
    for entry in evaluation.evalImgs:
        if entry is not None and entry["aRng"] == [0, 1e5**2]:
            place = entry["image_id"] - 1, entry["category_id"] - 1
            real = ~entry["dtIgnore"][0].astype(bool)
            counts[0][place] = (real & (entry["dtMatches"][0] > 0)).sum()
            counts[1][place] = (real & (entry["dtMatches"][0] == 0)).sum()
    return counts


def brute_force(truth, predicted, ids, classes, threshold=0.5):
    """All metrics of both statistics."""
    boxes = truth[~truth["iscrowd"]]
    steps = [np.inf, *sorted(predicted["score"].unique(), reverse=True)]
    counts = {step: count_at(truth, predicted, ids, classes, step) for step in [*steps, threshold]}
    values = {}
    for index, row in enumerate([*classes, "all classes"]):
        part = [index] if index < len(classes) else list(range(len(classes)))
        names = [classes[one] for one in part]
        total = boxes["label"].isin(names).sum()
        reached = [(counts[step][0][:, part].sum(), counts[step][1][:, part].sum()) for step in steps]
        for rate, limit in RATES.items():
            found = max(tp for tp, fp in reached if fp / len(ids) <= limit)
            values[f"{row}.sensitivity_at_{rate}"] = found / total if total else np.nan
        values[f"{row}.mean_sensitivity"] = np.mean([values[f"{row}.sensitivity_at_{rate}"] for rate in RATES])
        tp, fp = (counts[threshold][kind][:, part].sum(axis=1) for kind in (0, 1))
        positive = truth.loc[truth["label"].isin(names), "image_id"].unique()
        negative = ~np.isin(ids, positive)
        values[f"{row}.precision"] = tp.sum() / (tp + fp).sum() if (tp + fp).sum() else np.nan
        values[f"{row}.recall"] = tp.sum() / total if total else np.nan
        seen = (tp + fp).sum() + total
        values[f"{row}.f1"] = 2 * tp.sum() / seen if seen else np.nan
        values[f"{row}.false_positives_per_image"] = fp.mean()
        values[f"{row}.false_positives_per_negative_image"] = fp[negative].mean() if negative.any() else np.nan
    return values


def assert_equal(ours, theirs, row=0):
    assert set(ours) == set(theirs)
    for name, values in ours.items():
        assert values[row] == pytest.approx(theirs[name], abs=1e-12, nan_ok=True), name


@settings(max_examples=60)
@given(detection_cases())
def test_every_metric_equals_brute_force(case):
    froc, lesions = measures(*case)
    weights = np.ones((1, len(case[2])))
    ours = froc(weights) | lesions(weights)
    assert_equal(ours, brute_force(*case))
    for name, values in ours.items():
        metric = name.rpartition(".")[2]
        reason = (lesions if metric in LESION_METRICS else froc).reason_undefined(name)
        assert bool(reason) == np.isnan(values[0]), name


@settings(max_examples=40)
@given(detection_cases(), st.data())
def test_whole_weights_equal_repeated_images(case, data):
    truth, predicted, ids, classes = case
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(ids), max_size=len(ids)))
    if not any(counts):
        counts[0] = 2
    froc, lesions = measures(*case)
    weights = np.array([counts], dtype=float)
    assert_equal(froc(weights) | lesions(weights), brute_force(*repeat_images(truth, predicted, ids, counts), classes))


def test_resamples_of_patients_equal_repeated_images():
    truth, predicted, images, classes = random_case(images=25, boxes=40, false=60, digits=1)
    froc, lesions = measures(truth, predicted, images, classes)
    count = froc.tables.cluster_count
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), 3).astype(float)
    ours = froc(weights) | lesions(weights)
    for row, drawn in enumerate(weights):
        copied = repeat_images(truth, predicted, images["image_id"], drawn[froc.tables.clusters])
        assert_equal(ours, brute_force(*copied, classes), row)


def test_sensitivity_is_what_a_threshold_reaches_without_more_false_positives():
    ids = [f"i{number}" for number in range(8)]
    truth = truth_table([(name, "a", 0, 0, 10, 10, 100, False) for name in ids[:4]])
    predicted = predicted_table(
        [
            ("i0", "a", 0, 0, 10, 10, 0.9),
            ("i1", "a", 0, 0, 10, 10, 0.8),  # with the false positive of the same score
            ("i5", "a", 0, 0, 10, 10, 0.8),
            ("i6", "a", 0, 0, 10, 10, 0.7),
            ("i2", "a", 0, 0, 10, 10, 0.6),
        ]
    )
    froc, lesions = measures(truth, predicted, ids, ["a"], threshold=0.75)
    values = {name: array[0] for name, array in froc(np.ones((1, 8))).items()}
    assert [values[f"a.sensitivity_at_{rate}"] for rate in RATES] == [0.5, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75]
    assert values["a.mean_sensitivity"] == pytest.approx((0.5 + 6 * 0.75) / 7)
    rates = {name: array[0] for name, array in lesions(np.ones((1, 8))).items()}
    assert rates["a.false_positives_per_image"] == 1 / 8
    assert rates["a.false_positives_per_negative_image"] == 1 / 4
    assert lesions.counts("a") == {
        "tp": 2,
        "fp": 1,
        "boxes": 4,
        "images": 8,
        "negative_images": 4,
        "fp_on_negative_images": 1,
    }
    assert froc.table()[["score", "sensitivity", "false_positives_per_image"]][:5].values.tolist() == [
        [np.inf, 0, 0],
        [0.9, 0.25, 0],
        [0.8, 0.5, 0.125],
        [0.7, 0.5, 0.25],
        [0.6, 0.75, 0.25],
    ]


@settings(max_examples=30)
@given(detection_cases())
def test_curve_points_lie_on_the_brute_force_curve(case):
    truth, predicted, ids, classes = case
    froc, _ = measures(*case)
    curves = froc.table()
    for index, label in enumerate(classes):
        curve = curves[curves["label"] == label]
        total = ((truth["label"] == label) & ~truth["iscrowd"]).sum()
        assert curve.empty == (total == 0)
        for point in curve.itertuples():
            tp, fp = count_at(truth, predicted, ids, classes, point.score)[:, :, index].sum(axis=1)
            assert point.sensitivity == pytest.approx(tp / total)
            assert point.false_positives_per_image == pytest.approx(fp / len(ids))


def test_unknown_classes_are_no_negatives_and_all_classes_need_all_of_them():
    truth = truth_table([("i0", "a", 0, 0, 10, 10, 100, False), ("i2", "b", 0, 0, 10, 10, 100, False)])
    everywhere = [(f"i{number}", label, 50, 50, 10, 10, 0.9) for number in range(4) for label in "ab"]
    labels = pd.DataFrame(
        {
            "image_id": ["i0", "i1", "i2", "i3"],
            "a": pd.array([True, False, None, False], dtype="boolean"),
            "b": pd.array([False, None, True, False], dtype="boolean"),
        }
    )
    froc, lesions = measures(truth, predicted_table(everywhere), list(labels["image_id"]), ["a", "b"], labels=labels)
    assert lesions.counts("a") == {
        "tp": 0,
        "fp": 3,
        "boxes": 1,
        "images": 3,
        "negative_images": 2,
        "fp_on_negative_images": 2,
    }
    assert lesions.counts("all classes") == {  # i0 and i3
        "tp": 0,
        "fp": 4,
        "boxes": 1,
        "images": 2,
        "negative_images": 1,
        "fp_on_negative_images": 2,
    }
    assert len(froc.tables.unknown_rows) == 2
    assert froc.table().query("label == 'all classes'")["false_positives_per_image"].max() == 2


def test_reasons():
    nobody = pd.DataFrame({"image_id": ["i"], "a": pd.array([None], dtype="boolean")})
    none = truth_table([]), predicted_table([])
    froc, lesions = measures(*none, ["i"], ["a"], labels=nobody)
    assert froc.reason_undefined("a.mean_sensitivity") == "the class is unknown on every image"
    assert froc.reason_undefined("all classes.mean_sensitivity") == "no image on which every class is known"
    assert lesions.reason_undefined("a.false_positives_per_image") == "the class is unknown on every image"
    froc, lesions = measures(*none, ["i"], ["a"])
    assert froc.reason_undefined("a.sensitivity_at_1/8") == "no truth box"
    assert lesions.reason_undefined("a.precision") == "no detection reaches the score threshold"
    assert lesions.reason_undefined("a.f1") == "no truth box, and no detection reaches the score threshold"
    assert froc.table().empty
    assert len(FROC_METRICS) == 8
