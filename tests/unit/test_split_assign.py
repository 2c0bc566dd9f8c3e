"""Assignment: whole groups, near target, the same for the same seed, by each protocol; and the naive split."""

import doctest
import importlib
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold
from split_cohorts import (
    RATIOS,
    grouped,
    images_table,
    naive,
    patients_table,
    random_cohort,
    real_tables,
    shuffled,
    worst_deviation,
)

from scanline.core.errors import InputError
from scanline.core.tables import SPLIT, validate
from scanline.split import split_groups
from scanline.split.groups import find_groups
from scanline.split.naive import assign_naive_image
from scanline.split.options import KFoldSplit, OfficialSplit, Ratios
from scanline.split.protocols import assign_split
from scanline.split.verify import verify_split

SEEDS = (42, 123, 456)


def split_of(images, labels, **options):
    return assign_split(images, find_groups(images), labels, grouped(**options))


def random_table(seed, n_groups=120, n_labels=3):
    """A data frame as anyone may have it: a patient, a scanner with nulls, labels, some of them unknown."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_groups), rng.integers(1, 9, n_groups))
    table = pd.DataFrame({"patient": patient, "scanner": rng.choice(["A", "B", None], len(patient), p=[0.6, 0.3, 0.1])})
    for number in range(n_labels):
        truth = pd.Series(rng.random(len(patient)) < 0.1 + 0.2 * number).astype("boolean")
        table[f"label{number}"] = truth.mask(rng.random(len(patient)) < 0.1 * number)
    return table


LABELS = ["label0", "label1", "label2"]
SHARES = {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}


def labels_of(images, **classes):
    return pd.DataFrame({"image_id": images["image_id"]}).assign(
        **{name: pd.array(values, "boolean") for name, values in classes.items()}
    )


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(8, 40), st.integers(0, 3))
def test_no_group_is_parted_and_no_image_lost(seed, n_patients, split_seed):
    images, labels = random_cohort(seed, n_patients)
    try:
        split = split_of(images, labels, seed=split_seed)
    except InputError as error:
        assume("in each of train, val and test" not in str(error))
        raise
    assert split["image_id"].tolist() == sorted(images["image_id"])
    assert not split[["group_id", "subset"]].drop_duplicates()["group_id"].duplicated().any()
    assert set(split["subset"]) == {"train", "val", "test"}
    assert split["dropped_by"].isna().all()
    assert split["reason"].isna().all()
    validate(split, SPLIT, "split table")
    rows = split.merge(labels, on="image_id")
    for name in ("bleed", "oedema"):
        assert (rows.groupby("subset")[name].agg(lambda truth: truth.dropna().nunique()) == 2).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_row_order_changes_nothing(seed):
    images, labels = random_cohort(3)
    groups = find_groups(images)
    split = assign_split(images, groups, labels, grouped(seed))
    again = assign_split(shuffled(images, 3), shuffled(groups, 1), shuffled(labels, 2), grouped(seed))
    pd.testing.assert_frame_equal(split, again)


def test_the_seed_decides():
    images, labels = random_cohort(4)
    splits = [split_of(images, labels, seed=seed) for seed in (*SEEDS, 42)]
    pd.testing.assert_frame_equal(splits[0], splits[3])
    assert (splits[0]["subset"] != splits[1]["subset"]).any()
    assert (splits[1]["subset"] != splits[2]["subset"]).any()


@pytest.mark.parametrize("seed", range(3))
def test_closer_to_target_than_the_best_of_random_splits(seed):
    images, labels = random_cohort(seed)
    groups = find_groups(images)
    ours = worst_deviation(labels, assign_split(images, groups, labels, grouped(seed)))
    outer = GroupShuffleSplit(20, train_size=0.70, random_state=seed)
    randoms = []
    for train, rest in outer.split(groups, groups=groups["group_id"]):
        patients = groups["group_id"].iloc[rest].unique()
        subset = np.full(len(groups), "test", dtype="<U5")
        subset[train] = "train"
        subset[groups["group_id"].isin(patients[::2])] = "val"
        randoms.append(worst_deviation(labels, groups.assign(subset=subset)))
    assert ours < 0.012
    assert ours < min(randoms)


@pytest.mark.parametrize("seed", range(3))
def test_no_worse_than_stratified_group_kfold(seed):
    images, labels = random_cohort(seed, unknown=0)
    labels = labels[["image_id", "bleed"]]
    groups = find_groups(images)
    ratios = Ratios(train=5 / 7, val=1 / 7, test=1 / 7)
    labels = labels.set_index("image_id").loc[groups["image_id"]].reset_index()
    folds = StratifiedGroupKFold(7, shuffle=True, random_state=seed)
    held = [fold for _, fold in folds.split(groups, labels["bleed"].astype(int), groups["group_id"])]
    subset = np.full(len(groups), "train", dtype="<U5")
    subset[held[0]], subset[held[1]] = "val", "test"
    theirs = worst_deviation(labels, groups.assign(subset=subset), ratios)
    ours = assign_split(images, groups, labels, grouped(seed, ("bleed",), ratios))
    assert worst_deviation(labels, ours, ratios) <= theirs


@pytest.mark.parametrize("seed", range(5))
def test_three_positive_groups_among_many_are_dealt_one_to_each(seed):
    images = patients_table([10] * 40)
    truth = images["patient_id"].isin(["p003", "p017", "p030"]) & images["image_id"].str.endswith(("0", "1"))
    split = split_of(images, labels_of(images, rare=truth), seed=seed, balance=("rare",))
    patients = split[split["group_id"].isin(["p003", "p017", "p030"])]
    assert patients.groupby("subset")["group_id"].nunique().to_dict() == {"train": 1, "val": 1, "test": 1}


def test_three_groups_fill_three_subsets():
    images = patients_table([100, 1, 1])
    split = split_of(images, labels_of(images, bleed=[None] * 102), balance=())
    assert split.groupby("group_id")["subset"].first().tolist()[0] == "train"
    assert set(split["subset"]) == {"train", "val", "test"}


def test_unknown_labels_are_neither_and_go_with_their_group():
    images = patients_table([10] * 30)
    truth = [index % 2 == 0 for index in range(300)]
    truth[::3] = [None] * 100
    split = split_of(images, labels_of(images, bleed=truth), balance=("bleed",))
    assert not split[["group_id", "subset"]].drop_duplicates()["group_id"].duplicated().any()
    assert len(split) == 300


def test_too_few_groups():
    images = patients_table([5, 5])
    with pytest.raises(InputError, match="found 2 groups; expected at least 3"):
        split_of(images, labels_of(images, bleed=[True, False] * 5), balance=("bleed",))


@pytest.mark.parametrize(("truth", "sign"), [(True, "negative"), (False, "positive"), (None, "positive")])
def test_a_class_without_one_side_is_named(truth, sign):
    images = patients_table([5] * 10)
    with pytest.raises(InputError, match=rf"balance: bleed: found no {sign} image in train .0 of 10 groups"):
        split_of(images, labels_of(images, bleed=[truth] * 50), balance=("bleed",))


def test_two_positive_groups_cannot_serve_three_subsets():
    images = patients_table([5] * 10)
    truth = images["patient_id"].isin(["p001", "p002"])
    with pytest.raises(InputError, match=r"no positive image in .* .2 of 10 groups have any.; expected at least"):
        split_of(images, labels_of(images, bleed=truth & images["image_id"].str.endswith("0")), balance=("bleed",))


def test_an_unknown_class_and_other_images():
    images, labels = random_cohort(0, 10)
    with pytest.raises(InputError, match="found 'blood'; expected none, or one of bleed, oedema"):
        split_of(images, labels, balance=("blood",))
    with pytest.raises(InputError, match=r"labels table: image_id: found 1 images missing .* 's/000_00'"):
        split_of(images, labels.iloc[1:])
    with pytest.raises(InputError, match=r"images table: image_id: found 1 images missing .* first 's/000_00'"):
        split_of(images.iloc[1:], labels)
    with pytest.raises(InputError, match="labels table: image_id: found 1 images more than once"):
        split_of(images, pd.concat([labels, labels.iloc[:1]]))


@pytest.mark.parametrize("seed", SEEDS)
def test_real_study_is_within_one_point_of_target(seed):
    images, labels = real_tables()
    assert len(images) == 3511
    assert images["patient_id"].nunique() == 120
    assert labels["haemorrhage"].sum() == 725
    started = time.process_time()
    groups = find_groups(images)
    split = assign_split(images, groups, labels, grouped(seed, ("haemorrhage",)))
    assert time.process_time() - started < 10
    receipt = verify_split(images, groups, labels, split, RATIOS)
    assert receipt["leak_free"]
    for counts in receipt["subsets"].values():
        assert abs(counts["share"] - counts["target_share"]) < 0.01
        assert abs(counts["labels"]["haemorrhage"]["prevalence"] - 725 / 3511) < 0.01
    assert worst_deviation(labels, split) < 0.0025


def test_large_cohorts_stay_close():
    images, labels = random_cohort(0, 2_500)
    started = time.process_time()
    split = split_of(images, labels)
    assert time.process_time() - started < 20
    assert worst_deviation(labels, split) < 0.001


@settings(max_examples=25, deadline=None)
@given(
    st.integers(3, 400),
    st.integers(0, 5),
    st.sampled_from([(0.7, 0.1, 0.2), (0.98, 0.01, 0.01), (0.2, 0.5, 0.3)]),
)
def test_naive_sizes_are_the_rounded_shares(n_images, seed, shares):
    groups = find_groups(images_table([{"image_id": f"s/{index}", "patient_id": "p"} for index in range(n_images)]))
    ratios = Ratios(**dict(zip(("train", "val", "test"), shares, strict=True)))
    split = assign_naive_image(shuffled(groups), naive(seed, ratios))
    pd.testing.assert_frame_equal(split, assign_naive_image(groups, naive(seed, ratios)))
    assert split["image_id"].tolist() == sorted(groups["image_id"])
    for subset, share in ratios.model_dump().items():
        size = (split["subset"] == subset).sum()
        assert size >= 1
        assert abs(size - share * n_images) < 1 or min(shares) * n_images < 1


def test_naive_seed_decides_and_too_few_images():
    groups = find_groups(patients_table([20] * 5))
    assert (assign_naive_image(groups, naive(1))["subset"] != assign_naive_image(groups, naive(2))["subset"]).any()
    with pytest.raises(InputError, match="found 2 images; expected at least 3"):
        assign_naive_image(groups.iloc[:2], naive())


def test_the_documented_example_runs():
    result = doctest.testmod(importlib.import_module("scanline.split.assign"))
    assert result.attempted > 5
    assert result.failed == 0


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(30, 120), st.sampled_from([{"x": 0.5, "y": 0.5}, SHARES]))
def test_any_subsets_of_a_data_frame(seed, n_groups, ratios):
    table = random_table(seed, n_groups)
    options = {"group": "patient", "ratios": ratios, "labels": LABELS, "strata": ["scanner"], "seed": seed}
    subset = split_groups(table, **options)
    assert set(subset) == set(ratios)
    assert (subset.groupby(table["patient"]).nunique() == 1).all()
    for name in LABELS:
        assert (table.groupby(subset)[name].agg(lambda truth: truth.dropna().nunique()) == 2).all()
    mixed = table.sample(frac=1, random_state=seed)
    pd.testing.assert_series_equal(split_groups(mixed, **options).sort_index(), subset)
    pd.testing.assert_series_equal(split_groups(table, **options), subset)


def test_sizes_labels_and_strata_are_near_target():
    table = random_table(0, 1_000)
    subset = split_groups(table, group="patient", ratios=SHARES, labels=LABELS, strata=["scanner"])
    for name, share in SHARES.items():
        held = table[subset == name]
        assert abs(len(held) - share * len(table)) < 2
        for label in LABELS:
            assert abs(held[label].sum() - share * table[label].sum()) < 2
        for scanner in ("A", "B"):
            assert abs((held["scanner"] == scanner).sum() - share * (table["scanner"] == scanner).sum()) < 2
        assert abs(held["scanner"].isna().sum() - share * table["scanner"].isna().sum()) < 2
        assert abs(held["patient"].nunique() - share * 1_000) < 6


def test_fixed_groups_stay_and_the_rest_makes_up_for_them():
    table = random_table(1, 400)
    table["list"] = np.where(table["patient"] < 60, "b", None)
    table.loc[table["patient"].between(60, 79), "list"] = "outside"
    subset = split_groups(table, group="patient", ratios=SHARES, labels=LABELS, fixed="list")
    known = table["list"].notna()
    assert (subset[known] == table.loc[known, "list"]).all()
    inside = subset[table["list"].ne("outside")]
    for name, share in SHARES.items():
        assert abs((inside == name).mean() - share) < 0.005
    assert set(subset) == {*SHARES, "outside"}


def test_bad_data_frames_get_one_line_each():
    table = random_table(2, 20)
    two = {"train": 0.5, "test": 0.5}
    for change, options, message in (
        (
            {"patient": table["patient"].where(table.index > 3)},
            {},
            "patient: found 4 rows without a group, first row 0",
        ),
        ({"list": ["a", "b"] * (len(table) // 2) + ["a"] * (len(table) % 2)}, {"fixed": "list"}, "list: group"),
        ({"label1": "maybe"}, {"labels": ["label1"]}, "label1: found .* expected True, False or null"),
        ({}, {"labels": ["nothing"]}, "found no column 'nothing'"),
        ({"scanner": range(len(table))}, {"strata": ["scanner"]}, "found .* values; expected at most 50"),
        ({}, {"ratios": {"train": 0.5, "test": 0.4}}, "ratios: found train 0.5, test 0.4 .sum 0.9."),
        ({"patient": 1}, {}, "found 1 groups; expected at least 2, one each for train and test"),
        ({"label0": table["patient"] == 3}, {"labels": ["label0"]}, "no positive image in .*1 of 20 groups have any"),
    ):
        with pytest.raises(InputError, match=message) as error:
            split_groups(table.assign(**change), **{"group": "patient", "ratios": two, **options})
        assert "\n" not in str(error.value)


def listed_cohort(unlisted=()):
    """Images of 60 patients; the last 12 are the official test list, the others train_val."""
    images, labels = random_cohort(7, 60)
    is_test = images["patient_id"] >= "p048"
    lists = pd.Series(np.where(is_test, "test", "train_val"), dtype="str")
    return images.assign(official_subset=lists.mask(images["image_id"].isin(unlisted))), labels


def official(**options):
    return OfficialSplit(**{"protocol": "official", "val_share": 0.2, "balance": ("bleed",), "seed": 3, **options})


def test_official_lists_are_kept_and_val_is_carved_by_group():
    images, labels = listed_cohort(unlisted=["s/000_00", "s/050_01"])
    groups = find_groups(images)
    split = assign_split(images, groups, labels, official())
    rows = split.merge(images, on="image_id")
    assert (rows["subset"].eq("test") == (rows["patient_id"] >= "p048")).all()
    assert split.loc[split["dropped_by"].notna(), "image_id"].tolist() == ["s/000_00", "s/050_01"]
    assert set(split["reason"].dropna()) == {"no official list names it"}
    kept = rows[rows["dropped_by"].isna() & rows["subset"].ne("test")]
    assert abs(kept["subset"].eq("val").mean() - 0.2) < 0.01
    assert verify_split(images, groups, labels, split, protocol="official")["leak_free"]


def test_a_patient_whom_no_list_names_is_dropped_and_fixed_lists_need_no_search():
    images, labels = listed_cohort()
    lists = images["official_subset"].mask(images["patient_id"] == "p001")
    split = assign_split(images.assign(official_subset=lists), find_groups(images), labels, official())
    row = split[split["group_id"] == "p001"]
    assert set(row["subset"]) == {"external"}
    assert row["dropped_by"].eq("official").all()
    fixed = lists.where(lists.ne("train_val"), np.where(images["patient_id"] < "p030", "train", "val")).where(
        lists.notna()
    )
    split = assign_split(images.assign(official_subset=fixed), find_groups(images), labels, official(val_share=None))
    assert (
        split.set_index("image_id")["subset"] == images.assign(f=fixed.fillna("external")).set_index("image_id")["f"]
    ).all()


def test_bad_lists_get_one_line_each():
    images, labels = listed_cohort()
    groups = find_groups(images)
    moved = images.copy()
    moved.loc[moved["image_id"].isin(["s/003_00", "s/009_01"]), "official_subset"] = "test"
    with pytest.raises(InputError, match=r"group p003: found s/003_00 in test, s/003_01 in train_val .2 such groups."):
        assign_split(moved, groups, labels, official())
    with pytest.raises(InputError, match="no column 'official_subset'"):
        assign_split(images.drop(columns="official_subset"), groups, labels, official())
    with pytest.raises(InputError, match=r"found null; expected a share"):
        assign_split(images, groups, labels, official(val_share=None))
    with pytest.raises(InputError, match=r"no image of test .lists: train_val.; expected a list test"):
        assign_split(images.assign(official_subset="train_val"), groups, labels, official())


def test_folds_are_one_partition_whichever_is_asked_for():
    images, labels = random_cohort(8, 60)
    groups = find_groups(images)
    folds = [
        assign_split(
            images,
            groups,
            labels,
            KFoldSplit(protocol="kfold", folds=4, fold=fold, balance=("bleed", "oedema"), seed=1),
        ).set_index("image_id")["subset"]
        for fold in range(4)
    ]
    tested = pd.concat([(fold == "test").rename(str(number)) for number, fold in enumerate(folds)], axis=1)
    assert (tested.sum(axis=1) == 1).all()
    for number, fold in enumerate(folds):
        assert ((fold == "val") == (folds[(number + 1) % 4] == "test")).all()
        assert abs((fold == "test").mean() - 0.25) < 0.01
        assert (fold.groupby(groups.set_index("image_id")["group_id"]).nunique() == 1).all()


def test_external_sources_are_fixed_with_their_groups():
    images, labels = random_cohort(9, 40)
    images["source"] = np.where(images["patient_id"] >= "p035", "other", "s")
    images.loc[images["image_id"] == "s/036_00", "source"] = "s"
    groups = find_groups(images)
    options = grouped().model_copy(update={"external_sources": ("other",), "strata": ("source",)})
    split = assign_split(images, groups, labels, options).set_index("image_id")
    assert (split["subset"].eq("external") == (split["group_id"] >= "p035")).all()
    assert split.loc["s/036_00", "dropped_by"] == "external_sources"
    assert split["dropped_by"].notna().sum() == 1
    inside = split[split["subset"] != "external"]
    assert abs(inside["subset"].eq("train").mean() - 0.7) < 0.01
    with pytest.raises(InputError, match="external_sources: found 'none'"):
        assign_split(images, groups, labels, grouped().model_copy(update={"external_sources": ("none",)}))
