"""Distances between the surfaces of two masks: HD95 and the surface Dice, in 2-D and in 3-D.

The definitions are those of Nikolov et al., J Med Internet Res 23 (2021) e26151, arXiv:1809.04430, and of their
package `surface-distance`, whose tables of element sizes are used. A surface passes between pixels: each 2 x 2
(or 2 x 2 x 2) neighbourhood that holds both lesion and background is a surface element, placed at the corner
that its pixels share, with a length (or an area) by its pattern. What lies outside the image counts as
background, so that a lesion cut off by the image border has a surface there. The distance of an element is that
to the nearest element of the other surface.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from surface_distance import lookup_tables

from scanline.evaluate.inputs import Bools, Floats, as_tolerance
from scanline.evaluate.masks import Mask, Spacing, as_mask_pair, as_spacing, bounding_box

HD95_PERCENTILE = 95.0
LARGEST_EXACT_SIDE = 1024  # of what cv2 transforms: within it float32 tells all squared distances apart
TOLERANCE_ROUNDING = 1e-9  # relative: three steps of 0.1 mm lie within 0.3 mm, whatever binary fractions say

_KERNELS: dict[int, NDArray[np.int_]] = {
    2: lookup_tables.ENCODE_NEIGHBOURHOOD_2D_KERNEL,
    3: lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL,
}
_SIZES: dict[int, Callable[[Spacing], Floats]] = {
    2: lookup_tables.create_table_neighbour_code_to_contour_length,
    3: lookup_tables.create_table_neighbour_code_to_surface_area,
}


@dataclass(frozen=True)
class SurfaceDistances:
    """Distance of every surface element to the other surface, in the unit of the spacing.

    Attributes:
        of_truth: From the elements of the true surface, rising, shape (m,); infinite without a predicted one.
        of_prediction: From the elements of the predicted surface, rising, shape (n,); infinite without a true one.
        truth_sizes: Length or area of the elements of the true surface, shape (m,).
        predicted_sizes: Length or area of the elements of the predicted surface, shape (n,).
    """

    of_truth: Floats
    of_prediction: Floats
    truth_sizes: Floats
    predicted_sizes: Floats

    def hausdorff(self, percentile: float = HD95_PERCENTILE) -> float:
        """The larger of the two directed percentiles of the distances, elements weighted by their size.

        Args:
            percentile: 0 to 100; 100 is the Hausdorff distance itself.

        Returns:
            NaN where either surface is empty.
        """
        if len(self.of_truth) == 0 or len(self.of_prediction) == 0:
            return float("nan")
        return max(
            _percentile(self.of_truth, self.truth_sizes, percentile),
            _percentile(self.of_prediction, self.predicted_sizes, percentile),
        )

    def surface_dice(self, tolerance: float) -> float:
        """Share of both surfaces, by size, that lies within the tolerance of the other.

        Args:
            tolerance: In the unit of the distances, at least 0; a distance equal to it lies within.

        Returns:
            0 where one surface is empty, NaN where both are.
        """
        limit = tolerance * (1 + TOLERANCE_ROUNDING)
        within = np.sum(self.truth_sizes[self.of_truth <= limit])
        within += np.sum(self.predicted_sizes[self.of_prediction <= limit])
        total = np.sum(self.truth_sizes) + np.sum(self.predicted_sizes)
        return float(within / total) if total > 0 else float("nan")


def surface_distances(
    truth: NDArray[Any], predicted: NDArray[Any], spacing_mm: Sequence[float] | None = None
) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks.

    Args:
        truth: Shape (height, width) or (slices, height, width), as for `as_mask`.
        predicted: Same shape.
        spacing_mm: (y, x) or (z, y, x); None measures in pixels.

    Raises:
        InputError: If the masks are no masks, differ in shape, or the spacing does not fit them.

    Examples:
        >>> truth, predicted = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
        >>> truth[2:6, 2:6] = predicted[2:6, 3:7] = True
        >>> distances = surface_distances(truth, predicted, spacing_mm=(0.5, 0.5))
        >>> distances.hausdorff()
        0.5
        >>> distances.surface_dice(tolerance=0.25)
        0.5
    """
    return distances_of_masks(*as_mask_pair(truth, predicted), as_spacing(spacing_mm, np.ndim(truth)))


def hd95(truth: NDArray[Any], predicted: NDArray[Any], spacing_mm: Sequence[float] | None = None) -> float:
    """The 95th percentile Hausdorff distance, in mm, or in pixels without spacing; NaN if either mask is empty.

    Args:
        truth: As for `surface_distances`.
        predicted: As for `surface_distances`.
        spacing_mm: As for `surface_distances`.

    Raises:
        InputError: As `surface_distances`.

    Examples:
        >>> truth, predicted = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
        >>> truth[2, 2] = predicted[2, 5] = True
        >>> hd95(truth, predicted)
        3.0
    """
    return surface_distances(truth, predicted, spacing_mm).hausdorff()


