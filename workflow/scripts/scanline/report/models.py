"""One trained model in a report: its tables, figures and facts, by the kind of its task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanline.figures.numbers import (
    format_count,
    format_difference,
    format_metric,
    format_share,
    format_value,
    spell,
)
from scanline.report.ensemble import describe_ensemble
from scanline.report.headline import Cell, anchor_of, count_images
from scanline.report.kinds import AVERAGE_PRECISIONS, KINDS, look_up
from scanline.report.options import ReportedRun
from scanline.report.page import Picture, embed_png
from scanline.report.training import describe_training
from scanline.report.volumes import FROC, FROC_PLACE, PLACE, describe_volumes
from scanline.report.volumes import METRICS as VOLUME_METRICS
from scanline.report.words import explain_localization, name_threshold

SUBSETS = ("val", "test", "external")
METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "precision": "Precision",
    "recall": "Sensitivity (recall)",
    "specificity": "Specificity",
    "f1": "F1",
    "npv": "Negative predictive value",
    "mcc": "Matthews correlation",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "brier": "Brier score (lower is better)",
    "log_loss": "Log loss (lower is better)",
    "ece": "Expected calibration error (lower is better)",
    "ppv_at_prevalence": "Positive predictive value at the stated prevalence",
    "npv_at_prevalence": "Negative predictive value at the stated prevalence",
}
CALIBRATION = {
    "calibration_slope": "Calibration slope (1 is best)",
    "calibration_in_the_large": "Calibration in the large (0 is best)",
}
SUBGROUP_METRICS = {  # columns of the tables of subgroups; of several labels, each has these
    "binary": ("recall", "specificity", "auroc"),
    "multilabel": ("auroc",),
    "multiclass": ("accuracy", "f1", "auroc"),
    "detect": (
        *AVERAGE_PRECISIONS,
        "sensitivity",
        "false_positives_per_image",
        "image_sensitivity",
        "image_specificity",
    ),
    "segment": ("dice", "pooled_dice", "sensitivity", "specificity", "image_accuracy"),
}
SUBGROUPS = {"age_years": "age", "lesion_size": "size of the lesion"}
DETECTION = {
    "ap_50_95": "AP, mean over IoU 0.5 to 0.95",
    **{name: title for name, title in AVERAGE_PRECISIONS.items() if name != "ap_50_95"},
    "ap_small": "AP of small boxes",
    "ap_medium": "AP of medium boxes",
    "ap_large": "AP of large boxes",
    "ar_100": "AR with 100 detections",
}
LESIONS = {
    "recall": "Share of the boxes found",
    "precision": "Share of the detections that are right",
    "f1": "F1 of boxes",
    "false_positives_per_image": "False detections an image",
    "false_positives_per_negative_image": "False detections an image without a box",
}
CASES = {"sensitivity": "sensitivity", "specificity": "specificity", "auroc": "AUROC"}
SEGMENTATION = {
    "per_image": ("dice_mean", "dice_median", "iou_mean", "sensitivity_mean", "hd95_mean", "surface_dice_mean"),
    "per_patient": ("dice_mean", "dice_median"),
    "pooled": ("dice", "iou", "sensitivity", "specificity", "precision"),
    "empty_true": ("share_with_predicted_pixels", "predicted_pixels_mean"),
    "image_level": ("accuracy", "sensitivity", "specificity", "f1"),
    "lesions": ("sensitivity", "precision", "false_positives_per_image"),
}
PARTS = {
    "per_image": "images with lesion",
    "per_patient": "patients, their pixels together",
    "pooled": "all pixels together",
    "empty_true": "images without lesion",
    "image_level": "lesion on the image, from the predicted mask",
    "lesions": "single lesions",
}
SPELLED = {"hd95": "HD95", "iou": "IoU", "dice": "Dice", "f1": "F1"}
CAPTIONS = {
    "loss": "Loss by epoch; the weights of the marked epoch were kept.",
    "training": "Loss and quality on val by epoch; the weights of the marked epoch were kept.",
    "roc": "ROC curves; diamonds mark the frozen threshold.",
    "precision_recall": "Precision and recall.",
    "confusion": "Confusion matrix: counts, and shares of each true class.",
    "calibration": "Calibration: on the dotted line probabilities are what they say. Lines are intervals over patients;"
    " larger points hold more images.",
    "areas": "AUROC of each label or class with its interval.",
    "errors_together": "Images on which two labels are wrong together.",
    "froc": "FROC: share of the boxes found against false detections an image.",
    "volume_roc": "ROC of volumes, told by the boxes on their slices; diamonds mark the threshold frozen on val.",
    "volume_froc": "FROC by volume: share of the boxes, and of the volumes, found against false detections a volume.",
    "dice": "Dice of single images and patients.",
    "pixel_confusion": "Pixels of known masks: counts, and shares of each true class.",
    "image_confusion": "Is there a lesion on the image, told by the predicted mask.",
    "overlays": "True outlines beside predicted ones: best, typical, worst, missed, false alarm.",
    "examples": "Examples, right and wrong, one a patient while there are others.",
}
GRAD_CAM = " Grad-CAM shows where the network found evidence; it is a coarse map, no outline of a finding."
EXAMPLES = ("examples", "overlays")
TRAINING = ("loss", "training")
MEMBER_LOSSES = "Loss on val of each member, by epoch; the weights of the marked epochs were kept."
MOST_CONFUSED = 5  # pairs of classes in the table


@dataclass(frozen=True)
class Line:
    """One row of a table.

    Attributes:
        name: Its head.
        cells: Estimates of metrics.json, whole numbers, `Cell`s, or None for an empty one.
        note: A second line under the head; empty without.
    """

    name: str
    cells: tuple[Any, ...]
    note: str = ""


@dataclass(frozen=True)
class ModelTable:
    """A table about a model: caption, heads of the columns, rows."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[Line, ...]


@dataclass(frozen=True)
class Figure:
    """A picture with the sentence below it."""

    picture: Picture
    caption: str


def describe_model(
    run: ReportedRun,
    metrics: Mapping[str, Any],
    facts: Mapping[str, Any] | None,
    figures: Mapping[str, Path],
    *,
    leak_free: bool,
) -> dict[str, Any]:
    """One model: words, tables, figures, examples and facts of the training; `facts` is None for an ensemble."""
    test = metrics["subsets"]["test"]
    name = f"{run.model}, {run.task}, split {run.split}, {run.seed_in_words}"
    words, tables = DESCRIBE[run.kind](metrics)
    tables = [*tables, *_external_table(run.kind, metrics), *_subgroup_tables(run.kind, metrics)]
    pictures = {
        key: Figure(embed_png(path, f"{name}. {_alternative(key, metrics, facts)}"), _caption(key, facts))
        for key, path in figures.items()
    }
    localization = metrics.get("localization", {}).get("test") if run.kind in {"binary", "multiclass"} else None
    return {
        "anchor": anchor_of(run),
        "name": name,
        "leak_free": leak_free,
        "words": f"Test: {count_images(test)}; {words}.",
        "tables": tables,
        "figures": [picture for key, picture in pictures.items() if key not in EXAMPLES],
        "examples": next(pictures[key] for key in EXAMPLES if key in pictures),
        "examples_note": explain_localization(localization)
        + (GRAD_CAM if run.kind in {"binary", "multilabel", "multiclass"} else ""),
        "facts_head": "Members" if facts is None else "Training",
        "facts": describe_ensemble(run) if facts is None else describe_training(facts),
    }


def _subsets(metrics: Mapping[str, Any]) -> list[str]:
    return [name for name in SUBSETS if name in metrics["subsets"]]


def _rows(metrics: Mapping[str, Any], names: Mapping[str, str], *place: str) -> list[Line]:
    """A row for each metric at a place of metrics.json that any subset holds."""
    lines = []
    for key, title in names.items():
        cells = tuple(look_up(metrics["subsets"][subset], (*place, key)) for subset in _subsets(metrics))
        if any(cell is not None for cell in cells):
            lines.append(Line(title, cells))
    return lines


def _describe_binary(metrics: Mapping[str, Any]) -> tuple[str, list[ModelTable]]:
    test = metrics["subsets"]["test"]
    titles = {"macro": "macro mean", "weighted": "weighted mean"}
    per_class = [
        Line(
            titles.get(key, key),
            (
                *(test["per_class"][key].get(column) for column in ("precision", "recall", "f1")),
                test["per_class"][key]["support"],
            ),
        )
        for key in ("negative", "positive", "macro", "weighted")
    ]
    per_class.append(Line("accuracy", (None, None, test["metrics"]["accuracy"], test["images"])))
    caption = f"Precision, recall and F1 on test, threshold {name_threshold(metrics)}."
    tables = [
        ModelTable(caption, ("Class", "Precision", "Recall", "F1", "Support"), tuple(per_class)),
        ModelTable(
            "All metrics of this model.",
            ("Metric", *_subsets(metrics)),
            (*_rows(metrics, METRICS, "metrics"), *_rows(metrics, CALIBRATION, "calibration", "metrics")),
        ),
    ]
    return f"{format_count(test['positives'])} positive, {format_count(test['negatives'])} negative", tables


def _name_and_place(kind: str, key: str) -> tuple[str, Sequence[str]]:
    """What a metric of subgroups or of the gap is called, and where a subset of metrics.json holds it."""
    label, _, metric = key.rpartition(".")
    if kind == "binary":
        return METRICS[key], ("metrics", key)
    if label == "macro":
        return f"{METRICS[metric]}, macro mean", ("averages", "macro", metric)
    if label:
        return f"{METRICS[metric]}, {spell(label)}", ("per_class", label, metric)
    if key in KINDS[kind].headline:
        return KINDS[kind].headline[key]
    if key in AVERAGE_PRECISIONS:
        return AVERAGE_PRECISIONS[key], ("metrics", key)
    return LESIONS[key], ("lesions", "all_classes", key)


def _external_table(kind: str, metrics: Mapping[str, Any]) -> list[ModelTable]:
    if metrics["gap"] is None:
        return []
    rows = []
    for key, gap in metrics["gap"].items():
        title, place = _name_and_place(kind, key)
        both = (look_up(metrics["subsets"][subset], place) for subset in ("test", "external"))
        rows.append(Line(title, (*both, Cell(*format_difference(gap)))))
    caption = (
        "Test against external, at the same threshold. The difference is test minus external, with the interval of"
        " two independent bootstraps."
    )
    return [ModelTable(caption, ("Metric", "test", "external", "Difference"), tuple(rows))]


def _subgroup_tables(kind: str, metrics: Mapping[str, Any]) -> list[ModelTable]:
    tables = []
    for subset, columns in metrics["subgroups"].items():
        for column in columns:
            by = SUBGROUPS.get(column["by"], spell(column["by"]))
            found = column["groups"][0]["metrics"]
            keys = [key for key in found if key.rpartition(".")[2] in SUBGROUP_METRICS[kind]]
            titles = (_name_and_place(kind, key)[0] for key in keys)
            heads = (by.capitalize(), "Images", "Patients", "Positive", *titles)
            rows = [
                Line(
                    group["name"],
                    (
                        group["images"],
                        group["patients"],
                        group["positives"],
                        *(group["metrics"][key] for key in keys),
                    ),
                    group["warning"] or "",
                )
                for group in column["groups"]
            ]
            tables.append(ModelTable(f"Subgroups of {subset} by {by}.", heads, tuple(rows)))
    return tables


def _describe_multilabel(metrics: Mapping[str, Any]) -> tuple[str, list[ModelTable]]:
    test = metrics["subsets"]["test"]
    columns = ("auroc", "auprc", "f1", "recall", "specificity")
    labels = [
        Line(spell(label), (rows["positives"], rows["images"], *(rows.get(key) for key in columns)))
        for label, rows in test["per_class"].items()
    ]
    means = [
        Line(f"{kind} mean", (None, None, *(test["averages"][kind].get(key) for key in columns)))
        for kind in ("macro", "micro", "weighted")
    ]
    heads = ("Label", "Positive", "Images", *(METRICS[key] for key in columns))
    matches = {
        "exact_match": "Exact match: all labels of an image right",
        "hamming_loss": "Hamming loss (lower is better)",
    }
    tables = [
        ModelTable(
            "Each label on test at its own threshold; an image of unknown truth is left out.", heads, (*labels, *means)
        ),
        ModelTable("All labels together.", ("Metric", *_subsets(metrics)), tuple(_rows(metrics, matches, "metrics"))),
        *_none_of_labels_table(metrics),
        *_localization_table(metrics),
    ]
    return f"{len(test['per_class'])} labels", tables


