"""What a study can detect: formulas, and by simulation that the stated power is reached."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from simulated_patients import Mean

from scanline.core.errors import InputError
from scanline.evaluate.binary import BinaryMetrics
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.paired import Difference, clustered_mcnemar_test
from scanline.evaluate.power import (
    bootstrap_standard_errors,
    detectable_differences,
    patients_needed,
    power_to_detect,
    smallest_detectable_difference,
    standard_error_of_interval,
)

errors = st.floats(1e-4, 10)
powers = st.floats(0.5, 0.999)
alphas = st.floats(1e-4, 0.3)


def test_textbook_numbers():
    """1.96 + 0.84 and 1.96 + 1.28 standard errors; a study four times as large detects half."""
    assert smallest_detectable_difference(1) == pytest.approx(2.8016, abs=1e-4)
    assert smallest_detectable_difference(1, power=0.9) == pytest.approx(3.2415, abs=1e-4)
    assert smallest_detectable_difference(1, alpha=0.01) == pytest.approx(3.4175, abs=1e-4)
    detected = smallest_detectable_difference(0.02)
    assert patients_needed(detected / 2, 0.02, 150) == pytest.approx(600, abs=1)


@given(errors, alphas, powers)
def test_the_detectable_difference_is_found_with_its_power(error, alpha, power):
    difference = smallest_detectable_difference(error, alpha=alpha, power=power)
    assert power_to_detect(difference, error, alpha=alpha) == pytest.approx(power, abs=1e-9)
    assert power_to_detect(-difference, error, alpha=alpha) == pytest.approx(power, abs=1e-9)
    critical = stats.norm.ppf(1 - alpha / 2) * error
    assert stats.norm.sf(critical, loc=difference, scale=error) == pytest.approx(power, abs=1e-9)


@given(st.floats(0.01, 2), errors, st.integers(1, 5000), powers)
def test_patients_needed_are_the_fewest(difference, error, patients, power):
    needed = patients_needed(difference, error, patients, power=power)
    detected = [
        smallest_detectable_difference(error * np.sqrt(patients / count), power=power) if count else np.inf
        for count in (needed, needed - 1)
    ]
    assert detected[0] <= difference * (1 + 1e-9)
    assert detected[1] >= difference * (1 - 1e-9)
    assert patients_needed(-difference, error, patients, power=power) == needed


@given(errors, st.floats(0.5, 0.999), st.floats(-1, 1))
def test_standard_error_of_a_normal_interval(error, level, centre):
    low, high = stats.norm.interval(level, loc=centre, scale=error)
    assert standard_error_of_interval(low, high, level=level) == pytest.approx(error, rel=1e-9)


def test_bootstrap_standard_error_of_a_mean():
    values = np.random.default_rng(0).normal(0, 2, 120)
    options = EvaluateOptions(bootstrap_resamples=4000)
    alone = bootstrap_standard_errors(Mean(values, np.arange(120)), 120, options)["mean"]
    assert alone == pytest.approx(values.std() / np.sqrt(120), rel=0.05)
    patient = np.arange(120) // 6
    clustered = bootstrap_standard_errors(Mean(values, patient), 20, options)["mean"]
    assert clustered == pytest.approx(values.reshape(20, 6).mean(axis=1).std() / np.sqrt(20), rel=0.05)


def test_the_stated_power_is_reached():
    """Mean Dice of two models on patients with 4 images, sized by one large set; tested by bootstrap and normal."""
    generator = np.random.default_rng(1)
    patients, simulations, options = 50, 400, EvaluateOptions(bootstrap_resamples=200)

    def gains(patients, difference):
        patient = np.repeat(np.arange(patients), 4)
        shared = generator.normal(0, 0.06, patients)[patient]
        return Mean(difference + shared + generator.normal(0, 0.08, len(patient)), patient)

    large = bootstrap_standard_errors(gains(2000, 0), 2000, EvaluateOptions(bootstrap_resamples=500))["mean"]
    error = large * np.sqrt(2000 / patients)
    assert error == pytest.approx(np.sqrt((0.06**2 + 0.08**2 / 4) / patients), rel=0.1)
    difference = smallest_detectable_difference(error)
    found = {"there": 0, "absent": 0}
    for name, true in (("there", difference), ("absent", 0.0)):
        for _ in range(simulations):
            study = gains(patients, true)
            value = study(np.ones((1, patients)))["mean"][0]
            found[name] += abs(value) > 1.96 * bootstrap_standard_errors(study, patients, options)["mean"]
    assert 0.74 <= found["there"] / simulations <= 0.86
    assert 0.02 <= found["absent"] / simulations <= 0.09


def test_patients_needed_reach_the_stated_power():
    """A pilot of accuracies says how many patients a difference of 0.06 takes; the clustered test then finds it."""
    generator = np.random.default_rng(2)

    def both_right(patients):
        patient = np.repeat(np.arange(patients), 5)
        chance = generator.beta(6, 2, patients)[patient] * 0.94
        first = generator.random(len(patient)) < chance + 0.06
        return first, generator.random(len(patient)) < chance, patient

    first, second, patient = both_right(600)
    pilot = Difference(Mean(first.astype(float), patient), Mean(second.astype(float), patient), 600)
    error = bootstrap_standard_errors(pilot, 600, EvaluateOptions(bootstrap_resamples=2000))["mean"]
    needed = patients_needed(0.06, error, 600)
    assert 60 < needed < 600
    found = [clustered_mcnemar_test(*both_right(needed)).p < 0.05 for _ in range(400)]
    assert 0.74 <= np.mean(found) <= 0.86


def test_detectable_differences_of_a_classifier():
    generator = np.random.default_rng(3)
    patient = np.repeat(np.arange(30), 4)
    truth = generator.random(120) < 0.4
    score = 1 / (1 + np.exp(generator.normal(0, 1, 120) - 2 * (truth - 0.5)))
    measure = BinaryMetrics(truth, score >= 0.5, score, patient)
    options = EvaluateOptions(bootstrap_resamples=300)
    found = detectable_differences(measure, 30, options, "here", power=0.9)
    errors = bootstrap_standard_errors(measure, 30, options, "here")
    assert list(found) == list(measure.values())
    assert found["auroc"].as_json() == {
        "standard_error": errors["auroc"], "difference": smallest_detectable_difference(errors["auroc"], power=0.9),
        "alpha": 0.05, "power": 0.9, "clusters": 30, "reason": None,
    }  # fmt: skip


def test_what_has_no_standard_error():
    options = EvaluateOptions(bootstrap_resamples=200)
    truth = np.zeros(9, dtype=bool)
    found = detectable_differences(BinaryMetrics(truth, truth, truth * 0.5, np.arange(9)), 9, options)
    assert (found["recall"].difference, found["recall"].reason) == (None, "no image is positive")
    assert found["accuracy"].reason == "no standard error: all resamples are equal"
    one = np.arange(9) == 0
    rare = detectable_differences(BinaryMetrics(one, one, one * 0.5, np.repeat(range(3), 3)), 3, options)
    assert rare["recall"].reason == "no standard error: all resamples are equal"
    alone = detectable_differences(Mean(np.arange(3.0), np.zeros(3, dtype=int)), 1, options)["mean"]
    assert (alone.standard_error, alone.reason) == (None, "one cluster alone: nothing to resample")
    rounded = detectable_differences(Mean(np.tile([0.1, 0.7, 0.3], 9), np.repeat(range(9), 3)), 9, options)["mean"]
    assert rounded.reason == "no standard error: all resamples are equal"


def test_a_value_undefined_in_most_resamples_has_no_standard_error():
    class Rare:
        def __call__(self, weights):
            return {"rare": np.where((weights == 1).all(axis=1), 1.0, np.nan)}

        def reason_undefined(self, name):
            return "never asked"

    found = detectable_differences(Rare(), 6, EvaluateOptions(bootstrap_resamples=100))["rare"]
    assert found.reason == "no standard error: undefined in most resamples"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: smallest_detectable_difference(0), "standard error: found 0; expected a number above 0"),
        (lambda: smallest_detectable_difference(np.nan), "standard error: found nan"),
        (lambda: smallest_detectable_difference(1, alpha=5), "alpha: found 5; expected a number between 0 and 1"),
        (lambda: smallest_detectable_difference(1, power=0.3), "power: found 0.3; expected at least 0.5 and below 1"),
        (lambda: smallest_detectable_difference(1, power=1), "power: found 1"),
        (lambda: power_to_detect(np.nan, 1), "difference: found nan; expected a finite number"),
        (lambda: patients_needed(0, 1, 10), "difference: found 0; expected a number other than 0"),
        (lambda: patients_needed(1, 1, 0), "patients: found 0; expected at least 1"),
        (lambda: standard_error_of_interval(1, 0), "interval: found 1 to 0; expected two finite limits"),
        (lambda: standard_error_of_interval(0, 1, level=95), "level: found 95"),
    ],
)
def test_wrong_input_is_refused_in_one_line(call, message):
    with pytest.raises(InputError) as refused:
        call()
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
