"""A procedural head for axial CT in Hounsfield units, NumPy only: a phantom, drawn from no patient's data.

The frame of a head is in millimetres: x to the image's right, y to the front, z to the vertex, the origin in
the middle of its widest level. The inner table of the skull is an ellipsoid, so that the slices of a head
stack from skull base to vertex. A slice is drawn with the front up, and sampled at pixel centres.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scanline.acquire.phantoms.haemorrhage import Haemorrhage, Surroundings, draw_haemorrhage
from scanline.acquire.phantoms.shapes import Grid, Waves, blur, capsule, draw_waves

Mask = NDArray[np.bool_]
Point = tuple[float, float, float]

AIR, FAT, CSF, WHITE, GREY, FALX, SCALP, BONE = -1000.0, -80.0, 5.0, 28.0, 37.0, 46.0, 25.0, 1000.0
OEDEMA = 17.0
BASE_MM = -40.0  # the lowest level that is drawn
CORTEX_MM = 4.0

# Capsules of one side's ventricles (the other mirrors them): from, to, radius at scale 1; all in mm.
VENTRICLES: tuple[tuple[Point, Point, float], ...] = (
    ((6.0, 6.0, 12.0), (13.0, 30.0, 9.0), 4.0),  # frontal horn
    ((6.0, 8.0, 17.0), (14.0, -18.0, 21.0), 5.0),  # body
    ((15.0, -20.0, 19.0), (23.0, -33.0, 9.0), 5.5),  # atrium
    ((23.0, -33.0, 9.0), (19.0, -54.0, 6.0), 3.0),  # occipital horn
    ((25.0, -26.0, 2.0), (30.0, 4.0, -14.0), 2.2),  # temporal horn
    ((0.0, 8.0, -3.0), (0.0, -13.0, 3.0), 2.2),  # third ventricle
    ((0.0, -37.0, -29.0), (0.0, -41.0, -24.0), 4.5),  # fourth ventricle
)
CISTERNS: tuple[tuple[Point, Point, float], ...] = (
    ((0.0, 14.0, -18.0), (16.0, 20.0, -19.0), 3.2),  # suprasellar
    ((0.0, 8.0, -18.0), (14.0, -10.0, -15.0), 2.6),  # ambient
    ((0.0, -27.0, -6.0), (10.0, -24.0, -5.0), 2.8),  # quadrigeminal
    ((29.0, 16.0, -10.0), (46.0, 12.0, 0.0), 2.4),  # Sylvian fissure, stem
    ((40.0, 12.0, 0.0), (56.0, -8.0, 14.0), 2.0),  # Sylvian fissure, branch
)
DEEP_GREY: tuple[tuple[Point, Point, float], ...] = (
    ((13.0, 20.0, 8.0), (14.0, 8.0, 16.0), 5.0),  # caudate
    ((24.0, 14.0, 3.0), (27.0, -4.0, 6.0), 6.5),  # lentiform
    ((10.0, -6.0, 6.0), (14.0, -17.0, 8.0), 7.5),  # thalamus
    ((20.0, -38.0, -34.0), (30.0, -40.0, -34.0), 22.0),  # cerebellum
)
PETROUS_BONE: tuple[tuple[Point, Point, float], ...] = (
    ((66.0, -27.0, -37.0), (17.0, 4.0, -37.0), 9.0),
    ((17.0, 36.0, -26.0), (62.0, 26.0, -22.0), 4.0),  # lesser wing of the sphenoid
)


@dataclass(frozen=True)
class Calcification:
    """A small dense body that is no bleed: a distractor. Lengths in mm, density in HU."""

    centre_mm: Point
    radius_mm: float
    hu: float


@dataclass(frozen=True)
class Head:
    """What makes one patient's head: lengths in mm, angles in radians, densities in HU."""

    axes_mm: Point  # semi-axes of the inner table of the skull: x, y, z up
    skull_mm: float
    scalp_mm: float
    field_of_view_mm: float
    rotation_rad: float
    shift_mm: tuple[float, float]
    asymmetry: float  # share by which the right half is wider than the left
    ventricle_scale: float
    sulcus: float  # half width of sulci, in the units of the folding waves
    noise_hu: float
    shade_hu: float  # the whole brain's offset
    folding: Waves
    texture: Waves
    calcifications: tuple[Calcification, ...]
    haemorrhages: tuple[Haemorrhage, ...]
    noise_seed: int

    @property
    def top_mm(self) -> float:
        """Level of the highest slice that still shows brain."""
        return 0.93 * self.axes_mm[2]


