"""The gate: proof that no key is shared across subsets, or the pairs that leak.

It reads the keys from the images table and the thumbnails themselves and trusts the groups table no further than to
check it as well.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from scanline.core.errors import InputError
from scanline.core.tables import SPLIT, SUBSETS, validate
from scanline.split.assign import ASSIGNED, check_same_images
from scanline.split.keys import KINDS, tie_keys
from scanline.split.near_duplicates import CORRELATION, nearest_across
from scanline.split.options import Ratios
from scanline.split.receipt import count_subsets

FORBIDDEN = (*KINDS, "group_id")
INFORMATION = ("phash",)
LISTED = 3
NEAREST = 12


class LeakError(InputError):
    """A split whose subsets share what must not be parted."""


@dataclass(frozen=True)
class Leak:
    """How one kind of key is shared across subsets.

    Attributes:
        kind: patient_id, volume_id, sibling, sha256, near_duplicate, group_id or phash.
        compared: Number of images that could be compared: whose key is known, for sibling all, for near_duplicate
            those with a thumbnail.
        shared: Number of keys that stand in more than one subset.
        test_images: Number of test images whose key stands in train too.
        test_images_share: The same as a share of all test images; null where there are none.
        pairs: For the first shared keys one image of each of two subsets, as text.
    """

    kind: str
    compared: int
    shared: int
    test_images: int
    test_images_share: float | None
    pairs: tuple[str, ...]


def find_leaks(
    images: pd.DataFrame, groups: pd.DataFrame, split: pd.DataFrame, thumbnails: pd.DataFrame | None = None
) -> dict[str, Leak]:
    """Find every key that stands in more than one subset.

    Keys are compared as in `scanline.split.keys`: nulls and blank images never tie. An equal perceptual hash
    of informative images is counted too, but only as information: two heads may well look alike.

    Args:
        images: IMAGES table of n images.
        groups: GROUPS table of the same images.
        split: SPLIT table of the same images; dropped images count in the subset that they were dropped from.
        thumbnails: THUMBNAILS table of the images that have a phash; without it no near-duplicate is found.

    Returns:
        Kind to its leaks, for every kind, also where nothing leaks.
    """
    keys = tie_keys(images, thumbnails).assign(phash=images["phash"], image_id=images["image_id"])
    rows = keys.merge(groups, on="image_id").merge(split[["image_id", "subset"]], on="image_id")
    rows = rows.sort_values("image_id", ignore_index=True)
    compared = {kind: int(rows[kind].notna().sum()) for kind in (*FORBIDDEN, *INFORMATION)}
    compared |= {"sibling": len(rows), "near_duplicate": 0 if thumbnails is None else len(thumbnails)}
    return {kind: _leak(rows, kind, count) for kind, count in compared.items()}


def _leak(rows: pd.DataFrame, kind: str, compared: int) -> Leak:
    known = rows[rows[kind].notna()]
    n_subsets = known.groupby(kind)["subset"].transform("nunique")
    leaking = known[n_subsets > 1]
    in_train = known.loc[known["subset"] == "train", kind]
    n_test = int((rows["subset"] == "test").sum())
    n_leaking = int((known.loc[known["subset"] == "test", kind].isin(in_train)).sum())
    return Leak(
        kind=kind,
        compared=compared,
        shared=int(leaking[kind].nunique()),
        test_images=n_leaking,
        test_images_share=n_leaking / n_test if n_test else None,
        pairs=_pairs(leaking, kind),
    )


def _pairs(leaking: pd.DataFrame, kind: str) -> tuple[str, ...]:
    """One image of each of two subsets for the first few keys, in the order of the keys."""
    pairs: list[str] = []
    for key, rows in leaking.groupby(kind):
        if len(pairs) == LISTED:
            break
        first = rows.groupby("subset")["image_id"].min()
        one, other = [name for name in SUBSETS if name in first.index][:2]
        pairs.append(f"{kind} {key}: {first[one]} in {one}, {first[other]} in {other}")
    return tuple(pairs)


def verify_split(
    images: pd.DataFrame,
    groups: pd.DataFrame,
    labels: pd.DataFrame,
    split: pd.DataFrame,
    ratios: Ratios | None = None,
    thumbnails: pd.DataFrame | None = None,
    protocol: str = "grouped",
) -> dict[str, Any]:
    """The gate of a split that must not leak: check that it parts nothing, and count what it holds.

    Args:
        images: IMAGES table of n images.
        groups: GROUPS table of the same images.
        labels: Labels table of the same images.
        split: SPLIT table of the same images.
        ratios: Target shares, written to the receipt.
        thumbnails: THUMBNAILS table of the images that have a phash; without it no near-duplicate is found, and
            the receipt says that none was compared.
        protocol: How the split was made, written to the receipt.

    Returns:
        The receipt: {"protocol", "leak_free", "compared_thumbnails", "near_duplicate_correlation" (from which on a
        pair of them is a near-duplicate), "nearest_pairs" (the 12 most alike of different
        subsets, see `nearest_across`), "subsets" (see `count_subsets`), "leaks": {kind: {"compared" (images whose
        key is known), "shared", "test_images", "test_images_share"}}}. `compared_thumbnails` is the number of images
        among which near-duplicates were looked for. `leaks` holds zeros but for phash, which is information, and for
        what was compared.

    Raises:
        LeakError: If subsets share a patient, volume, original, informative file, near-duplicate or group; with the
            first pairs.
        InputError: If the tables or thumbnails name different images or groups, an image has no subset, or one of
            train, val and test is empty.
    """
    receipt, leaks = _examine(images, groups, labels, split, protocol, ratios, thumbnails)
    found = [leaks[kind] for kind in FORBIDDEN if leaks[kind].shared]
    if found:
        raise LeakError(
            "split table",
            found="; ".join(f"{leak.shared} shared {leak.kind} ({'; '.join(leak.pairs)})" for leak in found),
            expected="no patient, volume, sibling, identical file, near-duplicate or group in two subsets",
            next_step="Delete the groups and split tables and make them again.",
        )
    return receipt


def count_naive_leaks(
    images: pd.DataFrame,
    groups: pd.DataFrame,
    labels: pd.DataFrame,
    split: pd.DataFrame,
    ratios: Ratios | None = None,
    thumbnails: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """The receipt of a naive split: the same counts as the gate's, with its leaks counted instead of refused.

    `leak_free` says what was found: false unless, by chance or because no images belong together, nothing
    leaks.

    Args:
        images: IMAGES table of n images.
        groups: GROUPS table of the same images.
        labels: Labels table of the same images.
        split: SPLIT table of the same images.
        ratios: Target shares, written to the receipt.
        thumbnails: As `verify_split`.

    Returns:
        A receipt as of `verify_split`, protocol naive_image.

    Raises:
        InputError: As `verify_split`, but for leaks.
    """
    receipt, _ = _examine(images, groups, labels, split, "naive_image", ratios, thumbnails)
    return receipt


def _examine(
    images: pd.DataFrame,
    groups: pd.DataFrame,
    labels: pd.DataFrame,
    split: pd.DataFrame,
    protocol: str,
    ratios: Ratios | None,
    thumbnails: pd.DataFrame | None,
) -> tuple[dict[str, Any], dict[str, Leak]]:
    _check_subsets(split)
    check_same_images({"images table": images, "groups table": groups, "labels table": labels, "split table": split})
    _check_same_groups(groups, split)
    leaks = find_leaks(images, groups, split, thumbnails)
    receipt = {
        "protocol": protocol,
        "leak_free": not any(leaks[kind].shared for kind in FORBIDDEN),
        "compared_thumbnails": 0 if thumbnails is None else len(thumbnails),
        "near_duplicate_correlation": CORRELATION,
        "nearest_pairs": [] if thumbnails is None else nearest_across(images, thumbnails, split, NEAREST),
        "subsets": count_subsets(images, labels, split, ratios),
        "leaks": {
            kind: {
                "compared": leak.compared,
                "shared": leak.shared,
                "test_images": leak.test_images,
                "test_images_share": leak.test_images_share,
            }
            for kind, leak in leaks.items()
        },
    }
    return receipt, leaks


def _check_subsets(split: pd.DataFrame) -> None:
    validate(split, SPLIT, "split table")
    empty = [name for name in ASSIGNED if not (split["subset"].eq(name) & split["dropped_by"].isna()).any()]
    if empty:
        raise InputError(
            "split table: subset",
            found=f"no image in {', '.join(empty)}",
            expected="images in each of train, val and test",
            next_step="Delete the split table and make it again.",
        )


def _check_same_groups(groups: pd.DataFrame, split: pd.DataFrame) -> None:
    both = groups.merge(split, on="image_id", suffixes=("", "_of_split"))
    other = both[both["group_id"] != both["group_id_of_split"]]
    if not other.empty:
        first = other.sort_values("image_id").iloc[0]
        raise InputError(
            f"split table: group_id of {first['image_id']}",
            found=repr(first["group_id_of_split"]),
            expected=f"{first['group_id']!r} as in the groups table",
            next_step="The split is of other groups: delete the split table and make it again.",
        )
