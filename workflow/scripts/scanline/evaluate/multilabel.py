"""Multi-label classification metrics: several labels an image, each present, absent or unknown.

As in `scanline.evaluate.binary`, weights have shape (resamples, clusters), a weight of k counts a patient's images k
times, and undefined values are NaN. An unknown entry is left out of its own label alone: it is neither positive nor
negative, and the image still counts for its other labels.

All but the areas are sums over images, so every label costs a few columns of one matrix product. Formulas as in
`scanline.evaluate.binary`; exact match and Hamming loss: Tsoumakas, Katakis & Vlahavas, Mining multi-label data
(2010), as scikit-learn's `accuracy_score` and `hamming_loss`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from scanline.evaluate.binary import (
    AT_PREVALENCE,
    BinaryMetrics,
    Confusion,
    confusion_metrics,
    sum_outcomes,
)
from scanline.evaluate.binary import METRICS as CLASS_METRICS
from scanline.evaluate.bootstrap import count_clusters, divide, estimate, strata_of_clusters, sum_by_cluster
from scanline.evaluate.calibration import NO_IMAGES, BinnedOutcomes, log_loss_of_images
from scanline.evaluate.classes import (
    AVERAGES,
    UNDEFINED_EVERYWHERE,
    UNDEFINED_WHERE_PRESENT,
    check_class_names,
    count_patients,
    macro_average,
    select_columns,
    weighted_average,
)
from scanline.evaluate.inputs import (
    Bools,
    Codes,
    Floats,
    as_clusters,
    as_partial_truth,
    as_probability,
    check_lengths,
    refuse,
)
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.prevalence import predictive_values
from scanline.evaluate.ranking import Ranking

METRICS = ("exact_match", "hamming_loss")

NOTHING_KNOWN = "no label is known of any image"
NONE_KNOWN_WHOLLY = "no image has all labels known"
LABEL_UNKNOWN = "the label is known of no image"


class MultilabelMetrics:
    """All metrics of one set of predictions, as a function of the clusters' weights.

    `macro` is the mean over labels (of AUROC: the mean AUROC), `weighted` weights labels by their positives, `micro`
    takes all known entries for one task. Macro and weighted averages leave out the labels whose value is undefined
    in the sample (`left_out`), and no others in any resample.

    Args:
        truth: 1, 0, or NaN where unknown, shape (images, labels).
        predicted: Shape (images, labels).
        probability: In [0, 1], shape (images, labels).
        labels: Names, in the order of the columns.
        clusters: Cluster of each image, shape (images,); None makes each image its own.
        prevalence: Share of positives of each label for which to give predictive values, NaN for none, shape
            (labels,); None for none at all.

    Raises:
        InputError: If the lengths differ.

    Examples:
        >>> truth = np.array([[1, 0], [0, np.nan], [1, 1]])
        >>> probability = np.array([[0.9, 0.2], [0.6, 0.7], [0.8, 0.4]])
        >>> measure = MultilabelMetrics(truth, probability >= 0.5, probability, ["mass", "nodule"])
        >>> values = measure(np.ones((1, 3)))
        >>> print(values["hamming_loss"], values["macro.auroc"], values["per_class.mass.precision"].round(3))
        [0.4] [1.] [0.667]
    """

    def __init__(
        self,
        truth: Floats,
        predicted: Bools,
        probability: Floats,
        labels: Sequence[str],
        clusters: Codes | None = None,
        *,
        prevalence: Floats | None = None,
    ) -> None:
        images = check_lengths(truth=truth, predicted=predicted, probability=probability, clusters=clusters)
        clusters = np.arange(images) if clusters is None else clusters
        self.labels = tuple(labels)
        self.clusters = count_clusters(clusters)
        self.prevalence = np.full(len(self.labels), np.nan) if prevalence is None else prevalence
        self._truth, self._predicted, self._probability = truth == 1, predicted, probability
        self.known: Bools = ~np.isnan(truth)
        columns = range(len(self.labels))
        self._rows = [np.flatnonzero(self.known[:, column]) for column in columns]
        self._sums = np.stack([self._sum_label(column, clusters) for column in columns], axis=1)
        self._rankings = [
            Ranking(self._truth[rows, column], probability[rows, column], clusters[rows])
            for column, rows in enumerate(self._rows)
        ]
        self._pooled = Ranking(
            self._truth[self.known], probability[self.known], np.repeat(clusters, self.known.sum(axis=1))
        )
        complete = self.known.all(axis=1)
        matched = complete & (predicted == self._truth).all(axis=1)
        self._matches = sum_by_cluster(np.stack([complete, matched], axis=1), clusters, self.clusters)
        sample, _ = self._measure_labels(np.ones((1, self.clusters)))
        self._counted = {name: ~np.isnan(values[:, 0]) for name, values in sample.items()}
        self.left_out = {
            name: tuple(label for label, held in zip(self.labels, counted.tolist(), strict=True) if not held)
            for name, counted in self._counted.items()
        }

    def _sum_label(self, column: int, clusters: Codes) -> Floats:
        """Sums of one label by cluster: four outcomes, squared error, log loss, gap of each bin of probability."""
        rows = self._rows[column]
        truth, probability = self._truth[rows, column], self._probability[rows, column]
        losses = np.stack([(probability - truth) ** 2, log_loss_of_images(truth, probability)], axis=1)
        return np.concatenate(
            [
                sum_outcomes(truth, self._predicted[rows, column], clusters[rows], self.clusters),
                sum_by_cluster(losses, clusters[rows], self.clusters),
                BinnedOutcomes(truth, probability, clusters[rows], self.clusters).gap,
            ],
            axis=1,
        )

    def _measure_labels(self, weights: Floats) -> tuple[dict[str, Floats], Floats]:
        """CLASS_METRICS, each of shape (labels, resamples), and the sums, shape (labels, resamples, sums)."""
        count, labels, width = self._sums.shape
        sums = (weights @ self._sums.reshape(count, labels * width)).reshape(-1, labels, width).transpose(1, 0, 2)
        areas = np.array([ranking.areas(weights) for ranking in self._rankings])
        return _measure_sums(sums) | {"auroc": areas[:, 0], "auprc": areas[:, 1]}, sums

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Compute every metric under each row of weights.

        Args:
            weights: Shape (resamples, clusters), not negative.

        Returns:
            METRICS, then CLASS_METRICS as "macro.<metric>", "micro.<metric>", "weighted.<metric>" and
            "per_class.<label>.<metric>", the last with AT_PREVALENCE where one is stated, each of shape
            (resamples,), NaN where undefined.
        """
        per_label, sums = self._measure_labels(weights)
        complete, matched = (weights @ self._matches).T
        all_labels = sums.sum(axis=0)
        pooled = _measure_sums(all_labels)
        pooled["auroc"], pooled["auprc"] = self._pooled.areas(weights)
        positives = sums[:, :, 0] + sums[:, :, 2]
        wrong, known = all_labels[:, 1:3].sum(axis=1), all_labels[:, :4].sum(axis=1)
        values = {"exact_match": divide(matched, complete), "hamming_loss": divide(wrong, known)}
        for name in CLASS_METRICS:
            values[f"macro.{name}"] = macro_average(per_label[name], self._counted[name])
            values[f"micro.{name}"] = pooled[name]
            values[f"weighted.{name}"] = weighted_average(per_label[name], positives, self._counted[name])
        for row, label in enumerate(self.labels):
            values |= {f"per_class.{label}.{name}": per_label[name][row] for name in CLASS_METRICS}
            if not np.isnan(self.prevalence[row]):
                shares = per_label["recall"][row], per_label["specificity"][row]
                pair = predictive_values(*shares, self.prevalence[row])
                values |= {f"per_class.{label}.{name}": part for name, part in zip(AT_PREVALENCE, pair, strict=True)}
        return values

    def errors_together(self) -> NDArray[np.int64]:
        """Images in which two labels are both wrong, shape (labels, labels); on the diagonal, each label's errors."""
        wrong = (self.known & (self._predicted != self._truth)).astype(np.int64)
        return np.asarray(wrong.T @ wrong)

    def reason_undefined(self, name: str) -> str:
        """Why a metric is undefined on these predictions."""
        if len(self._truth) == 0:
            return NO_IMAGES
        if name == "exact_match":
            return NONE_KNOWN_WHOLLY
        kind, _, metric = name.rpartition(".")
        if kind == "macro":
            return UNDEFINED_EVERYWHERE
        if kind == "weighted":
            return UNDEFINED_WHERE_PRESENT
        if not kind.startswith("per_class."):
            known = self.known
            if not known.any():
                return NOTHING_KNOWN
            return BinaryMetrics(self._truth[known], self._predicted[known], self._probability[known]).reason_undefined(
                metric
            )
        column = self.labels.index(kind.removeprefix("per_class."))
        rows = self._rows[column]
        if len(rows) == 0:
            return LABEL_UNKNOWN
        truth, predicted, probability = (
            values[rows, column] for values in (self._truth, self._predicted, self._probability)
        )
        stated = None if np.isnan(self.prevalence[column]) else float(self.prevalence[column])
        return BinaryMetrics(truth, predicted, probability, prevalence=stated).reason_undefined(metric)


