"""Do probabilities mean what they say: log loss, Brier score, calibration error; and temperature scaling.

Every metric is a sum over images, so each patient is summed up once and any number of resamples costs a matrix
product. Bins are fixed from the sample and kept in every resample.

Sources: expected and maximum calibration error by 15 bins of equal width, and temperature scaling, Guo et al., On
calibration of modern neural networks, ICML (2017); bins of equal mass, Nguyen & O'Connor, EMNLP (2015); Brier,
Monthly Weather Review 78 (1950) 1-3, as the mean squared difference of probability and truth.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax

from scanline.core.files import sha256_of_text
from scanline.evaluate.bootstrap import count_clusters, divide, sum_by_cluster
from scanline.evaluate.classes import as_class_codes, check_class_names
from scanline.evaluate.inputs import (
    Bools,
    Codes,
    Floats,
    as_partial_truth,
    as_probability,
    as_truth,
    check_lengths,
    refuse,
)

Binning = Literal["equal_width", "equal_mass"]

BINS = 15
SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
METRICS = ("brier", "log_loss", "ece", "mce")
TEMPERATURE_LIMITS = (0.01, 100.0)

NO_IMAGES = "there are no images"


def clip_probability(probability: Floats) -> Floats:
    """Move probabilities into [e, 1 - e], where e = 2.2e-16 is the spacing of float64 at 1.

    scikit-learn's `log_loss` does the same to float64. An image called impossible that is positive then costs
    36.04, not infinity.
    """
    return np.clip(probability, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)


def logit(probability: Floats) -> Floats:
    """Log odds after `clip_probability`: from -36.04 to 36.04, so that probabilities of 0 and 1 stay finite."""
    clipped = clip_probability(probability)
    return np.log(clipped) - np.log1p(-clipped)


def log_loss_of_images(truth: Bools, probability: Floats) -> Floats:
    """Minus the natural logarithm of the probability that each image's true class was given, after clipping.

    Args:
        truth: Shape (images,).
        probability: Of the positive class, shape (images,).

    Returns:
        Shape (images,); the mean is scikit-learn's `log_loss`.
    """
    return -np.log(clip_probability(np.where(truth, probability, 1 - probability)))


def bin_edges(probability: Floats, bins: int = BINS, binning: Binning = "equal_width") -> Floats:
    """Edges of the bins, rising, shape (bins + 1,); a bin holds its upper edge, and the first one also its lower.

    Args:
        probability: Shape (images,).
        bins: Number of bins.
        binning: "equal_width" cuts [0, 1]; "equal_mass" cuts at the quantiles of `probability` (by linear
            interpolation), where equal probabilities share a bin and may leave others empty.

    Raises:
        InputError: For fewer than one bin, or an unknown binning.
    """
    if bins < 1:
        refuse("bins", f"{bins}", "at least 1", "Take 15, the usual number.")
    shares = np.linspace(0, 1, bins + 1)
    if binning == "equal_width":
        return shares
    if binning != "equal_mass":
        refuse("binning", repr(binning), "equal_width or equal_mass", "Take equal_width, the usual one.")
    return np.asarray(np.percentile(probability, shares * 100)) if len(probability) else shares


def bin_numbers(probability: Floats, edges: Floats) -> Codes:
    """Bin of each probability, 0 ... bins - 1, shape (images,)."""
    return np.searchsorted(edges[1:-1], probability, side="left").astype(np.intp)


class BinnedOutcomes:
    """Images sorted into bins of probability and summed up by cluster.

    Args:
        outcome: Whether what the probability speaks of came true, shape (images,).
        probability: Shape (images,).
        clusters: Cluster of each image, shape (images,).
        count: Number of clusters, of which some may have no image here.
        bins: Number of bins.
        binning: Kind of bins.
    """

    def __init__(
        self,
        outcome: Bools,
        probability: Floats,
        clusters: Codes,
        count: int,
        bins: int = BINS,
        binning: Binning = "equal_width",
    ) -> None:
        self.edges = bin_edges(probability, bins, binning)
        cells = clusters * bins + bin_numbers(probability, self.edges)

        def add_up(values: NDArray[Any] | None) -> Floats:
            sums = np.bincount(cells, weights=values, minlength=count * bins)
            return sums.astype(np.float64).reshape(count, bins)

        self.images, self.probability, self.outcome = add_up(None), add_up(probability), add_up(outcome)
        self.gap = self.outcome - self.probability
        self._size = self.images.sum(axis=1)

    def expected_error(self, weights: Floats) -> Floats:
        """Expected calibration error under each row of weights, shape (resamples,); NaN without images.

        The mean over images of |observed frequency - mean probability| of the image's bin.

        Args:
            weights: Shape (resamples, clusters).
        """
        return divide(np.abs(weights @ self.gap).sum(axis=1), weights @ self._size)

    def maximum_error(self, weights: Floats) -> Floats:
        """The largest |observed frequency - mean probability| of the bins that hold images, shape (resamples,)."""
        gaps = np.nan_to_num(divide(np.abs(weights @ self.gap), weights @ self.images), nan=-1.0)
        largest = gaps.max(axis=1)
        return np.where(largest < 0, np.nan, largest)

    def observed(self, weights: Floats) -> Floats:
        """Observed frequency of each bin, shape (resamples, bins); NaN for an empty bin."""
        return divide(weights @ self.outcome, weights @ self.images)


class CalibrationMetrics:
    """Brier score, log loss and calibration errors as a function of the clusters' weights.

    A resampled calibration error is larger on average than the sample's own, since noise adds to every bin's gap:
    a percentile interval of it lies high and may not hold the value (Roelofs et al., AISTATS (2022)).

    Args:
        truth: Shape (images,).
        probability: Of the positive class, in [0, 1], shape (images,).
        clusters: Cluster of each image, shape (images,); None makes each image its own.
        bins: Number of bins.
        binning: Kind of bins, see `bin_edges`.

    Raises:
        InputError: If the lengths differ, and for what `bin_edges` refuses.

    Examples:
        >>> measure = CalibrationMetrics(np.array([True, False, True]), np.array([0.9, 0.4, 0.2]))
        >>> {name: value.round(4).tolist() for name, value in measure(np.ones((1, 3))).items()}
        {'brier': [0.27], 'log_loss': [0.7419], 'ece': [0.4333], 'mce': [0.8]}
    """

    def __init__(
        self,
        truth: Bools,
        probability: Floats,
        clusters: Codes | None = None,
        *,
        bins: int = BINS,
        binning: Binning = "equal_width",
    ) -> None:
        check_lengths(truth=truth, probability=probability, clusters=clusters)
        clusters = np.arange(len(truth)) if clusters is None else clusters
        self.clusters = count_clusters(clusters)
        self.binned = BinnedOutcomes(truth, probability, clusters, self.clusters, bins, binning)
        columns = [np.ones(len(truth)), (probability - truth) ** 2, log_loss_of_images(truth, probability)]
        self._sums = sum_by_cluster(np.stack(columns, axis=1), clusters, self.clusters)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Compute METRICS under each row of weights.

        Args:
            weights: Shape (resamples, clusters), not negative.

        Returns:
            Each of shape (resamples,), NaN without images.
        """
        images, squares, losses = (weights @ self._sums).T
        return {
            "brier": divide(squares, images),
            "log_loss": divide(losses, images),
            "ece": self.binned.expected_error(weights),
            "mce": self.binned.maximum_error(weights),
        }

    def reason_undefined(self, name: str) -> str:
        """Why a metric is undefined: all need an image, and nothing else."""
        return NO_IMAGES


