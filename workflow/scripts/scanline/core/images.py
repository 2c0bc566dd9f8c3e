"""Decoding of image files, strict: a damaged file is an error, never a grey patch."""

import io
import struct
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from scanline.core.grey_methods import GreyMethod
from scanline.core.image_ends import missing_end

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "AVIF", "PPM")  # no format that runs another program to decode
EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
SIXTEEN_BIT_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
# What a source may ask to have mended, as pictures from the web need it; other images are never changed.
EXIF_ORIENTATION, FIRST_FRAME, SIXTEEN_BITS = "exif_orientation", "first_frame", "sixteen_bits"
REPAIRS = (EXIF_ORIENTATION, FIRST_FRAME, SIXTEEN_BITS)
TURNED_OR_MIRRORED = range(2, 9)  # EXIF's orientations but 1, upright
PNG_START = b"\x89PNG\r\n\x1a\n"
# What Pillow raises on bytes that are none of an image, its own OSError and SyntaxError first.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

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


def read_image(path: Path, repairs: Collection[str] = ()) -> NDArray[np.uint8]:
    """Decode an image file completely, whatever its suffix says, to 8-bit grey.

    Args:
        path: The file.
        repairs: Those of `REPAIRS` that are made where the file needs them.

    Returns:
        Array of shape (height, width), dtype uint8; see `decode_image`.

    Raises:
        ImageError: If the file is missing, no image, truncated or damaged.
        OSError: If the file cannot be opened at all.
    """
    if not path.is_file():
        raise ImageError("no such file")
    return decode_image(path.read_bytes(), repairs)


def decode_image(content: bytes, repairs: Collection[str] = ()) -> NDArray[np.uint8]:
    """Decode the bytes of an image file completely to 8-bit grey; see `opened_image` for what is refused.

    Returns:
        Array of shape (height, width), dtype uint8; see `grey_pixels`.

    Raises:
        ImageError: If it is not such an image.
    """
    with opened_image(content, repairs) as image:
        return grey_pixels(image, needed_repairs(image, repairs))


def needed_repairs(image: Image.Image, repairs: Collection[str]) -> tuple[str, ...]:
    """Those of the wanted repairs that an opened image needs, in the order of `REPAIRS`.

    * exif_orientation: its EXIF says that it was stored turned or mirrored (tag 0x0112, values 2 to 8).
    * first_frame: it is animated, or has several pages.
    * sixteen_bits: it has one channel of more than 8 bits.
    """
    needed = []
    if EXIF_ORIENTATION in repairs and image.getexif().get(ExifTags.Base.Orientation) in TURNED_OR_MIRRORED:
        needed.append(EXIF_ORIENTATION)
    if FIRST_FRAME in repairs and _frames(image) > 1:
        needed.append(FIRST_FRAME)
    if SIXTEEN_BITS in repairs and image.mode in SIXTEEN_BIT_MODES:
        needed.append(SIXTEEN_BITS)
    return tuple(needed)


def _frames(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1))


def grey_pixels(image: Image.Image, repairs: Collection[str] = ()) -> NDArray[np.uint8]:
    """Decode an image completely to 8-bit grey.

    Args:
        image: As it was opened: at its first frame.
        repairs: From `needed_repairs`.

    Returns:
        Array of shape (height, width), dtype uint8. Colour is weighted by ITU-R 601-2 luma; transparency is dropped.
        Values of more than 8 bits, of which nothing tells the range, are stretched: the least to 0, the largest to 255.
    """
    image.load()
    if EXIF_ORIENTATION in repairs:
        image = ImageOps.exif_transpose(image)
    if SIXTEEN_BITS in repairs:
        return _stretched(np.asarray(image, dtype=np.float64))
    return np.asarray(image if image.mode == "L" else image.convert("L"), dtype=np.uint8)


def _stretched(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    least, largest = values.min(), values.max()
    stretched: NDArray[np.uint8] = np.rint(255 * (values - least) / max(largest - least, 1.0)).astype(np.uint8)
    return stretched


@contextmanager
def opened_image(content: bytes, repairs: Collection[str] = ()) -> Iterator[Image.Image]:
    """Open the bytes of an image file; what goes wrong while it is decoded inside the block is told in one way.

    The file type comes from the content. For PNG every chunk's checksum is verified and the last chunk must
    be whole, which decoding alone does not ask for; for JPEG the whole stream is decoded, which
    `PIL.Image.verify` alone does not do. GIF and TIFF must reach their own end, and of an animation every
    frame is decoded, though the first alone is wanted. JPEG has no checksum: a flipped bit that leaves a valid
    stream shows only against the SHA-256 of the manifest.

    Args:
        content: Of the file.
        repairs: Those of `REPAIRS` that are wanted: what they mend is not refused here.

    Raises:
        ImageError: If it is no image, truncated, damaged, has several frames, or has more than 8 bits a
            channel, which a plain conversion would clip to white.
    """
    try:
        if content.startswith(PNG_START):
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                image.verify()
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            missing = missing_end(image.format, content)
            if missing is not None:
                raise ImageError(f"damaged: {missing}")
            needed = needed_repairs(image, repairs)
            if image.mode not in EIGHT_BIT_MODES and SIXTEEN_BITS not in needed:
                raise ImageError(f"more than 8 bits a channel (mode {image.mode})")
            if FIRST_FRAME in needed:
                _decode_every_frame(content)
            elif _frames(image) > 1:
                raise ImageError("several frames in one file")
            yield image
    except UnidentifiedImageError as error:
        raise ImageError("not an image of a known type") from error
    except DAMAGED as error:
        text = " ".join(str(error).split())
        told = text if isinstance(error, DAMAGED[:3]) and text else f"{type(error).__name__} {text}".rstrip()
        raise ImageError(f"damaged: {told}") from error


def _decode_every_frame(content: bytes) -> None:
    """Decode to the last frame, or page, so that a file that breaks off after the first is not taken for whole."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        for number in range(_frames(image)):
            image.seek(number)
            image.load()
