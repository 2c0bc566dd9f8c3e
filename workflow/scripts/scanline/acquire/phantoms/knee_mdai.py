"""Phantom of the source torn of the study meniscus: knees with tears, boxed in MD.ai on files with other UIDs.

    TBrecon-01-02-<number>/IM<instance>.dcm
    TBRecon_anomaly_meniscus_MDai_df.csv    a row a box
    TBRecon_ID_key_meniscus.csv             a row a slice: its UID in MD.ai, its instance number

Every fifth knee is not torn, and every second is numbered against its positions. Its defects: in the annotations a box
twice, one of a UID that nobody knows, a row without a box, and a box that is code; a folder with a text file alone.
"""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms.knee_mri import REGIONS, ROOT_UID, dicom_of, draw_knee, draw_slice

VERSION = 1  # raised when what is drawn changes: a phantom of another version is drawn anew
ANNOTATIONS = "TBRecon_anomaly_meniscus_MDai_df.csv"
KEY = "TBRecon_ID_key_meniscus.csv"
EMPTY = "TBrecon-01-02-90001"
HEADING = ("TBreconID", "SOPInstanceUID_anon", "labelName", "data")


def write(folder: Path, options: PhantomSource) -> None:
    """Draw all knees into an existing, empty folder; equal options give equal bytes."""
    boxes: list[tuple[str, str, str, str]] = []
    key: list[tuple[str, str, int]] = []
    for number in range(options.patients):
        volume = f"TBrecon-01-02-{number + 11:05d}"
        rng = np.random.default_rng([options.seed, number])
        knee = draw_knee(rng, () if number % 5 == 4 else _torn(rng))
        (folder / volume).mkdir()
        slices = options.slices_per_patient
        for index, share in enumerate(np.linspace(0.02, 0.98, slices)):
            one = draw_slice(rng, knee, float(share), options.image_size_px)
            instance = slices - index if number % 2 else index + 1
            uid = anonymised_uid(options.seed, number, instance)
            key.append((volume, uid, instance))
            boxes += [(volume, uid, region, as_data(sides)) for region, *sides in one.boxes]
            dataset = dicom_of(one, number + 1, index, instance)
            dataset.save_as(folder / volume / f"IM{instance}.dcm", enforce_file_format=True)
    first = boxes[0]
    boxes.insert(3, first)
    boxes.append((first[0], f"{ROOT_UID}.0.0", first[2], first[3]))
    boxes.append((first[0], first[1], first[2], ""))
    boxes.append((first[0], first[1], first[2], "__import__('os').getcwd()"))
    _write_table(folder / ANNOTATIONS, HEADING, boxes)
    _write_table(folder / KEY, ("tbrecon_id", "SOPInstanceUID_anon", "InstanceNumber"), key)
    (folder / EMPTY).mkdir()
    (folder / EMPTY / "readme.txt").write_text("moved\n", "utf-8")


def _torn(rng: np.random.Generator) -> tuple[str, ...]:
    """One region or two."""
    return tuple(rng.choice(REGIONS, size=int(rng.integers(1, 3)), replace=False).tolist())


def anonymised_uid(seed: int, number: int, instance: int) -> str:
    """The UID that a slice has in MD.ai: nothing of the file's own."""
    return f"2.25.{int(hashlib.sha256(f'{seed} {number} {instance}'.encode()).hexdigest()[:24], 16)}"


def as_data(sides: list[float]) -> str:
    """A box as MD.ai writes it."""
    return str(dict(zip(("x", "y", "width", "height"), sides, strict=True)))


def _write_table(path: Path, heading: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(rows)
