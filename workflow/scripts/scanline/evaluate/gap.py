"""How much a metric differs between two sets of patients, such as internal and external ones.

The two sets are bootstrapped independently, each by its own patients, and the interval is that of the differences
between them (Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 8). It covers which
patients happened to be in the sets, and takes it that no patient is in both.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scanline.evaluate.bootstrap import (
    Estimate,
    Interval,
    Statistic,
    bca_interval,
    leave_one_out,
    percentile_interval,
    resample,
    seeded_generator,
)
from scanline.evaluate.inputs import Codes, Floats, refuse
from scanline.evaluate.options import EvaluateOptions


@dataclass(frozen=True)
class ResampledSet:
    """The values of a statistic on one set of patients, and in its resamples.

    Attributes:
        name: Of the set, for reasons.
        clusters: Number of patients.
        values: Name to value; NaN where undefined.
        reasons: Name to reason, for the undefined values.
        replicates: Name to values in each resample, shape (resamples,); empty without patients.
        left_out: Name to values with each patient left out, shape (clusters,); empty unless intervals are BCa.
        strata: Stratum of each patient, shape (clusters,); None where they were drawn from one.
    """

    name: str
    clusters: int
    values: Mapping[str, float]
    reasons: Mapping[str, str]
    replicates: Mapping[str, Floats]
    left_out: Mapping[str, Floats]
    strata: Codes | None


def resample_set(
    name: str,
    statistic: Statistic,
    clusters: int,
    options: EvaluateOptions,
    *stream: str,
    strata: Codes | None = None,
) -> ResampledSet:
    """Measure one set of patients, and resample it.

    Args:
        name: Of the set, for reasons.
        statistic: What is measured.
        clusters: Number of patients.
        options: Method, resamples and seed.
        stream: Names the purpose of the draws; another one for each set makes the sets independent.
        strata: Stratum of each patient, to keep the number of patients of each; shape (clusters,).
    """
    values = {metric: float(value[0]) for metric, value in statistic(np.ones((1, clusters))).items()}
    reasons = {metric: statistic.reason_undefined(metric) for metric, value in values.items() if np.isnan(value)}
    if len(reasons) == len(values):
        return ResampledSet(name, clusters, values, reasons, {}, {}, strata)
    generator = seeded_generator(options.seed, *stream)
    replicates = resample(statistic, clusters, options.bootstrap_resamples, generator, strata)
    left_out = leave_one_out(statistic, clusters) if options.interval_method == "bca" else {}
    return ResampledSet(name, clusters, values, reasons, replicates, left_out, strata)


def difference_of_sets(first: ResampledSet, second: ResampledSet, options: EvaluateOptions) -> dict[str, Estimate]:
    """First minus second for each metric that both have.

    Args:
        first: From `resample_set`.
        second: From `resample_set`, drawn by another stream with as many resamples.
        options: Method and level of the intervals.

    Returns:
        Name to estimate; undefined where either set's value is, with that set's reason.

    Raises:
        InputError: If the numbers of resamples differ.
    """
    return {name: _difference(name, first, second, options) for name in first.values if name in second.values}


def _difference(name: str, first: ResampledSet, second: ResampledSet, options: EvaluateOptions) -> Estimate:
    reasons = [f"{one.name}: {one.reasons[name]}" for one in (first, second) if name in one.reasons]
    if reasons:
        return Estimate(None, None, None, "; ".join(reasons), None)
    counts = [len(one.replicates[name]) for one in (first, second)]
    if counts[0] != counts[1]:
        refuse(f"{first.name} and {second.name}", f"{counts[0]} and {counts[1]} resamples", "as many of both")
    value = first.values[name] - second.values[name]
    interval = _interval(name, value, first, second, options)
    return Estimate(value, interval.low, interval.high, interval.reason, interval.undefined_resamples)


def _interval(name: str, value: float, first: ResampledSet, second: ResampledSet, options: EvaluateOptions) -> Interval:
    replicates = first.replicates[name] - second.replicates[name]
    fewest = min(first.clusters, second.clusters)
    if options.interval_method == "percentile" or fewest < 2:
        return percentile_interval(replicates, options.confidence_level, fewest)
    left_out = [first.left_out[name] - second.values[name], first.values[name] - second.left_out[name]]
    return bca_interval(
        value, replicates, np.concatenate(left_out), options.confidence_level, _strata_of_both(first, second)
    )


def _strata_of_both(first: ResampledSet, second: ResampledSet) -> Codes:
    """Strata of the patients of both sets, none shared: shape (first.clusters + second.clusters,)."""
    strata = [np.zeros(one.clusters, dtype=np.intp) if one.strata is None else one.strata for one in (first, second)]
    return np.concatenate([strata[0], strata[0].max() + 1 + strata[1]])


def measure_gap(
    internal: Statistic,
    internal_clusters: int,
    external: Statistic,
    external_clusters: int,
    options: EvaluateOptions,
    *stream: str,
    strata: tuple[Codes | None, Codes | None] = (None, None),
) -> dict[str, Estimate]:
    """Internal minus external for each metric: what is lost outside, with its interval.

    Args:
        internal: Statistic of the internal patients.
        internal_clusters: Number of them.
        external: Statistic of the external patients, with the same names.
        external_clusters: Number of them; none is an internal one.
        options: Method, resamples, level and seed of the intervals.
        stream: Names the purpose of the draws.
        strata: Stratum of each internal and of each external patient, to keep the number of patients of each.

    Returns:
        Name to estimate; undefined where either side's value is, with its reason.

    Examples:
        >>> from scanline.evaluate.binary import BinaryMetrics
        >>> def metrics(patients, slope, generator):
        ...     truth, clusters = np.tile([False, True], 2 * patients), np.repeat(np.arange(patients), 4)
        ...     score = 1 / (1 + np.exp(generator.normal(0, 1, len(truth)) - slope * (truth - 0.5)))
        ...     return BinaryMetrics(truth, score >= 0.5, score, clusters)
        >>> generator = np.random.default_rng(0)
        >>> gap = measure_gap(metrics(30, 3, generator), 30, metrics(20, 1, generator), 20, EvaluateOptions())
        >>> print(f"{gap['auroc'].value:.3f} ({gap['auroc'].low:.3f} to {gap['auroc'].high:.3f})")
        0.259 (0.153 to 0.392)
    """
    sides = [
        resample_set(name, statistic, clusters, options, *stream, name, strata=groups)
        for name, statistic, clusters, groups in (
            ("internal", internal, internal_clusters, strata[0]),
            ("external", external, external_clusters, strata[1]),
        )
    ]
    return difference_of_sets(sides[0], sides[1], options)
