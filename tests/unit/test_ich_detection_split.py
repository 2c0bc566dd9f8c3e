"""The split of ich_detection on tables of its author's size: no image file, the classes and sources as he counts them.

His figures are of the set after augmentation: 35,190 training images, three of each original, 2,168 for validation, 747
for testing. An original count is valid + test + train / 3, so that of a box count it is 14,645 / 38,105.
"""

import numpy as np
import pandas as pd
import pytest
import yaml
from curate_folders import REPOSITORY
from split_cohorts import images_table

from scanline.config import load_config
from scanline.split.groups import find_groups
from scanline.split.policies import balanced_columns
from scanline.split.protocols import assign_split
from scanline.split.receipt import count_subsets, describe_balance
from scanline.split.verify import verify_split

IMAGES = 11_730 + 2_168 + 747
POSITIVES = 5_729 + 1_080 + 375
AFTER_AUGMENTATION = {"iph": 10_971, "sah": 10_797, "sdh": 9_877, "ivh": 4_045, "edh": 968, "hc": 576}
COUNTS = {name: round(boxes * IMAGES / (3 * 11_730 + 2_168 + 747)) for name, boxes in AFTER_AUGMENTATION.items()}
SOURCES = {"v3": 7_030, "roboflow": 3_734, "no_hem": 3_881}  # 48, 25.5 and 26.5%
# v3 was filtered to images of its four classes; the rest of the haemorrhages is in the other boxed source.
POSITIVES_OF = {"v3": 6_484, "roboflow": 700, "no_hem": 0}
RARE = ("edh", "hc")

MAIN = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text("utf-8"))
STUDY = load_config(MAIN, REPOSITORY).studies["ich_detection"]
OPTIONS = STUDY.splits["grouped"]
SUBSETS = ("train", "val", "test")


def draw_source(rng: np.random.Generator, name: str) -> pd.DataFrame:
    """Images of a source: patients of 3 to 40 slices, the positive ones a run of slices of some of them."""
    sizes = rng.integers(3, 41, SOURCES[name])
    patients = np.repeat(np.arange(len(sizes)), sizes)[: SOURCES[name]]
    table = pd.DataFrame({"image_id": [f"{name}/{row:05d}" for row in range(len(patients))], "source": name})
    table["patient_id"] = [f"{name}:{patient}" for patient in patients]
    order = rng.permutation(patients.max() + 1)[patients]
    first = np.lexsort((np.arange(len(patients)), order))[: POSITIVES_OF[name]]
    table["positive"] = False
    table.loc[first, "positive"] = True
    return table


def draw_labels(rng: np.random.Generator, table: pd.DataFrame) -> pd.DataFrame:
    """Classes of the positive images, four slices of a patient alike, as many of each as COUNTS says; each has one."""
    runs = table["patient_id"] + " " + (table.groupby("patient_id").cumcount() // 4).astype("str")
    labels = pd.DataFrame(False, index=table.index, columns=list(STUDY.labels))
    for name, count in COUNTS.items():
        able = table["positive"] & (table["source"].eq("roboflow") if name in RARE else True)
        order = runs.map(dict(zip(runs.unique(), rng.permutation(runs.nunique()), strict=True)))
        rows = table.index[able][np.argsort(order[able], kind="stable")]
        labels.loc[rows[:count], name] = True
    common = labels.columns.drop(list(RARE))
    for row in table.index[table["positive"] & ~labels.any(axis=1)]:
        name = str(rng.choice(common))
        donors = labels.index[labels[name] & (labels.sum(axis=1) > 1)]
        labels.loc[rng.choice(donors), name] = False
        labels.loc[row, name] = True
    labels = labels.astype("boolean")
    labels.loc[table["source"] == "v3", list(RARE)] = pd.NA
    return labels


def draw_study(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Images and labels tables of the author's size."""
    rng = np.random.default_rng(seed)
    table = pd.concat([draw_source(rng, name) for name in SOURCES], ignore_index=True)
    labels = draw_labels(rng, table)
    images = images_table(table[["image_id", "source", "patient_id"]].to_dict("records"))
    return images, pd.concat([table["image_id"], labels], axis=1)


@pytest.fixture(scope="module", params=[0, 1])
def study(request):
    """Images, labels, groups, split and receipt of one draw."""
    images, labels = draw_study(request.param)
    groups = find_groups(images)
    split = assign_split(images, groups, labels, OPTIONS)
    receipt = verify_split(images, groups, labels, split, OPTIONS.ratios)
    return images, labels, split, receipt


def test_the_tables_are_of_the_authors_size(study):
    images, labels, _, _ = study
    assert len(images) == IMAGES == 14_645
    shares = images["source"].value_counts(normalize=True)
    assert [round(shares[name], 3) for name in SOURCES] == [0.48, 0.255, 0.265]
    classes = labels.set_index("image_id")
    assert classes.any(axis=1).sum() == POSITIVES == 7_184
    assert classes.sum().to_dict() == COUNTS
    assert classes[images["source"].eq("v3").to_numpy()][list(RARE)].isna().all(axis=None)


def test_every_subset_has_its_share_of_images(study):
    _, _, split, _ = study
    for subset, share in OPTIONS.ratios.model_dump().items():
        assert abs((split["subset"] == subset).mean() - share) < 0.005


def test_negatives_are_half_of_each_subset_by_itself_and_nothing_is_dropped_for_it(study):
    images, labels, split, _ = study
    policies = describe_balance(images, labels, split, OPTIONS)["policies"]
    without = balanced_columns(labels, ["none"])["none"].dropna()
    natural = without.mean()
    for subset in SUBSETS:
        assert abs(policies[subset]["share"] - 0.5) <= 0.02
        assert abs(policies[subset]["share"] - natural) < 0.01  # it is balanced by: nothing need be dropped
    assert split["dropped_by"].notna().sum() == 0


def test_each_class_has_its_share_in_each_subset(study):
    images, labels, split, _ = study
    found = count_subsets(images, labels, split)
    for subset, share in OPTIONS.ratios.model_dump().items():
        for name, total in COUNTS.items():
            expected = total * share
            assert abs(found[subset]["labels"][name]["positive"] - expected) <= max(2, 0.05 * expected), (subset, name)


def test_no_image_of_v3_is_a_negative_of_what_was_not_looked_for(study):
    images, labels, split, receipt = study
    of_v3 = images["source"].eq("v3")
    for name in RARE:
        unknown = sum(receipt["subsets"][subset]["labels"][name]["unknown"] for subset in SUBSETS)
        kept = split.loc[split["dropped_by"].isna(), "image_id"]
        assert unknown == images.loc[of_v3, "image_id"].isin(kept).sum()
    without_box = of_v3.to_numpy() & ~labels.drop(columns="image_id").fillna(False).any(axis=1).to_numpy()
    assert without_box.sum() == SOURCES["v3"] - POSITIVES_OF["v3"]
    dropped = split.loc[split["dropped_by"].notna(), "image_id"]
    assert not images.loc[without_box, "image_id"].isin(dropped).any()  # neither negative nor positive


def test_sources_are_spread_alike_and_patients_are_whole(study):
    images, _, split, receipt = study
    rows = split.merge(images[["image_id", "source", "patient_id"]], on="image_id")
    shares = rows.groupby("subset")["source"].value_counts(normalize=True).unstack()
    assert (shares - images["source"].value_counts(normalize=True)).abs().max(axis=None) < 0.01
    assert rows.groupby("patient_id")["subset"].nunique().max() == 1
    assert receipt["leak_free"]
