"""The annotation tables of fastMRI+: radiologists' boxes on knee or brain MRI, read without the images.

Two files (Zhao et al., fastMRI+, Scientific Data 9 (2022) 152, doi:10.1038/s41597-022-01255-z): a table with one row a
box, and a list of all volumes that were read. A volume on the list without a row was read and has no finding;
what a refused row tells of, such as a finding of a whole volume, is unknown on each of its images without a box of it.

What becomes an image: each slice with a row of its own, and, for each volume without one, the volume as a whole, as the
tables do not say how many slices it has. Paths name no file, since fastMRI keeps a volume in one HDF5 file:
`<volume>/<slice>`, three digits, and `<volume>/whole` without a slice_index. fastMRI numbers no patients: a volume is
what is kept together, and patient_id is null.

Boxes were drawn on images turned upside down (the authors' fastmri_to_dicom.py flips rows). Where the images' size is
given they are turned back to the rows of the HDF5 file; where it is not they stay as drawn. Which of the two was
done is noted in the rejects. Where the HDF5 files are there (`volumes`), images are the slices in them; where the
authors' script has made DICOM files of them (`dicoms`), they are the images, and boxes are in their rows. fastMRI's own
DICOM files are of other names, which nothing maps to those of the tables (github.com/microsoft/fastmri-plus, issue 8):
they cannot be matched. The script writes the volume's name as PatientID: what patient_id then digests is a volume.
"""

import csv
import math
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from scanline.core.errors import InputError
from scanline.core.options import Options as BaseOptions
from scanline.curate.entries import Box, Entries, Entry, LostLesion, Reject

COLUMNS = ("file", "slice", "study_level", "x", "y", "width", "height", "label")
SIDES = ("x", "y", "width", "height")
WHOLE = "whole"
Side = Annotated[int, Field(ge=1)]


