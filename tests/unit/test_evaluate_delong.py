"""DeLong's and Obuchowski's variance of the AUROC: against published output, and against their definition."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from scanline.core.errors import InputError
from scanline.evaluate.delong import auroc_covariance, delong_auroc, delong_test, delong_test_unpaired
from scanline.evaluate.ranking import Ranking

NONE_AT_ALL = (None, None, None)


@pytest.fixture(scope="module")
def published():
    """Outcome and three predictors of 113 patients."""
    return pd.read_csv(Path(__file__).parent / "data/subarachnoid_haemorrhage.csv", comment="#")


def by_definition(truth, scores, patients=None):
    """AUROCs and covariance from every pair of a positive and a negative, patient by patient."""
    truth, scores = np.asarray(truth, dtype=bool), np.asarray(scores, dtype=float)
    patients = np.arange(len(truth)) if patients is None else np.asarray(patients)
    outranks = np.zeros((scores.shape[1], truth.sum(), (~truth).sum()))
    for model, column in enumerate(scores.T):
        for i, positive in enumerate(column[truth]):
            for j, negative in enumerate(column[~truth]):
                outranks[model, i, j] = 1.0 if positive > negative else 0.5 if positive == negative else 0.0
    auroc = outranks.mean(axis=(1, 2))
    of_positives, of_negatives = outranks.mean(axis=2), outranks.mean(axis=1)
    owners = patients[truth], patients[~truth]
    counts = [len(set(patients)), *(len(set(owner)) for owner in owners)]
    everyone, with_positives, with_negatives = (count / (count - 1) for count in counts)
    m, n, models = truth.sum(), (~truth).sum(), range(len(auroc))
    covariance = np.zeros((len(auroc), len(auroc)))
    for patient in set(patients):
        x = [(of_positives[k, owners[0] == patient] - auroc[k]).sum() for k in models]
        y = [(of_negatives[k, owners[1] == patient] - auroc[k]).sum() for k in models]
        for k in models:
            for q in models:
                covariance[k, q] += with_positives * x[k] * x[q] / m**2 + with_negatives * y[k] * y[q] / n**2
                covariance[k, q] += everyone * (x[k] * y[q] + x[q] * y[k]) / (m * n)
    return auroc, covariance


@st.composite
def rated_images(draw, models=1):
    """Truth with two of each kind at least, scores with many ties, patients with several images."""
    images = draw(st.integers(4, 24))
    truth = [0, 0, 1, 1, *draw(st.lists(st.integers(0, 1), min_size=images - 4, max_size=images - 4))]
    scores = draw(
        st.lists(st.lists(st.integers(0, 5), min_size=models, max_size=models), min_size=images, max_size=images)
    )
    others = draw(st.lists(st.integers(0, 6), min_size=images - 4, max_size=images - 4))
    return np.array(truth), np.array(scores, dtype=float) / 5, np.array([0, 1, 1, 2, *others])


# pROC 1.18.0, ci.auc(), var(), cov() and roc.test() on the data set aSAH: the numbers its own tests expect.


def test_published_auroc_and_interval(published):
    estimate = delong_auroc(published["poor_outcome"], published["ndka"])
    assert (estimate.positives, estimate.negatives, estimate.clusters) == (41, 72, 113)
    limits = [estimate.low, estimate.value, estimate.high]
    assert limits == pytest.approx([0.501244999271703, 0.611957994579946, 0.722670989888189], abs=1e-14)
    assert (estimate.method, estimate.interval, estimate.reason) == ("delong", "normal", None)


def test_published_variances_and_covariances(published):
    _, covariance = auroc_covariance(published["poor_outcome"], published[["wfns", "s100b", "ndka"]])
    expected = [
        [0.00146991470882363, 0.00119615567376754, -0.000532967856762438],
        [0.00119615567376754, 0.00266868245717244, -0.000756164938056579],
        [-0.000532967856762438, -0.000756164938056579, 0.0031908105493913],
    ]
    np.testing.assert_allclose(covariance, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "z", "p", "low", "high"),
    [
        ("wfns", "s100b", 2.20898359144091, 0.0271757822291882, 0.0104061769564846, 0.174214419249478),
        ("wfns", "ndka", 2.79777591868904, 0.00514557970691098, 0.0634011709339876, 0.3600405634833566),
        ("ndka", "s100b", -1.39077002573558, 0.164295175223054, -0.2876917446341914, 0.0488706064228094),
    ],
)
def test_published_paired_tests(published, first, second, z, p, low, high):
    test = delong_test(published["poor_outcome"], published[first], published[second])
    assert [test.z, test.p, test.low, test.high] == pytest.approx([z, p, low, high], rel=1e-11)
    turned = delong_test(published["poor_outcome"], published[second], published[first])
    assert (turned.z, turned.p, turned.low) == (-test.z, test.p, -test.high)


@pytest.mark.parametrize(
    ("first", "second", "statistic", "p_by_t"),
    [
        ("wfns", "s100b", 1.43490640926908, 0.152825378808796),
        ("wfns", "ndka", 3.10125096778969, 0.00220950791756457),
        ("ndka", "s100b", -1.55995743389685, 0.120192832430845),
    ],
)
def test_published_unpaired_tests(published, first, second, statistic, p_by_t):
    """pROC takes the same statistic to Student's t with Welch's degrees of freedom, we to the normal."""
    parts = [delong_auroc(published["poor_outcome"], published[name]) for name in (first, second)]
    test = delong_test_unpaired(*parts)
    assert test.z == pytest.approx(statistic, rel=1e-11)
    assert test.p == pytest.approx(2 * stats.norm.sf(abs(statistic)), rel=1e-11)
    variances = [part.standard_error**2 for part in parts]
    freedom = sum(variances) ** 2 / sum(variance**2 / 112 for variance in variances)
    assert 2 * stats.t.sf(abs(test.z), freedom) == pytest.approx(p_by_t, rel=1e-9)
    assert not test.paired


def test_clustered_variances_equal_those_of_an_independent_program(published):
    """Computed in R, pair by pair, with every three rows taken for one patient's."""
    patients = np.arange(113) // 3
    auroc, covariance = auroc_covariance(published["poor_outcome"], published[["ndka", "wfns"]], patients)
    assert auroc == pytest.approx([0.611957994579945819, 0.823678861788617933], abs=1e-15)
    expected = [[0.002789075219009835, -0.000650438779568395], [-0.000650438779568395, 0.001681364293437287]]
    np.testing.assert_allclose(covariance, expected, rtol=1e-13)
    test = delong_test(published["poor_outcome"], published["ndka"], published["wfns"], patients)
    assert [test.z, test.p] == pytest.approx([-2.78693087429628239, 0.00532098280255155], rel=1e-12)
    assert test.method == "obuchowski"


