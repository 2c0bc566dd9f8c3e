"""CQ500: `reads.csv`, three readers a scan, and the scans as DICOM series (Chilamkurthy et al., arXiv:1803.05854).

The majority of the readers says what a scan shows, not which of its slices show it. So a finding that two readers deny
is absent from every slice, and one that two readers see is unknown on each of them: `scanline.curate.adapters.bhx` has
boxes of these slices.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from scanline.core.errors import InputError
from scanline.core.options import Options as BaseOptions
from scanline.curate.coco import is_picture
from scanline.curate.csv_rows import read_rows, require_listed
from scanline.curate.entries import Entries, Entry, Reject

SCAN = re.compile(r"CQ500-?CT-?(?P<number>\d+)")  # CQ500-CT-0 in the table, CQ500CT0 in the folders
READERS = ("R1", "R2", "R3")
MAJORITY = 2


class Options(BaseOptions):
    """Where the table lies, and which of its findings are read."""

    table: str = Field(default="reads.csv", description="The table, relative to the source's folder.")
    findings: tuple[str, ...] = Field(
        default=("ICH", "IPH", "IVH", "SDH", "EDH", "SAH"),
        min_length=1,
        description="Columns without their `R1:`, `R2:`, `R3:`; each a class of `classes` or `ignored_classes`.",
    )


def read_entries(folder: Path, files: Sequence[str], options: Options) -> Entries:
    """Give each slice what the majority of readers says of its scan, as far as it holds for a slice.

    Returns:
        Entries by path; rejects; the files that are no images.

    Raises:
        InputError: If the table is missing, lacks a column, has a value that means nothing or a scan twice, or no image
            is of one of its scans.
    """
    require_listed(folder, options.table, files, "table")
    scans = _read_table(folder / options.table, options.findings)
    rejects: list[Reject] = []
    entries: list[Entry] = []
    images = [path for path in files if is_picture(path)]
    for path in images:
        number = _scan_number(path)
        if number not in scans:
            detail = f"no scan of {options.table} is in its path" if number is None else f"CQ500-CT-{number}: no row"
            rejects.append(Reject(path, None, "refused", "image_not_in_table", detail))
            continue
        labels = {name: None if value else value for name, value in scans[number][1].items()}
        entries.append(Entry(path, number, None, None, None, annotation_path=options.table, labels=labels))
    seen = {entry.patient_id for entry in entries}
    for number, (row, values) in scans.items():
        if number not in seen:
            detail = f"CQ500-CT-{number}: no image of it"
            rejects.append(Reject(options.table, row, "refused", "row_without_image", detail))
        elif any(values.values()):
            names = ", ".join(name for name, value in values.items() if value)
            detail = f"CQ500-CT-{number} shows {names}: unknown on its slices"
            rejects.append(Reject(options.table, row, "noted", "positive_scan", detail))
    if not entries:
        raise InputError(
            folder,
            found=f"{len(images)} images, none of a scan of {options.table}",
            expected="folders such as CQ500CT0",
            next_step="Unpack the scans there.",
        )
    used = {options.table, *images}
    return entries, rejects, [path for path in files if path not in used]


def _scan_number(text: str) -> str | None:
    match = SCAN.search(text)
    return None if match is None else str(int(match["number"]))


def _read_table(path: Path, findings: Sequence[str]) -> dict[str, tuple[int, dict[str, bool | None]]]:
    """Scan to its row and to what the majority says; None where there is none, as a reader said nothing."""
    columns = [f"{reader}:{name}" for name in findings for reader in READERS]
    scans: dict[str, tuple[int, dict[str, bool | None]]] = {}
    for row, cells in read_rows(path, ("name", *columns)):
        number = _scan_number(cells["name"])
        if number is None or number in scans:
            raise _bad_value(path, row, "name", cells["name"], "a scan such as CQ500-CT-0, each in one row")
        for column in columns:
            if cells[column] not in {"", "0", "1"}:
                raise _bad_value(path, row, column, cells[column], "0, 1 or nothing")
        votes = {name: [cells[f"{reader}:{name}"] for reader in READERS] for name in findings}
        scans[number] = row, {name: _majority(said) for name, said in votes.items()}
    return scans


def _majority(votes: Sequence[str]) -> bool | None:
    return next((value == "1" for value in ("0", "1") if votes.count(value) >= MAJORITY), None)


def _bad_value(path: Path, row: int, column: str, found: str, expected: str) -> InputError:
    return InputError(
        f"{path}: row {row + 1}, {column}", found=repr(found), expected=expected, next_step="Fetch the file again."
    )
