"""Probability maps on disk: 8-bit, compressed, written and read one image at a time.

The file is an .npz archive with one array a map, named by its row, and so opens with `numpy.load` too. Nothing here
needs PyTorch.
"""

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.files import written_aside
from scanline.core.tables import read_table

LEVELS = 255  # a map's value is round(LEVELS * probability)
COLUMNS = ("image_id", "subset", "row")


def write_maps(path: Path, maps: Iterable[NDArray[np.uint8]]) -> int:
    """Write maps, each of shape (size, size), in their order; equal maps give equal bytes.

    Returns:
        How many there were.
    """
    count = 0
    with written_aside(path) as aside, zipfile.ZipFile(aside, "w") as archive:
        for one in maps:
            entry = zipfile.ZipInfo(f"{count}.npy")  # dated 1980
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(one), allow_pickle=False)
            count += 1
    return count


class ProbabilityMaps:
    """The maps of a run, read when asked for.

    Args:
        path: The archive.
        table: The table of image_id, subset, row.

    Attributes:
        table: That table.

    Raises:
        InputError: If a file is missing or is no such archive or table.
    """

    def __init__(self, path: Path, table: Path) -> None:
        self.path = path
        self.table: pd.DataFrame = read_table(table)
        missing = [name for name in COLUMNS if name not in self.table]
        if missing:
            raise _no_maps(table, f"no column {missing[0]}")
        try:
            self._archive: Mapping[str, NDArray[np.uint8]] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise _no_maps(path, str(error)) from error
        self._rows = dict(zip(self.table["image_id"], self.table["row"], strict=True))

    def __getitem__(self, image_id: str) -> NDArray[np.uint8]:
        """The map of an image, shape (size, size), round(255 p).

        Raises:
            InputError: If there is none.
        """
        try:
            return np.asarray(self._archive[str(self._rows[image_id])])
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise _no_maps(self.path, f"no intact map of image {image_id!r}") from error


def _no_maps(path: Path, found: str) -> InputError:
    return InputError(
        path,
        found=found,
        expected="what predict_segmenter wrote: an archive of maps, and a table of image_id, subset, row",
        next_step=f"Make it again: snakemake {path}",
    )
