"""Points of the ROC and precision-recall curves."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.evaluate.binary import cumulative_counts
from scanline.evaluate.inputs import Bools, Floats

CURVE_COLUMNS = ("subset", "curve", "x", "y", "threshold")


def roc_points(truth: Bools, probability: Floats) -> tuple[Floats, Floats, Floats]:
    """Corners of the ROC curve from (0, 0) to (1, 1); points on a straight line between others are left out.

    Returns:
        1 - specificity, sensitivity and threshold, each of shape (points,): scikit-learn's `roc_curve`. The
        first threshold is infinite. Empty without positives or without negatives.

    Examples:
        >>> roc_points(np.array([True, False, True]), np.array([0.9, 0.6, 0.3]))
        (array([0., 0., 1., 1.]), array([0. , 0.5, 0.5, 1. ]), array([inf, 0.9, 0.6, 0.3]))
    """
    scores, tp, fp = cumulative_counts(truth, probability)
    if len(scores) == 0 or tp[-1] == 0 or fp[-1] == 0:
        return np.empty(0), np.empty(0), np.empty(0)
    corners = _corners(tp, fp)
    return (
        np.append(0.0, fp[corners] / fp[-1]),
        np.append(0.0, tp[corners] / tp[-1]),
        np.append(np.inf, scores[corners]),
    )


def _corners(tp: Floats, fp: Floats) -> NDArray[np.intp]:
    """Where the curve turns, and its last point; a point is kept unless both steps around it are equal."""
    turns = (np.diff(fp, 2) != 0) | (np.diff(tp, 2) != 0)
    keep = np.concatenate([[True], turns, [True]]) if len(tp) > 1 else np.array([True])
    return np.flatnonzero(keep)


def precision_recall_points(truth: Bools, probability: Floats) -> tuple[Floats, Floats, Floats]:
    """Points of the precision-recall curve by rising recall, from the conventional recall 0, precision 1.

    Returns:
        Recall, precision and threshold, each of shape (points,): scikit-learn's `precision_recall_curve`,
        reversed. The first threshold is infinite. Empty without positives.
    """
    scores, tp, fp = cumulative_counts(truth, probability)
    if len(scores) == 0 or tp[-1] == 0:
        return np.empty(0), np.empty(0), np.empty(0)
    return (
        np.append(0.0, tp / tp[-1]),
        np.append(1.0, tp / (tp + fp)),
        np.append(np.inf, scores),
    )


def curve_table(subset: str, truth: Bools, probability: Floats) -> pd.DataFrame:
    """Both curves of a subset as rows of the curves table; an undefined curve has none.

    Returns:
        Columns subset, curve (roc or precision_recall), x, y, threshold.
    """
    points = {
        "roc": roc_points(truth, probability),
        "precision_recall": precision_recall_points(truth, probability),
    }
    parts = [
        pd.DataFrame({"subset": subset, "curve": curve, "x": x, "y": y, "threshold": threshold})
        for curve, (x, y, threshold) in points.items()
    ]
    return pd.concat(parts, ignore_index=True)[list(CURVE_COLUMNS)]
