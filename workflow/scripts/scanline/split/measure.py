"""How good a split of a data frame is, whoever made it: what it parts, what its subsets hold, how near its targets."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scanline.core.errors import InputError
from scanline.split.assign import check_ratios, group_codes, truth_of
from scanline.split.columns import check_columns, check_strata, deviations_of, make_spread
from scanline.split.receipt import count_labels
from scanline.split.search import cost_of, sums_of

LISTED = 3


def measure_split(
    table: pd.DataFrame,
    subset: pd.Series,
    *,
    group: str,
    ratios: Mapping[str, float],
    labels: Sequence[str] = (),
    strata: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure a split of whole groups, as `scanline.split.split_groups` makes it, or any other.

    Args:
        table: n rows, one an image.
        subset: Subset of each row, with the index of `table`; subsets that `ratios` does not name are counted alone.
        group: Column of what must never be parted; no null.
        ratios: Name of each subset to its share of the rows; they sum to 1.
        labels: Columns of True, False or null (unknown).
        strata: Columns of categories.

    Returns:
        {"parted_groups": number of groups in more than one subset, "first_parted": three of them at most, "subsets":
        {name: {"images", "groups", "share", "target_share", "labels": {label: {"positive", "negative", "unknown",
        "prevalence"}}}}, "objective": {"cost": what `split_groups` minimises, "images": {"mean", "worst",
        "worst_column"}, "groups": likewise}}. Shares are of the rows in the subsets of `ratios`, null for others;
        prevalence is of the known rows. Deviations are relative, |has - target| / target, over these subsets and
        columns: the rows or groups there are, with each label, and of each value of a stratum. The objective is null
        where a group is parted.

    Raises:
        InputError: One line, if a column is missing, a group or a subset is null, or the index is another.

    Examples:
        >>> import pandas as pd
        >>> from scanline.split import measure_split
        >>> table = pd.DataFrame({"patient": [1, 1, 2, 3], "bleed": [True, False, True, False]})
        >>> halves = {"one": 0.5, "two": 0.5}
        >>> found = measure_split(table, pd.Series(["one", "two", "two", "one"]), group="patient", ratios=halves)
        >>> found["parted_groups"], found["first_parted"], found["objective"]
        (1, [1], None)
    """
    check_columns(table, [group, *labels], "table")
    check_strata(table, strata, "table")
    check_ratios(ratios)
    if not subset.index.equals(table.index) or subset.isna().any():
        raise InputError(
            "subset",
            found=f"{subset.isna().sum()} nulls" if subset.index.equals(table.index) else "another index",
            expected="the subset of each row of the table",
            next_step="Give it the table's index, and leave rows without a subset out of both.",
        )
    group_of_row, names = group_codes(table[group])
    parted = np.flatnonzero(subset.groupby(group_of_row).nunique() > 1)
    truth = truth_of(table[list(labels)])
    inside = subset.isin(list(ratios)).to_numpy()
    found = {
        name: {
            "images": int(rows.sum()),
            "groups": len(np.unique(group_of_row[rows])),
            "share": float(rows.sum() / inside.sum()) if name in ratios else None,
            "target_share": ratios.get(name),
            "labels": {label: count_labels(truth.loc[rows, label]) for label in labels},
        }
        for name in dict.fromkeys([*ratios, *sorted(subset.unique())])
        for rows in [subset.eq(name).to_numpy()]
    }
    objective = None
    if not len(parted) and inside.any():
        codes, distinct = pd.factorize(group_of_row[inside])
        spread = make_spread(codes.astype(np.int64), truth[inside], table.loc[inside, list(strata)], guard_common=False)
        of_group = np.zeros(len(distinct), dtype=np.int64)
        of_group[codes] = subset[inside].map({name: k for k, name in enumerate(ratios)}).to_numpy(dtype=np.int64)
        shares = np.array(list(ratios.values()))
        sums = sums_of(spread.columns, len(shares), of_group)
        cost = cost_of(spread.columns, shares, np.zeros_like(sums), of_group)
        objective = {"cost": cost, **deviations_of(spread, shares, sums)}
    return {
        "parted_groups": len(parted),
        "first_parted": [names[number] for number in parted[:LISTED]],
        "subsets": found,
        "objective": objective,
    }