def calibrate(probability: Floats, temperature: float) -> Floats:
    """Divide the logits by a temperature: above 1 it makes probabilities less extreme.

    The ranking of images stays, but for probabilities within 2.2e-16 of 0 or 1, which `clip_probability` ties.

    Args:
        probability: Of the positive class, shape (images,); or of each class, shape (images, classes), for which
            the logits are log p.
        temperature: Above 0.

    Returns:
        Same shape; rows of several classes sum to 1.

    Examples:
        >>> calibrate(np.array([0.1, 0.5, 0.9]), 2.0)
        array([0.25, 0.5 , 0.75])
    """
    if probability.ndim == 1:
        return np.asarray(expit(logit(probability) / temperature))
    return np.asarray(softmax(np.log(clip_probability(probability)) / temperature, axis=1))


@dataclass(frozen=True)
class Temperature:
    """A frozen temperature, with proof of what it was fitted on.

    Attributes:
        value: What logits are divided by.
        subset: The subset it was fitted on.
        images: Images of that subset.
        log_loss_before: Mean log loss there at temperature 1.
        log_loss_after: Mean log loss there at this temperature.
        scores_sha256: Digest of what it was fitted on (see `digest_of_scores`); None where no image ids were given.
        classes: The classes in the order of the columns; None for a binary task.
        note: Why the value is a bound rather than an optimum; None where it is an optimum.
    """

    value: float
    subset: str
    images: int
    log_loss_before: float
    log_loss_after: float
    scores_sha256: str | None
    classes: tuple[str, ...] | None = None
    note: str | None = None

    def apply(self, probability: ArrayLike) -> Floats:
        """Calibrate probabilities, see `calibrate`.

        Args:
            probability: Shape (images,) for a binary task, (images, classes) for several classes.

        Raises:
            InputError: For another shape, or a value that is not from 0 to 1.
        """
        values = as_probability(probability, names=self.classes)
        columns = None if self.classes is None else len(self.classes)
        if values.shape != (len(values), columns)[: 1 if columns is None else 2]:
            expected = "(images,)" if columns is None else f"(images, {columns})"
            refuse("probability", f"shape {values.shape}", f"shape {expected}, as the temperature was fitted on")
        return calibrate(values, self.value)

    def as_json(self) -> dict[str, object]:
        """The record as a file holds it."""
        return asdict(self)


