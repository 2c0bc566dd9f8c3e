"""Intracranial haemorrhages of a phantom head, in 3-D, each with the shape that defines its kind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scanline.acquire.phantoms.shapes import Grid, Waves, draw_waves

Mask = NDArray[np.bool_]
Point = tuple[float, float, float]

EPIDURAL, SUBDURAL, SUBARACHNOID = "epidural", "subdural", "subarachnoid"
INTRAPARENCHYMAL, INTRAVENTRICULAR = "intraparenchymal", "intraventricular"
KINDS = (EPIDURAL, SUBDURAL, SUBARACHNOID, INTRAPARENCHYMAL, INTRAVENTRICULAR)
DEEP_MM: tuple[tuple[float, Point], ...] = (  # how often, and where, an intraparenchymal bleed has its middle
    (0.45, (26.0, 3.0, 8.0)),  # putamen
    (0.25, (14.0, -12.0, 9.0)),  # thalamus
    (0.20, (34.0, -28.0, 28.0)),  # parietal lobe
    (0.10, (28.0, 32.0, 22.0)),  # frontal lobe
)


@dataclass(frozen=True)
class Haemorrhage:
    """One bleed: lengths in mm, angle in radians, density in HU.

    For `epidural` and `subdural`, centre_mm is the direction in which it lies and axes_mm its half length
    along the skull, its thickness, and its half height; for `subarachnoid` and `intraventricular`, axes_mm
    is the reach.
    """

    kind: str
    centre_mm: Point
    axes_mm: Point
    angle_rad: float
    hu: float
    oedema_mm: float
    surface: Waves  # roughens the surface


class Surroundings(NamedTuple):
    """The level that a bleed is drawn into: masks and depth below the skull of shape (size, size)."""

    brain: Mask
    depth_mm: NDArray[np.float32]
    ventricles: Mask
    csf: Mask
    falx: Mask
    head_axes_mm: NDArray[np.float64]  # (3,)


def draw_kind(rng: np.random.Generator, kind: str) -> Haemorrhage:
    """Draw a bleed of a kind: side, place, size and density (55 to 75 HU)."""
    side = float(rng.choice([-1.0, 1.0]))
    jitter = rng.normal(0, 3, 3)
    if kind == INTRAPARENCHYMAL:
        chances = [chance for chance, _ in DEEP_MM]
        place = DEEP_MM[int(rng.choice(len(DEEP_MM), p=chances))][1]
        long = float(np.clip(rng.lognormal(np.log(12), 0.35), 6, 24))
        axes = (long * float(rng.uniform(0.55, 0.85)), long, long * float(rng.uniform(0.8, 1.1)))
    elif kind == INTRAVENTRICULAR:
        place, axes = (16.0, -24.0, 14.0), (30.0, float(rng.uniform(12, 30)), float(rng.uniform(12, 22)))
    elif kind == SUBARACHNOID:
        place, axes = (40.0, 12.0, 4.0), (float(rng.uniform(22, 40)),) * 3
    elif kind == EPIDURAL:
        place = (60.0, float(rng.uniform(-25, 30)), float(rng.uniform(0, 25)))
        axes = (float(rng.uniform(18, 30)), float(rng.uniform(8, 16)), 25.0)
    else:
        place = (60.0, float(rng.uniform(-20, 20)), float(rng.uniform(10, 30)))
        axes = (float(rng.uniform(65, 95)), float(rng.uniform(5, 10)), float(rng.uniform(25, 40)))
    centre = (side * (place[0] + float(jitter[0])), place[1] + float(jitter[1]), place[2] + float(jitter[2]))
    return Haemorrhage(
        kind=kind,
        centre_mm=centre,
        axes_mm=axes,
        angle_rad=side * float(rng.normal(0.25, 0.3)),
        hu=float(rng.uniform(55, 75)),
        oedema_mm=float(rng.uniform(3, 8)),
        surface=draw_waves(rng, number=20, shortest_mm=18.0, longest_mm=40.0),
    )


def draw_haemorrhage(bleed: Haemorrhage, grid: Grid, around: Surroundings) -> tuple[Mask, Mask]:
    """Draw a bleed at a level.

    Returns:
        The bleed and its hypodense oedema rim (intraparenchymal only), disjoint, each of shape (size, size).
    """
    return SHAPES[bleed.kind](bleed, grid, around)


def _intraparenchymal(bleed: Haemorrhage, grid: Grid, around: Surroundings) -> tuple[Mask, Mask]:
    """A roughened ellipsoid, and a shell around it; both keep off skull, ventricles and falx."""
    x, y, z = (grid.x - bleed.centre_mm[0], grid.y - bleed.centre_mm[1], grid.z_mm - bleed.centre_mm[2])
    cos, sin = np.cos(bleed.angle_rad), np.sin(bleed.angle_rad)
    p, q = cos * x + sin * y, cos * y - sin * x
    ax, ay, az = bleed.axes_mm
    radius = np.sqrt((p / ax) ** 2 + (q / ay) ** 2 + (z / az) ** 2) + 0.05 * bleed.surface.at(grid)
    tissue = around.brain & (around.depth_mm > 3) & ~around.falx
    inside = tissue & (radius < 1)
    rim = 1 + bleed.oedema_mm / np.mean(bleed.axes_mm)
    shell = tissue & (radius < rim) & ~inside & ~around.ventricles & ~around.csf
    if not inside.any():
        shell &= False
    return inside, shell


def _intraventricular(bleed: Haemorrhage, grid: Grid, around: Surroundings) -> tuple[Mask, Mask]:
    """Blood that has settled in the ventricles of one side: the lower part of a patient on the back."""
    side = np.sign(bleed.centre_mm[0]) * grid.x > -3
    near = abs(grid.z_mm - bleed.centre_mm[2]) < bleed.axes_mm[2]
    below = grid.y < bleed.centre_mm[1] + bleed.axes_mm[1]
    return around.ventricles & side & below & near, np.zeros_like(side)


def _subarachnoid(bleed: Haemorrhage, grid: Grid, around: Surroundings) -> tuple[Mask, Mask]:
    """Blood in the sulci, fissures and cisterns within reach."""
    x, y, z = (grid.x - bleed.centre_mm[0], grid.y - bleed.centre_mm[1], grid.z_mm - bleed.centre_mm[2])
    near = x * x + y * y + z * z < bleed.axes_mm[0] ** 2
    return around.csf & near, np.zeros_like(near)


def _epidural(bleed: Haemorrhage, grid: Grid, around: Surroundings) -> tuple[Mask, Mask]:
    """A biconvex lens: what a ball shares with the inside of the skull, both of them convex.

    The ball's radius R follows from half length a and thickness t of the part inside, as that of a circle
    with a segment of half chord a and height t: R = (a^2 + t^2) / (2 t).
    """
    half_length, thickness = bleed.axes_mm[0], bleed.axes_mm[1]
    radius = (half_length**2 + thickness**2) / (2 * thickness)
    axes = around.head_axes_mm
    direction = np.asarray(bleed.centre_mm) / axes
    touch = direction / np.linalg.norm(direction) * axes
    normal = touch / axes**2
    centre = touch + (radius - thickness) * normal / np.linalg.norm(normal)
    x, y, z = grid.x - centre[0], grid.y - centre[1], grid.z_mm - centre[2]
    inside = around.brain & (x * x + y * y + z * z < radius**2)
    return inside, np.zeros_like(inside)


def _subdural(bleed: Haemorrhage, grid: Grid, around: Surroundings) -> tuple[Mask, Mask]:
    """A crescent: a layer along the skull that ends at the midline.

    Its thickness is flat in the middle and falls to 0 at its tips, so that its inner edge is concave, as the
    skull is.
    """
    axes = around.head_axes_mm
    reach = (bleed.axes_mm[0] / axes[1], bleed.axes_mm[2] / axes[2])
    angle = np.arctan2(grid.y / axes[1], grid.x / axes[0])
    middle = np.arctan2(bleed.centre_mm[1] / axes[1], bleed.centre_mm[0] / axes[0])
    apart = np.abs((angle - middle + np.pi) % (2 * np.pi) - np.pi) / reach[0]
    level = (grid.z_mm - bleed.centre_mm[2]) / axes[2] / reach[1]
    thickness = bleed.axes_mm[1] * (1 - apart**4 - level**2)
    side = np.sign(bleed.centre_mm[0]) * grid.x > 1.5
    inside = around.brain & side & (around.depth_mm < thickness)
    return inside, np.zeros_like(inside)


SHAPES: dict[str, Callable[[Haemorrhage, Grid, Surroundings], tuple[Mask, Mask]]] = {
    EPIDURAL: _epidural,
    SUBDURAL: _subdural,
    SUBARACHNOID: _subarachnoid,
    INTRAPARENCHYMAL: _intraparenchymal,
    INTRAVENTRICULAR: _intraventricular,
}
