"""Binary classification metrics, for one weighting of the images or for thousands at once.

Weights have shape (resamples, images): a row of ones gives the metrics themselves, rows of bootstrap weights
give their bootstrap distribution, by the same code. A weight of k counts an image k times, exactly as
scikit-learn's `sample_weight`. Undefined values are NaN here, and null with a reason in the metrics file;
scikit-learn reports 0 for most of them.

Formulas: Sokolova & Lapalme, Information Processing & Management 45 (2009) 427-437; AUROC as the probability
that a positive outranks a negative, ties counting half (Hanley & McNeil, Radiology 143 (1982) 29-36); AUPRC
as average precision, without interpolation (scikit-learn, `average_precision_score`); Matthews correlation
(Biochim Biophys Acta 405 (1975) 442-451); Brier (Monthly Weather Review 78 (1950) 1-3) as the mean squared
difference of probability and truth, half of his two-class sum.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.intp]

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
)
CLASS_METRICS = ("precision", "recall", "f1")
CLASS_ROWS = ("negative", "positive", "macro", "weighted")

NO_IMAGES = "there are no images"
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


def count_confusion(truth: Bools, predicted: Bools, weights: Floats) -> Confusion:
    """Count the outcomes under each row of weights.

    Args:
        truth: Shape (images,).
        predicted: Shape (images,).
        weights: Shape (resamples, images).
    """
    outcomes = np.stack([truth & predicted, ~truth & predicted, truth & ~predicted, ~truth & ~predicted], axis=1)
    tp, fp, fn, tn = (weights @ outcomes.astype(np.float64)).T
    return Confusion(tp=tp, fp=fp, fn=fn, tn=tn)


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """Quotient, elementwise; NaN where the denominator is 0."""
    quotient = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient


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
    """All metrics of one set of predictions, as a function of the images' weights.

    The scores are sorted once; each call costs a weighted cumulative sum.

    Args:
        truth: Shape (images,).
        predicted: Shape (images,).
        probability: Of the positive class, in [0, 1], shape (images,).
    """

    def __init__(self, truth: Bools, predicted: Bools, probability: Floats) -> None:
        self.truth, self.predicted, self.probability = truth, predicted, probability
        self._ranking = Ranking(truth, probability)
        self._squared_error = (probability - truth) ** 2

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Compute every metric under each row of weights.

        Args:
            weights: Shape (resamples, images), not negative.

        Returns:
            METRICS and "<row>.<metric>" of the class report, each of shape (resamples,), NaN where undefined.
        """
        counts = count_confusion(self.truth, self.predicted, weights)
        auroc, auprc = self._ranking.areas(weights)
        return {
            **confusion_metrics(counts),
            "auroc": auroc,
            "auprc": auprc,
            "brier": divide(weights @ self._squared_error, counts.total),
            **class_report(counts),
        }

    @cached_property
    def counts(self) -> Confusion:
        """The confusion counts with every image counted once, each of shape (1,)."""
        return count_confusion(self.truth, self.predicted, np.ones((1, len(self.truth))))

    def values(self) -> dict[str, float]:
        """Every metric with every image counted once; NaN where undefined."""
        return {name: float(value[0]) for name, value in self(np.ones((1, len(self.truth)))).items()}

    def reason_undefined(self, name: str) -> str:
        """Why a metric is undefined on these predictions."""
        vanishing = self.counts.vanishing()
        row, _, metric = name.rpartition(".")
        needs = tuple(_CLASS_NEEDS[part, metric] for part in _parts_of(row)) if row else _NEEDS[name]
        return "; ".join(reason for reason in needs if vanishing[reason][0])


def _parts_of(row: str) -> tuple[str, ...]:
    """The classes that a row of the class report is made of."""
    return ("negative", "positive") if row in {"macro", "weighted"} else (row,)


class Ranking:
    """Scores sorted once, for the areas under the ROC and precision-recall curves under many weightings.

    Args:
        truth: Shape (images,).
        probability: Shape (images,).
    """

    def __init__(self, truth: Bools, probability: Floats) -> None:
        order = np.argsort(-probability, kind="stable")
        self._positives: Indices = order[truth[order]]
        self._negatives: Indices = order[~truth[order]]
        steps, self._positives_to = np.unique(-probability[self._positives], return_counts=True)
        self._positives_to = np.cumsum(self._positives_to)
        below = -probability[self._negatives]
        self._negatives_above = np.searchsorted(below, steps, side="left")
        self._negatives_to = np.searchsorted(below, steps, side="right")

    def areas(self, weights: Floats) -> tuple[Floats, Floats]:
        """AUROC and average precision under each row of weights.

        With the distinct scores of positives s_1 > ... > s_m, the positives' weight p_k at s_k and the
        negatives' weight n_k, AUROC = sum_k p_k (negatives below s_k + n_k / 2) / (P N) and average
        precision = sum_k p_k TP_k / (TP_k + FP_k) / P.

        Args:
            weights: Shape (resamples, images).

        Returns:
            Two arrays of shape (resamples,); AUROC is NaN without positives or negatives, average precision
            without positives.
        """
        positives = _running_sum(weights[:, self._positives])
        negatives = _running_sum(weights[:, self._negatives])
        tp, fp = positives[:, self._positives_to], negatives[:, self._negatives_to]
        gained = np.diff(tp, axis=1, prepend=0.0)
        outranked = negatives[:, -1:] - (negatives[:, self._negatives_above] + fp) / 2
        precisions = np.divide(tp, tp + fp, out=np.zeros_like(tp), where=gained > 0)
        auroc = divide((gained * outranked).sum(axis=1), positives[:, -1] * negatives[:, -1])
        return auroc, divide((gained * precisions).sum(axis=1), positives[:, -1])


def _running_sum(weights: Floats) -> Floats:
    """Sum of the first k weights for k = 0 ... n: shape (resamples, n) to (resamples, n + 1)."""
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums
