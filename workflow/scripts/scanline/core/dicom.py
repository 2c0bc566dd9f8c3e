"""DICOM files: their pixels windowed to 8-bit grey. What is read of their headers beside: `scanline.core.dicom_header`.

Only the elements of `ALLOWED` are read, and of functional groups (`scanline.core.dicom_frames`) the few that tell of
pixels and place: no name, date or address ever leaves the file, not in a message either (`scanline.core.dicom_damage`).

Compressed pixels are decoded by what pydicom finds installed: python-gdcm for JPEG, JPEG Lossless and JPEG-LS,
pylibjpeg-openjpeg for JPEG 2000, pydicom itself for RLE. JPEG of 12 bits (Extended, processes 2 and 4) is refused: what
decodes it, pylibjpeg-libjpeg, stands under the GPL.
"""

import io

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from scanline.core.dicom_damage import damage_told
from scanline.core.dicom_frames import FUNCTIONAL_GROUPS, drop_other_groups, frame_count, of_frame
from scanline.core.dicom_header import HEADER_ELEMENTS, identity_of, number_of, transfer_syntax_of, value_of
from scanline.core.dicom_terms import PHOTOMETRIC
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
GREY = ("MONOCHROME1", "MONOCHROME2")
ALLOWED = (*HEADER_ELEMENTS, *RESCALE, *VOI, *PIXELS, *FUNCTIONAL_GROUPS)
MAGIC_PLACE, MAGIC = 128, b"DICM"
# Without the preamble a file begins with the length of its meta information, (0002,0000), or an element of group 0008
# up to SOPInstanceUID, (0008,0018), in little endian: no picture, volume or text begins so.
BARE_STARTS = (b"\x02\x00\x00\x00", *(bytes((8, 0, element, 0)) for element in range(0x19)))


def is_dicom(content: bytes) -> bool:
    """Whether bytes are a DICOM file: `DICM` behind a preamble of 128 bytes (PS3.10, 7.1), or its elements at once."""
    return content[MAGIC_PLACE : MAGIC_PLACE + len(MAGIC)] == MAGIC or content.startswith(BARE_STARTS)


def read_dicom(content: bytes) -> Dataset:
    """Read a DICOM file's allowed elements; nothing is decoded yet.

    Raises:
        ImageError: If it is no DICOM file, or damaged.
    """
    is_bare = content.startswith(BARE_STARTS) and content[MAGIC_PLACE : MAGIC_PLACE + len(MAGIC)] != MAGIC
    with damage_told():
        dataset = pydicom.dcmread(io.BytesIO(content), specific_tags=list(ALLOWED), force=is_bare)
        drop_other_groups(dataset)
        if is_bare and "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = _encoding_of(dataset)
        return dataset


def _encoding_of(dataset: Dataset) -> UID:
    """The transfer syntax in which a file without meta information is written, as reading it has shown."""
    is_implicit, is_little = dataset.original_encoding
    if is_implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian


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
    if "PixelData" not in dataset:
        raise ImageError("DICOM without pixels")
    with damage_told():
        colours, samples = dataset.PhotometricInterpretation, dataset.SamplesPerPixel
    if samples != 1 or colours not in GREY:
        named = f" ({colours})" if colours in PHOTOMETRIC else ""
        raise ImageError(f"DICOM of colours{named}, expected {' or '.join(GREY)}")
    with damage_told("its pixels"):
        try:
            return np.asarray(pixel_array(dataset, index=frame))
        except RuntimeError:
            syntax = transfer_syntax_of(dataset) or "none that DICOM names"
            raise ImageError(f"DICOM compressed in a way that is not decoded here, or damaged ({syntax})") from None


def rescale_of(dataset: Dataset) -> tuple[float, float]:
    """Slope and intercept from stored to modality values (PS3.3, C.11.1.1.2); 1 and 0 where they are absent.

    Raises:
        ImageError: If one is there and no number.
    """
    with damage_told():
        slope, intercept = (number_of(dataset, name) for name in RESCALE)
        for name, number in zip(RESCALE, (slope, intercept), strict=True):
            if number is None and _is_stated(dataset, name):
                raise ImageError(f"damaged DICOM: its {name} is no number")
        return 1.0 if slope is None else slope, 0.0 if intercept is None else intercept


def _is_stated(dataset: Dataset, name: str) -> bool:
    raw = dataset.get_item(name) if name in dataset else None
    return raw is not None and raw.value not in (None, "", b"")


def header_window(dataset: Dataset) -> Window | None:
    """The first window of the header; None where it has none that is linear.

    With the function LINEAR, the default, black is up to center - 0.5 - (width - 1) / 2 and white from
    center - 0.5 + (width - 1) / 2 on (PS3.3, C.11.2.1.2.1); LINEAR_EXACT is center and width as they stand.
    """
    with damage_told():
        center, width = (number_of(dataset, name) for name in VOI[:2])
        function = str(value_of(dataset, VOI[2]) or "LINEAR").strip()
    if center is None or width is None or function not in {"LINEAR", "LINEAR_EXACT"}:
        return None
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    return Window(center, width) if width > 0 else None


def grey_of_stored(stored: NDArray[np.generic], dataset: Dataset, window: Window) -> NDArray[np.uint8]:
    """Stored values to grey, of the same shape: rescaled, windowed, and MONOCHROME1, whose least is white, turned.

    Args:
        stored: Of one frame.
        dataset: Of that frame, see `scanline.core.dicom_frames.of_frame`.
        window: In modality values.
    """
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
    grey = grey_of_stored(stored_values(dataset, frame or 0), of_frame(dataset, frame or 0), window)
    with damage_told():
        return grey, identity_of(dataset)
