"""DICOM files: their pixels windowed to 8-bit grey. What is read of their headers beside: `scanline.core.dicom_header`.

Only the elements of `ALLOWED` are read: no name, date or address ever leaves the file.

Compressed pixels are decoded by what pydicom finds installed: python-gdcm for JPEG, JPEG Lossless and JPEG-LS,
pylibjpeg-openjpeg for JPEG 2000, pydicom itself for RLE. JPEG of 12 bits (Extended, processes 2 and 4) is refused: what
decodes it, pylibjpeg-libjpeg, stands under the GPL.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.utils import pixel_array

from scanline.core.dicom_header import HEADER_ELEMENTS, identity_of, number_of
from scanline.core.images import ImageError, Window, windowed_stored

RESCALE = ("RescaleSlope", "RescaleIntercept")
VOI = ("WindowCenter", "WindowWidth", "VOILUTFunction")
PIXELS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)
ALLOWED = (*HEADER_ELEMENTS, *RESCALE, *VOI, *PIXELS)
# What pydicom raises on bytes that are none of a file; most of its own errors are of these kinds.
DAMAGED = (
    InvalidDicomError,
    BytesLengthException,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    EOFError,
    struct.error,
)
MAGIC_PLACE, MAGIC = 128, b"DICM"


def is_dicom(content: bytes) -> bool:
    """Whether bytes are a DICOM file of Part 10: `DICM` behind a preamble of 128 bytes."""
    return content[MAGIC_PLACE : MAGIC_PLACE + len(MAGIC)] == MAGIC


@contextmanager
def damage_told() -> Iterator[None]:
    """Tell all that goes wrong with a DICOM file inside the block as an ImageError."""
    try:
        yield
    except RuntimeError as error:
        raise ImageError(f"DICOM compressed in a way that is not decoded here: {str(error).splitlines()[0]}") from error
    except DAMAGED as error:
        raise ImageError(f"damaged DICOM: {error}") from error


def read_dicom(content: bytes) -> Dataset:
    """Read a DICOM file's allowed elements; nothing is decoded yet.

    Raises:
        ImageError: If it is no DICOM file, or damaged.
    """
    with damage_told():
        return pydicom.dcmread(io.BytesIO(content), specific_tags=list(ALLOWED))


def frame_count(dataset: Dataset) -> int:
    """Number of frames; 1 where the header says nothing."""
    with damage_told():
        return max(int(dataset.get("NumberOfFrames") or 1), 1)


def stored_values(dataset: Dataset, frame: int | None = None) -> NDArray[np.generic]:
    """Decode the stored values of a grey image.

    Args:
        dataset: See `read_dicom`.
        frame: Number of the frame, from 0; None for all.

    Returns:
        Shape (height, width), of all frames (frames, height, width), in the stored type.

    Raises:
        ImageError: If it has no pixels, or colours, is damaged, or is compressed in a way that is not decoded.
    """
    with damage_told():
        if "PixelData" not in dataset:
            raise ImageError("DICOM without pixels")
        colours = dataset.PhotometricInterpretation
        if dataset.SamplesPerPixel != 1 or colours not in {"MONOCHROME1", "MONOCHROME2"}:
            raise ImageError(f"DICOM of colours ({colours}), expected MONOCHROME1 or MONOCHROME2")
        return np.asarray(pixel_array(dataset, index=frame))


def rescale_of(dataset: Dataset) -> tuple[float, float]:
    """Slope and intercept from stored to modality values (PS3.3, C.11.1.1.2); 1 and 0 where they are absent."""
    with damage_told():
        slope, intercept = (number_of(dataset, name) for name in RESCALE)
        return 1.0 if slope is None else slope, 0.0 if intercept is None else intercept


def header_window(dataset: Dataset) -> Window | None:
    """The first window of the header; None where it has none that is linear.

    With the function LINEAR, the default, black is up to center - 0.5 - (width - 1) / 2 and white from
    center - 0.5 + (width - 1) / 2 on (PS3.3, C.11.2.1.2.1); LINEAR_EXACT is center and width as they stand.
    """
    with damage_told():
        center, width = (number_of(dataset, name) for name in VOI[:2])
        function = str(dataset.get("VOILUTFunction") or "LINEAR").strip()
    if center is None or width is None or function not in {"LINEAR", "LINEAR_EXACT"}:
        return None
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    return Window(center, width) if width > 0 else None


def grey_of_stored(stored: NDArray[np.generic], dataset: Dataset, window: Window) -> NDArray[np.uint8]:
    """Stored values to grey, of the same shape: rescaled, windowed, and MONOCHROME1, whose least is white, turned."""
    grey = windowed_stored(stored, *rescale_of(dataset), window)
    return 255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey


def decode_dicom(content: bytes, window: Window, frame: int | None = None) -> tuple[NDArray[np.uint8], dict[str, str]]:
    """Decode one grey image of a DICOM file, and window it.

    Stored values become modality values (HU in CT), then grey by `scanline.core.images.windowed`.

    Args:
        content: The file's bytes.
        window: In modality values.
        frame: Number of the frame, from 0; None of a file that has one alone.

    Returns:
        Array of shape (height, width), dtype uint8; and what the header tells of its identity, see `identity_of`.

    Raises:
        ImageError: If it is no DICOM file, has no such frame, no pixels or colours, is damaged, or is compressed in a
            way that is not decoded here.
    """
    dataset = read_dicom(content)
    frames = frame_count(dataset)
    if frame is None and frames > 1:
        raise ImageError("several frames in one file")
    grey = grey_of_stored(stored_values(dataset, frame or 0), dataset, window)
    with damage_told():
        return grey, identity_of(dataset)
