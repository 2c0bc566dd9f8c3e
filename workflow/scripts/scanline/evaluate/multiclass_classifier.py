"""Evaluate a classifier of classes that exclude another: metrics with intervals, confusions, tables and curves.

Each image is predicted to be of its most probable class. Intervals are clustered by patient; where an image does not
tell its patient, by the split's groups, which hold all images that belong together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from scanline.core.errors import InputError
from scanline.core.privacy import pseudonym
from scanline.evaluate.activation_maps import Maps, measure_maps
from scanline.evaluate.class_temperature import ClassPoint, check_class_point, fit_class_point
from scanline.evaluate.classes import as_class_codes, check_class_names, count_patients
from scanline.evaluate.curves import CURVE_COLUMNS, curve_table
from scanline.evaluate.gap import measure_gap
from scanline.evaluate.inputs import Codes, Floats, as_clusters
from scanline.evaluate.localization import evaluate_localization
from scanline.evaluate.metadata import evaluate_columns, percent_in_boxes, subgroups_of
from scanline.evaluate.multiclass import MulticlassMetrics, as_class_probabilities, evaluate_multiclass
from scanline.evaluate.multiclass_options import EvaluateMulticlassOptions
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.reliability import evaluate_calibration
from scanline.evaluate.scores import SUBSETS, clustered_by, join_patients, name_clusters
from scanline.evaluate.subgroups import MetricsOf

WHOLE_METRICS = ("accuracy", "macro.f1", "macro.auroc")  # by subgroup and in the gap
CLASS_METRICS = ("recall", "precision", "f1", "auroc")  # of each class, in the gap


@dataclass(frozen=True)
class MulticlassEvaluation:
    """What evaluation makes of a scores table of several classes.

    Attributes:
        metrics: The content of metrics.json.
        per_image: image_id, patient (pseudonym, null where unknown), cluster (what intervals draw together), subset,
            truth, predicted (names of classes), correct, probability (of the predicted class), probability_<class>
            (calibrated), and where maps were measured pointing_hit and mass_inside (of the true class's map).
        curves: label (one class against the rest), subset, curve, x, y, threshold.
    """

    metrics: dict[str, Any]
    per_image: pd.DataFrame
    curves: pd.DataFrame


def check_multiclass_scores(scores: pd.DataFrame, classes: Sequence[str], where: str | Path) -> pd.DataFrame:
    """Check a scores table of several classes and put its rows in one order: by subset, then image.

    Args:
        scores: image_id, subset, truth (the name of a class), and probability_<class> of each.
        classes: The classes.
        where: Its file, for messages.

    Returns:
        These columns; the probabilities are float64.

    Raises:
        InputError: For a missing column, a repeated image, an unknown subset or class, probabilities that are not
            from 0 to 1 or do not sum to 1, or a test subset without images.
    """
    names = check_class_names(classes, "targets", at_least=2)
    columns = ["image_id", "subset", "truth", *_probabilities(names)]
    missing = [name for name in columns if name not in scores]
    if missing:
        _refuse(f"{where}: columns", ", ".join(map(str, scores.columns)), f"{', '.join(missing)} as well")
    table = scores[columns].copy()
    table["image_id"], table["truth"] = table["image_id"].astype("str"), table["truth"].astype("str")
    _refuse_rows(table, table["image_id"].isna() | table["image_id"].duplicated(), where, "image_id", "each image once")
    _refuse_rows(table, ~table["subset"].isin(SUBSETS), where, "subset", f"one of {', '.join(SUBSETS)}")
    _refuse_rows(table, ~table["truth"].isin(names), where, "truth", f"one of {', '.join(names)}")
    for name in _probabilities(names):
        if not is_numeric_dtype(table[name].dtype):
            _refuse(f"{where}: {name}", f"values of type {table[name].dtype}", "numbers")
    table[_probabilities(names)] = as_class_probabilities(
        table[_probabilities(names)].to_numpy(dtype=np.float64, na_value=np.nan), names, f"{where}: probability"
    )
    if not (table["subset"] == "test").any():
        raise InputError(
            f"{where}: subset test",
            found="no images",
            expected="at least one image of a known class",
            next_step="Give the split a larger test share, or targets that are annotated on more images.",
        )
    rank = table["subset"].map({name: index for index, name in enumerate(SUBSETS)})
    order = np.lexsort((table["image_id"].to_numpy(dtype=object), rank.to_numpy()))
    return table.iloc[order].reset_index(drop=True)


def _probabilities(classes: Sequence[str]) -> list[str]:
    return [f"probability_{name}" for name in classes]


def _refuse(where: str, found: str, expected: str) -> None:
    raise InputError(where, found=found, expected=expected, next_step="Delete this table and make it again.")


def _refuse_rows(table: pd.DataFrame, wrong: "pd.Series[bool]", where: object, column: str, expected: str) -> None:
    """Refuse the table if any row is wrong, naming the first such image and how many there are."""
    if wrong.any():
        first = table.loc[wrong].iloc[0]
        value = "null" if pd.isna(first[column]) else str(first[column])
        more = f" (and {int(wrong.sum()) - 1} more)" if wrong.sum() > 1 else ""
        _refuse(f"{where}: image {first['image_id']}: {column}", f"{value}{more}", expected)


def fit_classes_on_val(
    scores: pd.DataFrame, options: EvaluateMulticlassOptions, where: str | Path = "scores table"
) -> ClassPoint:
    """Fit the temperature on the val rows of a scores table, the only ones that it looks at, if options ask for one.

    Args:
        scores: As `check_multiclass_scores` takes them.
        options: The classes, and whether to fit a temperature.
        where: The scores' file, for messages.

    Raises:
        InputError: For scores that do not fit, and for what `fit_class_point` refuses.
    """
    table = check_multiclass_scores(scores, options.targets, where)
    scaling = options.evaluate.temperature_scaling
    return fit_class_point(
        options.targets, *_val_scores(table, options.targets), temperature_scaling=scaling, where=where
    )


def _val_scores(table: pd.DataFrame, classes: Sequence[str]) -> tuple[list[str], list[str], Floats]:
    val = table[table["subset"] == "val"]
    return val["image_id"].tolist(), val["truth"].tolist(), _matrix(val, classes)


def _matrix(table: pd.DataFrame, classes: Sequence[str]) -> Floats:
    """Shape (images, classes)."""
    return table[_probabilities(classes)].to_numpy(dtype=np.float64)


def evaluate_multiclass_classifier(
    scores: pd.DataFrame,
    images: pd.DataFrame,
    boxes: pd.DataFrame,
    maps: Mapping[str, Maps],
    options: EvaluateMulticlassOptions,
    point: ClassPoint,
    where: str | Path = "scores table",
) -> MulticlassEvaluation:
    """Apply the frozen temperature and measure every subset.

    Args:
        scores: As `check_multiclass_scores` takes them.
        images: image_id, patient_id, width and height at least, and group_id from `join_groups`.
        boxes: Boxes table; a class's boxes score its maps.
        maps: By class, from `read_label_maps`; none for networks that have none.
        options: Classes, intervals, salt of the pseudonyms.
        point: Fitted on the val rows of these scores: digests are compared.
        where: The scores' file, for messages.

    Raises:
        InputError: For scores that do not fit, or a temperature fitted on others.
    """
    classes, scoring = options.targets, options.evaluate
    table = join_patients(check_multiclass_scores(scores, classes, where), images, where)
    check_class_point(point, classes, *_val_scores(table, classes))
    table[_probabilities(classes)] = point.calibrate(_matrix(table, classes))
    table["predicted"] = np.array(classes, dtype=object)[_matrix(table, classes).argmax(axis=1)]
    localized = _measure_class_maps(table, maps, images, boxes, classes)
    parts = {name: table[table["subset"] == name] for name in SUBSETS if (table["subset"] == name).any()}
    metrics = {
        "labels": list(classes),
        "threshold_rule": point.rule,
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
        "subsets": {name: measure_classes(part, classes, scoring, name) for name, part in parts.items()},
        "localization": {
            name: evaluate_localization(rows, scoring, stream=name) if len(rows) else None
            for name, rows in ((name, localized[localized["subset"] == name]) for name in parts)
        },
        "subgroups": {
            name: measure_multiclass_subgroups(part, images, boxes, classes, scoring, name)
            for name, part in parts.items()
            if name != "val"
        },
        "gap": measure_multiclass_gap(parts, classes, scoring),
    }
    curves = [
        curve_table(name, (part["truth"] == label).to_numpy(), _matrix(part, [label])[:, 0]).assign(label=label)
        for label in classes
        for name, part in parts.items()
    ]
    per_image = per_image_classes(table, classes, localized, options.patient_salt)
    return MulticlassEvaluation(metrics, per_image, pd.concat(curves, ignore_index=True)[["label", *CURVE_COLUMNS]])


def measure_classes(
    table: pd.DataFrame, classes: Sequence[str], options: EvaluateOptions, subset: str
) -> dict[str, Any]:
    """All metrics of one subset, each with its interval.

    Args:
        table: image_id, patient_id, cluster, truth, predicted and calibrated probabilities; at least one row.
        classes: In the order of the columns.
        options: Of the intervals.
        subset: Its name; each subset is resampled independently.

    Returns:
        The subset's part of metrics.json: that of `evaluate_multiclass`, "clustered_by", "confused" (see
        `confused_pairs`), and "calibration": how often the most probable class is right against its probability.
    """
    probability, clusters = _matrix(table, classes), _clusters(table)
    measured = evaluate_multiclass(
        table["truth"].tolist(),
        probability,
        classes,
        patients=table["cluster"],
        options=options,
        stream=("evaluate_multiclass", subset),
    )
    correct = (table["truth"] == table["predicted"]).to_numpy()
    calibration = evaluate_calibration(correct, probability.max(axis=1), patients=table["cluster"], options=options)
    return {
        **measured,
        **count_patients(table["patient_id"], clusters),
        "clustered_by": clustered_by(table["patient_id"], table["cluster"]),
        "confused": confused_pairs(np.array(measured["confusion"]), classes),
        "per_class": {label: {**values, "images": len(table)} for label, values in measured["per_class"].items()},
        "calibration": {key: calibration[key] for key in ("bins", "binning", "reliability")},
    }


def _clusters(table: pd.DataFrame) -> Codes:
    return as_clusters(table["cluster"], len(table))


def confused_pairs(confusion: np.ndarray[Any, Any], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Pairs of classes by how many of their images are taken for the other, most confused first.

    Args:
        confusion: Images by true class (rows) and predicted class (columns), shape (classes, classes).
        classes: Names.

    Returns:
        For each pair with an error: "classes" (two names), "images" (taken for the other, both ways), "share" (of the
        images of both), "first_as_second" and "second_as_first".
    """
    totals = confusion.sum(axis=1)
    pairs = [
        {
            "classes": [classes[first], classes[second]],
            "images": int(confusion[first, second] + confusion[second, first]),
            "share": float(
                (confusion[first, second] + confusion[second, first]) / max(1, totals[first] + totals[second])
            ),
            "first_as_second": int(confusion[first, second]),
            "second_as_first": int(confusion[second, first]),
        }
        for first in range(len(classes))
        for second in range(first + 1, len(classes))
    ]
    found = [pair for pair in pairs if pair["images"]]
    return sorted(found, key=lambda pair: (-pair["images"], pair["classes"]))


