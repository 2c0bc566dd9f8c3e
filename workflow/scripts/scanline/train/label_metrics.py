"""How well val is called, for early stopping alone: what a study reports is measured by `scanline.evaluate`."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.train.options import StopOn


def auroc(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Area under the ROC curve by the ranks of the positives (Mann and Whitney 1947); ties count half.

    Args:
        truth: Of both classes, shape (n,).
        score: Shape (n,).

    Examples:
        >>> auroc(np.array([True, False, True]), np.array([0.9, 0.4, 0.4]))
        0.75
    """
    ranks = pd.Series(score).rank().to_numpy()
    positives = int(truth.sum())
    pairs = positives * (len(truth) - positives)
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / pairs)


def f1(truth: NDArray[np.bool_], called: NDArray[np.bool_]) -> float:
    """2 TP / (2 TP + FP + FN); 0 where nothing is called. Of both arrays shape (n,); at least one image is positive."""
    return float(2 * (truth & called).sum() / (truth.sum() + called.sum()))


def measure_val(
    name: StopOn, truth: NDArray[np.float32], probability: NDArray[np.float64], *, exclusive: bool
) -> float:
    """Mean of a metric over the classes, each on the images of which it is known.

    Args:
        name: auroc; f1 or accuracy at probability 0.5, or of the most probable class where classes exclude another.
        truth: 1, 0, or NaN where unknown, shape (n, classes); positives and negatives of each class are there.
        probability: Same shape.
        exclusive: Whether classes exclude another: accuracy is then the share of images called right.
    """
    called = probability >= 0.5
    if exclusive:
        called = probability == probability.max(axis=1, keepdims=True)
        if name == "accuracy":
            return float((probability.argmax(axis=1) == truth.argmax(axis=1)).mean())
    values = []
    for column in range(truth.shape[1]):
        known = ~np.isnan(truth[:, column])
        positive = truth[known, column] == 1
        if name == "auroc":
            values.append(auroc(positive, probability[known, column]))
        elif name == "f1":
            values.append(f1(positive, called[known, column]))
        else:
            values.append(float((positive == called[known, column]).mean()))
    return float(np.mean(values))
