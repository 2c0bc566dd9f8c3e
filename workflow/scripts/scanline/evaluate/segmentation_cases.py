"""Each segmented image and volume measured by itself: a row of numbers a case.

Masks come one image at a time, and memory holds one volume at most. What the numbers mean, and how they are summed
up, stands in `scanline.evaluate.segmentation`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.evaluate.binary import Confusion
from scanline.evaluate.bootstrap import divide
from scanline.evaluate.inputs import Floats, as_tolerance, refuse
from scanline.evaluate.lesions import lesions_of_masks
from scanline.evaluate.masks import Mask, as_mask, as_mask_pair, as_spacing
from scanline.evaluate.surfaces import distances_of_masks

LESION_POSITIVE, EMPTY_TRUE, UNKNOWN = "lesion_positive", "empty_true", "unknown"
KINDS = (LESION_POSITIVE, EMPTY_TRUE, UNKNOWN)
DEFAULT_TOLERANCE = 1.0  # mm, or a pixel: the finest that says anything on most grids; choose it for the lesion
PIXEL_COUNTS = ("tp", "fp", "fn", "tn")
LESION_COUNTS = ("truth_lesions", "found_lesions", "predicted_lesions", "false_lesions")
OVERLAPS = ("dice", "iou", "sensitivity", "specificity", "precision")
DISTANCES = ("hd95", "surface_dice")
VOLUMES = ("volume_difference", "absolute_volume_difference", "relative_volume_difference_percent")
CASE_METRICS = (*OVERLAPS, *DISTANCES, *VOLUMES)
_INTEGERS = ("predicted_pixels", *PIXEL_COUNTS, *LESION_COUNTS)
_TEXTS = ("kind", "distance_unit", "hd95_reason", "volume_unit")
CASE_COLUMNS = (
    "kind",
    "predicted_pixels",
    *PIXEL_COUNTS,
    *OVERLAPS,
    *DISTANCES,
    "surface_dice_tolerance",
    "distance_unit",
    "hd95_reason",
    *VOLUMES,
    "volume_unit",
    *LESION_COUNTS,
)
EMPTY_TRUTH = "the true mask is empty"
EMPTY_PREDICTION = "the predicted mask is empty"
NO_SLICE_SPACING = "the spacing of the slices is not known"
SLICES_MISSING = "slices are missing from the stack"
CUBIC_MM_PER_ML = 1000.0


@dataclass(frozen=True)
class MaskPair:
    """The masks of one image, with what places it; a null (None, NaN or NA) means unknown, or none.

    Attributes:
        image_id: Unique.
        predicted: Shape (height, width), as for `as_mask`.
        truth: Same shape; None where unknown.
        patient_id: Null where unknown.
        volume_id: Of the volume that the image is a slice of; null for an image by itself.
        slice_index: Its place in the volume, a whole number that rises by 1 from slice to slice.
        spacing_mm: (y, x), or (z, y, x) with the distance from slice to slice; None where unknown.
    """

    image_id: str
    predicted: NDArray[Any]
    truth: NDArray[Any] | None
    patient_id: str | None = None
    volume_id: str | None = None
    slice_index: int | None = None
    spacing_mm: Sequence[float] | None = None

    def __post_init__(self) -> None:
        for name in ("patient_id", "volume_id", "slice_index"):
            if pd.isna(getattr(self, name)):
                object.__setattr__(self, name, None)


@dataclass(frozen=True)
class SegmentationCases:
    """What was measured, case by case.

    Attributes:
        images: One row an image: image_id, patient_id, volume_id, and the columns of `measure_case`.
        volumes: One row a volume: volume_id, patient_id, slices, and the columns of `measure_case`.
    """

    images: pd.DataFrame
    volumes: pd.DataFrame


def measure_case(
    truth: NDArray[Any] | None,
    predicted: NDArray[Any],
    *,
    spacing_mm: Sequence[float] | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    where: str = "case",
) -> dict[str, Any]:
    """Measure one image, or one volume of consecutive slices.

    Args:
        truth: Shape (height, width) or (slices, height, width), as for `as_mask`; None where unknown.
        predicted: Same shape.
        spacing_mm: (y, x) or (z, y, x). A volume needs all three for HD95 and the surface Dice.
        tolerance: Of the surface Dice, in mm, or in pixels where the spacing is unknown.
        where: What it is, for messages.

    Returns:
        A row: kind; predicted_pixels; tp, fp, fn, tn (pixels); dice, iou, sensitivity, specificity, precision;
        hd95, surface_dice and surface_dice_tolerance, in distance_unit (mm or px), and hd95_reason where HD95 is
        undefined;
        volume_difference (predicted less true), absolute_volume_difference, in volume_unit (ml where z, y and x
        spacing are known, otherwise px), and relative_volume_difference_percent (of the true volume);
        truth_lesions, found_lesions, predicted_lesions, false_lesions. Undefined numbers are NaN and unknown
        counts None; for an unknown truth all but kind and predicted_pixels.

    Raises:
        InputError: If a mask is no mask, the shapes differ, or spacing or tolerance make no sense.

    Examples:
        >>> truth, predicted = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
        >>> truth[2:6, 2:6] = predicted[2:6, 3:7] = True
        >>> row = measure_case(truth, predicted)
        >>> row["kind"], row["dice"], row["hd95"], row["distance_unit"]
        ('lesion_positive', 0.75, 1.0, 'px')
    """
    limit = as_tolerance(tolerance)
    if truth is None:
        return _unknown_row(cv2.countNonZero(_rows_of(as_mask(predicted, f"{where}: prediction"))))
    pair = as_mask_pair(truth, predicted, where)
    steps = _check_spacing(spacing_mm, where)
    missing = NO_SLICE_SPACING if pair[0].ndim == 3 and (steps is None or len(steps) == 2) else None
    return _measure(*pair, steps, limit, missing)


def measure_cases(
    pairs: Iterable[MaskPair], *, tolerance: float = DEFAULT_TOLERANCE, where: str = "masks"
) -> SegmentationCases:
    """Measure a stream of images, and the volumes that their slices stack to.

    At most the slices of one volume are held in memory. A volume with a slice of unknown truth is unknown itself;
    its known slices count as images. Where slices are missing from a volume (a gap in slice_index), what needs
    neighbouring slices (HD95, surface Dice, lesions) is left out for it; the sums of pixels are those of the slices
    that there are.

    Args:
        pairs: The images; those of one volume one after the other, in rising slice_index.
        tolerance: As for `measure_case`.
        where: What they are, for messages.

    Raises:
        InputError: As `measure_case`, naming the image; for an image or a volume that comes twice, slices out of
            order, and slices of one volume that differ in shape, spacing or patient.

    Examples:
        >>> mask = np.ones((4, 4), bool)
        >>> pairs = [MaskPair(f"s{k}", mask, mask, "p", "v", k, (5, 1, 1)) for k in range(3)]
        >>> measure_cases(pairs).volumes[["volume_id", "slices", "tp", "dice", "hd95"]]
          volume_id  slices  tp  dice  hd95
        0         v       3  48   1.0   0.0
    """
    limit = as_tolerance(tolerance)
    images, volumes = [], []
    seen_images: set[str] = set()
    seen_volumes: set[str] = set()
    for volume_id, group in groupby(pairs, key=lambda pair: pair.volume_id):
        slices = []
        if volume_id is not None:
            _check_new(volume_id, seen_volumes, f"{where}: volume", "all its slices one after the other")
        for pair in group:
            _check_new(pair.image_id, seen_images, f"{where}: image", "each image once")
            images.append(_measure_image(pair, limit, f"{where}: image {pair.image_id}"))
            if volume_id is not None:
                slices.append(pair)
        if volume_id is not None:
            volumes.append(_measure_volume(volume_id, slices, limit, f"{where}: volume {volume_id}"))
    return SegmentationCases(
        _as_table(images, ("image_id", "patient_id", "volume_id")),
        _as_table(volumes, ("volume_id", "patient_id", "slices")),
    )


def measure_overlap(truth: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float]:
    """Dice, IoU, sensitivity, specificity and precision of one pair of masks, and nothing that takes longer.

    Args:
        truth: Boolean, 0/1 or 0/255, any shape.
        predicted: Same shape.

    Returns:
        OVERLAPS; NaN where undefined (both masks empty, for Dice and IoU).

    Raises:
        InputError: If the shapes differ, or a value is no mask's.

    Examples:
        >>> truth, predicted = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
        >>> truth[2:6, 2:6] = predicted[2:6, 3:7] = True
        >>> overlap = measure_overlap(truth, predicted)
        >>> overlap["dice"], overlap["iou"]
        (0.75, 0.6)
    """
    counts = _count_pixels(*as_mask_pair(truth, predicted)).astype(np.float64)
    return {name: float(value) for name, value in overlap_metrics(Confusion(*counts)).items()}


def _count_pixels(truth: Mask, predicted: Mask) -> NDArray[np.int64]:
    """PIXEL_COUNTS of checked masks, shape (4,)."""
    true_pixels, predicted_pixels = cv2.countNonZero(_rows_of(truth)), cv2.countNonZero(_rows_of(predicted))
    tp = cv2.countNonZero(cv2.bitwise_and(_rows_of(truth), _rows_of(predicted)))
    neither = truth.size - true_pixels - predicted_pixels + tp
    return np.array([tp, predicted_pixels - tp, true_pixels - tp, neither], dtype=np.int64)


def overlap_metrics(pixels: Confusion) -> dict[str, Floats]:
    """OVERLAPS from counts of pixels, each of their shape."""
    tp, fp, fn, tn = pixels.tp, pixels.fp, pixels.fn, pixels.tn
    return {
        "dice": divide(2 * tp, 2 * tp + fp + fn),
        "iou": divide(tp, tp + fp + fn),
        "sensitivity": divide(tp, tp + fn),
        "specificity": divide(tn, tn + fp),
        "precision": divide(tp, tp + fp),
    }


def kinds_of_cases(pixels: Floats) -> NDArray[np.object_]:
    """Kind of known cases by their pixel counts, shape (cases, 4) to (cases,)."""
    return np.where(pixels[:, 0] + pixels[:, 2] > 0, LESION_POSITIVE, EMPTY_TRUE).astype(object)


def _measure(
    truth: Mask, predicted: Mask, steps: tuple[float, ...] | None, limit: float, missing: str | None
) -> dict[str, Any]:
    """The row of a case of known truth; `missing` says why its slices make no 3-D surface."""
    counts = _count_pixels(truth, predicted)
    true_pixels, predicted_pixels = int(counts[[0, 2]].sum()), int(counts[[0, 1]].sum())
    overlaps = overlap_metrics(Confusion(*counts.astype(np.float64)))
    hd95, surface_dice, reason = float("nan"), float("nan"), missing
    if missing is None and true_pixels and predicted_pixels:
        distances = distances_of_masks(truth, predicted, steps and steps[-truth.ndim :])
        hd95, surface_dice = distances.hausdorff(), distances.surface_dice(limit)
    elif missing is None:
        reason = EMPTY_PREDICTION if true_pixels else EMPTY_TRUTH
        surface_dice = 0.0 if true_pixels or predicted_pixels else float("nan")
    pixel_ml = float(np.prod(steps)) / CUBIC_MM_PER_ML if steps is not None and len(steps) == 3 else None
    difference = (predicted_pixels - true_pixels) * (1.0 if pixel_ml is None else pixel_ml)
    lesions = lesions_of_masks(truth, predicted) if missing != SLICES_MISSING else None
    return {
        "kind": LESION_POSITIVE if true_pixels else EMPTY_TRUE,
        "predicted_pixels": predicted_pixels,
        **dict(zip(PIXEL_COUNTS, counts.tolist(), strict=True)),
        **{name: float(value) for name, value in overlaps.items()},
        "hd95": hd95,
        "surface_dice": surface_dice,
        "surface_dice_tolerance": limit,
        "distance_unit": None if missing else "mm" if steps else "px",
        "hd95_reason": reason,
        "volume_difference": difference,
        "absolute_volume_difference": abs(difference),
        "relative_volume_difference_percent": 100 * (predicted_pixels - true_pixels) / true_pixels
        if true_pixels
        else float("nan"),
        "volume_unit": "px" if pixel_ml is None else "ml",
        "truth_lesions": lesions and lesions.truth,
        "found_lesions": lesions and lesions.found,
        "predicted_lesions": lesions and lesions.predicted,
        "false_lesions": lesions and lesions.false,
    }


def _unknown_row(predicted_pixels: int) -> dict[str, Any]:
    row: dict[str, Any] = {name: None if name in (*_INTEGERS, *_TEXTS) else float("nan") for name in CASE_COLUMNS}
    return {**row, "kind": UNKNOWN, "predicted_pixels": predicted_pixels}


def _rows_of(mask: Mask) -> Mask:
    """The same pixels as one image, as cv2 takes them."""
    return mask.reshape(-1, mask.shape[-1])


def _check_spacing(spacing_mm: Sequence[float] | None, where: str) -> tuple[float, ...] | None:
    axes = 3 if spacing_mm is not None and len(spacing_mm) == 3 else 2
    return as_spacing(spacing_mm, axes, f"{where}: spacing_mm")


def _measure_image(pair: MaskPair, limit: float, where: str) -> dict[str, Any]:
    for name, mask in (("prediction", pair.predicted), ("truth", pair.truth)):
        if mask is not None and np.ndim(mask) != 2:
            refuse(f"{where}: {name}", f"shape {np.shape(mask)}", "(height, width)")
    row = measure_case(pair.truth, pair.predicted, spacing_mm=pair.spacing_mm, tolerance=limit, where=where)
    return {"image_id": pair.image_id, "patient_id": pair.patient_id, "volume_id": pair.volume_id, **row}


def _measure_volume(volume_id: str, slices: Sequence[MaskPair], limit: float, where: str) -> dict[str, Any]:
    indices = [pair.slice_index for pair in slices]
    known = [index for index in indices if index is not None and index == int(index)]
    steps = np.diff(known)
    if len(known) < len(slices) or (steps <= 0).any():
        refuse(f"{where}: slice_index", ", ".join(map(str, indices)), "whole numbers that rise from slice to slice")
    for name, entries in (
        ("patient_id", {pair.patient_id for pair in slices}),
        ("spacing_mm", {_check_spacing(pair.spacing_mm, where) for pair in slices}),
        ("shape", {np.shape(pair.predicted) for pair in slices}),
    ):
        if len(entries) > 1:
            refuse(f"{where}: {name}", " and ".join(sorted(map(str, entries))), "one for all slices")
    row = {"volume_id": volume_id, "patient_id": slices[0].patient_id, "slices": len(slices)}
    predicted = np.stack([as_mask(pair.predicted) for pair in slices])
    truths = [as_mask(pair.truth) for pair in slices if pair.truth is not None]
    if len(truths) < len(slices):
        return {**row, **_unknown_row(cv2.countNonZero(_rows_of(predicted)))}
    spacing = _check_spacing(slices[0].spacing_mm, where)
    missing = NO_SLICE_SPACING if spacing is None or len(spacing) == 2 else None
    return {
        **row,
        **_measure(np.stack(truths), predicted, spacing, limit, SLICES_MISSING if (steps > 1).any() else missing),
    }


def _check_new(name: str, seen: set[str], where: str, expected: str) -> None:
    if name in seen:
        refuse(f"{where} {name}", "it again", expected)
    seen.add(name)


def _as_table(rows: list[dict[str, Any]], ids: Sequence[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=[*ids, *CASE_COLUMNS])
    types = {name: "Int64" if name in (*_INTEGERS, "slices") else "float64" for name in table}
    types |= dict.fromkeys((*_TEXTS, *(name for name in ids if name != "slices")), "str")
    return table.astype(types)
