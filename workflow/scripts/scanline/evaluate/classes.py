"""What multi-class and multi-label evaluation share: class names, averages over classes, counts of patients."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scanline.evaluate.bootstrap import count_clusters, divide
from scanline.evaluate.inputs import Bools, Codes, Floats, refuse

AVERAGES = ("macro", "micro", "weighted")
UNDEFINED_EVERYWHERE = "undefined for every class"
UNDEFINED_WHERE_PRESENT = "undefined for every class that has positives"


def check_class_names(classes: Sequence[str], where: str = "classes", at_least: int = 1) -> tuple[str, ...]:
    """Class names as a tuple.

    Raises:
        InputError: For a name that is no text or comes twice, or fewer names than `at_least`.
    """
    names = tuple(classes)
    wrong = [name for name in names if not isinstance(name, str) or not name]
    if wrong:
        refuse(where, repr(wrong[0]), "names of at least one letter", "Name every class.")
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        refuse(where, f"{', '.join(double)} more than once", "each name once", "Give each class one name.")
    if len(names) < at_least:
        refuse(where, f"{len(names)} names", f"at least {at_least}", "Name every class.")
    return names


def as_class_codes(values: ArrayLike, classes: Sequence[str], where: str = "truth") -> Codes:
    """Number each image's class by its place in `classes`.

    Args:
        values: Class names, shape (images,).
        classes: Known names.
        where: What the values are, for messages.

    Returns:
        Shape (images,), intp.

    Raises:
        InputError: For a null or a name that is not among the classes.
    """
    names = np.asarray(values, dtype=object)
    if names.ndim != 1:
        refuse(where, f"shape {names.shape}", "one class name an image, shape (images,)")
    codes = pd.Index(list(classes), dtype=object).get_indexer(pd.Index(names, dtype=object)).astype(np.intp)
    wrong = np.flatnonzero(codes < 0)
    if len(wrong):
        first = names[wrong[0]]
        found = "null" if pd.isna(first) else repr(first)
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        refuse(f"{where}: row {wrong[0]}", f"{found}{more}", f"one of {', '.join(classes)}")
    return codes


def select_columns(table: pd.DataFrame, classes: Sequence[str], where: str) -> pd.DataFrame:
    """The columns of a table in the order of `classes`.

    Raises:
        InputError: If a class has no column or several, or a column is no class.
    """
    columns = [str(name) for name in table.columns]
    if sorted(columns) != sorted(classes):
        refuse(f"{where}: columns", ", ".join(columns), f"one for each of {', '.join(classes)}")
    return table.iloc[:, [columns.index(name) for name in classes]]


def macro_average(values: Floats, counted: Bools) -> Floats:
    """Mean over the counted classes.

    The classes counted are those whose value is defined in the sample, and they stay the same in every resample:
    where one of them is undefined so is the mean, for a mean over fewer classes is another quantity.

    Args:
        values: Shape (classes, resamples).
        counted: Shape (classes,).

    Returns:
        Shape (resamples,); NaN without counted classes.
    """
    return values[counted].mean(axis=0) if counted.any() else np.full(values.shape[1], np.nan)


def weighted_average(values: Floats, support: Floats, counted: Bools) -> Floats:
    """Mean over the counted classes, weighted by their numbers of positives.

    Args:
        values: Shape (classes, resamples).
        support: Positives of each class in each resample, same shape; where it is 0 the value does not matter.
        counted: As for `macro_average`, shape (classes,).

    Returns:
        Shape (resamples,); NaN without positives of a counted class.
    """
    held = support[counted]
    return divide(np.where(held == 0, 0.0, values[counted] * held).sum(axis=0), held.sum(axis=0))


def count_patients(patients: Sequence[object] | pd.Series | None, clusters: Codes) -> dict[str, Any]:
    """Numbers of images, of known patients, of images without a patient, and of clusters.

    Args:
        patients: Patient of each image, null where unknown; None where none is known.
        clusters: Cluster of each image, shape (images,).
    """
    images = len(clusters)
    named = pd.Series([None] * images if patients is None else list(patients), dtype=object)
    return {
        "images": images,
        "patients": int(named.nunique()),
        "images_without_patient": int(named.isna().sum()),
        "clusters": count_clusters(clusters),
    }
