"""What a report shows of each kind of task: the metrics of the first table, and where metrics.json holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scanline.report.volumes import headline_columns, seed_columns

Estimate = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
        title: What the tables of such tasks are called.
        headline: Name of a metric to its title and its place in a subset of metrics.json, in the order of columns.
        figures: Names of the figures of a run, in the order of the rule's outputs.
    """

    title: str
    headline: Mapping[str, tuple[str, Sequence[str]]]
    figures: tuple[str, ...]


AVERAGE_PRECISIONS = {
    "ap_10": "AP at IoU 0.1",
    "ap_30": "AP at IoU 0.3",
    "ap_50": "AP at IoU 0.5",
    "ap_75": "AP at IoU 0.75",
    "ap_50_95": "AP at IoU 0.5 to 0.95",
}
FIRST_AP = "ap_50"  # where models of a table have other headlines
KINDS = {
    "binary": Kind(
        "Classification",
        {
            "accuracy": ("Accuracy", ("metrics", "accuracy")),
            "f1": ("F1", ("metrics", "f1")),
            "auroc": ("AUROC", ("metrics", "auroc")),
            "auprc": ("AUPRC", ("metrics", "auprc")),
            "recall": ("Sensitivity", ("metrics", "recall")),
            "specificity": ("Specificity", ("metrics", "specificity")),
        },
        ("loss", "roc", "precision_recall", "confusion", "calibration", "examples"),
    ),
    "multilabel": Kind(
        "Multi-label classification (means over the labels)",
        {
            "auroc": ("AUROC", ("averages", "macro", "auroc")),
            "auprc": ("AUPRC", ("averages", "macro", "auprc")),
            "f1": ("F1", ("averages", "macro", "f1")),
            "recall": ("Sensitivity", ("averages", "macro", "recall")),
            "specificity": ("Specificity", ("averages", "macro", "specificity")),
            "exact_match": ("Exact match", ("metrics", "exact_match")),
        },
        ("loss", "roc", "precision_recall", "areas", "confusion", "calibration", "errors_together", "examples"),
    ),
    "multiclass": Kind(
        "Multi-class classification (means over the classes)",
        {
            "accuracy": ("Accuracy", ("metrics", "accuracy")),
            "f1": ("Macro F1", ("averages", "macro", "f1")),
            "balanced_accuracy": ("Balanced accuracy", ("metrics", "balanced_accuracy")),
            "auroc": ("AUROC", ("averages", "macro", "auroc")),
            "cohen_kappa": ("Cohen's kappa", ("metrics", "cohen_kappa")),
        },
        ("loss", "roc", "precision_recall", "areas", "confusion", "calibration", "examples"),
    ),
    "detect": Kind(
        "Detection",
        {
            "ap_50": ("AP at IoU 0.5", ("metrics", "ap_50")),
            "ap_50_95": ("AP at IoU 0.5 to 0.95", ("metrics", "ap_50_95")),
            "ap_10": ("AP at IoU 0.1", ("metrics", "ap_10")),
            "sensitivity": ("Boxes found", ("lesions", "all_classes", "recall")),
            "image_accuracy": ("Image accuracy", ("yes_or_no", "image", "any_class", "metrics", "accuracy")),
            "image_sensitivity": ("Image sensitivity", ("cases", "image", "any_class", "sensitivity")),
            "image_specificity": ("Image specificity", ("cases", "image", "any_class", "specificity")),
        },
        ("training", "precision_recall", "froc", "volume_roc", "volume_froc", "confusion", "examples"),
    ),
    "segment": Kind(
        "Segmentation (over images with lesion, over patients with lesion, and all pixels pooled)",
        {
            "dice": ("Mean Dice", ("per_image", "metrics", "dice_mean")),
            "patient_dice_median": ("Median Dice of patients", ("per_patient", "metrics", "dice_median")),
            "pooled_dice": ("Pooled Dice", ("pooled", "metrics", "dice")),
            "iou": ("Pooled IoU", ("pooled", "metrics", "iou")),
            "sensitivity": ("Sensitivity", ("pooled", "metrics", "sensitivity")),
            "specificity": ("Specificity", ("pooled", "metrics", "specificity")),
            "image_accuracy": ("Image accuracy", ("image_level", "metrics", "accuracy")),
        },
        ("training", "dice", "pixel_confusion", "image_confusion", "overlays"),
    ),
}


Columns = Mapping[str, tuple[str, Sequence[str]]]


def columns_of(kind: str, metrics: Sequence[Mapping[str, Any]]) -> Columns:
    """The columns of the first table of some models of a kind, as `Kind.headline`.

    Of detection the AP that the study's evaluation names comes first, and volumes come last where some are positive
    and some negative.

    Args:
        kind: Of the tasks.
        metrics: metrics.json of each model.
    """
    columns = KINDS[kind].headline
    if kind != "detect":
        return columns
    named = {values.get("headline", FIRST_AP) for values in metrics}
    first = named.pop() if len(named) == 1 else FIRST_AP
    columns = detection_columns(first)
    told = [values["volumes"] for values in metrics if _tells_volumes_apart(values["subsets"]["test"])]
    return {**columns, **headline_columns(told[0]["specificity"])} if told else columns


def detection_columns(first: str) -> Columns:
    """The columns of detection, the AP `first` (of AVERAGE_PRECISIONS) before all others."""
    return {first: (AVERAGE_PRECISIONS[first], ("metrics", first)), **KINDS["detect"].headline}


def seed_columns_of(kind: str, first: str = FIRST_AP) -> Columns:
    """What is compared over seeds and ensembles of a kind; of detection the AP `first`, and volumes in any case."""
    return {**detection_columns(first), **seed_columns()} if kind == "detect" else KINDS[kind].headline


def _tells_volumes_apart(subset: Mapping[str, Any]) -> bool:
    """Whether there are volumes with and without a lesion to be told apart."""
    area = look_up(subset, ("volume_level", "any_class", "metrics", "auroc"))
    return area is not None and area["value"] is not None


def headline_of(columns: Columns, subset: Mapping[str, Any]) -> tuple[Estimate | None, ...]:
    """The estimates of the first table; None where a file does not hold one."""
    return tuple(look_up(subset, place) for _, place in columns.values())


def look_up(values: Mapping[str, Any], place: Sequence[str]) -> Estimate | None:
    """A value deep in nested mappings; None where the path ends early."""
    found: Any = values
    for key in place:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found if isinstance(found, Mapping) else None
