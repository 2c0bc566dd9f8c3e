"""The image files that a user names, by themselves or by their folders, and what cannot be read of them."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scanline.acquire.manifest import LITTER
from scanline.core.errors import InputError
from scanline.core.file_names import VOLUMES
from scanline.core.images import ImageError, Window
from scanline.core.slices import read_slices
from scanline.curate.file_scan import scale_of
from scanline.curate.inspection import inspect_image
from scanline.curate.options import Reading

# The usual suffixes of `core.images.FORMATS` and of DICOM, beside those of volumes. In a folder other files are no
# images; a file named by itself may have any suffix, as its content tells what it is.
PICTURES = frozenset(
    {
        ".avif",
        ".bmp",
        ".dcm",
        ".dicom",
        ".gif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    }
)
SUFFIXES = (*sorted(PICTURES), *VOLUMES)


@dataclass(frozen=True)
class ImageFile:
    """One file to predict.

    Attributes:
        name: Its path below the folder that holds all of them, with / between folders.
        picture: Where pictures of it lie below their folder; no two files share one.
        path: The file.
    """

    name: str
    picture: str
    path: Path


def find_images(inputs: Sequence[Path]) -> list[ImageFile]:
    """The images named, and those in the folders named and all folders below; by name, each once.

    Links are followed. Hidden files, and what operating systems leave behind, are passed over.

    Raises:
        InputError: If there is no such file or folder, a folder holds no image, or a link leads back to a folder that
            holds it.
    """
    paths: dict[Path, None] = {}
    for given in inputs:
        path = _absolute(given)
        if path.is_dir():
            paths |= dict.fromkeys(_images_in(path, given))
        elif path.is_file():
            paths[path] = None
        else:
            raise InputError(
                given, found="nothing there", expected="an image or a folder of images", next_step="Mend the path."
            )
    holders = [path if path.is_dir() else path.parent for path in map(_absolute, inputs)]
    root = os.path.commonpath(holders)
    names = {path: path.relative_to(root) for path in paths}
    pictures = _picture_names(names)
    files = [ImageFile(_text(names[path].as_posix()), f"{_text(pictures[path])}.png", path) for path in paths]
    return sorted(files, key=lambda file: file.name)


def _picture_names(names: Mapping[Path, Path]) -> dict[Path, str]:
    """Names without their suffix, where this leaves them different: slice.png beside slice.jpg keep theirs."""
    whole = {path: name.as_posix() for path, name in names.items()}
    stems = {path: name.with_suffix("").as_posix() for path, name in names.items()}
    often = Counter(stem.lower() for stem in stems.values())
    short = {path: whole[path] if often[stem.lower()] > 1 else stem for path, stem in stems.items()}
    return whole if len({name.lower() for name in short.values()}) < len(short) else short


def _absolute(path: Path) -> Path:
    """The path without dots, its links unresolved, as names are those that the user sees."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps dots


def _text(name: str) -> str:
    """A name that can be written as UTF-8, whatever its bytes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _images_in(folder: Path, given: Path) -> list[Path]:
    files = sorted(_walk(folder, (folder.resolve(),)))
    images = [path for path in files if path.name.lower().endswith(SUFFIXES)]
    if not images:
        raise InputError(
            given,
            found=f"a folder of {len(files)} files, none of them an image" if files else "an empty folder",
            expected=f"files that end in {', '.join(SUFFIXES)}",
            next_step="Name a folder with images, or the files themselves.",
        )
    return images


def _walk(folder: Path, holders: tuple[Path, ...]) -> Iterator[Path]:
    """Every file below a folder; `holders` are the resolved folders that lead to it, itself last."""
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name.lower() in LITTER:
            continue
        if not path.is_dir():
            yield path
        elif path.resolve() in holders:
            raise InputError(
                path,
                found="a link back to a folder that holds it",
                expected="a link to a file or another folder",
                next_step="Remove it.",
            )
        else:
            yield from _walk(path, (*holders, path.resolve()))


def read_or_reason(path: Path, reading: Reading) -> list[NDArray[np.uint8]] | str:
    """The grey images of a file, or why it cannot be read: decoded as curation and the pixel cache do it.

    Args:
        path: A picture, a DICOM file, or a volume.
        reading: By what its values become grey, and what is mended of a picture.

    Returns:
        Each image or slice in the file's order, shape (height, width); or the reason.
    """
    try:
        found = inspect_image(path, scale_of(reading), reading.repairs)
        if found.problem is not None:
            return found.problem
        wanted: list[tuple[int | None, Window | None]] = [(None, found.window)]
        if found.frames:
            wanted = [(number, frame.window) for number, frame in enumerate(found.frames)]
        return list(read_slices(path, wanted, found.repairs))
    except ImageError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def slices_of(file: ImageFile, images: int) -> list[ImageFile]:
    """A file of one image as it is; one of several as so many, numbered from 0: knee.npy/000, knee.npy/001, ..."""
    if images == 1:
        return [file]
    names = [f"{file.name}/{number:03d}" for number in range(images)]
    return [ImageFile(name, f"{name}.png", file.path) for name in names]
