"""Calibration against scikit-learn, scipy and loops by hand; temperatures against scikit-learn and a grid."""

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from scipy.special import expit
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from scanline.core.errors import InputError
from scanline.evaluate.bootstrap import sum_by_cluster
from scanline.evaluate.calibration import (
    SMALLEST_PROBABILITY,
    TEMPERATURE_LIMITS,
    BinnedOutcomes,
    CalibrationMetrics,
    bin_edges,
    bin_numbers,
    calibrate,
    clip_probability,
    digest_of_scores,
    fit_temperature,
    fit_temperatures,
    log_loss_of_images,
    logit,
)
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.recalibration import METRICS as RECALIBRATION
from scanline.evaluate.recalibration import SEPARATED, LogisticRecalibration
from scanline.evaluate.reliability import COLUMNS, evaluate_calibration, reliability_curve

TOLERANCE = 1e-12
FEW = EvaluateOptions(bootstrap_resamples=100)
PROBABILITY = st.one_of(st.sampled_from([0.0, 1e-300, 0.1, 1 / 15, 0.2, 0.5, 0.6, 1.0]), st.floats(0, 1))


@st.composite
def predictions(draw, least=1):
    size = draw(st.integers(least, 30))
    truth = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), dtype=bool)
    probability = np.array(draw(st.lists(PROBABILITY, min_size=size, max_size=size)), dtype=float)
    clusters = np.array(draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)), dtype=np.intp)
    clusters = pd.factorize(clusters)[0].astype(np.intp)
    times = np.array(draw(st.lists(st.integers(0, 3), min_size=5, max_size=5)), dtype=float)
    return truth, probability, clusters, times[: clusters.max(initial=-1) + 1]


def repeated(clusters, weights):
    """The images as often as their clusters count."""
    return np.repeat(np.arange(len(clusters)), weights[clusters].astype(int))


def errors_by_loop(outcome, probability, edges):
    """Expected and maximum calibration error, one bin after the other."""
    gaps, images = [], []
    for number, (low, high) in enumerate(pairwise(edges)):
        first, last = number == 0, number == len(edges) - 2
        inside = ((probability > low) | first) & ((probability <= high) | last)
        if inside.any():
            gaps.append(abs(outcome[inside].mean() - probability[inside].mean()))
            images.append(inside.sum())
    return np.average(gaps, weights=images), max(gaps)


@settings(max_examples=150)
@given(predictions())
def test_brier_and_log_loss_equal_scikit_learn_on_repeated_images(case):
    truth, probability, clusters, weights = case
    rows = repeated(clusters, weights)
    ours = CalibrationMetrics(truth, probability, clusters)(np.stack([weights, weights / 4]))
    if len(rows) == 0:
        assert all(np.isnan(values).all() for values in ours.values())
        return
    t, p = truth[rows], probability[rows]
    theirs = {"brier": sk.brier_score_loss(t, p, pos_label=True), "log_loss": sk.log_loss(t, p, labels=[False, True])}
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-13, atol=TOLERANCE)


@pytest.mark.parametrize("bins", [1, 2, 15])
@settings(max_examples=80)
@given(case=predictions())
def test_calibration_errors_equal_a_loop_on_repeated_images(bins, case):
    truth, probability, clusters, weights = case
    measure = CalibrationMetrics(truth, probability, clusters, bins=bins)
    rows = repeated(clusters, weights)
    ours = measure(weights[None])
    if len(rows):
        ece, mce = errors_by_loop(truth[rows], probability[rows], np.linspace(0, 1, bins + 1))
        assert ours["ece"][0] == pytest.approx(ece, abs=TOLERANCE)
        assert ours["mce"][0] == pytest.approx(mce, abs=TOLERANCE)


