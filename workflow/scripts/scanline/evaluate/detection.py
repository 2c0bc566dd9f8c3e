"""Evaluate detections: COCO's AP and AR, FROC, lesions at a threshold, cases, confusion matrix; all with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scanline.evaluate.average_precision import (
    AREA_RANGES,
    COCO_METRICS,
    CocoMetrics,
    precision_recall_table,
)
from scanline.evaluate.bootstrap import Estimate, Statistic, estimate, strata_of_clusters
from scanline.evaluate.coco_matching import (
    FALSE_POSITIVE,
    IGNORED,
    TRUE_POSITIVE,
    Matches,
    match_classes,
    match_detections,
    overlap_of,
)
from scanline.evaluate.coco_reference import compare_with_reference
from scanline.evaluate.detection_cases import CASE_METRICS, LEVELS, CaseMetrics
from scanline.evaluate.detection_tables import (
    ALL_CLASSES,
    ANY_CLASS,
    BACKGROUND,
    BOX_COLUMNS,
    DetectionTables,
    check_detection_tables,
)
from scanline.evaluate.froc import FROC_METRICS, LESION_METRICS, FrocMetrics, LesionMetrics
from scanline.evaluate.inputs import Codes, refuse
from scanline.evaluate.options import EvaluateOptions


@dataclass(frozen=True)
class DetectionEvaluation:
    """What evaluation makes of detections.

    Attributes:
        metrics: JSON-ready: every number, with its interval.
        precision_recall: label, iou_threshold, recall, precision, score: see `precision_recall_table`.
        froc: label, score, sensitivity, false_positives_per_image: see `FrocMetrics.table`.
        confusion: truth, predicted, count; both may be "background".
        detections: The predicted table in its order, with called (its score reaches the threshold), outcome (TP,
            FP; ignored: on a crowd; unknown_class: nobody looked for the class on the image; surplus: beyond the
            first 100 of the class and image), truth_row (of the box it found, null for none) and iou with it.
        truth: The truth table in its order, with outcome (found, missed at the threshold, ignored: a crowd), and
            detection_row and score of the detection that finds it, at the threshold or below; null for none.
        cases: level, case_id, label, truth, score, predicted: see `CaseMetrics.table`. It holds patient ids.
    """

    metrics: dict[str, Any]
    precision_recall: pd.DataFrame
    froc: pd.DataFrame
    confusion: pd.DataFrame
    detections: pd.DataFrame
    truth: pd.DataFrame
    cases: pd.DataFrame


def evaluate_detection(
    truth: pd.DataFrame,
    predicted: pd.DataFrame,
    images: pd.DataFrame | Sequence[str],
    classes: Sequence[str],
    *,
    labels: pd.DataFrame | None = None,
    score_threshold: float,
    iou_threshold: float = 0.5,
    options: EvaluateOptions | None = None,
    stream: Sequence[str] = ("evaluate_detection",),
) -> DetectionEvaluation:
    """Every metric of a detector, each with its patient-clustered interval.

    AP and AR are COCO's and are compared with faster-coco-eval in every call. FROC, the lesions at the threshold, the
    outcomes of single boxes and the confusion matrix match at `iou_threshold`.

    Args:
        truth: True boxes: image_id, label, x, y, width, height in pixels; where there, area in square pixels (else
            width x height) and iscrowd (else false), as in COCO.
        predicted: Detections, of all scores: image_id, label, x, y, width, height, score from 0 to 1.
        images: Every image that was looked at, with boxes or without: image_id, and where there patient_id and
            volume_id, null where unknown. Or image ids alone. Equal scores rank in the order of the images.
        classes: The classes to measure.
        labels: The labels table: image_id and one nullable boolean a class, null where nobody looked for it: there
            its detections are left out and the image is no negative. None: everything was looked for everywhere.
        score_threshold: A detection is called where its score is this or higher; fix it beforehand, on val.
        iou_threshold: IoU that a detection must reach to find a true box.
        options: Of the intervals.
        stream: Names the random draws: two calls with other names are resampled independently.

    Returns:
        The metrics and tables. "metrics" and "per_class" of the metrics hold AP and AR; "lesions", "froc" and "cases"
        the other parts.

    Raises:
        InputError: For tables that do not fit (see `check_detection_tables`), a threshold that is not from 0 to 1.
        ArithmeticError: If an AP or AR differs from that of faster-coco-eval.

    Examples:
        >>> sides = {"x": 10, "y": 10, "width": 20, "height": 20}
        >>> truth = pd.DataFrame({"image_id": ["a", "b"], "label": "nodule", **sides})
        >>> predicted = truth.assign(x=[11, 40], score=[0.9, 0.6])
        >>> images = pd.DataFrame({"image_id": ["a", "b", "c"], "patient_id": ["p", "q", "r"]})
        >>> result = evaluate_detection(truth, predicted, images, ["nodule"], score_threshold=0.5)
        >>> round(result.metrics["metrics"]["ap_50"]["value"], 3)
        0.505
        >>> result.detections["outcome"].tolist(), result.truth["outcome"].tolist()
        (['TP', 'FP'], ['found', 'missed'])
        >>> result.metrics["cases"]["patient"]["per_class"]["nodule"]["specificity"]["value"]
        1.0
        >>> result.metrics["metrics"]["ap_large"]["reason"]
        'no large truth box of any class'
    """
    options = options or EvaluateOptions()
    _check_threshold("score_threshold", score_threshold, positive=False)
    _check_threshold("iou_threshold", iou_threshold, positive=True)
    tables = check_detection_tables(truth, predicted, images, classes, labels)
    matches = match_detections(tables, (iou_threshold,))
    coco, froc = CocoMetrics(tables), FrocMetrics(tables, matches)
    lesions = LesionMetrics(tables, matches, score_threshold)
    cases = {level: CaseMetrics(tables, level, score_threshold) for level in LEVELS}
    cases = {level: measure for level, measure in cases.items() if measure.cases}
    strata = strata_of_clusters(np.asarray(tables.present.any(axis=1)), tables.clusters) if options.stratified else None

    def estimates(statistic: Statistic) -> dict[str, dict[str, Any]]:
        found: dict[str, Estimate] = estimate(statistic, tables.cluster_count, options, *stream, strata=strata)
        return {name: value.as_json() for name, value in found.items()}

    confusion = _confusion_counts(tables, score_threshold, iou_threshold)
    names = (*tables.classes, BACKGROUND)
    metrics = {
        **_counts(tables),
        "score_threshold": float(score_threshold),
        "iou_threshold": float(iou_threshold),
        **_coco_part(coco, estimates(coco)),
        "lesions": _lesion_part(lesions, estimates(lesions)),
        "froc": _by_row(estimates(froc), froc.rows, FROC_METRICS, ALL_CLASSES),
        "cases": {level: _case_part(measure, estimates(measure)) for level, measure in cases.items()},
        "confusion": {"classes": list(names), "counts": confusion.tolist()},
        "reference": compare_with_reference(coco),
    }
    return DetectionEvaluation(
        metrics=metrics,
        precision_recall=precision_recall_table(coco),
        froc=froc.table(),
        confusion=_confusion_table(confusion, names),
        detections=_detections_table(tables, predicted, matches, score_threshold),
        truth=_truth_table(tables, truth, matches, score_threshold),
        cases=pd.concat([measure.table() for measure in cases.values()], ignore_index=True),
    )


def _check_threshold(name: str, value: float, *, positive: bool) -> None:
    if not (0 <= value <= 1) or (positive and value == 0):
        refuse(name, f"{value}", "a number above 0, up to 1" if positive else "a number from 0 to 1")


def _counts(tables: DetectionTables) -> dict[str, Any]:
    """The numbers of images, patients and boxes, and what was left out."""
    patients, volumes = pd.Series(tables.patients), pd.Series(tables.volumes)
    return {
        "images": len(tables.images),
        "patients": int(patients.nunique()),
        "images_without_patient": int(patients.isna().sum()),
        "volumes": int(volumes.nunique()),
        "clusters": tables.cluster_count,
        "truth_boxes": int((~tables.truth.crowd).sum()),
        "detections": len(tables.detected.row),
        "left_out": {
            "crowd_boxes": int(tables.truth.crowd.sum()),
            "detections_of_unknown_class": len(tables.unknown_rows),
            "surplus_detections": len(tables.surplus_rows),
            "unknown_images": {
                name: int((~known).sum()) for name, known in zip(tables.classes, tables.known.T, strict=True)
            },
        },
    }


def _coco_part(coco: CocoMetrics, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """AP and AR: means with the number of classes averaged, and each class with its numbers of boxes and images."""
    tables = coco.tables
    per_class: dict[str, Any] = {}
    for index, label in enumerate(tables.classes):
        known, present = tables.known[:, index], tables.present[:, index]
        boxes = {area: int(count) for area, count in zip(AREA_RANGES, coco.boxes[index], strict=True)}
        per_class[label] = {
            **{name: rows[f"{label}.{name}"] for name in COCO_METRICS},
            "truth_boxes": boxes.pop("all"),
            "truth_boxes_by_size": boxes,
            "detections": int((tables.detected.label == index).sum()),
            "positive_images": int(present.sum()),
            "negative_images": int((known & ~present).sum()),
            "unknown_images": int((~known).sum()),
        }
    return {
        "metrics": {name: {**rows[name], "classes": coco.classes_averaged(name)} for name in COCO_METRICS},
        "per_class": per_class,
    }


def _by_row(
    rows: dict[str, dict[str, Any]], names: Sequence[str], metrics: Sequence[str], together: str
) -> dict[str, Any]:
    """Nest "<class>.<metric>"; the row of all (or any) classes stands beside "per_class"."""
    nested = {name: {metric: rows[f"{name}.{metric}"] for metric in metrics} for name in names}
    total = nested.pop(together)
    return {together.replace(" ", "_"): total, "per_class": nested}


def _lesion_part(lesions: LesionMetrics, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    part = _by_row(rows, lesions.rows, LESION_METRICS, ALL_CLASSES)
    for name in lesions.tables.classes:
        part["per_class"][name] |= lesions.counts(name)
    part["all_classes"] |= lesions.counts(ALL_CLASSES)
    return part


def _case_part(cases: CaseMetrics, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    part = _by_row(rows, cases.rows, CASE_METRICS, ANY_CLASS)
    for name in cases.tables.classes:
        part["per_class"][name] |= cases.counts(name)
    part["any_class"] |= cases.counts(ANY_CLASS)
    return {"cases": len(cases.cases), "images_left_out": cases.images_left_out, **part}


def _confusion_counts(tables: DetectionTables, score_threshold: float, iou_threshold: float) -> Codes:
    """True boxes (rows) and detections (columns) by class, shape (classes + 1, classes + 1); the last is background."""
    truth, classes = tables.truth, len(tables.classes)
    kept, chosen = match_classes(tables, score_threshold, iou_threshold)
    counts = np.zeros((classes + 1, classes + 1), dtype=np.intp)
    found = np.append(truth.label, classes)[chosen]
    counted = ~np.append(truth.crowd, False)[chosen]
    np.add.at(counts, (found[counted], tables.detected.label[kept][counted]), 1)
    missed = ~truth.crowd
    missed[chosen[chosen >= 0]] = False
    counts[:-1, -1] = np.bincount(truth.label[missed], minlength=classes)
    return counts


def _confusion_table(counts: Codes, names: Sequence[str]) -> pd.DataFrame:
    """One row a cell; background against background cannot be counted and has none."""
    pairs = pd.MultiIndex.from_product([names, names], names=["truth", "predicted"])
    table = pd.DataFrame({"count": counts.ravel()}, index=pairs).reset_index()
    return table.iloc[:-1].astype({"truth": "str", "predicted": "str"})


def _detections_table(
    tables: DetectionTables, predicted: pd.DataFrame, matches: Matches, score_threshold: float
) -> pd.DataFrame:
    detected = tables.detected
    names = {FALSE_POSITIVE: "FP", TRUE_POSITIVE: "TP", IGNORED: "ignored"}
    outcome = np.full(len(predicted), "", dtype=object)
    outcome[tables.unknown_rows], outcome[tables.surplus_rows] = "unknown_class", "surplus"
    outcome[detected.row] = np.array([names[code] for code in sorted(names)], dtype=object)[matches.outcome[:, 0, 0]]
    chosen = matches.chosen[:, 0, 0]
    hits = np.flatnonzero(chosen >= 0)
    truth_row, iou = np.full(len(predicted), -1), np.full(len(predicted), np.nan)
    truth_row[detected.row[hits]] = chosen[hits]
    iou[detected.row[hits]] = overlap_of(detected, tables.truth, hits, chosen[hits])
    table = predicted[[*BOX_COLUMNS, "score"]].reset_index(drop=True)
    return table.assign(
        called=table["score"].to_numpy(dtype=np.float64) >= score_threshold,
        outcome=pd.Series(outcome, dtype="str"),
        truth_row=_nullable(truth_row),
        iou=iou,
    )


def _truth_table(
    tables: DetectionTables, truth: pd.DataFrame, matches: Matches, score_threshold: float
) -> pd.DataFrame:
    detected, crowd = tables.detected, tables.truth.crowd
    hits = np.flatnonzero(matches.outcome[:, 0, 0] == TRUE_POSITIVE)
    boxes = matches.chosen[hits, 0, 0]
    row, score = np.full(len(truth), -1), np.full(len(truth), np.nan)
    row[boxes], score[boxes] = detected.row[hits], detected.score[hits]
    outcome = np.where(crowd, "ignored", np.where(score >= score_threshold, "found", "missed"))
    return (
        truth[list(BOX_COLUMNS)]
        .reset_index(drop=True)
        .assign(outcome=pd.Series(outcome, dtype="str"), detection_row=_nullable(row), score=score)
    )


def _nullable(rows: Codes) -> "pd.Series[int]":
    """Row numbers, null where they are -1."""
    return pd.Series(rows, dtype="Int64").mask(rows < 0)
