"""A procedural frontal chest radiograph with fourteen findings, NumPy only: a phantom, drawn from no patient's data.

Places are in units of half the image's side: x to the image's right and y down, both from -1 to 1 at pixel centres.
Grey is from 0 (air) to 1 (bone). A finding brightens or darkens the place where it is found, as its name says: an
effusion fills the lower lung, a pneumothorax empties the upper one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scanline.acquire.phantoms.shapes import Grid, Waves, draw_waves

Field = NDArray[np.float32]

LUNG_X, LUNG_Y = 0.40, -0.05
LUNG_WIDTH, LUNG_HEIGHT = 0.28, 0.60
DIAPHRAGM = 0.42
BODY, LUNG, HEART, SPINE, RIB = 0.55, 0.20, 0.72, 0.66, 0.07
TISSUE = 0.07  # standard deviation of the shade of soft tissue
MARKED = 0.06  # change of grey from which on a pixel is part of a finding


@dataclass(frozen=True)
class Chest:
    """What makes one patient's chest, and one exposure of it.

    Attributes:
        size: Of the lungs, 1 on average.
        heart: Of the heart, 1 on average.
        shift: (x, y) by which the exposure is off the middle.
        contrast: Of the exposure, 1 on average.
        from_front: Whether the film stood behind the back (AP): the heart looks larger.
        breasts: Whether soft tissue shades the lower lungs.
        tissue: Shades the whole chest, as no two are built alike.
    """

    size: float
    heart: float
    shift: tuple[float, float]
    contrast: float
    from_front: bool
    breasts: bool
    tissue: Waves


@dataclass(frozen=True)
class Plane:
    """The pixels of an image of a chest: x and y are (size, size), `side` is -1 or 1 and chooses a lung."""

    x: Field
    y: Field
    shade: Field
    chest: Chest
    side: float

    def lung(self, side: float) -> Field:
        """Squared distance from the middle of a lung, 1 at its edge."""
        across = (self.x - side * LUNG_X * self.chest.size) / (LUNG_WIDTH * self.chest.size)
        along = (self.y - LUNG_Y) / (LUNG_HEIGHT * self.chest.size)
        return np.asarray(across**2 + along**2, dtype=np.float32)

    def inside(self, side: float) -> NDArray[np.bool_]:
        """Pixels of a lung, above the diaphragm."""
        return np.asarray((self.lung(side) < 1) & (self.y < DIAPHRAGM))

    def blob(self, x: float, y: float, radius: float, sharpness: float = 1.0) -> Field:
        """1 in the middle of a disc and 0 at its edge; flatter and steeper the sharper it is."""
        distance = ((self.x - x) ** 2 + (self.y - y) ** 2) / radius**2
        return np.clip(sharpness * (1 - distance), 0, 1).astype(np.float32)


def draw_person(rng: np.random.Generator, breasts: bool) -> Chest:
    """Draw a patient's chest, in the middle of a film of middle contrast."""
    tissue = draw_waves(rng, number=25, shortest_mm=0.35, longest_mm=1.5)
    return Chest(float(rng.normal(1, 0.06)), float(rng.normal(1, 0.08)), (0.0, 0.0), 1.0, False, breasts, tissue)


def expose(rng: np.random.Generator, chest: Chest, from_front: bool) -> Chest:
    """Draw one exposure of a chest: where it lies on the film, and its contrast."""
    shift = float(rng.normal(0, 0.04)), float(rng.normal(0, 0.04))
    return replace(chest, shift=shift, contrast=float(rng.uniform(0.8, 1.15)), from_front=from_front)


def draw_plane(rng: np.random.Generator, chest: Chest, size_px: int) -> Plane:
    """Lay the pixels, and choose the lung that one-sided findings are in."""
    centres = ((np.arange(size_px) + 0.5) * 2 / size_px - 1).astype(np.float32)
    x, y = np.meshgrid(centres - np.float32(chest.shift[0]), centres - np.float32(chest.shift[1]))
    grid = Grid.of(size_px, 2.0, 0.0, chest.shift, 0.0)
    return Plane(x, y, TISSUE * chest.tissue.at(grid), chest, float(rng.choice([-1.0, 1.0])))


def draw_anatomy(plane: Plane, heart: float = 1.0) -> Field:
    """Grey of a chest without findings, its heart scaled."""
    x, y, chest = plane.x, plane.y, plane.chest
    grey: Field = (BODY - 0.25 * np.clip(np.abs(x) - 0.75, 0, 1)).astype(np.float32)
    for side in (-1.0, 1.0):
        inside = plane.inside(side)
        grey[inside] = LUNG
        vessels = plane.blob(side * 0.16, 0.0, 0.30)
        grey += 0.18 * vessels * inside
        if chest.breasts:
            grey += 0.10 * plane.blob(side * 0.42, 0.32, 0.26) * inside
    width = 0.30 * heart * chest.heart * (1.15 if chest.from_front else 1.0)
    shape = ((x - 0.09) / width) ** 2 + ((y - 0.22) / 0.30) ** 2
    grey[shape < 1] = HEART
    spine = np.abs(x) < 0.07
    grey[spine] = np.maximum(grey[spine], SPINE)
    for level in np.arange(-0.75, 0.5, 0.16):
        rib = np.abs(y - level - 0.30 * (np.abs(x) - 0.4) ** 2) < 0.02
        grey[rib & (np.abs(x) > 0.10) & (np.abs(x) < 0.75)] += RIB
    return (grey + plane.shade).astype(np.float32)


