"""Thumbnails: 32 x 32 pixels, by which near-duplicates are proposed (perceptual hash) and confirmed (correlation)."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scanline.core.tables import THUMBNAIL_PX

HALVED_FROM = 8 * THUMBNAIL_PX  # pixels of the shorter side; what is left for the slower filter has 4 to 8 a pixel


def make_thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink an image to a square, whatever its shape: halved by means while it is large, then by Lanczos' filter.

    Args:
        pixels: Array of shape (height, width), dtype uint8.

    Returns:
        Array of shape (32, 32), dtype uint8.
    """
    while min(pixels.shape) >= HALVED_FROM:
        height, width = pixels.shape
        pixels = np.asarray(cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS), dtype=np.uint8)
