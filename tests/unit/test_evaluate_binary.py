"""Every metric against scikit-learn, on data with ties, weights and missing classes."""

import itertools
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from scanline.core.errors import InputError
from scanline.evaluate.binary import (
    AT_PREVALENCE,
    CLASS_METRICS,
    METRICS,
    BinaryMetrics,
    Confusion,
    class_report,
    confusion_metrics,
    cumulative_counts,
    evaluate_binary,
)
from scanline.evaluate.curves import precision_recall_points, roc_points
from scanline.evaluate.options import EvaluateOptions

TOLERANCE = 1e-12
TIED = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5 + 1e-16, 0.75, 1.0])
PROBABILITY = st.one_of(TIED, st.floats(0, 1))


@st.composite
def predictions(draw, both_classes=True):
    size = draw(st.integers(2, 40))
    truth = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    probability = np.array(draw(st.lists(PROBABILITY, min_size=size, max_size=size)))
    weights = np.array(draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)), dtype=float)
    if both_classes:
        truth[:2] = [True, False]
        weights[:2] += 1
    return truth, probability, probability >= draw(TIED), weights


def binned_error(truth, probability, weights):
    """Expected calibration error over 15 bins of equal width, by a loop."""
    weights = np.ones(len(truth)) if weights is None else weights
    error = 0.0
    for low, high in itertools.pairwise(np.linspace(0, 1, 16)):
        inside = (probability > low) & (probability <= high) | ((low == 0) & (probability == 0))
        if weights[inside].sum() > 0:
            gap = np.average(truth[inside], weights=weights[inside]) - np.average(
                probability[inside], weights=weights[inside]
            )
            error += abs(gap) * weights[inside].sum() / weights.sum()
    return error


def of_sklearn(truth, probability, predicted, weights):
    keep = {"sample_weight": weights}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = {
            "accuracy": sk.accuracy_score(truth, predicted, **keep),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted, **keep),
            "precision": sk.precision_score(truth, predicted, zero_division=np.nan, **keep),
            "recall": sk.recall_score(truth, predicted, zero_division=np.nan, **keep),
            "specificity": sk.recall_score(truth, predicted, pos_label=False, zero_division=np.nan, **keep),
            "f1": sk.f1_score(truth, predicted, zero_division=np.nan, **keep),
            "npv": sk.precision_score(truth, predicted, pos_label=False, zero_division=np.nan, **keep),
            "mcc": sk.matthews_corrcoef(truth, predicted, **keep),
            "auroc": sk.roc_auc_score(truth, probability, **keep),
            "auprc": sk.average_precision_score(truth, probability, **keep),
            "brier": sk.brier_score_loss(truth, probability, **keep),
            "log_loss": sk.log_loss(truth, probability, labels=[False, True], **keep),
            "ece": binned_error(truth, probability, weights),
        }
        report = sk.classification_report(
            truth, predicted, labels=[False, True], output_dict=True, zero_division=np.nan, **keep
        )
    rows = {"negative": "False", "positive": "True", "macro": "macro avg", "weighted": "weighted avg"}
    for row, key in rows.items():
        for name in CLASS_METRICS:
            values[f"{row}.{name}"] = report[key]["f1-score" if name == "f1" else name]
    return values


def assert_equal(ours, theirs):
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        if np.isnan(value):  # undefined: scikit-learn says NaN, or 0 (mcc), or leaves the class out of the mean
            assert np.isnan(theirs[name]) or theirs[name] == 0 or name.startswith(("macro", "weighted"))
        else:
            assert value == pytest.approx(theirs[name], abs=TOLERANCE), name


@settings(max_examples=150, deadline=None)
@given(predictions())
def test_every_metric_equals_scikit_learn(case):
    truth, probability, predicted, _ = case
    ours = BinaryMetrics(truth, predicted, probability).values()
    assert set(METRICS) <= set(ours)
    assert_equal(ours, of_sklearn(truth, probability, predicted, None))


