"""Assignment of whole groups to subsets, sizes, prevalences and strata brought close to target by a search.

`split_groups` needs a data frame and nothing else of a study.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.tables import SPLIT, validate
from scanline.split.columns import check_columns, check_strata, make_spread, sides_of
from scanline.split.groups import check_image_ids
from scanline.split.options import Ratios
from scanline.split.search import search, sums_of

ASSIGNED = ("train", "val", "test")

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]


def split_groups(
    table: pd.DataFrame,
    *,
    group: str,
    ratios: Mapping[str, float],
    labels: Sequence[str] = (),
    strata: Sequence[str] = (),
    fixed: str | None = None,
    seed: int = 0,
) -> pd.Series:
    """Deal whole groups out to subsets, every label's prevalence and every subset's size as close to target as can be.

    What is spread: rows; positives of each label (its rarer side, or both sides where some are unknown); rows of each
    value of each stratum; and the groups of each of these, with a weight of 0.3. The sum of squared relative deviations
    from target is minimised, see `scanline.split.search`. Every subset gets a group
    with and a group without each label.

    The result depends on the seed and on the table's contents, not on the order of its rows.

    Args:
        table: n rows, one an image.
        group: Column of what must never be parted, such as the patient; no null.
        ratios: Name of each subset, in any number from 2 on, to its share of the rows; they sum to 1.
        labels: Columns of True, False or null (unknown), any number of which may be true of a row.
        strata: Columns of categories, such as a scanner; at most 50 values each, null being one of its own.
        fixed: Column with the subset of groups that are assigned already, null for the others. Names that are not in
            `ratios` are allowed: such groups are kept out of the search.
        seed: Seed of the search.

    Returns:
        The subset of each row, with the index of `table`.

    Raises:
        InputError: One line, if a column is missing, a group is null or is fixed to two subsets, there are fewer groups
            than subsets, or a subset would be without positives or negatives of a label.

    Examples:
        >>> import pandas as pd
        >>> from scanline.split import split_groups
        >>> table = pd.DataFrame({"patient": [n // 4 for n in range(400)], "bleed": [n % 10 < 3 for n in range(400)]})
        >>> shares = {"train": 0.7, "val": 0.1, "test": 0.2}
        >>> subset = split_groups(table, group="patient", ratios=shares, labels=["bleed"], seed=1)
        >>> subset.value_counts()[["train", "val", "test"]].tolist()
        [280, 40, 80]
        >>> table.groupby(subset)["bleed"].sum()[["train", "val", "test"]].tolist()
        [84, 12, 24]
        >>> int(subset.groupby(table["patient"]).nunique().max())
        1
    """
    check_columns(table, [group, *labels, *([] if fixed is None else [fixed])], "table")
    check_strata(table, strata, "table")
    nothing = pd.Series(None, index=table.index, dtype="str")
    return assign_groups(
        table[group],
        table[list(labels)],
        table[list(strata)],
        nothing if fixed is None else table[fixed],
        ratios,
        seed,
    )


def assign_groups(
    groups: pd.Series,
    labels: pd.DataFrame,
    strata: pd.DataFrame,
    fixed: pd.Series,
    ratios: Mapping[str, float],
    seed: int,
) -> pd.Series:
    """What `split_groups` does, its columns given one by one.

    Args:
        groups: Shape (n,).
        labels: Shape (n, classes).
        strata: Shape (n, strata).
        fixed: Shape (n,), subset or null.
        ratios: Name of each subset to its share.
        seed: Seed of the search.

    Returns:
        Shape (n,), named subset, with the index of `groups`.

    Raises:
        InputError: As of `split_groups`.
    """
    check_ratios(ratios)
    group_of_row, names = group_codes(groups)
    fixed_of_group = _fixed_groups(fixed, group_of_row, names)
    in_search = fixed_of_group.isna() | fixed_of_group.isin(list(ratios))
    if in_search.sum() < len(ratios):
        raise InputError(
            "groups table",
            found=f"{in_search.sum()} groups",
            expected=f"at least {len(ratios)}, one each for {_listed(ratios)}",
            next_step="Add patients, or see in the groups table what ties these images.",
        )
    searched = in_search.to_numpy()[group_of_row]
    numbers = np.cumsum(in_search.to_numpy(), dtype=np.int64) - 1
    place = fixed_of_group[in_search].map({name: k for k, name in enumerate(ratios)}).fillna(-1)
    subset_of_group = fixed_of_group.astype(object)
    chosen = _search_free(
        numbers[group_of_row[searched]],
        truth_of(labels[searched]),
        strata[searched],
        np.asarray(place, dtype=np.int64),
        ratios,
        seed,
    )
    subset_of_group[in_search] = np.array(list(ratios), dtype=object)[chosen]
    return pd.Series(subset_of_group.to_numpy()[group_of_row], index=groups.index, dtype="str", name="subset")


def _search_free(
    group_of_row: Codes,
    labels: pd.DataFrame,
    strata: pd.DataFrame,
    place: Codes,
    ratios: Mapping[str, float],
    seed: int,
) -> Codes:
    """Number of the subset of each group; `place` is that of fixed groups, -1 for free ones."""
    is_free = place < 0
    chosen = place.copy()
    if not is_free.any():
        return chosen
    shares = np.array(list(ratios.values()))
    for guard_common in (False, True):
        spread = make_spread(group_of_row, labels, strata, guard_common=guard_common)
        given = sums_of(spread.columns.of_groups(~is_free), len(shares), place[~is_free])
        chosen[is_free] = search(spread.columns.of_groups(is_free), shares, seed, given)
        if next(_lacking(labels, chosen[group_of_row], list(ratios)), None) is None:
            return chosen
    name, sign, subset = next(_lacking(labels, chosen[group_of_row], list(ratios)))
    holding = sides_of(labels[name])[0 if sign == "positive" else 1]
    raise InputError(
        f"split options: balance: {name}",
        found=f"no {sign} image in {subset} ({len(np.unique(group_of_row[holding]))} of {len(place)} groups have any)",
        expected=f"at least one {sign} image of {name} in each of {_listed(ratios)}",
        next_step=f"Add patients with {sign} images, or take {name} out of balance.",
    )


def _lacking(labels: pd.DataFrame, subset_of_row: Codes, subsets: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Label, sign and subset wherever a subset has no positive, or no negative, of a label."""
    for k, subset in enumerate(subsets):
        for name, truth in labels.items():
            for sign, side in zip(("positive", "negative"), sides_of(truth), strict=True):
                if not (side & (subset_of_row == k)).any():
                    yield str(name), sign, subset


def _listed(names: Iterable[str]) -> str:
    """Names as words: a, b and c."""
    *most, last = names
    return f"{', '.join(most)} and {last}"


def check_ratios(ratios: Mapping[str, float]) -> None:
    """Check that there are two subsets or more, each with a share above 0, that sum to 1.

    Raises:
        InputError: If not.
    """
    total = sum(ratios.values())
    if len(ratios) < 2 or min(ratios.values()) <= 0 or abs(total - 1) > 1e-9:
        raise InputError(
            "ratios",
            found=", ".join(f"{name} {share:g}" for name, share in ratios.items()) + f" (sum {total:g})",
            expected="at least two subsets, each with a share above 0, that sum to 1",
            next_step="Change the shares.",
        )


def group_codes(groups: pd.Series) -> tuple[Codes, list[object]]:
    """Number of each row's group in the order of the groups' names, shape (n,), and the names.

    Raises:
        InputError: If a row has no group.
    """
    if groups.isna().any():
        raise InputError(
            f"table: {groups.name}",
            found=f"{groups.isna().sum()} rows without a group, first row {groups.isna().to_numpy().argmax()}",
            expected="a group in every row",
            next_step="Give each of them its patient, or a name of its own where it is tied to no other.",
        )
    codes, names = pd.factorize(groups.astype("str") if groups.dtype == object else groups, sort=True)
    return codes.astype(np.int64), list(names)


def _fixed_groups(fixed: pd.Series, group_of_row: Codes, names: Sequence[object]) -> pd.Series:
    """The subset that each group is fixed to, null for none, by the groups' numbers."""
    known = pd.DataFrame({"group": group_of_row, "subset": fixed.astype("str").to_numpy()}).dropna().drop_duplicates()
    twice = known[known["group"].duplicated(keep=False)].sort_values(["group", "subset"])
    if not twice.empty:
        number = twice["group"].iloc[0]
        raise InputError(
            f"{fixed.name}: group {names[number]}",
            found=f"{_listed(twice.loc[twice['group'] == number, 'subset'])} ({twice['group'].nunique()} such groups)",
            expected="one subset for all rows of a group",
            next_step="Take the group out of all lists but one.",
        )
    return known.set_index("group")["subset"].reindex(range(len(names)))


def truth_of(labels: pd.DataFrame) -> pd.DataFrame:
    """Labels as nullable booleans.

    Raises:
        InputError: If a value is none.
    """
    known = {}
    for name, values in labels.items():
        try:
            known[name] = values.astype("boolean")
        except (TypeError, ValueError) as error:
            raise InputError(
                f"table: {name}",
                found=str(error),
                expected="True, False or null in every row",
                next_step="Make the label a column of booleans.",
            ) from error
    return pd.DataFrame(known, index=labels.index)


def split_table(groups: pd.DataFrame, subsets: NDArray[np.str_]) -> pd.DataFrame:
    """The SPLIT table of n images with their n subsets, none of them dropped."""
    table = groups.assign(subset=subsets, dropped_by=None, reason=None)
    return validate(table, SPLIT, "split table")


def ratios_array(ratios: Ratios) -> Floats:
    """The shares of train, val and test, in this order."""
    return np.array([ratios.train, ratios.val, ratios.test])


def check_same_images(tables: dict[str, pd.DataFrame]) -> None:
    """Check that every table names the same images, each of them once.

    Args:
        tables: Name of the table to the table, which has a column image_id.

    Raises:
        InputError: With the first image that is missing somewhere or stands there twice.
    """
    for name, table in tables.items():
        check_image_ids(table, name)
    (first, reference), *others = tables.items()
    for name, table in others:
        for place, ids, known in (
            (name, reference["image_id"], table["image_id"]),
            (first, table["image_id"], reference["image_id"]),
        ):
            missing = ids[~ids.isin(known)]
            if not missing.empty:
                raise InputError(
                    f"{place}: image_id",
                    found=f"{len(missing)} images missing that {first if place == name else name} has,"
                    f" first {missing.min()!r}",
                    expected="the same images in both",
                    next_step="The tables are of different runs: delete both and run again.",
                )
