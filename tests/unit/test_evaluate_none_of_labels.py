"""None of the labels, derived from their thresholds: against counting by hand and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from scanline.core.errors import InputError
from scanline.evaluate.none_of_labels import METRICS, evaluate_none_of_labels
from scanline.evaluate.options import EvaluateOptions

FEW = EvaluateOptions(bootstrap_resamples=100)
LIMITS = {"mass": 0.5, "nodule": 0.3}


def test_an_image_is_called_free_if_no_label_reaches_its_threshold():
    truth = [[0, 0], [0, 0], [0, 0], [1, 0]]
    probability = [[0.49, 0.29], [0.5, 0.0], [0.0, 0.3], [0.1, 0.1]]
    result = evaluate_none_of_labels(truth, probability, LIMITS, options=FEW)
    assert result["confusion"] == {"tp": 1, "fp": 1, "fn": 2, "tn": 0}
    assert result["metrics"]["recall"]["value"] == pytest.approx(1 / 3)
    assert result["metrics"]["specificity"]["value"] == 0
    assert set(result["metrics"]) == set(METRICS)


def test_what_is_unknown_counts_only_beside_a_label_that_is_there():
    nan = np.nan
    truth = [[1, nan], [0, nan], [nan, nan], [0, 0]]
    result = evaluate_none_of_labels(truth, np.zeros((4, 2)), LIMITS, options=FEW)
    assert (result["images"], result["left_out"]) == (2, 2)
    assert (result["positives"], result["negatives"]) == (1, 1)


def test_nothing_is_said_where_nothing_is_known():
    assert evaluate_none_of_labels([[0, np.nan]], [[0.1, 0.1]], LIMITS, options=FEW) is None


def test_it_agrees_with_scikit_learn_on_random_labels():
    rng = np.random.default_rng(1)
    truth, probability = rng.random((300, 4)) < 0.2, rng.random((300, 4)) ** 2
    limits = dict(zip("abcd", (0.4, 0.5, 0.6, 0.7), strict=True))
    patients = [f"p{row // 3}" for row in range(300)]
    result = evaluate_none_of_labels(truth, probability, limits, patients=patients, options=FEW)
    expected = ~truth.any(axis=1)
    predicted = (probability < [0.4, 0.5, 0.6, 0.7]).all(axis=1)
    assert result["metrics"]["f1"]["value"] == pytest.approx(f1_score(expected, predicted), abs=1e-12)
    assert result["metrics"]["recall"]["value"] == pytest.approx(recall_score(expected, predicted), abs=1e-12)
    assert result["clusters"] == 100
    assert result["metrics"]["f1"]["low"] < result["metrics"]["f1"]["value"] < result["metrics"]["f1"]["high"]


def test_probabilities_that_are_none_are_refused():
    with pytest.raises(InputError, match="from 0 to 1"):
        evaluate_none_of_labels([[0, 0]], [[1.2, 0]], LIMITS)
