"""Single images out of any raw file: pictures, DICOM with one frame or many, volumes; each file decoded once."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanline.core.dicom import grey_of_stored, is_dicom, read_dicom, rescale_of, stored_values
from scanline.core.dicom_frames import frame_count, of_frame
from scanline.core.file_names import is_volume
from scanline.core.images import ImageError, Window, decode_image, windowed_stored
from scanline.core.volumes import decode_volume

FrameWindow = tuple[int | None, Window | None]  # number of the frame, and the window; none where grey is as it stands
LABELS = 32  # a volume of as few whole numbers outlines something


def read_slices(
    path: Path, wanted: Sequence[FrameWindow], repairs: Collection[str] = ()
) -> Iterator[NDArray[np.uint8]]:
    """Decode images of one file to 8-bit grey.

    Args:
        path: The file.
        wanted: Of each image its frame (None in a file of one image) and its window (None of pictures and of volumes
            that `is_grey`).
        repairs: Those of `images.REPAIRS` that are made where a picture needs them.

    Yields:
        For each, in this order, an array of shape (height, width), dtype uint8.

    Raises:
        ImageError: If the file is missing, damaged or none, or has no such frame.
    """
    if not path.is_file():
        raise ImageError("no such file")
    content = path.read_bytes()
    if is_volume(path):
        volume = decode_volume(path.name, content)
        for frame, window in wanted:
            yield grey_of_frame(_frame(volume, frame), window)
    elif is_dicom(content):
        dataset = read_dicom(content)
        frames = frame_count(dataset)
        if frames > 1 and any(frame is None for frame, _ in wanted):
            raise ImageError("several frames in one file")
        stored = stored_values(dataset, None if len(wanted) > 1 else wanted[0][0] or 0)
        for frame, window in wanted:
            one = stored if stored.ndim == 2 else _frame(stored, frame)
            yield grey_of_stored(one, of_frame(dataset, frame or 0), window or Window())
    else:
        for _ in wanted:
            yield decode_image(content, repairs)


def read_mask(path: Path, frame: int | None = None) -> NDArray[np.bool_]:
    """Decode one mask: where the file's own values are above 0, before any of them is rounded or windowed.

    Args:
        path: A picture, a volume or a DICOM file, whose values are those by slope and intercept.
        frame: Number of the mask in a file that holds several.

    Returns:
        Shape (height, width).

    Raises:
        ImageError: If the file is missing, damaged or none, or has no such frame.
    """
    if not path.is_file():
        raise ImageError("no such file")
    content = path.read_bytes()
    if is_volume(path):
        return np.asarray(_frame(decode_volume(path.name, content), frame) > 0)
    if not is_dicom(content):
        return decode_image(content) > 0
    dataset = read_dicom(content)
    if frame is None and frame_count(dataset) > 1:
        raise ImageError("several frames in one file")
    slope, intercept = rescale_of(of_frame(dataset, frame or 0))
    return np.asarray(stored_values(dataset, frame or 0).astype(np.float64) * slope + intercept > 0)


def is_grey(volume: NDArray[Any]) -> bool:
    """Whether values are grey as they stand: bytes, or the few whole numbers of a mask."""
    if volume.dtype.kind == "b" or volume.dtype == np.uint8:
        return True
    low, high = volume.min(), volume.max()
    return bool(low >= 0 and high < LABELS and (volume == np.rint(volume)).all())


def grey_of_frame(values: NDArray[Any], window: Window | None) -> NDArray[np.uint8]:
    """A slice of a volume, shape (height, width), to grey; None takes the values as they stand."""
    return values.clip(0, 255).astype(np.uint8) if window is None else windowed_stored(values, 1.0, 0.0, window)


def _frame(volume: NDArray[Any], frame: int | None) -> NDArray[Any]:
    if frame is None or not 0 <= frame < len(volume):
        raise ImageError(f"no frame {frame} among {len(volume)}")
    one: NDArray[Any] = volume[frame]
    return one
