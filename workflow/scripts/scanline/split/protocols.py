"""The protocols that never part a group: ratios, official lists, folds; with external sources and policies."""

from collections.abc import Mapping

import pandas as pd

from scanline.core.errors import InputError
from scanline.core.tables import SPLIT, validate
from scanline.split.assign import ASSIGNED, assign_groups, check_same_images
from scanline.split.columns import check_columns, check_strata
from scanline.split.options import (
    NO_CLASS,
    OTHER_SOURCE,
    KFoldSplit,
    LeakFreeSplit,
    OfficialSplit,
    StratifiedSplit,
    target_shares,
)
from scanline.split.policies import apply_policies, balanced_columns
from scanline.split.slice_range import apply_slice_range
from scanline.split.stratified import deal_groups

LIST = "official_subset"
OPEN_LIST = "train_val"
UNLISTED = "official"  # in dropped_by: no choice of a policy


def assign_split(
    images: pd.DataFrame, groups: pd.DataFrame, labels: pd.DataFrame, options: LeakFreeSplit
) -> pd.DataFrame:
    """Assign every image of a study, then balance classes within subsets.

    * grouped: train, val and test by their ratios.
    * stratified: groups with and without a class, each by number.
    * official: by the images' `official_subset`; groups of train_val become train or val. An image that no list names
      is dropped: it goes with its group where a list names others of it, else it is external.
    * kfold: fold i is test, fold i + 1 is val.

    Groups with an image of an external source are external; their images of other sources are dropped.

    Args:
        images: IMAGES table of n rows, with `official_subset` where the protocol asks for it.
        groups: GROUPS table of the same images.
        labels: Labels table of the same images, nullable booleans.
        options: The protocol and its options.

    Returns:
        SPLIT table of n rows, sorted by image_id; it does not depend on the order of the rows of any table. What is
        dropped stays, with dropped_by and reason.

    Raises:
        InputError: If the tables name different images, a class or stratum is no column, a group is in two lists, there
            are too few groups, a subset would be without positives or negatives of a class, or a policy cannot be met.
    """
    check_same_images({"images table": images, "groups table": groups, "labels table": labels})
    _check_balance(labels, options.balance)
    check_strata(images, options.strata, "images table")
    groups = groups.sort_values("image_id", ignore_index=True)
    images = images.set_index("image_id").loc[groups["image_id"]].reset_index()
    truth = labels.set_index("image_id").loc[groups["image_id"]].reset_index()
    split = groups.assign(subset=None, dropped_by=None, reason=None).astype("str")
    _fix_external(split, images, options.external_sources)
    if isinstance(options, OfficialSplit):
        _fix_listed(split, images, options)
    searched = split["dropped_by"].isna()
    if isinstance(options, StratifiedSplit):
        subsets = _deal_out(split, truth, options)
    elif isinstance(options, OfficialSplit) and not (searched & split["subset"].isna()).any():
        subsets = split["subset"]
    else:
        subsets = assign_groups(
            split.loc[searched, "group_id"],
            balanced_columns(truth, options.balance)[searched],
            images.loc[searched, list(options.strata)],
            split.loc[searched, "subset"],
            _shares(options),
            options.seed,
        )
        if isinstance(options, KFoldSplit):
            subsets = subsets.replace(_roles(options))
    split["subset"] = subsets.reindex(split.index).astype("str")
    split["subset"] = split.groupby("group_id")["subset"].transform("first").fillna("external")
    if options.slice_range is not None:
        split = apply_slice_range(split, images, labels, options.slice_range)
    return validate(apply_policies(split, labels, options.policies, options.seed), SPLIT, "split table")


def _deal_out(split: pd.DataFrame, truth: pd.DataFrame, options: StratifiedSplit) -> pd.Series:
    """The subset of each row: groups that are open, dealt out by number; fixed ones stay."""
    if options.stratify_by not in truth:
        _check_balance(truth, (options.stratify_by,))
    is_open = split["dropped_by"].isna() & split["subset"].isna()
    dealt = deal_groups(split.loc[is_open, "group_id"], truth.loc[is_open, options.stratify_by], options)
    return split["subset"].fillna(split["group_id"].map(dealt))