class Slice(NamedTuple):
    """One axial slice: `hu` float32 and masks of shape (size, size)."""

    hu: NDArray[np.float32]
    lesions: dict[str, Mask]  # by kind of haemorrhage; a kind that this level does not reach is left out
    oedema: Mask
    brain: Mask  # everything inside the skull


def draw_head(rng: np.random.Generator, haemorrhages: tuple[Haemorrhage, ...] = ()) -> Head:
    """Draw a head's size, pose, anatomy and distractors; the haemorrhages are as given."""
    size = rng.normal(1.0, 0.035)
    axes = (66.0 * size * rng.normal(1, 0.02), 84.0 * size * rng.normal(1, 0.02), 74.0 * size)
    return Head(
        axes_mm=axes,
        skull_mm=float(rng.uniform(6.0, 9.0)),
        scalp_mm=float(rng.uniform(4.0, 7.0)),
        field_of_view_mm=float(rng.uniform(225, 250)),
        rotation_rad=float(rng.normal(0, 0.08)),
        shift_mm=(float(rng.normal(0, 4)), float(rng.normal(0, 4))),
        asymmetry=float(rng.normal(0, 0.02)),
        ventricle_scale=float(rng.uniform(0.75, 1.7)),
        sulcus=float(rng.uniform(0.12, 0.3)),
        noise_hu=float(rng.uniform(4.0, 7.0)),
        shade_hu=float(rng.normal(0, 1.5)),
        folding=draw_waves(rng, number=40, shortest_mm=15.0, longest_mm=30.0),
        texture=draw_waves(rng, number=40, shortest_mm=9.0, longest_mm=40.0),
        calcifications=_draw_calcifications(rng, axes[1]),
        haemorrhages=haemorrhages,
        noise_seed=int(rng.integers(2**31)),
    )


def _draw_calcifications(rng: np.random.Generator, half_length_mm: float) -> tuple[Calcification, ...]:
    """Choroid plexus of both sides, pineal gland, falx and basal ganglia, each in some patients."""
    places: list[tuple[float, Point, float]] = [
        (0.6, (18.0, -27.0, 13.0), 3.2),
        (0.6, (-18.0, -27.0, 13.0), 3.2),
        (0.5, (0.0, -20.0, 2.0), 2.2),
        (0.4, (0.0, float(rng.uniform(0.4, 0.75)) * half_length_mm, float(rng.uniform(20, 50))), 3.5),
        (0.2, (22.0, 5.0, 4.0), 2.5),
        (0.2, (-22.0, 5.0, 4.0), 2.5),
    ]
    drawn = []
    for chance, centre, radius in places:
        radius_mm, hu = radius * float(rng.uniform(0.7, 1.3)), float(rng.uniform(70, 180))
        if rng.random() < chance:
            drawn.append(Calcification(centre, radius_mm, hu))
    return tuple(drawn)


