"""Reading of raw files on all cores: decoded, hashed, measured; nothing is judged here."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scanline.core.images import ImageError, channels_of, decode_image
from scanline.core.log import progress
from scanline.curate.phash import perceptual_hash
from scanline.curate.thumbnails import make_thumbnail

R = TypeVar("R")
BINARY_VALUES = ({0, 255}, {0, 1})


@dataclass(frozen=True)
class Inspected:
    """What reading one file told.

    Attributes:
        sha256: Of the bytes that were read; None where the file is gone.
        size: (width, height) in pixels; None where it did not decode.
        problem: Why it did not decode.
        phash: Perceptual hash of an image; None for low content.
        thumbnail: The 1,024 bytes that the hash was made from; None for low content.
        channels: Names of an image's channels.
        is_empty: Whether no pixel of a mask is above 0.
        odd_values: Grey values of a mask that is not binary, the first few.
    """

    sha256: str | None
    size: tuple[int, int] | None = None
    problem: str | None = None
    phash: str | None = None
    thumbnail: bytes | None = None
    channels: tuple[str, ...] = ()
    is_empty: bool = True
    odd_values: tuple[int, ...] = ()


def inspect_file(path: Path) -> Inspected:
    """Hash a file."""
    content = _content(path)
    return Inspected(_sha256(content), problem="no such file" if content is None else None)


def inspect_image(path: Path) -> Inspected:
    """Hash, decode and measure an image."""
    content = _content(path)
    try:
        pixels = _decode(content)
    except ImageError as error:
        return Inspected(_sha256(content), problem=str(error))
    size = (pixels.shape[1], pixels.shape[0])
    thumbnail = make_thumbnail(pixels)
    phash = perceptual_hash(thumbnail)
    return Inspected(
        _sha256(content),
        size,
        phash=phash,
        thumbnail=None if phash is None else thumbnail.tobytes(),
        channels=channels_of(content or b""),
    )


def inspect_mask(path: Path) -> Inspected:
    """Hash, decode and measure a mask."""
    content = _content(path)
    try:
        pixels = _decode(content)
    except ImageError as error:
        return Inspected(_sha256(content), problem=str(error))
    values = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256)).tolist()
    is_binary = any(set(values) <= allowed for allowed in BINARY_VALUES)
    return Inspected(
        _sha256(content),
        (pixels.shape[1], pixels.shape[0]),
        is_empty=max(values) == 0,
        odd_values=() if is_binary else tuple(value for value in values if value not in {0, 255})[:5],
    )


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _sha256(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def _decode(content: bytes | None) -> NDArray[np.uint8]:
    if content is None:
        raise ImageError("no such file")
    return decode_image(content)


def inspect_all(inspect: Callable[[Path], R], folder: Path, paths: Sequence[str], unit: str) -> dict[str, R]:
    """Inspect files on all cores of this process (threads: decoding and hashing release the lock).

    Args:
        inspect: One of the functions above.
        folder: Folder that the paths are relative to.
        paths: The files.
        unit: What the progress bar counts.

    Returns:
        What was found, by path.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(max_workers=cores) as pool:
        found = pool.map(inspect, [folder / path for path in paths])
        return dict(zip(paths, progress(found, total=len(paths), unit=unit), strict=True))
