"""Volumes with and without tears dealt out by number: the meniscus study's own, and what balancing does to train."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanline.core.errors import InputError
from scanline.split.options import Ratios, SliceRange, StratifiedSplit
from scanline.split.protocols import assign_split
from scanline.split.slice_range import count_slice_range, fit_slice_range, positions_of
from scanline.split.stratified import kinds_of_groups, sizes_of

RATIOS = {"train": 0.70, "val": 0.15, "test": 0.15}
UNDERSAMPLE = {"train": {"method": "undersample", "reduce": "not tear", "against": "tear", "ratio": 1}}


def make_volumes(torn: int, normal: int, slices: int = 6, seed: int = 0):
    """Images, groups and labels of volumes, of which the first are torn on some slices."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"s/v{number:04d}/{index}", f"v{number:04d}", index, bool(number < torn and index in (2, 3 + number % 2)))
        for number in range(torn + normal)
        for index in range(slices)
    ]
    table = pd.DataFrame(rows, columns=["image_id", "volume_id", "slice_index", "tear"])
    table = table.iloc[rng.permutation(len(table))].reset_index(drop=True)
    images = table[["image_id", "volume_id", "slice_index"]].assign(source="s", patient_id=None)
    groups = pd.DataFrame({"image_id": table["image_id"], "group_id": table["volume_id"]})
    labels = pd.DataFrame({"image_id": table["image_id"], "tear": table["tear"].astype("boolean")})
    return images, groups, labels


def options(**changes) -> StratifiedSplit:
    values = {"protocol": "stratified", "ratios": RATIOS, "stratify_by": "tear", "seed": 42}
    return StratifiedSplit.model_validate({**values, **changes})


def volumes_by_subset(split, labels):
    table = split.merge(labels, on="image_id")
    torn = table.groupby("group_id").agg(subset=("subset", "first"), torn=("tear", "any"))
    return torn.groupby(["torn", "subset"]).size().to_dict()


@pytest.mark.parametrize("seed", [42, 123, 456])
def test_93_torn_and_457_normal_volumes_are_dealt_out_as_their_author_did(seed):
    tables = make_volumes(93, 457, slices=5)
    split = assign_split(*tables, options(seed=seed))
    assert volumes_by_subset(split, tables[2]) == {
        (True, "train"): 65,
        (True, "val"): 14,
        (True, "test"): 14,
        (False, "train"): 320,
        (False, "val"): 69,
        (False, "test"): 68,
    }
    assert (split.groupby("group_id")["subset"].nunique() == 1).all()


def test_balancing_drops_train_alone_and_moves_no_volume():
    tables = make_volumes(20, 60)
    plain = assign_split(*tables, options())
    balanced = assign_split(*tables, options(policies=UNDERSAMPLE))
    assert plain["subset"].equals(balanced["subset"])
    assert plain["dropped_by"].isna().all()
    dropped = balanced[balanced["dropped_by"].notna()]
    assert set(dropped["subset"]) == {"train"}
    kept = balanced[balanced["dropped_by"].isna()].merge(tables[2], on="image_id")
    train = kept.loc[kept["subset"] == "train", "tear"]
    assert train.sum() == (~train).sum() > 0


def test_other_ratios_of_balancing_come_from_the_policy():
    tables = make_volumes(20, 60)
    policies = {"train": {**UNDERSAMPLE["train"], "ratio": 3}}
    split = assign_split(*tables, options(policies=policies)).merge(tables[2], on="image_id")
    train = split.loc[(split["subset"] == "train") & split["dropped_by"].isna(), "tear"]
    assert (~train).sum() == 3 * train.sum()


def test_seeds_give_other_volumes_and_one_seed_the_same():
    tables = make_volumes(20, 60)
    first, again, other = (assign_split(*tables, options(seed=seed)) for seed in (42, 42, 123))
    assert first.equals(again)
    assert not first["subset"].equals(other["subset"])


