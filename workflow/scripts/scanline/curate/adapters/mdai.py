"""Boxes drawn in MD.ai on DICOM volumes: its CSV export, and a key from anonymised UIDs to instance numbers.

    TBrecon-01-02-00011/IM1.dcm ...   one folder a volume, one series
    annotations (CSV)                 a row a box: SOPInstanceUID_anon, labelName, and in `data` its place as a Python
                                      dictionary, `{'x': 320.9, 'y': 235.8, 'width': 30.6, 'height': 52.4}`
    key (CSV)                         a row a slice: volume, SOPInstanceUID_anon, InstanceNumber

MD.ai was given anonymised files, so that the UIDs of its export are not those of the files at hand: the key tells the
instance number of each within its volume. A slice that the key lists was looked at; of any other nothing is known,
unless `unlisted` says otherwise. Of a box whose UID names no slice, the volume is
told by the annotations' own column or by the key: none of its slices without a box is then known to be without one.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field

from scanline.core.errors import InputError
from scanline.core.options import Options as BaseOptions
from scanline.curate.box_texts import read_sides
from scanline.curate.csv_rows import read_rows, require_listed
from scanline.curate.dicom_volumes import Volume, VolumePattern, find_volumes
from scanline.curate.entries import Box, Entries, Entry, Header, LostLesion, Reject

Slice = tuple[str, int]  # volume and InstanceNumber
NO_NUMBER = -1  # in the place of an InstanceNumber; no key lists it


class Columns(BaseOptions):
    """What the columns of the two tables are called."""

    uid: str = Field(default="SOPInstanceUID_anon", description="Of both: the anonymised UID of a slice.")
    label: str = Field(default="labelName", description="Of the annotations: the class.")
    box: str = Field(default="data", description="Of the annotations: the box.")
    box_volume: str = Field(
        default="TBreconID",
        description="Of the annotations: the folder of the box's volume, for boxes whose UID names no slice. May lack.",
    )
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
        default="unknown", description="What a slice without a box is taken for that the key does not list."
    )


@dataclass
class _Tables:
    """What the tables tell.

    Attributes:
        slices: Slice by UID.
        rows: Row of the key by slice.
        boxes: By slice.
        unclear: Rows that say of a slice what nobody can read, by slice.
        ambiguous: Slices that the key lists, but not once.
        volumes: Those that the key lists.
        of_uid: Volumes by UID, also by one that names no single slice.
        rejects: Rows that were refused, and notes.
    """

    slices: dict[str, Slice] = field(default_factory=dict)
    rows: dict[Slice, int] = field(default_factory=dict)
    boxes: dict[Slice, list[Box]] = field(default_factory=dict)
    unclear: dict[Slice, list[Reject]] = field(default_factory=dict)
    ambiguous: set[Slice] = field(default_factory=set)
    volumes: set[str] = field(default_factory=set)
    of_uid: dict[str, set[str]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)

    def refuse(self, path: str, row: int, reason: str, detail: str, lesions: Iterable[LostLesion] = ()) -> None:
        self.rejects.append(Reject(path, row, "refused", reason, detail, tuple(lesions)))


def match_entries(folder: Path, headers: Mapping[str, Header | None], options: Options) -> Entries:
    """Match boxes with slices: UID to volume and instance number by the key, those to the file by its header.

    Returns:
        Entries by path; rejects; the files in other folders.

    Raises:
        InputError: If a table is missing or lacks a column, there is no folder of a volume, or the key lists none of
            those that are there.
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
    used = {*options.annotations, options.key}
    images = {path: header for path, header in headers.items() if path not in used}
    volumes, rejects, others = find_volumes(folder, images, options.volume)
    _check_overlap(folder, options, tables, volumes)
    entries = _entries_of(volumes, options, tables)
    rejects += tables.rejects
    rejects += _refuse_without_image(images, volumes, options, tables)
    return entries, rejects, others


def _check_overlap(folder: Path, options: Options, tables: _Tables, volumes: Mapping[str, Volume]) -> None:
    if tables.volumes.isdisjoint(volumes):
        listed = f"volumes such as {min(tables.volumes)!r}" if tables.volumes else "no volume"
        raise InputError(
            f"{folder / options.key}: column {options.columns.volume}",
            found=f"{listed}, and none of the {len(volumes)} folders",
            expected=f"names of folders such as {min(volumes)!r}",
            next_step="Name the column of folders in layout.columns.volume, or check layout.volume.",
        )


