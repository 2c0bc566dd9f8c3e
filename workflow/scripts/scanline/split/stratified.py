"""Whole groups dealt out by number: those with a class and those without it, each by the same ratios."""

import math

import numpy as np
import pandas as pd

from scanline.core.errors import InputError
from scanline.split.options import Ratios, StratifiedSplit

KINDS = ("with", "without", "unknown")
SUBSETS = ("train", "val", "test")


def sizes_of(number: int, ratios: Ratios) -> tuple[int, int, int]:
    """How many of some groups go to train, val and test: train and val rounded, halves up, and test what is left.

    93 groups at 70/15/15 are 65, 14 and 14, and 457 are 320, 69 and 68: the meniscus study's numbers.
    """
    train = min(math.floor(number * ratios.train + 0.5), number)
    val = min(math.floor(number * ratios.val + 0.5), number - train)
    return train, val, number - train - val


def kinds_of_groups(groups: pd.Series, label: pd.Series) -> pd.Series:
    """The kind of each group.

    Args:
        groups: Group of each image.
        label: Nullable booleans of the same images.

    Returns:
        By group, sorted: `with` if any of its images is known to show the class, `without` if all are known not to,
        else `unknown`.
    """
    truth = pd.DataFrame({"group": groups.to_numpy(), "truth": label.astype("boolean").array})
    by_group = truth.groupby("group", sort=True)["truth"]
    shown, known = by_group.any(), by_group.count() == by_group.size()
    return pd.Series(np.where(shown, "with", np.where(known, "without", "unknown")), index=shown.index)


def deal_groups(groups: pd.Series, label: pd.Series, options: StratifiedSplit) -> pd.Series:
    """Deal whole groups out to train, val and test.

    Each kind is shuffled in the order of its groups' names by random numbers of its own, so that groups added to one
    kind move none of another.

    Args:
        groups: Group of each image.
        label: Nullable booleans of the same images: the class to stratify by.
        options: Ratios and seed.

    Returns:
        Subset by group.

    Raises:
        InputError: If groups with or without the class are too few for each subset to have one.
    """
    kinds = kinds_of_groups(groups, label)
    dealt = pd.Series(index=kinds.index, dtype="str")
    for place, kind in enumerate(KINDS):
        names = kinds.index[kinds == kind].to_numpy(dtype=object)
        sizes = sizes_of(len(names), options.ratios)
        if kind != "unknown" and min(sizes) == 0:
            raise InputError(
                f"split options: stratify_by: {options.stratify_by}",
                found=f"{len(names)} groups {kind} it: {', '.join(map(str, sizes))} for {', '.join(SUBSETS)}",
                expected="at least one group of each kind in each subset",
                next_step="Add volumes, or change the ratios.",
            )
        shuffled = np.random.default_rng([options.seed, place]).permutation(names)
        dealt[shuffled] = np.repeat(np.array(SUBSETS, dtype=object), sizes)
    return dealt
