"""Reading of raw files on all cores: decoded, hashed, measured; nothing is judged here."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from scanline.core.dicom import grey_of_stored, header_window, is_dicom, read_dicom, rescale_of, stored_values
from scanline.core.dicom_damage import damage_told
from scanline.core.dicom_frames import frame_count, of_frame
from scanline.core.dicom_header import (
    IDENTITY,
    acquisition_of,
    identity_of,
    instance_number_of,
    position_of,
    spacing_of,
)
from scanline.core.file_names import is_volume
from scanline.core.images import (
    GreyScale,
    ImageError,
    Window,
    grey_pixels,
    needed_repairs,
    opened_image,
    window_of_percentiles,
)
from scanline.core.log import progress
from scanline.core.slices import grey_of_frame, is_grey
from scanline.core.volumes import Volume, read_volume
from scanline.curate.entries import Header
from scanline.curate.phash import perceptual_hash
from scanline.curate.thumbnails import make_thumbnail

PNG_DEPTH = 24  # place of the byte that says how many bits a channel has
SHOWN = 5  # odd values of a mask
BRAIN = GreyScale()


@dataclass(frozen=True)
class Grey:
    """Grey values of an image, 0 to 255: their mean, standard deviation, least and largest."""

    mean: float
    sd: float
    least: int
    largest: int


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
        grey: Statistics of the grey values; None where it did not decode.
        odd_values: Grey values that no binary mask has, the first few; none where all are 0 and 255, or 0 and 1.
        header: Of a DICOM file, also where its pixels do not decode; of each of its frames.
        window: What the values of DICOM, or of a volume, became grey by.
        frames: Of a file of several images, what each of them told; none of a file of one.
        repairs: What was mended before the image was measured, as `scanline.core.images.REPAIRS` names it.
        is_positive: Whether a value of the file is above 0, before any is rounded or windowed: that of a mask then is.
        affine: Of a volume, see `scanline.core.volumes.Volume`.
    """

    sha256: str | None
    size: tuple[int, int] | None = None
    problem: str | None = None
    phash: str | None = None
    thumbnail: bytes | None = None
    channels: tuple[str, ...] = ()
    grey: Grey | None = None
    odd_values: tuple[int, ...] = ()
    header: Header | None = None
    window: Window | None = None
    frames: "tuple[Inspected, ...]" = ()
    repairs: tuple[str, ...] = ()
    is_positive: bool = False
    affine: tuple[float, ...] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no pixel of a mask is above 0."""
        return not self.is_positive


def inspect_file(path: Path) -> Inspected:
    """Hash a file."""
    content = _content(path)
    return Inspected(_sha256(content), problem="no such file" if content is None else None)


class Decoded(NamedTuple):
    """A picture.

    Attributes:
        pixels: Grey, shape (height, width).
        channels: Names of those that the file had.
        repairs: What was mended.
    """

    pixels: NDArray[np.uint8]
    channels: tuple[str, ...]
    repairs: tuple[str, ...] = ()


def inspect_image(path: Path, scale: GreyScale = BRAIN, repairs: Collection[str] = ()) -> Inspected:
    """Hash, decode and measure a file that may be an image, a mask or a volume: read once, whatever it turns out to be.

    Args:
        path: The file.
        scale: What values of DICOM and of volumes become grey by.
        repairs: Those of `scanline.core.images.REPAIRS` that are made where a picture needs them.
    """
    content = _content(path)
    sha256, header = _sha256(content), None
    try:
        if content is not None and is_volume(path):
            return _inspect_volume(sha256, read_volume(path.name, content), scale)
        if content is None or not is_dicom(content):
            decoded = decode_grey(content, repairs)
            return replace(_measured(sha256, decoded.pixels, decoded.channels), repairs=decoded.repairs)
        header = Header()
        dataset = read_dicom(content)
        header = _header_of(dataset)
        return _inspect_dicom(sha256, dataset, header, scale)
    except ImageError as error:
        return Inspected(sha256, problem=str(error), header=header)


def _inspect_volume(sha256: str | None, volume: Volume, scale: GreyScale) -> Inspected:
    window = None if is_grey(volume.values) else choose_window(volume.values, scale, None)
    found = _inspect_frames(sha256, ((grey_of_frame(frame, window), window) for frame in volume.values))
    told = [
        replace(one, affine=volume.affine, is_positive=bool((values > 0).any()))
        for one, values in zip(found.frames, volume.values, strict=True)
    ]
    return replace(found, frames=tuple(told), affine=volume.affine)


def choose_window(values: NDArray[Any], scale: GreyScale, of_header: Window | None) -> Window:
    """The window of a file by the source's grey scale: percentiles are those of `values`."""
    match scale.method:
        case "window":
            return scale.window
        case "header_window" if of_header is not None:
            return of_header
        case _:
            return window_of_percentiles(values, scale.black_percentile, scale.white_percentile)


