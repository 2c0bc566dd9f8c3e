"""Phantom of the source external of the study ct_hematoma: a folder a class, pictures of another origin.

    <class>/<number>.<suffix>

Its pictures have a wider window, more frame and more noise than those of the phantom ct_hematoma_internal. One JPEG
lies on its side, as its EXIF says.
"""

from pathlib import Path

from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms.web_pictures import CLASSES, EXTERNAL, Picture, draw_case, encode, write_turned

VERSION = 1  # raised when what is drawn changes: a phantom of another version is drawn anew
COHORT = "external"


def write(folder: Path, options: PhantomSource) -> None:
    """Draw all cases into an existing, empty folder; equal options give equal bytes."""
    for label in CLASSES:
        (folder / label).mkdir()
    for number in range(options.patients):
        for index in range(options.slices_per_patient):
            label, name, content = external_file(options, number, index)
            (folder / label / name).write_bytes(content)
    label, pictures = draw_case(options, COHORT, options.patients, EXTERNAL)
    write_turned(folder / label / "turned.jpg", pictures[0].pixels)


def external_file(options: PhantomSource, number: int, index: int) -> tuple[str, str, bytes]:
    """Class, file name and bytes of one picture of a case."""
    label, pictures = external_pictures(options, number)
    picture = pictures[index]
    return label, f"{number:03d}_{index}.{picture.suffix}", encode(picture)


def external_pictures(options: PhantomSource, number: int) -> tuple[str, list[Picture]]:
    """Class and pictures of a case."""
    return draw_case(options, COHORT, number, EXTERNAL)
