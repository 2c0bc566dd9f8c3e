"""Assignment of whole groups to subsets, sizes and prevalences brought close to target by a local search."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.tables import SPLIT, validate
from scanline.split.groups import check_image_ids
from scanline.split.options import GroupedSplit, Ratios

ASSIGNED = ("train", "val", "test")

_RESTARTS = 16
_RESTARTS_OF_LARGE = 4
_LARGE = 2_000
_SWAP_CANDIDATES = 256
_MOST_STEPS = 2_000
_MISSING = 1e6
_LEAST_GAIN = 1e-12

Floats = NDArray[np.float64]


def assign_grouped(groups: pd.DataFrame, labels: pd.DataFrame, options: GroupedSplit) -> pd.DataFrame:
    """Assign whole groups to train, val and test.

    The squared relative error of every subset's number of images and, for every class of `options.balance`,
    of its positives and negatives is brought to a local minimum by moving one group or swapping two, the best
    such step at a time, from several random starts; the best end is kept. Unknown labels count for the size
    only. A subset without a group, without a positive or a negative of some class costs more than any error
    of size.

    The result depends on the seed and on the tables' contents, not on the order of their rows.

    Args:
        groups: GROUPS table of n images.
        labels: Labels table of the same n images, nullable booleans.
        options: Ratios, classes to balance and seed.

    Returns:
        SPLIT table of n rows, sorted by image_id; nothing is dropped.

    Raises:
        InputError: If the tables name different images, a class is no column, there are fewer than 3 groups,
            or a subset would be without positives or negatives of a class.
    """
    check_same_images({"groups table": groups, "labels table": labels})
    _check_balance(labels, options.balance)
    groups = groups.sort_values("image_id", ignore_index=True)
    labels = labels.set_index("image_id").loc[groups["image_id"]].reset_index()
    names, group_of_image = np.unique(groups["group_id"].to_numpy(dtype=str), return_inverse=True)
    if len(names) < len(ASSIGNED):
        raise InputError(
            "groups table",
            found=f"{len(names)} groups",
            expected="at least 3, one each for train, val and test",
            next_step="Add patients, or see in the groups table what ties these images.",
        )
    counts = _count(group_of_image, labels, options.balance, len(names))
    subset_of_group = search(counts, ratios_array(options.ratios), options.seed)
    _check_labels(counts, subset_of_group, options.balance)
    subsets = np.array(ASSIGNED)[subset_of_group][group_of_image]
    return split_table(groups, subsets)


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


def _check_balance(labels: pd.DataFrame, balance: tuple[str, ...]) -> None:
    classes = [name for name in labels.columns if name != "image_id"]
    for name in balance:
        if name not in classes:
            raise InputError(
                "split options: balance",
                found=repr(name),
                expected=f"one of {', '.join(classes)}",
                next_step="Name a class of the study's labels.",
            )


def _count(group_of_image: NDArray[np.intp], labels: pd.DataFrame, balance: tuple[str, ...], n_groups: int) -> Floats:
    """Images, then positives and negatives of each class: (n_groups, 1 + 2 x classes) counts."""
    columns = [np.ones(len(labels))]
    for name in balance:
        truth = labels[name].astype("boolean")
        for value in (True, False):
            columns.append(truth.eq(value).fillna(False).to_numpy().astype(np.float64))
    return np.stack([np.bincount(group_of_image, column, n_groups) for column in columns], axis=1)


def _check_labels(counts: Floats, subset_of_group: NDArray[np.intp], balance: tuple[str, ...]) -> None:
    for index, subset in enumerate(ASSIGNED):
        held = counts[subset_of_group == index].sum(axis=0)
        for column, (name, sign) in enumerate(((n, s) for n in balance for s in ("positive", "negative")), 1):
            if held[column] == 0:
                n_groups = int((counts[:, column] > 0).sum())
                raise InputError(
                    f"split options: balance: {name}",
                    found=f"no {sign} image in {subset} ({n_groups} of {len(counts)} groups have any)",
                    expected=f"at least one {sign} image of {name} in each of train, val and test",
                    next_step=f"Add patients with {sign} images, or take {name} out of balance.",
                )


@dataclass(frozen=True)
class _Problem:
    """What the search works on.

    Attributes:
        counts: (groups, columns) numbers of images, positives, negatives; columns without any are left out.
        held: (groups, columns) 1.0 where a group has any of a column, else 0.0.
        targets: (3, columns) numbers that each subset should have.
    """

    counts: Floats
    held: Floats
    targets: Floats

    def cost(self, subset_of_group: NDArray[np.intp]) -> float:
        """Squared relative error over subsets and columns, plus a large cost for each that is empty."""
        sums, holders = self.totals(subset_of_group)
        return float((((sums - self.targets) / self.targets) ** 2).sum() + _MISSING * (holders == 0).sum())

    def totals(self, subset_of_group: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Sums of counts, and numbers of groups that hold any, each (3, columns)."""
        member = (subset_of_group == np.arange(len(ASSIGNED))[:, None]).astype(float)
        return member @ self.counts, member @ self.held


