"""What is spread over subsets: images, positives of labels and values of strata, each by images and by groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from scanline.core.errors import InputError
from scanline.split.search import Columns

GROUP_WEIGHT = 0.3  # of the squared relative error of a number of groups; that of a number of images has 1
MOST_VALUES = 50  # of a stratum

Bools = NDArray[np.bool_]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Spread:
    """The columns of a search, and what they are.

    Attributes:
        columns: What is spread, one row a group.
        names: Of the columns: images, then a class, `not <class>` or `<stratum>=<value>`.
        by_groups: Shape (columns,), whether a column counts groups instead of images.
    """

    columns: Columns
    names: tuple[str, ...]
    by_groups: Bools


def make_spread(group_of_row: Codes, labels: pd.DataFrame, strata: pd.DataFrame, *, guard_common: bool) -> Spread:
    """Count by group what is to be spread.

    Of a class known on every image the rarer side is counted: the other follows from the number of images. Where some
    are unknown, both sides are.

    Args:
        group_of_row: Shape (n,), 0 ... groups - 1, each of which has a row.
        labels: n rows of nullable booleans, one column a class.
        strata: n rows of values, one column a stratum; null is a value of its own.
        guard_common: Whether the other side's presence in every subset is asked for as well. It is rarely at risk, and
            as most groups have some of it, looking at it makes the search slower.
    """
    n_groups = int(group_of_row.max()) + 1
    parts: list[csr_array] = []
    weights, needed, names, by_groups = [], [], list[str](), []

    def count(name: str, inside: Bools, weight: float, must: bool) -> None:
        of_group = np.bincount(group_of_row[inside], minlength=n_groups)
        counts = csr_array(of_group.reshape(-1, 1).astype(np.float64))
        groups = csr_array((of_group > 0).reshape(-1, 1).astype(np.float64))
        both = [(counts, weight, False, False)] if weight else []
        for part, its_weight, is_needed, of_groups in (*both, (groups, GROUP_WEIGHT * weight, must, True)):
            if part.nnz:
                parts.append(part)
                weights.append(its_weight)
                needed.append(is_needed)
                names.append(name)
                by_groups.append(of_groups)

    count("images", np.ones(len(group_of_row), dtype=bool), 1.0, True)
    for name, truth in labels.items():
        positive, negative = sides_of(truth)
        is_known = bool((positive | negative).all())
        positives_are_rarer = positive.sum() <= negative.sum()
        if positives_are_rarer or not is_known or guard_common:
            count(str(name), positive, 1.0 if positives_are_rarer or not is_known else 0.0, True)
        if not positives_are_rarer or not is_known or guard_common:
            count(f"not {name}", negative, 0.0 if positives_are_rarer and is_known else 1.0, True)
    for name, values in strata.items():
        codes, found = pd.factorize(values, sort=True, use_na_sentinel=True)
        if len(found) + bool((codes < 0).any()) > 1:
            for code in range(-1 if (codes < 0).any() else 0, len(found)):
                count(f"{name}={found[code] if code >= 0 else 'null'}", codes == code, 1.0, False)
    columns = Columns(csr_array(hstack(parts)), np.array(weights), np.array(needed))
    return Spread(columns, tuple(names), np.array(by_groups))


def sides_of(truth: pd.Series) -> tuple[Bools, Bools]:
    """Which rows are known to be positive, and which negative."""
    truth = truth.astype("boolean")
    return truth.fillna(False).to_numpy(dtype=bool), (~truth).fillna(False).to_numpy(dtype=bool)


def check_columns(table: pd.DataFrame, names: Sequence[str], where: str) -> None:
    """Check that a table has these columns.

    Raises:
        InputError: For the first that it has not.
    """
    for name in names:
        if name not in table:
            raise InputError(
                where,
                found=f"no column {name!r}",
                expected=f"one of {', '.join(map(str, table.columns))}",
                next_step="Name a column of the table.",
            )


def check_strata(table: pd.DataFrame, strata: Sequence[str], where: str) -> None:
    """Check that every stratum is a column of few values.

    Raises:
        InputError: If it is not.
    """
    check_columns(table, strata, f"{where}: strata")
    for name in strata:
        n_values = table[name].nunique()
        if n_values > MOST_VALUES:
            raise InputError(
                f"{where}: strata: {name}",
                found=f"{n_values} values",
                expected=f"at most {MOST_VALUES}",
                next_step="Spread a column of categories, or cut this one into classes first.",
            )


def deviations_of(spread: Spread, shares: NDArray[np.float64], sums: NDArray[np.float64]) -> dict[str, Any]:
    """How far subsets are from their targets, by images and by groups.

    Args:
        spread: The columns; those of weight 0 are left out.
        shares: Shape (subsets,), sum 1.
        sums: Shape (subsets, columns), what each subset has.

    Returns:
        {"images", "groups"}: of the relative deviations |has - target| / target over subsets and columns {"mean",
        "worst", "worst_column"}.
    """
    targets = shares[:, None] * sums.sum(axis=0)
    relative = np.abs(sums - targets) / targets
    found = {}
    for key, of_groups in (("images", False), ("groups", True)):
        inside = np.flatnonzero((spread.by_groups == of_groups) & (spread.columns.weights > 0))
        worst = relative[:, inside].max(axis=0)
        found[key] = {
            "mean": float(relative[:, inside].mean()),
            "worst": float(worst.max()),
            "worst_column": spread.names[inside[worst.argmax()]],
        }
    return found
