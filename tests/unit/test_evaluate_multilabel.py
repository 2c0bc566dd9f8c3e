"""Multi-label metrics against scikit-learn label by label, with unknown entries, ties and repeated patients."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from scanline.core.errors import InputError
from scanline.evaluate.binary import AT_PREVALENCE, evaluate_binary
from scanline.evaluate.bootstrap import resample, seeded_generator
from scanline.evaluate.calibration import CalibrationMetrics
from scanline.evaluate.multilabel import (
    AVERAGES,
    CLASS_METRICS,
    METRICS,
    MultilabelMetrics,
    evaluate_multilabel,
)
from scanline.evaluate.options import EvaluateOptions

TOLERANCE = 1e-12
FEW = EvaluateOptions(bootstrap_resamples=100)
LABELS = ("mass", "nodule", "effusion")
TRUTH = st.sampled_from([0.0, 1.0, 0.0, 1.0, np.nan])
PROBABILITY = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.floats(0, 1))


@st.composite
def predictions(draw, complete=False):
    size = draw(st.integers(1, 20))
    entries = {"min_size": 3 * size, "max_size": 3 * size}
    truth = np.array(draw(st.lists(st.sampled_from([0.0, 1.0]) if complete else TRUTH, **entries))).reshape(size, 3)
    probability = np.array(draw(st.lists(PROBABILITY, **entries)), dtype=float).reshape(size, 3)
    clusters = np.array(draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)), dtype=np.intp)
    clusters = pd.factorize(clusters)[0].astype(np.intp)
    times = np.array(draw(st.lists(st.integers(0, 3), min_size=5, max_size=5)), dtype=float)
    return truth, probability, clusters, times[: clusters.max() + 1]


def of_sklearn(truth, predicted, probability):
    """One task by scikit-learn on boolean truth; NaN where undefined."""
    both = 0 < truth.sum() < len(truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "accuracy": sk.accuracy_score(truth, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted) if both else np.nan,
            "precision": sk.precision_score(truth, predicted, zero_division=np.nan),
            "recall": sk.recall_score(truth, predicted, zero_division=np.nan),
            "specificity": sk.recall_score(truth, predicted, pos_label=False, zero_division=np.nan),
            "f1": sk.f1_score(truth, predicted, zero_division=np.nan),
            "npv": sk.precision_score(truth, predicted, pos_label=False, zero_division=np.nan),
            "mcc": sk.matthews_corrcoef(truth, predicted) if both and 0 < predicted.sum() < len(truth) else np.nan,
            "auroc": sk.roc_auc_score(truth, probability) if both else np.nan,
            "auprc": sk.average_precision_score(truth, probability) if truth.any() else np.nan,
            "brier": sk.brier_score_loss(truth, probability, pos_label=True),
            "log_loss": sk.log_loss(truth, probability, labels=[False, True]),
            "ece": CalibrationMetrics(truth, probability)(np.ones((1, len(truth))))["ece"][0],
        }


def of_labels(truth, predicted, probability):
    """Every per-label and micro value by scikit-learn, of the images in which a label is known."""
    values = {}
    for column, label in enumerate(LABELS):
        rows = ~np.isnan(truth[:, column])
        parts = truth[rows, column] == 1, predicted[rows, column], probability[rows, column]
        part = of_sklearn(*parts) if rows.any() else dict.fromkeys(CLASS_METRICS, np.nan)
        values |= {f"per_class.{label}.{name}": value for name, value in part.items()}
    known = ~np.isnan(truth)
    part = of_sklearn(truth[known] == 1, predicted[known], probability[known])
    return values | {f"micro.{name}": value for name, value in part.items()}


def compare(ours, theirs):
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=TOLERANCE, rel=1e-12, nan_ok=True), name


@settings(max_examples=60)
@given(predictions())
def test_every_label_equals_scikit_learn_on_its_known_images(case):
    truth, probability, clusters, weights = case
    measure = MultilabelMetrics(truth, probability >= 0.5, probability, LABELS, clusters)
    both = measure(np.stack([np.ones(measure.clusters), weights, weights / 4]))
    ours = {name: values[0] for name, values in both.items()}
    if not np.isnan(truth).all():
        compare(ours, of_labels(truth, probability >= 0.5, probability))
    rows = np.repeat(np.arange(len(truth)), weights[clusters].astype(int))
    if len(rows) and not np.isnan(truth[rows]).all():
        repeated = {name: values[1] for name, values in both.items()}
        compare(repeated, of_labels(truth[rows], probability[rows] >= 0.5, probability[rows]))
    for values in both.values():
        assert values[1] == pytest.approx(values[2], abs=TOLERANCE, nan_ok=True)


@settings(max_examples=60)
@given(predictions(complete=True))
def test_averages_equal_scikit_learn_where_all_is_known(case):
    truth, probability, clusters, weights = case
    measure = MultilabelMetrics(truth, probability >= 0.5, probability, LABELS, clusters)
    ours = {name: values[0] for name, values in measure(np.ones((1, measure.clusters))).items()}
    t, p = truth == 1, probability >= 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in AVERAGES:
            for name in ("precision", "recall", "f1"):
                theirs = getattr(sk, f"{name}_score")(t, p, average=kind, zero_division=np.nan)
                value = ours[f"{kind}.{name}"]
                if np.isnan(value):  # scikit-learn says 0 for a mean without weight
                    assert np.isnan(theirs) or theirs == 0
                else:
                    assert value == pytest.approx(theirs, abs=TOLERANCE), (kind, name)
            if all(0 < count < len(t) for count in t.sum(axis=0)):
                auroc = sk.roc_auc_score(t, probability, average=kind)
                auprc = sk.average_precision_score(t, probability, average=kind)
                assert ours[f"{kind}.auroc"] == pytest.approx(auroc, abs=TOLERANCE)
                assert ours[f"{kind}.auprc"] == pytest.approx(auprc, abs=TOLERANCE)
    rows = np.repeat(np.arange(len(truth)), weights[clusters].astype(int))
    for weight, chosen in ((np.ones(measure.clusters), np.arange(len(t))), (weights, rows)):
        values = measure(weight[None])
        if len(chosen):
            assert values["exact_match"][0] == pytest.approx(sk.accuracy_score(t[chosen], p[chosen]), abs=TOLERANCE)
            assert values["hamming_loss"][0] == pytest.approx(sk.hamming_loss(t[chosen], p[chosen]), abs=TOLERANCE)


@settings(max_examples=80)
@given(predictions())
def test_a_metric_is_undefined_exactly_where_there_is_a_reason(case):
    truth, probability, clusters, _ = case
    shares = np.array([0.1, np.nan, 0.0])
    measure = MultilabelMetrics(truth, probability >= 0.5, probability, LABELS, clusters, prevalence=shares)
    for name, values in measure(np.ones((1, measure.clusters))).items():
        if np.isnan(values[0]):
            assert measure.reason_undefined(name), name


def clustered(seed=0, patients=15, each=5):
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), each)
    truth = (rng.random((patients * each, 3)) < [0.3, 0.5, 0.4]).astype(float)
    probability = np.clip(rng.normal(0.3 + 0.3 * truth, 0.2), 0, 1).round(1)
    truth[rng.random(truth.shape) < 0.1] = np.nan
    return truth, probability, patient


def test_the_bootstrap_equals_explicit_resampling():
    truth, probability, patient = clustered()
    measure = MultilabelMetrics(truth, probability >= 0.5, probability, LABELS, patient)
    ours = resample(measure, 15, 10, seeded_generator(0, "x"))
    drawn = seeded_generator(0, "x").integers(0, 15, size=(10, 15))
    for row, chosen in enumerate(drawn):
        images = np.concatenate([np.flatnonzero(patient == one) for one in chosen])
        theirs = of_labels(truth[images], probability[images] >= 0.5, probability[images])
        compare({name: values[row] for name, values in ours.items()}, theirs)
        per_label = [theirs[f"per_class.{label}.auroc"] for label in LABELS]
        assert ours["macro.auroc"][row] == pytest.approx(np.mean(per_label), abs=TOLERANCE)


def test_one_label_agrees_with_the_binary_evaluation():
    truth, probability, patient = clustered()
    known = ~np.isnan(truth[:, 0])
    several = evaluate_multilabel(
        truth[known][:, :1], probability[known][:, :1], ["mass"], patients=patient[known], prevalence=0.1, options=FEW,
        stream=["x"],
    )  # fmt: skip
    one = evaluate_binary(
        truth[known, 0], probability[known, 0], patients=patient[known], prevalence=0.1, options=FEW, stream=["x"]
    )
    part = several["per_class"]["mass"]
    assert (part["positives"], part["negatives"], part["images"]) == (one["positives"], one["negatives"], known.sum())
    assert part["threshold"] == 0.5
    assert part["prevalence"] == 0.1
    for name in (*CLASS_METRICS, *AT_PREVALENCE):
        for key in ("value", "low", "high"):
            assert part[name][key] == pytest.approx(one["metrics"][name][key], abs=TOLERANCE), name
    for kind in AVERAGES:
        assert several["averages"][kind]["auroc"]["value"] == pytest.approx(part["auroc"]["value"], abs=TOLERANCE)


def test_the_result_is_json_with_intervals_and_counts():
    truth, probability, patient = clustered()
    result = json.loads(
        json.dumps(evaluate_multilabel(truth, probability, LABELS, patients=patient, prevalence={"mass": 0.05},
                                       options=FEW))
    )  # fmt: skip
    assert (result["images"], result["patients"], result["clusters"]) == (75, 15, 15)
    assert result["images_with_all_labels_known"] == (~np.isnan(truth)).all(axis=1).sum()
    assert result["labels"] == list(LABELS)
    assert tuple(result["metrics"]) == METRICS
    assert tuple(result["averages"]) == AVERAGES
    for rows in (result["metrics"], *result["averages"].values()):
        for name, row in rows.items():
            assert row["low"] < row["high"], name
    for column, label in enumerate(LABELS):
        part = result["per_class"][label]
        assert part["images"] == part["positives"] + part["negatives"] == (~np.isnan(truth[:, column])).sum()
        assert set(AT_PREVALENCE) <= set(part) if label == "mass" else not set(AT_PREVALENCE) & set(part)
    assert result["per_class"]["mass"]["prevalence"] == 0.05
    assert result["per_class"]["nodule"]["prevalence"] is None


def test_an_exact_match_needs_all_labels_known():
    truth = np.array([[1, np.nan], [0, 0], [1, 1]])
    probability = np.array([[0.9, 0.1], [0.1, 0.1], [0.9, 0.1]])
    result = evaluate_multilabel(truth, probability, ["a", "b"], options=FEW)
    assert result["images_with_all_labels_known"] == 2
    assert result["metrics"]["exact_match"]["value"] == 0.5
    assert result["metrics"]["hamming_loss"]["value"] == 0.2


def test_errors_that_come_together_are_counted():
    truth = np.array([[1, 0, np.nan], [1, 1, 0], [0, 0, 1]], dtype=float)
    probability = np.array([[0.1, 0.9, 0.9], [0.1, 0.2, 0.3], [0.9, 0.1, 0.1]])
    result = evaluate_multilabel(truth, probability, LABELS, options=FEW)
    assert result["errors_together"] == [[3, 2, 1], [2, 2, 0], [1, 0, 1]]


def test_thresholds_differ_by_label():
    truth = np.array([[1, 1], [0, 0]], dtype=float)
    probability = np.array([[0.3, 0.3], [0.1, 0.1]])
    for thresholds in ([0.2, 0.5], {"a": 0.2, "b": 0.5}, np.array([0.2, 0.5])):
        result = evaluate_multilabel(truth, probability, ["a", "b"], thresholds=thresholds, options=FEW)
        assert [result["per_class"][label]["recall"]["value"] for label in "ab"] == [1, 0]
        assert [result["per_class"][label]["threshold"] for label in "ab"] == [0.2, 0.5]


def test_data_frames_bring_their_names_and_unknown_entries():
    truth, probability, _ = clustered()
    values = pd.array(truth.ravel(), dtype="Float64").astype("boolean")
    table = pd.DataFrame({label: values[column::3] for column, label in enumerate(LABELS)})
    shuffled = pd.DataFrame(probability, columns=list(LABELS))[["effusion", "mass", "nodule"]]
    expected = evaluate_multilabel(truth, probability, LABELS, options=FEW)
    assert evaluate_multilabel(table, shuffled, options=FEW) == expected
    assert evaluate_multilabel(table, probability, options=FEW) == expected
    assert evaluate_multilabel(truth, shuffled, LABELS, options=FEW) == expected
    assert evaluate_multilabel(truth[:, [2, 0, 1]], shuffled, options=FEW)["labels"] == ["effusion", "mass", "nodule"]


def test_a_label_without_positives_or_unknown_throughout_is_left_out_and_named():
    truth = np.array([[1, 0, np.nan], [0, 0, np.nan], [1, 0, np.nan]])
    result = evaluate_multilabel(truth, np.array([[0.9, 0.1, 0.4], [0.2, 0.2, 0.4], [0.7, 0.3, 0.4]]), LABELS,
                                 options=FEW)  # fmt: skip
    assert result["per_class"]["nodule"]["auroc"]["reason"] == "no image is positive"
    assert result["per_class"]["nodule"]["positives"] == 0
    assert result["per_class"]["effusion"]["accuracy"]["reason"] == "the label is known of no image"
    assert result["per_class"]["effusion"]["images"] == 0
    macro = result["averages"]["macro"]
    assert macro["auroc"]["left_out"] == ["nodule", "effusion"]
    assert macro["specificity"]["left_out"] == ["effusion"]
    assert macro["auroc"]["value"] == 1
    assert result["metrics"]["hamming_loss"]["value"] == 0
    assert result["metrics"]["exact_match"]["value"] is None
    assert result["metrics"]["exact_match"]["reason"] == "no image has all labels known"


def test_predictive_values_that_nobody_would_get_say_why():
    truth = np.array([[1], [0]], dtype=float)
    part = evaluate_multilabel(truth, [[0.1], [0.2]], ["a"], prevalence=0.2, options=FEW)["per_class"]["a"]
    assert part["ppv_at_prevalence"]["value"] is None
    assert part["ppv_at_prevalence"]["reason"] == "at prevalence 0.2 nobody would be called positive"
    assert part["npv_at_prevalence"]["value"] == 0.8


def test_no_images_leave_everything_undefined():
    for empty in ([], np.zeros((0, 2)), pd.DataFrame({"a": [], "b": []})):
        result = evaluate_multilabel(empty, empty, ["a", "b"], prevalence=0.1, options=FEW)
        assert (result["images"], result["errors_together"]) == (0, [[0, 0], [0, 0]])
        for rows in (result["metrics"], *result["averages"].values()):
            for row in rows.values():
                assert (row["value"], row["reason"]) == (None, "there are no images")


def test_strata_keep_the_patients_with_any_positive_label():
    truth = np.zeros((40, 2))
    truth[::2, 1] = 1
    stratified = EvaluateOptions(bootstrap_resamples=100, stratified=True)
    row = evaluate_multilabel(truth, np.zeros((40, 2)), ["a", "b"], options=stratified)["metrics"]["hamming_loss"]
    assert (row["low"], row["value"], row["high"]) == (0.25, 0.25, 0.25)


TWO = [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        ((TWO, TWO, ["a", "a"]), {}, "labels: found a more than once; expected each name once"),
        ((TWO, TWO), {}, "labels: found none; expected one name for each column"),
        ((TWO, TWO, []), {}, "labels: found 0 names; expected at least 1"),
        (([[0, 1]], TWO, ["a", "b"]), {}, "truth and probabilities: found lengths truth 1, probabilities 2"),
        (([[0, 2], [1, 0]], TWO, ["a", "b"]), {}, "truth: row 0, b: found 2.0; expected 0, 1, or null where unknown"),
        ((TWO, [[0, 1], [1.5, 0]], ["a", "b"]), {}, "probabilities: row 1, a: found 1.5; expected a number from 0"),
        ((TWO, [[0, np.nan], [1, 0]], ["a", "b"]), {}, "probabilities: row 0, b: found nan"),
        ((TWO, TWO, ["a", "b", "c"]), {}, "truth: found shape (2, 2); expected shape (images, 3)"),
        (([[None, None]], [[0, 1]], ["a", "b"]), {}, "truth: found no known entry in 1 images of 2 labels"),
        ((TWO, TWO, ["a", "b"]), {"thresholds": 1.5}, "thresholds: a: found 1.5; expected a number from 0 to 1"),
        ((TWO, TWO, ["a", "b"]), {"thresholds": [0.5]}, "thresholds: found shape (1,); expected one number, or 2"),
        ((TWO, TWO, ["a", "b"]), {"thresholds": {"a": 0.5}}, "thresholds: b: found none; expected a number"),
        ((TWO, TWO, ["a", "b"]), {"thresholds": {"c": 0.5}}, "thresholds: found an unknown label 'c'; expected"),
        ((TWO, TWO, ["a", "b"]), {"prevalence": {"b": -0.1}}, "prevalence: b: found -0.1; expected a number"),
        ((TWO, TWO, ["a", "b"]), {"patients": ["x"]}, "patients: found 1 entries; expected 2"),
        (
            (pd.DataFrame(TWO, columns=["a", "b"]), pd.DataFrame(TWO, columns=["a", "c"])),
            {},
            "probabilities: columns: found a, c; expected one for each of a, b",
        ),
        (
            (pd.DataFrame(TWO, columns=["a", "a"]), TWO),
            {},
            "columns: found a more than once",
        ),
        (
            (pd.DataFrame(TWO, columns=["a", "b"], index=["x", "y"]), pd.DataFrame(TWO, columns=["a", "b"])),
            {},
            "index: row 0: found 'x' in truth, 0 in probabilities; expected the same images in the same order",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, settings, says):
    with pytest.raises(InputError) as caught:
        evaluate_multilabel(*arguments, **settings, options=FEW)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)
