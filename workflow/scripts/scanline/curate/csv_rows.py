"""CSV files of annotations: their rows by column, and one line where a file is none or lacks a column."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from scanline.core.errors import InputError


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Read a CSV file in UTF-8 with a heading; cells and names are trimmed, rows of empty cells left out.

    Args:
        path: The file.
        columns: Those that have to be there.

    Yields:
        The number of each row, from 0 below the heading, and its cells by column; cells that a short row lacks are "".

    Raises:
        InputError: If the file is missing, is no CSV in UTF-8, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            records = csv.reader(file, strict=True)
            heading = [name.strip() for name in next(records, [])]
            _require_columns(path, heading, columns)
            for row, record in enumerate(records):
                cells = [text.strip() for text in record]
                if any(cells):
                    yield row, dict(zip(heading, [*cells, *[""] * (len(heading) - len(cells))], strict=False))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            path, found=f"no readable table ({error})", expected="a CSV file in UTF-8", next_step="Fetch it again."
        ) from error


def _require_columns(path: Path, heading: Sequence[str], columns: Sequence[str]) -> None:
    for name in columns:
        if name not in heading:
            raise InputError(
                path,
                found=f"the columns {', '.join(heading)[:200] or '(none)'}",
                expected=f"a column {name}",
                next_step="Fetch the file again, or name another in the layout of the study file.",
            )


def require_listed(folder: Path, path: str, files: Sequence[str], key: str) -> None:
    """Check that a table is among the files of the manifest.

    Raises:
        InputError: If it is not.
    """
    if path not in files:
        raise InputError(
            folder / path,
            found="no such file among those of the manifest",
            expected=f"the table that layout.{key} names",
            next_step="Check the folder, or the layout in the study file.",
        )
