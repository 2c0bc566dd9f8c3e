"""Patient-clustered bootstrap: whole patients are drawn with replacement, and so are all their images.

Images of one patient resemble each other, and an interval that takes them for independent is too narrow.
Nothing here knows what is measured: a statistic is any function from image weights to named values, so that
classification, segmentation and detection share one bootstrap. Field & Welsh, Bootstrapping clustered data,
J R Stat Soc B 69 (2007) 369-390; percentile intervals: Efron & Tibshirani (1993), chapter 13.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.evaluate.options import EvaluateOptions

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Mapping[str, Floats]]

CHUNK_CELLS = 1_000_000  # of the (resamples, images) weights held at once: 8 MB and a few copies
MIN_DEFINED_SHARE = 0.5  # of the resamples; below it an interval would describe the exceptions


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Attributes:
        low: Lower limit; None where there is no interval.
        high: Upper limit; None where there is no interval.
        undefined_resamples: Resamples left out because the metric was undefined in them.
        reason: Why there is no interval; None where there is one.
    """

    low: float | None
    high: float | None
    undefined_resamples: int
    reason: str | None = None


def seeded_generator(seed: int, *stream: str) -> np.random.Generator:
    """A generator for one purpose: other names of the stream give independent numbers under the same seed."""
    digest = hashlib.sha256("\0".join(stream).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest[:16], dtype="<u4").tolist()])


def number_clusters(names: Sequence[str]) -> NDArray[np.intp]:
    """Number the clusters 0 ... clusters - 1 by their first image; images in one order give one numbering.

    The numbers depend on which images belong together, not on the names: another salt of the pseudonyms
    leaves every interval as it is.

    Args:
        names: Cluster of each image, shape (images,).

    Returns:
        Shape (images,), intp.
    """
    codes: NDArray[np.intp] = pd.factorize(np.asarray(names, dtype=object))[0]
    return codes


def draw_cluster_weights(
    clusters: int, resamples: int, generator: np.random.Generator, *, chunk: int
) -> Iterator[Floats]:
    """Draw bootstrap weights: how often each cluster was drawn in `clusters` draws with replacement.

    The rows are multinomial with equal probabilities. They are drawn as indices and counted, which is faster
    than binomial by binomial, and do not depend on the size of the chunks.

    Yields:
        Arrays of shape (up to chunk, clusters), float64, rows summing to `clusters`.
    """
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = generator.integers(0, clusters, size=(rows, clusters))
        drawn += np.arange(rows)[:, None] * clusters
        counts = np.bincount(drawn.ravel(), minlength=rows * clusters)
        yield counts.reshape(rows, clusters).astype(np.float64)


def resample(
    statistic: Statistic, clusters: NDArray[np.intp], resamples: int, generator: np.random.Generator
) -> dict[str, Floats]:
    """Values of a statistic in each resample of the clusters.

    Args:
        statistic: From image weights of shape (r, images) to named values of shape (r,), NaN where undefined.
        clusters: Cluster number of each image, 0 ... clusters - 1, shape (images,), at least one image.
        resamples: Number of resamples.
        generator: Source of the draws.

    Returns:
        Name to values, shape (resamples,).
    """
    chunk = max(1, CHUNK_CELLS // len(clusters))
    draws = draw_cluster_weights(int(clusters.max()) + 1, resamples, generator, chunk=chunk)
    parts = [statistic(weights[:, clusters]) for weights in draws]
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
    undefined = len(values) - len(defined)
    if clusters < 2:
        return Interval(None, None, undefined, "one cluster alone: nothing to resample")
    if len(defined) < MIN_DEFINED_SHARE * len(values):
        return Interval(None, None, undefined, f"no interval: undefined in {undefined} of {len(values)} resamples")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), undefined)


def bootstrap_intervals(
    statistic: Statistic, clusters: NDArray[np.intp], options: EvaluateOptions, *stream: str
) -> dict[str, Interval]:
    """Percentile intervals of every value of a statistic.

    Args:
        statistic: As for `resample`.
        clusters: As for `resample`.
        options: Resamples, level and seed.
        stream: Names the purpose, so that two subsets are resampled independently.
    """
    generator = seeded_generator(options.seed, *stream)
    replicates = resample(statistic, clusters, options.bootstrap_resamples, generator)
    count = int(clusters.max()) + 1
    return {name: percentile_interval(values, options.confidence_level, count) for name, values in replicates.items()}
