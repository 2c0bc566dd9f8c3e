"""RSNA Intracranial Hemorrhage Detection 2019: `stage_2_train.csv`, and one DICOM file an image.

The table has a row an image and kind of haemorrhage, `ID_<image>_<kind>` and 0 or 1 (Flanders et al., Radiology:
Artificial Intelligence 2 (2020) e190211, doi:10.1148/ryai.2020190211). Four images of the published file stand in it
twice: 24 duplicate rows. Patients are known from the images' headers alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pydantic import Field

from scanline.core.errors import InputError
from scanline.core.options import Options as BaseOptions
from scanline.curate.coco import is_picture
from scanline.curate.csv_rows import read_rows, require_listed
from scanline.curate.entries import Entries, Entry, Reject

COLUMNS = ("ID", "Label")
ROW = re.compile(r"(?P<image>ID_\w+)_(?P<kind>[a-z]+)")
ANY = "any"


class Options(BaseOptions):
    """Where the table and the images lie."""

    table: str = Field(default="stage_2_train.csv", description="The table, relative to the source's folder.")
    images: str = Field(
        default="stage_2_train", description="Folder of the images, relative to it; any of its folders may hold them."
    )


@dataclass
class _Image:
    """The rows of one image: kind to value, None where two rows contradict each other; and the first of them."""

    row: int
    labels: dict[str, bool | None] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)


def read_entries(folder: Path, files: Sequence[str], options: Options) -> Entries:
    """Match the rows of the table with the images by their names.

    Returns:
        Entries by path; rejects; the files that are in other folders.

    Raises:
        InputError: If the table is missing, lacks a column, or none of its images is there.
    """
    require_listed(folder, options.table, files, "table")
    rejects: list[Reject] = []
    images = _read_table(folder, options.table, rejects)
    prefix = f"{options.images}/" if options.images else ""
    inside = [path for path in files if path.startswith(prefix) and is_picture(path)]
    entries = []
    for path in inside:
        image = images.pop(PurePosixPath(path).stem, None)
        if image is None:
            detail = f"{options.table} has no usable row for it, or another file has its name"
            rejects.append(Reject(path, None, "refused", "image_not_in_table", detail))
            continue
        entries.append(Entry(path, None, None, None, None, annotation_path=options.table, labels=image.labels))
    for name, image in images.items():
        detail = f"{name}: no such image file ({len(image.labels)} rows)"
        rejects.append(Reject(options.table, image.row, "refused", "row_without_image", detail))
    if not entries:
        raise InputError(
            folder / options.images,
            found=f"{len(inside)} image files, none with a row of {options.table}",
            expected="DICOM files named as in its column ID",
            next_step="Unpack stage_2_train there, or set layout.images in the study file.",
        )
    used = {options.table, *inside}
    return entries, rejects, [path for path in files if path not in used]


def _read_table(folder: Path, table: str, rejects: list[Reject]) -> dict[str, _Image]:
    images: dict[str, _Image] = {}
    for row, cells in read_rows(folder / table, COLUMNS):
        match = ROW.fullmatch(cells["ID"])
        if match is None or cells["Label"] not in {"0", "1"}:
            detail = f"ID {cells['ID']!r}, Label {cells['Label']!r}"
            rejects.append(Reject(table, row, "refused", "row_unreadable", detail))
            continue
        image = images.setdefault(match["image"], _Image(row))
        kind, value = match["kind"], cells["Label"] == "1"
        if kind not in image.rows:
            image.rows[kind], image.labels[kind] = row, value
        elif image.labels[kind] is value:
            rejects.append(Reject(table, row, "refused", "duplicate_row", f"the same as row {image.rows[kind]}"))
        else:
            detail = f"{cells['ID']} is {cells['Label']}, unlike in row {image.rows[kind]}: it is unknown"
            rejects.append(Reject(table, row, "refused", "rows_contradict", detail))
            image.labels[kind] = None
    for name, image in images.items():
        kinds = [value for kind, value in image.labels.items() if kind != ANY]
        if image.labels.get(ANY) is not None and image.labels[ANY] != any(kinds) and None not in kinds:
            detail = f"{name}: {ANY} is {int(bool(image.labels[ANY]))}, its kinds say otherwise: all stay as they are"
            rejects.append(Reject(table, image.row, "noted", "any_contradicts", detail))
    return images
