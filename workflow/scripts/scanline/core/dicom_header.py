"""What is read of a DICOM file's header beside its pixels: identity as digests, the place in space, the acquisition.

An allow-list: an element that is not named here or in `scanline.core.dicom` is never read. What tells patients, series
and instances apart is kept as a digest, so that equal ones stay equal and no identifier reaches a table, log or page.
Of the rest only numbers leave a file, and terms that DICOM defines: an element that holds anything else is as good as
absent.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydicom.config import IGNORE
from pydicom.dataset import Dataset
from pydicom.uid import UID

from scanline.core.dicom_terms import DEFINED_TERMS
from scanline.core.identifiers import digest_of_identifier

UIDS = ("SeriesInstanceUID", "SOPInstanceUID")
IDENTITY = ("PatientID", *UIDS)
NUMBER = "InstanceNumber"
PLACE = ("ImagePositionPatient", "ImageOrientationPatient")
# Column of the headers table to the DICOM element, all numbers; lists give their first value, but for PixelSpacing.
NUMBERS = {
    "magnetic_field_t": "MagneticFieldStrength",
    "slice_thickness_mm": "SliceThickness",
    "spacing_between_slices_mm": "SpacingBetweenSlices",
    "repetition_time_ms": "RepetitionTime",
    "echo_time_ms": "EchoTime",
    "inversion_time_ms": "InversionTime",
    "flip_angle_degrees": "FlipAngle",
    "tube_voltage_kv": "KVP",
    "bits_stored": "BitsStored",
}
OF_SLICE = ("slice_thickness_mm", "spacing_between_slices_mm")
SPACING = {"row_spacing_mm": 0, "column_spacing_mm": 1}
# Column to the element, all coded terms.
TERMS = {
    "modality": "Modality",
    "acquisition_type": "MRAcquisitionType",
    "body_part": "BodyPartExamined",
    "laterality": "Laterality",
    "photometric": "PhotometricInterpretation",
}
HEADER_ELEMENTS = (*IDENTITY, NUMBER, *PLACE, *NUMBERS.values(), "PixelSpacing", *TERMS.values())
# What pydicom raises on a value that is none of its element's kind; its text quotes the value.
UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError)


def value_of(dataset: Dataset, name: str) -> object:
    """An element's value; None where it is absent, or holds what its kind cannot."""
    try:
        return dataset.get(name)
    except UNREADABLE:
        return None


def identity_of(dataset: Dataset) -> dict[str, str]:
    """The elements of IDENTITY that are there and not empty, as digests."""
    texts = {name: str(value_of(dataset, name) or "").strip() for name in IDENTITY}
    return {name: digest_of_identifier(text) for name, text in texts.items() if text}


def number_of(dataset: Dataset, name: str, place: int = 0) -> float | None:
    """A number of the header, of several the one at `place`; None where it is absent, no number, or not finite."""
    value = value_of(dataset, name)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        value = value[place] if len(value) > place else None
    try:
        number = float(value)  # type: ignore[arg-type]
    except UNREADABLE:
        return None
    return number if np.isfinite(number) else None


def instance_number_of(dataset: Dataset) -> int | None:
    """InstanceNumber; None where it is absent, below 0, or no whole number."""
    number = number_of(dataset, NUMBER)
    return int(number) if number is not None and number >= 0 and number == int(number) else None


def position_of(dataset: Dataset) -> float | None:
    """Where a slice lies along the normal of its plane, in mm; None where the header does not tell.

    The normal is the cross product of the row's and the column's direction (PS3.3, C.7.6.2.1.1).
    """
    corner = [number_of(dataset, PLACE[0], place) for place in range(3)]
    directions = [number_of(dataset, PLACE[1], place) for place in range(6)]
    if None in corner or None in directions:
        return None
    across, down = np.asarray(directions, dtype=np.float64).reshape(2, 3)
    position = float(np.dot(np.cross(across, down), np.asarray(corner, dtype=np.float64)))
    return round(position, 4) if np.isfinite(position) else None


def acquisition_of(dataset: Dataset) -> dict[str, float | str]:
    """What the headers table holds of a file, by column; columns of which the header says nothing are missing."""
    found: Mapping[str, float | str | None] = {
        **{column: number_of(dataset, name) for column, name in NUMBERS.items()},
        **spacing_of(dataset),
        **{column: _term(dataset, name) for column, name in TERMS.items()},
        "transfer_syntax": transfer_syntax_of(dataset),
    }
    return {column: value for column, value in found.items() if value is not None}


def spacing_of(dataset: Dataset) -> dict[str, float | None]:
    """What the headers table holds of a slice's, or a frame's, size in mm; None where the header says nothing."""
    found = {column: number_of(dataset, "PixelSpacing", place) for column, place in SPACING.items()}
    return found | {column: number_of(dataset, NUMBERS[column]) for column in OF_SLICE}


def transfer_syntax_of(dataset: Dataset) -> str | None:
    """The transfer syntax's name in DICOM's list of UIDs; None of another."""
    uid = UID(str(value_of(dataset.file_meta, "TransferSyntaxUID") or ""), validation_mode=IGNORE)
    return None if uid.name == uid else uid.name


def _term(dataset: Dataset, name: str) -> str | None:
    """A coded term; None where it is absent, or is none that DICOM defines."""
    text = str(value_of(dataset, name) or "").strip()
    return text if text in DEFINED_TERMS[name] else None
