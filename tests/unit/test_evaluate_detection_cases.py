"""Images, volumes and patients told by their boxes equal scikit-learn's figures on a table made by pandas."""

import warnings

import numpy as np
import pandas as pd
import pytest
from coco_oracle import detection_cases, predicted_table, random_case, truth_table
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from scanline.evaluate.detection_cases import CASE_METRICS, LEVELS, CaseMetrics
from scanline.evaluate.detection_tables import check_detection_tables

THRESHOLD = 0.5


def cases_by_pandas(truth, predicted, images, classes, column):
    """truth and score of each case, with -1 for no detection; images without a case left out."""
    frame = images.assign(image=images["image_id"])
    case = frame.set_index("image_id")["image" if column == "image_id" else column].dropna()
    parts = {}
    for row in [*classes, "any class"]:
        labels = classes if row == "any class" else [row]
        boxes, found = (table[table["label"].isin(labels)] for table in (truth, predicted))
        positive = case.index.isin(boxes["image_id"])
        score = found.groupby("image_id")["score"].max().reindex(case.index).fillna(-1)
        table = pd.DataFrame({"case": case, "truth": positive, "score": score})
        parts[row] = table.groupby("case", sort=False).agg({"truth": "max", "score": "max"})
    return parts


def by_sklearn(cases, weights=None):
    values = {}
    for row, table in cases.items():
        truth, score = table["truth"].to_numpy(bool), table["score"].to_numpy()
        weight = np.ones(len(table)) if weights is None else table.index.map(weights).to_numpy(float)
        truth, score, weight = truth[weight > 0], score[weight > 0], weight[weight > 0]
        keep = {"sample_weight": weight, "zero_division": np.nan}
        called = score >= THRESHOLD
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values[f"{row}.sensitivity"] = sk.recall_score(truth, called, **keep)
            values[f"{row}.specificity"] = sk.recall_score(truth, called, pos_label=False, **keep)
        both = truth.any() and not truth.all()
        values[f"{row}.auroc"] = sk.roc_auc_score(truth, score, sample_weight=weight) if both else np.nan
    return values


def assert_equal(ours, theirs, row=0):
    assert set(ours) == set(theirs)
    for name, values in ours.items():
        assert values[row] == pytest.approx(theirs[name], abs=1e-12, nan_ok=True), name


@settings(max_examples=80)
@given(detection_cases(max_images=6), st.data())
def test_every_level_equals_scikit_learn(case, data):
    truth, predicted, ids, classes = case
    volumes = data.draw(st.lists(st.sampled_from(["u", "v", "w", None]), min_size=len(ids), max_size=len(ids)))
    patient = {"u": "p", "v": "p", "w": "q", None: None}
    images = pd.DataFrame({"image_id": ids, "volume_id": volumes, "patient_id": [patient[one] for one in volumes]})
    images = images.astype("str").where(images.notna(), None)
    tables = check_detection_tables(truth, predicted, images, classes)
    for level in LEVELS:
        measure = CaseMetrics(tables, level, THRESHOLD)
        expected = cases_by_pandas(truth, predicted, images, classes, f"{level}_id")
        assert measure.cases == list(expected["any class"].index)
        assert measure.images_left_out == (0 if level == "image" else volumes.count(None))
        values = measure(np.ones((1, tables.cluster_count)))
        if measure.cases:
            assert_equal(values, by_sklearn(expected))
        for name, value in values.items():
            assert bool(measure.reason_undefined(name)) == np.isnan(value[0]), name


@pytest.mark.parametrize("level", LEVELS)
def test_resamples_of_patients_equal_weighted_scikit_learn(level):
    truth, predicted, images, classes = random_case(images=80, boxes=40, false=40, patients=40)
    images["volume_id"] = images["patient_id"] + np.where(np.arange(80) % 2, " left", " right")
    tables = check_detection_tables(truth, predicted, images, classes)
    measure = CaseMetrics(tables, level, THRESHOLD)
    cases = cases_by_pandas(truth, predicted, images, classes, f"{level}_id")
    names = images["patient_id"].drop_duplicates().tolist()
    weights = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), 5).astype(float)
    ours = measure(weights)
    patient_of_case = dict(zip(images[f"{level}_id"], images["patient_id"], strict=True))
    for row, drawn in enumerate(weights):
        of_patient = dict(zip(names, drawn, strict=True))
        of_case = {case: of_patient[patient] for case, patient in patient_of_case.items()}
        assert_equal(ours, by_sklearn(cases, of_case), row)


def test_a_case_is_negative_only_where_the_class_is_known_on_all_its_images():
    images = pd.DataFrame({"image_id": list("abcdef"), "volume_id": ["u", "u", "v", "v", "w", "w"]})
    labels = pd.DataFrame(
        {
            "image_id": list("abcdef"),
            "x": pd.array([True, None, None, False, False, False], dtype="boolean"),
            "y": pd.array([False, False, False, False, None, False], dtype="boolean"),
        }
    )
    truth = truth_table([("a", "x", 0, 0, 9, 9, 81, False)])
    predicted = predicted_table([("b", "x", 0, 0, 9, 9, 0.9), ("d", "x", 0, 0, 9, 9, 0.7), ("f", "y", 0, 0, 9, 9, 0.2)])
    tables = check_detection_tables(truth, predicted, images, ["x", "y"], labels)
    measure = CaseMetrics(tables, "volume", 0.0)
    assert measure.counts("x") == {"positives": 1, "negatives": 1, "unknown": 1}
    assert measure.counts("any class") == {"positives": 1, "negatives": 0, "unknown": 2}
    table = measure.table().set_index(["case_id", "label"])
    assert table.loc[("u", "x"), "truth"]
    assert pd.isna(table.loc[("u", "x"), "score"])  # the detection on b is of an unknown class
    assert not table.loc[("u", "x"), "predicted"]
    assert pd.isna(table.loc[("v", "x"), "truth"])
    assert table.loc[("v", "x"), "score"] == 0.7
    assert not table.loc[("w", "x"), "truth"]
    assert table.loc[("w", "any class"), "predicted"]
    assert measure.reason_undefined("any class.auroc") == "no volume is negative"
    assert CaseMetrics(tables, "patient", 0.0).cases == []
    assert len(CASE_METRICS) == 3


def test_no_detection_ranks_below_a_detection_of_score_0():
    truth = truth_table([("a", "x", 0, 0, 9, 9, 81, False)])
    predicted = predicted_table([("a", "x", 50, 50, 9, 9, 0.0)])
    measure = CaseMetrics(check_detection_tables(truth, predicted, ["a", "b"], ["x"]), "image", 0.0)
    values = measure(np.ones((1, 2)))
    assert [values[f"x.{name}"][0] for name in CASE_METRICS] == [1, 1, 1]
