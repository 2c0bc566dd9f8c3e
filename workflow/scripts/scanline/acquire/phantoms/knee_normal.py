"""Phantom of the source normal of the study meniscus: healthy knees, a folder a volume, without annotations.

    normal-<number>/IM<instance>.dcm

Every third volume is stored as MONOCHROME1. Its defect: one file ends in the middle.
"""

from pathlib import Path

import numpy as np

from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms.knee_mri import KneeSlice, dicom_of, draw_knee, draw_slice

VERSION = 1  # raised when what is drawn changes: a phantom of another version is drawn anew
FIRST_NUMBER = 5001
LARGEST = 4095  # of 12 bits


def write(folder: Path, options: PhantomSource) -> None:
    """Draw all knees into an existing, empty folder; equal options give equal bytes."""
    for number in range(options.patients):
        rng = np.random.default_rng([options.seed, FIRST_NUMBER + number])
        knee = draw_knee(rng, ())
        place = folder / f"normal-{number + 1:03d}"
        place.mkdir()
        for index, share in enumerate(np.linspace(0.02, 0.98, options.slices_per_patient)):
            one = draw_slice(rng, knee, float(share), options.image_size_px)
            fields: dict[str, object] = {}
            if number % 3 == 2:
                one, fields = KneeSlice(LARGEST - one.values, ()), {"PhotometricInterpretation": "MONOCHROME1"}
            dataset = dicom_of(one, FIRST_NUMBER + number, index, index + 1, **fields)
            dataset.save_as(place / f"IM{index + 1}.dcm", enforce_file_format=True)
    truncated = folder / "normal-001/IM1.dcm"
    truncated.write_bytes(truncated.read_bytes()[: -options.image_size_px])