def fit_temperature(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    classes: Sequence[str] | None = None,
    image_ids: Sequence[str] | None = None,
    subset: str = "val",
    where: object = "scores",
) -> Temperature:
    """Find the temperature of least log loss on one subset, from 0.01 to 100.

    The log loss is convex in the inverse temperature, so the least one is found by Brent's bounded search over its
    logarithm. Scores that never err want temperature 0, and scores worse than chance an infinite one: the bound is
    then taken and said.

    Args:
        truth: 0 or 1, shape (images,); with classes, the name of each image's class.
        probability: Of the positive class, shape (images,); with classes, shape (images, classes).
        classes: The classes in the order of the columns; None for a binary task.
        image_ids: Of the fitting subset, for the digest; None leaves it out.
        subset: The name of that subset.
        where: The scores' file, for messages.

    Raises:
        InputError: If only one class occurs, for lengths that differ, unknown truth, or a probability that is not
            from 0 to 1.

    Examples:
        >>> truth, probability = [0, 0, 0, 1, 1, 0], [0.01, 0.2, 0.1, 0.9, 0.99, 0.95]
        >>> temperature = fit_temperature(truth, probability)
        >>> round(temperature.value, 2), temperature.subset, temperature.apply([0.99]).round(2)
        (2.0, 'val', array([0.91]))
    """
    numbers = as_probability(probability, names=classes)
    names = None if classes is None else check_class_names(classes, at_least=2)
    codes = as_truth(truth).astype(np.intp) if names is None else as_class_codes(truth, names)
    expected = (len(numbers),) if names is None else (len(numbers), len(names))
    if numbers.shape != expected:
        refuse(f"{where}: probability", f"shape {numbers.shape}", f"shape {expected}")
    images = check_lengths(truth=codes, probability=numbers, image_ids=image_ids)
    found = np.unique(codes)
    if len(found) < 2:
        seen = "no images" if images == 0 else f"{images} images of one class"
        refuse(
            f"{where}: subset {subset}",
            seen,
            "at least two classes, to fit the temperature",
            f"Give the split a larger {subset} share or another seed, or fit no temperature.",
        )
    log_loss_at = _log_loss_at(codes, numbers)
    low, high = np.log(TEMPERATURE_LIMITS)
    search = minimize_scalar(log_loss_at, bounds=(low, high), method="bounded", options={"xatol": 1e-10})
    best = min((0.0, low, high, float(search.x)), key=log_loss_at)
    note = None
    if best in (low, high):
        note = f"the log loss still falls at the {'lower' if best == low else 'upper'} bound of the temperature"
    value = float(np.exp(best))
    told = codes == 1 if names is None else np.array(names, dtype=object)[codes]
    digest = None if image_ids is None else digest_of_scores(image_ids, told, numbers)
    return Temperature(value, subset, images, log_loss_at(0.0), log_loss_at(best), digest, names, note)


