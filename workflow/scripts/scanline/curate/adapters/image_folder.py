"""A folder of images that show none of the source's classes: negatives, as whoever collected them declared.

PNG and other pictures, or DICOM, whose values become grey by the source's window.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pydantic import Field, field_validator

from scanline.core.errors import InputError
from scanline.core.options import Options as BaseOptions
from scanline.curate.entries import Entries, Entry
from scanline.curate.names import NamePattern, read_names


class Options(BaseOptions):
    """Which files are the images, and what their names say."""

    images: str = Field(
        default=r"(?i).*\.(png|jpe?g|bmp|tiff?|webp|dcm|dicom)",
        description="Pattern of the images' paths, relative to the source's folder.",
    )
    name: NamePattern

    @field_validator("images")
    @classmethod
    def _is_pattern(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from None
        return pattern


def read_entries(folder: Path, files: Sequence[str], options: Options) -> Entries:
    """Take every image as looked at and free of all that `annotated_classes` names.

    Returns:
        Entries by path; no rejects; the files that match no pattern.

    Raises:
        InputError: If no file is an image, or a name does not match.
    """
    paths = sorted(path for path in files if re.fullmatch(options.images, path))
    if not paths:
        raise InputError(
            folder,
            found=f"{len(files)} files, none of them an image",
            expected=f"paths that match {options.images}",
            next_step="Check the folder, or layout.images in the study file.",
        )
    names = read_names(((path, PurePosixPath(path).stem) for path in paths), options.name, folder)
    entries = [Entry(path, names[path].patient, names[path].volume, names[path].slice_index, ()) for path in paths]
    used = set(paths)
    return entries, [], [path for path in files if path not in used]