def surface_dice(
    truth: NDArray[Any], predicted: NDArray[Any], tolerance: float, spacing_mm: Sequence[float] | None = None
) -> float:
    """The surface Dice; 0 if one mask is empty, NaN if both are.

    No tolerance fits all lesions: Nikolov et al. take the disagreement of experts on the same structure.

    Args:
        truth: As for `surface_distances`.
        predicted: As for `surface_distances`.
        tolerance: In mm, or in pixels without spacing.
        spacing_mm: As for `surface_distances`.

    Raises:
        InputError: As `surface_distances`, and for a tolerance that is negative or not finite.

    Examples:
        >>> truth, predicted = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
        >>> truth[2:6, 2:6] = predicted[2:6, 3:7] = True
        >>> surface_dice(truth, predicted, tolerance=1)
        1.0
    """
    limit = as_tolerance(tolerance)
    return surface_distances(truth, predicted, spacing_mm).surface_dice(limit)


def distances_of_masks(truth: Mask, predicted: Mask, spacing: Spacing | None) -> SurfaceDistances:
    """As `surface_distances`, for masks and a spacing that are known to be in order.

    Only the box that holds both lesions is looked at: it holds both surfaces, so nothing is lost.

    Args:
        truth: Zeros and ones, uint8.
        predicted: Same shape.
        spacing: One number for each axis; None for pixels.
    """
    steps = spacing or (1.0,) * truth.ndim
    box = bounding_box(truth | predicted)
    truth_codes, predicted_codes = _neighbour_codes(truth[box]), _neighbour_codes(predicted[box])
    truth_surface, predicted_surface = _is_surface(truth_codes), _is_surface(predicted_codes)
    sizes = _element_sizes(steps)
    of_truth, truth_sizes = _by_distance(
        _distances_to(predicted_surface, truth_surface, steps), sizes[truth_codes[truth_surface]]
    )
    of_prediction, predicted_sizes = _by_distance(
        _distances_to(truth_surface, predicted_surface, steps), sizes[predicted_codes[predicted_surface]]
    )
    return SurfaceDistances(of_truth, of_prediction, truth_sizes, predicted_sizes)


def _neighbour_codes(mask: Mask) -> Mask:
    """Which pixels of each neighbourhood are lesion, one bit each, at every corner of the pixel grid."""
    padded = np.pad(mask, 1)
    codes = np.zeros([side + 1 for side in mask.shape], np.uint8)
    for offset in product((0, 1), repeat=mask.ndim):
        part = tuple(slice(start, start + side + 1) for start, side in zip(offset, mask.shape, strict=True))
        codes |= padded[part] * np.uint8(_KERNELS[mask.ndim][offset])
    return codes


def _is_surface(codes: Mask) -> Bools:
    """Whether a neighbourhood holds both lesion and background."""
    surface: Bools = (codes != 0) & (codes != _KERNELS[codes.ndim].sum())
    return surface


@lru_cache(maxsize=256)
def _element_sizes(steps: Spacing) -> Floats:
    """Length or area of a surface element by its neighbour code."""
    return _SIZES[len(steps)](steps)


def _distances_to(surface: Bools, others: Bools, steps: Spacing) -> Floats:
    """Distance from each element of the others to the nearest element of a surface, in the order of the grid.

    cv2 transforms in float32, and with several threads its last bits may differ from run to run (OpenCV issue
    24082). Squared distances on a square grid are whole numbers: they are rounded to those, and so are exact.
    """
    if not surface.any():
        return np.full(np.count_nonzero(others), np.inf)
    if surface.ndim == 2 and steps[0] == steps[1] and max(surface.shape) <= LARGEST_EXACT_SIDE:
        transform = cv2.distanceTransform((~surface).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return np.sqrt(np.rint(transform[others].astype(np.float64) ** 2)) * steps[0]
    exact: Floats = distance_transform_edt(~surface, sampling=steps)
    return exact[others]


def _by_distance(distances: Floats, sizes: Floats) -> tuple[Floats, Floats]:
    """Both, sorted by distance and then by size, the order in which `surface-distance` adds the sizes up."""
    order = np.lexsort((sizes, distances))
    return distances[order], sizes[order]


def _percentile(distances: Floats, sizes: Floats, percentile: float) -> float:
    """The first distance at which the share of the surface reaches the percentile."""
    reached = int(np.searchsorted(np.cumsum(sizes) / np.sum(sizes), percentile / 100))
    return float(distances[min(reached, len(distances) - 1)])
