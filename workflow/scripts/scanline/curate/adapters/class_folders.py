"""A folder of images a class: the folder's name is the class of each image below it.

Every file below a class folder is taken for an image, whatever its suffix says, so that what does not decode stands in
the rejects. `classes` of the study file maps the folders' names; a folder in neither `classes` nor `ignored_classes` is
an error, and the images of an ignored one are refused and counted.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pydantic import Field, field_validator

from scanline.core.errors import InputError
from scanline.core.options import Options as BaseOptions
from scanline.curate.entries import Entries, Entry, Reject
from scanline.curate.names import NamePattern, read_names


class Options(BaseOptions):
    """Which folder is the class, and what the files' names say."""

    images: str = Field(
        default=r"(?:.*/)?(?P<label>[^/]+)/[^/]+",
        description="Pattern of the images' paths, relative to the source's folder, with the group label: the class"
        " folder, by default the one that holds the file.",
    )
    name: NamePattern = None

    @field_validator("images")
    @classmethod
    def _has_label(cls, pattern: str) -> str:
        try:
            groups = set(re.compile(pattern).groupindex)
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from None
        if "label" not in groups:
            raise ValueError("a pattern with the group (?P<label>...)")
        return pattern


def read_entries(folder: Path, files: Sequence[str], options: Options) -> Entries:
    """Take each file's class from its folder.

    An image is called after its path without the suffix, and with it where another file has the same name without.

    Returns:
        Entries by path, each of one class; a reject for each file in no class folder; no others.

    Raises:
        InputError: If no file lies in a class folder, or a name does not match.
    """
    labels = {path: _label(path, options.images) for path in sorted(files)}
    paths = [path for path, label in labels.items() if label is not None]
    if not paths:
        raise InputError(
            folder,
            found=f"{len(files)} files, none of them in a class folder",
            expected=f"paths that match {options.images}",
            next_step="Check the folder, or layout.images in the study file.",
        )
    told = read_names(((path, PurePosixPath(path).stem) for path in paths), options.name, folder)
    stems = Counter(_stem(path) for path in paths)
    entries = [
        Entry(
            path=path,
            patient_id=told[path].patient,
            volume_id=told[path].volume,
            slice_index=told[path].slice_index,
            boxes=None,
            labels={str(labels[path]): True},
            has_one_class=True,
            name=path if stems[_stem(path)] > 1 else _stem(path),
        )
        for path in paths
    ]
    rejects = [
        Reject(path, None, "refused", "no_class_folder", "it lies in no folder that is a class")
        for path, label in labels.items()
        if label is None
    ]
    return entries, rejects, []


def _label(path: str, pattern: str) -> str | None:
    match = re.fullmatch(pattern, path, re.DOTALL)
    return None if match is None else match["label"]


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))
