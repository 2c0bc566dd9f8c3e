"""The pixel cache: each image decoded and resized once, then trained on from memory."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from scanline.core.errors import InputError
from scanline.core.files import written_aside
from scanline.core.images import ImageError, Window
from scanline.core.log import progress
from scanline.core.slices import FrameWindow, read_slices
from scanline.prepare.windows import FileImages, by_file


def resize(image: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Resize a grey image (height, width) to (size_px, size_px), uint8.

    Bilinear with the kernel widened by the reduction factor, so that a smaller image is not aliased (Pillow's
    `reducing` behaviour). The aspect ratio is not kept: models take squares.
    """
    resized = Image.fromarray(image).resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8)


def load_pixels(
    path: Path, size_px: int, window: Window | None = None, frame: int | None = None, repairs: Collection[str] = ()
) -> NDArray[np.uint8]:
    """Decode and resize one image: what the cache holds, and what a single image is predicted from.

    Args:
        path: The file.
        size_px: Width and height.
        window: Of DICOM images and slices of volumes; None where grey stays as it is.
        frame: Number of the image in a file that holds several.
        repairs: Those of `scanline.core.images.REPAIRS` that curation made.

    Raises:
        InputError: If the file is missing, no image or damaged.
    """
    return load_file(path, size_px, [(frame, window)], repairs)[0]


def load_file(
    path: Path, size_px: int, wanted: Sequence[FrameWindow], repairs: Collection[str] = ()
) -> list[NDArray[np.uint8]]:
    """Decode a file once, and resize images of it; see `load_pixels`."""
    try:
        return [resize(image, size_px) for image in read_slices(path, wanted, repairs)]
    except ImageError as error:
        raise InputError(
            path,
            found=str(error),
            expected="an intact image",
            next_step="Mend it, or curate again: it is refused.",
        ) from error


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
    files = by_file(images.loc[is_new])
    new_rows = np.flatnonzero(is_new)
    with written_aside(target) as aside, ThreadPoolExecutor(threads) as pool:
        larger = np.lib.format.open_memmap(aside, "w+", np.uint8, (len(images), size_px, size_px))
        for place, row in zip(np.flatnonzero(~is_new), rows.loc[images.loc[~is_new, "image_id"]], strict=True):
            larger[place] = cached[row]
        for places, decoded in _decoded(files, size_px, pool):
            larger[new_rows[places]] = decoded
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
    with written_aside(target) as aside, ThreadPoolExecutor(threads) as pool:
        pixels = np.lib.format.open_memmap(aside, "w+", np.uint8, (len(images), size_px, size_px))
        for places, decoded in _decoded(by_file(images), size_px, pool):
            pixels[places] = decoded
        pixels.flush()
    return pd.DataFrame({"image_id": images["image_id"], "row": np.arange(len(images))})


def _decoded(
    files: Sequence[FileImages], size_px: int, pool: ThreadPoolExecutor
) -> Iterator[tuple[list[int], list[NDArray[np.uint8]]]]:
    """The places and pixels of the images of each file."""
    decoded = pool.map(lambda file: load_file(file.path, size_px, file.wanted, file.repairs), files)
    yield from zip([file.places for file in files], progress(decoded, total=len(files)), strict=True)