def _entries_of(volumes: Mapping[str, Volume], options: Options, tables: _Tables) -> list[Entry]:
    """Every slice: read if the key lists it, else as `unlisted` says."""
    entries = []
    for volume in volumes.values():
        is_listed = volume.name in tables.volumes
        for path, number in volume.paths.items():
            place = (volume.name, NO_NUMBER if number is None else number)
            is_found = place in tables.rows or place in tables.ambiguous
            was_read = is_found or (options.unlisted == "negative" and not (is_listed and number is None))
            if is_listed and not is_found:
                which = "a slice without InstanceNumber" if number is None else f"slice {number}"
                taken = "without a box" if was_read else "unknown"
                detail = f"{which} of {volume.name}, of which the key lists others: {taken}"
                tables.rejects.append(Reject(path, None, "noted", "not_in_key", detail))
            boxes = tuple(tables.boxes.get(place, ())) if was_read else None
            entry = Entry(path, volume.patient, volume.name, None, boxes)
            names = "+".join(sorted({box.label for box in boxes or ()})) or None
            is_doubtful = place in tables.unclear or place in tables.ambiguous
            entries.append(replace(entry, metadata={"box_names": names}, doubtful=is_doubtful))
    return entries


def _refuse_without_image(
    images: Mapping[str, Header | None], volumes: Mapping[str, Volume], options: Options, tables: _Tables
) -> list[Reject]:
    """The rejects of boxes of slices that cannot be used, of unclear rows, and of rows of the key without a file."""
    usable = {(volume.name, number) for volume in volumes.values() for number in volume.paths.values()}
    refused = [
        Reject(
            str(box.path),
            box.row,
            "refused",
            "row_without_image",
            f"{place[0]} has no slice {place[1]} to be used",
            (LostLesion(place[0], box.label, on_refused_slice=True),),
        )
        for place, boxes in tables.boxes.items()
        if place not in usable
        for box in boxes
    ]
    for place, rejects in tables.unclear.items():
        lost = () if place in usable else (LostLesion(place[0], None, on_refused_slice=True),)
        refused += [replace(reject, lesions=lost) for reject in rejects]
    there = {(PurePosixPath(path).parent.name, header.number) for path, header in images.items() if header}
    return refused + [
        Reject(options.key, row, "refused", "listed_without_file", f"there is no file of slice {number} of {volume}")
        for (volume, number), row in tables.rows.items()
        if (volume, number) not in there
    ]


def _read_key(folder: Path, options: Options, tables: _Tables) -> None:
    """Slices by UID. A UID or an instance number that stands there twice names no slice, and both rows are refused."""
    columns = options.columns
    rows: list[tuple[int, str, Slice]] = []
    for row, cells in read_rows(folder / options.key, (columns.volume, columns.uid, columns.instance)):
        uid, volume, number = (cells[name] for name in (columns.uid, columns.volume, columns.instance))
        whole = number.removesuffix(".0")
        if volume:
            tables.volumes.add(volume)
            tables.of_uid.setdefault(uid, set()).add(volume)
        if not uid or not volume or not whole.isdecimal():
            tables.refuse(options.key, row, "row_incomplete", f"UID {uid!r}, volume {volume!r}, number {number!r}")
            continue
        rows.append((row, uid, (volume, int(whole))))
    uids, places = Counter(uid for _, uid, _ in rows), Counter(place for *_, place in rows)
    for row, uid, place in rows:
        if uids[uid] == 1 and places[place] == 1:
            tables.slices[uid] = place
            tables.rows[place] = row
            continue
        reason = "uid_twice" if uids[uid] > 1 else "instance_number_twice"
        tables.refuse(options.key, row, reason, f"{uid} is slice {place[1]} of {place[0]}: which it is is unknown")
        tables.ambiguous.add(place)


def _read_boxes(
    folder: Path, table: str, columns: Columns, tables: _Tables, seen: dict[tuple[object, ...], str]
) -> None:
    for row, cells in read_rows(folder / table, (columns.uid, columns.label, columns.box)):
        uid, label, text = (cells[name] for name in (columns.uid, columns.label, columns.box))
        place = tables.slices.get(uid)
        if place is None:
            of_key = tables.of_uid.get(uid, set()) if uid else set()
            named = of_key | {cells.get(columns.box_volume, "")} - {""}
            lesions = [LostLesion(volume, label or None) for volume in sorted(named)]
            reason = "unknown_uid" if uid and label else "row_incomplete"
            detail = f"{label} on {uid}, which the key does not list, or not once" if uid and label else ""
            tables.refuse(table, row, reason, detail or f"UID {uid!r}, {columns.label} {label!r}", lesions)
            continue
        if not label or not text:
            reason, said = ("row_without_box", label) if label else ("row_incomplete", f"no {columns.label}")
            detail = f"{said} on slice {place[1]} of {place[0]}, without a box"
            tables.unclear.setdefault(place, []).append(Reject(table, row, "refused", reason, detail))
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
