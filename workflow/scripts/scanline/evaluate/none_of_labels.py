"""Whether an image shows none of several labels ("No Finding"): a decision derived from the labels' thresholds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scanline.evaluate.binary import evaluate_binary
from scanline.evaluate.inputs import Bools, as_partial_truth, as_probability, check_lengths
from scanline.evaluate.options import EvaluateOptions

METRICS = ("accuracy", "recall", "specificity", "precision", "npv", "f1")  # of a decision: it has no score


def evaluate_none_of_labels(
    truth: ArrayLike,
    probability: ArrayLike,
    thresholds: Mapping[str, float],
    *,
    patients: Sequence[object] | pd.Series | None = None,
    clusters: Sequence[object] | pd.Series | None = None,
    options: EvaluateOptions | None = None,
    stream: Sequence[str] = ("evaluate_none_of_labels",),
) -> dict[str, Any] | None:
    """Measure how well "none of the labels" is told: an image is called so if no label reaches its threshold.

    An image that shows a label is a negative, whatever is unknown of it. One that is known to show none is a positive.
    Any other is left out.

    Args:
        truth: 1, 0, or null where unknown, shape (images, labels).
        probability: From 0 to 1, shape (images, labels).
        thresholds: Of each label, in the order of the columns.
        patients: Patient of each image, null where unknown; None takes each image for itself.
        clusters: What is drawn together, where that is more than a patient's images: a name for each image, null where
            it is by itself; None: the patient, or the image alone.
        options: Of the intervals.
        stream: Names the random draws.

    Returns:
        JSON-ready: the numbers of images, patients, clusters, positives and negatives; "left_out"; "confusion" counts;
        "metrics": METRICS, each with its interval. None without an image that can be told.

    Raises:
        InputError: For lengths that differ, a truth or probability that is none.

    Examples:
        >>> truth = [[0, 0], [1, 0], [0, 0], [0, None]]
        >>> probability = [[0.1, 0.2], [0.8, 0.1], [0.3, 0.7], [0.2, 0.2]]
        >>> result = evaluate_none_of_labels(truth, probability, {"mass": 0.5, "nodule": 0.5})
        >>> result["positives"], result["left_out"], result["metrics"]["recall"]["value"]
        (2, 1, 0.5)
    """
    names = list(thresholds)
    known, scores = as_partial_truth(truth, "truth", names), as_probability(probability, "probability", names)
    images = check_lengths(truth=known, probability=scores, patients=patients, clusters=clusters)
    shows_one: Bools = np.asarray((known == 1).any(axis=1))
    told: Bools = np.asarray(shows_one | ~np.isnan(known).any(axis=1))
    if not told.any():
        return None
    called_none: Bools = np.asarray((scores < np.array(list(thresholds.values()))).all(axis=1))
    who, drawn = (
        None if names is None else pd.Series(np.asarray(names, dtype=object))[told] for names in (patients, clusters)
    )
    found = evaluate_binary(
        ~shows_one[told],
        called_none[told].astype(np.float64),
        patients=who,
        clusters=drawn,
        options=options,
        stream=stream,
    )
    kept = {key: found[key] for key in found if key not in {"metrics", "per_class", "prevalence"}}
    metrics = {name: found["metrics"][name] for name in METRICS}
    return kept | {"left_out": int(images - told.sum()), "metrics": metrics}