def _measure_sums(sums: Floats) -> dict[str, Floats]:
    """CLASS_METRICS other than the areas, from sums of shape (..., sums) as `_sum_label` orders them: shape (...)."""
    tp, fp, fn, tn, squares, losses = np.moveaxis(sums[..., :6], -1, 0)
    counts = Confusion(tp=tp, fp=fp, fn=fn, tn=tn)
    return confusion_metrics(counts) | {
        "brier": divide(squares, counts.total),
        "log_loss": divide(losses, counts.total),
        "ece": divide(np.abs(sums[..., 6:]).sum(axis=-1), counts.total),
    }


def evaluate_multilabel(
    truth: ArrayLike,
    probabilities: ArrayLike,
    labels: Sequence[str] | None = None,
    *,
    thresholds: float | Sequence[float] | Mapping[str, float] = 0.5,
    patients: Sequence[object] | pd.Series | None = None,
    clusters: Sequence[object] | pd.Series | None = None,
    prevalence: float | Mapping[str, float] | None = None,
    options: EvaluateOptions | None = None,
    stream: Sequence[str] = ("evaluate_multilabel",),
) -> dict[str, Any]:
    """Every metric of a classifier of several labels, each with its patient-clustered interval.

    Args:
        truth: 1, 0, or null where unknown, shape (images, labels). A data frame has one column a label.
        probabilities: Shape (images, labels). A data frame has the same columns in any order, and the same index if
            truth has one.
        labels: Names, in the order of the columns; None takes those of the data frame.
        thresholds: A label is predicted where its probability is at least this; one for all labels, one a label in
            their order, or by name. Fix them beforehand, for example by `operating_point.fit_operating_point` on val.
        patients: Patient of each image, null where unknown; None takes each image for itself.
        clusters: What is drawn together, where that is more than a patient's images: a name for each image, null where
            it is by itself; None: the patient, or the image alone.
        prevalence: Share of positives for which to give predictive values too; one for all labels, or by name for
            some.
        options: Of the intervals. A stratified resample keeps the number of patients with any positive label.
        stream: Names the random draws: two calls with other names are resampled independently.

    Returns:
        JSON-ready: the numbers of images, patients, images without a patient and clusters, and of images with all
        labels known; "labels"; "metrics": METRICS, each {"value", "low", "high", "reason", "undefined_resamples"};
        "averages": macro (its AUROC is the mean AUROC), micro and weighted, each with CLASS_METRICS that also say
        which labels were "left_out" as undefined; "per_class": each label with CLASS_METRICS (and AT_PREVALENCE),
        its known "images", "positives", "negatives", "threshold" and "prevalence"; "errors_together": images in
        which two labels are both wrong, in the labels' order.

    Raises:
        InputError: For lengths, columns or indices that differ, a repeated label, truth that is known of no image, or
            a probability, threshold or prevalence that is not from 0 to 1.

    Examples:
        >>> truth = pd.DataFrame({"mass": [1, 0, 1, 0], "nodule": [0, None, 1, 0]})
        >>> probabilities = pd.DataFrame({"nodule": [0.2, 0.7, 0.4, 0.1], "mass": [0.9, 0.6, 0.8, 0.3]})
        >>> result = evaluate_multilabel(truth, probabilities, thresholds={"mass": 0.5, "nodule": 0.3})
        >>> result["per_class"]["nodule"]["images"], result["per_class"]["nodule"]["positives"]
        (3, 1)
        >>> round(result["per_class"]["mass"]["precision"]["value"], 3)
        0.667
        >>> result["averages"]["macro"]["auroc"]["value"], result["metrics"]["exact_match"]["value"]
        (1.0, 1.0)
    """
    options = options or EvaluateOptions()
    names = _label_names(truth, probabilities, labels)
    known = _as_table(truth, names, "truth", as_partial_truth)
    numbers = _as_table(probabilities, names, "probabilities", as_probability)
    images = check_lengths(truth=known, probabilities=numbers)
    _check_index(truth, probabilities)
    if images and np.isnan(known).all():
        refuse("truth", f"no known entry in {images} images of {len(names)} labels", "at least one")
    limits = _of_each_label(thresholds, names, "thresholds")
    _refuse_shares(~((limits >= 0) & (limits <= 1)), limits, names, "thresholds")
    shares = _of_each_label(prevalence, names, "prevalence")
    _refuse_shares((shares < 0) | (shares > 1), shares, names, "prevalence")
    drawn = as_clusters(patients if clusters is None else clusters, images)
    predicted = numbers >= limits
    measure = MultilabelMetrics(known, predicted, numbers, names, drawn, prevalence=shares)
    strata = strata_of_clusters((known == 1).any(axis=1), drawn) if options.stratified else None
    rows = {
        name: value.as_json()
        for name, value in estimate(measure, measure.clusters, options, *stream, strata=strata).items()
    }
    return {
        **count_patients(patients, drawn),
        "images_with_all_labels_known": int(measure.known.all(axis=1).sum()),
        "labels": list(names),
        "metrics": {name: rows[name] for name in METRICS},
        "averages": {
            kind: {
                name: rows[f"{kind}.{name}"] | {"left_out": [] if kind == "micro" else list(measure.left_out[name])}
                for name in CLASS_METRICS
            }
            for kind in AVERAGES
        },
        "per_class": {
            label: {
                name: rows[f"per_class.{label}.{name}"]
                for name in (*CLASS_METRICS, *AT_PREVALENCE)
                if f"per_class.{label}.{name}" in rows
            }
            | {
                "images": int(measure.known[:, column].sum()),
                "positives": int((known[:, column] == 1).sum()),
                "negatives": int((known[:, column] == 0).sum()),
                "threshold": float(limits[column]),
                "prevalence": None if np.isnan(shares[column]) else float(shares[column]),
            }
            for column, label in enumerate(names)
        },
        "errors_together": measure.errors_together().tolist(),
    }


