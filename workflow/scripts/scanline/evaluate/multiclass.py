"""Multi-class classification metrics: one class an image, one probability a class.

As in `scanline.evaluate.binary`, weights have shape (resamples, clusters), a weight of k counts a patient's images k
times, and undefined values are NaN.

Sources: Matthews correlation of several classes, Gorodkin, Computational Biology and Chemistry 28 (2004) 367-374;
kappa, Cohen, Educational and Psychological Measurement 20 (1960) 37-46, and with quadratic weights Psychological
Bulletin 70 (1968) 213-220; one-versus-one AUROC, Hand & Till, Machine Learning 45 (2001) 171-186; Brier score as its
author has it, the sum over classes (0 to 2; for two classes twice the binary score), Monthly Weather Review 78
(1950) 1-3; top-label calibration error, Guo et al., ICML (2017).
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from scanline.evaluate.binary import BinaryMetrics, Confusion, confusion_metrics
from scanline.evaluate.bootstrap import count_clusters, divide, estimate, sum_by_cluster
from scanline.evaluate.calibration import NO_IMAGES, BinnedOutcomes, clip_probability
from scanline.evaluate.classes import (
    AVERAGES,
    UNDEFINED_EVERYWHERE,
    UNDEFINED_WHERE_PRESENT,
    as_class_codes,
    check_class_names,
    count_patients,
    macro_average,
    select_columns,
    weighted_average,
)
from scanline.evaluate.inputs import (
    Codes,
    Floats,
    as_clusters,
    as_probability,
    check_lengths,
    refuse,
    refuse_entries,
)
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.ranking import Ranking

METRICS = ("accuracy", "balanced_accuracy", "mcc", "cohen_kappa", "auroc_one_vs_one", "brier", "log_loss", "ece")
ORDINAL_METRICS = ("quadratic_weighted_kappa",)
CLASS_METRICS = ("precision", "recall", "specificity", "f1", "auroc", "auprc")
SUM_TOLERANCE = 1e-3

ONE_TRUE_CLASS = "all images are of one class"
ONE_PREDICTED_CLASS = "all images are predicted to be of one class"
FEWER_THAN_TWO_CLASSES = "fewer than two classes have images"


def multiclass_correlation(matrix: Floats) -> Floats:
    """Gorodkin's correlation of truth and prediction, -1 to 1; undefined where either is constant.

    Args:
        matrix: Confusion matrices, rows truth, columns predicted, shape (resamples, classes, classes).

    Returns:
        Shape (resamples,).

    Examples:
        >>> multiclass_correlation(np.array([[[5.0, 1.0, 0.0], [2.0, 3.0, 1.0], [0.0, 1.0, 4.0]]])).round(3)
        array([0.56])
    """
    true, predicted, total = matrix.sum(axis=2), matrix.sum(axis=1), matrix.sum(axis=(1, 2))
    covariance = np.trace(matrix, axis1=1, axis2=2) * total - (true * predicted).sum(axis=1)
    spread = np.sqrt(total**2 - (true**2).sum(axis=1)) * np.sqrt(total**2 - (predicted**2).sum(axis=1))
    return divide(covariance, spread)


def cohen_kappa(matrix: Floats, *, quadratic: bool = False) -> Floats:
    """Agreement beyond chance, 1 - observed / expected disagreement.

    Args:
        matrix: As for `multiclass_correlation`.
        quadratic: Whether a confusion counts by the squared distance of its classes, which must then be in order.

    Returns:
        Shape (resamples,); NaN where truth and prediction are one and the same class throughout.

    Examples:
        >>> matrix = np.array([[[5.0, 1.0, 0.0], [2.0, 3.0, 1.0], [0.0, 1.0, 4.0]]])
        >>> print(cohen_kappa(matrix).round(3), cohen_kappa(matrix, quadratic=True).round(3))
        [0.557] [0.78]
    """
    places = np.arange(matrix.shape[1])
    distance = np.abs(places[:, None] - places[None, :])
    cost = distance**2 if quadratic else distance > 0
    expected = matrix.sum(axis=2)[:, :, None] * matrix.sum(axis=1)[:, None, :]
    observed = (cost * matrix).sum(axis=(1, 2)) * matrix.sum(axis=(1, 2))
    return 1 - divide(observed, (cost * expected).sum(axis=(1, 2)))


class MulticlassMetrics:
    """All metrics of one set of predictions, as a function of the clusters' weights.

    Macro and weighted averages leave out the classes whose value is undefined in the sample (`left_out`), and no
    others in any resample. One-versus-one AUROC leaves out classes without images.

    Args:
        truth: Place of each image's class in `classes`, shape (images,).
        predicted: Place of the predicted class, shape (images,).
        probability: Shape (images, classes).
        classes: Names, in the order of the columns.
        clusters: Cluster of each image, shape (images,); None makes each image its own.
        ordinal: Whether the classes are in order, for ORDINAL_METRICS.

    Raises:
        InputError: If the lengths differ.

    Examples:
        >>> probability = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3]])
        >>> truth = np.array([0, 1, 2])
        >>> measure = MulticlassMetrics(truth, probability.argmax(axis=1), probability, ["none", "mild", "severe"])
        >>> values = measure(np.ones((1, 3)))
        >>> print(values["accuracy"].round(3), values["per_class.mild.precision"], measure.left_out["precision"])
        [0.667] [0.5] ('severe',)
    """

    def __init__(
        self,
        truth: Codes,
        predicted: Codes,
        probability: Floats,
        classes: Sequence[str],
        clusters: Codes | None = None,
        *,
        ordinal: bool = False,
    ) -> None:
        images = check_lengths(truth=truth, predicted=predicted, probability=probability, clusters=clusters)
        clusters = np.arange(images) if clusters is None else clusters
        self.classes, self.ordinal = tuple(classes), ordinal
        self.clusters = count_clusters(clusters)
        self._truth, self._predicted, self._probability = truth, predicted, probability
        count, size = self.clusters, len(self.classes)
        cells = (clusters * size + truth) * size + predicted
        self._matrix = np.bincount(cells, minlength=count * size**2).astype(np.float64).reshape(count, size**2)
        is_class = truth[:, None] == np.arange(size)
        given = probability[np.arange(images), truth]
        losses = [((probability - is_class) ** 2).sum(axis=1), -np.log(clip_probability(given))]
        self._losses = sum_by_cluster(np.stack(losses, axis=1), clusters, count)
        chosen = probability[np.arange(images), predicted]
        self._binned = BinnedOutcomes(truth == predicted, chosen, clusters, count)
        self._rankings = [Ranking(is_class[:, k], probability[:, k], clusters) for k in range(size)]
        self._pooled = Ranking(is_class.ravel(), probability.ravel(), np.repeat(clusters, size))
        held = np.flatnonzero(is_class.any(axis=0)).tolist()
        self._pairs = [self._rank_pair(*pair, clusters) for pair in combinations(held, 2)]
        sample, _ = self._measure_classes(np.ones((1, count)))
        self._counted = {name: ~np.isnan(values[:, 0]) for name, values in sample.items()}
        self.left_out = {
            name: tuple(label for label, held in zip(self.classes, counted.tolist(), strict=True) if not held)
            for name, counted in self._counted.items()
        }

    def _rank_pair(self, first: int, second: int, clusters: Codes) -> tuple[Ranking, Ranking]:
        """Two classes against each other, by the probability of either."""
        rows = np.flatnonzero((self._truth == first) | (self._truth == second))
        truth, probability = self._truth[rows], self._probability[rows]
        return (
            Ranking(truth == first, probability[:, first], clusters[rows]),
            Ranking(truth == second, probability[:, second], clusters[rows]),
        )

    def _measure_classes(self, weights: Floats) -> tuple[dict[str, Floats], Floats]:
        """CLASS_METRICS, each of shape (classes, resamples), and the confusion matrices of all resamples."""
        size = len(self.classes)
        matrix = (weights @ self._matrix).reshape(len(weights), size, size)
        counts = _one_vs_rest(matrix)
        areas = np.array([ranking.areas(weights) for ranking in self._rankings])
        values = confusion_metrics(counts) | {"auroc": areas[:, 0], "auprc": areas[:, 1]}
        return {name: values[name] for name in CLASS_METRICS}, matrix

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Compute every metric under each row of weights.

        Args:
            weights: Shape (resamples, clusters), not negative.

        Returns:
            METRICS (and ORDINAL_METRICS), then CLASS_METRICS as "macro.<metric>", "micro.<metric>",
            "weighted.<metric>" and "per_class.<class>.<metric>", each of shape (resamples,), NaN where undefined.
        """
        per_class, matrix = self._measure_classes(weights)
        true, total = matrix.sum(axis=2), matrix.sum(axis=(1, 2))
        squares, losses = (weights @ self._losses).T
        values = {
            "accuracy": divide(np.trace(matrix, axis1=1, axis2=2), total),
            "balanced_accuracy": macro_average(per_class["recall"], self._counted["recall"]),
            "mcc": multiclass_correlation(matrix),
            "cohen_kappa": cohen_kappa(matrix),
            "auroc_one_vs_one": self._one_vs_one(weights),
            "brier": divide(squares, total),
            "log_loss": divide(losses, total),
            "ece": self._binned.expected_error(weights),
        }
        if self.ordinal:
            values["quadratic_weighted_kappa"] = cohen_kappa(matrix, quadratic=True)
        counts = _one_vs_rest(matrix)
        pooled = confusion_metrics(
            Confusion(*(part.sum(axis=0) for part in (counts.tp, counts.fp, counts.fn, counts.tn)))
        )
        pooled["auroc"], pooled["auprc"] = self._pooled.areas(weights)
        for name in CLASS_METRICS:
            values[f"macro.{name}"] = macro_average(per_class[name], self._counted[name])
            values[f"micro.{name}"] = pooled[name]
            values[f"weighted.{name}"] = weighted_average(per_class[name], true.T, self._counted[name])
        for row, label in enumerate(self.classes):
            values |= {f"per_class.{label}.{name}": per_class[name][row] for name in CLASS_METRICS}
        return values

    def _one_vs_one(self, weights: Floats) -> Floats:
        """Mean over the pairs of classes of the two AUROCs of each pair."""
        if not self._pairs:
            return np.full(len(weights), np.nan)
        areas = np.array([ranking.areas(weights)[0] for pair in self._pairs for ranking in pair])
        return np.asarray(areas.mean(axis=0))

    def confusion_matrix(self) -> NDArray[np.int64]:
        """Images by true class (rows) and predicted class (columns), shape (classes, classes)."""
        size = len(self.classes)
        return np.asarray(self._matrix.sum(axis=0).reshape(size, size), dtype=np.int64)

    def reason_undefined(self, name: str) -> str:
        """Why a metric is undefined on these predictions."""
        kind, _, metric = name.rpartition(".")
        if kind.startswith("per_class."):
            place = self.classes.index(kind.removeprefix("per_class."))
            one_vs_rest = BinaryMetrics(self._truth == place, self._predicted == place, self._probability[:, place])
            return one_vs_rest.reason_undefined(metric)
        if len(self._truth) == 0:
            return NO_IMAGES
        if kind == "macro":
            return UNDEFINED_EVERYWHERE
        if kind == "weighted":
            return UNDEFINED_WHERE_PRESENT
        if name == "auroc_one_vs_one":
            return FEWER_THAN_TWO_CLASSES
        constant = {ONE_TRUE_CLASS: self._truth, ONE_PREDICTED_CLASS: self._predicted}
        return "; ".join(reason for reason, codes in constant.items() if len(np.unique(codes)) == 1)


