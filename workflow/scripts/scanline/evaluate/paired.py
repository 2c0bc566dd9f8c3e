"""Two models on the same images: McNemar's test, a permutation test, and the difference with its interval.

McNemar's test looks at the images that one model gets right and the other wrong (Psychometrika 12 (1947) 153-157).
It takes images for independent. Its clustered form compares the same two proportions with whole patients as the
independent units (Obuchowski, Statistics in Medicine 17 (1998) 1495-1507). The permutation test swaps the two
models' predictions patient by patient and needs no formula for a variance. All count images, not patients: their
difference is the difference of the metrics that evaluation reports.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, chi2

from scanline.evaluate import bootstrap
from scanline.evaluate.bootstrap import (
    Estimate,
    Statistic,
    count_clusters,
    estimate,
    seeded_generator,
    sum_by_cluster,
)
from scanline.evaluate.delong import Patients
from scanline.evaluate.inputs import Bools, Codes, Floats, as_clusters, as_truth, check_lengths, refuse
from scanline.evaluate.options import EvaluateOptions

McNemarMethod = Literal["auto", "exact", "corrected"]

MIN_DISCORDANT = 20  # for the chi-squared form: Rosner, Fundamentals of Biostatistics, on McNemar's test
MAX_ENUMERATED_CLUSTERS = 12  # 2^12 = 4096 ways to swap
RELATIVE_ROUNDING = 1e-12  # two differences closer than this share of the metrics are one


@dataclass(frozen=True)
class McNemarTest:
    """A test whether two models are right equally often.

    Attributes:
        images: Number of images.
        clusters: Number of patients, an image of no known patient counting as one; None where images were taken
            for independent.
        only_first_correct: Images that the first model alone gets right.
        only_second_correct: Images that the second model alone gets right.
        difference: Share of images right by the first model - by the second; None without images.
        statistic: Chi-squared with one degree of freedom; None for the exact test, and where undefined.
        p: Two-sided; None where undefined.
        method: "exact binomial", "chi-squared with continuity correction" or "clustered chi-squared".
        reason: Why there is no p; None where there is one.
    """

    images: int
    clusters: int | None
    only_first_correct: int
    only_second_correct: int
    difference: float | None
    statistic: float | None
    p: float | None
    method: str
    reason: str | None

    def as_json(self) -> dict[str, Any]:
        """The fields as a dict."""
        return asdict(self)


def mcnemar_test(first: ArrayLike, second: ArrayLike, *, method: McNemarMethod = "auto") -> McNemarTest:
    """McNemar's test on independent images.

    Give the positives alone to compare sensitivities, and the negatives alone to compare specificities.

    Args:
        first: Whether the first model is right, shape (images,).
        second: Whether the second model is right, shape (images,).
        method: "exact": the binomial test of the discordant images. "corrected": chi-squared with Edwards'
            continuity correction (Psychometrika 13 (1948) 185-187). "auto": exact below 20 discordant images.

    Raises:
        InputError: If the lengths differ, an entry is not 0 or 1, or the method is unknown.

    Examples:
        >>> test = mcnemar_test([1, 1, 1, 1, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1, 1, 0])
        >>> print(test.only_first_correct, test.only_second_correct, test.p, test.method)
        6 1 0.125 exact binomial
    """
    if method not in get_args(McNemarMethod):
        refuse("method", repr(method), ", ".join(get_args(McNemarMethod)))
    contributions = _discordance(first, second)
    images = len(contributions)
    first_alone, second_alone = (int((contributions == sign).sum()) for sign in (1, -1))
    discordant = first_alone + second_alone
    exact = method == "exact" or (method == "auto" and discordant < MIN_DISCORDANT)
    name = "exact binomial" if exact else "chi-squared with continuity correction"
    if images == 0:
        return McNemarTest(0, None, 0, 0, None, None, None, name, "there are no images")
    difference = (first_alone - second_alone) / images
    statistic = p = reason = None
    if exact:
        p = float(binomtest(first_alone, discordant).pvalue) if discordant else 1.0
    elif discordant:
        statistic = max(abs(first_alone - second_alone) - 1, 0) ** 2 / discordant
        p = float(chi2.sf(statistic, 1))
    else:
        reason = "both models are right on the same images"
    return McNemarTest(images, None, first_alone, second_alone, difference, statistic, p, name, reason)


def clustered_mcnemar_test(first: ArrayLike, second: ArrayLike, patients: Patients) -> McNemarTest:
    """McNemar's test where patients have several images, after Obuchowski.

    With d_k the images of patient k that the first model alone gets right minus those that the second alone gets
    right, and K patients, the statistic is (K - 1) / K (sum d_k)^2 / sum d_k^2. It is Obuchowski's squared
    difference of two proportions over its variance, both proportions being one under the hypothesis. With one
    image a patient it is McNemar's without continuity correction, times (K - 1) / K. With few patients it errs on
    the side of finding nothing: at a level of 0.05 it found a difference where there was none in 0.025 of
    simulations with 10 patients, 0.04 with 20, and 0.05 with 40. `permutation_test` is exact with few patients.

    Args:
        first: Whether the first model is right, shape (images,).
        second: Whether the second model is right, shape (images,).
        patients: Patient of each image, null where unknown.

    Raises:
        InputError: If the lengths differ, or an entry is not 0 or 1.

    Examples:
        >>> first, second = [1, 1, 1, 1, 1, 0, 1, 1], [0, 0, 1, 0, 1, 1, 1, 0]
        >>> test = clustered_mcnemar_test(first, second, ["a", "a", "b", "b", "c", "c", "d", "d"])
        >>> print(test.difference, round(test.statistic, 3), round(test.p, 3))
        0.375 0.964 0.326
    """
    contributions = _discordance(first, second)
    images = len(contributions)
    clusters = as_clusters(patients, images)
    count, name = count_clusters(clusters), "clustered chi-squared"
    first_alone, second_alone = (int((contributions == sign).sum()) for sign in (1, -1))
    sums = sum_by_cluster(contributions[:, None], clusters, count)[:, 0]
    squares = float((sums**2).sum())
    difference = (first_alone - second_alone) / images if images else None
    statistic = p = reason = None
    if images == 0:
        reason = "there are no images"
    elif count == 1:
        reason = "one patient alone: nothing tells how patients differ"
    elif squares == 0:
        reason = "both models are right equally often in every patient"
    else:
        statistic = (count - 1) / count * float(sums.sum()) ** 2 / squares
        p = float(chi2.sf(statistic, 1))
    return McNemarTest(images, count, first_alone, second_alone, difference, statistic, p, name, reason)


def _discordance(first: ArrayLike, second: ArrayLike) -> Floats:
    """1 where the first model alone is right, -1 where the second alone is, else 0; shape (images,)."""
    right: list[Bools] = [as_truth(first, "first"), as_truth(second, "second")]
    check_lengths(first=right[0], second=right[1])
    for name, values in zip(("first", "second"), right, strict=True):
        if values.ndim != 1:
            refuse(name, f"an array of {values.ndim} axes", "one entry for each image")
    return right[0].astype(np.float64) - right[1]


class Difference:
    """First minus second of two statistics under one draw of patients: a `bootstrap.Statistic`.

    Args:
        first: Statistic of the first model.
        second: Statistic of the second model, on the same clusters and with the same names.
        clusters: Number of clusters.
        names: Of the two, for reasons.
    """

    def __init__(
        self, first: Statistic, second: Statistic, clusters: int, names: tuple[str, str] = ("first", "second")
    ) -> None:
        self._first, self._second, self._clusters, self._names = first, second, clusters, names

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Differences of the values that both have, each of shape (resamples,)."""
        first, second = self._first(weights), self._second(weights)
        return {name: first[name] - second[name] for name in first if name in second}

    def reason_undefined(self, name: str) -> str:
        """Which of the two is undefined, and why."""
        sides = zip(self._names, (self._first, self._second), strict=True)
        return reason_of_two(name, {side: (statistic, self._clusters) for side, statistic in sides})


