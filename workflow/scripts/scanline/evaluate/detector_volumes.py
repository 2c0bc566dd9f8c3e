"""A detector by volumes: yes or no from its boxes, at a specificity fixed on val, and FROC with rates a volume."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scanline.core.privacy import pseudonym
from scanline.evaluate.binary import evaluate_binary
from scanline.evaluate.bootstrap import estimate, strata_of_clusters
from scanline.evaluate.coco_matching import match_detections
from scanline.evaluate.curves import roc_points
from scanline.evaluate.detection_tables import DetectionTables
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.volume_froc import VOLUME_FROC_METRICS, VolumeFroc
from scanline.evaluate.volume_options import VolumeOptions
from scanline.evaluate.volume_points import VolumePoints, known_volumes, slices_taken
from scanline.evaluate.volumes import Volumes, gather_volumes

AREAS = ("auroc", "auprc")
AT_THRESHOLD = ("recall", "specificity", "precision", "npv", "f1", "balanced_accuracy")
NO_VOLUMES = "no image names its volume"
PARTED = "this split parts volumes"
CURVE_COLUMNS = ["curve", "label", "iou_threshold", "x", "y", "score"]
LEVEL_COLUMNS = {"volume": "str", "patient": "str", "truth": "boolean", "predicted": "boolean", "score": "f8"}


def volumes_of_subsets(
    checked: Mapping[str, DetectionTables], images: pd.DataFrame, labels: pd.DataFrame, options: VolumeOptions
) -> tuple[dict[str, Volumes | None], str]:
    """The volumes of each subset, and why there are none.

    Args:
        checked: Subset to its tables.
        images: Images table of the study.
        labels: Labels table of the study.
        options: What volumes are, and how they are scored.
    """
    if options.of not in images:
        return dict.fromkeys(checked), NO_VOLUMES
    owner = images.set_index("image_id")[options.of]
    held = pd.DataFrame(
        [
            (name, volume)
            for name, one in checked.items()
            for volume in owner.reindex(list(one.images)).dropna().unique()
        ],
        columns=["subset", "volume"],
    )
    if held["volume"].duplicated().any():
        return dict.fromkeys(checked), PARTED
    top_k = slices_taken(options)
    found = {name: gather_volumes(one, images, labels, options.of, top_k) for name, one in checked.items()}
    return found, "" if any(found.values()) else NO_VOLUMES


def measure_volumes(
    tables: DetectionTables,
    volumes: Volumes | None,
    points: VolumePoints,
    iou_threshold: float,
    options: EvaluateOptions,
    stream: Sequence[str],
) -> dict[str, Any] | None:
    """Metrics of the volumes of a subset, with intervals clustered by patient, or by volume where there is none.

    Args:
        tables: Of the subset.
        volumes: Of the subset; None without any.
        points: Frozen thresholds.
        iou_threshold: That a detection must reach to find a box.
        options: Of the intervals.
        stream: Names the random draws.

    Returns:
        Numbers of volumes and images; "any_class" and "per_class", each with its counts, the threshold, "metrics"
        (those at the threshold are null with the reason where val gives none) and "froc". None without volumes.
    """
    if volumes is None:
        return None
    froc = VolumeFroc(tables, match_detections(tables, (iou_threshold,)), volumes)
    strata = strata_of_clusters(np.asarray(tables.present.any(axis=1)), tables.clusters) if options.stratified else None
    of_froc = estimate(froc, tables.cluster_count, options, *stream, "volume_froc", strata=strata)
    measured = {}
    for index, row in enumerate(volumes.rows):
        measured[row] = {
            **_measure_row(volumes, index, points, options, (*stream, "volume", row)),
            "froc": {name: of_froc[f"{row}.{name}"].as_json() for name in VOLUME_FROC_METRICS},
            "volumes_in_froc": int(froc.volumes_counted[index]),
        }
    return {
        "volumes": len(volumes.ids),
        "images": len(tables.images) - volumes.images_left_out,
        "images_left_out": volumes.images_left_out,
        "patients": len({patient for patient in volumes.patients if patient is not None}),
        "clustered_by": volumes.clustered_by,
        "any_class": measured[volumes.rows[-1]],
        "per_class": {name: measured[name] for name in tables.classes},
    }


def _measure_row(
    volumes: Volumes, index: int, points: VolumePoints, options: EvaluateOptions, stream: Sequence[str]
) -> dict[str, Any]:
    row = volumes.rows[index]
    known = ~np.isnan(volumes.truth[:, index])
    _, truth, score = known_volumes(volumes, index)
    point = points.points.get(row)
    result = evaluate_binary(
        truth,
        score,
        threshold=point.threshold if point else 0.5,
        patients=volumes.patients[known].tolist(),
        options=options,
        stream=stream,
    )
    areas = {name: _of_volumes(result["metrics"][name]) for name in AREAS}
    if areas["auroc"]["value"] is None:  # without negatives the other area is 1 whatever the scores
        areas = dict.fromkeys(AREAS, areas["auroc"])
    reason = "" if point else points.reasons.get(row, points.reasons.get("volumes", ""))
    nothing = {"value": None, "low": None, "high": None, "reason": reason, "undefined_resamples": None}
    return {
        "positives": result["positives"],
        "negatives": result["negatives"],
        "unknown": int((~known).sum()),
        "threshold": point.threshold if point else None,
        "confusion": result["confusion"] if point else None,
        "metrics": {
            **areas,
            **{name: _of_volumes(result["metrics"][name]) if point else nothing for name in AT_THRESHOLD},
        },
    }


def _of_volumes(estimate_: dict[str, Any]) -> dict[str, Any]:
    """An estimate of which the reason speaks of volumes."""
    return {**estimate_, "reason": estimate_["reason"] and estimate_["reason"].replace("image", "volume")}


def volume_curves(tables: DetectionTables, volumes: Volumes | None, iou_threshold: float) -> pd.DataFrame:
    """ROC of the volumes and FROC with rates a volume, as rows of the detector's curves table.

    Returns:
        curve: volume_roc (x: 1 - specificity, y: sensitivity), volume_froc_box and volume_froc_volume (x: false
        positives a volume, y: share of the boxes, or of the volumes, found); label, iou_threshold (null for
        volume_roc), x, y, score.
    """
    if volumes is None:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    parts = []
    for index, row in enumerate(volumes.rows):
        x, y, score = roc_points(*known_volumes(volumes, index)[1:])
        part = pd.DataFrame({"x": x, "y": y, "score": score})
        parts.append(part.assign(curve="volume_roc", label=row, iou_threshold=np.nan))
    froc = VolumeFroc(tables, match_detections(tables, (iou_threshold,)), volumes).table()
    froc = froc.rename(columns={"false_positives_per_volume": "x", "sensitivity": "y"})
    parts.append(froc.assign(curve="volume_froc_" + froc["found"], iou_threshold=iou_threshold))
    return pd.concat([part[CURVE_COLUMNS] for part in parts if len(part)] or parts[:1], ignore_index=True)[
        CURVE_COLUMNS
    ]


def volume_level(volumes: Volumes | None, points: VolumePoints, salt: str) -> pd.DataFrame:
    """One row a volume: is any target in it, and was it called? Volumes and patients by pseudonym.

    Returns:
        volume, patient (null where unknown), truth (null where unknown), predicted (null without a threshold), score,
        slices.
    """
    if volumes is None:
        empty = {name: pd.Series(dtype=dtype) for name, dtype in LEVEL_COLUMNS.items()}
        return pd.DataFrame({**empty, "slices": pd.Series(dtype="int64")})
    point = points.points.get(volumes.rows[-1])
    truth, score = volumes.truth[:, -1], volumes.score[:, -1]
    return pd.DataFrame(
        {
            "volume": [pseudonym(str(name), salt) for name in volumes.ids],
            "patient": [None if patient is None else pseudonym(str(patient), salt) for patient in volumes.patients],
            "truth": pd.array([None if np.isnan(one) else bool(one) for one in truth], dtype="boolean"),
            "predicted": pd.array(
                [None if point is None else bool(one >= point.threshold) for one in score], "boolean"
            ),
            "score": score,
            "slices": volumes.slices.astype(np.int64),
        }
    ).astype({"volume": "str", "patient": "str"})
