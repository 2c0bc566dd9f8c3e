"""The bootstrap draws patients, equals explicit resampling, and covers what it should."""

import numpy as np
import pytest
from sklearn import metrics as sk

from scanline.evaluate import bootstrap
from scanline.evaluate.binary import BinaryMetrics
from scanline.evaluate.bootstrap import (
    bootstrap_intervals,
    draw_cluster_weights,
    number_clusters,
    percentile_interval,
    resample,
    seeded_generator,
)
from scanline.evaluate.options import EvaluateOptions


def clustered_predictions(generator, patients=30, images_each=20, between=1.0):
    """Scores with an error that a patient's images share: the truth, the scores, the patients."""
    patient = np.repeat(np.arange(patients), images_each)
    truth = generator.random(len(patient)) < 0.4
    shared = generator.normal(0, between, patients)[patient]
    logit = np.where(truth, 1.0, -1.0) + shared + generator.normal(0, 0.5, len(patient))
    return truth, 1 / (1 + np.exp(-logit)), patient


def accuracy_of(correct):
    return lambda weights: {"accuracy": weights @ correct / weights.sum(axis=1)}


def test_weights_equal_explicit_resampling_scored_by_scikit_learn():
    truth, probability, patient = clustered_predictions(np.random.default_rng(1), patients=12, images_each=7)
    probability = probability.round(1)  # ties
    predicted = probability >= 0.5
    resamples = 25
    ours = resample(BinaryMetrics(truth, predicted, probability), patient, resamples, seeded_generator(3, "x"))
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


def test_chunks_change_no_number(monkeypatch):
    truth, probability, patient = clustered_predictions(np.random.default_rng(2))
    measure = BinaryMetrics(truth, probability >= 0.5, probability)
    whole = resample(measure, patient, 50, seeded_generator(0))
    monkeypatch.setattr(bootstrap, "CHUNK_CELLS", 4_000)
    in_chunks = resample(measure, patient, 50, seeded_generator(0))
    for name, values in whole.items():
        np.testing.assert_allclose(in_chunks[name], values, rtol=0, atol=1e-14)


def test_memory_is_bounded():
    sizes = []

    def spy(weights):
        sizes.append(weights.size)
        return {"one": weights.sum(axis=1)}

    resample(spy, np.arange(3_000), 1_000, seeded_generator(0))
    assert max(sizes) <= bootstrap.CHUNK_CELLS
    assert sum(sizes) == 3_000 * 1_000


def test_clustered_interval_is_wider_than_the_naive_one_on_clustered_data():
    truth, probability, patient = clustered_predictions(np.random.default_rng(5), between=1.5)
    measure = BinaryMetrics(truth, probability >= 0.5, probability)
    options = EvaluateOptions(bootstrap_resamples=1000)
    clustered = bootstrap_intervals(measure, patient, options, "test")
    naive = bootstrap_intervals(measure, np.arange(len(truth)), options, "test")
    for name in ("accuracy", "auroc", "brier"):
        widths = [interval[name].high - interval[name].low for interval in (clustered, naive)]
        assert widths[0] > 1.5 * widths[1], name


def test_coverage_on_simulated_clusters_is_near_nominal_and_the_naive_one_is_not():
    simulations, patients, images_each = 300, 50, 10
    options = EvaluateOptions(bootstrap_resamples=400)
    generator = np.random.default_rng(11)
    patient = np.repeat(np.arange(patients), images_each)
    covered = {"clustered": 0, "naive": 0}
    for _ in range(simulations):
        chance = generator.beta(4, 1, patients)[patient]  # mean 0.8: the true accuracy
        statistic = accuracy_of((generator.random(len(patient)) < chance).astype(float))
        for name, clusters in (("clustered", patient), ("naive", np.arange(len(patient)))):
            interval = bootstrap_intervals(statistic, clusters, options, name)["accuracy"]
            covered[name] += interval.low <= 0.8 <= interval.high
    assert 0.90 <= covered["clustered"] / simulations <= 0.985
    assert covered["naive"] / simulations < covered["clustered"] / simulations - 0.02


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


def test_clusters_are_numbered_by_their_first_image():
    assert number_clusters(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]
