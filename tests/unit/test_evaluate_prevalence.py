"""Predictive values at a stated prevalence: Bayes' theorem against counting people."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanline.core.errors import InputError
from scanline.evaluate.prevalence import check_prevalence, predictive_values

COUNT = st.integers(0, 200)


@given(COUNT, COUNT, COUNT, COUNT)
def test_at_the_samples_own_prevalence_they_are_its_precision_and_npv(tp, fp, fn, tn):
    if tp + fn == 0 or fp + tn == 0:
        return
    prevalence = (tp + fn) / (tp + fp + fn + tn)
    ppv, npv = predictive_values(tp / (tp + fn), tn / (tn + fp), prevalence)
    assert ppv == pytest.approx(tp / (tp + fp) if tp + fp else np.nan, abs=1e-12, nan_ok=True)
    assert npv == pytest.approx(tn / (tn + fn) if tn + fn else np.nan, abs=1e-12, nan_ok=True)


def test_a_published_example():
    # Altman & Bland: sensitivity 0.90, specificity 0.63, 86% abnormal, then 25%
    ppv, npv = predictive_values(231 / 258, 54 / 86, [258 / 344, 0.25])
    np.testing.assert_allclose(ppv.round(2), [0.88, 0.45])
    np.testing.assert_allclose(npv.round(2), [0.67, 0.95])


def test_resamples_and_labels_broadcast():
    sensitivity = np.array([[0.9, 0.8, np.nan], [0.5, 1.0, 0.0]])
    ppv, npv = predictive_values(sensitivity, 0.75, np.array([[0.1], [0.5]]))
    assert ppv.shape == npv.shape == (2, 3)
    assert np.isnan(ppv[0, 2])
    assert np.isnan(npv[0, 2])
    assert ppv[1, 1] == pytest.approx(1 / 1.25)
    assert npv[1, 2] == pytest.approx(0.75 / 1.75)


def test_vanishing_denominators_are_undefined():
    ppv, npv = predictive_values([0, 0.5, 1, 1], [1, 1, 0, 0.5], [0.3, 0, 0.3, 1])
    assert np.isnan(ppv).tolist() == [True, True, False, False]
    assert np.isnan(npv).tolist() == [False, False, True, True]
    assert npv[1] == 1
    assert ppv[3] == 1


def test_empty_input_stays_empty():
    ppv, npv = predictive_values([], [], 0.2)
    assert ppv.shape == npv.shape == (0,)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: predictive_values(0.9, 0.9, 1.2), "prevalence: row 0: found 1.2; expected a number from 0 to 1"),
        (lambda: predictive_values(0.9, 0.9, [0.1, np.nan]), "prevalence: row 1: found nan"),
        (lambda: predictive_values([0.9, -0.1], 0.9, 0.1), "sensitivity: row 1: found -0.1"),
        (lambda: predictive_values(0.9, 90, 0.1), "specificity: row 0: found 90.0"),
        (lambda: check_prevalence([[0.1, 0.2], [0.3, 4]]), "prevalence: row 3: found 4.0"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, says):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)
