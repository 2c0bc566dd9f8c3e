"""Whether a class activation map points at the lesion: the pointing game, and the map's mass inside the lesion.

The pointing game asks whether the maximum of the map lies in the lesion, or within a tolerance of it (Zhang et al.,
Top-down neural attention by excitation backprop, Int J Comput Vis 126 (2018) 1084-1102, who allow 15 pixels). The
mass inside is the share of the map's sum that falls on the lesion (the energy-based pointing game of Wang et al.,
Score-CAM, CVPR Workshops 2020, arXiv:1910.01279).

Coordinates: the map covers the image. Cell (i, j) of a map of h x w cells on an image of H x W pixels is the
rectangle of rows i H / h to (i + 1) H / h and columns j W / w to (j + 1) W / w, in continuous pixels from the top
left corner of the pixel grid. Its centre stands for it in the pointing game, so a coarse map is not interpolated;
its value is spread evenly over it in the mass. Boxes are in the same continuous pixels; pixel (r, c) of a mask is
the square of rows r to r + 1 and columns c to c + 1. A point on the edge of the lesion lies in it.

A figure means something beside its chance level: the share of all cells that would count as a hit, for a maximum at
a random cell; the lesion's share of the image area, for a map that is the same everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from scanline.evaluate.bootstrap import count_clusters, divide, estimate, sum_by_cluster
from scanline.evaluate.inputs import Bools, Codes, Floats, as_clusters, as_probability, as_tolerance, refuse
from scanline.evaluate.masks import as_mask
from scanline.evaluate.options import EvaluateOptions

BOX = ("x", "y", "width", "height")
MEASURES = ("pointing_hit", "pointing_chance", "mass_inside", "lesion_share")

EDGE_ROUNDING_PX = 1e-9  # a centre on the edge, or at the tolerance, lies within, whatever binary fractions say

NO_LESION = "the image has no lesion"
ZERO_MAP = "the map is zero everywhere"


@dataclass(frozen=True)
class LesionArea:
    """A lesion as rectangles of a grid that covers the image.

    Attributes:
        rows: Edges between the grid's rows, rising from 0 to the image height, continuous pixels, shape (m + 1,).
        columns: Edges between its columns, rising from 0 to the image width, shape (n + 1,).
        filled: Which rectangles are lesion, shape (m, n).
    """

    rows: Floats
    columns: Floats
    filled: Bools

    def area_in_cells(self, height: int, width: int) -> Floats:
        """Area of lesion in each cell of a map, in square pixels, shape (height, width)."""
        in_rows = _overlaps(_cell_edges(self.rows[-1], height), self.rows)
        in_columns = _overlaps(_cell_edges(self.columns[-1], width), self.columns)
        area: Floats = in_rows @ self.filled @ in_columns.T
        return area

    def near_centres(self, height: int, width: int, tolerance_px: float) -> Bools:
        """Whether the centre of each cell of a map lies within the tolerance of lesion, shape (height, width)."""
        centre_rows, centre_columns = (
            (np.arange(count) + 0.5) * edges[-1] / count
            for edges, count in ((self.rows, height), (self.columns, width))
        )
        filled_before = np.pad(np.cumsum(self.filled, axis=1), ((0, 0), (1, 0)))
        near = np.zeros((height, width), dtype=bool)
        limit = tolerance_px + EDGE_ROUNDING_PX
        for index, row in enumerate(centre_rows):
            away = np.maximum(np.maximum(self.rows[:-1] - row, row - self.rows[1:]), 0)
            rows = np.flatnonzero(away <= limit)
            reach = np.sqrt(limit**2 - away[rows] ** 2)[:, None]
            first = np.searchsorted(self.columns[1:], centre_columns - reach, side="left")
            last = np.searchsorted(self.columns[:-1], centre_columns + reach, side="right")
            near[index] = (filled_before[rows[:, None], last] > filled_before[rows[:, None], first]).any(axis=0)
        return near


def lesion_of_mask(mask: NDArray[Any]) -> LesionArea:
    """The lesion that a mask marks.

    Args:
        mask: Shape (height, width), as for `scanline.evaluate.masks.as_mask`.

    Raises:
        InputError: If it is no mask of one image.
    """
    pixels = as_mask(mask)
    if pixels.ndim != 2:
        refuse("mask", f"shape {pixels.shape}", "(height, width)")
    height, width = pixels.shape
    return LesionArea(np.arange(height + 1.0), np.arange(width + 1.0), pixels.astype(bool))


def lesion_of_boxes(boxes: pd.DataFrame | ArrayLike, height: float, width: float) -> LesionArea:
    """The lesion that boxes cover together; what overlaps counts once.

    Args:
        boxes: A table with x, y, width and height, or an array of them, shape (boxes, 4), continuous pixels; parts
            outside the image are cut off.
        height: Of the image, pixels.
        width: Of the image, pixels.

    Raises:
        InputError: For a size that is not positive, missing columns, or a box without an area inside the image.
    """
    if not (np.isfinite([height, width]).all() and height > 0 and width > 0):
        refuse("image size", f"{height} x {width}", "a positive height and width")
    if isinstance(boxes, pd.DataFrame):
        missing = [name for name in BOX if name not in boxes]
        if missing:
            refuse("boxes: columns", ", ".join(map(str, boxes.columns)), f"{', '.join(missing)} as well")
        boxes = boxes[list(BOX)].to_numpy(dtype=np.float64, na_value=np.nan)
    sides = np.asarray(boxes, dtype=np.float64) if np.size(boxes) else np.zeros((0, 4))
    if sides.ndim != 2 or sides.shape[1] != len(BOX):
        refuse("boxes", f"shape {sides.shape}", "(boxes, 4)")
    left, right = np.clip([sides[:, 0], sides[:, 0] + sides[:, 2]], 0, width)
    top, bottom = np.clip([sides[:, 1], sides[:, 1] + sides[:, 3]], 0, height)
    inside = (right > left) & (bottom > top)
    if not inside.all():
        number = int(np.flatnonzero(~inside)[0])
        found = ", ".join(f"{name} {value:g}" for name, value in zip(BOX, sides[number], strict=True))
        refuse(f"boxes: row {number}", found, f"a box with an area inside the image of {height} x {width} pixels")
    rows = np.unique(np.concatenate([[0, height], top, bottom]))
    columns = np.unique(np.concatenate([[0, width], left, right]))
    filled = np.zeros((len(rows) - 1, len(columns) - 1), dtype=bool)
    edges = zip(*(np.searchsorted(rows, (top, bottom))), *(np.searchsorted(columns, (left, right))), strict=True)
    for first_row, last_row, first_column, last_column in edges:
        filled[first_row:last_row, first_column:last_column] = True
    return LesionArea(rows, columns, filled)


def measure_localization(
    activation: ArrayLike, lesion: LesionArea, *, tolerance_px: float = 0.0, where: str = "class activation map"
) -> dict[str, Any]:
    """Compare the map of one image with its lesion.

    Args:
        activation: Values from 0 to 1, shape (h, w); it covers the whole image.
        lesion: From `lesion_of_mask` or `lesion_of_boxes`.
        tolerance_px: Distance from the lesion, in image pixels, within which the maximum still counts as a hit.
        where: What it is, for messages.

    Returns:
        pointing_hit: 1 if the centre of the map's maximum lies in the lesion, 0 if not; where several cells share
        the maximum, the share of them that do. pointing_chance: the share of all cells that do. mass_inside: the
        share of the map's sum inside the lesion. lesion_share: the lesion's share of the image area. reason: why
        pointing_hit and mass_inside are undefined (NaN), or None: a map of zeros points nowhere, and without
        lesion there is nothing to point at.

    Raises:
        InputError: If the map has not two axes or values that are not from 0 to 1, or for a negative tolerance.

    Examples:
        >>> lesion = lesion_of_boxes([[8, 8, 8, 8]], height=32, width=32)
        >>> activation = np.zeros((4, 4))
        >>> activation[1, 1], activation[1, 2] = 0.75, 0.25
        >>> measure_localization(activation, lesion)
        {'pointing_hit': 1.0, 'pointing_chance': 0.0625, 'mass_inside': 0.75, 'lesion_share': 0.0625, 'reason': None}
    """
    values = as_probability(activation, where)
    if values.ndim != 2 or values.size == 0:
        refuse(where, f"shape {values.shape}", "(h, w), each at least 1")
    height, width = values.shape
    near = lesion.near_centres(height, width, as_tolerance(tolerance_px, "tolerance_px"))
    area = lesion.area_in_cells(height, width)
    image_area = float(lesion.rows[-1] * lesion.columns[-1])
    reason = NO_LESION if not lesion.filled.any() else ZERO_MAP if not values.any() else None
    hit, mass = float("nan"), float("nan")
    if reason is None:
        hit = float(near[values == values.max()].mean())
        mass = min(1.0, float((values * area).sum() / values.sum() / (image_area / values.size)))
    return {
        "pointing_hit": hit,
        "pointing_chance": float(near.mean()),
        "mass_inside": mass,
        "lesion_share": min(1.0, float(area.sum() / image_area)),
        "reason": reason,
    }


def evaluate_localization(
    images: pd.DataFrame, options: EvaluateOptions | None = None, *, stream: str = "test", where: str = "localization"
) -> dict[str, Any]:
    """Average over images, with patient-clustered intervals.

    Args:
        images: Rows of `measure_localization` with image_id and patient_id (null where unknown: such an image is
            resampled by itself).
        options: Intervals; None for the defaults.
        stream: What is measured; each subset is resampled independently.
        where: What it is, for messages.

    Returns:
        For metrics.json: images; measured (those in which the measures are defined, the only ones averaged);
        undefined (reason to number of images); clusters; and "metrics": pointing_game and mass_inside with their
        chance levels pointing_chance and lesion_share, and the differences pointing_above_chance and
        mass_above_chance, which are above 0 for a map that knows more than nothing.

    Raises:
        InputError: For missing columns, no images, or an image that comes twice.

    Examples:
        >>> rows = [
        ...     {"image_id": f"i{k}", "patient_id": f"p{k // 2}", "pointing_hit": float(k % 3 > 0),
        ...      "pointing_chance": 0.1, "mass_inside": 0.4, "lesion_share": 0.1, "reason": None}
        ...     for k in range(6)
        ... ]
        >>> metrics = evaluate_localization(pd.DataFrame(rows))["metrics"]
        >>> round(metrics["pointing_game"]["value"], 3), round(metrics["mass_above_chance"]["value"], 3)
        (0.667, 0.3)
    """
    needed = ("image_id", "patient_id", *MEASURES, "reason")
    missing = [name for name in needed if name not in images]
    if missing:
        refuse(f"{where}: columns", ", ".join(map(str, images.columns)), f"{', '.join(missing)} as well")
    if len(images) == 0:
        refuse(where, "no images", "at least one")
    repeated = images["image_id"].duplicated()
    if repeated.any():
        refuse(f"{where}: image {images.loc[repeated, 'image_id'].iloc[0]}", "it again", "each image once")
    defined = images["pointing_hit"].notna() & images["mass_inside"].notna()
    measured = images[defined]
    clusters = as_clusters(measured["patient_id"], len(measured))
    statistic = LocalizationStatistic(measured, clusters)
    estimates = estimate(statistic, statistic.clusters, options or EvaluateOptions(), "evaluate_localization", stream)
    reasons = images.loc[~defined, "reason"].value_counts(sort=False)
    return {
        "images": len(images),
        "measured": len(measured),
        "undefined": {str(reason): int(count) for reason, count in reasons.items()},
        "clusters": statistic.clusters,
        "metrics": {name: value.as_json() for name, value in estimates.items()},
    }


class LocalizationStatistic:
    """The averages of `evaluate_localization`, as a function of the clusters' weights.

    Args:
        measured: Rows of `measure_localization` in which every measure is defined.
        clusters: Cluster of each, shape (images,).
    """

    def __init__(self, measured: pd.DataFrame, clusters: Codes) -> None:
        self.clusters = count_clusters(clusters)
        values = measured[list(MEASURES)].to_numpy(dtype=np.float64)
        self._sums = sum_by_cluster(np.column_stack([np.ones(len(values)), values]), clusters, self.clusters)

    def __call__(self, weights: Floats) -> Mapping[str, Floats]:
        """Compute every average under each row of weights, shape (resamples, clusters)."""
        images, *sums = (weights @ self._sums).T
        hit, chance, mass, share = (divide(total, images) for total in sums)
        return {
            "pointing_game": hit,
            "pointing_chance": chance,
            "pointing_above_chance": hit - chance,
            "mass_inside": mass,
            "lesion_share": share,
            "mass_above_chance": mass - share,
        }

    def reason_undefined(self, name: str) -> str:
        """Why an average is undefined."""
        return "no image has a lesion and a map that is not zero everywhere"


def _cell_edges(length: float, count: int) -> Floats:
    return np.linspace(0.0, length, count + 1)


def _overlaps(cells: Floats, grid: Floats) -> Floats:
    """Length that each cell of one division shares with each of another, shape (cells, grid)."""
    starts, ends = np.maximum(cells[:-1, None], grid[:-1]), np.minimum(cells[1:, None], grid[1:])
    return np.asarray(np.maximum(ends - starts, 0), dtype=np.float64)
