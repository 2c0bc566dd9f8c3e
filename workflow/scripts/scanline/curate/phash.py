"""A perceptual hash: images that look alike differ in few of its 64 bits. It proposes pairs, it proves nothing."""

import numpy as np
from numpy.typing import NDArray

from scanline.core.tables import THUMBNAIL_PX

BITS_PER_SIDE = 8

# DCT-II of 32 values, the 8 lowest frequencies: shape (8, 32).
_LOWEST = np.cos(np.pi / THUMBNAIL_PX * np.outer(np.arange(BITS_PER_SIDE), np.arange(THUMBNAIL_PX) + 0.5))

# Standard deviation of the thumbnail, in grey levels of 255, below which an image has no content to tell it by:
# what is left is noise and rounding, of the order of one grey level, and would decide every bit of the hash.
# In PHE-SICH-CT-IDS it parts blank and nearly blank slices (at most 1.3) from the faintest vertex slice (2.9).
LOW_CONTENT_SD = 2.0


def perceptual_hash(thumbnail: NDArray[np.uint8]) -> str | None:
    """64-bit DCT hash (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010).

    The two-dimensional DCT-II of the thumbnail is taken, and each of the 8 x 8 lowest frequencies set to 1 where it is
    above their median.

    Args:
        thumbnail: Array of shape (32, 32), dtype uint8, as of `scanline.curate.thumbnails.make_thumbnail`.

    Returns:
        16 hexadecimal digits; None for an image of low content (blank or nearly uniform), which must tie nothing.
    """
    levels = thumbnail.astype(np.float64)
    if levels.std() < LOW_CONTENT_SD:
        return None
    lowest = (_LOWEST @ levels @ _LOWEST.T).ravel()
    below, above = np.sort(lowest)[31:33]
    return np.packbits(lowest > (below + above) / 2).tobytes().hex()
