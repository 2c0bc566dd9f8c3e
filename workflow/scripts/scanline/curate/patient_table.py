"""The patient table: metadata of each patient, from a spreadsheet or CSV file."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import ParseError

import pandas as pd
from openpyxl.utils.exceptions import InvalidFileException

from scanline.core.errors import InputError
from scanline.core.tables import IMAGES
from scanline.curate.entries import Reject
from scanline.curate.options import PatientTable

NUMBERS = frozenset({"age_years"})
METADATA_OF_SCHEMA = frozenset({"age_years", "sex"})
SEXES = frozenset({"female", "male"})
ZIP_MAGIC = b"PK\x03\x04"  # an .xlsx file is a ZIP archive
DELIMITERS = ",;\t"  # the one that stands most often in the row of column names
Value = float | str | None


@dataclass(frozen=True)
class Patients:
    """Metadata by patient.

    Attributes:
        by_patient: Patient (see `patient_key`) to metadata name to value, None where the table says nothing.
        rows: Patient to the row's index from 0, the heading not counted.
        rejects: Rows and values that were left out; paths are the table's, relative to the source's folder.
    """

    by_patient: dict[str, dict[str, Value]]
    rows: dict[str, int]
    rejects: tuple[Reject, ...]


def patient_key(value: str) -> str:
    """A patient's number or id in one spelling: 13, 13.0 and 0013 are the same patient."""
    text = value.strip()
    whole = text.removesuffix(".0")
    return str(int(whole)) if whole.isascii() and whole.isdigit() else text


def read_patient_table(folder: Path, options: PatientTable) -> Patients:
    """Read a patient table; .xlsx or CSV is told by the content.

    Args:
        folder: The source's folder.
        options: Where the table lies and what its columns mean.

    Raises:
        InputError: If the file is no table, a column is missing, a patient stands in two rows, or a value has
            no translation.
    """
    path = folder / options.path
    _check_names(options, path)
    table = read_text_table(path, "patient")
    _check_columns(table, options, path)
    values: dict[str, dict[str, Value]] = {}
    rows: dict[str, int] = {}
    rejects: list[Reject] = []
    for row, record in enumerate(table.to_dict("records")):
        if not any(str(text).strip() for text in record.values()):
            continue
        patient = patient_key(record[options.patient_column])
        if not patient:
            rejects.append(Reject(options.path, row, "refused", "patient_missing", "a row without a patient"))
            continue
        if patient in values:
            raise InputError(
                f"{path}: column {options.patient_column}",
                found=f"patient {patient} in rows {rows[patient] + 1} and {row + 1}",
                expected="one row a patient",
                next_step="Remove the row that is wrong.",
            )
        rows[patient] = row
        values[patient] = {
            name: _read_value(name, str(record[column]).strip(), row, options, path, rejects)
            for name, column in options.columns.items()
        }
    return Patients(values, rows, tuple(rejects))


def match_patients(patients: Patients, seen: Sequence[str], options: PatientTable) -> list[Reject]:
    """Note patients of the table without images, and patients with images whom the table does not name.

    Args:
        patients: The table.
        seen: Patients of the images, unprefixed.
        options: The table's options.
    """
    with_images = {patient_key(patient) for patient in seen}
    notes = [
        Reject(options.path, row, "noted", "patient_without_images", f"patient {patient} has no image")
        for patient, row in patients.rows.items()
        if patient not in with_images
    ]
    missing = sorted(with_images - patients.rows.keys())
    return notes + [
        Reject(options.path, None, "noted", "patient_not_in_table", f"patient {patient} has images and no row")
        for patient in missing
    ]


def _check_names(options: PatientTable, path: Path) -> None:
    taken = sorted((options.columns.keys() & IMAGES.columns.keys()) - METADATA_OF_SCHEMA)
    if taken:
        raise InputError(
            f"{path}: patient_table.columns",
            found=f"the metadata name {taken[0]}",
            expected="age_years, sex, or a name that the images table has no column of",
            next_step="Rename it in the study file.",
        )


def read_text_table(path: Path, row_is: str) -> pd.DataFrame:
    """All cells of a table as text, empty ones as ''.

    Args:
        path: An .xlsx or a CSV file, told apart by the content.
        row_is: What a row describes, for the error.

    Raises:
        InputError: If it is no readable table.
    """
    content = path.read_bytes()
    try:
        if content.startswith(ZIP_MAGIC):
            table = pd.read_excel(io.BytesIO(content), dtype=str, engine="openpyxl", keep_default_na=False)
        else:
            heading = content.splitlines()[0].decode("utf-8-sig") if content else ""
            table = pd.read_csv(
                io.BytesIO(content),
                dtype=str,
                sep=max(DELIMITERS, key=heading.count),
                keep_default_na=False,
                encoding="utf-8-sig",
            )
    except (ValueError, KeyError, zipfile.BadZipFile, InvalidFileException, ParseError, pd.errors.ParserError) as error:
        raise InputError(
            path,
            found=f"no readable table ({error})",
            expected=f"an .xlsx or a CSV file in UTF-8, one row for each {row_is} below one row of column names",
            next_step="Save it anew, or remove it: the table is optional.",
        ) from error
    table.columns = table.columns.astype(str).str.strip()
    return table.fillna("")


def _check_columns(table: pd.DataFrame, options: PatientTable, path: Path) -> None:
    for column in (options.patient_column, *options.columns.values()):
        if column not in table.columns:
            raise InputError(
                path,
                found=f"the columns {', '.join(table.columns)}",
                expected=f"a column {column}",
                next_step="Name the table's columns in patient_table of the study file.",
            )


def _read_value(name: str, text: str, row: int, options: PatientTable, path: Path, rejects: list[Reject]) -> Value:
    """One cell: null where it is empty, translated where there is a translation, a number where one is due."""
    if not text:
        return None
    translation = options.values.get(name)
    if translation is not None:
        if text not in translation:
            raise _unknown_value(name, text, row, sorted(translation), path)
        text = translation[text]
    if name == "sex" and text not in SEXES:
        raise _unknown_value(name, text, row, sorted(SEXES), path)
    if name not in NUMBERS:
        return text
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < float("inf"):
        detail = f"{name} is {text!r}, no number from 0 up: it is unknown"
        rejects.append(Reject(options.path, row, "noted", "patient_value", detail))
        return None
    return number


def _unknown_value(name: str, text: str, row: int, known: Sequence[str], path: Path) -> InputError:
    return InputError(
        f"{path}: row {row + 1}, {name}",
        found=repr(text),
        expected=f"one of {', '.join(known)}",
        next_step=f"Add its translation to patient_table.values.{name} in the study file.",
    )