@settings(max_examples=80)
@given(predictions())
def test_equal_mass_bins_stay_as_the_sample_has_them(case):
    truth, probability, clusters, weights = case
    measure = CalibrationMetrics(truth, probability, clusters, bins=4, binning="equal_mass")
    edges = np.percentile(probability, [0, 25, 50, 75, 100])
    rows = repeated(clusters, weights)
    if len(rows):
        ece, mce = errors_by_loop(truth[rows], probability[rows], edges)
        ours = measure(weights[None])
        assert ours["ece"][0] == pytest.approx(ece, abs=TOLERANCE)
        assert ours["mce"][0] == pytest.approx(mce, abs=TOLERANCE)


@pytest.mark.parametrize(("binning", "strategy"), [("equal_width", "uniform"), ("equal_mass", "quantile")])
@settings(max_examples=60)
@given(case=predictions(), bins=st.integers(1, 8))
def test_the_reliability_curve_equals_scikit_learn(binning, strategy, case, bins):
    truth, probability, clusters, _ = case
    curve = reliability_curve(truth, probability, patients=clusters, bins=bins, binning=binning, options=FEW)
    assert tuple(curve.columns) == COLUMNS
    assert curve["images"].sum() == len(truth)
    held = curve[curve["images"] > 0]
    observed, mean = calibration_curve(truth, probability, pos_label=True, n_bins=bins, strategy=strategy)
    np.testing.assert_allclose(held["observed"], observed, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(held["probability"], mean, rtol=0, atol=TOLERANCE)
    empty = curve[curve["images"] == 0]
    assert empty[["probability", "observed", "observed_low", "observed_high"]].isna().all(axis=None)
    assert (empty["reason"] == "no image is in this bin").all()


def test_equal_width_bins_hold_their_upper_edge():
    edges = bin_edges(np.zeros(0), 4)
    assert edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert bin_numbers(np.array([0, 0.1, 0.25, 0.26, 0.5, 0.75, 0.76, 1]), edges).tolist() == [0, 0, 0, 1, 1, 2, 3, 3]


def test_equal_mass_bins_hold_equally_many_distinct_scores():
    probability = np.linspace(0.01, 0.2, 20)
    numbers = bin_numbers(probability, bin_edges(probability, 4, "equal_mass"))
    assert np.bincount(numbers).tolist() == [5, 5, 5, 5]


def test_a_calibration_error_by_hand():
    truth, probability = np.array([1, 0, 1, 1], bool), np.array([0.3, 0.4, 0.8, 0.9])
    ours = CalibrationMetrics(truth, probability, bins=2)(np.array([[1.0, 1, 1, 1], [3, 1, 0, 0]]))
    np.testing.assert_allclose(ours["ece"], [(0.15 * 2 + 0.15 * 2) / 4, (3 - 1.3) / 4], atol=TOLERANCE)
    np.testing.assert_allclose(ours["mce"], [0.15, 0.425], atol=TOLERANCE)


def test_clipping_is_scikit_learns():
    assert np.finfo(np.float64).eps == SMALLEST_PROBABILITY
    impossible = log_loss_of_images(np.array([True, False, True, False]), np.array([0.0, 1.0, 1.0, 0.0]))
    np.testing.assert_allclose(impossible, [36.0437, 36.0437, 0, 0], atol=1e-4)
    assert sk.log_loss([True], [0.0], labels=[False, True]) == impossible[0]
    assert np.abs(logit(np.array([0.0, 1.0, 1e-300]))) == pytest.approx(36.0437, abs=1e-4)
    assert logit(np.array([0.5])) == 0
    np.testing.assert_allclose(expit(logit(np.array([1e-9, 0.3, 1 - 1e-9]))), [1e-9, 0.3, 1 - 1e-9], rtol=1e-12)
    assert (clip_probability(np.array([0.2, 0.7])) == [0.2, 0.7]).all()


def test_bins_of_another_cluster_count_as_empty():
    binned = BinnedOutcomes(np.array([True]), np.array([0.9]), np.array([1]), 3, bins=2)
    assert binned.images.shape == (3, 2)
    assert np.isnan(binned.expected_error(np.array([[1.0, 0, 1]]))).all()
    assert binned.expected_error(np.ones((1, 3)))[0] == pytest.approx(0.1)
    assert np.isnan(binned.observed(np.ones((1, 3)))).tolist() == [[True, False]]


def test_no_images_leaves_everything_undefined_and_says_why():
    result = evaluate_calibration([], [], options=FEW)
    assert (result["images"], result["clusters"]) == (0, 0)
    assert set(result["metrics"]) == {"brier", "log_loss", "ece", "mce", *RECALIBRATION}
    for row in result["metrics"].values():
        assert row["value"] is None
        assert row["reason"] == "there are no images"
    assert len(result["reliability"]) == 15


def test_the_result_is_json_and_each_value_has_its_interval():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 5)
    probability = rng.random(200)
    truth = rng.random(200) < probability
    result = json.loads(json.dumps(evaluate_calibration(truth, probability, patients=patients, options=FEW)))
    assert (result["images"], result["clusters"], result["bins"]) == (200, 40, 15)
    assert result["positives"] + result["negatives"] == 200
    for name, row in result["metrics"].items():
        assert row["low"] < row["high"], name
    assert all(row["observed_low"] <= row["observed"] <= row["observed_high"] for row in result["reliability"])
    assert result["metrics"]["calibration_slope"]["low"] < 1 < result["metrics"]["calibration_slope"]["high"]