def _measure(table: pd.DataFrame, classes: Sequence[str], clusters: Codes) -> MulticlassMetrics:
    truth, predicted = (as_class_codes(table[name].tolist(), classes, name) for name in ("truth", "predicted"))
    return MulticlassMetrics(truth, predicted, _matrix(table, classes), classes, clusters)


def measure_multiclass_subgroups(
    table: pd.DataFrame,
    images: pd.DataFrame,
    boxes: pd.DataFrame,
    classes: Sequence[str],
    options: EvaluateOptions,
    subset: str,
) -> list[dict[str, Any]]:
    """WHOLE_METRICS by subgroup, for each column of the options that tells at least two apart.

    Args:
        table: image_id, patient_id, cluster, truth, predicted and calibrated probabilities of one subset.
        images: Images table.
        boxes: Boxes table: the area of the boxes of the image's class is its size of lesion.
        classes: In the order of the columns.
        options: Of subgroups and intervals.
        subset: Its name.

    Returns:
        What `evaluate_columns` makes, in the options' order; an image of another than the first class counts as
        positive.
    """
    image_ids = table["image_id"].tolist()
    boxed = boxes[boxes["label"].isin(classes)]
    has_boxes = table["truth"].isin(boxed["label"].unique()).reset_index(drop=True)
    percent = percent_in_boxes(image_ids, images, boxed, has_boxes)

    def measure(rows: Codes, clusters: Codes) -> MetricsOf:
        metrics = _measure(table.iloc[rows], classes, clusters)
        return MetricsOf({name: (metrics, name) for name in WHOLE_METRICS})

    return evaluate_columns(
        subgroups_of(image_ids, images, options.subgroups, options.age_edges_years, percent),
        measure,
        patients=table["patient_id"],
        clusters=_clusters(table),
        positive=(table["truth"] != classes[0]).reset_index(drop=True),
        options=options,
        stream=("evaluate_multiclass", subset),
    )


