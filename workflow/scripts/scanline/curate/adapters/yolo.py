"""A YOLO tree: `images/<any>/<name>`, `labels/<any>/<name>.txt`, and `data.yaml` with the names of the classes.

A line of a label file is a box: the class's number from 0, then centre x, centre y, width and height in shares of the
image (https://docs.ultralytics.com/datasets/detect). An empty file says that nothing is there. Images may be DICOM.
"""

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

import yaml
from pydantic import Field

from scanline.core.errors import InputError
from scanline.core.options import Options as BaseOptions
from scanline.curate.coco import is_picture
from scanline.curate.csv_rows import require_listed
from scanline.curate.entries import Box, Entries, Entry, Reject
from scanline.curate.names import NamePattern, read_names

Size = tuple[int, int]


class Options(BaseOptions):
    """Where the description lies, and what the images' names say."""

    description: str = Field(default="data.yaml", description="The YAML file with `names`, relative to the folder.")
    name: NamePattern
    unlabelled: Literal["unknown", "negative"] = Field(
        default="unknown",
        description="What an image without a label file is: negative where whoever wrote the tree left such files out.",
    )


def match_sizes(folder: Path, sizes: Mapping[str, Size | None], options: Options) -> Entries:
    """Match label files with images by their paths.

    Returns:
        Entries by path; rejects; the files that are in no folder `images` or `labels`.

    Raises:
        InputError: If the description is missing or names no classes, no image is there, or a name does not match.
    """
    files = sorted(sizes)
    require_listed(folder, options.description, files, "description")
    classes = _read_classes(folder / options.description)
    images = [path for path in files if "images" in PurePosixPath(path).parts[:-1] and is_picture(path)]
    if not images:
        raise InputError(
            folder,
            found=f"{len(files)} files, no image in a folder images",
            expected="images/<subset>/<name>",
            next_step="Check the folder, or name another adapter.",
        )
    names = read_names(((path, PurePosixPath(path).stem) for path in images), options.name, folder)
    texts = {path for path in files if "labels" in PurePosixPath(path).parts[:-1] and path.endswith(".txt")}
    rejects = [Reject(options.description, None, "noted", "file_list", f"names of {len(classes)} classes")]
    entries, used = [], {options.description, *images}
    for path in images:
        label = _label_path(path)
        name, size = names[path], sizes[path]
        boxes: tuple[Box, ...] | None = () if options.unlabelled == "negative" else None
        is_doubtful = False
        if label in texts and label not in used:
            used.add(label)
            boxes, is_doubtful = _read_boxes(folder, label, size, classes, rejects)
        annotation = label if label in used else None
        entries.append(
            Entry(
                path,
                name.patient,
                name.volume,
                name.slice_index,
                boxes,
                annotation_path=annotation,
                doubtful=is_doubtful,
            )
        )
    orphans = sorted(texts - used)
    rejects += [Reject(path, None, "refused", "annotation_without_image", "no image has its name") for path in orphans]
    return entries, rejects, [path for path in files if path not in used and path not in orphans]


def _label_path(image: str) -> str:
    """The label file of an image: the last folder `images` of its path turned into `labels`."""
    parts = list(PurePosixPath(image).with_suffix(".txt").parts)
    place = len(parts) - 1 - parts[::-1].index("images")
    return "/".join([*parts[:place], "labels", *parts[place + 1 :]])


def _read_classes(path: Path) -> dict[int, str]:
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _no_names(path, " ".join(str(error).split())) from error
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(isinstance(number, int) for number in names):
        raise _no_names(path, "no list of names")
    return {number: str(name) for number, name in names.items()}


def _no_names(path: Path, found: str) -> InputError:
    return InputError(
        path, found=found, expected="a YAML file with `names`, a list of the classes", next_step="Mend the file."
    )


def _read_boxes(
    folder: Path, path: str, size: Size | None, classes: Mapping[int, str], rejects: list[Reject]
) -> tuple[tuple[Box, ...], bool]:
    """The boxes of a label file in pixels, and whether any line says what nobody can read."""
    try:
        lines = (folder / path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, found=str(error), expected="a text file", next_step="Fetch it again.") from error
    boxes: list[Box] = []
    is_doubtful = False
    for row, line in enumerate(lines):
        if not line.strip():
            continue
        numbers = _numbers(line)
        label = None if numbers is None else classes.get(int(numbers[0]))
        if numbers is None or label is None:
            reason = "row_unreadable" if numbers is None else "box_of_unknown_category"
            rejects.append(Reject(path, row, "refused", reason, f"{line.strip()[:80]!r}"))
            is_doubtful = True
            continue
        width, height = size or (math.nan, math.nan)
        _, x, y, w, h = numbers
        boxes.append(Box(label, (x - w / 2) * width, (y - h / 2) * height, w * width, h * height, row=row))
    return tuple(boxes), is_doubtful


def _numbers(line: str) -> tuple[float, float, float, float, float] | None:
    """A class's number and four shares; None where a line is no such thing."""
    words = line.split()
    if len(words) != 5 or not words[0].isdecimal():
        return None
    try:
        x, y, width, height = map(float, words[1:])
    except ValueError:
        return None
    return (int(words[0]), x, y, width, height) if all(map(math.isfinite, (x, y, width, height))) else None