@given(rated_images(models=3))
def test_every_number_follows_the_definition(images):
    truth, scores, patients = images
    for owners in (None, patients):
        auroc, covariance = auroc_covariance(truth, scores, owners)
        expected = by_definition(truth, scores, owners)
        np.testing.assert_allclose(auroc, expected[0], rtol=0, atol=1e-14)
        np.testing.assert_allclose(covariance, expected[1], rtol=1e-11, atol=1e-15)
        assert auroc == pytest.approx([roc_auc_score(truth, column) for column in scores.T], abs=1e-14)
        ranked = [Ranking(truth == 1, column, np.arange(len(truth))) for column in scores.T]
        assert auroc == pytest.approx([one.areas(np.ones((1, len(truth))))[0][0] for one in ranked], abs=1e-14)


@given(rated_images())
def test_one_image_a_patient_is_delong(images):
    truth, scores, _ = images
    names = [f"patient {row}" for row in range(len(truth))]
    for owners in (names, np.array(names)[::-1], [None] * len(truth)):
        alone, clustered = auroc_covariance(truth, scores), auroc_covariance(truth, scores, owners)
        np.testing.assert_allclose(clustered[1], alone[1], rtol=1e-13)


@given(rated_images(models=2), st.integers(2, 4))
def test_copies_of_images_teach_nothing_where_patients_are_known(images, copies):
    truth, scores, patients = images
    once = auroc_covariance(truth, scores, patients)
    again = auroc_covariance(np.tile(truth, copies), np.tile(scores, (copies, 1)), np.tile(patients, copies))
    np.testing.assert_allclose(again[0], once[0], atol=1e-14)
    np.testing.assert_allclose(again[1], once[1], rtol=1e-9, atol=1e-15)