def fit_temperatures(
    truth: ArrayLike,
    probability: ArrayLike,
    labels: Sequence[str],
    *,
    image_ids: Sequence[str] | None = None,
    subset: str = "val",
    where: object = "scores",
) -> dict[str, Temperature]:
    """One temperature for each label of a multi-label task, each from the images for which the label is known.

    Args:
        truth: 0, 1 or null, shape (images, labels).
        probability: Shape (images, labels).
        labels: In the order of the columns.
        image_ids: Of the fitting subset, for the digests; None leaves them out.
        subset: The name of that subset.
        where: The scores' file, for messages.

    Raises:
        InputError: As for `fit_temperature`, naming the label.

    Examples:
        >>> truth, probability = [[0, 1], [1, 1], [0, 0], [1, None]], [[0.4, 0.9], [0.6, 0.8], [0.7, 0.6], [0.8, 0.1]]
        >>> temperatures = fit_temperatures(truth, probability, ["mass", "nodule"])
        >>> {label: (temperature.images, round(temperature.value, 2)) for label, temperature in temperatures.items()}
        {'mass': (4, 0.98), 'nodule': (3, 0.7)}
    """
    names = check_class_names(labels, "labels")
    numbers, known = as_probability(probability, names=names), as_partial_truth(truth, names=names)
    images = check_lengths(truth=known, probability=numbers, image_ids=image_ids)
    for name, values in (("truth", known), ("probability", numbers)):
        if values.shape != (images, len(names)):
            refuse(f"{where}: {name}", f"shape {values.shape}", f"shape ({images}, {len(names)})")
    temperatures = {}
    for column, label in enumerate(names):
        rows = np.flatnonzero(~np.isnan(known[:, column]))
        temperatures[label] = fit_temperature(
            known[rows, column],
            numbers[rows, column],
            image_ids=None if image_ids is None else [image_ids[row] for row in rows.tolist()],
            subset=subset,
            where=f"{where}: {label}",
        )
    return temperatures


def _log_loss_at(codes: Codes, probability: Floats) -> Callable[[float], float]:
    """Mean log loss as a function of the logarithm of the temperature, without clipping after the division."""
    if probability.ndim == 1:
        against = np.where(codes == 1, -1.0, 1.0) * logit(probability)
        return lambda log_temperature: float(np.logaddexp(0.0, against / np.exp(log_temperature)).mean())
    logits = np.log(clip_probability(probability))
    rows = np.arange(len(codes))
    return lambda log_temperature: float(-log_softmax(logits / np.exp(log_temperature), axis=1)[rows, codes].mean())


def digest_of_scores(image_ids: Sequence[str], truth: NDArray[Any], probability: Floats) -> str:
    """SHA-256 of the JSON list of [image id, truth, probability], sorted: the order of rows is no matter.

    Args:
        image_ids: Shape (images,).
        truth: Booleans or class names, shape (images,).
        probability: Shape (images,) or (images, classes).
    """
    rows = sorted(zip(image_ids, truth.tolist(), probability.tolist(), strict=True))
    return sha256_of_text(json.dumps(rows))
