"""MRNet: knee MRI as NumPy stacks, and CSV files without a heading that tell each exam's findings.

    <subset>/<plane>/<exam>.npy     (slices, 256, 256), uint8; subset train or valid
    <subset>-<finding>.csv          a row an exam: its number, and 0 or 1; abnormal, acl, meniscus

(Bien et al., PLoS Medicine 15 (2018) e1002699, doi:10.1371/journal.pmed.1002699.) A finding that an exam has not is on
none of its slices; of one that it has nobody says on which it is, so that it is unknown on each. The column
`exam_findings` says what the exam has.
"""

import csv
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field

from scanline.core.errors import InputError
from scanline.core.options import Options as BaseOptions
from scanline.curate.entries import Entries, Entry, Reject

SUBSETS = {"train": "train", "valid": "val"}
Plane = Literal["sagittal", "coronal", "axial"]


class Options(BaseOptions):
    """Which planes and findings are read."""

    planes: tuple[Plane, ...] = Field(default=("sagittal",), min_length=1, description="Stacks that are read.")
    findings: tuple[str, ...] = Field(
        default=("abnormal", "acl", "meniscus"), min_length=1, description="Findings with a CSV file each."
    )


def match_frames(folder: Path, frames: Mapping[str, int], options: Options) -> Entries:
    """Give each slice what its exam's rows say, as far as it holds for a slice.

    Returns:
        Entries by path and frame; rejects; the files that are no stacks of these planes.

    Raises:
        InputError: If no stack is there, a table is missing, or a row is none.
    """
    stacks = [path for path in sorted(frames) if _is_stack(path, options)]
    if not stacks:
        raise InputError(
            folder,
            found="no stack",
            expected=f"files such as train/{options.planes[0]}/0000.npy",
            next_step="Check the folder, or layout.planes in the study file.",
        )
    rejects: list[Reject] = []
    told: dict[tuple[str, str], dict[str, bool | None]] = {}
    planes: dict[tuple[str, str], set[str]] = {}
    for path in stacks:
        subset, plane, name = PurePosixPath(path).parts
        planes.setdefault((subset, PurePosixPath(name).stem), set()).add(plane)
    for subset in sorted({PurePosixPath(path).parts[0] for path in stacks}):
        for finding in options.findings:
            table = f"{subset}-{finding}.csv"
            rows = _read_table(folder, table, frames, told, (subset, finding), rejects)
            rejects += _refuse_unmatched(table, rows, subset, planes, options)
    entries: list[Entry] = []
    for path in stacks:
        subset, plane, name = PurePosixPath(path).parts
        exam = PurePosixPath(name).stem
        known = told.get((subset, exam), {})
        labels = {finding: False if known.get(finding) is False else None for finding in options.findings}
        metadata = {
            "view": plane,
            "official_subset": SUBSETS[subset],
            "exam_findings": "+".join(finding for finding, value in known.items() if value) or None,
        }
        for number in range(frames[path]) if frames[path] else [None]:
            entries.append(
                Entry(path, exam, f"{exam}/{plane}", number, None, labels=labels, metadata=metadata, frame=number)
            )
    used = {*stacks, *(reject.path for reject in rejects)}
    return entries, rejects, [path for path in frames if path not in used]


def _is_stack(path: str, options: Options) -> bool:
    parts = PurePosixPath(path).parts
    return len(parts) == 3 and parts[0] in SUBSETS and parts[1] in options.planes and parts[2].endswith(".npy")


def _read_table(
    folder: Path,
    table: str,
    frames: Mapping[str, int],
    told: dict[tuple[str, str], dict[str, bool | None]],
    what: tuple[str, str],
    rejects: list[Reject],
) -> dict[str, int]:
    """Read exam and 0 or 1 of each row into `told`, by subset and exam; None where rows contradict each other.

    Returns:
        Exam to its first row.
    """
    subset, finding = what
    if table not in frames:
        raise InputError(
            folder / table,
            found="no such file among those of the manifest",
            expected="a CSV file of each finding and subset",
            next_step="Bring it, or take the finding out of layout.findings in the study file.",
        )
    try:
        with (folder / table).open(encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file, strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            folder / table, found=f"no readable table ({error})", expected="CSV in UTF-8", next_step="Fetch it again."
        ) from error
    first: dict[str, int] = {}
    for row, cells in enumerate(rows):
        if not any(cells):
            continue
        if len(cells) != 2 or not cells[0].isdecimal() or cells[1] not in {"0", "1"}:
            rejects.append(Reject(table, row, "refused", "row_unreadable", f"{','.join(cells)[:80]!r}"))
            continue
        exam, value = cells[0].zfill(4), cells[1] == "1"
        first.setdefault(exam, row)
        if told.setdefault((subset, exam), {}).setdefault(finding, value) is not value:
            rejects.append(Reject(table, row, "refused", "rows_contradict", f"exam {exam} is {int(value)} and not"))
            told[subset, exam][finding] = None
    rejects.append(Reject(table, None, "noted", "file_list", f"{finding} of {len(first)} exams"))
    return first


def _refuse_unmatched(
    table: str, rows: Mapping[str, int], subset: str, planes: Mapping[tuple[str, str], set[str]], options: Options
) -> list[Reject]:
    """Refuse rows of exams without a stack; note exams that lack that of a plane, and stacks without a row."""
    unmatched = []
    for exam, row in rows.items():
        there = planes.get((subset, exam), set())
        missing = [plane for plane in options.planes if plane not in there]
        if missing:
            action = "noted" if there else "refused"
            detail = f"exam {exam} has no stack {' and '.join(missing)}"
            unmatched.append(Reject(table, row, action, "listed_without_file", detail))
    for of_subset, exam in sorted(planes):
        if of_subset == subset and exam not in rows:
            for plane in sorted(planes[subset, exam]):
                detail = f"{table} has no row of it: unknown"
                unmatched.append(Reject(f"{subset}/{plane}/{exam}.npy", None, "noted", "image_not_in_table", detail))
    return unmatched
