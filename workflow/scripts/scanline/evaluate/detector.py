"""Evaluate a detector: frozen score threshold, metrics of boxes and of yes or no with intervals, tables, curves."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scanline.core.errors import InputError
from scanline.core.privacy import pseudonym
from scanline.evaluate.binary import evaluate_binary
from scanline.evaluate.detection import DetectionEvaluation, evaluate_detection
from scanline.evaluate.detection_cases import LEVELS
from scanline.evaluate.detection_tables import ANY_CLASS, DetectionTables, check_detection_tables
from scanline.evaluate.detector_options import EvaluateDetectorOptions
from scanline.evaluate.detector_point import DetectorPoint, check_fitted_on, digest_of_tables, fit_detector_point
from scanline.evaluate.detector_subgroups import measure_detector_gap, measure_detector_subgroups
from scanline.evaluate.detector_volumes import measure_volumes, volume_curves, volume_level, volumes_of_subsets
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.scores import SUBSETS, clustered_by, clusters_of, name_clusters
from scanline.evaluate.volume_points import VolumePoints, check_points, fit_volume_points


@dataclass(frozen=True)
class DetectorEvaluation:
    """What evaluation makes of detections.

    Attributes:
        metrics: The content of metrics.json.
        detections: Called detections as image, class, confidence, xmin, ymin, xmax, ymax (pixels of the original
            image), subset; an image without any has a row in which all but image and subset are empty.
        image_level: image, patient (pseudonym, null where unknown), cluster (what intervals draw together), truth,
            predicted, max_confidence (of all detections, called or not; null without any), subset.
        boxes: Every true box and every called detection, for figures: subset, image_id, kind (truth or detection),
            label, x, y, width, height, score (of a true box: of the detection that finds it), outcome (found or
            missed; TP or FP), iou (null for true boxes and false positives).
        curves: subset, curve (precision_recall, froc, or one of `volume_curves`), label, iou_threshold, x, y, score.
            For precision_recall x is the recall and y the precision; for froc x is the false positives an image and
            y the sensitivity.
        volume_level: What `volume_level` makes of each subset, with subset.
    """

    metrics: dict[str, Any]
    detections: pd.DataFrame
    image_level: pd.DataFrame
    boxes: pd.DataFrame
    curves: pd.DataFrame
    volume_level: pd.DataFrame


@dataclass(frozen=True)
class DetectorTables:
    """The tables that evaluation starts from.

    Attributes:
        detections: image_id, subset, label, x, y, width, height, score.
        predicted: image_id, subset of every image that was looked at.
        images: Images table.
        boxes: Boxes table, of which the targets' serve.
        labels: Labels table.
        where: The detections' file, for messages.
    """

    detections: pd.DataFrame
    predicted: pd.DataFrame
    images: pd.DataFrame
    boxes: pd.DataFrame
    labels: pd.DataFrame
    where: str | Path = "detections table"


@dataclass(frozen=True)
class _Part:
    """The tables of one subset."""

    images: pd.DataFrame
    truth: pd.DataFrame
    detections: pd.DataFrame

    @property
    def digest(self) -> str:
        return digest_of_tables(self.images["image_id"].tolist(), self.truth, self.detections)


def _part(tables: DetectorTables, subset: str, targets: tuple[str, ...]) -> _Part:
    ids = tables.predicted.loc[tables.predicted["subset"] == subset, "image_id"]
    missing = ids[~ids.isin(tables.images["image_id"])]
    if len(missing):
        raise InputError(
            f"{tables.where}: subset {subset}",
            found=f"image {missing.iloc[0]!r} ({len(missing)} such)",
            expected="images of the images table",
            next_step="Delete this table and make it again.",
        )
    images = tables.images.set_index("image_id").loc[ids].reset_index()
    truth = tables.boxes[tables.boxes["image_id"].isin(ids) & tables.boxes["label"].isin(targets)]
    detections = tables.detections[tables.detections["subset"] == subset]
    return _Part(images, truth.reset_index(drop=True), detections.reset_index(drop=True))


def fit_on_val(tables: DetectorTables, options: EvaluateDetectorOptions) -> DetectorPoint:
    """Fit the score threshold on val, the only subset that it looks at.

    Raises:
        InputError: For tables that do not fit (see `check_detection_tables`), and if val has no true box.
    """
    part = _part(tables, "val", options.targets)
    checked = check_detection_tables(part.truth, part.detections, part.images, options.targets, tables.labels)
    return fit_detector_point(checked, part.digest, options.boxes, tables.where)


def fit_volumes_on_val(tables: DetectorTables, options: EvaluateDetectorOptions) -> VolumePoints:
    """Fit the thresholds on the score of a volume on val, the only subset whose scores it looks at.

    Raises:
        InputError: For tables that do not fit (see `check_detection_tables`).
    """
    volumes, reason = volumes_of_subsets(_checked(tables, options), tables.images, tables.labels, options.volumes)
    return fit_volume_points(volumes.get("val"), options.volumes, reason or "val has no volumes")


def _checked(tables: DetectorTables, options: EvaluateDetectorOptions) -> dict[str, DetectionTables]:
    """The checked tables of each subset that was looked at."""
    present = [name for name in SUBSETS if (tables.predicted["subset"] == name).any()]
    parts = {name: _part(tables, name, options.targets) for name in present}
    return {
        name: check_detection_tables(part.truth, part.detections, part.images, options.targets, tables.labels)
        for name, part in parts.items()
    }


def evaluate_detector(
    tables: DetectorTables, options: EvaluateDetectorOptions, point: DetectorPoint, volume_points: VolumePoints
) -> DetectorEvaluation:
    """Apply frozen thresholds and measure every subset with them.

    Raises:
        InputError: For tables that do not fit, a test subset without images, or a threshold fitted on others.
    """
    present = [name for name in SUBSETS if (tables.predicted["subset"] == name).any()]
    if "test" not in present:
        raise InputError(
            f"{tables.where}: subset test",
            found="no images",
            expected="at least one image on which every target is known",
            next_step="Give the split a larger test share, or targets that are annotated on more images.",
        )
    parts = {name: _part(tables, name, options.targets) for name in present}
    check_fitted_on(point, _part(tables, "val", options.targets).digest)
    checked = _checked(tables, options)
    volumes, no_volumes = volumes_of_subsets(checked, tables.images, tables.labels, options.volumes)
    check_points(volume_points, volumes.get("val"), options.volumes)
    results = {
        name: evaluate_detection(
            part.truth,
            part.detections,
            part.images,
            options.targets,
            labels=tables.labels,
            score_threshold=point.threshold,
            iou_threshold=point.iou_threshold,
            options=options.evaluate,
            stream=("evaluate_detector", name),
        )
        for name, part in parts.items()
    }
    scoring = options.evaluate
    metrics = {
        "targets": list(options.targets),
        "threshold": point.threshold,
        "threshold_rule": point.rule,
        "threshold_from": point.subset or "configuration",
        "iou_threshold": point.iou_threshold,
        "headline": options.boxes.headline,
        "volumes": {
            **options.volumes.model_dump(mode="json"),
            "operating_point_sha256": volume_points.sha256(),
            "reason": no_volumes or None,
        },
        "operating_point_sha256": point.sha256(),
        "interval": {
            "level": scoring.confidence_level,
            "resamples": scoring.bootstrap_resamples,
            "clustered_by": clustered_by(parts["test"].images["patient_id"], _clusters(parts["test"].images)),
            "method": scoring.interval_method,
            "stratified": scoring.stratified,
        },
        "subsets": {
            name: {
                **result.metrics,
                "yes_or_no": yes_or_no(result, parts[name].images, options, point, name),
                "volume_level": measure_volumes(
                    checked[name],
                    volumes[name],
                    volume_points,
                    point.iou_threshold,
                    scoring,
                    ("evaluate_detector", name),
                ),
            }
            for name, result in results.items()
        },
        "subgroups": {
            name: measure_detector_subgroups(
                one, parts[name].images, parts[name].truth, point, scoring, name, options.boxes.headline
            )
            for name, one in checked.items()
            if name != "val"
        },
        "gap": measure_detector_gap(checked, point, scoring, options.boxes.headline),
    }
    salt = options.patient_salt
    return DetectorEvaluation(
        metrics=metrics,
        detections=_concat({name: called_detections(results[name], part.images) for name, part in parts.items()}),
        image_level=_concat({name: image_level(results[name], part.images, salt) for name, part in parts.items()}),
        boxes=_concat({name: box_outcomes(result) for name, result in results.items()}, first=True),
        curves=_concat(
            {
                name: pd.concat(
                    [curve_points(result, point), volume_curves(checked[name], volumes[name], point.iou_threshold)]
                    if volumes[name]
                    else [curve_points(result, point)],
                    ignore_index=True,
                )
                for name, result in results.items()
            },
            first=True,
        ),
        volume_level=_concat({name: volume_level(volumes[name], volume_points, salt) for name in parts}),
    )


def _clusters(images: pd.DataFrame) -> "pd.Series[str]":
    """What is drawn together, as `check_detection_tables` numbers it: null where an image is by itself."""
    clusters = clusters_of(images, "images")
    if "group_id" in images or "volume_id" not in images:
        return clusters
    return clusters.where(clusters.notna(), images["volume_id"])


def yes_or_no(
    result: DetectionEvaluation,
    images: pd.DataFrame,
    options: EvaluateDetectorOptions,
    point: DetectorPoint,
    subset: str,
) -> dict[str, Any]:
    """Whether an image, a volume or a patient is positive, told by its best box: confusion counts and metrics.

    Args:
        result: Of the subset.
        images: Its rows of the images table.
        options: Targets and intervals.
        point: The frozen threshold.
        subset: Its name.

    Returns:
        By level (those that have cases), by class and for any class: what `evaluate_binary` returns. A case without
        detections has the probability 0. Cases of unknown truth are left out.
    """
    images = images.assign(cluster=_clusters(images))
    owners = {
        level: images.drop_duplicates(f"{level}_id").set_index(f"{level}_id", drop=False)
        for level in LEVELS
        if f"{level}_id" in images
    }
    found: dict[str, Any] = {}
    for level in LEVELS:
        cases = result.cases[(result.cases["level"] == level) & result.cases["truth"].notna()]
        if cases.empty:
            continue
        of_label = {}
        for label in options.targets:
            own = cases[cases["label"] == label]
            of_label[label] = _measure_cases(own, owners[level], options.evaluate, point, (subset, level, label))
        together = of_label[options.targets[0]]
        if len(options.targets) > 1:
            own = cases[cases["label"] == ANY_CLASS]
            together = _measure_cases(own, owners[level], options.evaluate, point, (subset, level, ANY_CLASS))
        found[level] = {"any_class": together, "per_class": of_label}
    return found


def _measure_cases(
    cases: pd.DataFrame,
    owners: pd.DataFrame,
    options: EvaluateOptions,
    point: DetectorPoint,
    stream: tuple[str, ...],
) -> dict[str, Any]:
    owned = owners.loc[cases["case_id"], ["patient_id", "cluster"]].reset_index(drop=True)
    return evaluate_binary(
        cases["truth"].to_numpy(dtype=bool),
        cases["score"].fillna(0.0).to_numpy(dtype=np.float64),
        threshold=point.threshold,
        patients=owned["patient_id"],
        clusters=owned["cluster"],
        prevalence=options.prevalence,
        options=options,
        stream=("evaluate_detector", *stream),
    )


def called_detections(result: DetectionEvaluation, images: pd.DataFrame) -> pd.DataFrame:
    """Detections that reach the threshold, by image and falling confidence, and a row for each image without any."""
    called = result.detections[result.detections["called"]]
    rows = pd.DataFrame(
        {
            "image": called["image_id"],
            "class": called["label"],
            "confidence": called["score"],
            "xmin": called["x"],
            "ymin": called["y"],
            "xmax": called["x"] + called["width"],
            "ymax": called["y"] + called["height"],
        }
    )
    joined = images[["image_id"]].rename(columns={"image_id": "image"}).merge(rows, on="image", how="left")
    return joined.sort_values(["image", "confidence"], ascending=[True, False], kind="stable", ignore_index=True)


def image_level(result: DetectionEvaluation, images: pd.DataFrame, salt: str) -> pd.DataFrame:
    """One row an image: is any target there, and was it called?"""
    cases = result.cases[(result.cases["level"] == "image") & (result.cases["label"] == ANY_CLASS)]
    table = cases.set_index("case_id").loc[images["image_id"]]
    known = images["patient_id"].dropna().unique()
    pseudonyms = {patient: pseudonym(patient, salt) for patient in known}
    return pd.DataFrame(
        {
            "image": images["image_id"].to_numpy(dtype=object),
            "patient": images["patient_id"].map(pseudonyms).to_numpy(dtype=object),
            "cluster": name_clusters(_clusters(images), salt).to_numpy(dtype=object),
            "truth": table["truth"].to_numpy(dtype=object),
            "predicted": table["predicted"].to_numpy(dtype=bool),
            "max_confidence": table["score"].to_numpy(dtype=np.float64),
        }
    ).astype({"image": "str", "patient": "str", "cluster": "str", "truth": "boolean"})


def box_outcomes(result: DetectionEvaluation) -> pd.DataFrame:
    """True boxes and called detections of a subset, one below the other."""
    columns = ["image_id", "kind", "label", "x", "y", "width", "height", "score", "outcome", "iou"]
    truth = result.truth.assign(kind="truth", iou=np.nan)
    called = result.detections[result.detections["called"]].assign(kind="detection")
    return pd.concat([truth[columns], called[columns]], ignore_index=True)


def curve_points(result: DetectionEvaluation, point: DetectorPoint) -> pd.DataFrame:
    """Precision-recall and FROC curves of a subset in one table."""
    precision_recall = result.precision_recall.rename(columns={"recall": "x", "precision": "y"})
    froc = result.froc.rename(columns={"false_positives_per_image": "x", "sensitivity": "y"})
    columns = ["curve", "label", "iou_threshold", "x", "y", "score"]
    return pd.concat(
        [
            precision_recall.assign(curve="precision_recall")[columns],
            froc.assign(curve="froc", iou_threshold=point.iou_threshold)[columns],
        ],
        ignore_index=True,
    )


def _concat(tables: Mapping[str, pd.DataFrame], *, first: bool = False) -> pd.DataFrame:
    """Tables of the subsets one below the other, with a column `subset`, the first or the last."""
    named = [table.assign(subset=name) for name, table in tables.items()]
    table = pd.concat(named, ignore_index=True)
    rest = [name for name in table.columns if name != "subset"]
    return table[["subset", *rest] if first else [*rest, "subset"]].astype({"subset": "str"})