def measure_multiclass_gap(
    parts: Mapping[str, pd.DataFrame], classes: Sequence[str], options: EvaluateOptions
) -> dict[str, Any] | None:
    """Test minus external for WHOLE_METRICS and each class's CLASS_METRICS, with intervals; None without both.

    Args:
        parts: Subset to its clusters, truths, predicted classes and calibrated probabilities.
        classes: In the order of the columns.
        options: Of the intervals.
    """
    if not {"test", "external"} <= set(parts):
        return None
    sides = []
    for name in ("test", "external"):
        metrics = _measure(parts[name], classes, _clusters(parts[name]))
        chosen = {key: (metrics, key) for key in WHOLE_METRICS}
        chosen |= {
            f"{label}.{key}": (metrics, f"per_class.{label}.{key}") for label in classes for key in CLASS_METRICS
        }
        sides.append((MetricsOf(chosen), metrics.clusters))
    gap = measure_gap(*sides[0], *sides[1], options, "evaluate_multiclass", "gap")
    return {name: value.as_json() for name, value in gap.items()}


def _measure_class_maps(
    table: pd.DataFrame, maps: Mapping[str, Maps], images: pd.DataFrame, boxes: pd.DataFrame, classes: Sequence[str]
) -> pd.DataFrame:
    """`measure_maps` of each image's map of its true class against the boxes of that class."""
    found = []
    for label in classes:
        own = table[table["truth"] == label]
        rows = own[["image_id", "subset"]].assign(patient_id=own["cluster"], truth=True)
        found.append(measure_maps(rows, maps.get(label, {}), images, boxes[boxes["label"] == label]))
    return pd.concat(found, ignore_index=True)


def per_image_classes(table: pd.DataFrame, classes: Sequence[str], localized: pd.DataFrame, salt: str) -> pd.DataFrame:
    """The table of single images: pseudonyms instead of patient ids, and whether the class is right."""
    pseudonyms = {patient: pseudonym(patient, salt) for patient in table["patient_id"].dropna().unique()}
    rows = pd.DataFrame(
        {
            "image_id": table["image_id"],
            "patient": table["patient_id"].map(pseudonyms).astype("str"),
            "cluster": name_clusters(table["cluster"], salt),
            "subset": table["subset"].astype("str"),
            "truth": table["truth"].astype("str"),
            "predicted": table["predicted"].astype("str"),
            "correct": table["truth"] == table["predicted"],
            "probability": _matrix(table, classes).max(axis=1),
        }
    )
    rows = pd.concat([rows, table[_probabilities(classes)]], axis=1)
    if len(localized):
        rows = rows.merge(localized[["image_id", "pointing_hit", "mass_inside"]], on="image_id", how="left")
    return rows
