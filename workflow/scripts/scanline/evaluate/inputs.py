"""What evaluation accepts: arrays of one length, truths that are known, probabilities that are probabilities."""

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from scanline.core.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.intp]

NEXT_STEP = "Correct the input, or leave the row out on purpose."


def refuse(where: object, found: str, expected: str, next_step: str = NEXT_STEP) -> NoReturn:
    """Raise an InputError."""
    raise InputError(where, found=found, expected=expected, next_step=next_step)


def refuse_entries(
    wrong: Bools, values: NDArray[np.generic], where: str, expected: str, names: Sequence[str] | None = None
) -> None:
    """Raise an InputError if any entry is wrong, naming the first one and how many there are.

    Args:
        wrong: Shape (rows,) or (rows, columns).
        values: Same shape.
        where: What the values are.
        expected: What each should be.
        names: Of the columns; None to number them.
    """
    if not wrong.any():
        return
    row, *column = (int(index) for index in np.argwhere(wrong)[0])
    place = f"{where}: row {row}" + (f", {names[column[0]]}" if names and column else "")
    more = f" (and {int(wrong.sum()) - 1} more)" if wrong.sum() > 1 else ""
    refuse(place, f"{values[row, *column]}{more}", expected)


def check_lengths(**arrays: object) -> int:
    """Check that all arrays have one length along their first axis, and return it.

    Raises:
        InputError: If they differ; it names each array with its length.
    """
    lengths = {name: len(values) for name, values in arrays.items() if values is not None}  # type: ignore[arg-type]
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        refuse(" and ".join(lengths), f"lengths {found}", "one length for all")
    return next(iter(lengths.values()), 0)


def as_truth(values: ArrayLike, where: str = "truth", names: Sequence[str] | None = None) -> Bools:
    """Known yes-or-no truths as booleans.

    Args:
        values: Booleans, or numbers that are 0 or 1; shape (images,) or (images, labels).
        where: What they are, for messages.
        names: Of the labels, for messages.

    Raises:
        InputError: For a null, or anything but 0, 1, false and true.
    """
    numbers = _as_numbers(values, where)
    refuse_entries(~np.isin(numbers, (0.0, 1.0)), numbers, where, "0 or 1, known for every image", names)
    known: Bools = numbers == 1
    return known


def as_partial_truth(values: ArrayLike, where: str = "truth", names: Sequence[str] | None = None) -> Floats:
    """Truths of which some are unknown: 1, 0, or NaN for unknown.

    Args:
        values: Booleans or numbers with nulls (None, NaN, pandas.NA), shape (images,) or (images, labels).
        where: What they are, for messages.
        names: Of the labels, for messages.

    Raises:
        InputError: For anything but 0, 1, false, true and null.
    """
    numbers = _as_numbers(values, where)
    wrong = ~np.isin(numbers, (0.0, 1.0)) & ~np.isnan(numbers)
    refuse_entries(wrong, numbers, where, "0, 1, or null where unknown", names)
    return numbers


def as_probability(values: ArrayLike, where: str = "probability", names: Sequence[str] | None = None) -> Floats:
    """Probabilities as float64.

    Args:
        values: Shape (images,) or (images, classes).
        where: What they are, for messages.
        names: Of the classes, for messages.

    Raises:
        InputError: For a null, or a value that is not from 0 to 1.
    """
    numbers = _as_numbers(values, where)
    wrong = ~((numbers >= 0) & (numbers <= 1))
    refuse_entries(wrong, numbers, where, "a number from 0 to 1", names)
    return numbers


def as_tolerance(tolerance: float, where: str = "tolerance") -> float:
    """A tolerance of distances.

    Raises:
        InputError: If it is negative or not finite.
    """
    if not (np.isfinite(tolerance) and tolerance >= 0):
        refuse(where, str(tolerance), "a finite number, at least 0")
    return float(tolerance)


def as_scores(values: ArrayLike, where: str = "score") -> Floats:
    """Finite scores of any scale as float64, shape (images,).

    Raises:
        InputError: For a null or an infinite value.
    """
    numbers = _as_numbers(values, where)
    refuse_entries(~np.isfinite(numbers), numbers, where, "a finite number")
    return numbers


def _as_numbers(values: ArrayLike, where: str) -> Floats:
    if isinstance(values, pd.Series | pd.DataFrame):
        values = values.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan) if len(values) else []
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.asarray(values, dtype=object)
        strange = next(entry for entry in array.ravel() if not _is_number(entry))
        refuse(where, repr(strange), "numbers")


def _is_number(entry: object) -> bool:
    try:
        float(entry)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def as_clusters(patients: Sequence[object] | pd.Series | NDArray[np.generic] | None, images: int) -> Codes:
    """Number the patients 0, 1, ... by their first image; images in one order give one numbering.

    The numbers depend on which images belong together, not on the ids: another pseudonym for each patient
    leaves every interval as it is.

    Args:
        patients: Patient of each image, null where unknown: such an image is a cluster of its own. None: every
            image is.
        images: Number of images.

    Returns:
        Cluster of each image, shape (images,), intp.

    Raises:
        InputError: If there is not one patient entry for each image.

    Examples:
        >>> as_clusters(["p7", "p7", None, "p2", None], 5)
        array([0, 0, 1, 2, 3])
    """
    if patients is None:
        return np.arange(images, dtype=np.intp)
    names = pd.Series(np.asarray(patients, dtype=object))
    if len(names) != images:
        refuse("patients", f"{len(names)} entries", f"{images}, one for each image")
    codes = pd.factorize(names)[0].astype(np.intp)
    unknown = codes < 0
    codes[unknown] = len(names) + np.arange(unknown.sum())
    return pd.factorize(codes)[0].astype(np.intp)