def _localization_table(metrics: Mapping[str, Any]) -> list[ModelTable]:
    """How the class activation maps of each label with boxes compare with them."""
    test = metrics.get("localization", {}).get("test") or {}
    found = {label: row for label, row in test.items() if row is not None}
    if not found:
        return []
    columns = ("pointing_game", "pointing_chance", "mass_inside", "lesion_share")
    heads = ("Label", "Images with a box", "Pointing game", "By chance", "Mass inside", "Area of the boxes")
    caption = (
        "Grad-CAM against the boxes of test. Pointing game: share of images whose maximum lies in the box, or within"
        " half a cell of the map. By chance: of a random cell. Mass inside the box, and of an even map."
    )
    rows = [
        Line(spell(label), (row["measured"], *(row["metrics"][name] for name in columns)))
        for label, row in found.items()
    ]
    return [ModelTable(caption, heads, tuple(rows))]


def _none_of_labels_table(metrics: Mapping[str, Any]) -> list[ModelTable]:
    test = metrics["subsets"]["test"].get("none_of_labels")
    if test is None:
        return []
    titles = {key: METRICS[key] for key in test["metrics"]}
    caption = (
        "No finding, derived: an image is called free of all labels when none reaches its threshold. Of"
        f" {format_count(test['images'])} test images {format_count(test['positives'])} are; images of which that is"
        " unknown are left out."
    )
    rows = _rows(metrics, titles, "none_of_labels", "metrics")
    return [ModelTable(caption, ("Metric", *_subsets(metrics)), tuple(rows))]


def _describe_multiclass(metrics: Mapping[str, Any]) -> tuple[str, list[ModelTable]]:
    classes = metrics["subsets"]["test"]["per_class"]
    unseen = [subset for subset in _subsets(metrics) if subset != "val"]
    whole = {key: METRICS[key] for key in ("accuracy", "balanced_accuracy", "mcc", "log_loss", "ece")}
    whole["cohen_kappa"] = "Cohen's kappa"
    rows = [*_rows(metrics, whole, "metrics"), *_rows(metrics, {"f1": "F1, macro mean"}, "averages", "macro")]
    tables = [
        *(_classes_table(metrics, subset) for subset in (*unseen, "val") if subset in metrics["subsets"]),
        ModelTable("All classes together.", ("Metric", *_subsets(metrics)), tuple(rows)),
        *(_confused_table(metrics, subset) for subset in unseen),
    ]
    return f"{len(classes)} classes", tables


def _classes_table(metrics: Mapping[str, Any], subset: str) -> ModelTable:
    found = metrics["subsets"][subset]
    columns = ("precision", "recall", "f1", "auroc", "auprc")
    classes = [
        Line(spell(label), (rows["positives"], rows["predicted"], *(rows.get(key) for key in columns)))
        for label, rows in found["per_class"].items()
    ]
    means = [
        Line(f"{kind} mean", (None, None, *(found["averages"][kind].get(key) for key in columns)))
        for kind in ("macro", "weighted")
    ]
    heads = ("Class", "Images", "Predicted", *(METRICS[key] for key in columns))
    caption = f"Each class on {subset} against all others; the most probable class is predicted."
    return ModelTable(caption, heads, (*classes, *means))


def _confused_table(metrics: Mapping[str, Any], subset: str) -> ModelTable:
    pairs = metrics["subsets"][subset]["confused"][:MOST_CONFUSED]
    rows = []
    for pair in pairs:
        first, second = map(spell, pair["classes"])
        share = Cell(format_share(pair["share"]), None)
        rows.append(
            Line(f"{first}, {second}", (pair["first_as_second"], pair["second_as_first"], pair["images"], share))
        )
    heads = ("Pair", "First taken for second", "Second taken for first", "Both", "Share of both")
    return ModelTable(f"The pairs of classes most confused on {subset}.", heads, tuple(rows))


