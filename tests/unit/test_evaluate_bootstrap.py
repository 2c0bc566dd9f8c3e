"""The bootstrap draws patients, equals explicit resampling and scipy, and covers what it should."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from scanline.evaluate import bootstrap
from scanline.evaluate.binary import BinaryMetrics
from scanline.evaluate.bootstrap import (
    bca_interval,
    draw_cluster_weights,
    estimate,
    leave_one_out,
    percentile_interval,
    resample,
    seeded_generator,
    strata_of_clusters,
    sum_by_cluster,
)
from scanline.evaluate.options import EvaluateOptions


class Mean:
    """The mean of a number of each image."""

    def __init__(self, values, clusters=None):
        clusters = np.arange(len(values)) if clusters is None else clusters
        pairs = np.stack([values, np.ones(len(values))], axis=1)
        self.sums = sum_by_cluster(pairs, clusters, clusters.max(initial=-1) + 1)

    def __call__(self, weights):
        total, images = (weights @ self.sums).T
        return {"mean": bootstrap.divide(total, images)}

    def reason_undefined(self, name):
        return f"there are no images for the {name}"


def clustered_predictions(generator, patients=30, images_each=20, between=1.0):
    """Scores with an error that a patient's images share: the truth, the scores, the patients."""
    patient = np.repeat(np.arange(patients), images_each)
    truth = generator.random(len(patient)) < 0.4
    shared = generator.normal(0, between, patients)[patient]
    logit = np.where(truth, 1.0, -1.0) + shared + generator.normal(0, 0.5, len(patient))
    return truth, 1 / (1 + np.exp(-logit)), patient


def test_weights_equal_explicit_resampling_scored_by_scikit_learn():
    truth, probability, patient = clustered_predictions(np.random.default_rng(1), patients=12, images_each=7)
    probability = probability.round(1)  # ties
    predicted = probability >= 0.5
    resamples = 25
    ours = resample(BinaryMetrics(truth, predicted, probability, patient), 12, resamples, seeded_generator(3, "x"))
    drawn = seeded_generator(3, "x").integers(0, 12, size=(resamples, 12))
    for row, patients in enumerate(drawn):
        images = np.concatenate([np.flatnonzero(patient == one) for one in patients])
        t, p, s = truth[images], predicted[images], probability[images]
        assert ours["auroc"][row] == pytest.approx(sk.roc_auc_score(t, s), abs=1e-12)
        assert ours["auprc"][row] == pytest.approx(sk.average_precision_score(t, s), abs=1e-12)
        assert ours["f1"][row] == pytest.approx(sk.f1_score(t, p), abs=1e-12)
        assert ours["mcc"][row] == pytest.approx(sk.matthews_corrcoef(t, p), abs=1e-12)
        assert ours["brier"][row] == pytest.approx(sk.brier_score_loss(t, s), abs=1e-12)
        assert ours["macro.f1"][row] == pytest.approx(sk.f1_score(t, p, average="macro"), abs=1e-12)


def test_weights_are_multinomial():
    weights = np.concatenate(list(draw_cluster_weights(8, 20_000, np.random.default_rng(0), chunk=999)))
    assert weights.shape == (20_000, 8)
    assert (weights.sum(axis=1) == 8).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.03)
    np.testing.assert_allclose(weights.var(axis=0), 1 - 1 / 8, atol=0.04)
    covariance = np.cov(weights.T)[np.triu_indices(8, 1)]
    np.testing.assert_allclose(covariance, -1 / 8, atol=0.03)


def test_stratified_weights_keep_each_stratum():
    strata = np.array([0, 1, 0, 1, 1, 2, 0, 0])
    weights = np.concatenate(list(draw_cluster_weights(8, 5_000, np.random.default_rng(0), chunk=999, strata=strata)))
    for stratum in (0, 1, 2):
        inside = weights[:, strata == stratum]
        assert (inside.sum(axis=1) == inside.shape[1]).all()
        np.testing.assert_allclose(inside.mean(axis=0), 1, atol=0.05)


def test_a_cluster_with_one_positive_image_is_in_the_positive_stratum():
    strata = strata_of_clusters(np.array([False, True, False, False, True]), np.array([0, 0, 1, 2, 2]))
    assert strata.tolist() == [1, 0, 1]


def test_a_stratified_interval_is_narrower_where_strata_differ():
    values = np.array([0.0] * 20 + [1.0] * 20)
    wide = estimate(Mean(values), 40, EvaluateOptions(bootstrap_resamples=500))["mean"]
    strata = np.repeat([0, 1], 20)
    narrow = estimate(Mean(values), 40, EvaluateOptions(bootstrap_resamples=500), strata=strata)["mean"]
    assert narrow.high - narrow.low == 0
    assert wide.high - wide.low > 0.2


def test_chunks_change_no_number(monkeypatch):
    truth, probability, patient = clustered_predictions(np.random.default_rng(2))
    measure = BinaryMetrics(truth, probability >= 0.5, probability, patient)
    whole = resample(measure, 30, 50, seeded_generator(0)), leave_one_out(measure, 30)
    monkeypatch.setattr(bootstrap, "CHUNK_CELLS", 200)
    in_chunks = resample(measure, 30, 50, seeded_generator(0)), leave_one_out(measure, 30)
    for before, after in zip(whole, in_chunks, strict=True):
        for name, values in before.items():
            np.testing.assert_allclose(after[name], values, rtol=0, atol=1e-14)


def test_memory_is_bounded():
    sizes = []

    def spy(weights):
        sizes.append(weights.size)
        return {"one": weights.sum(axis=1)}

    resample(spy, 3_000, 1_000, seeded_generator(0))
    assert max(sizes) <= bootstrap.CHUNK_CELLS
    assert sum(sizes) == 3_000 * 1_000


