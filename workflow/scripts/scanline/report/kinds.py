"""What a report shows of each kind of task: the metrics of the first table, and where metrics.json holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
        ("training", "precision_recall", "froc", "confusion", "examples"),
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


def headline_of(kind: str, subset: Mapping[str, Any]) -> tuple[Estimate | None, ...]:
    """The estimates of the first table; None where a file does not hold one."""
    return tuple(look_up(subset, place) for _, place in KINDS[kind].headline.values())


def look_up(values: Mapping[str, Any], place: Sequence[str]) -> Estimate | None:
    """A value deep in nested mappings; None where the path ends early."""
    found: Any = values
    for key in place:
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found if isinstance(found, Mapping) else None
