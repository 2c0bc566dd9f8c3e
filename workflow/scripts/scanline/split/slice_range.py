"""Slices kept by their position in the volume: between two percentiles of where train's findings lie."""

from typing import Any

import numpy as np
import pandas as pd

from scanline.core.errors import InputError
from scanline.split.options import SliceRange

DROPPED_BY = "slice_range"


def positions_of(images: pd.DataFrame, kind: str) -> pd.Series:
    """Position of each slice; null where the images table does not tell it.

    Args:
        images: IMAGES table of n rows.
        kind: `absolute` is slice_index; `relative` is (slice_index - first) / (last - first) of its volume, and null in
            a volume of one slice.
    """
    index = images["slice_index"].astype("Float64")
    if kind == "absolute":
        return index
    by_volume = index.groupby(images["volume_id"])
    first, last = by_volume.transform("min"), by_volume.transform("max")
    return ((index - first) / (last - first).replace(0, pd.NA)).astype("Float64")


def fit_slice_range(
    split: pd.DataFrame, images: pd.DataFrame, labels: pd.DataFrame, options: SliceRange
) -> tuple[float, float]:
    """First and last position that are kept, from the slices of train that show the class (numpy's linear percentiles).

    Raises:
        InputError: If the class is unknown, or no such slice has a position.
    """
    table = _aligned(split, images, labels, options)
    shown = table["truth"].fillna(False) & table["subset"].eq("train") & table["position"].notna()
    if not shown.any():
        raise InputError(
            f"split options: slice_range: {options.target}",
            found="no slice of train that shows it and has a position in its volume",
            expected="images with volume_id and slice_index",
            next_step="Take slice_range out, or see why the images table has no slice_index.",
        )
    positions = table.loc[shown.astype(bool), "position"].to_numpy(dtype=np.float64)
    low, high = np.percentile(positions, (options.low_percentile, options.high_percentile))
    return float(low), float(high)


def apply_slice_range(
    split: pd.DataFrame, images: pd.DataFrame, labels: pd.DataFrame, options: SliceRange
) -> pd.DataFrame:
    """Drop the slices outside the range, fitted on train; those without a position are kept.

    Args:
        split: SPLIT table of n rows; rows with dropped_by are left as they are.
        images: IMAGES table of the same images.
        labels: Labels table of the same images.
        options: The range.
    """
    low, high = fit_slice_range(split, images, labels, options)
    position = _aligned(split, images, labels, options)["position"]
    outside = (position.lt(low) | position.gt(high)).fillna(False).to_numpy(dtype=bool)
    outside &= (split["dropped_by"].isna() & split["subset"].isin(options.subsets)).to_numpy(dtype=bool)
    split = split.astype({"dropped_by": "str", "reason": "str"})
    split.loc[outside, "dropped_by"] = DROPPED_BY
    split.loc[outside, "reason"] = f"{options.position} position outside {low:.4g} to {high:.4g}, train's"
    return split


def count_slice_range(
    split: pd.DataFrame, images: pd.DataFrame, labels: pd.DataFrame, options: SliceRange | None
) -> dict[str, Any] | None:
    """The range and what it dropped.

    Returns:
        {"position", "low", "high", "dropped": {subset: {"images", "positive"}}}; None without a range.
    """
    if options is None:
        return None
    low, high = fit_slice_range(split, images, labels, options)
    table = _aligned(split, images, labels, options)
    dropped = table[split["dropped_by"].eq(DROPPED_BY).to_numpy(dtype=bool)]
    return {
        "position": options.position,
        "low": low,
        "high": high,
        "dropped": {
            str(subset): {"images": len(rows), "positive": int(rows["truth"].sum())}
            for subset, rows in dropped.groupby("subset")
        },
    }


def _aligned(split: pd.DataFrame, images: pd.DataFrame, labels: pd.DataFrame, options: SliceRange) -> pd.DataFrame:
    """Subset, position and truth of each row of the split."""
    if options.target not in labels:
        raise InputError(
            "split options: slice_range: target",
            found=repr(options.target),
            expected=f"one of {', '.join(name for name in labels.columns if name != 'image_id')}",
            next_step="Name a class of the study's labels.",
        )
    position = positions_of(images, options.position).set_axis(images["image_id"])
    truth = labels.set_index("image_id")[options.target].astype("boolean")
    return pd.DataFrame(
        {
            "subset": split["subset"].to_numpy(),
            "position": position.reindex(split["image_id"]).array,
            "truth": truth.reindex(split["image_id"]).array,
        }
    )
