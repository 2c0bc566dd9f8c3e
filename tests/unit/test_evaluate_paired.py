"""Two models on the same images: McNemar's tests, swapping patients, differences with intervals."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from simulated_patients import Mean
from sklearn.metrics import f1_score, roc_auc_score

from scanline.core.errors import InputError
from scanline.evaluate import bootstrap
from scanline.evaluate.binary import BinaryMetrics
from scanline.evaluate.bootstrap import resample, seeded_generator
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.paired import (
    both_models,
    clustered_mcnemar_test,
    mcnemar_test,
    paired_difference,
    permutation_test,
)


def right_or_wrong(both, only_first, only_second, neither):
    """Images in the four cells of McNemar's table."""
    counts = (both, only_first, only_second, neither)
    return np.repeat([1, 1, 0, 0], counts), np.repeat([1, 0, 1, 0], counts)


def two_models(generator, patients=30, images_each=6, slopes=(2.0, 2.0), between=1.0):
    """Truth, scores of two models whose errors a patient's images share, and the patients."""
    patient = np.repeat(np.arange(patients), images_each)
    truth = generator.random(len(patient)) < 0.4
    scores = []
    for slope in slopes:
        logit = slope * (truth - 0.5) + generator.normal(0, between, patients)[patient]
        scores.append(1 / (1 + np.exp(-logit - generator.normal(0, 0.5, len(patient)))))
    return truth, scores[0], scores[1], patient


def metrics_of_both(truth, first, second, patient):
    scores = np.concatenate([first, second])
    return BinaryMetrics(np.tile(truth, 2), scores >= 0.5, scores, both_models(patient))


# McNemar


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 9), st.integers(0, 9))
def test_mcnemar_against_scipy(only_first, only_second, both, neither):
    first, second = right_or_wrong(both, only_first, only_second, neither)
    exact = mcnemar_test(first, second, method="exact")
    corrected = mcnemar_test(first, second, method="corrected")
    discordant = only_first + only_second
    if len(first) == 0:
        assert (exact.p, exact.difference, exact.reason) == (None, None, "there are no images")
        return
    assert exact.difference == pytest.approx(first.mean() - second.mean(), abs=1e-15)
    assert exact.p == (stats.binomtest(only_first, discordant).pvalue if discordant else 1)
    if discordant == 0:
        assert (corrected.p, corrected.reason) == (None, "both models are right on the same images")
        return
    expected = max(abs(only_first - only_second) - 1, 0) ** 2 / discordant
    assert corrected.statistic == pytest.approx(expected)
    assert corrected.p == pytest.approx(stats.chi2.sf(expected, 1))
    auto = mcnemar_test(first, second)
    assert auto == (exact if discordant < 20 else corrected)
    assert auto.method == ("exact binomial" if discordant < 20 else "chi-squared with continuity correction")


def test_published_mcnemar_example():
    """Approval of a prime minister in two surveys: Agresti, Categorical Data Analysis; R, help(mcnemar.test)."""
    test = mcnemar_test(*right_or_wrong(794, 150, 86, 570))
    assert test.statistic == pytest.approx(16.8178, abs=1e-4)
    assert test.p == pytest.approx(4.115e-5, rel=1e-3)
    assert (test.images, test.clusters, test.only_first_correct, test.only_second_correct) == (1600, None, 150, 86)


@pytest.mark.parametrize(
    ("only_first", "method"), [(9, "exact binomial"), (10, "chi-squared with continuity correction")]
)
def test_twenty_discordant_images_are_enough_for_chi_squared(only_first, method):
    assert mcnemar_test(*right_or_wrong(3, only_first, 10, 3)).method == method


