"""Patient-clustered bootstrap: whole patients are drawn with replacement, and so are all their images.

Images of one patient resemble each other, and an interval that takes them for independent is too narrow.
Nothing here knows what is measured: a statistic is any function from the clusters' weights to named values, so
that classification, detection and segmentation share one bootstrap. Field & Welsh, Bootstrapping clustered
data, J R Stat Soc B 69 (2007) 369-390; percentile and BCa intervals: Efron & Tibshirani, An Introduction to the
Bootstrap (1993), chapters 13 and 14.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from scanline.evaluate.inputs import Codes, Floats
from scanline.evaluate.options import EvaluateOptions

CHUNK_CELLS = 1_000_000  # of the (resamples, clusters) weights held at once: 8 MB and a few copies
MIN_DEFINED_SHARE = 0.5  # of the resamples; below it an interval would describe the exceptions


class Statistic(Protocol):
    """What is measured on a fixed set of images, as a function of how often each cluster counts."""

    def __call__(self, weights: Floats) -> Mapping[str, Floats]:
        """From weights of shape (resamples, clusters) to named values of shape (resamples,), NaN where undefined."""

    def reason_undefined(self, name: str) -> str:
        """Why a value is undefined with every cluster counted once."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Lower limit; None where there is no interval.
        high: Upper limit; None where there is no interval.
        undefined_resamples: Resamples left out because the value was undefined in them.
        reason: Why there is no interval; None where there is one.
    """

    low: float | None
    high: float | None
    undefined_resamples: int
    reason: str | None = None


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes:
        value: None where undefined.
        low: Lower limit; None where there is no interval.
        high: Upper limit; None where there is no interval.
        reason: Why the value is undefined or has no interval; None where both are there.
        undefined_resamples: Resamples in which it was undefined; None where the value itself is.
    """

    value: float | None
    low: float | None
    high: float | None
    reason: str | None
    undefined_resamples: int | None

    def as_json(self) -> dict[str, Any]:
        """The five fields, as metrics.json holds them."""
        return asdict(self)


def seeded_generator(seed: int, *stream: str) -> np.random.Generator:
    """A generator for one purpose: other names of the stream give independent numbers under the same seed."""
    digest = hashlib.sha256("\0".join(stream).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest[:16], dtype="<u4").tolist()])


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """Quotient, elementwise; NaN where the denominator is 0."""
    quotient = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient


def sum_by_cluster(values: NDArray[Any], clusters: Codes, count: int) -> Floats:
    """Add up the images of each cluster.

    Args:
        values: Shape (images, k), any real dtype.
        clusters: Cluster of each image, shape (images,).
        count: Number of clusters.

    Returns:
        Shape (count, k), float64.
    """
    sums = [np.bincount(clusters, weights=column, minlength=count) for column in np.asarray(values, np.float64).T]
    return np.stack(sums, axis=1) if sums else np.zeros((count, 0))


def count_clusters(clusters: Codes) -> int:
    """How many clusters are numbered; 0 without images."""
    return int(clusters.max()) + 1 if len(clusters) else 0


def strata_of_clusters(positive: NDArray[np.bool_], clusters: Codes) -> Codes:
    """Two strata: 1 for clusters with a positive image, 0 for the others.

    Args:
        positive: Shape (images,).
        clusters: Cluster of each image, shape (images,).

    Returns:
        Shape (clusters,).
    """
    sums = sum_by_cluster(positive[:, None], clusters, count_clusters(clusters))
    return (sums[:, 0] > 0).astype(np.intp)


