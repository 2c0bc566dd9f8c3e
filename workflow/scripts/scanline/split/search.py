"""Search for the subset of every group: simulated annealing on squared relative errors, compiled with numba.

Kirkpatrick, Gelatt & Vecchi, Optimization by simulated annealing, Science 220 (1983) 671-680. A step moves one group to
another subset or swaps two groups; its change of the cost is a sum over the few columns that the groups have, so that
millions of steps a second are tried. Half of the steps start from a random column rather than a random group: the
groups of a rare class are tried as often as those of a common one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

Floats = NDArray[np.float64]
Function = TypeVar("Function", bound=Callable[..., Any])

# On the NIH table (30,805 groups, 30 columns) 8 of 8 seeds then end at the best whole numbers of images and of
# patients; with 2 million steps 2 of 8 leave one patient with the rarest finding in the wrong subset.
STEPS = 4_000_000
STEPS_A_GROUP = 20
SMALL = 2_000  # groups
STEPS_OF_SMALL = 2_000_000
RUNS_OF_SMALL = 4  # runs that share those steps: the best of them is kept
COOLED = 0.8  # share of the steps over which the temperature falls; the rest take gains alone
COLDEST = 1e-5  # the last temperature is at most this share of the first,
IMAGES_LEFT = 50  # and at most the cost of this many squared images too many
MISSING = 1e3  # cost of a subset without any group of a column that needs one
BLOCK = 1_000  # steps at one temperature
LEAST_GAIN = 1e-15


@dataclass(frozen=True)
class Columns:
    """What is to be spread over the subsets.

    Attributes:
        counts: Shape (groups, columns), sparse, whole numbers above 0: how much of a column each group has. Column 0 is
            the number of images, which every group has.
        weights: Shape (columns,), weight of a column's squared relative errors, at least 0.
        needed: Shape (columns,), whether every subset must have some of it.
    """

    counts: csr_array
    weights: Floats
    needed: NDArray[np.bool_]

    def of_groups(self, inside: NDArray[np.bool_]) -> "Columns":
        """The same columns of some of the groups; one may be empty now."""
        return Columns(csr_array(self.counts[np.flatnonzero(inside)]), self.weights, self.needed)


def targets_of(columns: Columns, shares: Floats, given: Floats) -> Floats:
    """What each subset should have, shape (subsets, columns): its share of all that there is.

    Args:
        columns: Of the groups that are to be assigned.
        shares: Shape (subsets,), sum 1.
        given: Shape (subsets, columns): what fixed groups bring.
    """
    total = np.asarray(columns.counts.sum(axis=0)).ravel() + given.sum(axis=0)
    return np.asarray(shares[:, None] * total)


def sums_of(columns: Columns, n_subsets: int, subsets: NDArray[np.int64]) -> Floats:
    """What each subset has, shape (subsets, columns), by the subset of every group."""
    ones = np.ones(len(subsets))
    member = csr_array((ones, (subsets, np.arange(len(subsets)))), shape=(n_subsets, len(subsets)))
    return np.asarray((member @ columns.counts).todense(), dtype=np.float64)


def cost_of(columns: Columns, shares: Floats, given: Floats, subsets: NDArray[np.int64]) -> float:
    """The cost of an assignment: weighted squared relative errors, and MISSING where a needed column is absent.

    Args:
        columns: What is spread.
        shares: Shape (subsets,), above 0, sum 1.
        given: Shape (subsets, columns): what fixed groups bring.
        subsets: Shape (groups,), 0 ... subsets - 1.
    """
    targets = targets_of(columns, shares, given)
    sums = given + sums_of(columns, len(shares), subsets)
    error = float((_weights(columns, targets) * (sums - targets) ** 2).sum())
    return error + MISSING * int((columns.needed & (sums < 0.5)).sum())


def _weights(columns: Columns, targets: Floats) -> Floats:
    return np.divide(columns.weights, targets**2, out=np.zeros_like(targets), where=targets > 0)


def search(columns: Columns, shares: Floats, seed: int, given: Floats | None = None) -> NDArray[np.int64]:
    """Find a subset for every group.

    Args:
        columns: What to spread, of at least one group.
        shares: Shape (subsets,), above 0, sum 1; at least 2.
        seed: Of the steps. All sums are of whole numbers and the random numbers are this module's own, so that the
            same seed gives the same result.
        given: Shape (subsets, columns): what groups that are fixed bring; None for none.

    Returns:
        Shape (groups,), int64, 0 ... subsets - 1.
    """
    n_groups, n_columns = columns.counts.shape
    given = np.zeros((len(shares), n_columns)) if given is None else given
    targets = targets_of(columns, shares, given)
    weights = _weights(columns, targets)
    by_group, by_column = csr_array(columns.counts), csc_array(columns.counts)
    by_group.sort_indices()
    sizes = np.asarray(by_group[:, [0]].todense(), dtype=np.float64).ravel()
    hottest = float(weights.max())
    coldest = min(COLDEST * hottest, IMAGES_LEFT * float(weights[:, 0].min()))
    runs, steps = (RUNS_OF_SMALL, STEPS_OF_SMALL) if n_groups <= SMALL else (1, STEPS)
    rng = np.random.default_rng(seed)
    ends = []
    for _ in range(runs):
        subsets = _start(sizes, targets[:, 0] - given[:, 0], rng)
        _anneal(
            by_group.indptr.astype(np.int64),
            by_group.indices.astype(np.int64),
            by_group.data.astype(np.float64),
            by_column.indptr.astype(np.int64),
            by_column.indices.astype(np.int64),
            np.flatnonzero(np.diff(by_column.indptr)),
            columns.needed,
            subsets,
            given + sums_of(columns, len(shares), subsets),
            targets,
            weights,
            rng.integers(1, 2**63, size=1, dtype=np.uint64),
            (steps + STEPS_A_GROUP * n_groups) // runs,
            hottest,
            coldest,
        )
        ends.append((cost_of(columns, shares, given, subsets), subsets))
    return min(ends, key=lambda end: end[0])[1]


def _start(sizes: Floats, rooms: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Groups in random order, cut where the images that each subset still has room for are reached."""
    order = rng.permutation(len(sizes))
    middle = (np.cumsum(sizes[order]) - sizes[order] / 2) / sizes.sum()
    rooms = np.maximum(rooms, 0) / max(np.maximum(rooms, 0).sum(), 1e-9)
    subsets = np.empty(len(sizes), dtype=np.int64)
    subsets[order] = np.searchsorted(np.cumsum(rooms)[:-1], middle, side="right")
    return subsets