def draw_slice(head: Head, z_mm: float, size_px: int) -> Slice:
    """Draw the axial slice of a head at a level.

    Args:
        head: The patient.
        z_mm: Level above the widest one; from BASE_MM to `head.top_mm` shows brain.
        size_px: Width and height.
    """
    grid = Grid.of(size_px, head.field_of_view_mm, head.rotation_rad, head.shift_mm, z_mm)
    depth = skull_depth(head, grid)
    hu = _head_shell(head, grid, depth)
    bone = _skull_base(head, grid, depth, hu)
    brain = (depth > 0) & ~bone
    fold = head.folding.at(grid)
    ventricles = _union(grid, VENTRICLES, head.ventricle_scale) & brain & (depth > 3)
    cisterns = _union(grid, CISTERNS, 0.6 + 0.4 * head.ventricle_scale) & brain
    sulci = brain & (np.abs(fold) < head.sulcus) & (depth < 6 + 30 * head.sulcus) & (grid.z_mm > -22)
    csf = (cisterns | sulci | (brain & (depth < 1.2))) & ~ventricles
    _fill_brain(head, grid, hu, brain, depth, fold)
    hu[csf | ventricles] = CSF
    falx = _falx(grid, brain)
    hu[falx] = FALX
    lesions: dict[str, Mask] = {}
    oedema = np.zeros_like(brain)
    surroundings = Surroundings(brain, depth, ventricles, csf, falx, np.asarray(head.axes_mm))
    for haemorrhage in head.haemorrhages:
        bleed, ring = draw_haemorrhage(haemorrhage, grid, surroundings)
        if bleed.any():
            lesions[haemorrhage.kind] = lesions.get(haemorrhage.kind, np.zeros_like(bleed)) | bleed
        oedema |= ring
        hu[ring] = OEDEMA
    for haemorrhage in head.haemorrhages:
        if haemorrhage.kind in lesions:
            hu[lesions[haemorrhage.kind]] = haemorrhage.hu
    bleeding = np.logical_or.reduce([np.zeros_like(brain), *lesions.values()])
    for spot in head.calcifications:
        inside = capsule(grid, spot.centre_mm, spot.centre_mm, spot.radius_mm) & brain & ~bleeding
        hu[inside] = spot.hu
    return Slice(_with_noise(head, z_mm, hu), lesions, oedema & ~bleeding, brain)


def skull_depth(head: Head, grid: Grid) -> NDArray[np.float32]:
    """Distance in mm from the inner table of the skull, positive inside, to first order: (1 - r) / |grad r|.

    r is the ellipsoid's radius, 1 on the inner table; the head is wider at the back and, by the patient's
    asymmetry, on one side; below the widest level it narrows less.
    """
    ax, ay, az = head.axes_mm
    az = az if grid.z_mm >= 0 else 1.15 * az
    width = ax * (1 - 0.09 * np.clip(grid.y / ay, -1.2, 1.2)) * (1 + head.asymmetry * np.sign(grid.x))
    p, q, w = grid.x / width, grid.y / ay, np.float32(grid.z_mm / az)
    radius = np.sqrt(p * p + q * q + w * w) + 1e-6
    slope = np.sqrt((p / width) ** 2 + (q / ay) ** 2 + (w / az) ** 2) / radius
    depth: NDArray[np.float32] = ((1 - radius) / np.maximum(slope, 1e-3)).astype(np.float32)
    return depth