def test_normal_volumes_that_are_added_move_no_torn_one():
    before, after = make_volumes(20, 30), make_volumes(20, 60)
    splits = [assign_split(*tables, options()).set_index("image_id")["subset"] for tables in (before, after)]
    torn = before[2].loc[before[2]["tear"], "image_id"]
    assert splits[0][torn].equals(splits[1][torn])


@given(st.integers(0, 2000), st.floats(0.05, 0.9), st.floats(0.05, 0.5))
def test_sizes_add_up_and_are_within_one_of_the_shares(number, train, val):
    total = train + val
    if total >= 0.95:
        train, val = train * 0.9 / total, val * 0.9 / total
    sizes = sizes_of(number, Ratios(train=train, val=val, test=1 - train - val))
    assert sum(sizes) == number
    assert min(sizes) >= 0
    assert all(
        abs(size - number * share) <= 1 + 1e-9 for size, share in zip(sizes, (train, val, 1 - train - val), strict=True)
    )


def test_kinds_of_groups():
    label = pd.Series([True, None, False, False, None, False], dtype="boolean")
    kinds = kinds_of_groups(pd.Series(["a", "a", "b", "b", "c", "c"]), label)
    assert kinds.to_dict() == {"a": "with", "b": "without", "c": "unknown"}


def test_too_few_volumes_are_told():
    with pytest.raises(InputError, match="3 groups with it: 2, 0, 1"):
        assign_split(*make_volumes(3, 40), options())
    with pytest.raises(InputError, match="'scar'"):
        assign_split(*make_volumes(20, 40), options(stratify_by="scar"))


def test_positions_within_a_volume():
    images = pd.DataFrame({"volume_id": ["a", "a", "a", "b", None], "slice_index": [4, 6, 8, 1, None]})
    assert positions_of(images, "relative").tolist()[:3] == [0, 0.5, 1]
    assert positions_of(images, "relative").isna().tolist() == [False, False, False, True, True]
    assert positions_of(images, "absolute").tolist()[:4] == [4, 6, 8, 1]


def test_the_slice_range_is_fitted_on_train_and_applied_to_all():
    tables = make_volumes(20, 60, slices=11)
    chosen = SliceRange(target="tear", low_percentile=0, high_percentile=100)
    split = assign_split(*tables, options(slice_range=chosen))
    images, _, labels = tables
    assert fit_slice_range(split, images, labels, chosen) == (0.2, 0.4)
    position = positions_of(images, "relative").set_axis(images["image_id"]).reindex(split["image_id"])
    outside = ((position < 0.2) | (position > 0.4)).to_numpy()
    assert np.array_equal(split["dropped_by"].eq("slice_range").to_numpy(), outside)
    counted = count_slice_range(split, images, labels, chosen)
    assert sum(one["images"] for one in counted["dropped"].values()) == outside.sum()
    assert {one["positive"] for one in counted["dropped"].values()} == {0}


def test_tears_of_test_do_not_widen_the_range():
    images, groups, labels = make_volumes(20, 60, slices=11)
    first = assign_split(images, groups, labels, options())
    odd = first.loc[first["subset"].eq("test") & first["image_id"].str.endswith("/9"), "image_id"].iloc[0]
    labels.loc[labels["image_id"] == odd, "tear"] = True
    chosen = SliceRange(target="tear", low_percentile=0, high_percentile=100)
    assert fit_slice_range(first, images, labels, chosen) == (0.2, 0.4)


def test_undersampling_comes_after_the_slice_range():
    tables = make_volumes(20, 60, slices=11)
    chosen = SliceRange(target="tear", low_percentile=0, high_percentile=100)
    split = assign_split(*tables, options(slice_range=chosen, policies=UNDERSAMPLE)).merge(tables[2], on="image_id")
    train = split.loc[(split["subset"] == "train") & split["dropped_by"].isna(), "tear"]
    assert train.sum() == (~train).sum() > 0
    assert {"slice_range", "undersample"} == set(split["dropped_by"].dropna())
