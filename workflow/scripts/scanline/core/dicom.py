"""DICOM files: their pixels windowed to 8-bit grey, and the few fields of the header that the project reads.

Only the elements of `ALLOWED` are read: no name, date or address ever leaves the file.
"""

import io
import struct
from collections.abc import Iterable

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from scanline.core.images import ImageError, Window, windowed

IDENTITY = ("PatientID", "SeriesInstanceUID", "SOPInstanceUID", "InstanceNumber")
RESCALE = ("RescaleSlope", "RescaleIntercept")
PIXELS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)
ALLOWED = (*IDENTITY, *RESCALE, *PIXELS)
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


def decode_dicom(content: bytes, window: Window) -> tuple[NDArray[np.uint8], dict[str, str]]:
    """Decode a DICOM file of one grey image, and window it.

    Stored values become modality values (HU in CT) by RescaleSlope and RescaleIntercept (PS3.3, C.11.1.1.2; 1 and 0
    where they are absent), then grey by `scanline.core.images.windowed`. MONOCHROME1, whose least value is white, is
    turned round.

    Args:
        content: The file's bytes.
        window: In modality values.

    Returns:
        Array of shape (height, width), dtype uint8; and those of IDENTITY that the header has, as text.

    Raises:
        ImageError: If it is no DICOM file, has no pixels, several frames or colours, is damaged, or is compressed in a
            way that pydicom does not decode by itself.
    """
    try:
        dataset = pydicom.dcmread(io.BytesIO(content), specific_tags=list(ALLOWED))
        _check_one_grey_image(dataset)
        stored = np.asarray(dataset.pixel_array, dtype=np.float64)
        slope, intercept = (_number(dataset, name, default) for name, default in zip(RESCALE, (1.0, 0.0), strict=True))
        grey = windowed(stored * slope + intercept, window)
        identity = dict(_identity(dataset, IDENTITY))
    except RuntimeError as error:
        raise ImageError(f"DICOM compressed in a way that is not decoded here: {str(error).splitlines()[0]}") from error
    except DAMAGED as error:
        raise ImageError(f"damaged DICOM: {error}") from error
    return 255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey, identity


def _check_one_grey_image(dataset: Dataset) -> None:
    if "PixelData" not in dataset:
        raise ImageError("DICOM without pixels")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise ImageError("several frames in one file")
    colours = dataset.PhotometricInterpretation
    if dataset.SamplesPerPixel != 1 or colours not in {"MONOCHROME1", "MONOCHROME2"}:
        raise ImageError(f"DICOM of colours ({colours}), expected MONOCHROME1 or MONOCHROME2")


def _number(dataset: Dataset, name: str, default: float) -> float:
    value = dataset.get(name)
    return default if value is None or value == "" else float(value)


def _identity(dataset: Dataset, names: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Fields that are there and not empty."""
    for name in names:
        text = str(dataset.get(name) or "").strip()
        if text:
            yield name, text