def test_clustered_mcnemar_by_hand():
    """Sums of the patients 2, -1, 0, 1: (K - 1) / K (sum)^2 / sum of squares = 3/4 * 4/6."""
    first, second = [1, 1, 0, 1, 0, 1, 1], [0, 0, 1, 0, 1, 1, 0]
    test = clustered_mcnemar_test(first, second, ["a", "a", "b", "c", "c", "c", "d"])
    assert (test.clusters, test.only_first_correct, test.only_second_correct) == (4, 4, 2)
    assert test.statistic == pytest.approx(0.5)
    assert test.p == pytest.approx(stats.chi2.sf(0.5, 1))


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 6)), min_size=2, max_size=30))
def test_clustered_mcnemar_is_obuchowskis_variance(rows):
    """Covariance matrix of two ratio estimators, both with the pooled proportion as their centre."""
    first, second, patient = (np.array(column) for column in zip(*rows, strict=True))
    test = clustered_mcnemar_test(first, second, patient)
    names, images = np.unique(patient, return_counts=True)
    pooled = (first.mean() + second.mean()) / 2
    residuals = np.array(
        [[model[patient == one].sum() - count * pooled for model in (first, second)]
         for one, count in zip(names, images, strict=True)]
    )  # fmt: skip
    factor = len(names) / (len(names) - 1) / len(first) ** 2 if len(names) > 1 else np.nan
    covariance = factor * residuals.T @ residuals
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if test.statistic is None:
        assert np.isnan(variance) or variance == pytest.approx(0, abs=1e-12)
        assert test.reason.startswith(("one patient alone", "both models are right equally often"))
    else:
        assert test.statistic == pytest.approx((first.mean() - second.mean()) ** 2 / variance, abs=1e-9)


def test_clustered_mcnemar_with_one_image_a_patient():
    first, second = right_or_wrong(10, 14, 5, 3)
    test = clustered_mcnemar_test(first, second, np.arange(32))
    assert test.statistic == pytest.approx(31 / 32 * (14 - 5) ** 2 / 19)
    assert clustered_mcnemar_test(first, second, None) == test
    assert clustered_mcnemar_test(first, second, [None] * 32) == test


def test_what_mcnemar_cannot_know():
    empty = clustered_mcnemar_test([], [], [])
    assert (empty.p, empty.difference, empty.reason) == (None, None, "there are no images")
    alone = clustered_mcnemar_test([1, 0], [0, 0], ["a", "a"])
    assert (alone.p, alone.difference) == (None, 0.5)
    assert alone.reason == "one patient alone: nothing tells how patients differ"
    even = clustered_mcnemar_test([1, 0, 1], [0, 1, 1], ["a", "a", "b"])
    assert (even.p, even.reason) == (None, "both models are right equally often in every patient")


def test_clustered_mcnemar_and_swaps_hold_their_level_where_plain_mcnemar_does_not():
    """Equally good models whose errors patients share: a level of 5% is 3% to 7.5% in 600 simulations."""
    generator = np.random.default_rng(4)
    simulations, patients, images_each = 600, 40, 8
    patient = np.repeat(np.arange(patients), images_each)
    found = {"plain": 0, "clustered": 0, "swaps": 0}
    for _ in range(simulations):
        chances = generator.beta(1.5, 0.5, (2, patients))[:, patient]
        first, second = generator.random((2, len(patient))) < chances
        tests = {"plain": mcnemar_test(first, second), "clustered": clustered_mcnemar_test(first, second, patient)}
        both = Mean(np.concatenate([first, second]).astype(float), both_models(patient))
        tests["swaps"] = permutation_test(both, patients, permutations=199)["mean"]
        for name, test in tests.items():
            found[name] += test.p <= 0.05
    shares = {name: count / simulations for name, count in found.items()}
    assert 0.03 <= shares["clustered"] <= 0.075
    assert 0.03 <= shares["swaps"] <= 0.075
    assert shares["plain"] > 0.2


# Paired difference


def test_both_models_are_measured_on_one_draw_of_patients():
    truth, first, second, patient = two_models(np.random.default_rng(0), slopes=(3, 1))
    options = EvaluateOptions(bootstrap_resamples=400, seed=5)
    models = [BinaryMetrics(truth, score >= 0.5, score, patient) for score in (first, second)]
    difference = paired_difference(*models, 30, options, "here")["auroc"]
    drawn = [resample(model, 30, 400, seeded_generator(5, "here"))["auroc"] for model in models]
    expected = np.quantile(drawn[0] - drawn[1], [0.025, 0.975])
    assert difference.value == pytest.approx(roc_auc_score(truth, first) - roc_auc_score(truth, second))
    assert [difference.low, difference.high] == pytest.approx(list(expected), abs=1e-15)
    turned = paired_difference(*models[::-1], 30, options, "here")["auroc"]
    assert [turned.value, turned.low, turned.high] == pytest.approx(
        [-difference.value, -difference.high, -difference.low], abs=1e-15
    )


