"""Test-time augmentation: an image is shown in several views, and what a network says of them is turned back.

Probabilities of views are averaged as those of an ensemble's members are, see `scanline.predict.ensemble`; boxes become
one set by weighted boxes fusion, see `scanline.predict.augmented_detector`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

from scanline.core.errors import InputError
from scanline.predict.test_time_augmentation_options import TtaOptions

SIZE_STEP_PX = 32  # what the strides of detectors and of encoders divide


@dataclass(frozen=True)
class View:
    """One way to show a square image.

    Attributes:
        size_px: Width and height that it is shown in.
        flip_x: Left and right are swapped.
        flip_y: Top and bottom are swapped.
    """

    size_px: int
    flip_x: bool = False
    flip_y: bool = False

    @property
    def _axes(self) -> list[int]:
        return [axis for axis, flipped in ((-1, self.flip_x), (-2, self.flip_y)) if flipped]

    def show(self, images: torch.Tensor) -> torch.Tensor:
        """Images of shape (b, 1, size, size), uint8, as the network is to see them: (b, 1, size_px, size_px), uint8."""
        if images.shape[-1] != self.size_px:
            images = _resize(images.to(torch.float32), (self.size_px, self.size_px), antialias=True)
            images = images.round().clamp(0, 255).to(torch.uint8)
        return images.flip(self._axes) if self._axes else images

    def turn_maps_back(self, maps: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        """Maps (b, k, h, w) of the view as maps of the image, in `shape` (height, width)."""
        maps = maps.flip(self._axes) if self._axes else maps
        return maps if tuple(maps.shape[-2:]) == shape else _resize(maps, shape)

    def turn_boxes_back(self, corners: ArrayLike, size: int) -> NDArray[np.float64]:
        """Corners (k, 4) in the view as corners in the image of `size` pixels; float64."""
        x0, y0, x1, y1 = np.asarray(corners, dtype=np.float64).reshape(-1, 4).T
        if self.flip_x:
            x0, x1 = self.size_px - x1, self.size_px - x0
        if self.flip_y:
            y0, y1 = self.size_px - y1, self.size_px - y0
        return np.asarray(np.stack([x0, y0, x1, y1], axis=1) * (size / self.size_px))


def _resize(images: torch.Tensor, shape: tuple[int, int], *, antialias: bool = False) -> torch.Tensor:
    return functional.interpolate(images, size=shape, mode="bilinear", align_corners=False, antialias=antialias)


def views_of(options: TtaOptions | None, size: int) -> tuple[View, ...]:
    """The views of images of `size` pixels: every scale as it is and in each flip; without options the image alone.

    Raises:
        InputError: If two scales come to the same number of pixels.
    """
    if options is None:
        return (View(size),)
    sizes = [
        size if scale == 1 else max(1, round(scale * size / SIZE_STEP_PX)) * SIZE_STEP_PX for scale in options.scales
    ]
    if len(set(sizes)) < len(sizes):
        raise InputError(
            "test_time_augmentation.scales",
            found=f"{', '.join(map(str, options.scales))}: at {size} px these are {', '.join(map(str, sizes))} px",
            expected=f"scales that lie {SIZE_STEP_PX} px apart or more",
            next_step="Choose scales further apart, or a larger image_size_px.",
        )
    flips = [
        (x, y)
        for y in ((False, True) if options.vertical_flip else (False,))
        for x in ((False, True) if options.horizontal_flip else (False,))
    ]
    return tuple(View(one, *flip) for one in sizes for flip in flips)


def require_sizes(views: Sequence[View], size: int, network: Callable[[torch.Tensor], object]) -> None:
    """Check that a network takes images as large as the views.

    Args:
        views: From `views_of`.
        size: What it was trained at.
        network: Called with black images (1, 1, size_px, size_px), uint8.

    Raises:
        InputError: If it does not.
    """
    for other in sorted({view.size_px for view in views} - {size}):
        try:
            network(torch.zeros(1, 1, other, other, dtype=torch.uint8))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise InputError(
                "test_time_augmentation.scales",
                found=f"images of {other} px, on which the network fails: {str(error)[:200]}",
                expected=f"sizes that it takes, near the {size} px that it was trained at",
                next_step="Change the scales of this model in the study file.",
            ) from error
