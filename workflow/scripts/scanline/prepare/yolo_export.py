"""A YOLO data set of pixels from the cache: 8-bit grey PNGs, a text file of boxes for each, one description.

The layout is the one that ultralytics reads (https://docs.ultralytics.com/datasets/detect):

    data.yaml                    where the subsets lie, the names of the classes
    images/<subset>/000000.png   numbered by position within the subset
    labels/<subset>/000000.txt   a line a box: class from 0 on, then centre x, centre y, width, height in shares
                                 of the image; empty where there is no box, as the image is background
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from scanline.core.files import written_aside

DESCRIPTION = "data.yaml"


@dataclass(frozen=True)
class YoloSubset:
    """What is written of one subset.

    Attributes:
        rows: Shape (n,), int64: rows of the pixel cache.
        boxes: n arrays of shape (k, 4): corners xmin, ymin, xmax, ymax in cache pixels.
        classes: n arrays of shape (k,): numbers from 0 on.
    """

    rows: NDArray[np.int64]
    boxes: Sequence[NDArray[np.float32]]
    classes: Sequence[NDArray[np.int64]]


def write_yolo(
    folder: Path, pixels: NDArray[np.uint8], subsets: Mapping[str, YoloSubset], names: Sequence[str], channels: int
) -> Path:
    """Write a data set, unless it is there: its description is what is written last.

    What a killed run left half done is removed first. The same folder is taken to stand for the same data.

    Args:
        folder: Gets images, labels and the description; its other contents stay.
        pixels: The pixel cache, shape (images, size, size), uint8.
        subsets: `train` and `val`, and others where there are some.
        names: Of the classes, by number.
        channels: 1, or 3 for a reader that repeats the grey values.

    Returns:
        The description, data.yaml.
    """
    description = folder / DESCRIPTION
    if description.exists():
        return description
    for kind in ("images", "labels"):
        shutil.rmtree(folder / kind, ignore_errors=True)
    for name, subset in subsets.items():
        _write_subset(folder, name, pixels, subset)
    values = {name: f"images/{name}" for name in subsets}
    content = yaml.safe_dump({**values, "names": dict(enumerate(names)), "channels": channels}, sort_keys=False)
    with written_aside(description) as aside:
        aside.write_text(content, "utf-8")
    return description


def _write_subset(folder: Path, name: str, pixels: NDArray[np.uint8], subset: YoloSubset) -> None:
    images, labels = folder / "images" / name, folder / "labels" / name
    for made in (images, labels):
        made.mkdir(parents=True)
    size = pixels.shape[-1]
    for position, (row, boxes, classes) in enumerate(zip(subset.rows, subset.boxes, subset.classes, strict=True)):
        Image.fromarray(np.asarray(pixels[row])).save(images / f"{position:06d}.png", compress_level=1)
        lines = [label_line(int(number), box.tolist(), size, size) for number, box in zip(classes, boxes, strict=True)]
        (labels / f"{position:06d}.txt").write_text("".join(lines), "utf-8")


def label_line(number: int, corners: Sequence[float], width: int, height: int) -> str:
    """The line of a box: class from 0 on, then centre x, centre y, width, height in shares of the image.

    Args:
        number: Of the class.
        corners: xmin, ymin, xmax, ymax in pixels.
        width: Of the image.
        height: Of the image.
    """
    x_min, y_min, x_max, y_max = (value / side for value, side in zip(corners, (width, height) * 2, strict=True))
    values = ((x_min + x_max) / 2, (y_min + y_max) / 2, x_max - x_min, y_max - y_min)
    return f"{number} {' '.join(f'{value:.9g}' for value in values)}\n"