def test_intervals_of_the_curve_draw_patients():
    truth, probability = np.repeat([True, False, True, True], 50), np.full(200, 0.7)
    patients = np.repeat(np.arange(4), 50)
    wide = reliability_curve(truth, probability, patients=patients, bins=1, options=FEW).iloc[0]
    narrow = reliability_curve(truth, probability, bins=1, options=FEW).iloc[0]
    assert wide["observed"] == narrow["observed"] == 0.75
    assert wide["observed_high"] - wide["observed_low"] > 3 * (narrow["observed_high"] - narrow["observed_low"])


def test_stratified_intervals_keep_the_patients_with_a_positive_image():
    truth, probability = np.array([True, False] * 20), np.full(40, 0.7)
    options = EvaluateOptions(bootstrap_resamples=100, stratified=True)
    row = evaluate_calibration(truth, probability, bins=1, options=options)["metrics"]["ece"]
    assert [row["value"], row["low"], row["high"]] == pytest.approx([0.2, 0.2, 0.2])


# Slope and intercept


def overlapping(seed=0, size=60, patients=12):
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-0.5, 2, size).round(1)
    truth = rng.random(size) < expit(0.4 + 0.6 * log_odds)
    return truth, expit(log_odds), np.arange(size) % patients


@pytest.mark.parametrize("seed", range(4))
def test_slope_and_intercepts_equal_scikit_learn_and_scipy(seed):
    truth, probability, clusters = overlapping(seed)
    weights = np.random.default_rng(seed).integers(0, 4, (3, 12)).astype(float)
    weights[0] = 1
    ours = LogisticRecalibration(truth, probability, clusters)(weights)
    for row, per_image in enumerate(weights[:, clusters]):
        x = logit(probability)
        theirs = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=1000)
        theirs.fit(x[:, None], truth, sample_weight=per_image)
        shift = brentq(lambda a, w=per_image, x=x: (w * (expit(a + x) - truth)).sum(), -20, 20, xtol=1e-13)
        assert ours["calibration_slope"][row] == pytest.approx(theirs.coef_[0, 0], abs=1e-8)
        assert ours["calibration_intercept"][row] == pytest.approx(theirs.intercept_[0], abs=1e-8)
        assert ours["calibration_in_the_large"][row] == pytest.approx(shift, abs=1e-10)


