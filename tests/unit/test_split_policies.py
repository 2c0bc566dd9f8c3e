"""Policies: each holds in its subset, touches no other, moves nothing, and says what it dropped."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from split_cohorts import grouped, random_cohort, shuffled

from scanline.core.errors import InputError
from scanline.core.options import check_options
from scanline.core.tables import SPLIT, drawn_images, validate
from scanline.split.groups import find_groups
from scanline.split.options import GroupedSplit, target_shares
from scanline.split.policies import apply_policies, balanced_columns, count_policies, images_of_kind
from scanline.split.protocols import assign_split
from scanline.split.receipt import describe_balance
from scanline.split.verify import verify_split


def with_policies(**policies):
    return check_options(GroupedSplit, {**grouped().model_dump(), "policies": policies}, "test").policies


def split_cohort(seed, n_images=400):
    """A split made by hand: images at random in four subsets, two labels, some unknown."""
    rng = np.random.default_rng(seed)
    ids = [f"s/{number:04d}" for number in range(n_images)]
    labels = pd.DataFrame({"image_id": ids})
    for name, rate in (("bleed", 0.2), ("oedema", 0.3)):
        labels[name] = pd.Series(rng.random(n_images) < rate).astype("boolean").mask(rng.random(n_images) < 0.1)
    subset = rng.choice(["train", "val", "test", "external"], n_images)
    split = pd.DataFrame({"image_id": ids, "group_id": ids, "subset": subset, "dropped_by": None, "reason": None})
    return validate(split, SPLIT, "split"), labels


def test_kinds_never_take_unknown_for_negative():
    labels = pd.DataFrame({"image_id": list("abcde")})
    labels["x"] = pd.array([True, False, False, None, None], "boolean")
    labels["y"] = pd.array([False, False, True, False, True], "boolean")
    assert images_of_kind(labels, "x").tolist() == [True, False, False, False, False]
    assert images_of_kind(labels, "not x").tolist() == [False, True, True, False, False]
    assert images_of_kind(labels, "none").tolist() == [False, True, False, False, False]
    with pytest.raises(InputError, match="found 'not z'; expected none, or one of x, y"):
        images_of_kind(labels, "not z")


RATIOS = st.sampled_from([0.5, 1.0, 1.7, 3.0])


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10_000), RATIOS, st.sampled_from([("not bleed", "bleed"), ("none", "bleed"), ("oedema", "bleed")])
)
def test_undersampling_holds_in_its_subset_alone(seed, ratio, kinds):
    split, labels = split_cohort(seed)
    reduce, against = kinds
    policies = with_policies(val={"method": "undersample", "reduce": reduce, "against": against, "ratio": ratio})
    try:
        done = apply_policies(shuffled(split, seed), shuffled(labels, seed + 1), policies, seed)
    except InputError as error:
        assume("drops no image that is both" not in str(error))
        raise
    pd.testing.assert_frame_equal(done, apply_policies(split, labels, policies, seed))
    pd.testing.assert_series_equal(done["subset"], split["subset"])
    dropped = done["dropped_by"].eq("undersample")
    assert done.loc[dropped, "subset"].eq("val").all()
    assert done.loc[dropped, "reason"].str.startswith("undersample: at most").all()
    many, few = images_of_kind(labels, reduce), images_of_kind(labels, against)
    assert not (dropped & ~(many & ~few)).any()
    left = (done["subset"].eq("val") & ~dropped).to_numpy()
    assert (many & left).sum() <= ratio * (few & left).sum() + 1e-9
    if dropped.any():
        assert (many & left).sum() > ratio * (few & left).sum() - 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.2, 0.5, 0.75, 0.95]), st.sampled_from(["none", "not oedema"]))
def test_the_share_of_negatives_is_reached_in_each_subset_by_itself(seed, share, negatives):
    split, labels = split_cohort(seed)
    policy = {"method": "negative_share", "share": share, "tolerance": 0.03, "negatives": negatives}
    done = apply_policies(split, labels, with_policies(train=policy, test=policy), seed)
    alone = apply_policies(split, labels, with_policies(test=policy), seed)
    in_test = done["subset"].eq("test")
    pd.testing.assert_frame_equal(done[in_test], alone[in_test])
    assert done.loc[done["subset"].isin(["val", "external"]), "dropped_by"].isna().all()
    negative = images_of_kind(labels, negatives)
    positive = images_of_kind(labels, "oedema")
    if negatives == "none":
        positive = positive | images_of_kind(labels, "bleed")
    for subset in ("train", "test"):
        left = (done["subset"].eq(subset) & done["dropped_by"].isna()).to_numpy()
        assert abs((negative & left).sum() / ((negative | positive) & left).sum() - share) <= 0.03
        gone = (done["subset"].eq(subset) & done["dropped_by"].notna()).to_numpy()
        assert not (gone & negative).any() or not (gone & positive).any()
        assert not (gone & ~negative & ~positive).any()


def test_a_share_within_tolerance_drops_nothing():
    split, labels = split_cohort(1)
    known = labels["oedema"].notna() & split["subset"].eq("val")
    share = 1 - labels.loc[known, "oedema"].mean()
    policy = {"method": "negative_share", "negatives": "not oedema", "share": float(share) + 0.04, "tolerance": 0.05}
    assert apply_policies(split, labels, with_policies(val=policy), 0)["dropped_by"].isna().all()
    done = apply_policies(split, labels, with_policies(val={**policy, "tolerance": 0.02}), 0)
    assert done["dropped_by"].eq("negative_share").any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), RATIOS)
def test_oversampling_repeats_evenly_in_train_and_drops_nothing(seed, ratio):
    split, labels = split_cohort(seed)
    policies = with_policies(
        train={"method": "oversample", "increase": "bleed", "against": "not bleed", "ratio": ratio}
    )
    done = validate(apply_policies(split, labels, policies, seed), SPLIT, "split")
    assert done["dropped_by"].isna().all()
    assert done.loc[done["copies"].notna(), "subset"].eq("train").all()
    drawn = drawn_images(done).merge(labels, on="image_id")
    drawn = drawn[drawn["subset"] == "train"]
    n_positive, n_negative = int(drawn["bleed"].sum()), int((~drawn["bleed"].dropna()).sum())
    assert n_positive >= ratio * n_negative - 1e-9
    repeated = done.loc[labels["bleed"].eq(True).fillna(False) & done["subset"].eq("train"), "copies"].fillna(1)
    assert repeated.max() - repeated.min() <= 1
    assert n_positive == max(np.ceil(ratio * n_negative - 1e-9), len(repeated))
    assert len(drawn_images(done)[lambda rows: rows["subset"] != "train"]) == (split["subset"] != "train").sum()


def test_a_split_of_whole_groups_keeps_what_its_policies_drop():
    images, labels = random_cohort(11, 60)
    groups = find_groups(images)
    policy = {"method": "undersample", "reduce": "not bleed", "against": "bleed", "ratio": 1}
    options = grouped().model_copy(update={"policies": with_policies(train=policy)})
    split, plain = assign_split(images, groups, labels, options), assign_split(images, groups, labels, grouped())
    pd.testing.assert_series_equal(split["subset"], plain["subset"])
    assert len(split) == len(images)
    assert (split.groupby("group_id")["subset"].nunique() == 1).all()
    receipt = verify_split(images, groups, labels, split)
    assert receipt["subsets"]["train"]["labels"]["bleed"]["prevalence"] == pytest.approx(0.5)
    told = describe_balance(images, labels, split, options)
    assert told["dropped"] == {"undersample": int(split["dropped_by"].notna().sum())}
    entry = told["policies"]["train"]
    assert entry["ratio"] == 1
    assert entry["counts"]["bleed"] == receipt["subsets"]["train"]["labels"]["bleed"]["positive"]
    assert told["objective"] == describe_balance(images, labels, plain, grouped())["objective"]


def test_the_receipt_tells_the_deviations_of_the_table():
    images, labels = random_cohort(12, 60)
    groups = find_groups(images)
    split = assign_split(images, groups, labels, grouped())
    told = describe_balance(shuffled(images), shuffled(labels), shuffled(split), grouped())["objective"]
    rows = split.merge(labels, on="image_id")
    worst = 0.0
    for subset, share in target_shares(grouped()).items():
        held = rows[rows["subset"] == subset]
        worst = max(worst, abs(len(held) / len(rows) - share) / share)
        for name in ("bleed", "oedema"):
            for side in (True, False):
                has, total = held[name].eq(side).sum(), rows[name].eq(side).sum()
                worst = max(worst, abs(has - share * total) / (share * total))
    assert told["images"]["worst"] == pytest.approx(worst)
    assert 0 < told["images"]["mean"] < worst
    first, here = split.loc[0, ["group_id", "subset"]]
    elsewhere = "val" if here == "train" else "train"
    moved = split.assign(subset=split["subset"].where(split["group_id"] != first, elsewhere))
    assert describe_balance(images, labels, moved, grouped())["objective"]["cost"] > told["cost"]


def test_counts_of_an_empty_kind_are_null():
    split, labels = split_cohort(3)
    policies = with_policies(val={"method": "undersample", "reduce": "none", "against": "bleed", "ratio": 2})
    empty = labels.assign(bleed=labels["bleed"] & False)
    assert count_policies(split, empty, policies)["val"]["ratio"] is None
    assert count_policies(split, labels, with_policies(val={"method": "keep"}))["val"]["dropped"] == 0


@pytest.mark.parametrize(
    ("subset", "policy", "message"),
    [
        ("val", {"method": "oversample", "increase": "bleed", "against": "none", "ratio": 1}, "in train alone"),
        (
            "val",
            {"method": "negative_share", "negatives": "bleed", "share": 0.5, "tolerance": 0},
            "'not <class>' or none",
        ),
        ("val", {"method": "undersample", "reduce": "none", "against": "bleed", "ratio": 0}, "greater than 0"),
        ("dev", {"method": "keep"}, "'train', 'val', 'test' or 'external'"),
    ],
)
def test_policies_that_mean_nothing_are_refused(subset, policy, message):
    with pytest.raises(InputError, match=message):
        with_policies(**{subset: policy})


@pytest.mark.parametrize(
    "policy",
    [
        {"method": "undersample", "reduce": "not bleed", "against": "bleed", "ratio": 1},
        {"method": "negative_share", "negatives": "not bleed", "share": 0.5, "tolerance": 0.1},
    ],
)
def test_a_policy_that_cannot_be_met_is_one_line(policy):
    split, labels = split_cohort(4)
    with pytest.raises(InputError, match=r"policies\.test: found"):
        apply_policies(split, labels.assign(bleed=labels["bleed"] & False), with_policies(test=policy), 0)


def test_none_is_true_where_every_class_is_known_to_be_absent_and_null_where_one_may_be_there():
    values = [(False, False), (True, False), (True, None), (False, None), (None, None)]
    labels = pd.DataFrame(values, columns=["bleed", "oedema"], index=list("abcde")).astype("boolean")
    found = balanced_columns(labels.assign(image_id=labels.index), ["none", "oedema"])
    assert [None if pd.isna(value) else bool(value) for value in found["none"]] == [True, False, False, None, None]
    assert found["oedema"].equals(labels["oedema"])


def test_a_split_balanced_by_none_has_its_share_in_every_subset():
    images, labels = random_cohort(3)
    options = grouped(balance=("none", "bleed", "oedema"))
    split = assign_split(images, find_groups(images), labels, options)
    without = balanced_columns(labels, ["none"])["none"].set_axis(labels["image_id"])
    found = without.loc[split["image_id"]].groupby(split["subset"].to_numpy()).mean()
    assert (found - without.mean()).abs().max() < 0.01
