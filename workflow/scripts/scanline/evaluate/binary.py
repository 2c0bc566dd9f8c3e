"""Binary classification metrics, for one weighting of the patients or for thousands at once.

Weights have shape (resamples, clusters): a row of ones gives the metrics themselves, rows of bootstrap weights
give their bootstrap distribution, by the same code. A weight of k counts a patient's images k times, exactly as
scikit-learn's `sample_weight`. Undefined values are NaN here, and null with a reason in the metrics file;
scikit-learn reports 0 for most of them.

Formulas: Sokolova & Lapalme, Information Processing & Management 45 (2009) 427-437; areas as in
`scanline.evaluate.ranking`; Matthews correlation (Biochim Biophys Acta 405 (1975) 442-451); Brier (Monthly
Weather Review 78 (1950) 1-3) as the mean squared difference of probability and truth, half of his two-class sum;
log loss and calibration error as in `scanline.evaluate.calibration`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scanline.evaluate.bootstrap import count_clusters, divide, estimate, strata_of_clusters, sum_by_cluster
from scanline.evaluate.calibration import NO_IMAGES, CalibrationMetrics
from scanline.evaluate.classes import count_patients
from scanline.evaluate.inputs import (
    Bools,
    Codes,
    Floats,
    as_clusters,
    as_probability,
    as_truth,
    check_lengths,
    refuse,
)
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.prevalence import check_prevalence, predictive_values
from scanline.evaluate.ranking import Ranking

METRICS = (
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "specificity",
    "f1",
    "npv",
    "mcc",
    "auroc",
    "auprc",
    "brier",
    "log_loss",
    "ece",
)
AT_PREVALENCE = ("ppv_at_prevalence", "npv_at_prevalence")
CLASS_METRICS = ("precision", "recall", "f1")
CLASS_ROWS = ("negative", "positive", "macro", "weighted")

NO_POSITIVES = "no image is positive"
NO_NEGATIVES = "no image is negative"
NONE_CALLED_POSITIVE = "no image is predicted positive"
NONE_CALLED_NEGATIVE = "no image is predicted negative"
NO_SIGN_OF_POSITIVES = "no image is positive or predicted positive"
NO_SIGN_OF_NEGATIVES = "no image is negative or predicted negative"

_NEEDS: dict[str, tuple[str, ...]] = {
    "accuracy": (NO_IMAGES,),
    "balanced_accuracy": (NO_POSITIVES, NO_NEGATIVES),
    "precision": (NONE_CALLED_POSITIVE,),
    "recall": (NO_POSITIVES,),
    "specificity": (NO_NEGATIVES,),
    "f1": (NO_SIGN_OF_POSITIVES,),
    "npv": (NONE_CALLED_NEGATIVE,),
    "mcc": (NO_POSITIVES, NO_NEGATIVES, NONE_CALLED_POSITIVE, NONE_CALLED_NEGATIVE),
    "auroc": (NO_POSITIVES, NO_NEGATIVES),
    "auprc": (NO_POSITIVES,),
    "brier": (NO_IMAGES,),
    "log_loss": (NO_IMAGES,),
    "ece": (NO_IMAGES,),
    "ppv_at_prevalence": (NO_POSITIVES, NO_NEGATIVES),
    "npv_at_prevalence": (NO_POSITIVES, NO_NEGATIVES),
}
_CLASS_NEEDS = {
    ("positive", "precision"): NONE_CALLED_POSITIVE,
    ("positive", "recall"): NO_POSITIVES,
    ("positive", "f1"): NO_SIGN_OF_POSITIVES,
    ("negative", "precision"): NONE_CALLED_NEGATIVE,
    ("negative", "recall"): NO_NEGATIVES,
    ("negative", "f1"): NO_SIGN_OF_NEGATIVES,
}


@dataclass(frozen=True)
class Confusion:
    """Weighted counts of true and false positives and negatives, each of shape (resamples,), float64."""

    tp: Floats
    fp: Floats
    fn: Floats
    tn: Floats

    @property
    def total(self) -> Floats:
        """Weight of all images, shape (resamples,)."""
        return self.tp + self.fp + self.fn + self.tn

    def of_negatives(self) -> "Confusion":
        """The same counts with the negative class in the part of the positive one."""
        return Confusion(tp=self.tn, fp=self.fn, fn=self.fp, tn=self.tp)

    def vanishing(self) -> dict[str, Bools]:
        """For each reason why a metric is undefined: where it holds, shape (resamples,)."""
        return {
            NO_IMAGES: self.total == 0,
            NO_POSITIVES: self.tp + self.fn == 0,
            NO_NEGATIVES: self.fp + self.tn == 0,
            NONE_CALLED_POSITIVE: self.tp + self.fp == 0,
            NONE_CALLED_NEGATIVE: self.fn + self.tn == 0,
            NO_SIGN_OF_POSITIVES: self.tp + self.fp + self.fn == 0,
            NO_SIGN_OF_NEGATIVES: self.tn + self.fp + self.fn == 0,
        }

    def reason_undefined(self, name: str) -> str:
        """Why a metric of METRICS, or "<row>.<metric>" of the class report, is undefined in the first resample."""
        vanishing = self.vanishing()
        row, _, metric = name.rpartition(".")
        needs = tuple(_CLASS_NEEDS[part, metric] for part in _parts_of(row)) if row else _NEEDS[name]
        return "; ".join(reason for reason in needs if vanishing[reason][0])


def sum_outcomes(truth: Bools, predicted: Bools, clusters: Codes, count: int) -> Floats:
    """True positives, false positives, false negatives and true negatives of each cluster, shape (count, 4).

    Args:
        truth: Shape (images,).
        predicted: Shape (images,).
        clusters: Cluster of each image, shape (images,).
        count: Number of clusters.
    """
    outcomes = np.stack([truth & predicted, ~truth & predicted, truth & ~predicted, ~truth & ~predicted], axis=1)
    return sum_by_cluster(outcomes, clusters, count)


def weigh_outcomes(weights: Floats, outcomes: Floats) -> Confusion:
    """The confusion counts under each row of weights.

    Args:
        weights: Shape (resamples, clusters).
        outcomes: From `sum_outcomes`, shape (clusters, 4).
    """
    tp, fp, fn, tn = (weights @ outcomes).T
    return Confusion(tp=tp, fp=fp, fn=fn, tn=tn)


def precision(counts: Confusion) -> Floats:
    """Positive predictive value: share of the predicted positives that are positive."""
    return divide(counts.tp, counts.tp + counts.fp)


def recall(counts: Confusion) -> Floats:
    """Sensitivity: share of the positives that are predicted positive."""
    return divide(counts.tp, counts.tp + counts.fn)


def f1(counts: Confusion) -> Floats:
    """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN).

    It is 0, not undefined, where precision or recall alone is undefined, as in scikit-learn.
    """
    return divide(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def matthews_correlation(counts: Confusion) -> Floats:
    """Correlation of truth and prediction, -1 to 1; undefined where either is constant."""
    covariance = counts.tp * counts.tn - counts.fp * counts.fn
    of_truth = np.sqrt((counts.tp + counts.fn) * (counts.fp + counts.tn))
    of_prediction = np.sqrt((counts.tp + counts.fp) * (counts.fn + counts.tn))
    return divide(covariance, of_truth * of_prediction)


def confusion_metrics(counts: Confusion) -> dict[str, Floats]:
    """The metrics that need the confusion counts alone, each of shape (resamples,)."""
    negatives = counts.of_negatives()
    return {
        "accuracy": divide(counts.tp + counts.tn, counts.total),
        "balanced_accuracy": (recall(counts) + recall(negatives)) / 2,
        "precision": precision(counts),
        "recall": recall(counts),
        "specificity": recall(negatives),
        "f1": f1(counts),
        "npv": precision(negatives),
        "mcc": matthews_correlation(counts),
    }


def class_report(counts: Confusion) -> dict[str, Floats]:
    """scikit-learn's `classification_report`: "<row>.<metric>" to an array of shape (resamples,).

    `macro` is the mean of the two classes, undefined where either is. `weighted` weights them by their number
    of images; a class without images then does not matter, even where its own value is undefined.
    """
    classes = {"negative": counts.of_negatives(), "positive": counts}
    report: dict[str, Floats] = {}
    for name, metric in (("precision", precision), ("recall", recall), ("f1", f1)):
        values = {row: metric(of_class) for row, of_class in classes.items()}
        shares = {row: divide(of_class.tp + of_class.fn, counts.total) for row, of_class in classes.items()}
        parts = [np.where(shares[row] == 0, 0.0, values[row] * shares[row]) for row in classes]
        report |= {f"{row}.{name}": values[row] for row in classes}
        report[f"macro.{name}"] = (values["negative"] + values["positive"]) / 2
        report[f"weighted.{name}"] = parts[0] + parts[1]
    return report


def cumulative_counts(truth: Bools, probability: Floats) -> tuple[Floats, Floats, Floats]:
    """True and false positives at every threshold that changes a prediction (predicted: score >= threshold).

    Returns:
        The distinct scores, falling, and the counts of true and of false positives at each, all of shape
        (distinct,), float64.
    """
    order = np.argsort(-probability, kind="stable")
    scores = probability[order]
    last_of_ties = np.flatnonzero(np.append(np.diff(scores) != 0, True)) if len(scores) else np.arange(0)
    tp = np.cumsum(truth[order], dtype=np.float64)[last_of_ties]
    return scores[last_of_ties], tp, last_of_ties + 1 - tp


class BinaryMetrics:
    """All metrics of one set of predictions, as a function of the clusters' weights.

    Args:
        truth: Shape (images,).
        predicted: Shape (images,).
        probability: Of the positive class, in [0, 1], shape (images,).
        clusters: Cluster of each image, shape (images,); None makes each image its own.
        prevalence: Share of positives for which to give predictive values too; None for no other than the sample's.

    Raises:
        InputError: If the lengths differ, or the prevalence is not from 0 to 1.

    Examples:
        >>> truth, probability = np.array([True, False, True]), np.array([0.9, 0.4, 0.2])
        >>> measure = BinaryMetrics(truth, probability >= 0.5, probability)
        >>> weights = np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 0.0]])  # the sample, and one resample
        >>> measure(weights)["recall"].tolist()
        [0.5, 1.0]
    """

    def __init__(
        self,
        truth: Bools,
        predicted: Bools,
        probability: Floats,
        clusters: Codes | None = None,
        prevalence: float | None = None,
    ) -> None:
        check_lengths(truth=truth, predicted=predicted, probability=probability, clusters=clusters)
        clusters = np.arange(len(truth)) if clusters is None else clusters
        self.clusters = count_clusters(clusters)
        self.prevalence = prevalence if prevalence is None else float(check_prevalence(prevalence))
        self._ranking = Ranking(truth, probability, clusters)
        self._calibration = CalibrationMetrics(truth, probability, clusters)
        self._outcomes = sum_outcomes(truth, predicted, clusters, self.clusters)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Compute every metric under each row of weights.

        Args:
            weights: Shape (resamples, clusters), not negative.

        Returns:
            METRICS, AT_PREVALENCE where one is stated, and "<row>.<metric>" of the class report, each of shape
            (resamples,), NaN where undefined.
        """
        counts = weigh_outcomes(weights, self._outcomes)
        auroc, auprc = self._ranking.areas(weights)
        calibration = self._calibration(weights)
        values = confusion_metrics(counts) | {"auroc": auroc, "auprc": auprc}
        values |= {name: calibration[name] for name in ("brier", "log_loss", "ece")}
        if self.prevalence is not None:
            pair = predictive_values(values["recall"], values["specificity"], self.prevalence)
            values |= dict(zip(AT_PREVALENCE, pair, strict=True))
        return values | class_report(counts)

    @cached_property
    def counts(self) -> Confusion:
        """The confusion counts with every image counted once, each of shape (1,)."""
        return weigh_outcomes(np.ones((1, self.clusters)), self._outcomes)

    def values(self) -> dict[str, float]:
        """Every metric with every image counted once; NaN where undefined."""
        return {name: float(value[0]) for name, value in self(np.ones((1, self.clusters))).items()}

    def reason_undefined(self, name: str) -> str:
        """Why a metric is undefined on these predictions."""
        reason = self.counts.reason_undefined(name)
        if not reason and name in AT_PREVALENCE:
            kind = "positive" if name == AT_PREVALENCE[0] else "negative"
            return f"at prevalence {self.prevalence:g} nobody would be called {kind}"
        return reason


