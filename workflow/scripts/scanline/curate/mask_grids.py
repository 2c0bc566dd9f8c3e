"""Masks of volumes have to lie on the grid of their volume: what the two NIfTI headers say of it is compared."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from scanline.curate.entries import Entry, Reject
from scanline.curate.inspection import Inspected

MOST_SHIFT = 0.1  # of the shortest edge of a voxel, at any corner of the grid: more than rounding of headers makes


def refuse_other_grids(entries: Sequence[Entry], scanned: Mapping[str, Inspected]) -> tuple[list[Entry], list[Reject]]:
    """Take the masks from entries whose volume lies elsewhere, by the affines of both files.

    Nothing is turned or resampled: a mask that is mirrored, whose axes are in another order, or that has other voxels
    is refused, once a file, and so is one where one file alone says where it lies. Files that both say nothing, as HDF5
    and NumPy do, are taken as they are.

    Args:
        entries: Of a source.
        scanned: What the scan found of each file, by path.
    """
    wrong: dict[tuple[str, str], str] = {}
    for pair in sorted({(one.path, one.mask_path) for one in entries if one.mask_path and one.frame is not None}):
        image, mask = (scanned.get(path) for path in pair)
        if image is not None and mask is not None and (problem := _difference(image, mask)) is not None:
            wrong[pair] = problem
    kept = [replace(one, mask_path=None) if (one.path, one.mask_path) in wrong else one for one in entries]
    used = {one.mask_path for one in kept}
    return kept, [
        Reject(mask, None, "refused", "mask_grid_differs", f"{problem}: the mask of {image} is unknown")
        for (image, mask), problem in wrong.items()
        if mask not in used
    ]


def _difference(image: Inspected, mask: Inspected) -> str | None:
    """How the grid of a mask differs from that of its volume; None where it does not, or nobody can tell."""
    if image.affine is None and mask.affine is None:
        return None
    if image.affine is None or mask.affine is None:
        which = "volume's" if image.affine is None else "mask's"
        return f"the {which} header does not say where it lies, the other does"
    if image.size is None or mask.size is None:
        return None  # refused as unreadable
    first, second = (np.array(affine, dtype=np.float64).reshape(3, 4) for affine in (image.affine, mask.affine))
    ends = (image.size[0] - 1, image.size[1] - 1, len(image.frames) - 1)
    corners = np.array([(x, y, z, 1) for x in (0, ends[0]) for y in (0, ends[1]) for z in (0, ends[2])]).T
    shift = float(np.linalg.norm((second - first) @ corners, axis=0).max())
    edge = float(np.linalg.norm(first[:, :3], axis=0).min())
    if shift <= MOST_SHIFT * edge:
        return None
    return f"by the headers a corner lies {shift:.4g} mm from that of the volume, whose voxels are {edge:.4g} mm"