@settings(max_examples=150, deadline=None)
@given(predictions())
def test_weighted_metrics_equal_scikit_learn(case):
    truth, probability, predicted, weights = case
    both = BinaryMetrics(truth, predicted, probability)(np.stack([weights, np.ones(len(truth)), weights / 3]))
    ours = {name: value[0] for name, value in both.items()}
    assert_equal(ours, of_sklearn(truth, probability, predicted, weights))
    for name, value in both.items():
        assert value.shape == (3,)
        assert value[2] == pytest.approx(value[0], abs=TOLERANCE, nan_ok=True), name


@settings(max_examples=100, deadline=None)
@given(predictions(both_classes=False))
def test_a_metric_is_undefined_exactly_where_there_is_a_reason(case):
    truth, probability, predicted, _ = case
    measure = BinaryMetrics(truth, predicted, probability)
    for name, value in measure.values().items():
        if np.isnan(value):
            assert measure.reason_undefined(name)
        elif not name.startswith("weighted"):
            assert measure.reason_undefined(name) == "", name


@settings(max_examples=150, deadline=None)
@given(predictions())
def test_curves_equal_scikit_learn(case):
    truth, probability, _, _ = case
    for ours, theirs in zip(roc_points(truth, probability), sk.roc_curve(truth, probability), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)
    recall, precision, threshold = precision_recall_points(truth, probability)
    their_precision, their_recall, their_threshold = sk.precision_recall_curve(truth, probability)
    np.testing.assert_allclose(recall[::-1], their_recall, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(precision[::-1], their_precision, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(threshold[:0:-1], their_threshold)


def test_curves_without_positives_or_negatives_have_no_points():
    scores = np.array([0.1, 0.9])
    for truth in (np.zeros(2, bool), np.ones(2, bool)):
        assert all(len(axis) == 0 for axis in roc_points(truth, scores))
    assert all(len(axis) == 0 for axis in precision_recall_points(np.zeros(2, bool), scores))
    assert len(precision_recall_points(np.ones(2, bool), scores)[0]) == 3
    assert all(len(axis) == 0 for axis in roc_points(np.zeros(0, bool), np.zeros(0)))


def test_no_positives_leaves_what_needs_them_undefined_and_says_why():
    measure = BinaryMetrics(np.zeros(3, bool), np.zeros(3, bool), np.array([0.1, 0.2, 0.3]))
    values = measure.values()
    undefined = {name for name, value in values.items() if np.isnan(value)}
    assert {name for name in undefined if "." not in name} == {
        "balanced_accuracy",
        "precision",
        "recall",
        "f1",
        "mcc",
        "auroc",
        "auprc",
    }
    assert values["accuracy"] == values["specificity"] == values["npv"] == 1
    assert measure.reason_undefined("recall") == "no image is positive"
    assert measure.reason_undefined("precision") == "no image is predicted positive"
    assert measure.reason_undefined("auroc") == "no image is positive"
    assert measure.reason_undefined("macro.precision") == "no image is predicted positive"
    assert measure.reason_undefined("mcc") == "no image is positive; no image is predicted positive"
    assert values["weighted.recall"] == 1  # the empty class has no weight
    assert np.isnan(values["macro.recall"])


def test_missing_every_positive_is_zero_and_not_undefined():
    counts = Confusion(*(np.array([float(n)]) for n in (0, 0, 5, 5)))
    assert confusion_metrics(counts)["recall"][0] == 0
    assert confusion_metrics(counts)["f1"][0] == 0
    assert np.isnan(confusion_metrics(counts)["precision"][0])
    assert np.isnan(class_report(counts)["weighted.precision"][0])


def test_counts_that_would_overflow_whole_numbers_keep_the_correlation_exact():
    counts = Confusion(*(np.array([n]) for n in (3e6, 1e6, 2e6, 4e6)))
    assert confusion_metrics(counts)["mcc"][0] == pytest.approx(10 / np.sqrt(5 * 4 * 6 * 5), abs=TOLERANCE)


def test_cumulative_counts_join_ties():
    scores, tp, fp = cumulative_counts(np.array([1, 0, 1, 0], bool), np.array([0.5, 0.5, 0.9, 0.1]))
    assert scores.tolist() == [0.9, 0.5, 0.1]
    assert tp.tolist() == [1, 2, 2]
    assert fp.tolist() == [0, 1, 2]


QUICK = EvaluateOptions(bootstrap_resamples=100)


def test_predictive_values_at_the_sample_s_own_prevalence_are_its_own():
    truth = np.array([1, 0, 1, 0, 0, 1, 0, 0], bool)
    probability = np.array([0.9, 0.8, 0.7, 0.6, 0.3, 0.2, 0.1, 0.1])
    metrics = evaluate_binary(truth, probability, prevalence=truth.mean(), options=QUICK)["metrics"]
    assert metrics["ppv_at_prevalence"]["value"] == pytest.approx(metrics["precision"]["value"])
    assert metrics["npv_at_prevalence"]["value"] == pytest.approx(metrics["npv"]["value"])
    rare = evaluate_binary(truth, probability, prevalence=0.01, options=QUICK)["metrics"]
    assert rare["ppv_at_prevalence"]["value"] < 0.05
    assert rare["npv_at_prevalence"]["value"] > 0.99
    nobody = evaluate_binary(truth, probability, prevalence=0, threshold=0.95, options=QUICK)["metrics"]
    assert nobody["ppv_at_prevalence"]["reason"] == "at prevalence 0 nobody would be called positive"
    assert not set(AT_PREVALENCE) & set(evaluate_binary(truth, probability, options=QUICK)["metrics"])


def test_the_answer_is_json_and_counts_what_it_saw():
    patients = ["a", "a", "b", None, float("nan"), "b"]
    truth = pd.Series([True, False, True, False, True, False], dtype="boolean")
    result = evaluate_binary(truth, [0.9, 0.1, 0.8, 0.7, 0.3, 0.2], patients=patients, options=QUICK)
    json.dumps(result, allow_nan=False)
    assert (result["images"], result["patients"], result["images_without_patient"], result["clusters"]) == (6, 2, 2, 4)
    assert result["confusion"] == {"tp": 2, "fp": 1, "fn": 1, "tn": 2}
    assert list(result["metrics"]) == list(METRICS)


def test_a_probability_at_the_threshold_is_called_positive():
    result = evaluate_binary([1, 1, 0], [0.4, 0.39, 0.4], threshold=0.4, options=QUICK)
    assert result["confusion"] == {"tp": 1, "fp": 1, "fn": 1, "tn": 0}


def test_stratified_resamples_always_hold_positives():
    truth, probability = np.array([1] + [0] * 19), np.linspace(0.9, 0.1, 20)
    plain, stratified = (
        evaluate_binary(truth, probability, options=QUICK.model_copy(update={"stratified": choice}))["metrics"]["auroc"]
        for choice in (False, True)
    )
    assert plain["undefined_resamples"] > 20
    assert stratified["undefined_resamples"] == 0


def test_no_images_leave_everything_undefined_with_a_reason():
    result = evaluate_binary([], [], options=QUICK)
    json.dumps(result, allow_nan=False)
    for name, metric in result["metrics"].items():
        assert metric["value"] is None, name
        assert metric["reason"], name
    assert result["metrics"]["ece"]["reason"] == "there are no images"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"truth": [0, 1, 1]}, "truth and probability: found lengths truth 3, probability 2"),
        ({"truth": [0, None]}, "truth: row 1: found nan; expected 0 or 1"),
        ({"truth": [None, None]}, "truth: row 0: found nan (and 1 more); expected 0 or 1"),
        ({"truth": ["no", "yes"]}, "truth: found 'no'; expected numbers"),
        ({"probability": [0.1, 1.1]}, "probability: row 1: found 1.1; expected a number from 0 to 1"),
        ({"probability": [0.1, np.nan]}, "probability: row 1: found nan"),
        ({"threshold": 50}, "threshold: found 50; expected a number from 0 to 1"),
        ({"prevalence": 3}, "prevalence: row 0: found 3.0; expected a number from 0 to 1"),
        ({"patients": ["a"]}, "patients: found 1 entries; expected 2, one for each image"),
    ],
)
def test_unfit_input_is_refused_in_one_line(arguments, message):
    with pytest.raises(InputError) as caught:
        evaluate_binary(**({"truth": [0, 1], "probability": [0.1, 0.9]} | arguments))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