@given(rated_images(models=2))
def test_a_clustered_variance_is_never_negative(images):
    _, covariance = auroc_covariance(*images)
    assert np.linalg.eigvalsh(covariance).min() >= -1e-15


@given(rated_images())
def test_order_alone_matters(images):
    truth, scores, patients = images
    score = scores[:, 0]
    estimate = delong_auroc(truth, score, patients)
    assert delong_auroc(truth, np.exp(3 * score), patients) == estimate
    turned = delong_auroc(truth, -score, patients)
    assert turned.value == pytest.approx(1 - estimate.value, abs=1e-14)
    if estimate.standard_error:
        assert turned.standard_error == pytest.approx(estimate.standard_error, rel=1e-6)


def test_logit_interval(published):
    truth, score = published["poor_outcome"], published["wfns"]
    normal, on_logit = delong_auroc(truth, score, level=0.9), delong_auroc(truth, score, level=0.9, interval="logit")
    value, error = normal.value, normal.standard_error
    z = stats.norm.ppf(0.95)
    odds = value / (1 - value) * np.exp(np.array([-1, 1]) * z * error / (value * (1 - value)))
    assert [on_logit.low, on_logit.high] == pytest.approx(list(odds / (1 + odds)), abs=1e-14)
    assert [normal.low, normal.high] == pytest.approx([value - z * error, value + z * error], abs=1e-14)


@given(rated_images())
def test_limits_stay_in_range(images):
    truth, scores, patients = images
    for form in ("normal", "logit"):
        estimate = delong_auroc(truth, scores[:, 0], patients, interval=form)
        if estimate.reason is None:
            assert 0 <= estimate.low < estimate.value < estimate.high <= 1


@pytest.mark.parametrize(
    ("truth", "score", "patients", "value", "reason"),
    [
        ([], [], None, None, "no image is positive; no image is negative"),
        ([0, 0], [1, 2], None, None, "no image is positive"),
        ([1, 1], [1, 2], None, None, "no image is negative"),
        ([0, 0, 1], [1, 3, 2], None, 0.5, "no interval: one image alone is positive"),
        ([0, 1, 1], [1, 3, 2], None, 1.0, "no interval: one image alone is negative"),
        ([0, 1], [2, 1], None, 0.0, "no interval: one image alone is positive; one image alone is negative"),
        ([0, 0, 1, 1], [1, 3, 2, 4], list("abcc"), 0.75, "no interval: all positive images are of one patient"),
        (
            [0, 0, 1, 1],
            [1, 2, 3, 4],
            None,
            1.0,
            "no interval: every positive outranks every negative, and the variance is estimated as 0",
        ),
        (
            [1, 1, 0, 0],
            [1, 2, 3, 4],
            list("abca"),
            0.0,
            "no interval: no positive outranks every negative, and the variance is estimated as 0",
        ),
        ([0, 0, 1, 1], [2, 2, 2, 2], None, 0.5, "no interval: the variance is estimated as 0"),
        ([0, 1] * 4, [0.1, 0.3, 0.3, 0.1] * 2, list("aabbccdd"), 0.5, None),
    ],
)
def test_what_cannot_be_known(truth, score, patients, value, reason):
    estimate = delong_auroc(truth, score, patients)
    assert (estimate.value, estimate.reason) == (value, reason)
    if reason:
        assert (estimate.low, estimate.high, estimate.standard_error) == NONE_AT_ALL


def test_equal_patients_leave_no_variance():
    """Each patient has the same images: his sums are all 0 but for rounding, and an interval would be a point."""
    truth, score = np.tile([0, 0, 0, 1, 1, 1, 1], 9), np.tile([0.1, 0.2, 0.7, 0.3, 0.3, 0.7, 0.9], 9)
    estimate = delong_auroc(truth, score, np.repeat(np.arange(9), 7))
    assert estimate.reason == "no interval: the variance is estimated as 0"


def test_models_that_rank_alike_leave_no_test():
    truth, score = [0, 0, 1, 1, 0, 1], np.array([0.1, 0.7, 0.3, 0.9, 0.4, 0.4])
    test = delong_test(truth, score, score**3)
    assert (test.difference, test.z, test.p, test.low) == (0.0, None, None, None)
    assert test.reason == "no test: the variance of the difference is estimated as 0"


