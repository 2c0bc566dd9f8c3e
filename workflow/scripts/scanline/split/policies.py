"""Balancing of classes within a subset: images are dropped or repeated there, never moved."""

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.tables import SUBSETS
from scanline.split.columns import sides_of
from scanline.split.options import (
    NO_CLASS,
    WITHOUT,
    Keep,
    NegativeShare,
    Oversample,
    PoliciesOfSubsets,
    Undersample,
)

DROPPING = ("undersample", "negative_share", "slice_range")
Bools = NDArray[np.bool_]


def images_of_kind(labels: pd.DataFrame, kind: str) -> Bools:
    """Which images are of a kind: a class, `not <class>`, or none; unknown is neither.

    Args:
        labels: n rows of nullable booleans, one column a class; image_id is passed over.
        kind: As `scanline.split.options` spells it.

    Returns:
        Shape (n,).

    Raises:
        InputError: If there is no such class.
    """
    truth = labels.drop(columns="image_id", errors="ignore")
    if kind == NO_CLASS:
        return np.asarray(np.logical_and.reduce([sides_of(truth[name])[1] for name in truth]), dtype=bool)
    name = kind.removeprefix(WITHOUT)
    if name not in truth:
        raise InputError(
            "split options: policies",
            found=repr(kind),
            expected=f"{NO_CLASS}, or one of {', '.join(map(str, truth.columns))}, alone or after '{WITHOUT}'",
            next_step="Name a class of the study's labels.",
        )
    return sides_of(truth[name])[1 if kind.startswith(WITHOUT) else 0]