def _lower(plane: Plane) -> Field:
    """Effusion: fluid up to a level that rises towards the chest wall."""
    level = 0.16 - 0.30 * np.clip((np.abs(plane.x) - 0.30) / 0.35, 0, 1)
    return (0.40 * (plane.inside(plane.side) & (plane.y > level))).astype(np.float32)


def _band(plane: Plane) -> Field:
    """Atelectasis: a band across the base of a lung."""
    band = np.abs(plane.y - 0.22 - 0.15 * plane.x * plane.side) < 0.05
    return (0.32 * (plane.inside(plane.side) & band)).astype(np.float32)


def _patch(x: float, y: float, radius: float, grey: float, sharpness: float) -> Callable[[Plane], Field]:
    def draw(plane: Plane) -> Field:
        place = plane.blob(plane.side * x * plane.chest.size, y, radius, sharpness)
        return np.asarray(grey * place * plane.inside(plane.side), dtype=np.float32)

    return draw


def _butterfly(plane: Plane) -> Field:
    """Edema: haze about both hila."""
    haze = sum(plane.blob(side * 0.26, 0.02, 0.34) * plane.inside(side) for side in (-1.0, 1.0))
    return np.asarray(0.26 * haze, dtype=np.float32)


def _bright_lungs(plane: Plane) -> Field:
    """Emphysema: both lungs darker than they should be."""
    return np.asarray(-0.11 * (plane.inside(-1.0) | plane.inside(1.0)), dtype=np.float32)


def _net(plane: Plane) -> Field:
    """Fibrosis: a net of lines in the lower outer lungs."""
    lines = (np.sin(38 * plane.x + 5 * plane.y) > 0.75) | (np.sin(34 * plane.y - 6 * plane.x) > 0.75)
    outer = (plane.inside(-1.0) | plane.inside(1.0)) & (plane.y > 0) & (np.abs(plane.x) > 0.35)
    return np.asarray(0.22 * (lines & outer), dtype=np.float32)


def _ring(plane: Plane) -> Field:
    """Hernia: a pouch with air in it behind the heart."""
    wall, air = plane.blob(0.16, 0.34, 0.17, 8.0), plane.blob(0.16, 0.32, 0.12, 8.0)
    return np.asarray(0.20 * wall - 0.62 * air, dtype=np.float32)


def _mottle(plane: Plane) -> Field:
    """Infiltration: mottled haze in the middle of a lung."""
    spots = 0.5 + 0.5 * np.sin(29 * plane.x) * np.sin(31 * plane.y)
    haze = plane.blob(plane.side * 0.40, 0.05, 0.36) * plane.inside(plane.side)
    return np.asarray(0.30 * haze * spots, dtype=np.float32)


def _rim(plane: Plane) -> Field:
    """Pleural thickening: a bright rim along the outer edge of a lung."""
    edge = plane.lung(plane.side)
    outer = np.abs(plane.x) > LUNG_X * plane.chest.size
    return np.asarray(0.34 * (plane.inside(plane.side) & (edge > 0.72) & outer), dtype=np.float32)


def _empty_apex(plane: Plane) -> Field:
    """Pneumothorax: air without vessels above the edge of a fallen lung."""
    apex = plane.inside(plane.side) & (plane.y < -0.22)
    line = apex & (plane.y > -0.26)
    return np.asarray(-0.16 * apex + 0.40 * line, dtype=np.float32)


FINDINGS: dict[str, Callable[[Plane], Field]] = {  # what each adds to the grey; an enlarged heart is drawn apart
    "Atelectasis": _band,
    "Consolidation": _patch(0.42, -0.30, 0.22, 0.42, 3.0),
    "Edema": _butterfly,
    "Effusion": _lower,
    "Emphysema": _bright_lungs,
    "Fibrosis": _net,
    "Hernia": _ring,
    "Infiltration": _mottle,
    "Mass": _patch(0.44, -0.12, 0.15, 0.50, 6.0),
    "Nodule": _patch(0.36, -0.38, 0.07, 0.50, 6.0),
    "Pleural_Thickening": _rim,
    "Pneumonia": _patch(0.45, 0.20, 0.24, 0.30, 1.5),
    "Pneumothorax": _empty_apex,
}
ENLARGED = "Cardiomegaly"
HEART_SCALE = 1.45


def draw_chest(
    rng: np.random.Generator, chest: Chest, findings: tuple[str, ...], size_px: int
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.bool_]]]:
    """Draw one exposure.

    Args:
        rng: Chooses sides and noise.
        chest: The patient and the exposure.
        findings: Names of `FINDINGS`, and ENLARGED.
        size_px: Width and height.

    Returns:
        Grey of shape (size, size), and by finding the pixels that it changes.
    """
    plane = draw_plane(rng, chest, size_px)
    grey = draw_anatomy(plane)
    marks: dict[str, NDArray[np.bool_]] = {}
    if ENLARGED in findings:
        grey, normal = draw_anatomy(plane, HEART_SCALE), grey
        x, y = plane.x, plane.y
        marks[ENLARGED] = (np.abs(grey - normal) > MARKED) | (((x - 0.09) / 0.30) ** 2 + ((y - 0.22) / 0.30) ** 2 < 1)
    for name in sorted(set(findings) - {ENLARGED}):
        change = FINDINGS[name](replace(plane, side=float(rng.choice([-1.0, 1.0]))))
        marks[name] = np.abs(change) > MARKED
        grey = grey + change
    noise = 0.03 * rng.standard_normal(grey.shape)
    exposed = 0.5 + chest.contrast * (np.clip(grey, 0, 1) - 0.5) + noise
    return np.clip(np.rint(255 * exposed), 0, 255).astype(np.uint8), marks
