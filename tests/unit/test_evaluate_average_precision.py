"""AP and AR equal pycocotools' and faster-coco-eval's, in the sample and in each resample."""

import time

import numpy as np
import pytest
from coco_oracle import (
    CLASSES,
    coco_values,
    detection_cases,
    predicted_table,
    random_case,
    repeat_images,
    run_pycocotools,
    truth_table,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from scanline.evaluate import average_precision, coco_reference
from scanline.evaluate.average_precision import COCO_METRICS, CocoMetrics, precision_recall_table
from scanline.evaluate.coco_reference import compare_with_reference, reference_values
from scanline.evaluate.detection_tables import check_detection_tables

TOLERANCE = 1e-9


def measure(truth, predicted, images, classes):
    return CocoMetrics(check_detection_tables(truth, predicted, images, classes))


def assert_equal(ours, theirs, row=0):
    assert set(ours) == set(theirs)
    for name, values in ours.items():
        assert values[row] == pytest.approx(theirs[name], abs=TOLERANCE, nan_ok=True), name


@settings(max_examples=80)
@given(detection_cases())
def test_every_metric_equals_pycocotools_and_faster_coco_eval(case):
    truth, predicted, ids, classes = case
    coco = measure(*case)
    ours = coco(np.ones((1, len(ids))))
    assert list(ours)[: len(COCO_METRICS)] == list(COCO_METRICS)
    assert_equal(ours, coco_values(run_pycocotools(truth, predicted, ids, classes), classes))
    theirs = reference_values(coco.tables)
    assert_equal(ours, theirs)
    for name, values in ours.items():
        assert bool(coco.reason_undefined(name)) == np.isnan(values[0]), name


@settings(max_examples=60)
@given(detection_cases(), st.data())
def test_whole_weights_equal_repeated_images(case, data):
    truth, predicted, ids, classes = case
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(ids), max_size=len(ids)))
    if not any(weights):
        weights[0] = 2
    ours = measure(*case)(np.array([weights], dtype=float))
    copied = repeat_images(truth, predicted, ids, weights)
    assert_equal(ours, coco_values(run_pycocotools(*copied, classes), classes))


def test_resamples_of_patients_equal_repeated_images():
    truth, predicted, images, classes = random_case()
    coco = measure(truth, predicted, images, classes)
    clusters, count = coco.tables.clusters, coco.tables.cluster_count
    weights = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), 6).astype(float)
    ours = coco(weights)
    for row, drawn in enumerate(weights):
        copied = repeat_images(truth, predicted, images["image_id"], drawn[clusters])
        assert_equal(ours, coco_values(run_pycocotools(*copied, classes), classes), row)