def _one_vs_rest(matrix: Floats) -> Confusion:
    """Counts of each class against all others, from matrices (resamples, classes, classes): (classes, resamples)."""
    tp = np.diagonal(matrix, axis1=1, axis2=2).T
    fn, fp = matrix.sum(axis=2).T - tp, matrix.sum(axis=1).T - tp
    return Confusion(tp=tp, fp=fp, fn=fn, tn=matrix.sum(axis=(1, 2)) - tp - fp - fn)


def evaluate_multiclass(
    truth: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    *,
    predicted: ArrayLike | None = None,
    patients: Sequence[object] | pd.Series | None = None,
    ordinal: bool = False,
    options: EvaluateOptions | None = None,
    stream: Sequence[str] = ("evaluate_multiclass",),
) -> dict[str, Any]:
    """Every metric of a classifier of several classes, each with its patient-clustered interval.

    Args:
        truth: Name of each image's class, shape (images,); leave out images of unknown class.
        probabilities: Shape (images, classes); rows sum to 1 within 0.001 and are taken as they are. A data frame
            has one column a class, in any order.
        classes: Names, in the order of the columns, at least two.
        predicted: Name of the predicted class, shape (images,); None takes the most probable, of equals the first.
        patients: Patient of each image, null where unknown; None takes each image for itself.
        ordinal: Whether the classes are in order: adds the quadratically weighted kappa.
        options: Of the intervals. A stratified resample keeps the number of patients by their most frequent class
            (of equals the first).
        stream: Names the random draws: two calls with other names are resampled independently.

    Returns:
        JSON-ready: the numbers of images, patients, images without a patient and clusters; "classes"; "confusion",
        rows truth, columns predicted; "metrics": METRICS, each {"value", "low", "high", "reason",
        "undefined_resamples"}; "averages": macro, micro and weighted, each with CLASS_METRICS that also say which
        classes were "left_out" as undefined; "per_class": each class with CLASS_METRICS (one against the rest), its
        "positives" and how many images are "predicted" to be of it.

    Raises:
        InputError: For lengths that differ, an unknown or repeated class, probabilities that are not from 0 to 1 or
            do not sum to 1.

    Examples:
        >>> truth = ["none", "none", "mild", "mild", "severe"]
        >>> probabilities = [[0.8, 0.1, 0.1], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0.5, 0.3, 0.2], [0.1, 0.3, 0.6]]
        >>> result = evaluate_multiclass(truth, probabilities, ["none", "mild", "severe"])
        >>> result["confusion"]
        [[2, 0, 0], [1, 1, 0], [0, 0, 1]]
        >>> round(result["metrics"]["mcc"]["value"], 3), round(result["averages"]["macro"]["f1"]["value"], 3)
        (0.735, 0.822)
        >>> result["per_class"]["mild"]["positives"], result["per_class"]["mild"]["recall"]["value"]
        (2, 0.5)
    """
    options = options or EvaluateOptions()
    names = check_class_names(classes, at_least=2)
    codes = as_class_codes(truth, names)
    numbers = as_class_probabilities(probabilities, names)
    images = check_lengths(truth=codes, probabilities=numbers, predicted=predicted)
    called = numbers.argmax(axis=1) if predicted is None else as_class_codes(predicted, names, "predicted")
    clusters = as_clusters(patients, images)
    measure = MulticlassMetrics(codes, called, numbers, names, clusters, ordinal=ordinal)
    strata = None
    if options.stratified:
        strata = sum_by_cluster(codes[:, None] == np.arange(len(names)), clusters, measure.clusters).argmax(axis=1)
    rows = {
        name: value.as_json()
        for name, value in estimate(measure, measure.clusters, options, *stream, strata=strata).items()
    }
    return {
        **count_patients(patients, clusters),
        "classes": list(names),
        "confusion": measure.confusion_matrix().tolist(),
        "metrics": {name: row for name, row in rows.items() if "." not in name},
        "averages": {
            kind: {
                name: rows[f"{kind}.{name}"] | {"left_out": [] if kind == "micro" else list(measure.left_out[name])}
                for name in CLASS_METRICS
            }
            for kind in AVERAGES
        },
        "per_class": {
            label: {name: rows[f"per_class.{label}.{name}"] for name in CLASS_METRICS}
            | {"positives": int((codes == place).sum()), "predicted": int((called == place).sum())}
            for place, label in enumerate(names)
        },
    }


def as_class_probabilities(values: ArrayLike, classes: Sequence[str], where: str = "probabilities") -> Floats:
    """Probabilities of each class that sum to 1 within 0.001, in the order of `classes`.

    Args:
        values: Shape (images, classes), or a data frame with one column a class.
        classes: Names.
        where: What the values are, for messages.

    Returns:
        Shape (images, classes), float64, as given.

    Raises:
        InputError: For another shape or columns, a value that is not from 0 to 1, or a row that does not sum to 1.
    """
    if isinstance(values, pd.DataFrame):
        values = select_columns(values, classes, where)
    numbers = as_probability(values, where, classes)
    numbers = numbers.reshape(-1, len(classes)) if numbers.size == 0 else numbers
    if numbers.shape != (len(numbers), len(classes)):
        refuse(where, f"shape {numbers.shape}", f"shape (images, {len(classes)}), a column for each class")
    sums = numbers.sum(axis=1)
    refuse_entries(np.abs(sums - 1) > SUM_TOLERANCE, sums, f"{where}: sum", "1 within 0.001")
    return numbers
