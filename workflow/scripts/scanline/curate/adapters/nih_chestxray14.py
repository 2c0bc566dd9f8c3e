"""NIH ChestX-ray14 as its authors publish it, or its tables alone (Wang et al., CVPR 2017, arXiv:1705.02315).

Files are known by their names, in whatever folder they lie: `Data_Entry_*.csv` (one row an image), `BBox_List_*.csv`
(boxes of 880 images), `train_val_list.txt` and `test_list.txt` (the official split), each CSV also as `.csv.gz`, and
`<8 digits>_<3 digits>.png`, in images_001 to images_012 or all in one folder.

The label file was corrected once. The 2017 file names 19,870 images with Infiltration, writes ages as `058Y`, and holds
16 ages over 120; the 2020 file names 19,894, with plain ages and none over 120. Which one is read is told by its
content, written to the rejects table, and two of them are never mixed. `No Finding` stands for none of the 14 findings
and is no class.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field

from scanline.core.errors import InputError
from scanline.core.options import Options as BaseOptions
from scanline.curate.entries import Box, Entries, Entry, Reject

TABLE_NAME = re.compile(r"Data_Entry_\w+\.csv(\.gz)?")
BOXES_NAME = re.compile(r"BBox_List_\w+\.csv(\.gz)?")
IMAGE_NAME = re.compile(r"\d{8}_\d{3}\.png")
LISTS = {"train_val_list.txt": "train_val", "test_list.txt": "test"}
COLUMNS = (
    "Image Index",
    "Finding Labels",
    "Follow-up #",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
)
BOX_COLUMNS = ("Image Index", "Finding Label")
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
NO_FINDING = "No Finding"
BOX_LABELS = {"Infiltrate": "Infiltration"}  # as the list of boxes spells it
SIZE_PX = 1024  # of every published image; the table's width and height are those of the radiograph before
OLDEST_YEARS = 120
SEXES = {"M": "male", "F": "female", "": None}
YEARS = {"Y": 1.0, "M": 1 / 12, "D": 1 / 365.25, "": 1.0}
GZIP_MAGIC = b"\x1f\x8b"
ROWS = 112_120
Release = Literal["2017", "2020"]
# Images with Infiltration and ages over 120, of all rows, in each release.
SIGNATURES: dict[tuple[int, int], Release] = {(19_870, 16): "2017", (19_894, 0): "2020"}


class Options(BaseOptions):
    """Whether there are images, and which label file is meant where several are there."""

    images: Literal["files", "none"] = Field(
        default="files", description="files: the PNG images are there. none: the tables alone, no pixel is needed."
    )
    release: Release | None = Field(
        default=None,
        description="The label file to use, told by its content: 2017 or 2020. Null: the only one there is.",
    )
    image_size_px: int = Field(
        default=SIZE_PX,
        ge=1,
        description="Width and height of the images. The boxes were drawn on 1024 x 1024 pixels, as they are published;"
        " they are scaled to images of another size.",
    )


@dataclass(frozen=True)
class _Row:
    """One row of the label file; `row` counts from 0 below the heading."""

    row: int
    image: str
    findings: tuple[str, ...]
    follow_up: int
    patient: str
    age_years: float | None
    sex: str | None
    view: str | None


@dataclass(frozen=True)
class _LabelFile:
    path: str
    rows: tuple[_Row, ...]
    rejects: tuple[Reject, ...]
    ages_over: int
    ages_have_units: bool


def read_entries(folder: Path, files: Sequence[str], options: Options) -> Entries:
    """Read the label file, the boxes and the official lists, and match the images by their names.

    Returns:
        Entries by name; rejects; the files that are none of these.

    Raises:
        InputError: If there is no label file or several that could be meant, a table is damaged, names an image twice
            or has a value that means nothing, one official list is there without the other, or no image has a row.
    """
    by_name = {name: [path for path in files if PurePosixPath(path).name == name] for name in LISTS}
    table = _choose_table(folder, _named(files, TABLE_NAME), options.release)
    boxes_path = _only(folder, _named(files, BOXES_NAME), "list of boxes")
    subsets = _read_lists(folder, by_name)
    boxes = _read_boxes(folder / boxes_path, options.image_size_px / SIZE_PX) if boxes_path is not None else {}
    rejects = [*table.rejects, _note_release(table)]
    rejects += [
        Reject(path, None, "noted", "official_list", f"the official {LISTS[name]} list")
        for name, paths in by_name.items()
        for path in paths
    ]
    if boxes_path is not None:
        rejects.append(Reject(boxes_path, None, "noted", "box_list", "the boxes of radiologists"))
    if not subsets:
        detail = "train_val_list.txt and test_list.txt are not there: no official split can be made"
        rejects.append(Reject(table.path, None, "noted", "official_lists_missing", detail))
    paths = {} if options.images == "none" else _image_files(files)
    entries, of_rows = _match(table, paths, boxes, subsets, options)
    if not entries:
        raise InputError(
            folder,
            found=f"{len(paths)} image files, none with a row of {table.path}",
            expected="PNG files named as in its column Image Index",
            next_step="Unpack images_001.tar.gz to images_012.tar.gz there, or set layout.images to none.",
        )
    matched = {entry.path for entry in entries}
    rejects += of_rows
    rejects += [
        Reject(path, None, "refused", "image_not_in_table", f"{table.path} has no usable row for it")
        for paths_of_name in paths.values()
        for path in paths_of_name
        if path not in matched
    ]
    rejects += [
        Reject(boxes_path or table.path, None, "noted", "box_without_image", f"{name} has boxes and is not kept")
        for name in sorted(boxes.keys() - {str(entry.name) for entry in entries})
    ]
    told = {*matched, table.path, *(reject.path for reject in rejects)}
    return sorted(entries, key=lambda entry: str(entry.name)), rejects, [path for path in files if path not in told]


def _named(files: Sequence[str], pattern: re.Pattern[str]) -> list[str]:
    return sorted(path for path in files if pattern.fullmatch(PurePosixPath(path).name))


def _only(folder: Path, paths: Sequence[str], what: str) -> str | None:
    if len(paths) > 1:
        raise InputError(
            folder, found=f"{', '.join(paths)}", expected=f"one {what}", next_step="Move all but one elsewhere."
        )
    return paths[0] if paths else None


def _image_files(files: Sequence[str]) -> dict[str, list[str]]:
    """Paths of the images by name without suffix; several where one image is there more than once."""
    found: dict[str, list[str]] = {}
    for path in _named(files, IMAGE_NAME):
        found.setdefault(PurePosixPath(path).stem, []).append(path)
    return found


# --- the label file -----------------------------------------------------------------------------------------------


def _choose_table(folder: Path, paths: Sequence[str], release: Release | None) -> _LabelFile:
    if not paths:
        raise InputError(
            folder,
            found="no label file",
            expected="Data_Entry_2017_v2020.csv, plain or as .csv.gz",
            next_step="Download it from the data set's page into that folder.",
        )
    if release is None and len(paths) > 1:
        raise InputError(
            folder,
            found=f"{len(paths)} label files, {', '.join(paths)}",
            expected="one, as the releases of 2017 and 2020 differ and must not be mixed",
            next_step='Set layout.release to "2017" or "2020" in the study file, or move the other one elsewhere.',
        )
    tables = [_read_table(folder, path) for path in paths]
    if release is None:
        return tables[0]
    fitting = [table for table in tables if release_of(table) == release]
    if len(fitting) != 1:
        found = ", ".join(f"{table.path} of release {release_of(table) or 'unknown'}" for table in tables)
        raise InputError(
            folder,
            found=found,
            expected=f"one label file of release {release}, by its content",
            next_step="Download that file, or change layout.release in the study file.",
        )
    return fitting[0]


def release_of(table: _LabelFile) -> Release | None:
    """The release that a label file is of, by its content; None where a part of the rows does not tell.

    Raises:
        InputError: If it has all rows and the counts of neither release: it was changed, or mixed of both.
    """
    if len(table.rows) + len({reject.row for reject in table.rejects if reject.action == "refused"}) != ROWS:
        return "2017" if table.ages_over or table.ages_have_units else None
    counts = (sum("Infiltration" in row.findings for row in table.rows), table.ages_over)
    if counts not in SIGNATURES:
        raise InputError(
            table.path,
            found=f"{counts[0]:,} images with Infiltration and {counts[1]} ages over {OLDEST_YEARS} in {ROWS:,} rows",
            expected="19,870 and 16 (release 2017), or 19,894 and none (release 2020)",
            next_step="Download the file again: this one was changed, or mixed of two releases.",
        )
    return SIGNATURES[counts]


def _note_release(table: _LabelFile) -> Reject:
    release = release_of(table)
    n_infiltration = sum("Infiltration" in row.findings for row in table.rows)
    detail = (
        f"{len(table.rows):,} rows, {n_infiltration:,} with Infiltration, {table.ages_over} ages over {OLDEST_YEARS}"
    )
    return Reject(table.path, None, "noted", f"label_file_of_{release or 'unknown_release'}", detail)


def _read_table(folder: Path, path: str) -> _LabelFile:
    """Read a label file of either form.

    The heading's last names hold commas without quotes (`OriginalImage[Width,Height]`), so that it has as many
    fields as a row by chance only, and the file of 2017 has an empty column behind: columns are taken by place.
    """
    file = folder / path
    records = _read_csv(file, COLUMNS)
    rows: list[_Row] = []
    rejects: list[Reject] = []
    first: dict[str, int] = {}
    ages_over, has_units = 0, False
    for number, fields in records:
        if fields[0] in first:
            raise InputError(
                f"{file}: column Image Index",
                found=f"{fields[0]!r} in rows {first[fields[0]] + 1} and {number + 1}",
                expected="one row an image",
                next_step="Download the file again.",
            )
        first[fields[0]] = number
        age, unit = _read_age(file, number, fields[4])
        has_units |= bool(unit)
        if age is not None and age > OLDEST_YEARS:
            ages_over += 1
            detail = f"{fields[0]}: age {fields[4]} is over {OLDEST_YEARS} and counts as unknown"
            rejects.append(Reject(path, number, "noted", "age_impossible", detail))
            age = None
        findings = tuple(name.strip() for name in fields[1].split("|"))
        if not all(findings) or (NO_FINDING in findings and len(findings) > 1):
            detail = f"{fields[0]}: its findings are {fields[1]!r}"
            rejects.append(Reject(path, number, "refused", "findings_contradict", detail))
            continue
        rows.append(
            _Row(
                row=number,
                image=fields[0],
                findings=tuple(name for name in findings if name != NO_FINDING),
                follow_up=_whole(file, number, "Follow-up #", fields[2]),
                patient=str(_whole(file, number, "Patient ID", fields[3])),
                age_years=age,
                sex=_sex(file, number, fields[5]),
                view=fields[6] or None,
            )
        )
    return _LabelFile(path, tuple(rows), tuple(rejects), ages_over, has_units)


def _read_csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file, plain or gzip, each with its number from 0 below the heading; blank ones left out."""
    try:
        content = path.read_bytes()
        if content.startswith(GZIP_MAGIC):
            content = gzip.decompress(content)
        records = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        heading = next(records, [])
        if tuple(name.strip() for name in heading[: len(columns)]) != tuple(columns):
            raise InputError(
                path,
                found=f"a heading that begins with {', '.join(heading[: len(columns)])[:120] or 'nothing'}",
                expected=", ".join(columns),
                next_step="Download the file again.",
            )
        for number, fields in enumerate(records):
            if not any(text.strip() for text in fields):
                continue
            if len(fields) < len(columns):
                raise _bad_value(path, number, "the row", ",".join(fields), f"at least {len(columns)} fields")
            yield number, [text.strip() for text in fields]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise InputError(
            path, found=str(error), expected="a CSV file in UTF-8", next_step="Download the file again."
        ) from error


