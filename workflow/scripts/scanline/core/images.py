"""Decoding of image files, strict: a damaged file is an error, never a grey patch."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError


class ImageError(Exception):
    """A file that is no image, or a damaged one."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image file completely, whatever its suffix says, to 8-bit grey.

    The file type comes from the content. For PNG every chunk's checksum is verified, which decoding alone
    does not do; for JPEG the whole stream is decoded, which `PIL.Image.verify` alone does not do.

    Returns:
        Array of shape (height, width), dtype uint8. Colour is weighted by ITU-R 601-2 luma.

    Raises:
        ImageError: If the file is no image, truncated or damaged.
        OSError: If the file cannot be opened at all.
    """
    if not path.exists():
        raise ImageError("no such file")
    try:
        with Image.open(path) as image:
            image.verify()
        with Image.open(path) as image:
            image.load()
            return np.asarray(image.convert("L"), dtype=np.uint8)
    except UnidentifiedImageError as error:
        raise ImageError("not an image of a known type") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"damaged: {error}") from error
