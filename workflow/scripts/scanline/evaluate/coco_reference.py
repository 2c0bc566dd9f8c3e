"""The same AP and AR by faster-coco-eval, so that every evaluation can be held against it."""

from importlib.metadata import version
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from scanline.evaluate.average_precision import (
    AP_METRICS,
    AR_METRICS,
    AREA_RANGES,
    LIMITS,
    LOW_THRESHOLDS,
    THRESHOLDS,
    CocoMetrics,
    mean_of_defined,
)
from scanline.evaluate.detection_tables import DetectionTables
from scanline.evaluate.inputs import Floats

TOLERANCE = 1e-9
LIBRARY = "faster-coco-eval"


def reference_values(tables: DetectionTables) -> dict[str, float]:
    """COCO_METRICS and "<class>.<metric>" by faster-coco-eval, NaN where undefined."""
    coco = COCO(_ground_truth(tables))
    evaluation = COCOeval_faster(coco, coco.loadRes(_results(tables)), "bbox")
    evaluation.params.iouThrs = np.array(THRESHOLDS)
    evaluation.params.maxDets = list(LIMITS)
    evaluation.evaluate()
    evaluation.accumulate()
    precision = _defined(evaluation.eval["precision"]).mean(axis=1)[..., -1]
    recall = _defined(evaluation.eval["recall"])[len(LOW_THRESHOLDS) :].mean(axis=0)
    areas = list(AREA_RANGES)
    values = {}
    for name, (area, thresholds) in AP_METRICS.items():
        at = [THRESHOLDS.index(threshold) for threshold in thresholds]
        values[name] = precision[at][:, :, areas.index(area)].mean(axis=0)
    for name, (area, limit) in AR_METRICS.items():
        values[name] = recall[:, areas.index(area), LIMITS.index(limit)]
    means = {name: float(mean_of_defined(by_class[None])[0]) for name, by_class in values.items()}
    return means | {
        f"{label}.{name}": float(by_class[index])
        for index, label in enumerate(tables.classes)
        for name, by_class in values.items()
    }


def compare_with_reference(metrics: CocoMetrics) -> dict[str, Any]:
    """Hold the AP and AR of the sample against faster-coco-eval.

    Returns:
        implementation, version, values_compared and largest_difference.

    Raises:
        ArithmeticError: If a value differs by more than TOLERANCE, or is undefined in one alone.
    """
    theirs = reference_values(metrics.tables)
    ours = {name: float(values[0]) for name, values in metrics(np.ones((1, metrics.tables.cluster_count))).items()}
    differences = [abs(ours[name] - theirs[name]) for name in ours if not np.isnan(ours[name] + theirs[name])]
    apart = [name for name in ours if np.isnan(ours[name]) != np.isnan(theirs[name])]
    apart += [name for name in ours if abs(ours[name] - theirs[name]) > TOLERANCE]
    if apart:
        name = apart[0]
        raise ArithmeticError(f"{name}: {LIBRARY} finds {theirs[name]}, scanline {ours[name]}: one of them is wrong")
    return {
        "implementation": LIBRARY,
        "version": version(LIBRARY),
        "values_compared": len(differences),
        "largest_difference": max(differences, default=0.0),
    }


def _defined(values: Floats) -> Floats:
    """faster-coco-eval marks what is undefined by -1."""
    return np.where(np.asarray(values) < 0, np.nan, values)


def _ground_truth(tables: DetectionTables) -> dict[str, Any]:
    truth = tables.truth
    rows = zip(truth.image.tolist(), truth.label.tolist(), truth.xywh.tolist(), truth.area.tolist(), strict=True)
    return {
        "images": [{"id": number + 1} for number in range(len(tables.images))],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(tables.classes)],
        "annotations": [
            {"id": number, "image_id": image + 1, "category_id": label + 1, "bbox": box, "area": area, "iscrowd": crowd}
            for number, ((image, label, box, area), crowd) in enumerate(
                zip(rows, truth.crowd.astype(int).tolist(), strict=True), start=1
            )
        ],
    }


def _results(tables: DetectionTables) -> list[dict[str, Any]]:
    detected = tables.detected
    rows = zip(
        detected.image.tolist(), detected.label.tolist(), detected.xywh.tolist(), detected.score.tolist(), strict=True
    )
    return [
        {"image_id": image + 1, "category_id": label + 1, "bbox": box, "score": score}
        for image, label, box, score in rows
    ]
