"""What is read of a DICOM file's header beside its pixels: identity as digests, the place in space, the acquisition.

An allow-list: an element that is not named here or in `scanline.core.dicom` is never read. What tells patients, series
and instances apart is kept as a digest, so that equal ones stay equal and no identifier reaches a table, log or page.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydicom.dataset import Dataset

from scanline.core.identifiers import digest_of_identifier

UIDS = ("SeriesInstanceUID", "SOPInstanceUID")
IDENTITY = ("PatientID", *UIDS, "InstanceNumber")
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
SPACING = {"row_spacing_mm": 0, "column_spacing_mm": 1}
# Column to the element, all coded terms (PS3.3), of which free text is no part.
TERMS = {
    "modality": "Modality",
    "acquisition_type": "MRAcquisitionType",
    "body_part": "BodyPartExamined",
    "laterality": "Laterality",
    "photometric": "PhotometricInterpretation",
}
TERM_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ ")  # of the value representation CS
LONGEST_TERM = 16
HEADER_ELEMENTS = (*IDENTITY, *PLACE, *NUMBERS.values(), "PixelSpacing", *TERMS.values())


def identity_of(dataset: Dataset) -> dict[str, str]:
    """The elements of IDENTITY that are there and not empty; all but InstanceNumber as digests."""
    texts = {name: str(dataset.get(name) or "").strip() for name in IDENTITY}
    return {
        name: text if name == "InstanceNumber" else digest_of_identifier(text) for name, text in texts.items() if text
    }


def number_of(dataset: Dataset, name: str, place: int = 0) -> float | None:
    """A number of the header, of several the one at `place`; None where it is absent or not finite."""
    value = dataset.get(name)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[place] if len(value) > place else None
    if value is None or value == "":
        return None
    number = float(value)
    return number if np.isfinite(number) else None


def position_of(dataset: Dataset) -> float | None:
    """Where a slice lies along the normal of its plane, in mm; None where the header does not tell.

    The normal is the cross product of the row's and the column's direction (PS3.3, C.7.6.2.1.1).
    """
    corner, directions = (dataset.get(name) for name in PLACE)
    if corner is None or directions is None or len(corner) != 3 or len(directions) != 6:
        return None
    across, down = np.asarray(directions, dtype=np.float64).reshape(2, 3)
    position = float(np.dot(np.cross(across, down), np.asarray(corner, dtype=np.float64)))
    return round(position, 4) if np.isfinite(position) else None


def acquisition_of(dataset: Dataset) -> dict[str, float | str]:
    """What the headers table holds of a file, by column; columns of which the header says nothing are missing."""
    found: Mapping[str, float | str | None] = {
        **{column: number_of(dataset, name) for column, name in NUMBERS.items()},
        **{column: number_of(dataset, "PixelSpacing", place) for column, place in SPACING.items()},
        **{column: _term(dataset, name) for column, name in TERMS.items()},
        "transfer_syntax": str(dataset.file_meta.TransferSyntaxUID.name),
    }
    return {column: value for column, value in found.items() if value is not None}


def _term(dataset: Dataset, name: str) -> str | None:
    """A coded term; None where it is absent, or is none and may be anything."""
    text = str(dataset.get(name) or "").strip()
    return text if text and len(text) <= LONGEST_TERM and set(text) <= TERM_CHARACTERS else None