def _parts_of(row: str) -> tuple[str, ...]:
    """The classes that a row of the class report is made of."""
    return ("negative", "positive") if row in {"macro", "weighted"} else (row,)


def evaluate_binary(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    threshold: float = 0.5,
    patients: Sequence[object] | pd.Series | None = None,
    clusters: Sequence[object] | pd.Series | None = None,
    prevalence: float | None = None,
    options: EvaluateOptions | None = None,
    stream: Sequence[str] = ("evaluate_binary",),
) -> dict[str, Any]:
    """Every metric of a yes-or-no classifier, each with its patient-clustered interval.

    Args:
        truth: 0 or 1, shape (images,); leave out images of unknown truth.
        probability: Of the positive class, from 0 to 1, shape (images,).
        threshold: An image is predicted positive where its probability is at least this; fix it beforehand, for
            example by `operating_point.fit_operating_point` on val.
        patients: Patient of each image, null where unknown; None takes each image for itself.
        clusters: What is drawn together, where that is more than a patient's images: a name for each image, null where
            it is by itself; None: the patient, or the image alone.
        prevalence: Share of positives for which to give predictive values too.
        options: Of the intervals.
        stream: Names the random draws: two calls with other names are resampled independently.

    Returns:
        JSON-ready: the numbers of images, patients, images without a patient, clusters, positives and negatives;
        "confusion" counts; "metrics": METRICS (and AT_PREVALENCE), each {"value", "low", "high", "reason",
        "undefined_resamples"}; "per_class": CLASS_ROWS with CLASS_METRICS and their support.

    Raises:
        InputError: For lengths that differ, unknown truth, a probability, threshold or prevalence that is not
            from 0 to 1.

    Examples:
        >>> truth = [0, 0, 0, 1, 1, 1]
        >>> probability = [0.1, 0.2, 0.7, 0.6, 0.8, 0.9]
        >>> result = evaluate_binary(truth, probability, patients=["a", "a", "b", "b", "c", "c"])
        >>> result["patients"], result["positives"]
        (3, 3)
        >>> auroc = result["metrics"]["auroc"]
        >>> round(auroc["value"], 3), auroc["low"], auroc["high"]
        (0.889, 0.0, 1.0)
        >>> evaluate_binary([0, 0], [0.1, 0.2])["metrics"]["auroc"]["reason"]
        'no image is positive'
    """
    options = options or EvaluateOptions()
    if not 0 <= threshold <= 1:
        refuse("threshold", f"{threshold}", "a number from 0 to 1", "Fit it on val.")
    known, numbers = as_truth(truth), as_probability(probability)
    images = check_lengths(truth=known, probability=numbers)
    drawn = as_clusters(patients if clusters is None else clusters, images)
    measure = BinaryMetrics(known, numbers >= threshold, numbers, drawn, prevalence)
    strata = strata_of_clusters(known, drawn) if options.stratified else None
    rows = {
        name: value.as_json()
        for name, value in estimate(measure, measure.clusters, options, *stream, strata=strata).items()
    }
    counts = {name: int(getattr(measure.counts, name)[0]) for name in ("tp", "fp", "fn", "tn")}
    positives, negatives = counts["tp"] + counts["fn"], counts["fp"] + counts["tn"]
    support = {"positive": positives, "negative": negatives, "macro": images, "weighted": images}
    return {
        **count_patients(patients, drawn),
        "positives": positives,
        "negatives": negatives,
        "prevalence": prevalence,
        "confusion": counts,
        "metrics": {name: row for name, row in rows.items() if "." not in name},
        "per_class": {
            row: {**{name: rows[f"{row}.{name}"] for name in CLASS_METRICS}, "support": support[row]}
            for row in CLASS_ROWS
        },
    }