def balanced_columns(labels: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The columns that a split is balanced by.

    Args:
        labels: n rows of nullable booleans, one column a class; image_id is passed over.
        names: Classes, and NO_CLASS: true of an image that is known to be without every class, false of one with any,
            null of others.

    Returns:
        n rows with the index of `labels`, one column a name.
    """
    truth = labels.drop(columns="image_id", errors="ignore").astype("boolean")
    without = ~reduce(or_, (truth[name] for name in truth))  # Kleene's: unknown or true is true
    return pd.DataFrame({name: without if name == NO_CLASS else truth[name] for name in names}, index=labels.index)


def apply_policies(split: pd.DataFrame, labels: pd.DataFrame, policies: PoliciesOfSubsets, seed: int) -> pd.DataFrame:
    """Balance classes in each subset that has a policy, by itself.

    What is dropped is drawn at random from the images in the order of their ids; each subset has random numbers of its
    own, so that a policy of one changes nothing in another.

    Args:
        split: SPLIT table of n rows; rows with dropped_by are left as they are.
        labels: Labels table of the same images.
        policies: By subset.
        seed: Of what is drawn.

    Returns:
        The table sorted by image_id, with dropped_by (the policy's method) and reason where an image was dropped, and
        with a column `copies` where a policy oversamples: how often an image is drawn in an epoch, null for once.

    Raises:
        InputError: If a class is unknown, or a subset has too few images for its policy.
    """
    split = split.sort_values("image_id", ignore_index=True)
    labels = labels.set_index("image_id").loc[split["image_id"]].reset_index()
    split = split.astype({"dropped_by": "str", "reason": "str"})
    if any(policy.method == "oversample" for policy in policies.values()):
        split["copies"] = pd.array([pd.NA] * len(split), dtype="Int64")
    for subset, policy in policies.items():
        inside = (split["subset"].eq(subset) & split["dropped_by"].isna()).to_numpy()
        rng = np.random.default_rng([seed, SUBSETS.index(subset)])
        match policy:
            case Undersample():
                dropped, reason = _undersample(inside, labels, policy, subset, rng)
            case NegativeShare():
                dropped, reason = _reach_share(inside, labels, policy, subset, rng)
            case Oversample():
                rows, copies = _oversample(inside, labels, policy, rng)
                split.loc[rows, "copies"] = copies
                continue
            case Keep():
                continue
        split.loc[dropped, "dropped_by"] = policy.method
        split.loc[dropped, "reason"] = reason
    return split


def _undersample(
    inside: Bools, labels: pd.DataFrame, policy: Undersample, subset: str, rng: np.random.Generator
) -> tuple[NDArray[np.int64], str]:
    """Rows to drop, and why."""
    many, few = inside & images_of_kind(labels, policy.reduce), inside & images_of_kind(labels, policy.against)
    surplus = int(many.sum()) - int(np.floor(policy.ratio * few.sum() + 1e-9))
    able = np.flatnonzero(many & ~few)
    if surplus > len(able) or (surplus > 0 and surplus == many.sum()):
        raise InputError(
            f"split options: policies.{subset}",
            found=f"{many.sum()} images of {policy.reduce!r}, {len(able)} of them not {policy.against!r} as well, and"
            f" {few.sum()} of {policy.against!r}",
            expected=f"a ratio of {policy.ratio:g} that leaves some and drops no image that is both",
            next_step="Raise the ratio, or balance other classes.",
        )
    reason = f"undersample: at most {policy.ratio:g} of {policy.reduce!r} for each of {policy.against!r}"
    return rng.choice(able, max(surplus, 0), replace=False), reason


def _reach_share(
    inside: Bools, labels: pd.DataFrame, policy: NegativeShare, subset: str, rng: np.random.Generator
) -> tuple[NDArray[np.int64], str]:
    """Rows to drop, and why. n negatives at a share s go with n (1 - s) / s positives."""
    negative, positive = _sides(inside, labels, policy)
    n_negative, n_positive = int(negative.sum()), int(positive.sum())
    reason = f"negative_share: {policy.share:g} of {policy.negatives!r}"
    n_known = n_negative + n_positive
    if n_known and abs(n_negative / n_known - policy.share) <= policy.tolerance:
        return np.empty(0, dtype=np.int64), reason
    odds = policy.share / (1 - policy.share)
    if n_negative > odds * n_positive:
        side, left, other = negative, round(odds * n_positive), n_positive
    else:
        side, left, other = positive, round(n_negative / odds), n_negative
    reached = (left if side is negative else other) / max(left + other, 1)
    if left == 0 or other == 0 or abs(reached - policy.share) > policy.tolerance + 1e-12:
        raise InputError(
            f"split options: policies.{subset}",
            found=f"{n_negative} images of {policy.negatives!r} and {n_positive} others of known label, of which a"
            f" share of {reached:.4g} is the nearest",
            expected=f"{policy.share:g}, within {policy.tolerance:g}",
            next_step="Raise the tolerance, or choose another share.",
        )
    rows = np.flatnonzero(side)
    return rng.choice(rows, len(rows) - left, replace=False), reason


def _sides(inside: Bools, labels: pd.DataFrame, policy: NegativeShare) -> tuple[Bools, Bools]:
    """Negatives and positives of a target share."""
    negative = inside & images_of_kind(labels, policy.negatives)
    truth = labels.drop(columns="image_id", errors="ignore")
    named = list(truth) if policy.negatives == NO_CLASS else [policy.negatives.removeprefix(WITHOUT)]
    return negative, inside & np.logical_or.reduce([sides_of(truth[name])[0] for name in named])


def _oversample(
    inside: Bools, labels: pd.DataFrame, policy: Oversample, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to repeat, and how often each is drawn: as evenly as can be, the odd ones at random."""
    few, many = inside & images_of_kind(labels, policy.increase), inside & images_of_kind(labels, policy.against)
    missing = int(np.ceil(policy.ratio * many.sum() - 1e-9)) - int(few.sum())
    able = np.flatnonzero(few & ~many)
    if missing > 0 and not len(able):
        raise InputError(
            "split options: policies.train",
            found=f"no image of {policy.increase!r} that is not {policy.against!r} as well",
            expected="at least one to repeat",
            next_step="Balance other classes.",
        )
    if missing <= 0:
        return able[:0], able[:0]
    copies = np.full(len(able), 1 + missing // len(able))
    copies[rng.permutation(len(able))[: missing % len(able)]] += 1
    return able[copies > 1], copies[copies > 1]


def count_policies(split: pd.DataFrame, labels: pd.DataFrame, policies: PoliciesOfSubsets) -> dict[str, Any]:
    """What each policy left, counted in the split table itself.

    Args:
        split: SPLIT table.
        labels: Labels table of the same images.
        policies: By subset.

    Returns:
        Subset to {"method", "dropped", "repeated" (images drawn more than once), "counts": {kind: draws an epoch}, and
        "ratio" (of the two kinds) or "share" (of negatives); null where a kind is empty}.
    """
    labels = labels.set_index("image_id").loc[split["image_id"]].reset_index()
    copies = split["copies"].fillna(1).to_numpy(dtype=int) if "copies" in split else np.ones(len(split), dtype=int)
    found: dict[str, Any] = {}
    for subset, policy in policies.items():
        inside = split["subset"].eq(subset).to_numpy()
        kept = inside & split["dropped_by"].isna().to_numpy()
        entry: dict[str, Any] = {
            "method": policy.method,
            "dropped": int((inside & split["dropped_by"].eq(policy.method).to_numpy()).sum()),
            "repeated": int((kept & (copies > 1)).sum()),
        }
        if isinstance(policy, NegativeShare):
            negative, positive = (int(side.sum()) for side in _sides(kept, labels, policy))
            entry["counts"] = {"negative": negative, "positive": positive}
            entry["share"] = negative / (negative + positive) if negative + positive else None
        elif not isinstance(policy, Keep):
            kinds = (policy.reduce if isinstance(policy, Undersample) else policy.increase, policy.against)
            counts = [int(copies[kept & images_of_kind(labels, kind)].sum()) for kind in kinds]
            entry["counts"] = dict(zip(kinds, counts, strict=True))
            entry["ratio"] = counts[0] / counts[1] if counts[1] else None
        found[subset] = entry
    return found