def _head_shell(head: Head, grid: Grid, depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Air, head rest, scalp, skull with a frontal sinus; the inside is filled later."""
    hu = np.full(depth.shape, AIR, np.float32)
    rest = np.hypot(grid.x, grid.y + 5) - (head.axes_mm[1] + 26)
    hu[(np.abs(rest) < max(1.2, 0.6 * grid.pixel_mm)) & (grid.y < -30)] = 300
    skin = _skin_mm(head)
    hu[depth > -skin] = SCALP
    hu[(depth > -skin + 1.5) & (depth < -head.skull_mm - 1)] = FAT + 60
    hu[depth > -head.skull_mm] = BONE
    diploe = (depth > -0.65 * head.skull_mm) & (depth < -0.35 * head.skull_mm)
    hu[diploe] = 0.6 * BONE
    sinus_y = head.axes_mm[1] + 0.5 * head.skull_mm
    across, along, up = grid.x / 17, (grid.y - sinus_y) / 4, (grid.z_mm + 14) / 11
    sinus = (across**2 + along**2 + up**2 < 1) & (np.abs(grid.x) > 1)
    hu[sinus] = AIR
    return hu


def _skull_base(head: Head, grid: Grid, depth: NDArray[np.float32], hu: NDArray[np.float32]) -> Mask:
    """Draw petrous bones, orbits, sinuses and air cells into `hu`; returns where they stand."""
    nothing = np.zeros(depth.shape, bool)
    if grid.z_mm > -14:
        return nothing
    inside = depth > -head.skull_mm
    bone = _union(grid, PETROUS_BONE, 1.0) & inside
    hu[bone] = 0.8 * BONE
    cells = capsule(grid, (58.0, -25.0, -38.0), (48.0, -18.0, -38.0), 7.0, mirrored=True) & bone
    hu[cells & (head.texture.at(grid) > 0)] = AIR
    forward = head.axes_mm[1]
    for centre, radius, wall, filling in (
        ((0.0, 0.28 * forward, -42.0), 10.0, 2.0, AIR),  # sphenoid sinus
        ((0.0, 0.78 * forward, -38.0), 13.0, 2.0, AIR),  # ethmoid cells
        ((31.0, 0.78 * forward, -37.0), 17.0, 2.5, FAT),  # orbit
        ((31.0, 0.88 * forward, -37.0), 11.5, 0.0, 12.0),  # globe
    ):
        around = capsule(grid, centre, centre, radius + wall, mirrored=True) & (depth > -_skin_mm(head))
        within = capsule(grid, centre, centre, radius, mirrored=True) & around
        hu[around & ~within] = BONE
        hu[within] = filling
        bone |= around
    septa = capsule(grid, (0.0, 0.78 * forward, -38.0), (0.0, 0.78 * forward, -38.0), 13.0)
    hu[septa & (np.abs(np.sin(grid.x / 2.6)) < 0.25)] = 0.5 * BONE
    return bone


def _skin_mm(head: Head) -> float:
    """Thickness in mm from the inner table of the skull to the skin."""
    return head.skull_mm + head.scalp_mm


def _fill_brain(
    head: Head,
    grid: Grid,
    hu: NDArray[np.float32],
    brain: Mask,
    depth: NDArray[np.float32],
    fold: NDArray[np.float32],
) -> None:
    """White matter, cortex along the surface and the sulci, deep grey nuclei, and a slight texture."""
    cortex = (depth < CORTEX_MM) | ((np.abs(fold) < head.sulcus + 0.3) & (depth < 12 + 30 * head.sulcus))
    grey = cortex | _union(grid, DEEP_GREY, 1.0)
    tissue = np.where(grey, GREY, WHITE) + head.shade_hu + 1.2 * head.texture.at(grid)
    hu[brain] = tissue[brain]


def _falx(grid: Grid, brain: Mask) -> Mask:
    """The fold of dura in the midline: whole above the corpus callosum, in front and behind below it."""
    if grid.z_mm < -12:
        return np.zeros_like(brain)
    reach = (grid.y > 42) | (grid.y < -45) if grid.z_mm < 32 else np.ones_like(brain)
    return brain & reach & (np.abs(grid.x - 0.8 * np.sin(grid.y / 17)) < 0.9)


def _union(grid: Grid, capsules: tuple[tuple[Point, Point, float], ...], scale: float) -> Mask:
    """Pixels within any of the capsules, each drawn on both sides, their radii scaled."""
    inside = np.zeros(grid.x.shape, bool)
    for start, end, radius in capsules:
        inside |= capsule(grid, start, end, radius * scale, mirrored=True)
    return inside


def _with_noise(head: Head, z_mm: float, hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blur slightly, as a reconstruction kernel does, and add noise that is correlated a little."""
    rng = np.random.default_rng([head.noise_seed, round((z_mm + 500) * 100)])
    noise = blur(rng.standard_normal(hu.shape, dtype=np.float32), 0.22) * np.float32(head.noise_hu * 1.6)
    return np.maximum(blur(hu, 0.18) + noise, AIR - 24).astype(np.float32)