@settings(max_examples=60)
@given(predictions(least=2))
def test_the_fit_is_an_optimum_or_undefined_with_a_reason(case):
    truth, probability, clusters, _ = case
    measure = LogisticRecalibration(truth, probability, clusters)
    values = {name: value[0] for name, value in measure(np.ones((1, measure.clusters))).items()}
    x = logit(probability)
    if np.isnan(values["calibration_slope"]):
        assert measure.reason_undefined("calibration_slope")
    else:
        gap = expit(values["calibration_intercept"] + values["calibration_slope"] * x) - truth
        assert gap.sum() == pytest.approx(0, abs=1e-6)
        assert (gap * x).sum() == pytest.approx(0, abs=1e-5)
    if truth.any() and not truth.all():
        assert (expit(values["calibration_in_the_large"] + x) - truth).sum() == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize(
    ("truth", "probability", "reason"),
    [
        ([1, 1], [0.2, 0.7], "no image is negative"),
        ([0, 0], [0.2, 0.7], "no image is positive"),
        ([0, 1, 0], [0.4, 0.4, 0.4], "all probabilities are equal"),
        ([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8], SEPARATED),
        ([1, 1, 0], [0.1, 0.3, 0.8], SEPARATED),
        ([1, 1, 0, 0], [0.1, 0.4, 0.4, 0.8], SEPARATED),
    ],
)
def test_a_slope_without_optimum_is_undefined(truth, probability, reason):
    row = evaluate_calibration(truth, probability, options=FEW)["metrics"]["calibration_slope"]
    assert (row["value"], row["reason"]) == (None, reason)


def test_perfect_probabilities_have_slope_one_and_intercept_zero():
    probability = np.repeat([0.1, 0.2, 0.5, 0.8], 100)
    truth = np.concatenate([np.arange(100) < 100 * p for p in (0.1, 0.2, 0.5, 0.8)])
    ours = LogisticRecalibration(truth, probability)(np.ones((1, 400)))
    np.testing.assert_allclose([value[0] for value in ours.values()], [1, 0, 0], atol=1e-9)


def test_many_resamples_are_shared_among_threads_and_stay_the_same():
    truth, probability, clusters = overlapping()
    measure = LogisticRecalibration(truth, probability, clusters)
    weights = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=200).astype(float)
    together = measure(weights)
    for name, values in together.items():
        single = np.concatenate([measure(weights[row : row + 1])[name] for row in range(0, 200, 20)])
        np.testing.assert_allclose(values[::20], single, rtol=0, atol=1e-12)


# Temperature


def overconfident(seed=1, size=400, temperature=2.5):
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(0, 2, size)
    return rng.random(size) < expit(log_odds), expit(log_odds * temperature)


@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_has_the_least_log_loss(seed):
    truth, probability = overconfident(seed)
    fitted = fit_temperature(truth, probability)
    assert fitted.log_loss_before == pytest.approx(sk.log_loss(truth, probability), abs=1e-10)
    assert fitted.log_loss_after == pytest.approx(sk.log_loss(truth, fitted.apply(probability)), abs=1e-10)
    grid = np.geomspace(*TEMPERATURE_LIMITS, 301)
    assert fitted.log_loss_after <= min(sk.log_loss(truth, calibrate(probability, value)) for value in grid) + 1e-12
    assert fitted.value == pytest.approx(2.5, rel=0.3)
    exact = minimize(lambda a: np.logaddexp(0, np.where(truth, -1, 1) * logit(probability) * a[0]).mean(), [1.0])
    assert fitted.value == pytest.approx(1 / exact.x[0], rel=1e-4)
    assert fitted.note is None