def _label_names(truth: ArrayLike, probabilities: ArrayLike, labels: Sequence[str] | None) -> tuple[str, ...]:
    if labels is not None:
        return check_class_names(labels, "labels")
    table = truth if isinstance(truth, pd.DataFrame) else probabilities
    if not isinstance(table, pd.DataFrame):
        refuse("labels", "none", "one name for each column", "Name the labels, or give data frames.")
    return check_class_names([str(name) for name in table.columns], "columns")


def _as_table(
    values: ArrayLike, names: tuple[str, ...], where: str, check: Callable[[ArrayLike, str, Sequence[str]], Floats]
) -> Floats:
    """Check values of shape (images, labels), and put the columns of a data frame into the labels' order."""
    if isinstance(values, pd.DataFrame):
        values = select_columns(values, names, where)
    numbers = check(values, where, names)
    numbers = numbers.reshape(-1, len(names)) if numbers.size == 0 else numbers
    if numbers.shape != (len(numbers), len(names)):
        refuse(where, f"shape {numbers.shape}", f"shape (images, {len(names)}), a column for each label")
    return numbers


def _check_index(truth: ArrayLike, probabilities: ArrayLike) -> None:
    """Refuse two data frames whose rows are not the same images in the same order."""
    if not (isinstance(truth, pd.DataFrame) and isinstance(probabilities, pd.DataFrame)):
        return
    differing = np.flatnonzero(truth.index != probabilities.index)
    if len(differing):
        row = int(differing[0])
        found = f"{truth.index[row]!r} in truth, {probabilities.index[row]!r} in probabilities"
        refuse(f"index: row {row}", found, "the same images in the same order", "Reindex one like the other.")


def _of_each_label(
    values: float | Sequence[float] | Mapping[str, float] | None, names: tuple[str, ...], where: str
) -> Floats:
    """One number a label, shape (labels,); NaN for a label that a mapping does not name."""
    if isinstance(values, Mapping):
        strange = [str(name) for name in values if name not in names]
        if strange:
            refuse(where, f"an unknown label {strange[0]!r}", f"labels among {', '.join(names)}")
        values = [values.get(name, np.nan) for name in names]
    numbers = np.asarray(np.nan if values is None else values, dtype=np.float64)
    if numbers.shape not in {(), (len(names),)}:
        refuse(where, f"shape {numbers.shape}", f"one number, or {len(names)}, one for each label")
    return np.broadcast_to(numbers, (len(names),))


def _refuse_shares(wrong: Bools, values: Floats, names: tuple[str, ...], where: str) -> None:
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        found = "none" if np.isnan(values[first]) else f"{values[first]:g}"
        refuse(f"{where}: {names[first]}", found, "a number from 0 to 1")