def _compiled(function: Function) -> Function:
    return cast(Function, numba.njit(nogil=True, error_model="numpy")(function))


@_compiled
def _draw(state: Any, n: int) -> Any:
    """A whole number below n: xorshift64* (Vigna, ACM TOMS 42 (2016) 30), whose state is `state[0]`."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return np.int64(((x * np.uint64(2685821657736338717)) >> np.uint64(33)) % np.uint64(n))


@_compiled
def _change(one: int, other: int, column: int, given: float, sums: Any, targets: Any, weights: Any, needed: Any) -> Any:
    """Change of the cost when subset `one` gives `given` of a column to `other`."""
    before_one, before_other = sums[one, column], sums[other, column]
    error_one, error_other = before_one - targets[one, column], before_other - targets[other, column]
    change = weights[one, column] * given * (given - 2 * error_one)
    change += weights[other, column] * given * (given + 2 * error_other)
    if needed[column]:
        change += MISSING * ((before_one - given < 0.5) - (before_one < 0.5))
        change += MISSING * ((before_other + given < 0.5) - (before_other < 0.5))
    return change


@_compiled
def _change_of_move(
    first: Any,
    columns: Any,
    counts: Any,
    group: int,
    one: int,
    other: int,
    sums: Any,
    targets: Any,
    weights: Any,
    needed: Any,
) -> Any:
    change = 0.0
    for p in range(first[group], first[group + 1]):
        change += _change(one, other, columns[p], counts[p], sums, targets, weights, needed)
    return change


@_compiled
def _change_of_swap(
    first: Any,
    columns: Any,
    counts: Any,
    mine: int,
    theirs: int,
    one: int,
    other: int,
    sums: Any,
    targets: Any,
    weights: Any,
    needed: Any,
) -> Any:
    """Both groups' columns are in rising order: merged, so that what both have cancels."""
    change = 0.0
    p, q = first[mine], first[theirs]
    p_end, q_end = first[mine + 1], first[theirs + 1]
    while p < p_end or q < q_end:
        if q == q_end or (p < p_end and columns[p] < columns[q]):
            column, given = columns[p], counts[p]
            p += 1
        elif p == p_end or columns[q] < columns[p]:
            column, given = columns[q], -counts[q]
            q += 1
        else:
            column, given = columns[p], counts[p] - counts[q]
            p += 1
            q += 1
        if given != 0:
            change += _change(one, other, column, given, sums, targets, weights, needed)
    return change


