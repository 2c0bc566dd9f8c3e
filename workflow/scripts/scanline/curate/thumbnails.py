"""Thumbnails: 32 x 32 pixels, by which near-duplicates are proposed (perceptual hash) and confirmed (correlation)."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scanline.core.tables import THUMBNAIL_PX


def make_thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink an image to a square, whatever its shape, by Lanczos' filter over all pixels.

    Args:
        pixels: Array of shape (height, width), dtype uint8.

    Returns:
        Array of shape (32, 32), dtype uint8.
    """
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS), dtype=np.uint8)