def test_leaving_one_out_equals_deleting_its_images():
    truth, probability, patient = clustered_predictions(np.random.default_rng(3), patients=9, images_each=5)
    left_out = leave_one_out(BinaryMetrics(truth, probability >= 0.5, probability, patient), 9)
    for one in range(9):
        rest = patient != one
        assert left_out["auroc"][one] == pytest.approx(sk.roc_auc_score(truth[rest], probability[rest]), abs=1e-12)
        assert left_out["brier"][one] == pytest.approx(sk.brier_score_loss(truth[rest], probability[rest]), abs=1e-12)


def drawn_before(replicates):
    """scipy's record of resamples drawn before, holding ours."""
    return SimpleNamespace(bootstrap_distribution=replicates)


@pytest.mark.parametrize("power", [1, 3])
def test_bca_equals_scipy_on_the_same_resamples(power):
    values = np.random.default_rng(4).gamma(1.0, size=23) ** power
    replicates = resample(Mean(values), 23, 999, seeded_generator(0))["mean"]
    theirs = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=0,
        method="BCa",
        bootstrap_result=drawn_before(replicates),
    ).confidence_interval
    ours = bca_interval(values.mean(), replicates, leave_one_out(Mean(values), 23)["mean"], 0.95)
    assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=1e-12), pytest.approx(theirs.high, abs=1e-12))
    plain = percentile_interval(replicates, 0.95, 23)
    assert ours.low > plain.low  # the values are skewed to the right
    assert ours.high > plain.high


def test_bca_with_strata_joins_their_jackknives_as_scipy_does_for_two_samples():
    generator = np.random.default_rng(5)
    samples = generator.gamma(1.0, size=15), generator.gamma(2.0, size=11)
    values = np.concatenate([samples[0], -samples[1]])
    strata = np.repeat([0, 1], [15, 11])

    class Difference(Mean):
        def __call__(self, weights):
            return {
                "mean": bootstrap.divide(weights[:, :15] @ values[:15], weights[:, :15].sum(axis=1))
                + bootstrap.divide(weights[:, 15:] @ values[15:], weights[:, 15:].sum(axis=1))
            }

    statistic = Difference(values)
    replicates = resample(statistic, 26, 999, seeded_generator(0), strata)["mean"]
    theirs = stats.bootstrap(
        samples,
        lambda a, b, axis=-1: a.mean(axis=axis) - b.mean(axis=axis),
        n_resamples=0,
        method="BCa",
        bootstrap_result=drawn_before(replicates),
    ).confidence_interval
    value = samples[0].mean() - samples[1].mean()
    ours = bca_interval(value, replicates, leave_one_out(statistic, 26)["mean"], 0.95, strata)
    assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=1e-12), pytest.approx(theirs.high, abs=1e-12))


def test_bca_says_where_it_does_not_exist():
    flat = np.ones(50)
    assert "one side" in bca_interval(2.0, flat, np.arange(5.0), 0.95).reason
    assert "without one of the clusters" in bca_interval(1.0, flat, np.array([1.0, np.nan]), 0.95).reason
    assert bca_interval(1.0, flat, np.ones(5), 0.95).low == 1.0
    assert "one cluster" in bca_interval(1.0, flat, np.ones(1), 0.95).reason


def test_clustered_interval_is_wider_than_the_naive_one_on_clustered_data():
    truth, probability, patient = clustered_predictions(np.random.default_rng(5), between=1.5)
    options = EvaluateOptions(bootstrap_resamples=1000)
    intervals = [
        estimate(BinaryMetrics(truth, probability >= 0.5, probability, clusters), clusters.max() + 1, options, "test")
        for clusters in (patient, np.arange(len(truth)))
    ]
    for name in ("accuracy", "auroc", "brier"):
        widths = [interval[name].high - interval[name].low for interval in intervals]
        assert widths[0] > 1.5 * widths[1], name


def test_undefined_values_carry_the_statistic_s_reason_and_no_interval():
    options = EvaluateOptions(bootstrap_resamples=100)
    nothing = estimate(Mean(np.zeros(0)), 0, options)["mean"]
    assert nothing.as_json() == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "there are no images for the mean",
        "undefined_resamples": None,
    }
    alone = estimate(Mean(np.array([2.0])), 1, options)["mean"]
    assert (alone.value, alone.low) == (2.0, None)
    assert "one cluster" in alone.reason


def test_undefined_resamples_are_left_out_and_counted():
    values = np.array([np.nan, 0.0, 1.0, 2.0, 3.0, 4.0])
    interval = percentile_interval(values, 0.5, clusters=3)
    assert (interval.low, interval.high, interval.undefined_resamples, interval.reason) == (1, 3, 1, None)


def test_no_interval_where_most_resamples_are_undefined_or_there_is_one_cluster():
    mostly = percentile_interval(np.array([np.nan, np.nan, np.nan, 1.0]), 0.95, clusters=3)
    assert (mostly.low, mostly.high, mostly.undefined_resamples) == (None, None, 3)
    assert "3 of 4" in mostly.reason
    alone = percentile_interval(np.ones(4), 0.95, clusters=1)
    assert alone.low is None
    assert "one cluster" in alone.reason


def test_streams_differ_and_repeat():
    draws = [seeded_generator(0, *stream).random(4).tolist() for stream in (["a"], ["b"], ["a"], ["a", ""])]
    assert draws[0] == draws[2]
    assert len({tuple(draw) for draw in draws}) == 3
    assert seeded_generator(1, "a").random(4).tolist() != draws[0]