class Options(BaseOptions):
    """Where the two files lie, and what is known of the images."""

    table: str = Field(description="CSV with one row a box, relative to the source's folder.")
    file_list: str = Field(description="CSV without a heading: the volumes that were read, one a line.")
    volume: str = Field(
        default=r"file[\w-]+", description="Pattern of a volume's name; another line or row is refused and counted."
    )
    image_size_px: tuple[Side, Side] | None = Field(
        default=None,
        description="Width and height of every image, where all have the same: [320, 320] for the knees. Boxes are then"
        " turned to the rows of the HDF5 file. Null where it is unknown: boxes stay as drawn, upside down.",
    )
    volumes: str | None = Field(
        default=None,
        description="Folder of fastMRI's own HDF5 files, <volume>.h5, relative to the source's folder: every slice of a"
        " volume that was read is then an image with pixels. Null: tables alone.",
    )
    dicoms: str | None = Field(
        default=None,
        description="Folder of DICOM files as the authors' fastmri_to_dicom.py writes them, <volume>_<slice>.dcm with"
        " the slice from 0, in any folders below: every slice that is there is an image. Null: none.",
    )
    dicom_rows: Literal["upside_down", "as_in_hdf5"] = Field(
        default="upside_down",
        description="How rows lie in these files: upside_down as the script writes them unless told otherwise, and as"
        " boxes were drawn; as_in_hdf5 where --flip_up_down was switched off: boxes are then turned.",
    )
    clip_px: float = Field(
        default=1,
        ge=0,
        description="A box that stands over the edge by at most this much is cut there and counted as repaired.",
    )

    @model_validator(mode="after")
    def _turned_with_pixels(self) -> Self:
        if self.volumes is not None and self.image_size_px is None:
            raise ValueError("image_size_px beside volumes, as boxes are turned to the rows of the HDF5 files by it")
        if self.dicoms is not None and self.volumes is not None:
            raise ValueError("volumes or dicoms, not both: they are the same images")
        if self.dicoms is not None and self.dicom_rows == "as_in_hdf5" and self.image_size_px is None:
            raise ValueError(
                "image_size_px beside dicoms whose rows are as in the HDF5 files, as boxes are turned by it"
            )
        return self

    @property
    def is_turned(self) -> bool:
        """Whether boxes are turned from the rows that they were drawn on to those of the HDF5 file."""
        return self.image_size_px is not None and (self.dicoms is None or self.dicom_rows == "as_in_hdf5")

    @field_validator("volume")
    @classmethod
    def _is_pattern(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from None
        return pattern


def match_frames(folder: Path, frames: Mapping[str, int], options: Options) -> Entries:
    """Read the tables, and give each slice with a box its place in the volume's HDF5 file where `volumes` is given.

    Of a volume whose file is there every slice is an image, as it was read whole; a volume that no list names is
    refused as a file, and as a row: one of a slice that a file has not, one of a volume without a file, and the list's
    of that volume.

    Returns:
        As `read_entries`.

    Raises:
        InputError: See `read_entries`; or if no HDF5 file is there.
    """
    entries, rejects, others = read_entries(folder, sorted(frames), options)
    if options.dicoms is not None:
        return _match_dicoms(folder, entries, rejects, others, options)
    if options.volumes is None:
        return entries, rejects, others
    files = {PurePosixPath(path).stem: path for path in others if _is_volume_file(path, options.volumes)}
    if not files:
        raise InputError(
            folder / options.volumes,
            found="no HDF5 file",
            expected="fastMRI's <volume>.h5",
            next_step="Bring them, or take layout.volumes out of the study file.",
        )
    boxes = {(entry.volume_id, entry.slice_index): entry.boxes or () for entry in entries}
    read = {str(entry.volume_id) for entry in entries}
    found: list[Entry] = []
    for volume, path in sorted(files.items()):
        if volume not in read:
            rejects.append(Reject(path, None, "refused", "volume_not_listed", f"nobody says that {volume} was read"))
            continue
        for number in range(frames[path]) if frames[path] else [None]:
            own = tuple(boxes.get((volume, number), ())) if number is not None else ()
            found.append(Entry(path, None, volume, number, own, options.image_size_px, options.table, frame=number))
    rejects += _refuse_rows(boxes, found, options) + _refuse_listed(folder, files, "HDF5", options)
    return found, rejects, [path for path in others if path not in files.values()]


def _refuse_rows(
    boxes: Mapping[tuple[str | None, int | None], Sequence[Box]], found: Sequence[Entry], options: Options
) -> list[Reject]:
    taken = {(entry.volume_id, entry.slice_index) for entry in found}
    return [
        Reject(
            options.table,
            box.row,
            "refused",
            "row_without_image",
            f"no slice {number} of {volume} is there",
            (LostLesion(str(volume), box.label, on_refused_slice=True),),
        )
        for (volume, number), own in boxes.items()
        if (volume, number) not in taken
        for box in own
    ]


def _refuse_listed(folder: Path, volumes: Container[str], kind: str, options: Options) -> list[Reject]:
    return [
        Reject(options.file_list, row, "refused", "listed_without_file", f"{volume} has no {kind} file")
        for volume, row in _read_list(folder, options, []).items()
        if volume not in volumes
    ]


def _match_dicoms(
    folder: Path, entries: Sequence[Entry], rejects: list[Reject], others: Sequence[str], options: Options
) -> Entries:
    """Give each DICOM file of a volume that was read the boxes of its slice; two of one slice are both refused."""
    files: dict[tuple[str, int], list[str]] = {}
    for path in others:
        match = re.fullmatch(r"(.+)_(\d{3,})\.dcm", PurePosixPath(path).name)
        if match is not None and (not options.dicoms or path.startswith(f"{options.dicoms}/")):
            files.setdefault((match[1], int(match[2])), []).append(path)
    if not files:
        raise InputError(
            folder / str(options.dicoms),
            found="no DICOM file of a slice",
            expected="files such as file1000001_000.dcm",
            next_step="Bring them, or take layout.dicoms out of the study file.",
        )
    boxes = {(entry.volume_id, entry.slice_index): entry.boxes or () for entry in entries}
    read = {str(entry.volume_id) for entry in entries}
    found: list[Entry] = []
    for (volume, number), paths in sorted(files.items()):
        if volume not in read or len(paths) > 1:
            reason = "volume_not_listed" if volume not in read else "slice_twice"
            detail = f"nobody says that {volume} was read" if volume not in read else f"{len(paths)} files of the slice"
            rejects += [Reject(path, None, "refused", reason, detail) for path in paths]
            continue
        own = tuple(boxes.get((volume, number), ()))
        found.append(Entry(paths[0], None, volume, number, own, options.image_size_px, options.table))
    there = {volume for volume, _ in files}
    rejects += _refuse_rows(boxes, found, options) + _refuse_listed(folder, there, "DICOM", options)
    taken = {path for paths in files.values() for path in paths}
    return found, rejects, [path for path in others if path not in taken]


def _is_volume_file(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/" if folder else "") and path.endswith(".h5")


def read_entries(folder: Path, files: Sequence[str], options: Options) -> Entries:
    """Read the rows of the table into slices, and the volumes without a usable row from the list.

    Returns:
        Entries by path; rejects, whose rows count from 0 below the heading; the paths that are neither file.

    Raises:
        InputError: If one of the files is missing, is no CSV in UTF-8, or lacks a column; or if no volume is left.
    """
    for key, path in (("table", options.table), ("file_list", options.file_list)):
        if path not in files:
            raise InputError(
                folder / path,
                found="no such file among those of the manifest",
                expected=f"the file that layout.{key} names",
                next_step="Check the folder, or the layout in the study file.",
            )
    rejects: list[Reject] = []
    listed = _read_list(folder, options, rejects)
    slices, volumes = _read_table(folder, options, rejects)
    if not listed and not slices:
        raise InputError(
            folder / options.file_list,
            found="no volume",
            expected=f"names such as {options.volume}",
            next_step="Check the file, or layout.volume in the study file.",
        )
    for volume, row in volumes.items():
        if volume not in listed:
            detail = f"{volume} has rows and is not on {options.file_list}: its rows count"
            rejects.append(Reject(options.table, row, "noted", "volume_not_listed", detail))
    with_slices = {volume for volume, _ in slices}
    wholes = sorted({*listed, *volumes} - with_slices)
    detail = f"{len(listed)} volumes that were read; {len(wholes)} of all have no slice with a box"
    rejects.append(Reject(options.file_list, None, "noted", "file_list", detail))
    rejects.append(Reject(options.table, None, "noted", *_note_of_orientation(options)))
    entries = [
        Entry(f"{volume}/{index:03d}", None, volume, index, tuple(boxes), options.image_size_px, options.table)
        for (volume, index), boxes in slices.items()
    ]
    entries += [
        Entry(f"{volume}/{WHOLE}", None, volume, None, (), options.image_size_px, options.table) for volume in wholes
    ]
    known = {options.table, options.file_list}
    return sorted(entries, key=lambda entry: entry.path), rejects, [path for path in files if path not in known]


def _note_of_orientation(options: Options) -> tuple[str, str]:
    if options.dicoms is not None and not options.is_turned:
        return "boxes_as_drawn", "boxes stay as drawn: the rows of the DICOM files are upside down as theirs were"
    if options.image_size_px is None:
        return "boxes_upside_down", "boxes stay as drawn, on images turned upside down: their height is not given"
    height = options.image_size_px[1]
    return "boxes_turned_back", f"drawn on images turned upside down: y = {height} - y - height, as in the HDF5 file"


def _records(path: Path) -> Iterator[list[str]]:
    """The rows of a CSV file, empty ones as empty lists."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.reader(file, strict=True)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            path, found=f"no readable table ({error})", expected="a CSV file in UTF-8", next_step="Fetch it again."
        ) from error


def _read_list(folder: Path, options: Options, rejects: list[Reject]) -> dict[str, int]:
    """Volumes of the list to their row; what is no volume's name or stands there twice is refused."""
    listed: dict[str, int] = {}
    for row, record in enumerate(_records(folder / options.file_list)):
        name = ",".join(record).strip()
        if not name:
            continue
        if re.fullmatch(options.volume, name) is None:
            rejects.append(Reject(options.file_list, row, "refused", "not_a_volume", f"{name!r} is no volume's name"))
        elif name in listed:
            detail = f"{name} is also row {listed[name]}"
            rejects.append(Reject(options.file_list, row, "refused", "duplicate_volume", detail))
        else:
            listed[name] = row
    return listed


def _read_table(
    folder: Path, options: Options, rejects: list[Reject]
) -> tuple[dict[tuple[str, int], list[Box]], dict[str, int]]:
    """Boxes by volume and slice; each volume that has a row of any kind to the first of them."""
    path = folder / options.table
    records = _records(path)
    heading = [name.strip() for name in next(records, [])]
    missing = [name for name in COLUMNS if name not in heading]
    if missing:
        raise InputError(
            path,
            found=f"the columns {', '.join(heading) or '(none)'}",
            expected=f"a column {missing[0]}",
            next_step="Name another file in layout.table, or fetch it again.",
        )
    slices: dict[tuple[str, int], list[Box]] = {}
    volumes: dict[str, int] = {}
    rows: dict[tuple[str, ...], int] = {}
    for row, record in enumerate(records):
        if not any(text.strip() for text in record):
            continue
        if len(record) != len(heading):
            detail = f"{len(record)} cells, the heading has {len(heading)}"
            lost = _lost(dict(zip(heading, record, strict=False)).get("file", "").strip(), None, options)
            rejects.append(Reject(options.table, row, "refused", "row_incomplete", detail, lost))
            continue
        cells = dict(zip(heading, record, strict=True))
        values = tuple(cells[name].strip() for name in COLUMNS)
        volume, index = values[:2]
        problem = _problem(values, rows.get(values), options)
        rows.setdefault(values, row)
        if re.fullmatch(options.volume, volume) is not None:
            volumes.setdefault(volume, row)
        if problem is not None:
            lost = () if problem[0] == "duplicate_row" else _lost(volume, values[-1] or None, options)
            rejects.append(Reject(options.table, row, "refused", *problem, lost))
            continue
        box = _read_box(cells, row, options, rejects)
        slices.setdefault((volume, int(index)), []).append(box)
    return slices, volumes


def _lost(volume: str, label: str | None, options: Options) -> tuple[LostLesion, ...]:
    """What a refused row tells of its volume: a finding on no known slice, of the whole volume or of one of them."""
    return (LostLesion(volume, label),) if re.fullmatch(options.volume, volume) is not None else ()


def _problem(values: tuple[str, ...], first: int | None, options: Options) -> tuple[str, str] | None:
    """Why a row tells of no box, as reason and detail; None where it does."""
    volume, index, study_level, *_, label = values
    if first is not None:
        return "duplicate_row", f"the same as row {first}"
    if re.fullmatch(options.volume, volume) is None:
        return "not_a_volume", f"{volume!r} is no volume's name"
    if study_level == "Yes":
        return "study_level", f"{label!r} of the whole volume {volume}, without a box"
    if study_level != "No":
        return "study_level_unknown", f"study_level is {study_level!r}, neither Yes nor No"
    if not (index.isascii() and index.isdigit()):
        return "slice_not_a_number", f"slice is {index!r}"
    if not label:
        return "label_missing", f"a box on {volume}, slice {index}, without a label"
    return None


def _read_box(cells: dict[str, str], row: int, options: Options, rejects: list[Reject]) -> Box:
    """The box of a row: its label trimmed, cut where it stands over the edge a little, and turned back."""
    label = cells["label"].strip()
    if label != cells["label"]:
        detail = f"{cells['label']!r} is read as {label!r}"
        rejects.append(Reject(options.table, row, "repaired", "label_spaces", detail))
    drawn = tuple(_number(cells[name]) for name in SIDES)
    x, y, width, height = _clip(drawn, options)
    if (x, y, width, height) != drawn and not any(math.isnan(value) for value in drawn):
        before, after = (", ".join(f"{value:g}" for value in box) for box in (drawn, (x, y, width, height)))
        detail = f"x, y, width, height {before} cut at the edge: {after}"
        rejects.append(Reject(options.table, row, "repaired", "box_clipped", detail))
    if options.is_turned and options.image_size_px is not None:
        y = options.image_size_px[1] - y - height
    return Box(label, x, y, width, height, row)


def _number(text: str) -> float:
    """A finite number, or NaN for the engine to refuse."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _clip(box: tuple[float, ...], options: Options) -> tuple[float, ...]:
    """The box inside the image where it stands over an edge by at most `clip_px`, else as it is."""
    x, y, width, height = box
    size = options.image_size_px or (math.inf, math.inf)
    x, width = _clip_side(x, width, size[0], options.clip_px)
    y, height = _clip_side(y, height, size[1], options.clip_px)
    return x, y, width, height


def _clip_side(start: float, length: float, end: float, most: float) -> tuple[float, float]:
    left, right = start, start + length
    if -most <= left < 0:
        left = 0.0
    if end < right <= end + most:
        right = end
    return (left, right - left) if length > 0 and right > left else (start, length)
