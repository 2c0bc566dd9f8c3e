"""The operating point of a model of any kind, frozen by its evaluation, as a rule for images outside the study."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scanline.core.errors import InputError
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.tables import BOXES, read_table
from scanline.evaluate.calibration import digest_of_scores
from scanline.evaluate.class_temperature import digest_of_class_scores, read_class_point
from scanline.evaluate.detector_point import NOTHING_FOUND, digest_of_tables, read_detector_point
from scanline.evaluate.multilabel_classifier import read_operating_points
from scanline.evaluate.operating_point import FIXED_THRESHOLD, OperatingPoint, read_operating_point
from scanline.evaluate.segmenter import (
    FIXED_LEVEL,
    LEVELS,
    MaskThreshold,
    digest_of_maps,
    read_mask_threshold,
    read_truths,
)
from scanline.predict.probability_maps import ProbabilityMaps
from scanline.predict.rules import Kind, Rule

NAMES: dict[Kind, str] = {
    "binary": "a classifier of one class",
    "multilabel": "a classifier of several labels",
    "multiclass": "a classifier of classes that exclude another",
    "detect": "a detector",
    "segment": "a segmentation network",
}
# By which an operating point of each kind is known; the digest of what it was fitted on, where there is one.
_KEYS: dict[str, Kind] = {
    "labels": "multilabel",
    "scores_sha256": "binary",
    "class_scores_sha256": "multiclass",
    "tables_sha256": "detect",
    "maps_sha256": "segment",
}


def read_rules(kind: Kind, classes: Sequence[str], path: Path | None, model: Path) -> dict[str, Rule]:
    """Read the rule of each class of a model.

    Where the model stands in a results folder, the digest of what the operating point was fitted on is compared with
    that of the model's own val predictions.

    Args:
        kind: Of the model's task.
        classes: Of the model.
        path: The operating_point.json that evaluation wrote; None takes 0.5 throughout, and warns.
        model: The model.pt.

    Returns:
        The rules by class.

    Raises:
        InputError: If the file is no operating point, is that of another kind of model or of other labels, or was
            fitted on the predictions of another model.
    """
    if path is None:
        if kind != "multiclass":
            logger.warning("no --operating-point: the threshold is 0.5, which nothing was fitted on")
        return _fixed_rules(kind, classes)
    _check_kind(path, kind)
    rules, digests = _read(kind, classes, path)
    _check_fitted_on(digests, kind, classes, path, model)
    return rules


def _fixed_rules(kind: Kind, classes: Sequence[str]) -> dict[str, Rule]:
    if kind == "segment":
        level = MaskThreshold("fixed", FIXED_LEVEL, FIXED_LEVEL / LEVELS, None, None, None, None, None)
        return {classes[0]: Rule(level.threshold, mask=level.predict)}
    if kind == "multiclass":
        return dict.fromkeys(classes, Rule(None))
    return dict.fromkeys(classes, Rule(NOTHING_FOUND if kind == "detect" else FIXED_THRESHOLD))


def _check_kind(path: Path, kind: Kind) -> None:
    values: Any = read_json(path)
    known = [name for key, name in _KEYS.items() if isinstance(values, dict) and key in values]
    if known != [kind]:
        raise InputError(
            path,
            found=f"the operating point of {NAMES[known[0]]}" if known else "no operating point",
            expected=f"that of {NAMES[kind]}, as the model is one",
            next_step="Give the operating_point.json of this model's evaluation.",
        )


def _read(kind: Kind, classes: Sequence[str], path: Path) -> tuple[dict[str, Rule], dict[str, str | None]]:
    """Rules, and digests of what they were fitted on, by class."""
    if kind == "detect":
        detector = read_detector_point(path)
        return dict.fromkeys(classes, Rule(detector.threshold)), dict.fromkeys(classes, detector.tables_sha256)
    if kind == "segment":
        level = read_mask_threshold(path)
        rule = Rule(level.threshold, mask=level.predict, min_predicted_pixels=_fewest_pixels(path, level))
        return {classes[0]: rule}, {classes[0]: level.maps_sha256}
    if kind == "multiclass":
        point = read_class_point(path)
        _check_classes(path, point.classes, classes)
        return dict.fromkeys(classes, Rule(None, point.calibrate)), dict.fromkeys(classes, point.class_scores_sha256)
    points: dict[str, OperatingPoint] = {}
    if kind == "binary":
        points[classes[0]] = read_operating_point(path)
    else:
        points = read_operating_points(path)
    _check_classes(path, points, classes)
    rules = {name: Rule(points[name].threshold, calibrate=points[name].calibrate) for name in classes}
    return rules, {name: points[name].scores_sha256 for name in classes}


def _check_classes(path: Path, found: Iterable[str], classes: Sequence[str]) -> None:
    if set(found) != set(classes):
        raise InputError(
            path,
            found=f"thresholds of {', '.join(found)}",
            expected=f"those of {', '.join(classes)}",
            next_step="Give the operating_point.json of this model's evaluation.",
        )


def _fewest_pixels(path: Path, level: MaskThreshold) -> int:
    """min_predicted_pixels of the evaluation that wrote this threshold: it stands in metrics.json beside it."""
    metrics = path.with_name("metrics.json")
    if metrics.exists():
        values = read_json(metrics)
        if values.get("operating_point_sha256") == level.sha256():
            return int(values["min_predicted_pixels"])
    logger.warning("no metrics.json of this threshold beside it: one predicted pixel makes an image positive")
    return 1


def _check_fitted_on(
    digests: dict[str, str | None], kind: Kind, classes: Sequence[str], path: Path, model: Path
) -> None:
    fitted = {name: digest for name, digest in digests.items() if digest is not None}
    folder = next((folder for folder in model.absolute().parents if folder.name == "models"), None)
    if not fitted or folder is None:
        return
    run = model.absolute().parent.relative_to(folder)
    own = _digests_of_run(kind, classes, folder.parent, run)
    if own is None:
        logger.info("%s has no predictions in %s to check the operating point against", model, folder.parent)
        return
    for name, digest in fitted.items():
        if digest != own[name]:
            raise InputError(
                path,
                found=f"an operating point fitted on other val predictions ({digest[:12]}...)",
                expected=f"one fitted on those of {model} ({own[name][:12]}...)",
                next_step=f"Give {folder.parent / 'metrics' / run / 'operating_point.json'}.",
            )


def _digests_of_run(kind: Kind, classes: Sequence[str], study: Path, run: Path) -> dict[str, str] | None:
    """Digests of the val predictions of a run, as operating points carry them; None where a file is not there."""
    predictions, record = study / "predictions" / run, study / "models" / run / "run.json"
    size = read_json(record).get("image_size_px") if record.exists() else None
    prepared = study / f"prepared/{size}px"
    files = {
        "detect": (
            predictions / "detections.parquet",
            predictions / "predicted.parquet",
            study / "curated/boxes.parquet",
        ),
        "segment": (
            predictions / "maps.npz",
            predictions / "maps.parquet",
            prepared / f"masks/{classes[0]}.npy",
            prepared / "pixels.parquet",
        ),
    }.get(kind, (predictions / "scores.parquet",))
    if not all(file.exists() for file in files):
        return None
    if kind == "detect":
        return dict.fromkeys(classes, _digest_of_boxes(classes, *files))
    if kind == "segment":
        return {classes[0]: _digest_of_masks(*files)}
    scores = read_table(files[0])
    val = scores[scores["subset"] == "val"]
    if kind == "multiclass":
        columns = [f"probability_{name}" for name in classes]
        values = val[columns].to_numpy(dtype="float64")
        return dict.fromkeys(classes, digest_of_class_scores(val["image_id"].tolist(), val["truth"].tolist(), values))
    if kind == "binary":
        return {classes[0]: _digest_of_class(val, "truth", "probability")}
    return {name: _digest_of_class(val, f"truth_{name}", f"probability_{name}") for name in classes}


def _digest_of_class(val: pd.DataFrame, truth: str, probability: str) -> str:
    known = val[val[truth].notna()]
    values = known[probability].to_numpy(dtype="float64")
    return digest_of_scores(known["image_id"].tolist(), known[truth].to_numpy(dtype=bool), values)


def _digest_of_boxes(classes: Sequence[str], detections: Path, predicted: Path, boxes: Path) -> str:
    found, looked_at, truth = read_table(detections), read_table(predicted), read_table(boxes, BOXES)
    images = looked_at.loc[looked_at["subset"] == "val", "image_id"]
    own = truth[truth["image_id"].isin(images) & truth["label"].isin(classes)]
    return digest_of_tables(images.tolist(), own, found[found["subset"] == "val"])


def _digest_of_masks(maps: Path, table: Path, masks: Path, index: Path) -> str:
    probability, truths = ProbabilityMaps(maps, table), read_truths(masks, index)
    val = probability.table.loc[probability.table["subset"] == "val", "image_id"]
    return digest_of_maps([name for name in val if truths[name] is not None], probability, truths, table)
