"""Evaluate a classifier of several labels: thresholds frozen on val, metrics with intervals, tables and curves.

Each label has its own operating point, fitted on the val images of which it is known and on nothing else. An unknown
entry is left out of its own label; the image still counts for its other labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from scanline.core.errors import InputError
from scanline.core.files import read_json
from scanline.core.privacy import pseudonym
from scanline.evaluate.activation_maps import Maps, measure_maps
from scanline.evaluate.classes import check_class_names
from scanline.evaluate.curves import CURVE_COLUMNS, curve_table
from scanline.evaluate.gap import measure_gap
from scanline.evaluate.inputs import Bools, Codes, Floats, as_clusters
from scanline.evaluate.localization import evaluate_localization
from scanline.evaluate.metadata import evaluate_columns, percent_in_boxes, subgroups_of
from scanline.evaluate.multilabel import MultilabelMetrics, evaluate_multilabel
from scanline.evaluate.multilabel_options import EvaluateMultilabelOptions
from scanline.evaluate.none_of_labels import evaluate_none_of_labels
from scanline.evaluate.operating_point import OperatingPoint, check_fitted_on, fit_operating_point
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.recalibration import METRICS as RECALIBRATION
from scanline.evaluate.reliability import evaluate_calibration
from scanline.evaluate.scores import SUBSETS, clustered_by, join_patients, name_clusters
from scanline.evaluate.subgroups import MetricsOf

GAP_METRICS = ("macro.auroc", "macro.f1", "exact_match")
SHOWN_METRICS = ("auroc", "recall", "specificity")  # of each label, by subgroup and in the gap
Points = Mapping[str, OperatingPoint]


@dataclass(frozen=True)
class MultilabelEvaluation:
    """What evaluation makes of a scores table of several labels.

    Attributes:
        metrics: The content of metrics.json.
        per_image: image_id, patient (pseudonym, null where unknown), subset, then for each label truth_<label> (null
            where unknown), probability_<label> (calibrated), predicted_<label>, outcome_<label> (TP, FP, FN, TN; null
            where the truth is), and where maps were measured pointing_hit_<label> and mass_inside_<label>.
        curves: label, subset, curve, x, y, threshold.
    """

    metrics: dict[str, Any]
    per_image: pd.DataFrame
    curves: pd.DataFrame


def check_multilabel_scores(scores: pd.DataFrame, labels: Sequence[str], where: str | Path) -> pd.DataFrame:
    """Check a scores table of several labels and put its rows in one order: by subset, then image.

    Args:
        scores: image_id, subset, and for each label probability_<label> and truth_<label> (null where unknown).
        labels: The labels.
        where: Its file, for messages.

    Returns:
        These columns; truth is boolean with nulls and probability float64.

    Raises:
        InputError: For a missing column, a repeated image, an unknown subset, an image of which no label is known, a
            probability that is not a finite number in [0, 1], or a test subset without images.
    """
    check_class_names(labels, "targets")
    columns = ["image_id", "subset", *(f"{kind}_{label}" for label in labels for kind in ("probability", "truth"))]
    missing = [name for name in columns if name not in scores]
    if missing:
        _refuse(f"{where}: columns", ", ".join(map(str, scores.columns)), f"{', '.join(missing)} as well")
    table = scores[columns].copy()
    table["image_id"] = table["image_id"].astype("str")
    _refuse_rows(table, table["image_id"].isna() | table["image_id"].duplicated(), where, "image_id", "each image once")
    _refuse_rows(table, ~table["subset"].isin(SUBSETS), where, "subset", f"one of {', '.join(SUBSETS)}")
    for label in labels:
        truth, probability = f"truth_{label}", f"probability_{label}"
        if not (is_bool_dtype(table[truth].dtype) or table[truth].isna().all()):
            _refuse(f"{where}: {truth}", f"values of type {table[truth].dtype}", "booleans, null where unknown")
        if not is_numeric_dtype(table[probability].dtype):
            _refuse(f"{where}: {probability}", f"values of type {table[probability].dtype}", "numbers")
        table[truth] = table[truth].astype("boolean")
        table[probability] = table[probability].astype("float64")
        outside = ~table[probability].between(0, 1)
        _refuse_rows(table, outside, where, probability, "a finite number from 0 to 1")
    nothing = table[[f"truth_{label}" for label in labels]].isna().all(axis=1)
    _refuse_rows(table, nothing, where, f"truth_{labels[0]}", "at least one known label in every row")
    if not (table["subset"] == "test").any():
        raise InputError(
            f"{where}: subset test",
            found="no images",
            expected="at least one image with a known label",
            next_step="Give the split a larger test share, or targets that are annotated on more images.",
        )
    rank = table["subset"].map({name: index for index, name in enumerate(SUBSETS)})
    order = np.lexsort((table["image_id"].to_numpy(dtype=object), rank.to_numpy()))
    return table.iloc[order].reset_index(drop=True)


def _refuse(where: str, found: str, expected: str) -> None:
    raise InputError(where, found=found, expected=expected, next_step="Delete this table and make it again.")


def _refuse_rows(table: pd.DataFrame, wrong: "pd.Series[bool]", where: object, column: str, expected: str) -> None:
    """Refuse the table if any row is wrong, naming the first such image and how many there are."""
    if not wrong.any():
        return
    first = table.loc[wrong].iloc[0]
    value = "null" if pd.isna(first[column]) else str(first[column])
    more = f" (and {int(wrong.sum()) - 1} more)" if wrong.sum() > 1 else ""
    _refuse(f"{where}: image {first['image_id']}: {column}", f"{value}{more}", expected)


def fit_labels_on_val(
    scores: pd.DataFrame, options: EvaluateMultilabelOptions, where: str | Path = "scores table"
) -> dict[str, OperatingPoint]:
    """Fit each label's operating point on its known val rows, the only ones that it looks at.

    Args:
        scores: As `check_multilabel_scores` takes them.
        options: The labels and the rule of the thresholds.
        where: The scores' file, for messages.

    Raises:
        InputError: For scores that do not fit, and for what `fit_operating_point` refuses, naming the label.
    """
    table = check_multilabel_scores(scores, options.targets, where)
    points = {}
    for label in options.targets:
        image_ids, truth, probability = _known(table[table["subset"] == "val"], label)
        points[label] = fit_operating_point(
            options.evaluate, image_ids, truth, probability, where=f"{where}: label {label}"
        )
    return points


def points_as_json(points: Points) -> dict[str, Any]:
    """The content of operating_point.json of several labels: under `labels`, one record a label."""
    return {"labels": {label: point.as_json() for label, point in points.items()}}


def read_operating_points(path: Path) -> dict[str, OperatingPoint]:
    """Read an operating_point.json of several labels.

    Raises:
        InputError: If the file is missing, no JSON, or holds no such records.
    """
    values: Any = read_json(path)
    records = values.get("labels") if isinstance(values, dict) else None
    fields = set(OperatingPoint.__dataclass_fields__)
    if not isinstance(records, dict) or any(set(record) != fields for record in records.values()):
        raise InputError(
            path,
            found=f"the keys {', '.join(sorted(values))}" if isinstance(values, dict) else type(values).__name__,
            expected=f"labels, and to each one a record of {', '.join(sorted(fields))}",
            next_step=f"Make it again: snakemake {path}",
        )
    return {label: OperatingPoint(**record) for label, record in records.items()}


def read_label_maps(path: Path, labels: Sequence[str]) -> dict[str, Maps]:
    """Read the maps that prediction kept: to each label image_id to an array of shape (h, w), from 0 to 1.

    Args:
        path: .npz with the arrays `image_id`, `label` and `cam` of shape (images, labels, h, w); without images for
            networks that have no map.
        labels: The labels that it has to hold, in this order.

    Raises:
        InputError: If the file is missing, no such archive, or of other labels.
    """
    try:
        with np.load(path) as maps:
            names, image_ids, cams = maps["label"].tolist(), maps["image_id"].tolist(), maps["cam"]
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise InputError(
            path,
            found=str(error),
            expected="an archive with the arrays image_id, label and cam",
            next_step=f"Make it again: snakemake {path}",
        ) from error
    if names != list(labels):
        raise InputError(
            f"{path}: label",
            found=", ".join(names),
            expected=", ".join(labels),
            next_step=f"Delete it and make it again: snakemake {path}",
        )
    return {label: dict(zip(image_ids, cams[:, column], strict=True)) for column, label in enumerate(labels)}


def evaluate_multilabel_classifier(
    scores: pd.DataFrame,
    images: pd.DataFrame,
    boxes: pd.DataFrame,
    maps: Mapping[str, Maps],
    options: EvaluateMultilabelOptions,
    points: Points,
    where: str | Path = "scores table",
) -> MultilabelEvaluation:
    """Apply frozen operating points and measure every subset with them.

    Args:
        scores: As `check_multilabel_scores` takes them.
        images: image_id, patient_id, width and height at least, and group_id from `join_groups`.
        boxes: Boxes table; a label's boxes score its maps.
        maps: From `read_label_maps`; none for networks that have none.
        options: Labels, intervals, salt of the pseudonyms.
        points: Fitted on the val rows of these scores: their digests are compared.
        where: The scores' file, for messages.

    Raises:
        InputError: For scores that do not fit, or operating points of other labels or fitted on other scores.
    """
    labels, scoring = options.targets, options.evaluate
    table = join_patients(check_multilabel_scores(scores, labels, where), images, where)
    _check_points(table, points, labels)
    points = {label: points[label] for label in labels}
    table = table.assign(
        **{f"probability_{label}": points[label].calibrate(_column(table, "probability", label)) for label in labels}
    )
    localized = {label: _measure_label_maps(table, maps.get(label, {}), images, boxes, label) for label in labels}
    parts = {name: table[table["subset"] == name] for name in SUBSETS if (table["subset"] == name).any()}
    metrics = {
        "labels": list(labels),
        "thresholds": {label: points[label].threshold for label in labels},
        "threshold_rule": scoring.operating_point,
        "threshold_target": scoring.target,
        "threshold_from": points[labels[0]].subset or "configuration",
        "temperatures": {label: points[label].temperature for label in labels},
        "operating_point_sha256": {label: points[label].sha256() for label in labels},
        "interval": {
            "level": scoring.confidence_level,
            "resamples": scoring.bootstrap_resamples,
            "clustered_by": clustered_by(parts["test"]["patient_id"], parts["test"]["cluster"]),
            "method": scoring.interval_method,
            "stratified": scoring.stratified,
        },
        "subsets": {name: measure_labels(part, points, scoring, name) for name, part in parts.items()},
        "localization": {
            name: {label: _localization(localized[label], label, scoring, name) for label in labels} for name in parts
        },
        "subgroups": {
            name: measure_multilabel_subgroups(part, images, boxes, points, scoring, name)
            for name, part in parts.items()
            if name != "val"
        },
        "gap": measure_multilabel_gap(parts, points, scoring),
    }
    curves = [
        curve_table(name, *_known(part, label)[1:]).assign(label=label)
        for label in labels
        for name, part in parts.items()
    ]
    per_image = per_image_labels(table, points, localized, options.patient_salt)
    return MultilabelEvaluation(metrics, per_image, pd.concat(curves, ignore_index=True)[["label", *CURVE_COLUMNS]])


def _check_points(table: pd.DataFrame, points: Points, labels: Sequence[str]) -> None:
    if set(points) != set(labels):
        raise InputError(
            "operating point",
            found=f"the labels {', '.join(points)}",
            expected=", ".join(labels),
            next_step="Fit the operating points on these scores: delete the file and make it again.",
        )
    val = table[table["subset"] == "val"]
    for label in labels:
        check_fitted_on(points[label], *_known(val, label), where=f"operating point: label {label}")


def measure_labels(table: pd.DataFrame, points: Points, options: EvaluateOptions, subset: str) -> dict[str, Any]:
    """All metrics of one subset, each with its interval.

    Args:
        table: image_id, patient_id, cluster, and for each label its truth and calibrated probability; at least one row.
        points: Frozen, in the labels' order.
        options: Of the intervals.
        subset: Its name; each subset is resampled independently.

    Returns:
        The subset's part of metrics.json: that of `evaluate_multilabel`, "clustered_by", "confusion" (tp, fp, fn, tn
        of each label), "known_together" (images of which two labels are both known, in the labels' order) and
        "calibration" of each label (null without a known image) with the reliability curve and the recalibration, and
        "none_of_labels", see `evaluate_none_of_labels`.
    """
    labels, patients = list(points), table["patient_id"]
    truth, probability = _matrix(table, "truth", labels), _matrix(table, "probability", labels)
    thresholds = {label: point.threshold for label, point in points.items()}
    known = (~np.isnan(truth)).astype(np.int64)
    return {
        **evaluate_multilabel(
            truth,
            probability,
            labels,
            thresholds=thresholds,
            patients=patients,
            clusters=table["cluster"],
            prevalence=options.prevalence,
            options=options,
            stream=("evaluate_multilabel", subset),
        ),
        "clustered_by": clustered_by(patients, table["cluster"]),
        "confusion": {label: _count_outcomes(table, label, threshold) for label, threshold in thresholds.items()},
        "known_together": (known.T @ known).tolist(),
        "calibration": {label: _calibration(table, label, options) for label in labels},
        "none_of_labels": evaluate_none_of_labels(
            truth,
            probability,
            thresholds,
            patients=patients,
            clusters=table["cluster"],
            options=options,
            stream=("none_of_labels", subset),
        ),
    }


def _count_outcomes(table: pd.DataFrame, label: str, threshold: float) -> dict[str, int]:
    _, truth, probability = _known(table, label)
    predicted = probability >= threshold
    return {
        "tp": int((truth & predicted).sum()),
        "fp": int((~truth & predicted).sum()),
        "fn": int((truth & ~predicted).sum()),
        "tn": int((~truth & ~predicted).sum()),
    }


def _calibration(table: pd.DataFrame, label: str, options: EvaluateOptions) -> dict[str, Any] | None:
    rows = table[table[f"truth_{label}"].notna()]
    if rows.empty:
        return None
    _, truth, probability = _known(rows, label)
    found = evaluate_calibration(truth, probability, patients=rows["cluster"], options=options)
    kept = {key: found[key] for key in ("bins", "binning", "reliability")}
    return kept | {"metrics": {name: found["metrics"][name] for name in RECALIBRATION}}


def _of_each_label(metrics: MultilabelMetrics) -> dict[str, tuple[MultilabelMetrics, str]]:
    """SHOWN_METRICS as "<label>.<metric>": where `metrics` holds them."""
    return {
        f"{label}.{name}": (metrics, f"per_class.{label}.{name}") for label in metrics.labels for name in SHOWN_METRICS
    }


def _measure(table: pd.DataFrame, points: Points, clusters: Codes) -> MultilabelMetrics:
    truth, probability = _matrix(table, "truth", points), _matrix(table, "probability", points)
    limits = np.array([point.threshold for point in points.values()])
    return MultilabelMetrics(truth, probability >= limits, probability, list(points), clusters)


def measure_multilabel_subgroups(
    table: pd.DataFrame,
    images: pd.DataFrame,
    boxes: pd.DataFrame,
    points: Points,
    options: EvaluateOptions,
    subset: str,
) -> list[dict[str, Any]]:
    """SHOWN_METRICS of each label by subgroup, for each column of the options that tells at least two apart.

    Args:
        table: image_id, patient_id, cluster, truths and calibrated probabilities of one subset.
        images: Images table.
        boxes: Boxes table: the area of the boxes of labels is an image's size of lesion, of labels that have any.
        points: Frozen, in the labels' order.
        options: Of subgroups and intervals.
        subset: Its name.

    Returns:
        What `evaluate_columns` makes, in the options' order; an image with any label counts as positive.
    """
    boxed = [label for label in points if (boxes["label"] == label).any()]
    boxes = boxes[boxes["label"].isin(boxed)]
    image_ids = table["image_id"].tolist()
    percent = percent_in_boxes(image_ids, images, boxes, _any_of(table, boxed))

    def measure(rows: Codes, clusters: Codes) -> MetricsOf:
        return MetricsOf(_of_each_label(_measure(table.iloc[rows], points, clusters)))

    return evaluate_columns(
        subgroups_of(image_ids, images, options.subgroups, options.age_edges_years, percent),
        measure,
        patients=table["patient_id"],
        clusters=as_clusters(table["cluster"], len(table)),
        positive=_any_of(table, list(points)),
        options=options,
        stream=("evaluate_multilabel", subset),
    )


def _any_of(table: pd.DataFrame, labels: Sequence[str]) -> "pd.Series[bool]":
    """Whether any of the labels is there: null where none is known to be and one is unknown; shape (images,)."""
    truths = table[[f"truth_{label}" for label in labels]].astype("boolean").reset_index(drop=True)
    there = truths.fillna(False).any(axis=1)
    return there.astype("boolean").mask(~there & (truths.isna().any(axis=1) | (len(labels) == 0)))


def measure_multilabel_gap(
    parts: Mapping[str, pd.DataFrame], points: Points, options: EvaluateOptions
) -> dict[str, Any] | None:
    """Test minus external for GAP_METRICS and each label's SHOWN_METRICS, with intervals; None without both subsets.

    Args:
        parts: Subset to its clusters, truths and calibrated probabilities.
        points: Frozen, in the labels' order.
        options: Of the intervals.
    """
    if not {"test", "external"} <= set(parts):
        return None
    sides = []
    for name in ("test", "external"):
        clusters = as_clusters(parts[name]["cluster"], len(parts[name]))
        measure = _measure(parts[name], points, clusters)
        chosen = {key: (measure, key) for key in GAP_METRICS} | _of_each_label(measure)
        sides.append((MetricsOf(chosen), measure.clusters))
    gap = measure_gap(*sides[0], *sides[1], options, "evaluate_multilabel", "gap")
    return {name: value.as_json() for name, value in gap.items()}


def _measure_label_maps(
    table: pd.DataFrame, maps: Maps, images: pd.DataFrame, boxes: pd.DataFrame, label: str
) -> pd.DataFrame:
    """`measure_maps` of one label on the images where it is known."""
    rows = table.loc[table[f"truth_{label}"].notna(), ["image_id", "cluster", "subset"]]
    rows = rows.rename(columns={"cluster": "patient_id"})
    truth = table.loc[rows.index, f"truth_{label}"].astype(bool)
    return measure_maps(rows.assign(truth=truth), maps, images, boxes[boxes["label"] == label])


def _localization(localized: pd.DataFrame, label: str, options: EvaluateOptions, subset: str) -> dict[str, Any] | None:
    rows = localized[localized["subset"] == subset]
    return evaluate_localization(rows, options, stream=f"{subset}.{label}") if len(rows) else None


def per_image_labels(
    table: pd.DataFrame, points: Points, localized: Mapping[str, pd.DataFrame], salt: str
) -> pd.DataFrame:
    """The table of single images: pseudonyms instead of patient ids, and each label's outcome."""
    pseudonyms = {patient: pseudonym(patient, salt) for patient in table["patient_id"].dropna().unique()}
    columns: dict[str, Any] = {
        "image_id": table["image_id"],
        "patient": table["patient_id"].map(pseudonyms).astype("str"),
        "cluster": name_clusters(table["cluster"], salt),
        "subset": table["subset"].astype("str"),
    }
    for label, point in points.items():
        truth, probability = table[f"truth_{label}"], _column(table, "probability", label)
        predicted = probability >= point.threshold
        correct = np.where(truth.fillna(False).to_numpy(dtype=bool) == predicted, "T", "F")
        outcome = pd.Series(np.char.add(correct, np.where(predicted, "P", "N")), index=table.index, dtype="str")
        columns[f"truth_{label}"] = truth
        columns[f"probability_{label}"] = probability
        columns[f"predicted_{label}"] = predicted
        columns[f"outcome_{label}"] = outcome.where(truth.notna(), None)
        if len(localized[label]):
            measured = localized[label].set_index("image_id")
            for name in ("pointing_hit", "mass_inside"):
                columns[f"{name}_{label}"] = table["image_id"].map(measured[name])
    return pd.DataFrame(columns)


def _known(table: pd.DataFrame, label: str) -> tuple[list[str], Bools, Floats]:
    """Image ids, truths and probabilities of the rows where a label is known."""
    rows = table[table[f"truth_{label}"].notna()]
    truth = rows[f"truth_{label}"].to_numpy(dtype=bool)
    return rows["image_id"].tolist(), truth, _column(rows, "probability", label)


def _column(table: pd.DataFrame, kind: str, label: str) -> Floats:
    return table[f"{kind}_{label}"].to_numpy(dtype=np.float64, na_value=np.nan)


def _matrix(table: pd.DataFrame, kind: str, labels: Mapping[str, Any] | Sequence[str]) -> Floats:
    """Shape (images, labels)."""
    return np.stack([_column(table, kind, label) for label in labels], axis=1)
