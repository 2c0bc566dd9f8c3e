"""The window through which a DICOM image is seen as grey values, as the images table tells it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scanline.core.images import Window

WINDOW = ("window_center_hu", "window_width_hu")  # columns of the images table


def windows_of(images: pd.DataFrame) -> list[Window | None]:
    """The window of each image of the images table; None of images that are no DICOM."""
    if WINDOW[0] not in images:
        return [None] * len(images)
    pairs = zip(images[WINDOW[0]], images[WINDOW[1]], strict=True)
    return [window_of(dict(zip(WINDOW, pair, strict=True))) for pair in pairs]


def window_of(row: Mapping[str, Any]) -> Window | None:
    """The window of a row of the images table; None if it is no DICOM."""
    center, width = (row.get(name) for name in WINDOW)
    return None if center is None or width is None or pd.isna(center) else Window(float(center), float(width))
