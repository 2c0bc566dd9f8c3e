"""dataset_metadata.json: both counts of slices with tears, sums that add up, and overlap that is found."""

from dataclasses import replace

import pandas as pd
import pytest

from scanline.core.errors import InputError
from scanline.prepare.detection_set import select_set
from scanline.prepare.set_metadata import describe_dataset, overlapping_keys


@pytest.fixture
def tables():
    """Six volumes of four slices; the even ones have a box on slice 1, volume 0 on slice 2 too."""
    subsets = ["train", "train", "val", "val", "test", "test"]
    rows = [
        (f"s/{v}/{k}", f"v{v}", subsets[v], v % 2 == 0 and (k == 1 or (v == 0 and k == 2)), k)
        for v in range(6)
        for k in range(4)
    ]
    table = pd.DataFrame(rows, columns=["image_id", "volume_id", "subset", "tear", "k"])
    images = table[["image_id", "volume_id"]].assign(
        source="s", patient_id=None, path="data/" + table["image_id"] + ".png", width=20, height=20
    )
    torn = table.loc[table["tear"], "image_id"]
    boxes = pd.DataFrame({"image_id": torn, "label": "tear", "x": 1.0, "y": 2.0, "width": 5.0, "height": 4.0})
    labels = table[["image_id", "tear"]].astype({"tear": "boolean"})
    split = table[["image_id", "subset"]].assign(group_id=table["volume_id"], dropped_by=None, reason=None)
    split.loc[(table["subset"] == "train") & ~table["tear"] & (table["k"] == 3), "dropped_by"] = "undersample"
    return images, boxes.reset_index(drop=True), labels, split


def sets(tables):
    images, boxes, labels, split = tables
    return [select_set(images, boxes, labels, split, ["tear"], with_dropped=dropped) for dropped in (False, True)]


def test_the_totals_add_up_and_both_counts_of_torn_slices_are_told(tables):
    described = describe_dataset(*sets(tables), tables[3])
    train, total = described["statistics"]["train"], described["statistics"]["total"]
    assert (train["images"], train["with_box"], train["without_box"], train["boxes"]) == (6, 2, 4, 2)
    assert train["of_volumes_with_box"] == 3  # of the four slices of volume 0 one is dropped
    assert train["left_out"]["dropped"] == 2
    assert (total["images"], total["with_box"], total["of_volumes_with_box"]) == (22, 4, 11)
    assert described["images_in_split"] == 24 == total["images"] + sum(total["left_out"].values())
    assert described["volume_statistics"]["total"] == {"volumes": 6, "with_box": 3, "without_box": 3}
    assert described["volume_statistics"]["val"] == {"volumes": 2, "with_box": 1, "without_box": 1}
    assert described["no_overlap_verified"] is True


def test_a_volume_in_two_subsets_is_found(tables):
    tables[3].loc[tables[3]["image_id"] == "s/0/0", "subset"] = "test"
    whole, curated = sets(tables)
    assert overlapping_keys(curated.images) == ["volume_id v0"]
    with pytest.raises(InputError, match=r"no_overlap_verified: found volume_id v0 in two subsets; expected"):
        describe_dataset(whole, curated, tables[3])


def test_a_patient_or_file_in_two_subsets_is_refused(tables):
    images, *others = tables
    images.loc[images["volume_id"].isin(["v0", "v4"]), "patient_id"] = "p"
    with pytest.raises(InputError, match="found patient_id p in two subsets; expected each volume, patient and file"):
        describe_dataset(*sets((images, *others)), tables[3])


def test_lost_images_are_told(tables):
    whole, curated = sets(tables)
    with pytest.raises(InputError, match=r"images_in_split: found parts that sum to 24"):
        describe_dataset(whole, curated, pd.concat([tables[3], tables[3].head(1)]))
    strayed = whole.boxes.assign(image_id=["of no image", *whole.boxes["image_id"].iloc[1:]])
    with pytest.raises(InputError, match="boxes"):
        describe_dataset(replace(whole, boxes=strayed), curated, tables[3])
