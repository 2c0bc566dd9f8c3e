"""The tables of an augmented set: copies beside their originals, in train alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from augmented_study import CLASSES, make_study

from scanline.core.errors import InputError
from scanline.core.tables import drawn_images
from scanline.prepare.augmented_set import augment_set, link_set, verify_augmented
from scanline.prepare.image_names import name_images
from scanline.prepare.offline_augmentation import augment_shard, originals_of_shard
from scanline.prepare.options import OfflineAugmentation
from scanline.prepare.pixels import cache_pixels, extend_cache, load_pixels

OPTIONS = OfflineAugmentation(factor=3, seed=1)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


def augment(study, folder, tables=None):
    tables = tables or study.tables
    parts = [
        augment_shard(originals_of_shard(tables.images, tables.boxes, tables.split, shard, 2), OPTIONS, folder, 1)
        for shard in range(2)
    ]
    return augment_set(tables, [part[0] for part in parts], [part[1] for part in parts])


@pytest.fixture(scope="module")
def augmented(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return link_set(augment(study, folder / "files"), folder / "train", "hard_link")


def test_only_train_is_larger_and_three_times_as_large(study, augmented):
    receipt = verify_augmented(augmented, 3, CLASSES)
    before = study.tables.split["subset"].value_counts()
    after = {subset: counts["images"] for subset, counts in receipt["subsets"].items()}
    assert after == {"train": 3 * before["train"], "val": before["val"], "test": before["test"]}
    assert receipt["subsets"]["train"]["factor"] == 3
    assert receipt["subsets"]["test"] == {"images": 8, "copies": 0, "factor": 1, "boxes": 6, "boxes_of_copies": 0}
    assert receipt["siblings_shared"] == 0


def test_the_rows_of_the_originals_are_as_they_were(study, augmented):
    count = len(study.tables.images)
    for name in ("images", "boxes", "labels", "split"):
        before, after = getattr(study.tables, name), getattr(augmented, name)
        pd.testing.assert_frame_equal(after.head(len(before))[[*before.columns]], before, check_dtype=False)
    assert augmented.images["original_id"].isna().sum() == count


def test_originals_and_copies_lie_in_one_folder_as_links(study, augmented):
    train = study.tables.split.loc[study.tables.split["subset"] == "train", "image_id"]
    names = name_images(study.tables.images)
    paths = study.tables.images.set_index("image_id")["path"]
    folder = Path(augmented.copies["path"].iloc[0]).parent
    assert len(list(folder.iterdir())) == 3 * len(train)
    for image_id in train:
        assert Path(paths[image_id]).samefile(folder / f"{names[image_id]}{Path(paths[image_id]).suffix}")
    assert all(Path(path).is_file() for path in augmented.copies["path"])


def test_a_class_that_lost_its_boxes_is_unknown_and_no_other(study, tmp_path):
    """All boxes of the copies of one image are taken away."""
    whole = augment(study, tmp_path)
    copies = whole.copies
    image_id = "south/P00/P00_003"
    mine = copies[copies["original_id"] == image_id]
    boxes = whole.boxes[
        whole.boxes["image_id"].isin(copies["image_id"]) & (whole.boxes["image_id"] != mine["image_id"].iloc[0])
    ]
    again = augment_set(study.tables, [copies], [boxes])
    truth = again.labels.set_index("image_id")
    assert truth.loc[mine["image_id"].iloc[0]].isna().all()
    assert truth.loc[image_id].all()
    background = copies.loc[copies["original_id"] == "south/P00/P00_000", "image_id"]
    assert (~truth.loc[background].astype(bool)).all(axis=None)
    assert verify_augmented(again, 3, CLASSES)["unknown"]["bleed"] >= 1


def test_a_copy_is_drawn_as_often_as_its_original_and_dropped_images_have_none(study, tmp_path):
    split = study.tables.split.copy()
    split["copies"] = pd.array([pd.NA] * len(split), dtype="Int64")
    split.loc[0, "copies"] = 2
    split.loc[1, ["dropped_by", "reason"]] = "undersample"
    whole = augment(study, tmp_path, replace(study.tables, split=split))
    drawn = drawn_images(whole.split)["image_id"].value_counts()
    assert drawn["south/P00/P00_000_aug1"] == drawn["south/P00/P00_000"] == 2
    assert "south/P00/P00_001_aug1" not in drawn
    verify_augmented(whole, 3, CLASSES)


def spoil_subset(tables):
    split = tables.split.copy()
    split.loc[split["image_id"] == "south/P00/P00_001_aug1", "subset"] = "test"
    return replace(tables, split=split)


def spoil_patient(tables):
    images = tables.images.copy()
    images.loc[images["image_id"] == "south/P00/P00_001_aug1", "patient_id"] = "south:P02"
    return replace(tables, images=images)


def spoil_number(tables):
    gone = tables.images["image_id"] == "south/P00/P00_001_aug1"
    return replace(
        tables, images=tables.images[~gone], split=tables.split[tables.split["image_id"] != "south/P00/P00_001_aug1"]
    )


def spoil_val(tables):
    """An augmentation of a val image, as if val had been augmented too."""
    split = tables.split.copy()
    split.loc[split["image_id"].str.startswith("south/P00/P00_001"), "subset"] = "val"
    return replace(tables, split=split)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_subset, "subset that is not its original's"),
        (spoil_patient, "patient_id that is not its original's"),
        (spoil_number, "copies of another number than 2"),
        (spoil_val, "a subset that is not train"),
    ],
)
def test_the_gate_stops_what_is_not_beside_its_original(augmented, spoil, words):
    with pytest.raises(InputError, match=words):
        verify_augmented(spoil(augmented), 3, CLASSES)


def test_the_larger_cache_holds_the_old_rows_and_the_decoded_copies(study, augmented, tmp_path):
    index = cache_pixels(study.tables.images, 32, tmp_path / "pixels.npy", 1)
    larger = extend_cache(tmp_path / "pixels.npy", index, augmented.images, tmp_path / "larger.npy", 1)
    before, after = np.load(tmp_path / "pixels.npy"), np.load(tmp_path / "larger.npy")
    assert larger["image_id"].tolist() == augmented.images["image_id"].tolist()
    assert np.array_equal(after[: len(before)], before)
    for row in (len(before), len(after) - 1):
        assert np.array_equal(after[row], load_pixels(Path(augmented.images["path"].iloc[row]), 32))


def test_names_are_distinct_and_safe():
    images = pd.DataFrame(
        {
            "image_id": ["a/x/0001_5", "a/y/0001_5", "a/z/a_0001_b c", "a/q", "b/0001_5"],
            "source": ["a", "a", "a", "a", "b"],
            "patient_id": ["a:0001", "a:0001", "a:0001", None, "b:0001"],
        }
    )
    names = name_images(images)
    assert names["a/z/a_0001_b c"] == "a_0001_b-c"
    assert names["a/q"] == "a_unknown_q"
    assert names["b/0001_5"] == "b_0001_5"
    assert names["a/x/0001_5"].startswith("a_0001_5_")
    assert names.is_unique
    hidden = name_images(images, "salt")
    assert hidden.is_unique
    assert not hidden.str.contains("0001").any()
    assert hidden["a/x/0001_5"].split("_")[1] == hidden["a/y/0001_5"].split("_")[1] != hidden["b/0001_5"].split("_")[1]
