"""The class activation maps of a run on disk; nothing here needs PyTorch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.files import written_aside

SMALLEST_MAXIMUM = 1e-12  # a map without evidence stays zero


def write_maps(image_ids: Sequence[str], cams: NDArray[np.float16], target: str | Sequence[str], path: Path) -> None:
    """Write the maps as .npz with the arrays image_id and cam, and for several labels also label, the second axis.

    Args:
        image_ids: Of all scored images.
        cams: Maps of the same images, or none; shape (n, h, w), or (n, labels, h, w) for several labels.
        target: The class, or the labels.
        path: File to write.
    """
    arrays: dict[str, Any] = {"image_id": np.array(image_ids, dtype=str)[: len(cams)], "cam": cams}
    if not isinstance(target, str):
        arrays["label"] = np.array(target, dtype=str)
    with written_aside(path) as aside:
        np.savez_compressed(aside, **arrays)


def read_stacked_maps(path: Path) -> tuple[list[str], NDArray[np.float16]]:
    """Read what `write_maps` wrote: the images, and their maps in one array.

    Raises:
        InputError: If the file is missing or no such archive.
    """
    try:
        with np.load(path) as maps:
            image_ids, cams = maps["image_id"].tolist(), maps["cam"]
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise InputError(
            path,
            found=str(error),
            expected="an archive with the arrays image_id and cam",
            next_step=f"Make it again: snakemake {path}",
        ) from error
    return image_ids, cams


def divide_by_maximum(cams: NDArray[np.float64]) -> NDArray[np.float64]:
    """Maps (..., h, w), each divided by its maximum, as Grad-CAM's are; a map of zeros stays one."""
    return np.asarray(cams / cams.max(axis=(-2, -1), keepdims=True).clip(min=SMALLEST_MAXIMUM))