@_compiled
def _move(first: Any, columns: Any, counts: Any, group: int, one: int, other: int, sums: Any, subsets: Any) -> None:
    for p in range(first[group], first[group + 1]):
        sums[one, columns[p]] -= counts[p]
        sums[other, columns[p]] += counts[p]
    subsets[group] = other


@_compiled
def _anneal(
    first: Any,
    columns: Any,
    counts: Any,
    column_first: Any,
    holders: Any,
    held: Any,
    needed: Any,
    subsets: Any,
    sums: Any,
    targets: Any,
    weights: Any,
    state: Any,
    steps: int,
    hottest: float,
    coldest: float,
) -> None:
    """Try `steps` moves and swaps; `subsets` and `sums` are changed in place.

    Args:
        first: Shape (groups + 1,): where each group's columns and counts begin.
        columns: Columns of the groups, rising within a group.
        counts: How much of them a group has.
        column_first: Shape (columns + 1,): where each column's holders begin.
        holders: Groups that have any of a column.
        held: Columns that any group has.
        needed: Shape (columns,).
        subsets: Shape (groups,).
        sums: Shape (subsets, columns), what each subset has.
        targets: Shape (subsets, columns).
        weights: Shape (subsets, columns), of a squared error.
        state: Shape (1,), uint64, of the random numbers; not 0.
        steps: How many.
        hottest: First temperature, as a change of the cost.
        coldest: Last temperature.
    """
    n_groups, n_subsets = len(subsets), len(sums)
    cooled = int(COOLED * steps)
    factor = (coldest / hottest) ** (BLOCK / cooled)
    temperature = hottest
    for step in range(steps):
        if step % BLOCK == 0:
            temperature = temperature * factor if step < cooled else 0.0
        column = -1
        mine = _draw(state, n_groups)
        if _draw(state, 2) == 0:
            column = held[_draw(state, len(held))]
            mine = holders[column_first[column] + _draw(state, column_first[column + 1] - column_first[column])]
        one = subsets[mine]
        theirs = -1
        if _draw(state, 3) == 0:
            other = _draw(state, n_subsets)
            if other == one:
                continue
            change = _change_of_move(first, columns, counts, mine, one, other, sums, targets, weights, needed)
        else:
            theirs = _draw(state, n_groups)
            if column >= 0 and _draw(state, 2) == 0:
                theirs = holders[column_first[column] + _draw(state, column_first[column + 1] - column_first[column])]
            other = subsets[theirs]
            if other == one:
                continue
            change = _change_of_swap(first, columns, counts, mine, theirs, one, other, sums, targets, weights, needed)
        taken = change < -LEAST_GAIN
        if not taken and temperature > 0 and change < 20 * temperature:
            taken = _draw(state, 1 << 30) / (1 << 30) < np.exp(-change / temperature)
        if taken:
            _move(first, columns, counts, mine, one, other, sums, subsets)
            if theirs >= 0:
                _move(first, columns, counts, theirs, other, one, sums, subsets)