def _bad_value(path: Path, row: int, column: str, found: str, expected: str) -> InputError:
    return InputError(
        f"{path}: row {row + 1}, {column}",
        found=repr(found),
        expected=expected,
        next_step="Download the file again, or mend the row.",
    )


def _whole(path: Path, row: int, column: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise _bad_value(path, row, column, text, "a whole number")
    return int(text)


def _read_age(path: Path, row: int, text: str) -> tuple[float | None, str]:
    """Age in years and the unit written behind it: 058Y, 011M, 001D, or 58; None for an empty field."""
    match = re.fullmatch(r"(\d+)([YMD]?)", text)
    if match is None and text:
        raise _bad_value(path, row, "Patient Age", text, "years, or a number with Y, M or D behind it")
    return (int(match[1]) * YEARS[match[2]], match[2]) if match is not None else (None, "")


def _sex(path: Path, row: int, text: str) -> str | None:
    if text not in SEXES:
        raise _bad_value(path, row, "Patient Gender", text, "M or F")
    return SEXES[text]


# --- boxes and lists ----------------------------------------------------------------------------------------------


def _read_boxes(path: Path, scale: float) -> dict[str, list[Box]]:
    """Boxes by image without suffix, in pixels of the published images times the scale, origin at the top left."""
    boxes: dict[str, list[Box]] = {}
    for number, fields in _read_csv(path, BOX_COLUMNS):
        try:
            x, y, width, height = (float(text) * scale for text in fields[2:6])
        except ValueError as error:
            raise _bad_value(path, number, "Bbox [x,y,w,h]", ",".join(fields[2:6]), "four numbers") from error
        label = BOX_LABELS.get(fields[1], fields[1])
        boxes.setdefault(PurePosixPath(fields[0]).stem, []).append(Box(label, x, y, width, height))
    return boxes


def _read_lists(folder: Path, by_name: dict[str, list[str]]) -> dict[str, str]:
    """The official subset of each image, by its name without suffix; empty without lists."""
    subsets: dict[str, str] = {}
    found = {name: _only(folder, paths, name) for name, paths in by_name.items()}
    missing = [name for name, path in found.items() if path is None]
    if len(missing) == 1:
        raise InputError(
            folder,
            found=f"{', '.join(sorted(LISTS.keys() - set(missing)))} without {missing[0]}",
            expected="both official lists, or neither",
            next_step="Download the missing one from the data set's page into that folder.",
        )
    for name, path in found.items():
        for line in (folder / path).read_text("utf-8-sig").split() if path is not None else ():
            image = PurePosixPath(line).stem
            if subsets.setdefault(image, LISTS[name]) != LISTS[name]:
                raise InputError(
                    folder / str(path),
                    found=f"{line}, which stands in the other official list too",
                    expected="each image in one of them",
                    next_step="Download both lists again.",
                )
    return subsets


# --- entries ------------------------------------------------------------------------------------------------------


def _match(
    table: _LabelFile,
    paths: dict[str, list[str]],
    boxes: dict[str, list[Box]],
    subsets: dict[str, str],
    options: Options,
) -> tuple[list[Entry], list[Reject]]:
    """An entry for each row that has an image file, or for each row where there are no image files."""
    absent = dict.fromkeys(FINDINGS, False)
    size = (options.image_size_px, options.image_size_px)
    entries: list[Entry] = []
    rejects: list[Reject] = []
    for row in table.rows:
        name = row.image.removesuffix(".png")
        if options.images == "files" and name not in paths:
            detail = f"{row.image}: no such image file"
            rejects.append(Reject(table.path, row.row, "refused", "row_without_image", detail))
            continue
        if subsets and name not in subsets:
            detail = f"{row.image} stands in neither official list"
            rejects.append(Reject(table.path, row.row, "noted", "image_not_in_lists", detail))
        entries += [
            Entry(
                path=path,
                patient_id=row.patient,
                volume_id=None,
                slice_index=None,
                boxes=tuple(boxes[name]) if name in boxes else None,
                declared_size=size if options.images == "none" or name in boxes else None,
                annotation_path=table.path,
                labels={**absent, **dict.fromkeys(row.findings, True)},
                metadata={
                    "age_years": row.age_years,
                    "sex": row.sex,
                    "view": row.view,
                    "follow_up": row.follow_up,
                    "official_subset": subsets.get(name),
                },
                name=name,
            )
            for path in (paths[name] if options.images == "files" else [row.image])
        ]
    return entries, rejects
