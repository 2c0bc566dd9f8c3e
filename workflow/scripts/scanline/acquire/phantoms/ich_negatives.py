"""Phantom of the source no_hem of the study ich_detection: heads without haemorrhage, their names without a prefix.

    <patient>_<instance>.png
    <patient>_<instance>.dcm     every third patient: Hounsfield units, as a scanner stores them

Its defect: one PNG ends in the middle.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms.ich_slices import draw_patient
from scanline.core.images import Window, windowed

VERSION = 1  # raised when what is drawn changes: a phantom of another version is drawn anew
FIRST_NUMBER = 1001
ROOT_UID = "1.2.826.0.1.3680043.8.498.7"  # pydicom's own root, for made instances
INTERCEPT_HU = -1024


def write(folder: Path, options: PhantomSource) -> None:
    """Draw all patients into an existing, empty folder; equal options give equal bytes."""
    for number in range(options.patients):
        patient = FIRST_NUMBER + number
        for one in draw_patient(options, "no_hem", number, ()):
            name = f"{patient}_{one.index + 1}"
            if number % 3 == 2:
                write_dicom(folder / f"{name}.dcm", one.hu, patient, one.index + 1)
            else:
                Image.fromarray(windowed(one.hu, Window())).save(folder / f"{name}.png", compress_level=3)
    truncated = folder / f"{FIRST_NUMBER}_1.png"
    truncated.write_bytes(truncated.read_bytes()[: truncated.stat().st_size // 2])


def write_dicom(path: Path, hu: NDArray[np.float32], patient: int, number: int) -> None:
    """Write a slice as CT Image Storage, 16 bits stored with an intercept of -1024 HU.

    Args:
        path: The file.
        hu: Shape (height, width), in HU.
        patient: Number of the patient.
        number: Of the instance.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{ROOT_UID}.{patient}.{number}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.InstanceNumber = f"{ROOT_UID}.{patient}", number
    dataset.PatientID, dataset.PatientName, dataset.Modality = str(patient), "Phantom^Head", "CT"
    dataset.Rows, dataset.Columns = hu.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, INTERCEPT_HU
    dataset.PixelData = np.rint(hu - INTERCEPT_HU).astype("<i2").tobytes()
    dataset.save_as(path, enforce_file_format=True)
