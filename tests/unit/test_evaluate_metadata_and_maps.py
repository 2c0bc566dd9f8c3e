"""What the study's tables say of its images: subgroups, and lesions to score the maps against."""

import numpy as np
import pandas as pd
import pytest

from scanline.core.errors import InputError
from scanline.evaluate.activation_maps import measure_maps, read_maps
from scanline.evaluate.metadata import percent_in_boxes, subgroups_of

IDS = [f"i{number}" for number in range(8)]


def images(**columns):
    return pd.DataFrame({"image_id": IDS[::-1], "width": 100, "height": 50, **columns})


def boxes(sides):
    """A box of each side length, on the first images."""
    table = pd.DataFrame({"image_id": IDS[: len(sides)], "label": "bleed", "x": 0.0, "y": 0.0})
    return table.assign(width=np.array(sides, float), height=np.array(sides, float))


def grouped(table, found, columns=("sex", "age_years", "view", "lesion_size"), truth=None):
    truth = pd.Series([True] * 8 if truth is None else truth, dtype="boolean")
    return subgroups_of(IDS, table, columns, (40, 65), percent_in_boxes(IDS, table, found, truth))


def test_columns_are_matched_by_image_and_kept_in_order():
    table = images(view=list("ABABABAB"), sex=["male"] * 4 + ["female"] * 4)
    groups = grouped(table, boxes([]))
    assert list(groups) == ["sex", "view"]
    assert groups["sex"].tolist() == ["female"] * 4 + ["male"] * 4
    assert groups["view"].tolist() == list("BABABABA")


def test_columns_that_tell_nothing_apart_are_left_out():
    assert dict(grouped(images(sex=["male"] * 7 + [None], view=[None] * 8), boxes([]))) == {}


def test_ages_are_cut_into_bands():
    groups = grouped(images(age_years=[70, 70, 50, 50, 30, 30, np.nan, 30]), boxes([]))
    assert groups["age_years"].tolist()[2] == "under 40 years"
    assert groups["age_years"].isna().sum() == 1


def test_lesion_sizes_are_percent_of_the_image_and_unknown_without_a_box():
    truth = [True] * 7 + [False]
    groups = grouped(images(), boxes([5, 10, 15, 20, 25, 30]), truth=truth)["lesion_size"]
    # 0.5, 2, 4.5, 8, 12.5 and 18% of 5,000 pixels; image 6 is positive without a box, image 7 negative
    assert (
        groups.tolist()[:6]
        == ["under 3.67 % of the image"] * 2
        + ["3.67 to under 9.5 % of the image"] * 2
        + ["9.5 % of the image and over"] * 2
    )
    assert pd.isna(groups[6])
    assert groups[7] == "no lesion"


def test_the_size_of_an_unknown_lesion_is_unknown():
    truth = pd.Series([True, True, False, None, None, False, True, True], dtype="boolean")
    percent = percent_in_boxes(IDS, images(), boxes([10, 20, 30, 40]), truth)
    np.testing.assert_array_equal(percent, [2, 8, 0, np.nan, np.nan, 0, np.nan, np.nan])


def test_several_boxes_of_an_image_add_up():
    two = pd.concat([boxes([10, 20, 30]), boxes([20, 20, 30])])
    one = boxes([10, 20, 30])
    sizes = [grouped(images(), found)["lesion_size"].tolist()[:3] for found in (one, two)]
    assert sizes[0] != sizes[1]


def table_of(truth):
    return pd.DataFrame({"image_id": IDS, "patient_id": "p", "subset": "test", "truth": truth})


def test_only_positive_images_with_a_box_and_a_map_are_measured():
    maps = {name: np.eye(4) for name in IDS[1:]}
    truth = [True, True, False, True, True, True, True, True]
    measured = measure_maps(table_of(truth), maps, images(), boxes([10] * 5))
    assert measured["image_id"].tolist() == ["i1", "i3", "i4"]
    nothing = measure_maps(table_of(truth), {}, images(), boxes([10]))
    assert nothing.empty
    assert nothing["pointing_hit"].dtype == "float64"


@pytest.mark.parametrize(("left", "hit"), [(24.9, 1.0), (25.1, 0.0)])
def test_a_maximum_within_half_a_cell_of_the_box_is_a_hit(left, hit):
    cam = np.zeros((4, 4), np.float16)
    cam[0, 0] = 1  # its cell is 25 x 12.5 pixels, its centre at (12.5, 6.25): half of the longer side is 12.5
    found = boxes([10]).assign(x=left)
    measured = measure_maps(table_of([True] * 8), {"i0": cam}, images(), found)
    assert measured["pointing_hit"].tolist() == [hit]


def test_an_archive_without_maps_is_refused_in_one_line(tmp_path):
    np.savez(tmp_path / "maps.npz", other=np.zeros(2))
    for name in ("maps.npz", "none.npz"):
        with pytest.raises(InputError, match=r"npz: found .*; expected an archive with the arrays image_id and cam"):
            read_maps(tmp_path / name)
    np.savez(tmp_path / "maps.npz", image_id=np.array(["a"]), cam=np.ones((1, 2, 2)))
    assert read_maps(tmp_path / "maps.npz")["a"].shape == (2, 2)