@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_of_several_classes_equals_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (300, 3))
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    codes = np.array([rng.choice(3, p=row) for row in chance])
    sharp = chance**2 / (chance**2).sum(axis=1, keepdims=True)
    classes = ["a", "b", "c"]
    fitted = fit_temperature(np.array(classes)[codes], sharp, classes=classes)
    loss = lambda a: sk.log_loss(codes, calibrate(sharp, float(np.exp(-a[0]))))  # noqa: E731
    exact = minimize(loss, [0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
    assert np.log(fitted.value) == pytest.approx(-exact.x[0], abs=1e-6)
    assert fitted.value == pytest.approx(2, rel=0.3)
    assert fitted.classes == ("a", "b", "c")
    np.testing.assert_allclose(fitted.apply(sharp).sum(axis=1), 1, atol=TOLERANCE)
    assert (fitted.apply(sharp).argmax(axis=1) == sharp.argmax(axis=1)).all()


def test_two_classes_are_calibrated_as_a_binary_task_is():
    probability = np.array([0.0, 0.2, 0.5, 0.97])
    both = calibrate(np.stack([1 - probability, probability], axis=1), 1.7)
    np.testing.assert_allclose(both[:, 1], calibrate(probability, 1.7), atol=1e-12)


@settings(max_examples=60)
@given(predictions(least=2), st.floats(0.05, 20))
def test_calibrating_keeps_the_order_and_the_bounds(case, temperature):
    _, probability, _, _ = case
    calibrated = calibrate(probability, temperature)
    assert ((calibrated >= 0) & (calibrated <= 1)).all()
    order = np.argsort(probability, kind="stable")
    assert (np.diff(calibrated[order]) >= -1e-12).all()
    np.testing.assert_allclose(calibrate(probability, 1.0), probability, atol=1e-15)


@settings(max_examples=60)
@given(predictions(least=2))
def test_a_fit_never_raises_the_log_loss(case):
    truth, probability, _, _ = case
    truth[:2] = [True, False]
    fitted = fit_temperature(truth, probability)
    assert fitted.log_loss_after <= fitted.log_loss_before
    assert TEMPERATURE_LIMITS[0] - 1e-12 <= fitted.value <= TEMPERATURE_LIMITS[1] + 1e-12


def test_scores_without_error_are_bounded_and_said():
    fitted = fit_temperature([0, 0, 1, 1], [0.1, 0.4, 0.6, 0.9])
    assert fitted.value == pytest.approx(TEMPERATURE_LIMITS[0])
    assert "lower bound" in fitted.note
    certain = fit_temperature([0, 0, 1, 1], [1e-12, 0.0, 1 - 1e-12, 1.0])  # no loss at all below temperature 0.04
    assert certain.value == pytest.approx(TEMPERATURE_LIMITS[0])
    assert "lower bound" in certain.note
    backwards = fit_temperature([1, 1, 0, 0], [0.1, 0.4, 0.6, 0.9])
    assert backwards.value == pytest.approx(TEMPERATURE_LIMITS[1])
    assert "upper bound" in backwards.note
    flat = fit_temperature([1, 0], [0.5, 0.5])
    assert (flat.value, flat.note) == (1.0, None)


def test_certain_scores_stay_finite():
    fitted = fit_temperature([0, 1, 1, 0], [0.0, 1.0, 0.0, 0.2])
    assert np.isfinite(fitted.value)
    assert np.isfinite(fitted.log_loss_after)
    assert np.isfinite(fitted.apply([0.0, 1.0])).all()
    several = fit_temperature(["a", "b", "b"], [[1, 0], [0, 1], [1, 0]], classes=["a", "b"])
    assert np.isfinite([several.value, several.log_loss_before, several.log_loss_after]).all()


def test_the_record_holds_what_it_was_fitted_on():
    truth, probability = overconfident(size=20)
    ids = [f"image{number}" for number in range(20)]
    fitted = fit_temperature(truth, probability, image_ids=ids)
    record = json.loads(json.dumps(fitted.as_json()))
    assert record == {
        "value": fitted.value,
        "subset": "val",
        "images": 20,
        "log_loss_before": fitted.log_loss_before,
        "log_loss_after": fitted.log_loss_after,
        "scores_sha256": digest_of_scores(ids, truth, probability),
        "classes": None,
        "note": None,
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        fitted.value = 1.0
    assert fit_temperature(truth, probability).scores_sha256 is None
    order = np.argsort(probability)
    moved = fit_temperature(truth[order], probability[order], image_ids=[ids[row] for row in order])
    assert moved.scores_sha256 == fitted.scores_sha256
    assert moved.value == pytest.approx(fitted.value, abs=1e-6)


def test_the_digest_of_several_classes_names_them():
    names, probability = ["a", "b", "a"], np.array([[0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
    fitted = fit_temperature(names, probability, classes=["a", "b"], image_ids=["x", "y", "z"])
    assert fitted.scores_sha256 == digest_of_scores(["x", "y", "z"], np.array(names), probability)


def test_each_label_is_fitted_on_the_images_for_which_it_is_known():
    truth, probability = overconfident(size=100)
    other = np.where(np.arange(100) < 50, ~truth, np.nan).astype(float)
    table = np.stack([truth.astype(float), other], axis=1)
    ids = [f"image{number}" for number in range(100)]
    fitted = fit_temperatures(table, np.stack([probability, 1 - probability], axis=1), ["x", "y"], image_ids=ids)
    assert fitted["x"] == fit_temperature(truth, probability, image_ids=ids)
    assert fitted["y"] == fit_temperature(~truth[:50], 1 - probability[:50], image_ids=ids[:50])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fit_temperature([1, 1], [0.2, 0.3], where="scores.parquet"), "scores.parquet: subset val: found 2 im"),
        (lambda: fit_temperature([], []), "scores: subset val: found no images; expected at least two classes"),
        (lambda: fit_temperature([0, 1], [0.2, 1.3]), "probability: row 1: found 1.3; expected a number from 0 to 1"),
        (lambda: fit_temperature([0, 1], [0.2, np.nan]), "probability: row 1: found nan"),
        (lambda: fit_temperature([0, 1, 1], [0.2, 0.3]), "truth and probability: found lengths truth 3, probability 2"),
        (lambda: fit_temperature([0, 1], [[0.2], [0.3]]), "scores: probability: found shape (2, 1)"),
        (lambda: fit_temperature(["a"], [[0.2, 0.8]], classes=["a", "a"]), "classes: found a more than once"),
        (lambda: fit_temperature(["a", "c"], [[0.2, 0.8]] * 2, classes=["a", "b"]), "truth: row 1: found 'c'; exp"),
        (lambda: fit_temperature(["a", None], [[0.2, 0.8]] * 2, classes=["a", "b"]), "truth: row 1: found null; exp"),
        (lambda: fit_temperatures([[0, 1], [1, 1]], [[0.1, 0.2]] * 2, ["x", "y"]), "scores: y: subset val"),
        (lambda: fit_temperatures([[0, 1], [1, 1]], [[0.1, 0.2]] * 2, ["x"]), "scores: truth: found shape (2, 2)"),
        (lambda: fit_temperature([0, 1], [0.2, 0.3]).apply([[0.2, 0.8]]), "probability: found shape (1, 2)"),
        (lambda: fit_temperature([0, 1], [0.2, 0.3]).apply([1.2]), "probability: row 0: found 1.2"),
        (
            lambda: fit_temperature(["a", "b"], [[0.2, 0.8]] * 2, classes=["a", "b"]).apply([0.1]),
            "probability: found shape (1,); expected shape (images, 2)",
        ),
        (lambda: evaluate_calibration([0, None], [0.1, 0.2]), "truth: row 1: found nan; expected 0 or 1"),
        (lambda: evaluate_calibration([0, 1], [0.1]), "truth and probability: found lengths"),
        (lambda: evaluate_calibration([0, 1], [0.1, 0.2], patients=["a"]), "patients: found 1 entries"),
        (lambda: evaluate_calibration([0], [0.1], bins=0), "bins: found 0; expected at least 1"),
        (lambda: evaluate_calibration([0], [0.1], binning="other"), "binning: found 'other'; expected equal_width or"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, says):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_sums_agree_with_the_shared_ones():
    truth, probability, clusters = overlapping()
    binned = BinnedOutcomes(truth, probability, clusters, 12)
    np.testing.assert_allclose(binned.outcome.sum(axis=1), sum_by_cluster(truth[:, None], clusters, 12)[:, 0])
    np.testing.assert_allclose(binned.probability.sum(axis=1), sum_by_cluster(probability[:, None], clusters, 12)[:, 0])
