"""The mask cache: each mask decoded, resized and thresholded once, in the rows of the pixel cache."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from scanline.core.errors import InputError
from scanline.core.files import written_aside
from scanline.core.images import ImageError
from scanline.core.log import progress
from scanline.core.slices import read_mask
from scanline.prepare.mask_values import UNKNOWN
from scanline.prepare.options import PixelOptions
from scanline.prepare.windows import frames_of

MIN_COVERED = 0.5  # of a cached pixel's area, for it to be lesion
ROUNDING = 1e-9  # of an area: exactly half covered counts as covered


class MaskOptions(PixelOptions):
    """The mask cache of one class."""

    target: str = Field(description="The class that the masks outline.")
    sources: tuple[str, ...] = Field(
        min_length=1,
        description="Sources whose masks outline this class (their mask_class): masks of others say nothing about it.",
    )


@dataclass(frozen=True)
class MaskCounts:
    """What the cache holds.

    Attributes:
        lesion: Images with at least one lesion pixel in the cache.
        none: Images known to have none.
        unknown: Images whose mask file is absent, or whose label is null.
        lost: Images labelled positive without a lesion pixel in the cache; counted in `none` too.
    """

    lesion: int
    none: int
    unknown: int
    lost: int


def resize_mask(mask: NDArray[np.bool_], size_px: int) -> NDArray[np.uint8]:
    """Resize a mask (height, width) to (size_px, size_px): 1 where at least half of a pixel's area is lesion, else 0.

    The area of each new pixel is averaged exactly, shrinking or enlarging, without rounding to grey values between.
    The aspect ratio is not kept, as in the pixel cache, and both lie on the same grid.
    """
    if not mask.any():
        return np.zeros((size_px, size_px), dtype=np.uint8)
    height, width = mask.shape
    covered = _coverage(height, size_px) @ mask.astype(np.float64) @ _coverage(width, size_px).T
    return (covered >= MIN_COVERED - ROUNDING).astype(np.uint8)


@cache
def _coverage(old: int, new: int) -> NDArray[np.float64]:
    """How much of each new pixel each old one covers along one axis, shape (new, old); rows sum to 1."""
    edges = np.arange(new + 1) * (old / new)
    start, end = edges[:-1, None], edges[1:, None]
    pixels = np.arange(old)[None, :]
    overlap = np.clip(np.minimum(end, pixels + 1) - np.maximum(start, pixels), 0, None)
    return np.asarray(overlap * (new / old))


def load_mask(path: Path, width: int, height: int, size_px: int, frame: int | None = None) -> NDArray[np.uint8]:
    """Decode and resize one mask: every value above 0 is lesion, as in curation (`scanline.core.slices.read_mask`).

    Args:
        path: The mask file.
        width: Of its image, in pixels.
        height: Of its image, in pixels.
        size_px: Width and height of the result.
        frame: Number of the mask in a file that holds several.

    Returns:
        Shape (size_px, size_px), uint8 of 0 and 1.

    Raises:
        InputError: If the file is missing, no image, damaged, or not of its image's size.
    """
    try:
        mask = read_mask(path, frame)
    except ImageError as error:
        raise InputError(
            path, found=str(error), expected="an intact mask", next_step="Mend it, or curate again: it is refused."
        ) from error
    if mask.shape != (height, width):
        raise InputError(
            path,
            found=f"a mask of {mask.shape[1]} x {mask.shape[0]} px",
            expected=f"{width} x {height} px, as its image",
            next_step="Mend it, or curate again: it is refused.",
        )
    return resize_mask(mask, size_px)


def cache_masks(
    images: pd.DataFrame, labels: pd.DataFrame, index: pd.DataFrame, options: MaskOptions, target: Path
) -> MaskCounts:
    """Write the mask cache as .npy, shape (n, size, size), uint8: 1 lesion, 0 none, 255 throughout where unknown.

    Args:
        images: The images table.
        labels: The labels table; an image whose label is null is unknown.
        index: The pixel cache's table of image_id and row: the masks have the same rows.
        options: Size, class, sources.
        target: The .npy file; training maps it into memory.

    Raises:
        InputError: If an image has no row, a label column is missing, or for a mask that `load_mask` refuses.
    """
    if options.target not in labels:
        _refuse("labels table", ", ".join(map(str, labels.columns)), f"the column {options.target}")
    rows = index.set_index("image_id")["row"]
    label = labels.set_index("image_id")[options.target].reindex(images["image_id"])
    missing = images.loc[~images["image_id"].isin(rows.index), "image_id"]
    if len(missing) or len(rows) != len(images):
        found = f"no row for image {missing.iloc[0]!r}" if len(missing) else f"{len(rows)} rows"
        _refuse("pixel cache's table", found, f"a row for each of the {len(images)} images")
    is_known = (
        images["mask_path"].notna().to_numpy()
        & images["source"].isin(options.sources).to_numpy()
        & label.notna().to_numpy()
    )
    known = images[is_known]
    is_labelled = label[is_known].to_numpy(dtype=bool)
    lesion = lost = 0
    size = options.image_size_px
    sides = [known["mask_path"].map(Path), known["width"].astype(int), known["height"].astype(int)]
    with written_aside(target) as aside, ThreadPoolExecutor(os.cpu_count()) as pool:
        masks = np.lib.format.open_memmap(aside, "w+", np.uint8, (len(images), size, size))
        for row in rows.loc[images.loc[~is_known, "image_id"]]:
            masks[row] = UNKNOWN
        decoded = pool.map(load_mask, *sides, [size] * len(known), frames_of(known))
        places = rows.loc[known["image_id"]]
        for row, labelled, mask in zip(places, is_labelled, progress(decoded, len(known), "mask"), strict=True):
            masks[row] = mask
            has_lesion = bool(mask.any())
            lesion += has_lesion
            lost += labelled and not has_lesion
        masks.flush()
    return MaskCounts(lesion, len(known) - lesion, len(images) - len(known), int(lost))


def _refuse(where: str, found: str, expected: str) -> None:
    raise InputError(where, found=found, expected=expected, next_step="Delete it and run again.")
