"""Roboflow's COCO export: `<subset>/_annotations.coco.json` beside its images, `<stem>_jpg.rf.<hash>.jpg`.

The export's own subsets are not used: it deals augmented siblings of one image out over them. They are found again by
their names when images are grouped. Category 0 is a parent that the export adds to the classes, and is none of them.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from scanline.core.errors import InputError
from scanline.core.options import Options as BaseOptions
from scanline.curate.adapters.coco import entries_of, require_images
from scanline.curate.coco import is_picture, read_coco
from scanline.curate.entries import Entries, Entry, Reject
from scanline.curate.names import NamePattern, read_names

ANNOTATIONS = "_annotations.coco.json"
EXPORTED = re.compile(r"(?P<stem>.+?)(?:_(?:jpe?g|png|bmp|webp|tiff?))?\.rf\.[0-9a-z]+", re.IGNORECASE)


class Options(BaseOptions):
    """What the images' names say, without what Roboflow added to them."""

    name: NamePattern


def original_stem(path: str) -> str:
    """The name that an image had before the export, without folder and suffix."""
    stem = PurePosixPath(path).stem
    match = EXPORTED.fullmatch(stem)
    return stem if match is None else match["stem"]


def read_entries(folder: Path, files: Sequence[str], options: Options) -> Entries:
    """Read every subset's JSON with the images beside it.

    Returns:
        Entries by path; rejects; the files beside the subsets.

    Raises:
        InputError: If there is no JSON, one is no COCO file, no image of any is there, or a name does not match.
    """
    found = sorted(path for path in files if PurePosixPath(path).name == ANNOTATIONS)
    if not found:
        raise InputError(
            folder,
            found=f"no {ANNOTATIONS} in any folder",
            expected="a Roboflow export in the format COCO: train, valid and test, each with that file",
            next_step="Export the project again as COCO, or check the folder.",
        )
    entries: list[Entry] = []
    rejects: list[Reject] = []
    used: set[str] = set()
    for annotations in found:
        subset = PurePosixPath(annotations).parent.as_posix().removeprefix(".")
        read = read_coco(folder, annotations, subset, files, has_parent=True)
        names = read_names(((path, original_stem(path)) for path in read.images), options.name, folder)
        prefix = f"{subset}/" if subset else ""
        inside = [path for path in files if path in read.images or (path.startswith(prefix) and is_picture(path))]
        its_entries, its_rejects = entries_of(read, annotations, names, inside)
        entries += its_entries
        rejects += its_rejects
        used |= {annotations, *inside}
    require_images(entries, folder, ANNOTATIONS)
    return sorted(entries, key=lambda entry: entry.path), rejects, [path for path in files if path not in used]