def _shares(options: LeakFreeSplit) -> Mapping[str, float]:
    """What is searched for: train, val and test, or what the lists leave open of them, or the folds."""
    if isinstance(options, KFoldSplit):
        return {f"fold {fold}": 1 / options.folds for fold in range(options.folds)}
    return target_shares(options)


def _roles(options: KFoldSplit) -> dict[str, str]:
    roles = {f"fold {fold}": "train" for fold in range(options.folds)}
    return roles | {f"fold {options.fold}": "test", f"fold {(options.fold + 1) % options.folds}": "val"}


def _check_balance(labels: pd.DataFrame, balance: tuple[str, ...]) -> None:
    classes = [name for name in labels.columns if name != "image_id"]
    for name in balance:
        if name not in (*classes, NO_CLASS):
            raise InputError(
                "split options: balance",
                found=repr(name),
                expected=f"{NO_CLASS}, or one of {', '.join(classes)}",
                next_step="Name a class of the study's labels.",
            )


def _fix_external(split: pd.DataFrame, images: pd.DataFrame, sources: tuple[str, ...]) -> None:
    """Fix the groups of external sources, in place, and drop their images of other sources."""
    is_external = images["source"].isin(sources)
    for name in sources:
        if not images["source"].eq(name).any():
            raise InputError(
                "split options: external_sources",
                found=repr(name),
                expected=f"one of {', '.join(sorted(images['source'].unique()))}",
                next_step="Name a source that has images.",
            )
    with_external = is_external.groupby(split["group_id"]).transform("any")
    split.loc[with_external, "subset"] = "external"
    others = with_external & ~is_external
    split.loc[others, "dropped_by"] = OTHER_SOURCE
    split.loc[others, "reason"] = "its group " + split["group_id"] + " has images of an external source"


def _fix_listed(split: pd.DataFrame, images: pd.DataFrame, options: OfficialSplit) -> None:
    """Fix the groups of all lists but train_val, in place, and drop what no list names."""
    check_columns(images, [LIST], "images table")
    inside = split["subset"].isna()
    lists = images[LIST].where(inside)
    named = lists.dropna()
    of_group = named.groupby(split["group_id"])
    _refuse_two_lists(split.loc[named.index, "group_id"], images.loc[named.index])
    present = set(named.unique())
    is_open = OPEN_LIST in present
    for subset in ASSIGNED:
        if subset not in present and not (is_open and subset != "test"):
            raise InputError(
                f"images table: {LIST}",
                found=f"no image of {subset} (lists: {', '.join(sorted(present)) or 'none'})",
                expected=f"a list {subset}" + ("" if subset == "test" else f", or a list {OPEN_LIST}"),
                next_step="Give the source the official lists, or use protocol grouped.",
            )
    if is_open == (options.val_share is None):
        raise InputError(
            "split options: val_share",
            found="null" if options.val_share is None else f"{options.val_share:g}, and no list {OPEN_LIST}",
            expected=f"a share where a list {OPEN_LIST} leaves val open, and null elsewhere",
            next_step="Set val_share, for example 0.15." if is_open else "Take val_share out.",
        )
    unlisted = inside & lists.isna()
    split.loc[unlisted, "dropped_by"] = UNLISTED
    split.loc[unlisted, "reason"] = "no official list names it"
    fixed = split["group_id"].map(of_group.first())
    split.loc[inside, "subset"] = fixed.where(fixed.ne(OPEN_LIST))[inside]


def _refuse_two_lists(groups: pd.Series, images: pd.DataFrame) -> None:
    n_lists = images.groupby(groups)[LIST].nunique()
    parted = sorted(n_lists.index[n_lists > 1])
    if parted:
        rows = images[groups == parted[0]].sort_values("image_id").drop_duplicates(LIST)
        placed = [f"{row.image_id} in {getattr(row, LIST)}" for row in rows.itertuples()]
        raise InputError(
            f"images table: {LIST} of patient or group {parted[0]}",
            found=f"{', '.join(placed)} ({len(parted)} such groups)",
            expected="all images of a group in one list",
            next_step="Mend the lists, see in the groups table what ties these images, or use protocol grouped.",
        )
