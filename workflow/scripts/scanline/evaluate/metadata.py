"""Subgroups of a study's images, as its tables tell them."""

from collections.abc import Mapping, Sequence

import pandas as pd

from scanline.evaluate.subgroups import age_bands, lesion_size_bands

AGE = "age_years"
LESION_SIZE = "lesion_size"


def subgroups_of(
    image_ids: Sequence[str],
    images: pd.DataFrame,
    boxes: pd.DataFrame,
    columns: Sequence[str],
    age_edges_years: Sequence[float],
    truth: Sequence[bool],
) -> Mapping[str, "pd.Series[str]"]:
    """The subgroup of each image by each column that tells at least two apart.

    Args:
        image_ids: Shape (images,).
        images: Images table; a column that it lacks is left out.
        boxes: Boxes of the target class, continuous pixels.
        columns: Names of columns; AGE is cut into bands, and LESION_SIZE is the area of an image's boxes in percent
            of the image, cut at the terciles of the images with a box.
        age_edges_years: Where a new age band begins.
        truth: Whether each image is positive, shape (images,). A positive image without a box has a lesion of
            unknown size.

    Returns:
        Column to subgroups, shape (images,), null where unknown.
    """
    rows = images.set_index("image_id").loc[list(image_ids)]
    found: dict[str, pd.Series[str]] = {}
    for column in columns:
        if column == LESION_SIZE:
            groups = _lesion_sizes(rows, boxes, pd.Series(list(truth), index=rows.index))
        elif column not in rows:
            continue
        elif column == AGE:
            groups = pd.Series(age_bands(rows[column], age_edges_years))
        else:
            groups = pd.Series(rows[column].to_numpy(dtype=object))
        if groups.nunique() > 1:
            found[column] = groups
    return found


def _lesion_sizes(rows: pd.DataFrame, boxes: pd.DataFrame, positive: "pd.Series[bool]") -> "pd.Series[str]":
    areas = (boxes["width"] * boxes["height"]).groupby(boxes["image_id"]).sum().reindex(rows.index)
    share = 100 * areas / (rows["width"] * rows["height"])
    share = share.where(positive, 0.0)
    if not (share > 0).any():
        return pd.Series([None] * len(rows), dtype=object)
    return pd.Series(lesion_size_bands(share, unit="% of the image"))
