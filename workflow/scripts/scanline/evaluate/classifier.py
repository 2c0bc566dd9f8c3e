"""Evaluate a binary classifier: frozen operating point, metrics with intervals, table of single images, curves."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scanline.core.privacy import pseudonym
from scanline.evaluate.activation_maps import Maps, measure_maps
from scanline.evaluate.binary import BinaryMetrics, evaluate_binary
from scanline.evaluate.bootstrap import Statistic
from scanline.evaluate.curves import curve_table
from scanline.evaluate.gap import measure_gap
from scanline.evaluate.inputs import Bools, Codes, Floats, as_clusters
from scanline.evaluate.localization import evaluate_localization
from scanline.evaluate.metadata import evaluate_columns, percent_in_boxes, subgroups_of
from scanline.evaluate.operating_point import OperatingPoint, check_fitted_on, fit_operating_point
from scanline.evaluate.options import EvaluateClassifierOptions, EvaluateOptions
from scanline.evaluate.recalibration import METRICS as RECALIBRATION
from scanline.evaluate.reliability import evaluate_calibration
from scanline.evaluate.scores import SUBSETS, check_scores, clustered_by, join_patients, name_clusters
from scanline.evaluate.subgroups import MetricsOf

SHOWN_METRICS = ("accuracy", "recall", "specificity", "precision", "f1", "auroc")


@dataclass(frozen=True)
class ClassifierEvaluation:
    """What evaluation makes of a scores table.

    Attributes:
        metrics: The content of metrics.json.
        per_image: image_id, patient (pseudonym, null where unknown), cluster (what intervals draw together), subset,
            truth, probability (calibrated), predicted, outcome (TP, FP, FN, TN), pointing_hit, mass_inside (of the
            class activation map, null where the image has no box or no map).
        curves: subset, curve, x, y, threshold.
    """

    metrics: dict[str, Any]
    per_image: pd.DataFrame
    curves: pd.DataFrame


def fit_on_val(
    scores: pd.DataFrame, options: EvaluateClassifierOptions, where: str | Path = "scores table"
) -> OperatingPoint:
    """Fit the operating point on the val rows of a scores table, the only ones that it looks at.

    Args:
        scores: image_id, subset (val, test, external), truth, probability; images of unknown truth left out.
        options: Rule of the threshold.
        where: The scores' file, for messages.

    Raises:
        InputError: For scores that do not fit (see `check_scores`), and for what `fit_operating_point` refuses.
    """
    table = check_scores(scores, where)
    val = table[table["subset"] == "val"]
    return fit_operating_point(options.evaluate, val["image_id"].tolist(), _truth(val), _probability(val), where=where)


def evaluate_classifier(
    scores: pd.DataFrame,
    images: pd.DataFrame,
    boxes: pd.DataFrame,
    maps: Maps,
    options: EvaluateClassifierOptions,
    point: OperatingPoint,
    where: str | Path = "scores table",
) -> ClassifierEvaluation:
    """Apply a frozen operating point and measure every subset with it.

    Args:
        scores: image_id, subset (val, test, external), truth, probability; images of unknown truth left out.
        images: image_id, patient_id, width and height at least, group_id from `join_groups`, and what subgroups go
            by.
        boxes: Boxes table, of which the target's serve.
        maps: Class activation maps by image_id; none for networks that have none.
        options: Target, intervals, subgroups, salt of the pseudonyms.
        point: Fitted on the val rows of these scores: its digest is compared with theirs.
        where: The scores' file, for messages.

    Raises:
        InputError: For scores that do not fit (see `check_scores`), or an operating point fitted on others.
    """
    scoring = options.evaluate
    table = join_patients(check_scores(scores, where), images, where)
    val = table[table["subset"] == "val"]
    check_fitted_on(point, val["image_id"].tolist(), _truth(val), _probability(val), where="operating point")
    table = table.assign(probability=point.calibrate(_probability(table)))
    boxes = boxes[boxes["label"] == options.target]
    localized = measure_maps(table.assign(patient_id=table["cluster"]), maps, images, boxes)
    parts = {name: table[table["subset"] == name] for name in SUBSETS if (table["subset"] == name).any()}
    unseen = {name: part for name, part in parts.items() if name != "val"}
    metrics = {
        "threshold": point.threshold,
        "threshold_rule": point.rule,
        "threshold_target": point.target,
        "threshold_from": point.subset or "configuration",
        "temperature": point.temperature,
        "operating_point_sha256": point.sha256(),
        "interval": {
            "level": scoring.confidence_level,
            "resamples": scoring.bootstrap_resamples,
            "clustered_by": clustered_by(parts["test"]["patient_id"], parts["test"]["cluster"]),
            "method": scoring.interval_method,
            "stratified": scoring.stratified,
        },
        "subsets": {name: measure_subset(part, point.threshold, scoring, name) for name, part in parts.items()},
        "subgroups": {
            name: measure_subgroups(part, images, boxes, point.threshold, scoring, name)
            for name, part in unseen.items()
        },
        "localization": {
            name: evaluate_localization(rows, scoring, stream=name) if len(rows) else None
            for name, rows in ((name, localized[localized["subset"] == name]) for name in parts)
        },
        "gap": measure_external_gap(parts, point.threshold, scoring),
    }
    curves = [curve_table(name, _truth(part), _probability(part)) for name, part in parts.items()]
    shown = localized[["image_id", "pointing_hit", "mass_inside"]]
    per_image = per_image_table(table, point.threshold, options.patient_salt).merge(shown, on="image_id", how="left")
    return ClassifierEvaluation(metrics, per_image, pd.concat(curves, ignore_index=True))


def measure_subset(table: pd.DataFrame, threshold: float, options: EvaluateOptions, subset: str) -> dict[str, Any]:
    """All metrics of one subset, each with its interval.

    Args:
        table: image_id, patient_id, cluster, truth, probability; at least one row.
        threshold: Frozen.
        options: Of the intervals.
        subset: Its name; each subset is resampled independently.

    Returns:
        The subset's part of metrics.json: that of `evaluate_binary`, "clustered_by", and "calibration" with the
        reliability curve and the recalibration.
    """
    truth, probability, patients = _truth(table), _probability(table), table["patient_id"]
    calibration = evaluate_calibration(truth, probability, patients=table["cluster"], options=options)
    return {
        **evaluate_binary(
            truth,
            probability,
            threshold=threshold,
            patients=patients,
            clusters=table["cluster"],
            prevalence=options.prevalence,
            options=options,
            stream=("evaluate_classifier", subset),
        ),
        "clustered_by": clustered_by(patients, table["cluster"]),
        "calibration": {key: calibration[key] for key in ("bins", "binning", "reliability")}
        | {"metrics": {name: calibration["metrics"][name] for name in RECALIBRATION}},
    }


def measure_subgroups(
    table: pd.DataFrame,
    images: pd.DataFrame,
    boxes: pd.DataFrame,
    threshold: float,
    options: EvaluateOptions,
    subset: str,
) -> list[dict[str, Any]]:
    """SHOWN_METRICS by subgroup, for each column of the options that tells at least two apart.

    Args:
        table: image_id, patient_id, cluster, truth, probability of one subset.
        images: Images table.
        boxes: Boxes of the target class.
        threshold: Frozen.
        options: Of subgroups and intervals.
        subset: Its name.

    Returns:
        What `evaluate_columns` makes, in the options' order.
    """
    truth, probability = _truth(table), _probability(table)

    def measure(rows: Codes, clusters: Codes) -> Statistic:
        predicted = probability[rows] >= threshold
        return _shown(BinaryMetrics(truth[rows], predicted, probability[rows], clusters))

    image_ids = table["image_id"].tolist()
    percent = percent_in_boxes(image_ids, images, boxes, pd.Series(truth))
    columns = subgroups_of(image_ids, images, options.subgroups, options.age_edges_years, percent)
    return evaluate_columns(
        columns,
        measure,
        patients=table["patient_id"],
        clusters=as_clusters(table["cluster"], len(table)),
        positive=pd.Series(truth),
        options=options,
        stream=("evaluate_classifier", subset),
    )


def _shown(metrics: BinaryMetrics) -> MetricsOf:
    return MetricsOf({name: (metrics, name) for name in SHOWN_METRICS})


def measure_external_gap(
    parts: Mapping[str, pd.DataFrame], threshold: float, options: EvaluateOptions
) -> dict[str, Any] | None:
    """Test minus external for SHOWN_METRICS, with intervals; None without both subsets.

    Args:
        parts: Subset to its clusters, truths and probabilities.
        threshold: Frozen.
        options: Of the intervals.
    """
    if not {"test", "external"} <= set(parts):
        return None
    sides = []
    for name in ("test", "external"):
        truth, probability = _truth(parts[name]), _probability(parts[name])
        clusters = as_clusters(parts[name]["cluster"], len(truth))
        metrics = BinaryMetrics(truth, probability >= threshold, probability, clusters)
        sides.append((_shown(metrics), metrics.clusters))
    gap = measure_gap(*sides[0], *sides[1], options, "evaluate_classifier", "gap")
    return {name: value.as_json() for name, value in gap.items()}


def per_image_table(table: pd.DataFrame, threshold: float, salt: str) -> pd.DataFrame:
    """The table of single images: pseudonyms instead of patient ids, and each image's outcome."""
    truth, predicted = _truth(table), _probability(table) >= threshold
    correct, called = np.where(truth == predicted, "T", "F"), np.where(predicted, "P", "N")
    pseudonyms = {patient: pseudonym(patient, salt) for patient in table["patient_id"].dropna().unique()}
    return pd.DataFrame(
        {
            "image_id": table["image_id"],
            "patient": table["patient_id"].map(pseudonyms).astype("str"),
            "cluster": name_clusters(table["cluster"], salt),
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
