"""The pixel cache: each image decoded and resized once, then trained on from memory."""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from scanline.core.dicom import decode_dicom
from scanline.core.errors import InputError
from scanline.core.files import written_aside
from scanline.core.images import ImageError, Window, read_image
from scanline.core.log import progress

WINDOW = ("window_center_hu", "window_width_hu")  # columns of the images table
REPAIRED = "repairs"  # another


def resize(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Resize a grey image (height, width) to (size_px, size_px), uint8.

    Bilinear with the kernel widened by the reduction factor, so that a smaller image is not aliased (Pillow's
    `reducing` behaviour). The aspect ratio is not kept: models take squares.
    """
    resized = Image.fromarray(image).resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8)


def load_pixels(
    path: Path, size_px: int, window: Window | None = None, repairs: Collection[str] = ()
) -> NDArray[np.uint8]:
    """Decode and resize one image: what the cache holds, and what a single image is predicted from.

    Args:
        path: The file.
        size_px: Width and height.
        window: Of a DICOM image; None where it is none.
        repairs: Those of `scanline.core.images.REPAIRS` that curation made.

    Raises:
        InputError: If the file is missing, no image or damaged.
    """
    try:
        image = read_image(path, repairs) if window is None else decode_dicom(path.read_bytes(), window)[0]
        return resize(image, size_px)
    except ImageError as error:
        raise InputError(
            path,
            found=str(error),
            expected="an intact image",
            next_step="Mend it, or curate again: it is refused.",
        ) from error


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


def repairs_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What curation mended of the image of a row of the images table."""
    names = row.get(REPAIRED)
    return () if names is None or pd.isna(names) else tuple(names.split())


def all_repairs(images: pd.DataFrame) -> list[tuple[str, ...]]:
    """What curation mended of each image of the images table."""
    names = images[REPAIRED] if REPAIRED in images else [None] * len(images)
    return [repairs_of({REPAIRED: text}) for text in names]


def extend_cache(pixels: Path, index: pd.DataFrame, images: pd.DataFrame, target: Path, threads: int) -> pd.DataFrame:
    """Write a pixel cache of more images: the rows that are cached already are copied, the others decoded.

    Args:
        pixels: The cache that is there, .npy.
        index: Its table of image_id and row.
        images: The images table of the larger cache.
        target: The .npy file to write.
        threads: Images decoded at a time.

    Returns:
        Table with image_id and its row in the larger cache.
    """
    cached = np.load(pixels, mmap_mode="r")
    rows = index.set_index("image_id")["row"]
    size_px = int(cached.shape[-1])
    is_new = ~images["image_id"].isin(rows.index).to_numpy()
    paths, windows = [Path(path) for path in images.loc[is_new, "path"]], windows_of(images.loc[is_new])
    with written_aside(target) as aside, ThreadPoolExecutor(threads) as pool:
        larger = np.lib.format.open_memmap(aside, "w+", np.uint8, (len(images), size_px, size_px))
        for place, row in zip(np.flatnonzero(~is_new), rows.loc[images.loc[~is_new, "image_id"]], strict=True):
            larger[place] = cached[row]
        decoded = pool.map(load_pixels, paths, [size_px] * len(paths), windows, all_repairs(images.loc[is_new]))
        for place, image in zip(np.flatnonzero(is_new), progress(decoded, total=len(paths)), strict=True):
            larger[place] = image
        larger.flush()
    return pd.DataFrame({"image_id": images["image_id"], "row": np.arange(len(images))})


def cache_pixels(images: pd.DataFrame, size_px: int, target: Path, threads: int) -> pd.DataFrame:
    """Write the pixel cache of all images as .npy, shape (n, size_px, size_px), uint8.

    Args:
        images: The images table.
        size_px: Width and height of the cached images.
        target: The .npy file; training maps it into memory.
        threads: Images decoded at a time; decoding releases the interpreter's lock.

    Returns:
        Table with image_id and its row in the cache.
    """
    paths, windows = [Path(path) for path in images["path"]], windows_of(images)
    with written_aside(target) as aside, ThreadPoolExecutor(threads) as pool:
        pixels = np.lib.format.open_memmap(aside, "w+", np.uint8, (len(paths), size_px, size_px))
        decoded = pool.map(load_pixels, paths, [size_px] * len(paths), windows, all_repairs(images))
        for row, image in enumerate(progress(decoded, total=len(paths))):
            pixels[row] = image
        pixels.flush()
    return pd.DataFrame({"image_id": images["image_id"], "row": np.arange(len(paths))})