def _describe_detection(metrics: Mapping[str, Any]) -> tuple[str, list[ModelTable]]:
    test, subsets = metrics["subsets"]["test"], _subsets(metrics)
    cases = []
    for level in test["cases"]:
        titles = {key: f"{spell(level).capitalize()}: {title}" for key, title in CASES.items()}
        cases += _rows(metrics, titles, "cases", level, "any_class")
    heads = ("Metric", *subsets)
    first = metrics.get("headline", "ap_50_95")
    average_precisions = {first: DETECTION[first], **DETECTION}
    of_volumes = [*_rows(metrics, VOLUME_METRICS, *PLACE), *_rows(metrics, FROC, *FROC_PLACE)]
    tables = [
        ModelTable("Average precision and recall.", heads, tuple(_rows(metrics, average_precisions, "metrics"))),
        ModelTable(
            f"Boxes at the score threshold {name_threshold(metrics)}; found: an IoU of"
            f" {format_value(test['iou_threshold'], 1)} or more.",
            heads,
            tuple(_rows(metrics, LESIONS, "lesions", "all_classes")),
        ),
        ModelTable("Is there anything, told by the boxes at that threshold.", heads, tuple(cases)),
        *([ModelTable(describe_volumes(metrics), heads, tuple(of_volumes))] if describe_volumes(metrics) else []),
    ]
    return f"{format_count(test['truth_boxes'])} boxes", tables


def _describe_segmentation(metrics: Mapping[str, Any]) -> tuple[str, list[ModelTable]]:
    test = metrics["subsets"]["test"]
    rows = [
        line
        for part, names in SEGMENTATION.items()
        for line in _rows(metrics, {key: f"{_spell_metric(key)}, {PARTS[part]}" for key in names}, part, "metrics")
    ]
    counts = test["images"]
    words = (
        f"{format_count(counts['lesion_positive'])} with lesion, {format_count(counts['empty_true'])} without,"
        f" {format_count(counts['unknown'])} of unknown mask left out"
    )
    caption = f"Masks at the threshold {name_threshold(metrics)}."
    return words, [ModelTable(caption, ("Metric", *_subsets(metrics)), tuple(rows))]


def _spell_metric(name: str) -> str:
    return " ".join(SPELLED.get(word, word) for word in name.split("_"))


DESCRIBE: dict[str, Callable[[Mapping[str, Any]], tuple[str, list[ModelTable]]]] = {
    "binary": _describe_binary,
    "multilabel": _describe_multilabel,
    "multiclass": _describe_multiclass,
    "detect": _describe_detection,
    "segment": _describe_segmentation,
}


def _caption(key: str, facts: Mapping[str, Any] | None) -> str:
    return MEMBER_LOSSES if facts is None and key in TRAINING else CAPTIONS[key]


def _alternative(key: str, metrics: Mapping[str, Any], facts: Mapping[str, Any] | None) -> str:
    """What a figure shows, for those who do not see it."""
    test = metrics["subsets"]["test"]
    if key in TRAINING and facts is None:
        return MEMBER_LOSSES
    if key in TRAINING and facts is not None:
        return f"Loss on train and val by epoch; epoch {facts.get('best_epoch')} was kept."
    if key == "confusion" and isinstance(test.get("confusion"), list):
        return f"{CAPTIONS[key]} {_tell_confused(test)}"
    areas = {"roc": ("AUROC", "auroc"), "calibration": ("Expected calibration error", "ece")}
    if key in areas and "per_class" in test and key != "froc" and "auroc" in test["metrics"]:
        title, name = areas[key]
        return f"{CAPTIONS[key]} {title} on test {format_metric(test['metrics'].get(name))}."
    counts = test["confusion"] if key == "confusion" and "tp" in test.get("confusion", {}) else None
    if counts is not None:
        return (
            f"Confusion matrices of val and test; on test {format_count(counts['tp'])} true positives,"
            f" {format_count(counts['fp'])} false positives, {format_count(counts['fn'])} false negatives,"
            f" {format_count(counts['tn'])} true negatives."
        )
    return CAPTIONS[key]


def _tell_confused(test: Mapping[str, Any]) -> str:
    if not test["confused"]:
        return "On test every image is called right."
    pair = test["confused"][0]
    first, second = map(spell, pair["classes"])
    return f"On test {first} and {second} are confused most, on {format_count(pair['images'])} images."
