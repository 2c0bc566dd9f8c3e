"""BHX, Brain Hemorrhage Extended: boxes on the slices of CQ500, in three tables (doi:10.13026/9cft-hg92).

A row is one box: SOPInstanceUID, SeriesInstanceUID, labelName, and in `data` its place as a Python dictionary,
`{'x': 320.9, 'y': 235.8, 'width': 30.6, 'height': 52.4}`. The first table holds what was drawn, the others what was
carried over to more series, with what was drawn among it: equal boxes count once. Images are known by the UIDs in their
headers. A series with a box was looked at, whole; of any other nothing is known.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pydantic import Field

from scanline.core.errors import InputError
from scanline.core.identifiers import digest_of_identifier
from scanline.core.options import Options as BaseOptions
from scanline.curate.box_texts import read_sides
from scanline.curate.coco import is_picture
from scanline.curate.csv_rows import read_rows, require_listed
from scanline.curate.entries import Box, Entries, Entry, Header, Reject

COLUMNS = ("SOPInstanceUID", "SeriesInstanceUID", "data", "labelName")


class Options(BaseOptions):
    """Which tables are read."""

    tables: tuple[str, ...] = Field(
        default=(
            "1_Initial_Manual_Labeling.csv",
            "2_Extrapolation_to_All_Series.csv",
            "3_Extrapolation_to_Selected_Series.csv",
        ),
        min_length=1,
        description="The tables to unite, relative to the source's folder.",
    )


@dataclass
class _Tables:
    """Boxes by the digest of their image's UID, what that is, and digests of the series that have any."""

    uids: dict[str, str] = field(default_factory=dict)
    boxes: dict[str, list[Box]] = field(default_factory=dict)
    series: set[str] = field(default_factory=set)
    rejects: list[Reject] = field(default_factory=list)


def match_entries(folder: Path, headers: Mapping[str, Header | None], options: Options) -> Entries:
    """Match boxes with images by SOPInstanceUID; an image that is no DICOM may have it as its name.

    Returns:
        Entries by path; rejects; the files that are neither image nor table.

    Raises:
        InputError: If a table is missing or lacks a column, or no image is there.
    """
    files = sorted(headers)
    for table in options.tables:
        require_listed(folder, table, files, "tables")
    tables = _Tables()
    seen: set[tuple[object, ...]] = set()
    for table in options.tables:
        _read_table(folder, table, tables, seen)
        tables.rejects.append(Reject(table, None, "noted", "box_list", "boxes on slices of CQ500"))
    images = [path for path in files if headers[path] is not None or is_picture(path)]
    if not images:
        raise InputError(
            folder,
            found=f"{len(files)} files, none of them an image",
            expected="the DICOM files of CQ500 beside the tables",
            next_step="Unpack CQ500 into that folder, or link it there.",
        )
    entries, claimed = [], dict[str, str]()
    for path in images:
        header = headers[path] or Header()
        uid = header.image or digest_of_identifier(PurePosixPath(path).stem)
        if uid in claimed:
            detail = f"its SOPInstanceUID is also that of {claimed[uid]}"
            tables.rejects.append(Reject(path, None, "refused", "duplicate_image", detail))
            continue
        claimed[uid] = path
        boxes = tables.boxes.get(uid)
        was_read = boxes is not None or header.series in tables.series
        entries.append(Entry(path, None, None, None, tuple(boxes or ()) if was_read else None))
    tables.rejects += [
        Reject(
            str(box.path),
            box.row,
            "refused",
            "row_without_image",
            f"no image has the SOPInstanceUID {uid}",
        )
        for digest, boxes in tables.boxes.items()
        for uid in [tables.uids[digest]]
        if digest not in claimed
        for box in boxes
    ]
    used = {*options.tables, *images}
    return entries, tables.rejects, [path for path in files if path not in used]


def _read_table(folder: Path, table: str, tables: _Tables, seen: set[tuple[object, ...]]) -> None:
    for row, cells in read_rows(folder / table, COLUMNS):
        uid, label = cells["SOPInstanceUID"], cells["labelName"]
        if not uid or not label:
            detail = f"SOPInstanceUID {uid!r}, labelName {label!r}"
            tables.rejects.append(Reject(table, row, "refused", "row_incomplete", detail))
            continue
        tables.series.add(digest_of_identifier(cells["SeriesInstanceUID"]))
        sides = read_sides(cells["data"])
        if sides is not None and (uid, label, *sides) in seen:
            detail = f"{label} on {uid}: the same box stands in an earlier row or table"
            tables.rejects.append(Reject(table, row, "refused", "duplicate_box", detail))
            continue
        seen.add((uid, label, *(sides or ())))
        problem = "box_unreadable" if sides is None else None
        box = Box(label, *(sides or (math.nan,) * 4), row=row, path=table, problem=problem)
        digest = digest_of_identifier(uid)
        tables.uids[digest] = uid
        tables.boxes.setdefault(digest, []).append(box)