def search(counts: Floats, ratios: Floats, seed: int) -> NDArray[np.intp]:
    """Find a subset for every group by steepest descent from several seeded random starts.

    Args:
        counts: (groups, columns) non-negative numbers; column 0 is the number of images, all above 0.
        ratios: (3,) shares that sum to 1.
        seed: Seed of the starts, and of the candidates for swaps in studies of many groups.

    Returns:
        (groups,) numbers of the subsets, 0 to 2.
    """
    counts = counts[:, counts.sum(axis=0) > 0]
    problem = _Problem(counts, (counts > 0).astype(float), ratios[:, None] * counts.sum(axis=0))
    rng = np.random.default_rng(seed)
    ends = []
    for _ in range(_RESTARTS if len(counts) <= _LARGE else _RESTARTS_OF_LARGE):
        subset_of_group = _random_start(counts[:, 0], ratios, rng)
        _descend(problem, subset_of_group, rng)
        ends.append((problem.cost(subset_of_group), subset_of_group))
    return min(ends, key=lambda end: end[0])[1]


def _random_start(sizes: Floats, ratios: Floats, rng: np.random.Generator) -> NDArray[np.intp]:
    """Groups in random order, cut where the shares of the images are reached."""
    order = rng.permutation(len(sizes))
    middle = (np.cumsum(sizes[order]) - sizes[order] / 2) / sizes.sum()
    subset_of_group = np.empty(len(sizes), dtype=np.intp)
    subset_of_group[order] = np.searchsorted(np.cumsum(ratios)[:-1], middle, side="right")
    return subset_of_group


def _descend(problem: _Problem, subset_of_group: NDArray[np.intp], rng: np.random.Generator) -> None:
    """Take the best move or swap, in place, until none gains anything."""
    for _ in range(_MOST_STEPS):
        sums, holders = problem.totals(subset_of_group)
        best_gain, best_step = -_LEAST_GAIN, None
        for one in range(len(ASSIGNED)):
            for other in range(len(ASSIGNED)):
                if one == other:
                    continue
                givers = _candidates(subset_of_group, one, rng)
                takers = _candidates(subset_of_group, other, rng) if one < other else givers[:0]
                change = _changes(problem, sums, holders, one, other, givers, takers)
                if change.size and change.min() < best_gain:
                    row, column = np.unravel_index(change.argmin(), change.shape)
                    best_gain = float(change[row, column])
                    best_step = (one, other, givers[row], takers[column - 1] if column else None)
        if best_step is None:
            return
        one, other, given, taken = best_step
        subset_of_group[given] = other
        if taken is not None:
            subset_of_group[taken] = one


def _candidates(subset_of_group: NDArray[np.intp], subset: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """The groups of a subset, or a random choice of them where they are many."""
    members = np.flatnonzero(subset_of_group == subset)
    if len(members) <= _SWAP_CANDIDATES:
        return members
    return np.sort(rng.choice(members, _SWAP_CANDIDATES, replace=False))


def _changes(
    problem: _Problem,
    sums: Floats,
    holders: Floats,
    one: int,
    other: int,
    givers: NDArray[np.intp],
    takers: NDArray[np.intp],
) -> Floats:
    """Change of the cost when `one` gives a group to `other`, alone or for one of `takers`.

    With d = what `one` loses and e = (sums - targets) / targets^2, the error changes by
    sum(d^2 / targets^2 - 2 d e) in `one` and by sum(d^2 / targets^2 + 2 d e) in `other`; d = f_i - f_j makes
    the square a matrix product, so all pairs are found at once.

    Returns:
        (givers, 1 + takers): column 0 is the move alone, column j + 1 the swap with taker j.
    """
    weight = 1 / problem.targets[one] ** 2 + 1 / problem.targets[other] ** 2
    slope = 2 * (
        (sums[other] - problem.targets[other]) / problem.targets[other] ** 2
        - (sums[one] - problem.targets[one]) / problem.targets[one] ** 2
    )
    given, taken = problem.counts[givers], problem.counts[takers]
    lone = given**2 @ weight + given @ slope
    back = taken**2 @ weight - taken @ slope
    error = np.column_stack([lone, lone[:, None] + back - 2 * (given * weight) @ taken.T])
    has, gets = problem.held[givers], problem.held[takers]
    nothing = np.zeros((1, has.shape[1]))
    gets = np.vstack([nothing, gets])
    emptied_one = ((holders[one] == has).astype(float)) @ (1 - gets).T
    emptied_other = (1 - has) @ (holders[other] == gets).astype(float).T
    emptied: Floats = emptied_one + emptied_other - (holders[[one, other]] == 0).sum()
    return error + _MISSING * emptied
