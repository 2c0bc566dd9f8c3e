"""Evaluate a binary classifier: frozen threshold, metrics with intervals, table of single images, curves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scanline.core.privacy import pseudonym
from scanline.evaluate.binary import CLASS_METRICS, CLASS_ROWS, METRICS, BinaryMetrics, Bools, Floats
from scanline.evaluate.bootstrap import Interval, bootstrap_intervals, number_clusters
from scanline.evaluate.curves import curve_table
from scanline.evaluate.operating_point import OperatingPoint, fit_operating_point
from scanline.evaluate.options import EvaluateClassifierOptions, EvaluateOptions
from scanline.evaluate.scores import SUBSETS, check_scores, cluster_names, clustered_by, join_patients


@dataclass(frozen=True)
class ClassifierEvaluation:
    """What evaluation makes of a scores table.

    Attributes:
        metrics: The content of metrics.json.
        operating_point: The threshold and what it was fitted on.
        per_image: image_id, patient (pseudonym, null where unknown), subset, truth, probability, predicted,
            outcome (TP, FP, FN, TN).
        curves: subset, curve, x, y, threshold.
    """

    metrics: dict[str, Any]
    operating_point: OperatingPoint
    per_image: pd.DataFrame
    curves: pd.DataFrame


def evaluate_classifier(
    scores: pd.DataFrame,
    images: pd.DataFrame,
    options: EvaluateClassifierOptions,
    where: str | Path = "scores table",
) -> ClassifierEvaluation:
    """Fit the threshold on val, freeze it, and measure every subset with it.

    Args:
        scores: image_id, subset (val, test, external), truth, probability; images of unknown truth left out.
        images: image_id and patient_id at least.
        options: Rule of the threshold, intervals, salt of the pseudonyms.
        where: The scores' file, for messages.

    Raises:
        InputError: For scores that do not fit (see `check_scores`), and for a val subset without positives or
            without negatives under a rule that needs them.
    """
    scoring = options.evaluate
    table = join_patients(check_scores(scores, where), images, where)
    val = table[table["subset"] == "val"]
    point = fit_operating_point(
        scoring.operating_point, val["image_id"].tolist(), _truth(val), _probability(val), where=where
    )
    table = table.assign(predicted=point.predict(_probability(table)))
    parts = {name: table[table["subset"] == name] for name in SUBSETS if (table["subset"] == name).any()}
    metrics = {
        "threshold": point.threshold,
        "threshold_rule": point.rule,
        "threshold_from": point.subset or "configuration",
        "interval": {
            "level": scoring.confidence_level,
            "resamples": scoring.bootstrap_resamples,
            "clustered_by": clustered_by(parts["test"]["patient_id"]),
            "method": "percentile",
        },
        "subsets": {name: measure_subset(part, scoring, name) for name, part in parts.items()},
    }
    curves = [curve_table(name, _truth(part), _probability(part)) for name, part in parts.items()]
    return ClassifierEvaluation(
        metrics, point, per_image_table(table, options.patient_salt), pd.concat(curves, ignore_index=True)
    )


def measure_subset(table: pd.DataFrame, options: EvaluateOptions, subset: str) -> dict[str, Any]:
    """All metrics of one subset, each with its interval.

    Args:
        table: image_id, patient_id, truth, probability, predicted; at least one row.
        options: Resamples, level and seed.
        subset: Its name; each subset is resampled independently.

    Returns:
        The subset's part of metrics.json; besides the counts, `clusters` is the number of units resampled and
        `images_without_patient` how many images are a unit of their own.
    """
    measure = BinaryMetrics(_truth(table), table["predicted"].to_numpy(dtype=bool), _probability(table))
    patients = table["patient_id"]
    clusters = number_clusters(cluster_names(patients, table["image_id"]))
    intervals = bootstrap_intervals(measure, clusters, options, "evaluate_classifier", subset)
    values = measure.values()
    rows = {name: describe(measure, name, values[name], intervals[name]) for name in values}
    counts = {name: int(getattr(measure.counts, name)[0]) for name in ("tp", "fp", "fn", "tn")}
    positives, negatives = counts["tp"] + counts["fn"], counts["fp"] + counts["tn"]
    support = {"positive": positives, "negative": negatives, "macro": len(table), "weighted": len(table)}
    return {
        "images": len(table),
        "patients": int(patients.nunique()),
        "images_without_patient": int(patients.isna().sum()),
        "clustered_by": clustered_by(patients),
        "clusters": int(clusters.max()) + 1,
        "positives": positives,
        "negatives": negatives,
        "confusion": counts,
        "metrics": {name: rows[name] for name in METRICS},
        "per_class": {
            row: {**{name: rows[f"{row}.{name}"] for name in CLASS_METRICS}, "support": support[row]}
            for row in CLASS_ROWS
        },
    }


def describe(measure: BinaryMetrics, name: str, value: float, interval: Interval) -> dict[str, Any]:
    """A metric as metrics.json holds it; an undefined value has a reason and no interval."""
    if np.isnan(value):
        reason = measure.reason_undefined(name)
        return {"value": None, "low": None, "high": None, "reason": reason, "undefined_resamples": None}
    return {
        "value": value,
        "low": interval.low,
        "high": interval.high,
        "reason": interval.reason,
        "undefined_resamples": interval.undefined_resamples,
    }


def per_image_table(table: pd.DataFrame, salt: str) -> pd.DataFrame:
    """The table of single images: pseudonyms instead of patient ids, and each image's outcome."""
    truth, predicted = table["truth"].to_numpy(dtype=bool), table["predicted"].to_numpy(dtype=bool)
    correct, called = np.where(truth == predicted, "T", "F"), np.where(predicted, "P", "N")
    pseudonyms = {patient: pseudonym(patient, salt) for patient in table["patient_id"].dropna().unique()}
    return pd.DataFrame(
        {
            "image_id": table["image_id"],
            "patient": table["patient_id"].map(pseudonyms).astype("str"),
            "subset": table["subset"].astype("str"),
            "truth": truth,
            "probability": table["probability"],
            "predicted": predicted,
            "outcome": pd.Series(np.char.add(correct, called), index=table.index, dtype="str"),
        }
    )


def _truth(table: pd.DataFrame) -> Bools:
    return table["truth"].to_numpy(dtype=bool)


def _probability(table: pd.DataFrame) -> Floats:
    return table["probability"].to_numpy(dtype=np.float64)
