"""Boxes in the forms that formats and networks use, and from one pixel grid to another and back.

Coordinates are continuous pixels with the origin at the top left corner of the pixel grid. Each function takes
and returns arrays of shape (k, 4), float64, and leaves its input as it was.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Boxes = NDArray[np.float64]


def _boxes(values: ArrayLike) -> Boxes:
    return np.asarray(values, dtype=np.float64).reshape(-1, 4)


def corners_from_xywh(boxes: ArrayLike) -> Boxes:
    """COCO's x, y, width, height to corners: xmin, ymin, xmax, ymax."""
    boxes = _boxes(boxes)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def xywh_from_corners(boxes: ArrayLike) -> Boxes:
    """Corners xmin, ymin, xmax, ymax to COCO's x, y, width, height."""
    boxes = _boxes(boxes)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def corners_from_voc(boxes: ArrayLike) -> Boxes:
    """Pascal VOC's corners to continuous ones: it counts pixels from 1, and its last pixel belongs to the box."""
    return np.asarray(_boxes(boxes) - np.array([1.0, 1.0, 0.0, 0.0]))


def voc_from_corners(boxes: ArrayLike) -> Boxes:
    """Continuous corners to Pascal VOC's; whole pixels become whole numbers."""
    return np.asarray(_boxes(boxes) + np.array([1.0, 1.0, 0.0, 0.0]))


def corners_from_yolo(boxes: ArrayLike, width: float, height: float) -> Boxes:
    """YOLO's centre x, centre y, width, height, in shares of the image, to corners in pixels."""
    boxes = _boxes(boxes)
    half = boxes[:, 2:] / 2
    shares = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    return np.asarray(shares * np.array([width, height, width, height], dtype=np.float64))


def yolo_from_corners(boxes: ArrayLike, width: float, height: float) -> Boxes:
    """Corners in pixels to YOLO's centre x, centre y, width, height, in shares of the image."""
    shares = _boxes(boxes) / np.array([width, height, width, height], dtype=np.float64)
    return np.concatenate([(shares[:, :2] + shares[:, 2:]) / 2, shares[:, 2:] - shares[:, :2]], axis=1)


def scale_boxes(boxes: ArrayLike, before: tuple[float, float], after: tuple[float, float]) -> Boxes:
    """Carry corners from an image to its resized copy.

    Args:
        boxes: Corners, or x, y, width, height: both scale alike.
        before: Width and height of the image that they lie in.
        after: Width and height of the copy.
    """
    x, y = after[0] / before[0], after[1] / before[1]
    return np.asarray(_boxes(boxes) * np.array([x, y, x, y]))


@dataclass(frozen=True)
class Letterbox:
    """How an image is fitted into a square with its aspect ratio kept, the rest being margin.

    Attributes:
        scale: Pixels of the square to one of the image.
        left: Margin on the left, in pixels of the square.
        top: Margin at the top.
    """

    scale: float
    left: float
    top: float

    def apply(self, boxes: ArrayLike) -> Boxes:
        """Corners in the image to corners in the square."""
        return _boxes(boxes) * self.scale + self._shift()

    def invert(self, boxes: ArrayLike) -> Boxes:
        """Corners in the square to corners in the image."""
        return (_boxes(boxes) - self._shift()) / self.scale

    def _shift(self) -> Boxes:
        return np.array([[self.left, self.top, self.left, self.top]])


def letterbox(width: float, height: float, size: float) -> Letterbox:
    """The letterbox that centres an image of `width` and `height` in a square of `size`."""
    scale = min(size / width, size / height)
    return Letterbox(scale, (size - width * scale) / 2, (size - height * scale) / 2)
