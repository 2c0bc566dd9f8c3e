"""Counts of a split: images, groups, patients, and each class's prevalence in each subset."""

from typing import Any

import pandas as pd

from scanline.core.tables import SUBSETS
from scanline.split.options import Ratios


def count_subsets(
    images: pd.DataFrame, labels: pd.DataFrame, split: pd.DataFrame, ratios: Ratios | None = None
) -> dict[str, Any]:
    """Count what each subset holds; images dropped by balancing are not counted.

    Args:
        images: IMAGES table of n images.
        labels: Labels table of the same images.
        split: SPLIT table of the same images.
        ratios: Target shares, where they are known.

    Returns:
        Subset to {"images", "groups", "patients", "share", "target_share", "labels": {class: {"positive",
        "negative", "unknown", "prevalence"}}}. Prevalence is positives / (positives + negatives), null where
        no label is known. Images without a patient count no patient. target_share stands only where `ratios`
        are given.
    """
    kept = split[split["dropped_by"].isna()].merge(images[["image_id", "patient_id"]], on="image_id")
    kept = kept.merge(labels, on="image_id")
    classes = [name for name in labels.columns if name != "image_id"]
    targets = {} if ratios is None else ratios.model_dump()
    return {
        subset: _count_subset(kept[kept["subset"] == subset], len(kept), classes, targets.get(subset))
        for subset in SUBSETS
        if (kept["subset"] == subset).any()
    }


def _count_subset(rows: pd.DataFrame, n_kept: int, classes: list[str], target_share: float | None) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "images": len(rows),
        "groups": int(rows["group_id"].nunique()),
        "patients": int(rows["patient_id"].nunique()),
        "share": len(rows) / n_kept,
        "labels": {name: count_labels(rows[name]) for name in classes},
    }
    if target_share is not None:
        counts["target_share"] = target_share
    return counts


def count_labels(truth: pd.Series) -> dict[str, int | float | None]:
    """Positives, negatives and unknowns of nullable booleans, and the prevalence among the known."""
    truth = truth.astype("boolean")
    n_known, n_positive = int(truth.notna().sum()), int(truth.sum())
    return {
        "positive": n_positive,
        "negative": n_known - n_positive,
        "unknown": len(truth) - n_known,
        "prevalence": n_positive / n_known if n_known else None,
    }
