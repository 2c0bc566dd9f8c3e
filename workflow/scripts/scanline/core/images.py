"""Decoding of image files, strict: a damaged file is an error, never a grey patch."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from scanline.core.grey_methods import GreyMethod

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "PPM")  # no format that runs another program to decode
EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"  # the last chunk, whole: no other content is allowed in it


LOOKUP_VALUES = 65_536  # of 16 bits


class ImageError(Exception):
    """A file that is no image, or a damaged one."""


@dataclass(frozen=True)
class Window:
    """The values that are spread over grey, in Hounsfield units for CT; the brain's by default."""

    center_hu: float = 40.0
    width_hu: float = 80.0


@dataclass(frozen=True)
class GreyScale:
    """How the values of DICOM images and volumes become grey.

    Attributes:
        method: `window` takes the one below; `header_window` the one that a DICOM header tells, and percentiles where
            it tells none; `percentiles` of the file's own values, as MR has no unit.
        window: For `window`.
        black_percentile: The value that becomes black, in percent of all pixels of the file.
        white_percentile: The value that becomes white.
    """

    method: GreyMethod = "window"
    window: Window = Window()
    black_percentile: float = 0.5
    white_percentile: float = 99.5


def window_of_percentiles(values: NDArray[Any], black: float, white: float) -> Window:
    """The window whose black and white are percentiles of values of any shape; 1 wide where both are one value.

    A percentile is the smallest value that so many of all do not exceed (numpy's `inverted_cdf`). Values that are not
    finite are left out.

    Raises:
        ImageError: If no value is finite.
    """
    least, largest = _range_of_integers(values)
    if largest - least < LOOKUP_VALUES:
        counts = np.bincount((values.ravel() - np.asarray(least, values.dtype)).astype(np.int64))
        ranks = np.ceil(np.array([black, white]) / 100 * values.size).clip(1)
        low, high = (float(place + least) for place in np.searchsorted(np.cumsum(counts), ranks))
    else:
        known = values[np.isfinite(values)]
        if not known.size:
            raise ImageError("no value is a finite number")
        low, high = (float(value) for value in np.percentile(known, (black, white), method="inverted_cdf"))
    return Window((low + high) / 2, high - low) if high > low else Window(low + 0.5, 1.0)


def _range_of_integers(values: NDArray[Any]) -> tuple[int, float]:
    """Least and largest of integers; 0 and infinity where there are none, or where they are no integers."""
    if values.dtype.kind not in "iu" or not values.size:
        return 0, np.inf
    return int(values.min()), int(values.max())


def windowed_stored(stored: NDArray[Any], slope: float, intercept: float, window: Window) -> NDArray[np.uint8]:
    """`windowed` of stored * slope + intercept; integers through a table of their values, to the same grey."""
    least, largest = _range_of_integers(stored)
    if largest - least >= min(LOOKUP_VALUES, stored.size):
        return windowed(np.nan_to_num(stored.astype(np.float64) * slope + intercept), window)
    table = windowed(np.arange(least, largest + 1, dtype=np.float64) * slope + intercept, window)
    return table[stored - np.asarray(least, stored.dtype)] if least >= 0 else table[stored.astype(np.int64) - least]


def windowed(values: NDArray[np.floating], window: Window) -> NDArray[np.uint8]:
    """Map values to 8-bit grey, of the same shape.

    y = ((x - center) / width + 0.5) * 255, clipped to 0 ... 255 and rounded: the VOI LUT function
    LINEAR_EXACT of DICOM PS3.3, C.11.2.1.3.2. center - width / 2 is black, center + width / 2 is white.
    """
    black = window.center_hu - window.width_hu / 2
    above_black = np.clip(np.asarray(values, np.float64) - black, 0, window.width_hu)
    return np.rint(255 * above_black / window.width_hu).astype(np.uint8)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image file completely, whatever its suffix says, to 8-bit grey.

    Returns:
        Array of shape (height, width), dtype uint8; see `decode_image`.

    Raises:
        ImageError: If the file is missing, no image, truncated or damaged.
        OSError: If the file cannot be opened at all.
    """
    if not path.is_file():
        raise ImageError("no such file")
    return decode_image(path.read_bytes())


def decode_image(content: bytes) -> NDArray[np.uint8]:
    """Decode the bytes of an image file completely to 8-bit grey; see `opened_image` for what is refused.

    Returns:
        Array of shape (height, width), dtype uint8; see `grey_pixels`.

    Raises:
        ImageError: If it is not such an image.
    """
    with opened_image(content) as image:
        return grey_pixels(image)


def grey_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Decode an image completely to 8-bit grey.

    Returns:
        Array of shape (height, width), dtype uint8. Colour is weighted by ITU-R 601-2 luma; transparency is dropped.
    """
    image.load()
    return np.asarray(image if image.mode == "L" else image.convert("L"), dtype=np.uint8)


@contextmanager
def opened_image(content: bytes) -> Iterator[Image.Image]:
    """Open the bytes of an image file; what goes wrong while it is decoded inside the block is told in one way.

    The file type comes from the content. For PNG every chunk's checksum is verified and the last chunk must
    be whole, which decoding alone does not ask for; for JPEG the whole stream is decoded, which
    `PIL.Image.verify` alone does not do. JPEG has no checksum: a flipped bit that leaves a valid stream
    shows only against the SHA-256 of the manifest.

    Raises:
        ImageError: If it is no image, truncated, damaged, has several frames, or has more than 8 bits a
            channel, which a plain conversion would clip to white.
    """
    try:
        if content.startswith(PNG_START):
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                image.verify()
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.format == "PNG" and content.rfind(PNG_END) < 0:
                raise ImageError("damaged: the file ends before its last chunk does")
            if image.mode not in EIGHT_BIT_MODES:
                raise ImageError(f"more than 8 bits a channel (mode {image.mode})")
            if getattr(image, "n_frames", 1) > 1:
                raise ImageError("several frames in one file")
            yield image
    except UnidentifiedImageError as error:
        raise ImageError("not an image of a known type") from error
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise ImageError(f"damaged: {error}") from error
