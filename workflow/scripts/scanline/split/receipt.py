"""Counts of a split: images, groups, patients, prevalences, how near they are to target, what policies did."""

from typing import Any

import numpy as np
import pandas as pd

from scanline.core.tables import SUBSETS
from scanline.split.columns import deviations_of, make_spread
from scanline.split.options import OTHER_SOURCE, LeakFreeSplit, Ratios, target_shares
from scanline.split.policies import DROPPING, balanced_columns, count_policies
from scanline.split.search import cost_of, sums_of
from scanline.split.slice_range import count_slice_range


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


def describe_balance(
    images: pd.DataFrame, labels: pd.DataFrame, split: pd.DataFrame, options: LeakFreeSplit
) -> dict[str, Any]:
    """How near a split came to its targets, and what was dropped or repeated, measured in its table.

    Args:
        images: IMAGES table of n images.
        labels: Labels table of the same images.
        split: SPLIT table of the same images.
        options: How it was made.

    Returns:
        {"objective": {"cost", "images": {"mean", "worst", "worst_column"}, "groups": likewise}, "dropped":
        {dropped_by: images}, "policies": see `count_policies`, "slice_range": see `count_slice_range`, and with
        external sources "seen_outside": [{"image", "of"}], the images dropped because their group has images of an
        external source, each with those}. The deviations are relative, over subsets and columns: the images or groups
        there are, with each side of a class of `balance` that counts, and of each value of a stratum. What policies
        dropped is among them, as it was assigned first. The objective is null where lists decide all. The cost of folds
        is that of
        train, val and test.
    """
    split = split.sort_values("image_id", ignore_index=True)
    dropped = split["dropped_by"].value_counts().sort_index()
    return {
        "objective": _measure(images, labels, split, options),
        "dropped": {str(name): int(count) for name, count in dropped.items()},
        "policies": count_policies(split, labels, options.policies),
        "slice_range": count_slice_range(split, images, labels, options.slice_range),
        **({"seen_outside": _seen_outside(split)} if options.external_sources else {}),
    }


def _seen_outside(split: pd.DataFrame) -> list[dict[str, Any]]:
    """Images that were dropped because their group has images of an external source, each with those."""
    external = split[split["subset"].eq("external") & split["dropped_by"].isna()]
    twins = external.groupby("group_id")["image_id"].agg(list)
    seen = split[split["dropped_by"].eq(OTHER_SOURCE)]
    return [
        {"image": image, "of": twins.get(group, [])}
        for image, group in zip(seen["image_id"], seen["group_id"], strict=True)
    ]


def _measure(
    images: pd.DataFrame, labels: pd.DataFrame, split: pd.DataFrame, options: LeakFreeSplit
) -> dict[str, Any] | None:
    shares = target_shares(options)
    assigned = split["subset"].isin(list(shares)) & (split["dropped_by"].isna() | split["dropped_by"].isin(DROPPING))
    if not assigned.any():
        return None
    rows = split[assigned]
    groups, _ = pd.factorize(rows["group_id"], sort=True)
    spread = make_spread(
        groups.astype(np.int64),
        balanced_columns(labels.set_index("image_id"), options.balance).loc[rows["image_id"]],
        images.set_index("image_id").loc[rows["image_id"], list(options.strata)],
        guard_common=False,
    )
    place = rows["subset"].map({name: k for k, name in enumerate(shares)}).to_numpy(dtype=np.int64)
    of_group = np.zeros(groups.max() + 1, dtype=np.int64)
    of_group[groups] = place
    target = np.array(list(shares.values()))
    sums = sums_of(spread.columns, len(target), of_group)
    cost = cost_of(spread.columns, target, np.zeros_like(sums), of_group)
    return {"cost": cost, **deviations_of(spread, target, sums)}
