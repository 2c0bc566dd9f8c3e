"""Multi-class metrics against scikit-learn on repeated images, with ties, missing classes and no images."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from scanline.core.errors import InputError
from scanline.evaluate.bootstrap import resample, seeded_generator
from scanline.evaluate.classes import macro_average, weighted_average
from scanline.evaluate.multiclass import (
    AVERAGES,
    CLASS_METRICS,
    METRICS,
    MulticlassMetrics,
    cohen_kappa,
    evaluate_multiclass,
    multiclass_correlation,
)
from scanline.evaluate.options import EvaluateOptions

TOLERANCE = 1e-12
FEW = EvaluateOptions(bootstrap_resamples=100)
CLASSES = ("none", "mild", "severe")
# Rows that sum to exactly 1, with ties between and within them
ROWS = st.one_of(
    st.sampled_from([(0.25, 0.25, 0.5), (0.5, 0.25, 0.25), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.25, 0.5, 0.25)]),
    st.tuples(st.integers(0, 16), st.integers(0, 16)).map(
        lambda pair: (min(pair) / 16, (max(pair) - min(pair)) / 16, 1 - max(pair) / 16)
    ),
)


@st.composite
def predictions(draw, all_classes=False):
    size = draw(st.integers(3, 25))
    truth = np.array(draw(st.lists(st.integers(0, 2), min_size=size, max_size=size)), dtype=np.intp)
    if all_classes:
        truth[:3] = [0, 1, 2]
    probability = np.array(draw(st.lists(ROWS, min_size=size, max_size=size)), dtype=float)
    clusters = np.array(draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)), dtype=np.intp)
    clusters = pd.factorize(clusters)[0].astype(np.intp)
    times = np.array(draw(st.lists(st.integers(0, 3), min_size=5, max_size=5)), dtype=float)
    return truth, probability, clusters, times[: clusters.max() + 1]


def top_label_error_by_loop(truth, predicted, probability):
    confidence = probability[np.arange(len(truth)), predicted]
    numbers = np.maximum(np.ceil(confidence * 15 - 1e-12).astype(int) - 1, 0)
    total = 0.0
    for number in np.unique(numbers):
        inside = numbers == number
        total += inside.sum() * abs((truth == predicted)[inside].mean() - confidence[inside].mean())
    return total / len(truth)


def of_sklearn(truth, predicted, probability):
    """The same names, by scikit-learn; NaN where it is undefined there."""
    places = [0, 1, 2]
    is_class, called = truth[:, None] == places, predicted[:, None] == places
    one_class = len(np.unique(truth)) < 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = {
            "accuracy": sk.accuracy_score(truth, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
            "mcc": sk.matthews_corrcoef(truth, predicted),
            "cohen_kappa": sk.cohen_kappa_score(truth, predicted, labels=places),
            "quadratic_weighted_kappa": sk.cohen_kappa_score(truth, predicted, labels=places, weights="quadratic"),
            "brier": sk.brier_score_loss(truth, probability, labels=places, scale_by_half=False),
            "log_loss": sk.log_loss(truth, probability, labels=places),
            "ece": top_label_error_by_loop(truth, predicted, probability),
        }
        per_class = {
            "precision": sk.precision_score(truth, predicted, labels=places, average=None, zero_division=np.nan),
            "recall": sk.recall_score(truth, predicted, labels=places, average=None, zero_division=np.nan),
            "f1": sk.f1_score(truth, predicted, labels=places, average=None, zero_division=np.nan),
            "specificity": [sk.recall_score(~is_class[:, k], ~called[:, k], zero_division=np.nan) for k in places],
            "auroc": [
                sk.roc_auc_score(is_class[:, k], probability[:, k]) if 0 < is_class[:, k].sum() < len(truth) else np.nan
                for k in places
            ],
            "auprc": [
                sk.average_precision_score(is_class[:, k], probability[:, k]) if is_class[:, k].any() else np.nan
                for k in places
            ],
        }
        for name, row in per_class.items():
            values |= {f"per_class.{label}.{name}": value for label, value in zip(CLASSES, row, strict=True)}
        for name in ("precision", "recall", "f1"):
            score = getattr(sk, f"{name}_score")
            for kind in AVERAGES:
                values[f"{kind}.{name}"] = score(truth, predicted, labels=places, average=kind, zero_division=np.nan)
        if not one_class and len(np.unique(truth)) == 3:
            values["auroc_one_vs_one"] = sk.roc_auc_score(truth, probability, multi_class="ovo", labels=places)
            for kind in AVERAGES:
                values[f"{kind}.auroc"] = sk.roc_auc_score(
                    truth, probability, multi_class="ovr", average=kind, labels=places
                )
                values[f"{kind}.auprc"] = sk.average_precision_score(is_class, probability, average=kind)
    return values


def compare(ours, theirs):
    for name, value in theirs.items():
        if np.isnan(ours[name]):  # scikit-learn says NaN, or 0 for the correlation and for a mean without weight
            assert np.isnan(value) or (name.startswith(("mcc", "weighted")) and value == 0), name
        else:
            assert ours[name] == pytest.approx(value, abs=TOLERANCE), name


@settings(max_examples=80)
@given(predictions())
def test_every_metric_equals_scikit_learn(case):
    truth, probability, clusters, _ = case
    predicted = probability.argmax(axis=1)
    measure = MulticlassMetrics(truth, predicted, probability, CLASSES, clusters, ordinal=True)
    ours = {name: value[0] for name, value in measure(np.ones((1, measure.clusters))).items()}
    compare(ours, of_sklearn(truth, predicted, probability))


@settings(max_examples=80)
@given(predictions(all_classes=True))
def test_weights_equal_repeated_images(case):
    truth, probability, clusters, weights = case
    predicted = probability.argmax(axis=1)
    measure = MulticlassMetrics(truth, predicted, probability, CLASSES, clusters, ordinal=True)
    rows = np.repeat(np.arange(len(truth)), weights[clusters].astype(int))
    ours = measure(np.stack([weights, weights / 4]))
    assert all(values.shape == (2,) for values in ours.values())
    for values in ours.values():
        assert values[0] == pytest.approx(values[1], abs=TOLERANCE, nan_ok=True)
    if len(rows) == 0:
        assert all(np.isnan(values).all() for values in ours.values())
        return
    theirs = of_sklearn(truth[rows], predicted[rows], probability[rows])
    single = {name: values[0] for name, values in ours.items()}
    # A mean over another set of classes than the sample's is NaN here, and another number there
    fixed = {name: value for name, value in theirs.items() if not name.startswith(("macro", "weighted", "balanced"))}
    compare(single, fixed)
    for name in CLASS_METRICS:
        defined = np.array([not np.isnan(single[f"per_class.{label}.{name}"]) for label in CLASSES])
        counted = np.array([label not in measure.left_out[name] for label in CLASSES])
        if (defined == counted).all() and f"macro.{name}" in theirs:
            compare(single, {f"{kind}.{name}": theirs[f"{kind}.{name}"] for kind in AVERAGES})
        elif (counted & ~defined).any():
            assert np.isnan(single[f"macro.{name}"])


@settings(max_examples=80)
@given(predictions())
def test_a_metric_is_undefined_exactly_where_there_is_a_reason(case):
    truth, probability, clusters, _ = case
    measure = MulticlassMetrics(truth, probability.argmax(axis=1), probability, CLASSES, clusters, ordinal=True)
    for name, values in measure(np.ones((1, measure.clusters))).items():
        if np.isnan(values[0]):
            assert measure.reason_undefined(name), name


def test_the_bootstrap_equals_explicit_resampling():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(12), 6)
    truth = rng.integers(0, 3, 72)
    probability = rng.multinomial(8, (1 / 3,) * 3, 72) / 8
    predicted = probability.argmax(axis=1)
    measure = MulticlassMetrics(truth, predicted, probability, CLASSES, patients, ordinal=True)
    ours = resample(measure, 12, 20, seeded_generator(0, "x"))
    drawn = seeded_generator(0, "x").integers(0, 12, size=(20, 12))
    for row, chosen in enumerate(drawn):
        images = np.concatenate([np.flatnonzero(patients == one) for one in chosen])
        theirs = of_sklearn(truth[images], predicted[images], probability[images])
        assert {"macro.auroc", "auroc_one_vs_one"} <= set(theirs)
        compare({name: values[row] for name, values in ours.items()}, theirs)


def test_two_classes_agree_with_the_binary_correlation_and_twice_its_brier_score():
    rng = np.random.default_rng(1)
    truth, positive = rng.integers(0, 2, 50), rng.integers(0, 9, 50) / 8
    probability = np.stack([1 - positive, positive], axis=1)
    measure = MulticlassMetrics(truth, probability.argmax(axis=1), probability, ["no", "yes"])
    values = {name: value[0] for name, value in measure(np.ones((1, 50))).items()}
    assert values["mcc"] == pytest.approx(sk.matthews_corrcoef(truth, positive > 0.5), abs=TOLERANCE)
    assert values["brier"] == pytest.approx(2 * sk.brier_score_loss(truth, positive), abs=TOLERANCE)
    auroc = sk.roc_auc_score(truth, positive)
    for name in ("auroc_one_vs_one", "macro.auroc", "per_class.yes.auroc", "per_class.no.auroc"):
        assert values[name] == pytest.approx(auroc, abs=TOLERANCE)


def test_correlation_and_kappa_of_many_matrices_at_once():
    matrices = np.array([[[5, 1, 0], [2, 3, 1], [0, 1, 4]], [[0, 0, 0], [7, 0, 0], [0, 0, 0]], np.zeros((3, 3))], float)
    truth, predicted = np.nonzero(matrices[0])
    truth, predicted = (np.repeat(codes, matrices[0][matrices[0] > 0].astype(int)) for codes in (truth, predicted))
    correlation, kappa = multiclass_correlation(matrices), cohen_kappa(matrices)
    assert correlation[0] == pytest.approx(sk.matthews_corrcoef(truth, predicted), abs=TOLERANCE)
    assert kappa[0] == pytest.approx(sk.cohen_kappa_score(truth, predicted), abs=TOLERANCE)
    assert np.isnan(correlation[1:]).all()
    assert kappa[1] == 0  # one true class, another predicted one: no agreement beyond chance
    assert np.isnan(kappa[2])
    assert np.isnan(cohen_kappa(np.diag([3.0, 0, 0])[None])[0])


def test_averages_leave_out_the_same_classes_in_every_resample():
    values = np.array([[0.2, 0.4], [0.6, np.nan], [np.nan, 1.0]])
    counted = np.array([True, True, False])
    np.testing.assert_array_equal(macro_average(values, counted), [0.4, np.nan])
    support = np.array([[1.0, 1.0], [3.0, 0.0], [9.0, 9.0]])
    np.testing.assert_allclose(weighted_average(values, support, counted), [0.5, 0.4])  # no weight, no matter
    assert np.isnan(macro_average(values, np.zeros(3, bool))).all()
    assert np.isnan(weighted_average(values, np.zeros((3, 2)), counted)).all()


def example(**options):
    rng = np.random.default_rng(2)
    truth = np.array(CLASSES)[np.repeat([0, 1, 2, 0], 30)]
    logits = rng.normal(0, 1, (120, 3)) + 1.5 * (truth[:, None] == CLASSES)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return truth, probability, [f"p{row // 3}" for row in range(120)]


def test_the_result_is_json_with_intervals_and_counts():
    truth, probability, patients = example()
    result = json.loads(json.dumps(evaluate_multiclass(truth, probability, CLASSES, patients=patients, options=FEW)))
    assert (result["images"], result["patients"], result["clusters"]) == (120, 40, 40)
    assert result["images_without_patient"] == 0
    assert result["classes"] == list(CLASSES)
    np.testing.assert_array_equal(
        result["confusion"], sk.confusion_matrix(truth, np.array(CLASSES)[probability.argmax(axis=1)], labels=CLASSES)
    )
    assert tuple(result["metrics"]) == METRICS
    assert tuple(result["averages"]) == AVERAGES
    for rows in (result["metrics"], *result["averages"].values()):
        for name, row in rows.items():
            assert row["low"] <= row["value"] <= row["high"] or name == "ece", name
    for label in CLASSES:
        part = result["per_class"][label]
        assert set(part) == {*CLASS_METRICS, "positives", "predicted"}
        assert part["positives"] == (truth == label).sum()
    assert sum(part["predicted"] for part in result["per_class"].values()) == 120


def test_given_predictions_replace_the_most_probable_class():
    truth, probability, patients = example()
    result = evaluate_multiclass(truth, probability, CLASSES, predicted=truth, patients=patients, options=FEW)
    assert result["metrics"]["accuracy"]["value"] == 1
    assert result["metrics"]["log_loss"]["value"] > 0


def test_equal_probabilities_predict_the_first_class():
    result = evaluate_multiclass(["a", "b"], [[0.5, 0.5], [0.5, 0.5]], ["a", "b"], options=FEW)
    assert result["per_class"]["a"]["predicted"] == 2


def test_a_data_frame_is_taken_by_its_columns():
    truth, probability, _ = example()
    table = pd.DataFrame(probability, columns=list(CLASSES))[["severe", "none", "mild"]]
    assert evaluate_multiclass(truth, table, CLASSES, options=FEW) == evaluate_multiclass(
        pd.Series(truth, dtype="str"), probability, CLASSES, options=FEW
    )


def test_ordered_classes_get_a_weighted_kappa():
    truth, probability, _ = example()
    result = evaluate_multiclass(truth, probability, CLASSES, ordinal=True, options=FEW)
    predicted = np.array(CLASSES)[probability.argmax(axis=1)]
    kappa = sk.cohen_kappa_score(truth, predicted, labels=CLASSES, weights="quadratic")
    assert result["metrics"]["quadratic_weighted_kappa"]["value"] == pytest.approx(kappa, abs=TOLERANCE)


def test_a_class_without_images_is_left_out_and_named():
    truth = ["none", "none", "mild", "mild"]
    probability = [[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.3, 0.6, 0.1], [0.6, 0.3, 0.1]]
    result = evaluate_multiclass(truth, probability, CLASSES, options=FEW)
    severe = result["per_class"]["severe"]
    assert (severe["positives"], severe["predicted"]) == (0, 0)
    assert severe["recall"]["value"] is None
    assert severe["recall"]["reason"] == "no image is positive"
    assert severe["f1"]["reason"] == "no image is positive or predicted positive"
    macro = result["averages"]["macro"]
    assert macro["recall"]["left_out"] == macro["auroc"]["left_out"] == ["severe"]
    assert macro["specificity"]["left_out"] == []
    assert macro["recall"]["value"] == result["metrics"]["balanced_accuracy"]["value"] == 0.5
    assert result["metrics"]["auroc_one_vs_one"]["value"] == 0.75


def test_one_class_only_says_why():
    result = evaluate_multiclass(["none"] * 3, [[0.9, 0.1]] * 3, ["none", "mild"], options=FEW)
    metrics = result["metrics"]
    assert metrics["accuracy"]["value"] == 1
    for name in ("mcc", "cohen_kappa"):
        assert metrics[name]["value"] is None
        assert metrics[name]["reason"] == "all images are of one class; all images are predicted to be of one class"
    assert metrics["auroc_one_vs_one"]["reason"] == "fewer than two classes have images"
    assert result["averages"]["macro"]["auroc"]["reason"] == "undefined for every class"
    assert result["averages"]["weighted"]["auroc"]["reason"] == "undefined for every class that has positives"


def test_no_images_leave_everything_undefined():
    result = evaluate_multiclass([], [], ["a", "b"], options=FEW)
    assert (result["images"], result["confusion"]) == (0, [[0, 0], [0, 0]])
    for row in result["metrics"].values():
        assert (row["value"], row["reason"]) == (None, "there are no images")


def test_strata_keep_the_patients_of_each_class():
    truth, probability, patients = example()
    stratified = EvaluateOptions(bootstrap_resamples=100, stratified=True)
    free = evaluate_multiclass(truth, probability, CLASSES, patients=patients, options=FEW)["metrics"]["accuracy"]
    kept = evaluate_multiclass(truth, probability, CLASSES, patients=patients, options=stratified)
    assert kept["metrics"]["accuracy"]["value"] == free["value"]
    assert kept["metrics"]["accuracy"] != free
    sure = evaluate_multiclass(truth, np.eye(3)[np.ones(120, int)], CLASSES, patients=patients, options=stratified)[
        "metrics"
    ]["accuracy"]
    assert sure["low"] == sure["high"] == sure["value"] == 0.25


def test_two_streams_are_resampled_independently():
    truth, probability, _ = example()
    first, second = (
        evaluate_multiclass(truth, probability, CLASSES, options=FEW, stream=[name]) for name in ("test", "external")
    )
    assert first["metrics"]["brier"]["value"] == second["metrics"]["brier"]["value"]
    assert first["metrics"]["brier"]["low"] != second["metrics"]["brier"]["low"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((["a", "c"], [[1, 0]] * 2, ["a", "b"]), "truth: row 1: found 'c'; expected one of a, b"),
        ((["a", None], [[1, 0]] * 2, ["a", "b"]), "truth: row 1: found null; expected one of a, b"),
        ((["c", "c"], [[1, 0]] * 2, ["a", "b"]), "truth: row 0: found 'c' (and 1 more)"),
        ((["a"], [[1, 0]], ["a", "a"]), "classes: found a more than once; expected each name once"),
        ((["a"], [[1]], ["a"]), "classes: found 1 names; expected at least 2"),
        ((["a"], [[1, 0]], ["a", ""]), "classes: found ''; expected names of at least one letter"),
        ((["a"], [[1, 0]], ["a", 3]), "classes: found 3; expected names"),
        ((["a"], [[0.6, 0.2]], ["a", "b"]), "probabilities: sum: row 0: found 0.8; expected 1 within 0.001"),
        ((["a"], [[1.2, -0.2]], ["a", "b"]), "probabilities: row 0, a: found 1.2 (and 1 more); expected a number"),
        ((["a"], [[np.nan, 0.5]], ["a", "b"]), "probabilities: row 0, a: found nan; expected a number from 0 to 1"),
        ((["a"], [[0.5, 0.3, 0.2]], ["a", "b"]), "probabilities: found shape (1, 3); expected shape (images, 2)"),
        ((["a"], [0.5], ["a", "b"]), "probabilities: found shape (1,); expected shape (images, 2)"),
        ((["a", "b"], [[1, 0]], ["a", "b"]), "truth and probabilities: found lengths truth 2, probabilities 1"),
        (([["a", "b"]], [[1, 0]], ["a", "b"]), "truth: found shape (1, 2); expected one class name an image"),
        ((["a"], pd.DataFrame({"a": [1.0], "c": [0.0]}), ["a", "b"]), "probabilities: columns: found a, c; expected"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, says):
    with pytest.raises(InputError) as caught:
        evaluate_multiclass(*arguments, options=FEW)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_bad_predictions_and_patients_are_refused():
    with pytest.raises(InputError, match="predicted: row 0: found 'c'"):
        evaluate_multiclass(["a"], [[1, 0]], ["a", "b"], predicted=["c"])
    with pytest.raises(InputError, match="lengths truth 1, probabilities 1, predicted 2"):
        evaluate_multiclass(["a"], [[1, 0]], ["a", "b"], predicted=["a", "b"])
    with pytest.raises(InputError, match="patients: found 2 entries; expected 1"):
        evaluate_multiclass(["a"], [[1, 0]], ["a", "b"], patients=["x", "y"])


def test_sums_within_a_thousandth_are_taken_as_they_are():
    result = evaluate_multiclass(["a"], [[0.5995, 0.4]], ["a", "b"], options=FEW)
    assert result["metrics"]["log_loss"]["value"] == pytest.approx(-np.log(0.5995), abs=TOLERANCE)
