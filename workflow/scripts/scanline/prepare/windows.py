"""Which image of its file an image is, and the window through which it is seen, as the images table tells them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from scanline.core.images import Window
from scanline.core.slices import FrameWindow

WINDOW = ("window_center_hu", "window_width_hu")  # columns of the images table
FRAME = "frame_index"
REPAIRED = "repairs"


def windows_of(images: pd.DataFrame) -> list[Window | None]:
    """The window of each image of the images table; None of images whose grey stays as it is."""
    if WINDOW[0] not in images:
        return [None] * len(images)
    pairs = zip(images[WINDOW[0]], images[WINDOW[1]], strict=True)
    return [window_of(dict(zip(WINDOW, pair, strict=True))) for pair in pairs]


def window_of(row: Mapping[str, Any]) -> Window | None:
    """The window of a row of the images table; None if its grey stays as it is."""
    center, width = (row.get(name) for name in WINDOW)
    return None if center is None or width is None or pd.isna(center) else Window(float(center), float(width))


def frames_of(images: pd.DataFrame) -> list[int | None]:
    """The frame of each image of the images table; None of a file of one image."""
    if FRAME not in images:
        return [None] * len(images)
    return [None if pd.isna(frame) else int(frame) for frame in images[FRAME]]


def frame_of(row: Mapping[str, Any]) -> int | None:
    """The frame of a row of the images table; None of a file of one image."""
    frame = row.get(FRAME)
    return None if frame is None or pd.isna(frame) else int(frame)


def repairs_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What curation mended of the image of a row of the images table."""
    names = row.get(REPAIRED)
    return () if names is None or pd.isna(names) else tuple(names.split())


class FileImages(NamedTuple):
    """Images of one file.

    Attributes:
        path: The file.
        places: Of its images in the table.
        wanted: Frame and window of each.
        repairs: What curation mended of the file.
    """

    path: Path
    places: list[int]
    wanted: list[FrameWindow]
    repairs: tuple[str, ...]


def by_file(images: pd.DataFrame) -> list[FileImages]:
    """The files of images, each with the places of its images in the table, and what is wanted of it."""
    repairs = images[REPAIRED].tolist() if REPAIRED in images else [None] * len(images)
    wanted = list(zip(frames_of(images), windows_of(images), strict=True))
    places: dict[str, list[int]] = {}
    for place, path in enumerate(images["path"]):
        places.setdefault(str(path), []).append(place)
    return [
        FileImages(Path(path), own, [wanted[place] for place in own], repairs_of({REPAIRED: repairs[own[0]]}))
        for path, own in places.items()
    ]