def test_a_perfect_model_leaves_no_test():
    truth, good, perfect = [0, 0, 0, 1, 1, 1], [1, 2, 5, 3, 4, 6], [1, 2, 3, 4, 5, 6]
    why = "no interval: every positive outranks every negative, and the variance is estimated as 0"
    test = delong_test(truth, good, perfect)
    assert (test.p, test.reason, test.second) == (None, f"second: {why}", 1.0)
    assert test.difference == pytest.approx(7 / 9 - 1)
    unpaired = delong_test_unpaired(delong_auroc(truth, perfect), delong_auroc(truth, good))
    assert (unpaired.p, unpaired.reason) == (None, f"first: {why}")


def test_reasons_of_two():
    one_kind = delong_test([1, 1], [1, 2], [2, 1])
    assert (one_kind.difference, one_kind.p, one_kind.reason) == (None, None, "no image is negative")
    alone = delong_test([1, 0, 0], [1, 2, 0], [2, 1, 0])
    assert (alone.difference, alone.reason) == (-0.5, "no interval: one image alone is positive")
    defined, undefined = delong_auroc([0, 0, 1, 1], [1, 3, 2, 4]), delong_auroc([0, 0], [1, 2])
    unpaired = delong_test_unpaired(defined, undefined)
    assert (unpaired.first, unpaired.second, unpaired.difference) == (0.75, None, None)
    assert unpaired.reason == "second: no image is positive"


def test_the_difference_is_tested_at_its_level():
    """Under no difference, p below 0.05 in 5% of samples: correlated scores, and unpaired ones."""
    generator = np.random.default_rng(3)
    paired, unpaired = [], []
    for _ in range(800):
        truth = np.repeat([0, 1], [40, 30])
        shared = truth + generator.normal(0, 1, 70)
        first, second = (shared + generator.normal(0, 0.7, 70) for _ in range(2))
        paired.append(delong_test(truth, first, second).p)
        other = truth + generator.normal(0, np.sqrt(1.49), 70)
        unpaired.append(delong_test_unpaired(delong_auroc(truth, first), delong_auroc(truth, other)).p)
    for values in (paired, unpaired):
        assert 0.03 <= np.mean(np.array(values) < 0.05) <= 0.075


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0, 1, 1], [1, 2]), {}, "truth and scores: found lengths truth 3, scores 2"),
        (([0, 2], [1, 2]), {}, "truth: row 1: found 2.0; expected 0 or 1"),
        (([0, None], [1, 2]), {}, "truth: row 1: found nan"),
        (([0, 1], [np.nan, 2]), {}, "score: row 0: found nan; expected a finite number"),
        (([0, 1], ["low", 2]), {}, "score: found 'low'; expected numbers"),
        (([0, 1], [1, 2], ["a"]), {}, "patients: found 1 entries; expected 2"),
        (([[0, 1]], [[1, 2]]), {}, "score: found an array of 2 axes; expected one score for each image"),
        (([[0], [1]], [1, 2]), {}, "truth: found an array of 2 axes; expected one truth for each image"),
        (([0, 1], [1, 2]), {"level": 95}, "level: found 95; expected a number between 0 and 1"),
        (([0, 1], [1, 2]), {"interval": "wilson"}, "interval: found 'wilson'; expected normal or logit"),
    ],
)
def test_wrong_input_is_refused_in_one_line(arguments, options, message):
    with pytest.raises(InputError) as refused:
        delong_auroc(*arguments, **options)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_wrong_input_of_a_test_is_refused():
    with pytest.raises(InputError, match=r"^first and second: found lengths first 2, second 3"):
        delong_test([0, 1], [1, 2], [1, 2, 3])
    with pytest.raises(InputError, match=r"^second: row 1: found inf"):
        delong_test([0, 1], [1, 2], [1, np.inf])
    with pytest.raises(InputError, match=r"^scores: found an array of 1 axes; expected two axes"):
        auroc_covariance([0, 1], [1, 2])


def test_json_holds_every_field(published):
    test = delong_test(published["poor_outcome"], published["wfns"], published["ndka"])
    assert set(test.as_json()) == {
        "first", "second", "difference", "low", "high", "standard_error", "z", "p", "reason", "paired", "method",
    }  # fmt: skip
    assert delong_auroc([0, 1], [1, 2]).as_json()["value"] == 1.0