def test_what_is_hard_for_both_models_cancels():
    truth, first, _, patient = two_models(np.random.default_rng(1))
    second = np.clip(first + np.random.default_rng(2).normal(0, 0.01, len(first)), 0, 1)
    options = EvaluateOptions(bootstrap_resamples=500)
    one, other = (BinaryMetrics(truth, score >= 0.5, score, patient) for score in (first, second))
    interval = paired_difference(one, other, 30, options)["auroc"]
    single = bootstrap.estimate(one, 30, options)["auroc"]
    assert interval.high - interval.low < (single.high - single.low) / 5


def test_a_difference_takes_strata_and_bca():
    truth, first, second, patient = two_models(np.random.default_rng(3), slopes=(3, 2))
    models = [BinaryMetrics(truth, score >= 0.5, score, patient) for score in (first, second)]
    options = EvaluateOptions(bootstrap_resamples=300, interval_method="bca")
    difference = paired_difference(*models, 30, options, strata=np.arange(30) % 2)["brier"]
    assert difference.low < difference.value < difference.high


def test_an_undefined_side_is_named():
    truth, patient = np.array([True, False, True]), np.arange(3)
    never, ever = (BinaryMetrics(truth, called, called * 1.0, patient) for called in (truth & False, truth))
    options = EvaluateOptions(bootstrap_resamples=100)
    assert paired_difference(never, ever, 3, options)["precision"].reason == "first: no image is predicted positive"
    assert paired_difference(ever, never, 3, options)["precision"].reason == "second: no image is predicted positive"
    assert paired_difference(never, never, 3, options)["precision"].reason == "no image is predicted positive"
    assert paired_difference(ever, never, 3, options)["accuracy"].value == pytest.approx(2 / 3)
    nobody = Mean(np.zeros(0), np.zeros(0, dtype=int))
    assert paired_difference(nobody, nobody, 0, options)["mean"].reason == "there are no images"


# Permutation test


def test_every_swap_is_tried_with_few_patients():
    """Against the whole enumeration, scored by scikit-learn."""
    truth, first, second, patient = two_models(np.random.default_rng(6), patients=7, slopes=(3, 1.5))
    first, second = first.round(1), second.round(1)
    tests = permutation_test(metrics_of_both(truth, first, second, patient), 7)
    metrics = {
        "auroc": roc_auc_score,
        "f1": lambda known, score: f1_score(known, score >= 0.5),
        "accuracy": lambda known, score: np.mean(known == (score >= 0.5)),
    }
    for name, metric in metrics.items():
        differences = []
        for swap in product([False, True], repeat=7):
            swapped = np.array(swap)[patient]
            a, b = np.where(swapped, second, first), np.where(swapped, first, second)
            differences.append(metric(truth, a) - metric(truth, b))
        observed = differences[0]
        expected = np.mean(np.abs(differences) >= abs(observed) - 1e-12)
        assert tests[name].difference == pytest.approx(observed, abs=1e-14)
        assert tests[name].p == pytest.approx(expected, abs=1e-15), name
        assert (tests[name].swaps, tests[name].exact) == (128, True)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), min_size=1, max_size=16))
def test_swaps_of_a_mean_flip_the_signs_of_the_patients_sums(rows):
    """Sums of whole numbers: ties with the seen difference are exact here, and may not be lost to rounding."""
    patient, gains = (np.array(column) for column in zip(*rows, strict=True))
    patient = np.unique(patient, return_inverse=True)[1]
    clusters = patient.max() + 1
    first, second = 0.3 + gains / 10, np.full(len(gains), 0.3)
    test = permutation_test(Mean(np.concatenate([first, second]), both_models(patient)), clusters)["mean"]
    sums = np.array([gains[patient == one].sum() for one in range(clusters)])
    flips = np.array(list(product([-1, 1], repeat=clusters)))
    assert test.p == np.mean(np.abs(flips @ sums) >= abs(sums.sum()))


def test_random_swaps_come_near_the_whole_enumeration(monkeypatch):
    truth, first, second, patient = two_models(np.random.default_rng(8), patients=10, slopes=(3, 2))
    both = metrics_of_both(truth, first, second, patient)
    exact = permutation_test(both, 10)
    monkeypatch.setattr("scanline.evaluate.paired.MAX_ENUMERATED_CLUSTERS", 0)
    drawn = permutation_test(both, 10, permutations=8000)
    for name in ("auroc", "accuracy", "brier"):
        assert drawn[name].p == pytest.approx(exact[name].p, abs=0.02)
        assert (drawn[name].exact, drawn[name].swaps) == (False, 8000)


