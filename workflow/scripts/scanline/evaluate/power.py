"""Which difference a study of this size can detect, and how many patients a given difference needs.

A two-sided test of level alpha on an estimate with standard error SE finds a true difference D, in its direction,
with probability Phi(|D| / SE - z), z being the normal quantile of 1 - alpha / 2. So the smallest difference found
with a stated power is (z_{1 - alpha / 2} + z_power) SE (Chow, Shao, Wang & Lokhnygina, Sample Size Calculations in
Clinical Research, 3rd edition (2018), chapter 3).

It assumes that the estimate is normally distributed, that SE is known and the same whether the difference is there
or not, and that SE falls with the square root of the number of patients: further patients have as many images, as
many positives, and resemble each other as much as those seen. SE is that of the difference: of a paired difference
for two models on the same images, of a gap for two sets of patients. It is no reason to compute a power from a
difference that was seen: that only repeats its p value (Hoenig & Heisey, The American Statistician 55 (2001) 19-24).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil, inf
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from scanline.evaluate.bootstrap import MIN_DEFINED_SHARE, Statistic, resample, seeded_generator
from scanline.evaluate.inputs import Floats, refuse
from scanline.evaluate.options import EvaluateOptions

ALPHA = 0.05  # the level of significance that nearly all studies state
POWER = 0.8  # Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd edition (1988)

ROUNDING = 1e-12  # resamples that differ by less than this share of their values are equal


@dataclass(frozen=True)
class DetectableDifference:
    """What a study of this size can detect.

    Attributes:
        standard_error: By the bootstrap; None where undefined.
        difference: The smallest difference found with the stated power; None where there is no standard error.
        alpha: Level of the two-sided test.
        power: Chance to find that difference.
        clusters: Number of patients.
        reason: Why there is none; None where there is one.
    """

    standard_error: float | None
    difference: float | None
    alpha: float
    power: float
    clusters: int
    reason: str | None

    def as_json(self) -> dict[str, Any]:
        """The fields as a dict."""
        return asdict(self)


def smallest_detectable_difference(standard_error: float, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """The smallest true difference that a two-sided test finds with the stated power.

    Args:
        standard_error: Of the difference.
        alpha: Level of the test, between 0 and 1.
        power: At least 0.5 and below 1.

    Raises:
        InputError: If a number is out of range.

    Examples:
        >>> round(smallest_detectable_difference(0.02), 4)
        0.056
    """
    _check(standard_error, alpha, power)
    return float((ndtri(1 - alpha / 2) + ndtri(power)) * standard_error)


def power_to_detect(difference: float, standard_error: float, *, alpha: float = ALPHA) -> float:
    """The chance that a two-sided test finds a true difference, in the right direction.

    Args:
        difference: Of either sign; stated before the study, not the one seen in it.
        standard_error: Of the difference.
        alpha: Level of the test, between 0 and 1.

    Raises:
        InputError: If a number is out of range.

    Examples:
        >>> round(power_to_detect(0.05, 0.02), 3)
        0.705
    """
    _check(standard_error, alpha, POWER)
    if not np.isfinite(difference):
        refuse("difference", str(difference), "a finite number")
    return float(ndtr(abs(difference) / standard_error - ndtri(1 - alpha / 2)))


def patients_needed(
    difference: float, standard_error: float, patients: int, *, alpha: float = ALPHA, power: float = POWER
) -> int:
    """How many patients a two-sided test needs in all to find a true difference with the stated power.

    Args:
        difference: Of either sign, not 0.
        standard_error: Of the difference, with `patients`.
        patients: Number of patients behind the standard error.
        alpha: Level of the test, between 0 and 1.
        power: At least 0.5 and below 1.

    Returns:
        At most `patients` where there are enough already; else subtract `patients` for how many more.

    Raises:
        InputError: If a number is out of range.

    Examples:
        >>> patients_needed(0.03, standard_error=0.02, patients=200)
        698
    """
    _check(standard_error, alpha, power)
    if patients < 1:
        refuse("patients", str(patients), "at least 1")
    if not 0 < abs(difference) < inf:
        refuse("difference", str(difference), "a number other than 0")
    ratio = smallest_detectable_difference(standard_error, alpha=alpha, power=power) / abs(difference)
    return ceil(patients * ratio**2)


def standard_error_of_interval(low: float, high: float, *, level: float = 0.95) -> float:
    """Standard error behind an interval, taken for a normal one: its width over twice the quantile.

    Args:
        low: Lower limit.
        high: Upper limit.
        level: Coverage of the interval.

    Raises:
        InputError: If the limits are not in order, or the level is not between 0 and 1.

    Examples:
        >>> round(standard_error_of_interval(0.7, 0.8), 4)
        0.0255
    """
    if not 0 < level < 1:
        refuse("level", str(level), "a number between 0 and 1")
    if not -inf < low < high < inf:
        refuse("interval", f"{low} to {high}", "two finite limits, the lower one first")
    return float((high - low) / (2 * ndtri((1 + level) / 2)))


def bootstrap_standard_errors(
    statistic: Statistic, clusters: int, options: EvaluateOptions, *stream: str
) -> dict[str, float]:
    """Standard deviation of each metric among resamples of patients.

    Args:
        statistic: What is measured; `paired.Difference` for a difference of two models.
        clusters: Number of patients.
        options: Resamples and seed.
        stream: Names the purpose of the draws.

    Returns:
        Name to standard error; NaN with fewer than two patients, or where most resamples are undefined.
    """
    if clusters < 2:
        return dict.fromkeys(statistic(np.ones((1, clusters))), np.nan)
    generator = seeded_generator(options.seed, *stream)
    replicates = resample(statistic, clusters, options.bootstrap_resamples, generator)
    return {name: _spread(values) for name, values in replicates.items()}


def _spread(values: Floats) -> float:
    defined = values[~np.isnan(values)]
    if len(defined) < max(MIN_DEFINED_SHARE * len(values), 2):
        return np.nan
    spread = float(defined.std(ddof=1))
    return spread if spread > ROUNDING * np.abs(defined).max() else 0.0


def detectable_differences(
    statistic: Statistic,
    clusters: int,
    options: EvaluateOptions,
    *stream: str,
    alpha: float = ALPHA,
    power: float = POWER,
) -> dict[str, DetectableDifference]:
    """The smallest detectable difference of each metric, by its bootstrap standard error.

    With the statistic of one model: from a value known without error, such as a published target. With a
    `paired.Difference`: between two models on these images.

    Args:
        statistic: What is measured.
        clusters: Number of patients.
        options: Resamples and seed.
        stream: Names the purpose of the draws.
        alpha: Level of the test, between 0 and 1.
        power: At least 0.5 and below 1.

    Returns:
        Name to detectable difference, in the statistic's order.

    Raises:
        InputError: If alpha or power is out of range.

    Examples:
        >>> from scanline.evaluate.binary import BinaryMetrics
        >>> truth, clusters = np.tile([False, True], 40), np.repeat(np.arange(20), 4)
        >>> score = 1 / (1 + np.exp(np.random.default_rng(0).normal(0, 1, 80) - 2 * (truth - 0.5)))
        >>> found = detectable_differences(BinaryMetrics(truth, score >= 0.5, score, clusters), 20, EvaluateOptions())
        >>> print(round(found["auroc"].standard_error, 3), round(found["auroc"].difference, 3))
        0.031 0.087
    """
    _check(1.0, alpha, power)
    values = {name: float(value[0]) for name, value in statistic(np.ones((1, clusters))).items()}
    reasons = {name: statistic.reason_undefined(name) for name, value in values.items() if np.isnan(value)}
    errors: Mapping[str, float] = {}
    if len(reasons) < len(values):
        errors = bootstrap_standard_errors(statistic, clusters, options, *stream)
    found = {}
    for name in values:
        error = errors.get(name, np.nan)
        reason = reasons.get(name) or _reason_without_error(error, clusters)
        if reason:
            found[name] = DetectableDifference(None, None, alpha, power, clusters, reason)
            continue
        smallest = smallest_detectable_difference(error, alpha=alpha, power=power)
        found[name] = DetectableDifference(error, smallest, alpha, power, clusters, None)
    return found


def _reason_without_error(error: float, clusters: int) -> str | None:
    if clusters < 2:
        return "one cluster alone: nothing to resample"
    if np.isnan(error):
        return "no standard error: undefined in most resamples"
    return None if error > 0 else "no standard error: all resamples are equal"


def _check(standard_error: float, alpha: float, power: float) -> None:
    if not 0 < standard_error < inf:
        refuse("standard error", str(standard_error), "a number above 0")
    if not 0 < alpha < 1:
        refuse("alpha", str(alpha), "a number between 0 and 1")
    if not 0.5 <= power < 1:
        refuse("power", str(power), "at least 0.5 and below 1")
