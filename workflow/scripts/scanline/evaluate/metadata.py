"""Subgroups of a study's images, as its tables tell them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scanline.evaluate.inputs import Codes, Floats
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.subgroups import Measure, age_bands, evaluate_subgroups, lesion_size_bands

AGE = "age_years"
LESION_SIZE = "lesion_size"


def subgroups_of(
    image_ids: Sequence[str],
    images: pd.DataFrame,
    columns: Sequence[str],
    age_edges_years: Sequence[float],
    lesion_percent: Floats,
) -> Mapping[str, "pd.Series[str]"]:
    """The subgroup of each image by each column that tells at least two apart.

    Args:
        image_ids: Shape (images,).
        images: Images table; a column that it lacks is left out.
        columns: Names of columns; AGE is cut into bands, and LESION_SIZE is cut at the terciles of the images with a
            lesion.
        age_edges_years: Where a new age band begins.
        lesion_percent: Area of each image's lesions in percent of the image, 0 without a lesion, NaN where unknown;
            shape (images,).

    Returns:
        Column to subgroups, shape (images,), null where unknown.
    """
    rows = images.set_index("image_id").loc[list(image_ids)]
    found: dict[str, pd.Series[str]] = {}
    for column in columns:
        if column == LESION_SIZE:
            groups = _lesion_sizes(lesion_percent)
        elif column not in rows:
            continue
        elif column == AGE:
            groups = pd.Series(age_bands(rows[column], age_edges_years))
        else:
            groups = pd.Series(rows[column].to_numpy(dtype=object))
        if groups.nunique() > 1:
            found[column] = groups
    return found


def percent_in_boxes(
    image_ids: Sequence[str], images: pd.DataFrame, boxes: pd.DataFrame, truth: "pd.Series[bool]"
) -> Floats:
    """Area of an image's boxes in percent of the image.

    Args:
        image_ids: Shape (images,).
        images: image_id, width and height.
        boxes: Boxes of the target classes, continuous pixels.
        truth: Whether each image is positive, null where unknown, shape (images,).

    Returns:
        0 for negative images; NaN where the truth is unknown and for a positive image without a box, whose lesion is
        of unknown size. Shape (images,).
    """
    rows = images.set_index("image_id").loc[list(image_ids)]
    areas = (boxes["width"] * boxes["height"]).groupby(boxes["image_id"]).sum().reindex(rows.index)
    share = (100 * areas / (rows["width"] * rows["height"])).to_numpy(dtype=np.float64)
    known = truth.astype("boolean")
    return np.where(known.isna(), np.nan, np.where(known.fillna(False), share, 0.0))


def _lesion_sizes(percent: Floats) -> "pd.Series[str]":
    if not (percent > 0).any():
        return pd.Series([None] * len(percent), dtype=object)
    return pd.Series(lesion_size_bands(percent, unit="% of the image"))


def evaluate_columns(
    columns: Mapping[str, "pd.Series[str]"],
    measure: Measure,
    *,
    patients: "pd.Series[str]",
    clusters: Codes | None = None,
    positive: "pd.Series[bool]",
    options: EvaluateOptions,
    stream: Sequence[str],
) -> list[dict[str, Any]]:
    """`evaluate_subgroups` for each column, with its parameters.

    Args:
        columns: From `subgroups_of`.
        measure: Builds the statistic of some images.
        patients: Patient of each image, null where unknown.
        clusters: What is drawn together; None: the patient, or the image alone.
        positive: Whether each image is positive, null where unknown.
        options: Of the intervals.
        stream: Names the random draws; the column is added.

    Returns:
        For each column {"by": column, "groups": the subgroups in their order, each with its "name"}.
    """
    found = []
    for column, groups in columns.items():
        rows = evaluate_subgroups(
            groups,
            measure,
            patients=patients,
            clusters=clusters,
            positive=positive,
            options=options,
            stream=(*stream, column),
        )
        found.append({"by": column, "groups": [{"name": name, **row} for name, row in rows.items()]})
    return found