def test_p_of_random_swaps_counts_the_one_seen(monkeypatch):
    """A difference beyond all swaps still has p = 1 / (1 + permutations)."""
    clusters = np.arange(40)
    both = Mean(np.repeat([1.0, 0.0], 40), both_models(clusters))
    assert permutation_test(both, 40, permutations=99)["mean"].p == pytest.approx(0.01)
    seen = permutation_test(both, 40, permutations=99)
    monkeypatch.setattr(bootstrap, "CHUNK_CELLS", 300)
    assert permutation_test(both, 40, permutations=99) == seen


def test_swaps_repeat_and_follow_seed_and_stream():
    truth, first, second, patient = two_models(np.random.default_rng(9), slopes=(2.2, 2))
    both = metrics_of_both(truth, first, second, patient)
    runs = [permutation_test(both, 30, *stream, permutations=500, seed=seed)["auroc"].p
            for stream, seed in ((("a",), 0), (("a",), 0), (("b",), 0), (("a",), 1))]  # fmt: skip
    assert runs[0] == runs[1]
    assert len(set(runs)) == 3


def test_equal_models_have_p_1():
    truth, first, _, patient = two_models(np.random.default_rng(10))
    test = permutation_test(metrics_of_both(truth, first, first, patient), 30, permutations=99)["auroc"]
    assert (test.difference, test.p) == (0.0, 1.0)


def test_undefined_swaps_count_as_extreme():
    """Precision of a model that calls nobody is undefined: of four swaps, the one seen is defined and its mirror."""
    truth, clusters = np.array([True, True]), np.arange(2)
    called = np.array([True, False, False, True])
    both = BinaryMetrics(np.tile(truth, 2), called, called * 1.0, both_models(clusters))
    test = permutation_test(both, 2)["precision"]
    assert (test.difference, test.undefined_swaps, test.p) == (0.0, 2, 1.0)


def test_what_swaps_cannot_know():
    truth, clusters = np.array([True, False]), np.arange(2)
    called = np.array([False, False, True, False])
    both = BinaryMetrics(np.tile(truth, 2), called, called * 1.0, both_models(clusters))
    tests = permutation_test(both, 2)
    assert (tests["precision"].p, tests["precision"].reason) == (None, "undefined for the first model")
    assert tests["recall"].p == 1.0
    nobody = permutation_test(Mean(np.zeros(0), np.zeros(0, dtype=int)), 0)["mean"]
    assert (nobody.difference, nobody.p, nobody.reason) == (None, None, "undefined for the first and the second model")


# Wrong input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mcnemar_test([1, 0], [1]), "first and second: found lengths first 2, second 1"),
        (lambda: mcnemar_test([1, 2], [1, 0]), "first: row 1: found 2.0; expected 0 or 1"),
        (lambda: mcnemar_test([1, 0], [1, None]), "second: row 1: found nan"),
        (lambda: mcnemar_test([[1]], [[0]]), "first: found an array of 2 axes; expected one entry for each image"),
        (lambda: mcnemar_test([1], [0], method="yates"), "method: found 'yates'; expected auto, exact, corrected"),
        (lambda: clustered_mcnemar_test([1, 0], [1, 0], ["a"]), "patients: found 1 entries; expected 2"),
        (lambda: clustered_mcnemar_test([1, 0], [1], ["a", "b"]), "first and second: found lengths"),
        (lambda: permutation_test(Mean(np.ones(2), np.arange(2)), 1, permutations=0), "permutations: found 0"),
    ],
)
def test_wrong_input_is_refused_in_one_line(call, message):
    with pytest.raises(InputError) as refused:
        call()
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_json_holds_every_field():
    assert mcnemar_test([1, 0], [0, 0]).as_json() == {
        "images": 2, "clusters": None, "only_first_correct": 1, "only_second_correct": 0, "difference": 0.5,
        "statistic": None, "p": 1.0, "method": "exact binomial", "reason": None,
    }  # fmt: skip
    test = permutation_test(Mean(np.array([1.0, 0.0]), np.arange(2)), 1)["mean"]
    assert test.as_json() == {
        "difference": 1.0, "p": 1.0, "swaps": 2, "exact": True, "undefined_swaps": 0, "reason": None,
    }  # fmt: skip
