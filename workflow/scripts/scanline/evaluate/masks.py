"""Binary masks: what is accepted as one, and the part of two masks that holds anything."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scanline.evaluate.inputs import refuse

Mask = NDArray[np.uint8]
Spacing = tuple[float, ...]

LARGEST_MASK_VALUE = 255


def as_mask(values: NDArray[Any], where: str = "mask") -> Mask:
    """A binary mask as zeros and ones.

    Args:
        values: Shape (height, width) or (slices, height, width); booleans, or uint8 of 0 and 1 or of 0 and 255.
        where: What it is, for messages.

    Returns:
        Same shape, uint8 in C order; it may share memory with `values`.

    Raises:
        InputError: For another dtype (a map of probabilities is no mask), other values, or another number of axes.

    Examples:
        >>> as_mask(np.array([[0, 255], [255, 0]], dtype=np.uint8))
        array([[0, 1],
               [1, 0]], dtype=uint8)
    """
    array = np.ascontiguousarray(values)
    if array.ndim not in (2, 3) or array.size == 0:
        refuse(where, f"shape {array.shape}", "(height, width) or (slices, height, width), each at least 1")
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    if array.dtype != np.uint8:
        refuse(where, f"dtype {array.dtype}", "booleans, or uint8 of 0 and 1 or of 0 and 255")
    flat = array.reshape(-1, array.shape[-1])
    largest = int(cv2.minMaxLoc(flat)[1])
    only_largest = cv2.sumElems(flat)[0] == largest * cv2.countNonZero(flat)
    if largest not in (0, 1, LARGEST_MASK_VALUE) or not only_largest:
        found = ", ".join(str(value) for value in np.unique(array)[:5])
        refuse(where, f"the values {found}", "0 and 1, or 0 and 255")
    return array & np.uint8(1) if largest == LARGEST_MASK_VALUE else array


def as_mask_pair(truth: NDArray[Any], predicted: NDArray[Any], where: str = "masks") -> tuple[Mask, Mask]:
    """A true and a predicted mask of one shape, each as of `as_mask`.

    Raises:
        InputError: If either is no mask, or their shapes differ.
    """
    pair = as_mask(truth, f"{where}: truth"), as_mask(predicted, f"{where}: prediction")
    if pair[0].shape != pair[1].shape:
        refuse(where, f"truth of shape {pair[0].shape} and prediction of shape {pair[1].shape}", "one shape for both")
    return pair


def as_spacing(spacing_mm: Sequence[float] | None, axes: int, where: str = "spacing_mm") -> Spacing | None:
    """Distances between pixel centres in mm, in the order of the axes: (y, x) or (z, y, x); None where unknown.

    Raises:
        InputError: If there is not one positive finite number for each axis.
    """
    if spacing_mm is None:
        return None
    spacing = np.asarray(spacing_mm)
    if spacing.shape != (axes,) or spacing.dtype.kind not in "iuf" or not (np.isfinite(spacing) & (spacing > 0)).all():
        refuse(where, str(spacing_mm), f"{axes} positive numbers of mm")
    return tuple(float(step) for step in spacing)


def bounding_box(mask: Mask) -> tuple[slice, ...]:
    """The smallest box that holds every pixel of a mask that is not 0; empty slices where there is none.

    Args:
        mask: Shape (height, width) or (slices, height, width).
    """
    if mask.ndim == 2:
        x, y, width, height = cv2.boundingRect(mask)
        return slice(y, y + height), slice(x, x + width)
    slices = np.flatnonzero([cv2.countNonZero(one) for one in mask])
    if len(slices) == 0:
        return (slice(0, 0),) * mask.ndim
    first, last = int(slices[0]), int(slices[-1]) + 1
    return slice(first, last), *bounding_box(mask[first:last].max(axis=0))