def reason_of_two(name: str, sides: dict[str, tuple[Statistic, int]]) -> str:
    """Why a difference is undefined: the reason of each undefined side, or one reason where all have it.

    Args:
        name: The metric.
        sides: Name of each side to its statistic and number of clusters.
    """
    reasons = {}
    for side, (statistic, clusters) in sides.items():
        if clusters == 0 or np.isnan(statistic(np.ones((1, clusters)))[name][0]):
            reasons[side] = statistic.reason_undefined(name)
    if len(reasons) == len(sides) and len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{side}: {reason}" for side, reason in reasons.items())


def paired_difference(
    first: Statistic,
    second: Statistic,
    clusters: int,
    options: EvaluateOptions,
    *stream: str,
    strata: Codes | None = None,
) -> dict[str, Estimate]:
    """First minus second of two models on the same images, with bootstrap intervals.

    Each resample draws patients once and measures both models on them, so that what makes an image hard for both
    cancels.

    Args:
        first: Statistic of the first model.
        second: Statistic of the second model, on the same clusters and with the same names.
        clusters: Number of clusters.
        options: Method, resamples, level and seed of the intervals.
        stream: Names the purpose of the draws.
        strata: Stratum of each cluster, shape (clusters,).

    Returns:
        Name to estimate.

    Examples:
        >>> from scanline.evaluate.binary import BinaryMetrics
        >>> truth, clusters = np.tile([False, True], 20), np.repeat(np.arange(10), 4)
        >>> noise = np.random.default_rng(0).normal(0, 1, (2, 40))
        >>> models = [1 / (1 + np.exp(noise[k] - slope * truth)) for k, slope in enumerate((3, 1))]
        >>> metrics = [BinaryMetrics(truth, model >= 0.5, model, clusters) for model in models]
        >>> auroc = paired_difference(*metrics, 10, EvaluateOptions())["auroc"]
        >>> print(f"{auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f})")
        0.208 (0.080 to 0.380)
    """
    return estimate(Difference(first, second, clusters), clusters, options, *stream, strata=strata)


