"""What phantoms are drawn with: a pixel grid in a patient's frame, capsules, random waves, a blur."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """Pixel centres of an axial slice in a patient's frame, in mm: x and y are float32 (size, size)."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    z_mm: float
    columns_mm: NDArray[np.float32]  # (size,): along the image's width, from the patient's origin
    rows_mm: NDArray[np.float32]  # (size,): up the image's height
    rotation_rad: float
    pixel_mm: float

    @classmethod
    def of(
        cls,
        size_px: int,
        field_of_view_mm: float,
        rotation_rad: float,
        shift_mm: tuple[float, float],
        z_mm: float,
    ) -> "Grid":
        """Lay the grid: row 0 is the top of the image and the front of a patient who is not rotated."""
        pixel_mm = field_of_view_mm / size_px
        offset = ((np.arange(size_px) + 0.5) * pixel_mm - field_of_view_mm / 2).astype(np.float32)
        columns, rows = offset - np.float32(shift_mm[0]), -offset - np.float32(shift_mm[1])
        cos, sin = np.float32(np.cos(rotation_rad)), np.float32(np.sin(rotation_rad))
        x = cos * columns[None, :] + sin * rows[:, None]
        y = cos * rows[:, None] - sin * columns[None, :]
        return cls(x, y, z_mm, columns, rows, rotation_rad, pixel_mm)


@dataclass(frozen=True)
class Waves:
    """A smooth random field in space: a sum of plane waves, mean 0 and standard deviation 1.

    vectors: (number, 3) in radians a mm; phases: (number,) in radians.
    """

    vectors: NDArray[np.float64]
    phases: NDArray[np.float64]

    def at(self, grid: Grid) -> NDArray[np.float32]:
        """The field at a grid's pixels, (size, size).

        cos(a x + b y + c) = cos(a x) cos(b y + c) - sin(a x) sin(b y + c), so rows and columns part. The terms
        are added by `einsum`, not by a matrix product: threads of a BLAS cost more than they save at this size,
        and their number would change the last bits.
        """
        cos, sin = np.cos(grid.rotation_rad), np.sin(grid.rotation_rad)
        kx, ky, kz = self.vectors.T
        along_columns, along_rows = kx * cos - ky * sin, kx * sin + ky * cos
        rows = np.outer(grid.rows_mm, along_rows) + (kz * grid.z_mm + self.phases)
        columns = np.outer(along_columns, grid.columns_mm)
        left = np.concatenate([np.cos(rows), -np.sin(rows)], axis=1).astype(np.float32)
        right = np.concatenate([np.cos(columns), np.sin(columns)], axis=0).astype(np.float32)
        field: NDArray[np.float32] = np.einsum("rk,kc->rc", left, right, optimize=False)
        return field * np.float32(np.sqrt(2 / len(self.phases)))


def draw_waves(rng: np.random.Generator, number: int, shortest_mm: float, longest_mm: float) -> Waves:
    """Draw waves of wavelengths between two bounds, in all directions alike."""
    direction = rng.standard_normal((number, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    lengths = rng.uniform(shortest_mm, longest_mm, (number, 1))
    return Waves(2 * np.pi * direction / lengths, rng.uniform(0, 2 * np.pi, number))


def capsule(grid: Grid, start: Point, end: Point, radius_mm: float, *, mirrored: bool = False) -> NDArray[np.bool_]:
    """Pixels (size, size) within a radius of the segment from start to end; mirrored: on both sides of x = 0."""
    if not min(start[2], end[2]) - radius_mm <= grid.z_mm <= max(start[2], end[2]) + radius_mm:
        return np.zeros(grid.x.shape, bool)
    dx, dy, dz = (b - a for a, b in zip(start, end, strict=True))
    x = (np.abs(grid.x) if mirrored else grid.x) - np.float32(start[0])
    y, z = grid.y - np.float32(start[1]), np.float32(grid.z_mm - start[2])
    square = dx * dx + dy * dy + dz * dz
    if square > 0:
        share = np.clip((x * dx + y * dy + z * dz) / np.float32(square), 0, 1)
        x, y, z = x - share * dx, y - share * dy, z - share * dz
    inside: NDArray[np.bool_] = x * x + y * y + z * z <= radius_mm * radius_mm
    return inside


def blur(image: NDArray[np.float32], side: float) -> NDArray[np.float32]:
    """Convolve rows and columns with (side, 1 - 2 side, side); the border repeats."""
    for axis in (0, 1):
        padded = np.pad(image, [(1, 1) if axis == 0 else (0, 0), (1, 1) if axis == 1 else (0, 0)], mode="edge")
        before, after = (padded[:-2], padded[2:]) if axis == 0 else (padded[:, :-2], padded[:, 2:])
        image = np.float32(side) * (before + after) + np.float32(1 - 2 * side) * image
    return image