def _inspect_dicom(sha256: str | None, dataset: Dataset, header: Header, scale: GreyScale) -> Inspected:
    stored = stored_values(dataset)
    frames = [of_frame(dataset, number) for number in range(frame_count(dataset))]
    windows = _windows(stored, frames, scale)
    if stored.ndim == 2:
        found = _measured(sha256, grey_of_stored(stored, frames[0], windows[0]), ("L",))
        return replace(found, header=header, window=windows[0], is_positive=_is_positive(stored, frames[0]))
    greys = (grey_of_stored(*one) for one in zip(stored, frames, windows, strict=True))
    found = _inspect_frames(sha256, zip(greys, windows, strict=True))
    told = [
        replace(one, header=_of_frame(header, frame), is_positive=_is_positive(values, frame))
        for one, frame, values in zip(found.frames, frames, stored, strict=True)
    ]
    return replace(found, header=header, frames=tuple(told))


def _is_positive(stored: NDArray[Any], dataset: Dataset) -> bool:
    slope, intercept = rescale_of(dataset)
    return bool(max(float(value) * slope + intercept for value in (stored.min(), stored.max())) > 0)


def _windows(stored: NDArray[Any], frames: Sequence[Dataset], scale: GreyScale) -> list[Window]:
    """The window of each frame, in modality values; percentiles are those of the whole file."""
    of_headers = [header_window(frame) for frame in frames]
    if scale.method == "window":
        return [scale.window] * len(frames)
    if scale.method == "header_window" and None not in of_headers:
        return [window for window in of_headers if window is not None]
    rescales = [rescale_of(frame) for frame in frames]
    if len(set(rescales)) == 1:
        slope, intercept = rescales[0]  # percentiles of stored values are those of modality values
        window = choose_window(stored, scale, None)
        whole = Window(window.center_hu * slope + intercept, abs(window.width_hu * slope) or 1.0)
    else:
        values = [frame * slope + intercept for frame, (slope, intercept) in zip(stored, rescales, strict=True)]
        whole = choose_window(np.stack(values), scale, None)
    by_header = scale.method == "header_window"
    return [own if by_header and own is not None else whole for own in of_headers]


def _inspect_frames(sha256: str | None, frames: Iterable[tuple[NDArray[np.uint8], Window | None]]) -> Inspected:
    """What a file of several images told: its frames, each with what a file of one image has."""
    found = tuple(replace(_measured(sha256, grey, ("L",)), window=window) for grey, window in frames)
    return replace(found[0], frames=found, phash=None, thumbnail=None)


def _measured(sha256: str | None, pixels: NDArray[np.uint8], channels: tuple[str, ...]) -> Inspected:
    thumbnail = make_thumbnail(pixels)
    phash = perceptual_hash(thumbnail)
    grey = measure_grey(pixels)
    return Inspected(
        sha256,
        (pixels.shape[1], pixels.shape[0]),
        phash=phash,
        thumbnail=None if phash is None else thumbnail.tobytes(),
        channels=channels,
        grey=grey,
        odd_values=_odd_values(pixels, grey),
        is_positive=grey.largest > 0,
    )


