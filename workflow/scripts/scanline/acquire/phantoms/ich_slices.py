"""Slices of phantom heads with six kinds of intracranial haemorrhage, boxed as annotators box them.

Shared by the layouts of the study ich_detection: with one seed, the patients that two sources have in common are drawn
alike in both.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms.haemorrhage import (
    EPIDURAL,
    INTRAPARENCHYMAL,
    INTRAVENTRICULAR,
    SUBARACHNOID,
    SUBDURAL,
    Haemorrhage,
    draw_kind,
)
from scanline.acquire.phantoms.head_ct import draw_head, draw_slice

IPH, SAH, SDH, IVH, EDH, HC = "IPH", "SAH", "SDH", "IVH", "EDH", "HC"
KIND_OF = {
    IPH: INTRAPARENCHYMAL,
    SAH: SUBARACHNOID,
    SDH: SUBDURAL,
    IVH: INTRAVENTRICULAR,
    EDH: EPIDURAL,
    HC: INTRAPARENCHYMAL,  # a contusion: smaller, shallow, at the frontal pole; never beside an IPH
}
CONTUSION_MM = ((24.0, 50.0, 8.0), (9.0, 8.0, 11.0))  # centre of the right one, semi-axes
LOWEST_MM, HIGHEST_MM = -14.0, 52.0  # levels of the first and last slice: where haemorrhages are
SMALLEST_BOXED_MM2 = 30.0  # annotators overlook less
COMMON = "common"  # patients of several sources

Box = tuple[str, float, float, float, float]  # class, x, y, width, height in pixels


@dataclass(frozen=True)
class IchSlice:
    """One slice: Hounsfield units (size, size), and the boxes of what it shows."""

    patient: str
    index: int
    hu: NDArray[np.float32]
    boxes: tuple[Box, ...]


def draw_patient(options: PhantomSource, cohort: str, number: int, classes: tuple[str, ...]) -> list[IchSlice]:
    """Draw the slices of a patient; the same for the same seed, cohort and number, whatever the layout.

    Args:
        options: Slices a patient, their size, the seed.
        cohort: Whose patient it is, such as COMMON.
        number: Of the patient within it.
        classes: What bleeds; none for a head without haemorrhage.
    """
    rng = np.random.default_rng([options.seed, number, *cohort.encode()])
    bleeds = {name: _draw_bleed(rng, name) for name in classes}
    head = draw_head(rng, tuple(bleeds.values()))
    names = {bleed.kind: name for name, bleed in bleeds.items()}
    slices = []
    for index, z in enumerate(np.linspace(LOWEST_MM, HIGHEST_MM, options.slices_per_patient)):
        drawn = draw_slice(head, float(z), options.image_size_px)
        pixel_mm2 = (head.field_of_view_mm / options.image_size_px) ** 2
        boxes = [
            (names[kind], *box_of(mask))
            for kind, mask in sorted(drawn.lesions.items())
            if mask.sum() * pixel_mm2 >= SMALLEST_BOXED_MM2
        ]
        slices.append(IchSlice(f"{cohort[0]}{number:03d}", index, drawn.hu, tuple(boxes)))
    return slices


def _draw_bleed(rng: np.random.Generator, name: str) -> Haemorrhage:
    bleed = draw_kind(rng, KIND_OF[name])
    if name != HC:
        return bleed
    (x, y, z), axes = CONTUSION_MM
    return replace(bleed, centre_mm=(float(np.sign(bleed.centre_mm[0])) * x, y, z), axes_mm=axes, oedema_mm=2.0)


def box_of(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The tight box of a mask (height, width) that is not empty: x, y, width, height in pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = float(columns[0]), float(rows[0])
    return x, y, float(columns[-1] + 1) - x, float(rows[-1] + 1) - y
