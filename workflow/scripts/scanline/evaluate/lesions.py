"""Lesion-wise detection by masks: which connected components of the truth are touched by the prediction.

A lesion is a connected component in which pixels may touch by an edge or a corner (8 neighbours in 2-D, 26 in
3-D). A true lesion is found if the prediction covers at least one of its pixels. A predicted component that
touches no true lesion is a false positive. One prediction may find several lesions, and several may find one.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scanline.evaluate.masks import Mask, as_mask, as_mask_pair, bounding_box

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class LesionCounts:
    """Connected components of one image or volume.

    Attributes:
        truth: True lesions.
        found: True lesions that the prediction touches.
        predicted: Predicted components.
        false: Predicted components that touch no true lesion.
    """

    truth: int
    found: int
    predicted: int
    false: int


def count_lesions(truth: NDArray[Any], predicted: NDArray[Any]) -> LesionCounts:
    """Count the lesions of a true and a predicted mask, and which of them meet.

    Args:
        truth: Shape (height, width) or (slices, height, width), as for `as_mask`.
        predicted: Same shape.

    Raises:
        InputError: If the masks are no masks, or differ in shape.

    Examples:
        >>> truth = np.array([[1, 1, 0, 0, 0, 1]], dtype=bool)
        >>> predicted = np.array([[0, 1, 1, 0, 0, 0]], dtype=bool)
        >>> count_lesions(truth, predicted)
        LesionCounts(truth=2, found=1, predicted=1, false=0)
    """
    return lesions_of_masks(*as_mask_pair(truth, predicted))


def label_lesions(mask: NDArray[Any]) -> tuple[Labels, int]:
    """Number the connected components of a mask.

    Args:
        mask: Shape (height, width) or (slices, height, width), as for `as_mask`.

    Returns:
        The component of each pixel, 1 to n, or 0 for background, int32 of the same shape; and n.

    Raises:
        InputError: If it is no mask.

    Examples:
        >>> label_lesions(np.array([[1, 0, 1], [0, 0, 1]], dtype=bool))
        (array([[1, 0, 2],
               [0, 0, 2]], dtype=int32), 2)
    """
    return _components(as_mask(mask))


def lesions_of_masks(truth: Mask, predicted: Mask) -> LesionCounts:
    """As `count_lesions`, for masks that are known to be in order: zeros and ones of one shape, uint8."""
    box = bounding_box(truth | predicted)
    truth, predicted = truth[box], predicted[box]
    true_labels, true_count = _components(truth)
    predicted_labels, predicted_count = _components(predicted)
    both = (truth & predicted) != 0
    found, touching = (len(np.unique(labels[both])) for labels in (true_labels, predicted_labels))
    return LesionCounts(true_count, found, predicted_count, predicted_count - touching)


def _components(mask: Mask) -> tuple[Labels, int]:
    if mask.size == 0:
        return np.zeros(mask.shape, np.int32), 0
    if mask.ndim == 2:
        count, flat = cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_32S)
        return flat.astype(np.int32, copy=False), count - 1
    labels, components = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    return labels.astype(np.int32, copy=False), int(components)
