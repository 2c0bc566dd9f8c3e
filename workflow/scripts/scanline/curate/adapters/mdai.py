"""Boxes drawn in MD.ai on DICOM volumes: its CSV export, and a key from anonymised UIDs to instance numbers.

    TBrecon-01-02-00011/IM1.dcm ...   one folder a volume, one series
    annotations (CSV)                 a row a box: SOPInstanceUID_anon, labelName, and in `data` its place as a Python
                                      dictionary, `{'x': 320.9, 'y': 235.8, 'width': 30.6, 'height': 52.4}`
    key (CSV)                         a row a slice: volume, SOPInstanceUID_anon, InstanceNumber

MD.ai was given anonymised files, so that the UIDs of its export are not those of the files at hand: the key tells the
instance number of each within its volume. A volume that the key lists was looked at, whole; of any other nothing is
known, unless `unlisted` says otherwise.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import Field

from scanline.core.options import Options as BaseOptions
from scanline.curate.box_texts import read_sides
from scanline.curate.csv_rows import read_rows, require_listed
from scanline.curate.dicom_volumes import VolumePattern, find_volumes
from scanline.curate.entries import Box, Entries, Entry, Header, Reject

Slice = tuple[str, int]  # volume and InstanceNumber


class Columns(BaseOptions):
    """What the columns of the two tables are called."""

    uid: str = Field(default="SOPInstanceUID_anon", description="Of both: the anonymised UID of a slice.")
    label: str = Field(default="labelName", description="Of the annotations: the class.")
    box: str = Field(default="data", description="Of the annotations: the box.")
    volume: str = Field(default="tbrecon_id", description="Of the key: the folder of the slice's volume.")
    instance: str = Field(default="InstanceNumber", description="Of the key: the slice's number in it.")


class Options(BaseOptions):
    """Where the tables lie, and which folders are volumes."""

    annotations: tuple[str, ...] = Field(
        min_length=1, description="Exports of MD.ai to unite, relative to the source's folder."
    )
    key: str = Field(description="The key, relative to the source's folder.")
    volume: VolumePattern = ".+"
    columns: Columns = Field(default=Columns(), description="What the tables' columns are called.")
    unlisted: Literal["unknown", "negative"] = Field(
        default="unknown", description="What a slice is taken for whose volume the key does not list."
    )


@dataclass
class _Tables:
    """What the tables tell: slice by UID, boxes by slice, slices of which something unclear is said, volumes."""

    slices: dict[str, Slice] = field(default_factory=dict)
    boxes: dict[Slice, list[Box]] = field(default_factory=dict)
    doubtful: set[Slice] = field(default_factory=set)
    volumes: set[str] = field(default_factory=set)
    rejects: list[Reject] = field(default_factory=list)

    def refuse(self, path: str, row: int, reason: str, detail: str) -> None:
        self.rejects.append(Reject(path, row, "refused", reason, detail))


def match_entries(folder: Path, headers: Mapping[str, Header | None], options: Options) -> Entries:
    """Match boxes with slices: UID to volume and instance number by the key, those to the file by its header.

    Returns:
        Entries by path; rejects; the files in other folders.

    Raises:
        InputError: If a table is missing or lacks a column, or there is no folder of a volume.
    """
    for table in (*options.annotations, options.key):
        require_listed(folder, table, list(headers), "key" if table == options.key else "annotations")
    tables = _Tables()
    _read_key(folder, options, tables)
    seen: dict[tuple[object, ...], str] = {}
    for table in options.annotations:
        _read_boxes(folder, table, options.columns, tables, seen)
        tables.rejects.append(Reject(table, None, "noted", "box_list", "boxes of MD.ai"))
    tables.rejects.append(Reject(options.key, None, "noted", "file_list", f"key of {len(tables.slices)} slices"))
    volumes, rejects, others = find_volumes(folder, headers, options.volume)
    entries, found = [], set[Slice]()
    for volume in volumes.values():
        was_read = volume.name in tables.volumes or options.unlisted == "negative"
        for path, number in volume.paths.items():
            place = (volume.name, -1 if number is None else number)
            found.add(place)
            boxes = tuple(tables.boxes.get(place, ())) if was_read else None
            names = "+".join(sorted({box.label for box in boxes or ()})) or None
            entries.append(
                Entry(
                    path,
                    volume.patient,
                    volume.name,
                    None,
                    boxes,
                    metadata={"box_names": names},
                    doubtful=place in tables.doubtful,
                )
            )
    rejects += tables.rejects
    rejects += [
        Reject(str(box.path), box.row, "refused", "row_without_image", f"{place[0]} has no slice {place[1]} to be used")
        for place, boxes in tables.boxes.items()
        if place not in found
        for box in boxes
    ]
    used = {*options.annotations, options.key}
    return entries, rejects, [path for path in others if path not in used]


def _read_key(folder: Path, options: Options, tables: _Tables) -> None:
    """Slices by UID. A UID or an instance number that stands there twice names no slice, and both rows are refused."""
    columns = options.columns
    rows: list[tuple[int, str, Slice]] = []
    for row, cells in read_rows(folder / options.key, (columns.volume, columns.uid, columns.instance)):
        uid, volume, number = (cells[name] for name in (columns.uid, columns.volume, columns.instance))
        whole = number.removesuffix(".0")
        if not uid or not volume or not whole.isdecimal():
            tables.refuse(options.key, row, "row_incomplete", f"UID {uid!r}, volume {volume!r}, number {number!r}")
            continue
        rows.append((row, uid, (volume, int(whole))))
        tables.volumes.add(volume)
    uids, places = Counter(uid for _, uid, _ in rows), Counter(place for *_, place in rows)
    for row, uid, place in rows:
        if uids[uid] == 1 and places[place] == 1:
            tables.slices[uid] = place
            continue
        reason = "uid_twice" if uids[uid] > 1 else "instance_number_twice"
        tables.refuse(options.key, row, reason, f"{uid} is slice {place[1]} of {place[0]}: which it is is unknown")
        tables.doubtful.add(place)


def _read_boxes(
    folder: Path, table: str, columns: Columns, tables: _Tables, seen: dict[tuple[object, ...], str]
) -> None:
    for row, cells in read_rows(folder / table, (columns.uid, columns.label, columns.box)):
        uid, label, text = (cells[name] for name in (columns.uid, columns.label, columns.box))
        if not uid or not label:
            tables.refuse(table, row, "row_incomplete", f"UID {uid!r}, {columns.label} {label!r}")
            continue
        place = tables.slices.get(uid)
        if place is None:
            tables.refuse(table, row, "unknown_uid", f"{label} on {uid}, which the key does not list, or not once")
            continue
        if not text:
            tables.refuse(table, row, "row_without_box", f"{label} on slice {place[1]} of {place[0]}, without a box")
            tables.doubtful.add(place)
            continue
        sides = read_sides(text)
        if sides is not None and (earlier := seen.setdefault((place, label, *sides), f"{table}, row {row}")) != (
            f"{table}, row {row}"
        ):
            tables.refuse(table, row, "duplicate_box", f"{label} on {uid}: the same as {earlier}")
            continue
        problem = "box_unreadable" if sides is None else None
        box = Box(label, *(sides or (math.nan,) * 4), row=row, path=table, problem=problem)
        tables.boxes.setdefault(place, []).append(box)
