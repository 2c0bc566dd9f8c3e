"""The class activation maps of a run, measured against the boxes of its target class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.evaluate.localization import MEASURES, lesion_of_boxes, measure_localization

Maps = Mapping[str, NDArray[np.floating[Any]]]


def read_maps(path: Path) -> Maps:
    """Read the maps that prediction kept: image_id to an array of shape (h, w), from 0 to 1.

    Args:
        path: .npz with the arrays `image_id` and `cam`; without entries for networks that have no map.

    Raises:
        InputError: If the file is missing or no such archive.
    """
    try:
        with np.load(path) as maps:
            return dict(zip(maps["image_id"].tolist(), maps["cam"], strict=True))
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise InputError(
            path,
            found=str(error),
            expected="an archive with the arrays image_id and cam",
            next_step=f"Make it again: snakemake {path}",
        ) from error


def measure_maps(table: pd.DataFrame, maps: Maps, images: pd.DataFrame, boxes: pd.DataFrame) -> pd.DataFrame:
    """Measure the map of each positive image that has a box.

    A positive image without a box says nothing about where its lesion is, and is left out. A map says no more than
    its cells: the pointing game counts a hit where the maximum is within half a cell's longer side of a box.

    Args:
        table: image_id, patient_id, subset, truth.
        maps: From `read_maps`.
        images: image_id, width and height, pixels.
        boxes: Boxes of the target class, continuous pixels.

    Returns:
        image_id, patient_id, subset and what `measure_localization` returns, a row an image.
    """
    sizes = images.set_index("image_id")[["width", "height"]].to_dict("index")
    boxes_of = {str(image_id): found for image_id, found in boxes.groupby("image_id")}
    held = table["image_id"].isin(list(boxes_of)) & table["image_id"].isin(list(maps))
    rows = []
    for row in table[table["truth"] & held][["image_id", "patient_id", "subset"]].to_dict("records"):
        image_id = str(row["image_id"])
        height, width = sizes[image_id]["height"], sizes[image_id]["width"]
        lesion = lesion_of_boxes(boxes_of[image_id], height, width)
        half_cell = max(height / maps[image_id].shape[0], width / maps[image_id].shape[1]) / 2
        where = f"map of image {image_id}"
        measured = measure_localization(maps[image_id], lesion, tolerance_px=half_cell, where=where)
        rows.append(dict(row) | measured)
    found = pd.DataFrame(rows, columns=["image_id", "patient_id", "subset", *MEASURES, "reason"])
    return found.astype(dict.fromkeys(MEASURES, "float64"))
