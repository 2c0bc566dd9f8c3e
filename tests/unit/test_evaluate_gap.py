"""The difference of a metric between two sets of patients."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from simulated_patients import Mean

from scanline.core.errors import InputError
from scanline.evaluate.binary import BinaryMetrics
from scanline.evaluate.bootstrap import estimate, resample, seeded_generator
from scanline.evaluate.gap import difference_of_sets, measure_gap, resample_set
from scanline.evaluate.options import EvaluateOptions

NOBODY = Mean(np.zeros(0), np.zeros(0, dtype=int))


def classified(seed, patients, slope):
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), 5)
    truth = generator.random(len(patient)) < 0.4
    logit = slope * (truth - 0.5) + generator.normal(0, 0.7, patients)[patient]
    score = 1 / (1 + np.exp(-logit - generator.normal(0, 0.7, len(patient))))
    return BinaryMetrics(truth, score >= 0.5, score, patient)


def options_of(resamples=400, method="percentile", **others):
    return EvaluateOptions(bootstrap_resamples=resamples, interval_method=method, **others)


def test_the_interval_is_that_of_differences_of_two_independent_bootstraps():
    internal, external, options = classified(0, 40, 3), classified(1, 25, 1), options_of(seed=7, confidence_level=0.9)
    gap = measure_gap(internal, 40, external, 25, options, "here")
    drawn = [
        resample(statistic, clusters, 400, seeded_generator(7, "here", side))
        for side, statistic, clusters in (("internal", internal, 40), ("external", external, 25))
    ]
    for name in ("auroc", "f1", "brier", "macro.f1"):
        values = internal.values()[name], external.values()[name]
        assert gap[name].value == values[0] - values[1]
        low, high = np.quantile(drawn[0][name] - drawn[1][name], [0.05, 0.95])
        assert [gap[name].low, gap[name].high] == pytest.approx([low, high], abs=1e-14)
    assert gap["auroc"].low > 0


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_two_equal_sets_are_taken_for_independent(method):
    same, options = classified(2, 50, 2), options_of(2000, method)
    gap, alone = measure_gap(same, 50, same, 50, options)["accuracy"], estimate(same, 50, options)["accuracy"]
    assert gap.value == 0
    assert gap.low < 0 < gap.high
    assert gap.high - gap.low == pytest.approx(np.sqrt(2) * (alone.high - alone.low), rel=0.1)


def test_bca_equals_scipys_for_two_samples_on_the_same_resamples():
    generator, options = np.random.default_rng(3), options_of(999, "bca")
    samples = generator.exponential(1, 60), generator.exponential(2, 35)
    sets = [
        resample_set(name, Mean(values, np.arange(len(values))), len(values), options, name)
        for name, values in zip(("a", "b"), samples, strict=True)
    ]
    drawn = sets[0].replicates["mean"] - sets[1].replicates["mean"]
    theirs = stats.bootstrap(
        samples,
        lambda a, b, axis=-1: a.mean(axis=axis) - b.mean(axis=axis),
        n_resamples=0,
        method="BCa",
        bootstrap_result=SimpleNamespace(bootstrap_distribution=drawn),
    ).confidence_interval
    ours = difference_of_sets(*sets, options)["mean"]
    assert [ours.low, ours.high] == pytest.approx([theirs.low, theirs.high], abs=1e-12)
    plain = difference_of_sets(*sets, options_of(999))["mean"]
    assert abs(ours.low - plain.low) > 0.02


def test_the_nominal_share_of_intervals_holds_the_true_gap():
    generator = np.random.default_rng(5)
    covered, simulations, patient = 0, 300, [np.repeat(np.arange(count), 4) for count in (40, 25)]
    for _ in range(simulations):
        sides = []
        for mean, of in ((0.3, patient[0]), (0.1, patient[1])):
            values = mean + generator.normal(0, 0.5, of.max() + 1)[of] + generator.normal(0, 0.5, len(of))
            sides += [Mean(values, of), of.max() + 1]
        gap = measure_gap(*sides, options_of(300))["mean"]
        covered += gap.low <= 0.2 <= gap.high
    assert 0.90 <= covered / simulations <= 0.98


def test_a_side_that_is_undefined_is_named():
    truth, none = np.array([True, False, True]), np.zeros(3, dtype=bool)
    some, nothing = (BinaryMetrics(truth, called, called * 1.0, np.arange(3)) for called in (truth, none))
    gap = measure_gap(some, 3, nothing, 3, options_of())
    assert gap["precision"].as_json() == {
        "value": None, "low": None, "high": None, "undefined_resamples": None,
        "reason": "external: no image is predicted positive",
    }  # fmt: skip
    assert gap["accuracy"].value == pytest.approx(2 / 3)
    both = measure_gap(nothing, 3, nothing, 3, options_of())["precision"]
    assert both.reason == "internal: no image is predicted positive; external: no image is predicted positive"


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_no_patients_and_one_patient(method):
    many, one = Mean(np.arange(9.0), np.arange(9)), Mean(np.arange(3.0), np.zeros(3, dtype=int))
    empty = measure_gap(many, 9, NOBODY, 0, options_of(method=method))["mean"]
    assert (empty.value, empty.reason) == (None, "external: there are no images")
    alone = measure_gap(one, 1, many, 9, options_of(method=method))["mean"]
    assert (alone.value, alone.low, alone.reason) == (-3.0, None, "one cluster alone: nothing to resample")


def test_resamples_in_which_a_side_is_undefined_are_left_out_and_counted():
    truth = np.array([True, True, False, False, False, False])
    rare = BinaryMetrics(truth, truth, truth * 0.9, np.arange(6))
    gap = measure_gap(rare, 6, rare, 6, options_of(2000))["recall"]
    expected = 1 - (1 - (4 / 6) ** 6) ** 2
    assert gap.undefined_resamples / 2000 == pytest.approx(expected, abs=0.03)


def test_sets_are_drawn_once_for_many_gaps():
    options = options_of()
    sets = [resample_set(name, classified(seed, 20, 2), 20, options, name) for seed, name in enumerate(("a", "b", "c"))]
    ab, bc, ac = (difference_of_sets(sets[i], sets[j], options)["auroc"] for i, j in ((0, 1), (1, 2), (0, 2)))
    assert ab.value + bc.value == pytest.approx(ac.value)
    assert difference_of_sets(sets[1], sets[0], options)["auroc"].low == pytest.approx(-ab.high)
    assert all(len(one.left_out) == 0 for one in sets)


def test_metrics_of_one_side_alone_are_left_out():
    options = options_of()
    first, second = (resample_set("x", one, 20, options) for one in (classified(0, 20, 2), classified(1, 20, 2)))
    shorter = resample_set("y", Mean(np.arange(20.0), np.arange(20)), 20, options)
    assert difference_of_sets(first, shorter, options) == {}
    assert list(difference_of_sets(first, second, options)) == list(first.values)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_strata_of_either_side_keep_their_number_of_patients(method):
    """What differs between strata alone no longer varies: half of the patients have 0, half 1, and a little noise."""
    noise, strata = np.random.default_rng(6).normal(0, 0.1, 40), np.arange(40) % 2
    mixed = Mean(strata + noise, np.arange(40))
    options = options_of(1000, method)
    loose = measure_gap(mixed, 40, mixed, 40, options)["mean"]
    one = measure_gap(mixed, 40, mixed, 40, options, strata=(strata, None))["mean"]
    both = measure_gap(mixed, 40, mixed, 40, options, strata=(strata, strata))["mean"]
    widths = [gap.high - gap.low for gap in (loose, one, both)]
    assert widths[1] == pytest.approx(widths[0] / np.sqrt(2), rel=0.15)
    assert widths[2] == pytest.approx(2 * 1.96 * np.sqrt(2 * 0.1**2 / 40), rel=0.25)


def test_sets_of_other_numbers_of_resamples_are_refused():
    first, second = (
        resample_set(name, classified(0, 20, 2), 20, options_of(resamples), name)
        for name, resamples in (("inside", 100), ("outside", 200))
    )
    with pytest.raises(InputError, match=r"^inside and outside: found 100 and 200 resamples; expected as many"):
        difference_of_sets(first, second, options_of())