def _header_of(dataset: Dataset) -> Header:
    """The header of a file; of one with several frames without what only its frames have."""
    with damage_told():
        identity = identity_of(dataset)
        patient, series, image = (identity.get(name) for name in IDENTITY)
        header = Header(patient, series, image, instance_number_of(dataset), None, acquisition_of(dataset))
    return header if frame_count(dataset) > 1 else _of_frame(header, of_frame(dataset, 0))


def _of_frame(header: Header, frame: Dataset) -> Header:
    """A file's header with the place and the spacing of one of its frames."""
    with damage_told():
        spacing = {name: value for name, value in spacing_of(frame).items() if value is not None}
        return replace(header, position_mm=position_of(frame), acquisition={**header.acquisition, **spacing})


def decode_grey(content: bytes | None, repairs: Collection[str] = ()) -> Decoded:
    """Grey pixels of a picture, and what else its file says.

    Grey files are decoded by others to the same pixels as by Pillow, and sooner: 8-bit PNG by OpenCV, without a pause
    at each of its many small chunks, and refused where rows are missing; JPEG by simplejpeg, and where that warns of
    anything by Pillow, which passes over stray bytes and refuses what is damaged.
    """
    if content is None:
        raise ImageError("no such file")
    with opened_image(content, repairs) as image:
        needed = needed_repairs(image, repairs)
        if needed:
            return Decoded(grey_pixels(image, needed), image.getbands(), repairs=needed)
        if image.format == "JPEG" and image.mode == "L":
            with contextlib.suppress(ValueError):
                return Decoded(simplejpeg.decode_jpeg(content, "GRAY", strict=True)[:, :, 0], image.getbands())
        if image.format != "PNG" or image.mode != "L" or content[PNG_DEPTH] != 8:
            return Decoded(grey_pixels(image), image.getbands())
        flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        if pixels is None:
            raise ImageError("damaged: its rows do not decode")
        return Decoded(np.asarray(pixels, dtype=np.uint8), image.getbands())


def measure_grey(pixels: NDArray[np.uint8]) -> Grey:
    """Statistics of the grey values of an image of shape (height, width)."""
    mean, sd = cv2.meanStdDev(pixels)
    least, largest, _, _ = cv2.minMaxLoc(pixels)
    return Grey(float(mean[0, 0]), float(sd[0, 0]), int(least), int(largest))


def _odd_values(pixels: NDArray[np.uint8], grey: Grey) -> tuple[int, ...]:
    """Some grey values that no binary mask has: five at most, of the middle row where that has as many."""
    if grey.largest in {0, 1, 255} and round(grey.mean * pixels.size) == grey.largest * cv2.countNonZero(pixels):
        return ()  # no pixel is between 0 and the largest value
    found = [value for value in sorted(set(pixels[len(pixels) // 2].tolist())) if value not in {0, 255}]
    if len(found) < SHOWN:
        counts = cv2.calcHist([pixels], [0], None, [256], [0, 256])
        found = [value for value in np.flatnonzero(counts).tolist() if value not in {0, 255}]
    return tuple(found[:SHOWN])


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _sha256(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def inspect_all(
    inspect: Callable[[Path], Inspected], folder: Path, paths: Sequence[str], unit: str, threads: int | None = None
) -> dict[str, Inspected]:
    """Inspect files side by side (decoding and hashing release the lock).

    Args:
        inspect: One of the functions above.
        folder: Folder that the paths are relative to.
        paths: The files.
        unit: What the progress bar counts.
        threads: Number of threads; all cores of this process if None.

    Returns:
        What was found, by path.
    """
    if threads is None:
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(max_workers=threads) as pool:
        found = pool.map(inspect, [folder / path for path in paths])
        return dict(zip(paths, progress(found, total=len(paths), unit=unit), strict=True))
