"""The reliability curve, and all of calibration in one call, with intervals clustered by patient."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scanline.evaluate.bootstrap import Estimate, count_clusters, divide, estimate, strata_of_clusters
from scanline.evaluate.calibration import BINS, BinnedOutcomes, Binning, CalibrationMetrics
from scanline.evaluate.classes import count_patients
from scanline.evaluate.inputs import Bools, Codes, Floats, as_clusters, as_probability, as_truth, check_lengths
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.recalibration import LogisticRecalibration

COLUMNS = (
    "bin",
    "lower",
    "upper",
    "images",
    "probability",
    "observed",
    "observed_low",
    "observed_high",
    "reason",
)


class ReliabilityCurve:
    """Observed frequency in each bin of probability as a function of the clusters' weights, named "0", "1", ...

    Args:
        binned: The images in their bins.
    """

    def __init__(self, binned: BinnedOutcomes) -> None:
        self._binned = binned

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Observed frequencies, each of shape (resamples,), NaN for a bin without images."""
        return {str(number): values for number, values in enumerate(self._binned.observed(weights).T)}

    def reason_undefined(self, name: str) -> str:
        """Why a bin has no observed frequency."""
        return "no image is in this bin"


def reliability_curve(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    patients: Sequence[object] | pd.Series | None = None,
    bins: int = BINS,
    binning: Binning = "equal_width",
    options: EvaluateOptions | None = None,
) -> pd.DataFrame:
    """Observed frequency against mean probability, bin by bin, with intervals clustered by patient.

    A bin in which all images are of one class has an interval of width 0: the percentile method's known limit.

    Args:
        truth: 0 or 1, shape (images,).
        probability: Of the positive class, shape (images,).
        patients: Patient of each image, null where unknown; None takes each image for itself.
        bins: Number of bins.
        binning: "equal_width" or "equal_mass", see `bin_edges`.
        options: Of the intervals.

    Returns:
        COLUMNS, a row a bin: its number from 0, its edges, its images, their mean probability, their
        observed frequency with interval (null without images), and why there is none.

    Raises:
        InputError: For lengths that differ, unknown truth, or a probability that is not from 0 to 1.

    Examples:
        >>> curve = reliability_curve([0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.8, 0.9], bins=2)
        >>> curve[["bin", "lower", "upper", "images", "probability", "observed"]].round(3)
           bin  lower  upper  images  probability  observed
        0    0    0.0    0.5       3         0.20     0.333
        1    1    0.5    1.0       2         0.85     1.000
    """
    truth, probability, clusters = _checked(truth, probability, patients)
    count = count_clusters(clusters)
    binned = BinnedOutcomes(truth, probability, clusters, count, bins, binning)
    return _curve_table(binned, truth, clusters, options or EvaluateOptions())


def evaluate_calibration(
    truth: ArrayLike,
    probability: ArrayLike,
    *,
    patients: Sequence[object] | pd.Series | None = None,
    bins: int = BINS,
    binning: Binning = "equal_width",
    options: EvaluateOptions | None = None,
) -> dict[str, Any]:
    """Calibration of binary probabilities: errors, recalibration and reliability curve, with intervals.

    Args:
        truth: 0 or 1, shape (images,).
        probability: Of the positive class, shape (images,).
        patients: Patient of each image, null where unknown; None takes each image for itself.
        bins: Number of bins.
        binning: "equal_width" or "equal_mass", see `bin_edges`.
        options: Of the intervals.

    Returns:
        Counts, "bins", "binning", "metrics" by name and "reliability": the rows of `reliability_curve`.

    Raises:
        InputError: For lengths that differ, unknown truth, or a probability that is not from 0 to 1.

    Examples:
        >>> result = evaluate_calibration([0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.8, 0.9])
        >>> round(result["metrics"]["brier"]["value"], 4), round(result["metrics"]["ece"]["value"], 4)
        (0.158, 0.3)
        >>> result["metrics"]["calibration_slope"]["value"] > 0
        True
    """
    options = options or EvaluateOptions()
    truth, probability, clusters = _checked(truth, probability, patients)
    measure = CalibrationMetrics(truth, probability, clusters, bins=bins, binning=binning)
    strata = strata_of_clusters(truth, clusters) if options.stratified else None
    estimates: dict[str, Estimate] = {}
    for statistic in (measure, LogisticRecalibration(truth, probability, clusters)):
        estimates |= estimate(statistic, measure.clusters, options, "calibration", strata=strata)
    table = _curve_table(measure.binned, truth, clusters, options)
    return {
        **count_patients(patients, clusters),
        "positives": int(truth.sum()),
        "negatives": int((~truth).sum()),
        "bins": bins,
        "binning": binning,
        "metrics": {name: value.as_json() for name, value in estimates.items()},
        "reliability": table.astype(object).where(table.notna(), None).to_dict("records"),
    }


def _checked(
    truth: ArrayLike, probability: ArrayLike, patients: Sequence[object] | pd.Series | None
) -> tuple[Bools, Floats, Codes]:
    known, numbers = as_truth(truth), as_probability(probability)
    images = check_lengths(truth=known, probability=numbers)
    return known, numbers, as_clusters(patients, images)


def _curve_table(binned: BinnedOutcomes, truth: Bools, clusters: Codes, options: EvaluateOptions) -> pd.DataFrame:
    images, total = binned.images.sum(axis=0), binned.probability.sum(axis=0)
    strata = strata_of_clusters(truth, clusters) if options.stratified else None
    estimates = estimate(ReliabilityCurve(binned), len(binned.images), options, "reliability", strata=strata)
    rows = list(estimates.values())
    columns = {
        "bin": np.arange(len(images)),
        "lower": binned.edges[:-1],
        "upper": binned.edges[1:],
        "images": images.astype(np.int64),
        "probability": divide(total, images),
        "observed": np.array([row.value for row in rows], dtype=np.float64),
        "observed_low": np.array([row.low for row in rows], dtype=np.float64),
        "observed_high": np.array([row.high for row in rows], dtype=np.float64),
        "reason": pd.Series([row.reason for row in rows], dtype="str"),
    }
    return pd.DataFrame(columns)[list(COLUMNS)]
