"""AUROC with DeLong's interval, and the test for the difference of two; patients may have several images.

The AUROC is a mean over all pairs of a positive and a negative image. Its structural components are, for each
positive, the share of the negatives that it outranks, and for each negative, the share of the positives that
outrank it, ties counting half. Their variances among the positives and among the negatives give the variance of
the AUROC, and their covariances between two models the covariance of two AUROCs (DeLong, DeLong & Clarke-Pearson,
Biometrics 44 (1988) 837-845). The components are differences of mid-ranks, which takes O(n log n) (Sun & Xu, IEEE
Signal Processing Letters 21 (2014) 1389-1393).

Images of one patient resemble each other. Where patients are given, the components are summed within each patient
first, and the covariance of a patient's positives with his negatives is added (Obuchowski, Biometrics 53 (1997)
567-578). With I patients, I1 of them with positives and I0 with negatives, M positive and N negative images, and
x_i and y_i the sums over patient i's positives and negatives of (component - AUROC), the variance is

    I1 / (I1 - 1) sum x_i^2 / M^2 + I0 / (I0 - 1) sum y_i^2 / N^2 + 2 I / (I - 1) sum x_i y_i / (M N).

Where every patient has one image, I1 = M, I0 = N and x_i y_i = 0: this is DeLong's variance, term by term and with
its own factors 1 / (M - 1) and 1 / (N - 1).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import hypot, sqrt
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtr, ndtri
from scipy.stats import rankdata

from scanline.evaluate.binary import NO_NEGATIVES, NO_POSITIVES
from scanline.evaluate.bootstrap import count_clusters, sum_by_cluster
from scanline.evaluate.inputs import Bools, Codes, Floats, as_clusters, as_scores, as_truth, check_lengths, refuse

Patients = Sequence[object] | pd.Series | NDArray[np.generic] | None
IntervalForm = Literal["normal", "logit"]

ROUNDING = 1e-14  # a standard error below it is rounding: components are means of 0, 1/2 and 1


@dataclass(frozen=True)
class AurocEstimate:
    """An AUROC with its interval.

    Attributes:
        value: None where undefined.
        low: Lower limit; None where there is no interval.
        high: Upper limit; None where there is no interval.
        standard_error: None where there is no interval.
        reason: Why the value is undefined or has no interval; None where both are there.
        method: "delong", or "obuchowski" where patients were given.
        interval: "normal" or "logit".
        positives: Number of positive images.
        negatives: Number of negative images.
        clusters: Number of patients, an image of no known patient counting as one; of images without patients.
    """

    value: float | None
    low: float | None
    high: float | None
    standard_error: float | None
    reason: str | None
    method: str
    interval: str
    positives: int
    negatives: int
    clusters: int

    def as_json(self) -> dict[str, Any]:
        """The fields as a dict."""
        return asdict(self)


@dataclass(frozen=True)
class AurocDifference:
    """A test whether two AUROCs differ.

    Attributes:
        first: AUROC of the first model; None where undefined.
        second: AUROC of the second model; None where undefined.
        difference: first - second; None where either is undefined.
        low: Lower limit of the difference; None where there is no test.
        high: Upper limit of the difference; None where there is no test.
        standard_error: Of the difference; None where there is no test.
        z: difference / standard_error; None where there is no test.
        p: Two-sided, from the normal distribution; None where there is no test.
        reason: Why something is None; None where all is there.
        paired: Whether both models were measured on the same images.
        method: "delong", or "obuchowski" where patients were given.
    """

    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    standard_error: float | None
    z: float | None
    p: float | None
    reason: str | None
    paired: bool
    method: str

    def as_json(self) -> dict[str, Any]:
        """The fields as a dict."""
        return asdict(self)


class Components:
    """AUROCs of several models on the same images, with the structural components of their variance.

    Args:
        truth: Shape (images,).
        scores: Of each model, higher for positive; shape (images, models).
        clusters: Cluster of each image, shape (images,).

    Attributes:
        auroc: Shape (models,); NaN without positives or without negatives.
        positives: Number of positive images.
        negatives: Number of negative images.
        positive_clusters: Number of clusters with positives.
        negative_clusters: Number of clusters with negatives.
        clusters: Number of clusters.
    """

    def __init__(self, truth: Bools, scores: Floats, clusters: Codes) -> None:
        self.clusters = count_clusters(clusters)
        self.positives, self.negatives = int(truth.sum()), int((~truth).sum())
        self.positive_clusters = len(np.unique(clusters[truth]))
        self.negative_clusters = len(np.unique(clusters[~truth]))
        self.auroc: Floats = np.full(scores.shape[1], np.nan)
        if self.positives == 0 or self.negatives == 0:
            return
        ranks = rankdata(scores, axis=0)
        outranked = (ranks[truth] - rankdata(scores[truth], axis=0)) / self.negatives
        outranking = 1 - (ranks[~truth] - rankdata(scores[~truth], axis=0)) / self.positives
        self.auroc = outranked.mean(axis=0)
        self._x = sum_by_cluster(outranked - self.auroc, clusters[truth], self.clusters) / self.positives
        self._y = sum_by_cluster(outranking - self.auroc, clusters[~truth], self.clusters) / self.negatives

    def reason_undefined(self) -> str | None:
        """Why the AUROCs are undefined; None where they are defined."""
        missing = [(self.positives, NO_POSITIVES), (self.negatives, NO_NEGATIVES)]
        return "; ".join(reason for count, reason in missing if count == 0) or None

    def reason_no_variance(self) -> str | None:
        """Why nothing tells how far the AUROCs vary; None where something does."""
        kinds = [
            ("positive", self.positives, self.positive_clusters),
            ("negative", self.negatives, self.negative_clusters),
        ]
        alone = [
            f"one image alone is {kind}" if images == 1 else f"all {kind} images are of one patient"
            for kind, images, clusters in kinds
            if clusters == 1
        ]
        return "no interval: " + "; ".join(alone) if alone else None

    def covariance(self, contrasts: Floats) -> Floats:
        """Covariance of linear combinations of the AUROCs.

        Args:
            contrasts: Weights of the models, shape (models, combinations).

        Returns:
            Shape (combinations, combinations); NaN where there is no variance.
        """
        if self.reason_undefined() or self.reason_no_variance():
            return np.full((contrasts.shape[1],) * 2, np.nan)
        x, y = self._x @ contrasts, self._y @ contrasts
        across = x.T @ y
        return (
            _unbiased(self.positive_clusters) * (x.T @ x)
            + _unbiased(self.negative_clusters) * (y.T @ y)
            + _unbiased(self.clusters) * (across + across.T)
        )

    def standard_error(self, *weights: float) -> float:
        """Standard error of one linear combination of the AUROCs, exactly 0 where it is nothing but rounding."""
        variance = float(self.covariance(np.array(weights)[:, None])[0, 0])
        error = sqrt(max(variance, 0.0)) if variance == variance else variance
        return 0.0 if error < ROUNDING else error


def _unbiased(count: int) -> float:
    return count / (count - 1)


def auroc_covariance(truth: ArrayLike, scores: ArrayLike, patients: Patients = None) -> tuple[Floats, Floats]:
    """AUROCs of several models on the same images, and their covariance matrix.

    Args:
        truth: 0 or 1, shape (images,).
        scores: Of each model, higher for positive, any scale; shape (images, models).
        patients: Patient of each image, null where unknown; None: images are independent.

    Returns:
        AUROC, shape (models,), and covariance, shape (models, models); NaN where undefined.

    Raises:
        InputError: If the lengths differ, or an entry is null or out of range.

    Examples:
        >>> auroc, covariance = auroc_covariance([0, 0, 1, 1], [[0.1, 0.3], [0.4, 0.2], [0.3, 0.1], [0.8, 0.9]])
        >>> print(auroc, covariance.round(4).tolist())
        [0.75 0.5 ] [[0.125, 0.125], [0.125, 0.25]]
    """
    matrix = as_scores(scores)
    if matrix.ndim != 2:
        refuse("scores", f"an array of {matrix.ndim} axes", "two axes, images and models")
    parts = _components(truth, matrix, patients)
    return parts.auroc, parts.covariance(np.eye(matrix.shape[1]))


def delong_auroc(
    truth: ArrayLike,
    score: ArrayLike,
    patients: Patients = None,
    *,
    level: float = 0.95,
    interval: IntervalForm = "normal",
) -> AurocEstimate:
    """AUROC with the interval by DeLong's variance, or by Obuchowski's where patients are given.

    There is no interval where the variance is estimated as 0, as it is where the AUROC is 0 or 1: it would claim
    certainty.

    Args:
        truth: 0 or 1, shape (images,).
        score: Higher for positive, any scale; shape (images,).
        patients: Patient of each image, null where unknown; None: images are independent.
        level: Coverage of the interval.
        interval: "normal": AUROC +- z standard errors, cut at 0 and 1. "logit": the same on the scale of
            log(AUROC / (1 - AUROC)), which stays inside 0 and 1 (Pepe, The Statistical Evaluation of Medical
            Tests for Classification and Prediction (2003), chapter 5).

    Raises:
        InputError: If the lengths differ, an entry is null or out of range, or an option is unknown.

    Examples:
        >>> estimate = delong_auroc([0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.5, 0.3, 0.6, 0.9])
        >>> print(f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})")
        0.778 (0.291 to 1.000)
        >>> delong_auroc([0, 0, 1], [0.1, 0.2, 0.3]).reason
        'no interval: one image alone is positive'
    """
    if interval not in get_args(IntervalForm):
        refuse("interval", repr(interval), " or ".join(get_args(IntervalForm)))
    z = _two_sided_quantile(level)
    parts = _components(truth, _as_column(score, "score"), patients)
    value: float | None = float(parts.auroc[0])
    error, reason = _error_or_reason(parts, 1.0)
    low = high = None
    if parts.reason_undefined():
        value = None
    elif value is not None and error is not None and interval == "normal":
        low, high = max(value - z * error, 0.0), min(value + z * error, 1.0)
    elif value is not None and error is not None:
        spread = z * error / (value * (1 - value))
        low, high = (float(expit(logit(value) + side * spread)) for side in (-1, 1))
    return AurocEstimate(
        value,
        low,
        high,
        error,
        reason,
        _method(patients),
        interval,
        parts.positives,
        parts.negatives,
        parts.clusters,
    )


def delong_test(
    truth: ArrayLike, first: ArrayLike, second: ArrayLike, patients: Patients = None, *, level: float = 0.95
) -> AurocDifference:
    """Test whether two models' AUROCs on the same images differ.

    There is no test where either AUROC or their difference has a variance of 0.

    Args:
        truth: 0 or 1, shape (images,).
        first: Scores of the first model, shape (images,).
        second: Scores of the second model, shape (images,).
        patients: Patient of each image, null where unknown; None: images are independent.
        level: Coverage of the difference's interval.

    Raises:
        InputError: If the lengths differ, or an entry is null or out of range.

    Examples:
        >>> truth = [0, 0, 0, 0, 1, 1, 1, 1]
        >>> test = delong_test(truth, [1, 2, 3, 6, 4, 5, 7, 8], [2, 1, 6, 7, 3, 5, 8, 4])
        >>> print(f"{test.difference:.4f} ({test.low:.4f} to {test.high:.4f}), p = {test.p:.3f}")
        0.2500 (-0.1501 to 0.6501), p = 0.221
    """
    z = _two_sided_quantile(level)
    columns = {name: _as_column(scores, name) for name, scores in (("first", first), ("second", second))}
    check_lengths(**columns)
    parts = _components(truth, np.hstack(list(columns.values())), patients)
    method = _method(patients)
    if reason := parts.reason_undefined():
        return AurocDifference(None, None, None, None, None, None, None, None, reason, True, method)
    singles = {"first": _error_or_reason(parts, 1.0, 0.0)[1], "second": _error_or_reason(parts, 0.0, 1.0)[1]}
    error, reason = _error_or_reason(parts, 1.0, -1.0)
    first_auroc, second_auroc = map(float, parts.auroc)
    reason = _shared_reason(singles) or reason
    return _difference(first_auroc, second_auroc, None if reason else error, z, reason, True, method)


def delong_test_unpaired(first: AurocEstimate, second: AurocEstimate, *, level: float = 0.95) -> AurocDifference:
    """Test whether two AUROCs measured on different patients differ.

    The variance of the difference is the sum of the two. The two sets must have no patient in common.

    Args:
        first: By `delong_auroc`.
        second: By `delong_auroc`, on other patients.
        level: Coverage of the difference's interval.

    Raises:
        InputError: If the level is not between 0 and 1.

    Examples:
        >>> internal = delong_auroc([0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.5, 0.3, 0.6, 0.9])
        >>> external = delong_auroc([0, 0, 1, 1, 1], [0.2, 0.7, 0.5, 0.4, 0.9])
        >>> test = delong_test_unpaired(internal, external)
        >>> print(f"{test.difference:.3f}, z = {test.z:.2f}, p = {test.p:.2f}")
        0.111, z = 0.25, p = 0.80
    """
    z = _two_sided_quantile(level)
    method = first.method if first.method == second.method else f"{first.method} and {second.method}"
    reason = _shared_reason({"first": first.reason, "second": second.reason})
    if first.value is None or second.value is None:
        values = (first.value, second.value)
        return AurocDifference(*values, None, None, None, None, None, None, reason, False, method)
    errors = (first.standard_error, second.standard_error)
    error = None if errors[0] is None or errors[1] is None else hypot(errors[0], errors[1])
    return _difference(first.value, second.value, error, z, reason, False, method)


def _as_column(values: ArrayLike, where: str) -> Floats:
    scores = as_scores(values, where)
    if scores.ndim != 1:
        refuse(where, f"an array of {scores.ndim} axes", "one score for each image")
    return scores[:, None]


def _components(truth: ArrayLike, scores: Floats, patients: Patients) -> Components:
    known = as_truth(truth)
    if known.ndim != 1:
        refuse("truth", f"an array of {known.ndim} axes", "one truth for each image")
    images = check_lengths(truth=known, scores=scores)
    return Components(known, scores, as_clusters(patients, images))


def _error_or_reason(parts: Components, *weights: float) -> tuple[float | None, str | None]:
    """The standard error of a combination of the AUROCs, or why there is none."""
    if reason := parts.reason_undefined() or parts.reason_no_variance():
        return None, reason
    error = parts.standard_error(*weights)
    if error > 0:
        return error, None
    value = float(np.dot(parts.auroc, weights))
    if np.count_nonzero(weights) > 1:
        return None, "no test: the variance of the difference is estimated as 0"
    if value in (0.0, 1.0):
        which = "every positive" if value == 1 else "no positive"
        return None, f"no interval: {which} outranks every negative, and the variance is estimated as 0"
    return None, "no interval: the variance is estimated as 0"


def _shared_reason(reasons: dict[str, str | None]) -> str | None:
    """One reason for both models, named where only one has it."""
    distinct = {reason for reason in reasons.values() if reason}
    if len(distinct) == 1 and all(reasons.values()):
        return distinct.pop()
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason) or None


def _difference(
    first: float, second: float, error: float | None, z: float, reason: str | None, paired: bool, method: str
) -> AurocDifference:
    difference = first - second
    if error is None:
        return AurocDifference(first, second, difference, None, None, None, None, None, reason, paired, method)
    low, high = max(difference - z * error, -1.0), min(difference + z * error, 1.0)
    statistic = difference / error
    p = float(2 * ndtr(-abs(statistic)))
    return AurocDifference(first, second, difference, low, high, error, statistic, p, None, paired, method)


def _two_sided_quantile(level: float) -> float:
    if not 0 < level < 1:
        refuse("level", str(level), "a number between 0 and 1")
    return float(ndtri((1 + level) / 2))


def _method(patients: Patients) -> str:
    return "delong" if patients is None else "obuchowski"
