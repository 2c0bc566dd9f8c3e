"""The label table: whether each image shows a class, from a CSV file or a spreadsheet with one row an image."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from scanline.core.errors import InputError
from scanline.curate.entries import Reject
from scanline.curate.judge import Verdict
from scanline.curate.options import LabelTable
from scanline.curate.patient_table import read_text_table

VALUES: dict[str, bool | None] = {
    "": None,
    "0": False,
    "0.0": False,
    "false": False,
    "1": True,
    "1.0": True,
    "true": True,
}


@dataclass(frozen=True)
class ImageLabels:
    """Labels by image.

    Attributes:
        by_image: Image as the table names it to class to true, false, or None for unknown.
        rows: Image to the row's index from 0, the heading not counted.
        rejects: Rows that were left out; paths are the table's, relative to the source's folder.
    """

    by_image: dict[str, dict[str, bool | None]]
    rows: dict[str, int]
    rejects: tuple[Reject, ...]


def read_label_table(folder: Path, options: LabelTable, labels: Sequence[str]) -> ImageLabels:
    """Read a label table; .xlsx or CSV is told by the content. 1 and true say yes, 0 and false no, empty is unknown.

    Args:
        folder: The source's folder.
        options: Where the table lies and what its columns mean.
        labels: The study's classes.

    Raises:
        InputError: If the file is no table, a class is not the study's, a column is missing, an image stands in two
            rows, or a value is another one.
    """
    path = folder / options.path
    strange = [name for name in options.columns if name not in labels]
    if strange:
        raise InputError(
            f"{path}: label_table.columns",
            found=f"the class {strange[0]!r}",
            expected=f"one of {', '.join(labels)}",
            next_step="Add it to labels of the study file, or name another.",
        )
    table = read_text_table(path, "image")
    for column in (options.image_column, *options.columns.values()):
        if column not in table.columns:
            raise InputError(
                path,
                found=f"the columns {', '.join(table.columns)}",
                expected=f"a column {column}",
                next_step="Name the table's columns in label_table of the study file.",
            )
    by_image: dict[str, dict[str, bool | None]] = {}
    rows: dict[str, int] = {}
    rejects: list[Reject] = []
    for row, record in enumerate(table.to_dict("records")):
        if not any(str(text).strip() for text in record.values()):
            continue
        image = str(record[options.image_column]).strip()
        if not image:
            rejects.append(Reject(options.path, row, "refused", "image_missing", "a row without an image"))
            continue
        if image in rows:
            raise _two_rows(path, options.image_column, f"image {image!r}", rows[image], row)
        rows[image] = row
        by_image[image] = {
            name: _read_value(str(record[column]), row, column, path) for name, column in options.columns.items()
        }
    return ImageLabels(by_image, rows, tuple(rejects))


def _two_rows(path: Path, column: str, what: str, first: int, second: int) -> InputError:
    return InputError(
        f"{path}: column {column}",
        found=f"{what} in rows {first + 1} and {second + 1}",
        expected="one row an image",
        next_step="Remove the row that is wrong.",
    )


def _read_value(text: str, row: int, column: str, path: Path) -> bool | None:
    key = text.strip().lower()
    if key not in VALUES:
        raise InputError(
            f"{path}: row {row + 1}, {column}",
            found=repr(text.strip()),
            expected="1, 0, true, false, or nothing where it is unknown",
            next_step="Correct the table.",
        )
    return VALUES[key]


def merge_labels(
    table: ImageLabels, verdicts: Sequence[Verdict], options: LabelTable, folder: Path
) -> tuple[list[Verdict], list[Reject]]:
    """Add the table's labels to those of boxes and masks.

    A row means the image whose path it names, with or without its suffix, or else the one whose file name or stem it
    names. Where one side says yes the class is there; a side that contradicts it is noted. Where one side knows
    nothing the other one holds.

    Args:
        table: The table.
        verdicts: The images that are kept, with the labels that boxes and masks give them.
        options: The table's options.
        folder: The source's folder, for messages.

    Returns:
        The verdicts with merged labels, in their order; rejects: those of the table, rows without an image, images
        without a row, and contradictions.

    Raises:
        InputError: If a row could mean several images, or two rows mean one.
    """
    matched = _match(table, [verdict.entry.path for verdict in verdicts], options, folder)
    rejects, used = list(table.rejects), set(matched.values())
    for image, row in table.rows.items():
        if image not in used:
            detail = f"{image!r} is none of the images that are kept"
            rejects.append(Reject(options.path, row, "noted", "row_without_image", detail))
    merged = []
    for verdict in verdicts:
        name = matched.get(verdict.entry.path)
        if name is None:
            detail = f"the label table {options.path} has no row for it"
            rejects.append(Reject(verdict.entry.path, None, "noted", "image_not_in_label_table", detail))
            merged.append(verdict)
            continue
        labels = dict(verdict.labels)
        for label, said in table.by_image[name].items():
            drawn = labels.get(label)
            if said is not None and drawn is not None and said != drawn:
                detail = f"{label}: {_words(drawn)} by boxes and masks, {_words(said)} by row {table.rows[name] + 1}"
                detail += f" of {options.path}: it counts as there"
                rejects.append(Reject(verdict.entry.path, None, "noted", "label_contradiction", detail))
            labels[label] = said if drawn is None else drawn or bool(said)
        merged.append(replace(verdict, labels=labels))
    return merged, rejects


def _words(value: bool) -> str:
    return "there" if value else "not there"


def _match(table: ImageLabels, paths: Sequence[str], options: LabelTable, folder: Path) -> dict[str, str]:
    """Path of each image that a row means, to that row's name."""
    exact = _index((path, (path, str(PurePosixPath(path).with_suffix("")))) for path in paths)
    loose = _index((path, (PurePosixPath(path).name, PurePosixPath(path).stem)) for path in paths)
    matched: dict[str, str] = {}
    for name, row in table.rows.items():
        found = exact.get(name) or loose.get(name) or []
        if len(found) > 1:
            raise InputError(
                f"{folder / options.path}: row {row + 1}, {options.image_column}",
                found=f"{name!r}, which {len(found)} images are called, such as {found[0]} and {found[1]}",
                expected="a name that only one image has",
                next_step="Write paths relative to the source's folder into that column.",
            )
        for path in found:
            if path in matched:
                first = table.rows[matched[path]]
                raise _two_rows(folder / options.path, options.image_column, f"image {path}", first, row)
            matched[path] = name
    return matched


def _index(names: Iterable[tuple[str, tuple[str, str]]]) -> dict[str, list[str]]:
    """Name to the paths that bear it, each once."""
    found: dict[str, list[str]] = {}
    for path, both in names:
        for name in dict.fromkeys(both):
            found.setdefault(name, []).append(path)
    return found