@dataclass(frozen=True)
class PermutationTest:
    """A paired permutation test of one metric.

    Attributes:
        difference: First - second; None where undefined.
        p: Two-sided; None where undefined.
        swaps: Ways to swap that were tried: all there are where exact.
        exact: Whether p is from all ways to swap.
        undefined_swaps: Those in which the difference was undefined: they count as extreme.
        reason: Why there is no p; None where there is one.
    """

    difference: float | None
    p: float | None
    swaps: int
    exact: bool
    undefined_swaps: int
    reason: str | None

    def as_json(self) -> dict[str, Any]:
        """The fields as a dict."""
        return asdict(self)


def both_models(clusters: Codes) -> Codes:
    """Clusters of the first model's images followed by the second's, as `permutation_test` expects them.

    Args:
        clusters: Cluster of each image, shape (images,).

    Returns:
        Shape (2 * images,): patient k of the first model is cluster k, and of the second cluster k + number of
        patients.

    Examples:
        >>> both_models(np.array([0, 0, 1])).tolist()
        [0, 0, 1, 2, 2, 3]
    """
    return np.concatenate([clusters, clusters + count_clusters(clusters)])


def permutation_test(
    statistic: Statistic, clusters: int, *stream: str, permutations: int = 2000, seed: int = 0
) -> dict[str, PermutationTest]:
    """Test whether two models differ, by swapping their predictions patient by patient.

    The hypothesis is that a patient's two sets of predictions could as well have come the other way round. p is
    the share of swaps whose difference is at least as far from 0 as the one seen: of all 2^clusters swaps up to 12
    clusters, else (1 + extreme) / (1 + permutations) of random ones (Phipson & Smyth, Statistical Applications in
    Genetics and Molecular Biology 9 (2010) article 39).

    Metrics of order, as AUROC, compare scores across patients. Where the two models' scores have different
    scales, a swap mixes the scales and the hypothesis is false for that reason alone: give each model's ranks
    (`scipy.stats.rankdata(score) / images`) instead of its scores (Venkatraman & Begg, Biometrika 83 (1996)
    835-848).

    Args:
        statistic: Measures the images of the first model followed by those of the second, on the clusters that
            `both_models` gives: 2 * clusters of them.
        clusters: Number of patients.
        stream: Names the purpose of the draws.
        permutations: Number of random swaps.
        seed: Of the random swaps.

    Returns:
        Name to test, in the statistic's order.

    Raises:
        InputError: For fewer than one permutation.

    Examples:
        >>> from scanline.evaluate.binary import BinaryMetrics
        >>> truth, clusters = np.tile([False, True], 20), np.repeat(np.arange(10), 4)
        >>> noise = np.random.default_rng(0).normal(0, 1, (2, 40))
        >>> scores = np.concatenate([1 / (1 + np.exp(noise[k] - slope * truth)) for k, slope in enumerate((3, 1))])
        >>> both = BinaryMetrics(np.tile(truth, 2), scores >= 0.5, scores, both_models(clusters))
        >>> test = permutation_test(both, 10)["auroc"]
        >>> print(round(test.difference, 3), round(test.p, 4), test.swaps, test.exact)
        0.208 0.0273 1024 True
    """
    if permutations < 1:
        refuse("permutations", str(permutations), "at least 1")
    exact = clusters <= MAX_ENUMERATED_CLUSTERS
    swaps = 2**clusters if exact else permutations
    first, second = _values_of_both(statistic, np.zeros((1, clusters), dtype=np.bool_))
    seen = {"first": first, "second": second}
    observed = {name: float(first[name][0] - second[name][0]) for name in first}
    rounding = {
        name: RELATIVE_ROUNDING * max(abs(float(first[name][0])), abs(float(second[name][0]))) for name in first
    }
    extreme, undefined = dict.fromkeys(observed, 0), dict.fromkeys(observed, 0)
    defined = [name for name, value in observed.items() if not np.isnan(value)]
    for swapped in _draw_swaps(clusters, swaps, exact, seeded_generator(seed, *stream)) if defined else ():
        first, second = _values_of_both(statistic, swapped)
        for name in defined:
            difference = np.abs(first[name] - second[name])
            missing = int(np.isnan(difference).sum())
            far = int((difference >= abs(observed[name]) - rounding[name]).sum())
            undefined[name] += missing
            extreme[name] += missing + far
    tests = {}
    for name, value in observed.items():
        if np.isnan(value):
            models = [side for side, values in seen.items() if np.isnan(values[name][0])]
            reason = f"undefined for the {' and the '.join(models)} model"
            tests[name] = PermutationTest(None, None, 0, exact, 0, reason)
            continue
        p = extreme[name] / swaps if exact else (1 + extreme[name]) / (1 + swaps)
        tests[name] = PermutationTest(value, p, swaps, exact, undefined[name], None)
    return tests


def _draw_swaps(clusters: int, swaps: int, exact: bool, generator: np.random.Generator) -> Iterator[Bools]:
    """Which clusters to swap, in chunks of shape (rows, clusters)."""
    chunk = max(1, bootstrap.CHUNK_CELLS // max(2 * clusters, 1))
    for start in range(0, swaps, chunk):
        rows = min(chunk, swaps - start)
        if exact:
            yield (np.arange(start, start + rows)[:, None] >> np.arange(clusters)) % 2 == 1
        else:
            yield generator.random((rows, clusters)) < 0.5


def _values_of_both(statistic: Statistic, swapped: Bools) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Values of the two models after the swaps, each of shape (rows,)."""
    weights = np.hstack([~swapped, swapped]).astype(np.float64)
    return dict(statistic(weights)), dict(statistic(1 - weights))