def draw_cluster_weights(
    clusters: int, resamples: int, generator: np.random.Generator, *, chunk: int, strata: Codes | None = None
) -> Iterator[Floats]:
    """Draw bootstrap weights: how often each cluster was drawn in as many draws as there are clusters.

    The rows are multinomial with equal probabilities, within each stratum where strata are given. They are drawn
    as indices and counted, which is faster than binomial by binomial, and do not depend on the size of the chunks.

    Args:
        clusters: Number of clusters.
        resamples: Number of rows in all.
        generator: Source of the draws.
        chunk: Rows to draw at once.
        strata: Stratum of each cluster, shape (clusters,); each stratum keeps its number of clusters.

    Yields:
        Arrays of shape (up to chunk, clusters), float64, rows summing to `clusters`.
    """
    if strata is not None:
        members = np.argsort(strata, kind="stable")
        _, first, size = np.unique(strata[members], return_index=True, return_counts=True)
        firsts, sizes = np.repeat(first, size), np.repeat(size, size)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        if strata is None:
            drawn = generator.integers(0, clusters, size=(rows, clusters))
        else:
            drawn = members[firsts + generator.integers(0, sizes, size=(rows, clusters))]
        drawn += np.arange(rows)[:, None] * clusters
        counts = np.bincount(drawn.ravel(), minlength=rows * clusters)
        yield counts.reshape(rows, clusters).astype(np.float64)


def resample(
    statistic: Statistic,
    clusters: int,
    resamples: int,
    generator: np.random.Generator,
    strata: Codes | None = None,
) -> dict[str, Floats]:
    """Values of a statistic in each resample of the clusters.

    Args:
        statistic: What is measured.
        clusters: Number of clusters, at least one.
        resamples: Number of resamples.
        generator: Source of the draws.
        strata: As for `draw_cluster_weights`.

    Returns:
        Name to values, shape (resamples,).
    """
    chunk = max(1, CHUNK_CELLS // clusters)
    parts = [
        statistic(weights)
        for weights in draw_cluster_weights(clusters, resamples, generator, chunk=chunk, strata=strata)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def leave_one_out(statistic: Statistic, clusters: int) -> dict[str, Floats]:
    """Values of a statistic with each cluster left out in turn (the jackknife).

    Returns:
        Name to values, shape (clusters,).
    """
    chunk = max(1, CHUNK_CELLS // clusters)
    parts = []
    for start in range(0, clusters, chunk):
        weights = np.ones((min(chunk, clusters - start), clusters))
        weights[np.arange(len(weights)), start + np.arange(len(weights))] = 0
        parts.append(statistic(weights))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def percentile_interval(values: Floats, level: float, clusters: int) -> Interval:
    """The central interval that holds `level` of the resampled values.

    Undefined values are left out and counted. With a single cluster every resample is the sample itself, and
    an interval of width 0 would claim certainty: there is none. Where a metric is at its bound in the sample
    (no error seen) the percentile interval has width 0 too; that is the method's known limit.

    Args:
        values: Shape (resamples,), NaN where undefined.
        level: Coverage, for example 0.95.
        clusters: Number of clusters drawn from.
    """
    defined = values[~np.isnan(values)]
    missing = _no_interval(len(values), len(defined), clusters)
    if missing is not None:
        return missing
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), len(values) - len(defined))


def bca_interval(value: float, values: Floats, left_out: Floats, level: float, strata: Codes | None = None) -> Interval:
    """The bias-corrected and accelerated interval (Efron & Tibshirani, equations 14.9 to 14.15).

    With strata, the acceleration joins their jackknives as for a statistic of several samples (Davison &
    Hinkley, Bootstrap Methods and their Application (1997), equation 5.28).

    Args:
        value: In the sample.
        values: In each resample, shape (resamples,), NaN where undefined.
        left_out: With each cluster left out, shape (clusters,).
        level: Coverage, for example 0.95.
        strata: Stratum of each cluster, shape (clusters,).
    """
    defined = values[~np.isnan(values)]
    undefined = len(values) - len(defined)
    missing = _no_interval(len(values), len(defined), len(left_out))
    if missing is not None:
        return missing
    if np.isnan(left_out).any():
        return Interval(None, None, undefined, "no BCa interval: undefined without one of the clusters")
    below = ((defined < value).mean() + (defined <= value).mean()) / 2
    if below in (0, 1):
        return Interval(None, None, undefined, "no BCa interval: all resamples lie on one side of the value")
    bias, acceleration = float(ndtri(below)), _acceleration(left_out, strata)
    quantiles = [float(ndtri(tail)) for tail in ((1 - level) / 2, (1 + level) / 2)]
    levels = [float(ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))) for z in quantiles]
    low, high = np.quantile(defined, levels)
    return Interval(float(low), float(high), undefined)