def test_ties_within_an_image_are_repeated_image_by_image():
    truth = truth_table([("i", "a", 0, 0, 10, 10, 100, False)])
    predicted = predicted_table([("i", "a", 50, 50, 10, 10, 0.5), ("i", "a", 0, 0, 10, 10, 0.5)])
    coco = measure(truth, predicted, ["i", "j"], ["a"])
    # false, true: precision 1/2; twice the image: false, true, false, true: 1/2 at both, not 1/3 and 2/4
    assert coco(np.array([[1.0, 0], [2.0, 0], [3.0, 5]]))["ap_50"] == pytest.approx(0.5)
    turned = measure(truth, predicted[::-1].reset_index(drop=True), ["i"], ["a"])
    # true, false, true, false: precision 1 at recall up to 0.5 (51 recalls), then 2/3 (50 recalls)
    assert turned(np.array([[2.0]]))["ap_50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_fractions_lie_between_and_scaling_changes_nothing_without_ties():
    truth, predicted, images, classes = random_case(digits=12)
    coco = measure(truth, predicted, images, classes)
    weights = np.random.default_rng(1).integers(0, 4, (3, coco.tables.cluster_count)).astype(float)
    for name, values in coco(weights).items():
        np.testing.assert_allclose(coco(weights / 2)[name], values, atol=1e-12, err_msg=name)


def test_many_rows_equal_single_rows():
    coco = measure(*random_case(seed=3))
    weights = np.random.default_rng(2).integers(0, 3, (150, coco.tables.cluster_count)).astype(float)
    before = weights.copy()
    together = coco(weights)
    np.testing.assert_array_equal(weights, before)
    for row in (0, 63, 64, 149):
        alone = coco(weights[row : row + 1])
        for name, values in together.items():
            np.testing.assert_array_equal(values[row], alone[name][0], err_msg=name)


def test_only_the_best_100_detections_of_a_class_and_image_count():
    truth = truth_table([("i", "a", 0, 0, 10, 10, 100, False), ("i", "b", 0, 0, 10, 10, 100, False)])
    wrong = [("i", "a", 100, 100, 10, 10, 0.9)] * 100
    predicted = predicted_table([*wrong, ("i", "a", 0, 0, 10, 10, 0.8), ("i", "b", 0, 0, 10, 10, 0.1)])
    coco = measure(truth, predicted, ["i"], ["a", "b"])
    ours = coco(np.ones((1, 1)))
    assert (ours["a.ap_50"][0], ours["b.ap_50"][0]) == (0, 1)
    assert coco.tables.surplus_rows.tolist() == [100]
    assert_equal(ours, coco_values(run_pycocotools(truth, predicted, ["i"], ["a", "b"]), ["a", "b"]))


def test_recalls_that_are_reached_exactly():
    places = [(number % 10 * 20, number // 10 * 20, 10, 10) for number in range(100)]
    truth = truth_table([("i", "a", *place, 100, False) for place in places])
    hits = [("i", "a", *place, 1 - number / 200) for number, place in enumerate(places)]
    misses = [("i", "a", 500, 500, 10, 10, 1 - number / 200 - 1e-4) for number in range(0, 100, 2)]
    for rows in (hits, [*hits[:50], *misses]):
        predicted = predicted_table(rows)
        ours = measure(truth, predicted, ["i", "j"], ["a"])(np.ones((1, 2)))
        assert_equal(ours, coco_values(run_pycocotools(truth, predicted, ["i", "j"], ["a"]), ["a"]))


def test_a_size_at_the_border_of_two_area_ranges_belongs_to_both():
    truth = truth_table([("i", "a", 0, 0, 32, 32, 32**2, False), ("j", "a", 0, 0, 96, 96, 96**2, False)])
    coco = measure(truth, predicted_table([(*row[1:7], 0.9) for row in truth.itertuples()]), ["i", "j"], ["a"])
    assert coco.boxes.tolist() == [[2, 1, 2, 1]]
    values = coco(np.ones((1, 2)))
    assert [values[f"ap_{size}"][0] for size in ("small", "medium", "large")] == [1, 1, 1]


def test_the_mean_of_50_to_95_leaves_the_lower_thresholds_out():
    truth = truth_table([("i", "a", 0, 0, 10, 10, 100, False)])
    coco = measure(truth, predicted_table([("i", "a", 0, 5.5, 10, 10, 0.9)]), ["i"], ["a"])  # IoU 0.29
    values = coco(np.ones((1, 1)))
    assert [values[name][0] for name in ("ap_10", "ap_30", "ap_50_95", "ar_100")] == [1, 0, 0, 0]


def test_classes_without_boxes_are_left_out_of_the_mean_and_say_why():
    truth = truth_table([("i", "a", 0, 0, 10, 10, 100, False)])
    predicted = predicted_table([("i", "a", 0, 0, 10, 10, 0.9), ("i", "b", 0, 0, 10, 10, 0.9)])
    coco = measure(truth, predicted, ["i"], list(CLASSES))
    values = coco(np.ones((1, 1)))
    assert values["ap_50_95"][0] == 1
    assert np.isnan(values["b.ap_50_95"][0])
    assert (coco.classes_averaged("ap_50_95"), coco.classes_averaged("ar_large")) == (1, 0)
    assert coco.reason_undefined("b.ap_50_95") == "no truth box"
    assert coco.reason_undefined("a.ap_large") == "no large truth box"
    assert coco.reason_undefined("ap_large") == "no large truth box of any class"


@settings(max_examples=60)
@given(detection_cases())
def test_curves_equal_pycocotools(case):
    truth, predicted, ids, classes = case
    evaluation = run_pycocotools(truth, predicted, ids, classes).eval
    coco = measure(*case)
    curves = precision_recall_table(coco)
    for index, label in enumerate(classes):
        for place, threshold in ((0, 0.1), (1, 0.3), (2, 0.5), (7, 0.75)):
            curve = curves[(curves["label"] == label) & (curves["iou_threshold"] == threshold)]
            precision = evaluation["precision"][place, :, index, 0, -1]
            if precision[0] < 0:
                assert curve.empty
                continue
            np.testing.assert_allclose(curve["precision"], precision, rtol=0, atol=TOLERANCE)
            scores = np.where(curve["precision"] > 0, curve["score"].fillna(0), 0)
            expected = np.where(precision > 0, evaluation["scores"][place, :, index, 0, -1], 0)
            np.testing.assert_array_equal(scores, expected)


def test_a_difference_from_faster_coco_eval_is_an_error(monkeypatch):
    coco = measure(*random_case())
    compared = compare_with_reference(coco)
    assert compared["implementation"] == "faster-coco-eval"
    assert compared["values_compared"] == 4 * len(COCO_METRICS)
    assert compared["largest_difference"] < TOLERANCE
    changed = reference_values(coco.tables) | {"a.ap_75": 0.25}
    monkeypatch.setattr(coco_reference, "reference_values", lambda tables: changed)
    with pytest.raises(ArithmeticError, match=r"a\.ap_75: faster-coco-eval finds 0\.25"):
        compare_with_reference(coco)
    changed["a.ap_75"] = np.nan
    with pytest.raises(ArithmeticError, match=r"a\.ap_75"):
        compare_with_reference(coco)


def test_2000_resamples_take_seconds():
    truth, predicted, images, classes = random_case(images=2000, boxes=3000, false=4000, patients=400)
    coco = measure(truth, predicted, images, classes)
    weights = np.random.default_rng(0).integers(0, 3, (2000, coco.tables.cluster_count)).astype(float)
    coco(weights[:1])
    start = time.perf_counter()
    coco(weights)
    assert time.perf_counter() - start < 5
    assert len(average_precision.THRESHOLDS) == 12


def test_metrics_that_are_not_wanted_are_not_computed_and_the_others_are_the_same():
    tables = check_detection_tables(*random_case(np.random.default_rng(3)))
    weights = np.random.default_rng(0).integers(0, 3, (4, tables.cluster_count)).astype(float)
    every = CocoMetrics(tables)(weights)
    for names in (("ap_50",), ("ar_10", "ap_small")):
        some = CocoMetrics(tables, names)(weights)
        assert {name.rpartition(".")[2] for name in some} == set(names)
        for name, values in some.items():
            np.testing.assert_array_equal(values, every[name])