def _acceleration(left_out: Floats, strata: Codes | None) -> float:
    cubes, squares = 0.0, 0.0
    for stratum in [slice(None)] if strata is None else [strata == name for name in np.unique(strata)]:
        part = left_out[stratum]
        influence = (len(part) - 1) * (part.mean() - part)
        cubes += float((influence**3).sum()) / len(part) ** 3
        squares += float((influence**2).sum()) / len(part) ** 2
    return cubes / (6 * squares**1.5) if squares > 0 else 0.0


def _no_interval(resamples: int, defined: int, clusters: int) -> Interval | None:
    undefined = resamples - defined
    if clusters < 2:
        return Interval(None, None, undefined, "one cluster alone: nothing to resample")
    if defined < MIN_DEFINED_SHARE * resamples:
        return Interval(None, None, undefined, f"no interval: undefined in {undefined} of {resamples} resamples")
    return None


def estimate(
    statistic: Statistic, clusters: int, options: EvaluateOptions, *stream: str, strata: Codes | None = None
) -> dict[str, Estimate]:
    """Every value of a statistic with its interval.

    Args:
        statistic: What is measured.
        clusters: Number of clusters; 0 leaves every value undefined.
        options: Method, resamples, level and seed of the intervals.
        stream: Names the purpose, so that two subsets are resampled independently.
        strata: Stratum of each cluster, to keep the number of clusters of each; shape (clusters,).

    Returns:
        Name to estimate, in the statistic's order.

    Examples:
        >>> class MeanScore:
        ...     def __init__(self, score, clusters):
        ...         pairs = np.stack([score, np.ones(len(score))], axis=1)
        ...         self.sums = sum_by_cluster(pairs, clusters, count_clusters(clusters))
        ...     def __call__(self, weights):
        ...         total, images = (weights @ self.sums).T
        ...         return {"mean": divide(total, images)}
        ...     def reason_undefined(self, name):
        ...         return "there are no images"
        >>> score, clusters = np.array([1.0, 2.0, 2.0, 3.0, 5.0, 4.0]), np.array([0, 0, 1, 1, 2, 2])
        >>> mean = estimate(MeanScore(score, clusters), 3, EvaluateOptions())["mean"]
        >>> print(f"{mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}]")
        2.83 [1.50, 4.50]
    """
    values = {name: float(value[0]) for name, value in statistic(np.ones((1, clusters))).items()}
    if clusters == 0 or all(np.isnan(value) for value in values.values()):
        return {name: _undefined(statistic, name) for name in values}
    generator = seeded_generator(options.seed, *stream)
    replicates = resample(statistic, clusters, options.bootstrap_resamples, generator, strata)
    left_out = leave_one_out(statistic, clusters) if options.interval_method == "bca" else {}
    estimates = {}
    for name, value in values.items():
        if np.isnan(value):
            estimates[name] = _undefined(statistic, name)
            continue
        if options.interval_method == "bca":
            interval = bca_interval(value, replicates[name], left_out[name], options.confidence_level, strata)
        else:
            interval = percentile_interval(replicates[name], options.confidence_level, clusters)
        estimates[name] = Estimate(value, interval.low, interval.high, interval.reason, interval.undefined_resamples)
    return estimates


def _undefined(statistic: Statistic, name: str) -> Estimate:
    return Estimate(None, None, None, statistic.reason_undefined(name), None)
