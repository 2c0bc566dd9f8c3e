"""What several runs say together: averages and fused boxes, in the form in which one network's predictions come."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanline.core.errors import InputError
from scanline.core.run_names import name_seed
from scanline.predict.activation_maps import divide_by_maximum, read_stacked_maps, write_maps
from scanline.predict.ensemble import (
    average_activation_maps,
    average_probability_maps,
    average_tables,
    fuse_tables,
)
from scanline.predict.ensemble_options import BoxFusion, FuseDetectionsOptions, FusedRun
from scanline.predict.probability_maps import ProbabilityMaps
from scanline.predict.probability_maps import write_maps as write_probability_maps

MEMBERS = (FusedRun(model="a", seed=1), FusedRun(model="b", seed=2, weight=3))


def scores(*probability):
    ids = [f"i{place}" for place in range(len(probability))]
    truth = [place % 2 == 0 for place in range(len(probability))]
    return pd.DataFrame({"image_id": ids, "subset": "test", "truth": truth, "probability": probability})


def test_probabilities_are_averaged_by_weight():
    mean = average_tables([scores(0.0, 1.0, 0.5), scores(1.0, 0.0, 0.5)], MEMBERS)
    assert mean["probability"].tolist() == [0.75, 0.25, 0.5]
    assert mean.columns.tolist() == ["image_id", "subset", "truth", "probability"]
    assert mean["truth"].tolist() == [True, False, True]


def test_each_label_is_averaged_and_unknown_truth_stays_unknown():
    truth = pd.array([True, None], dtype="boolean")
    tables = [
        pd.DataFrame({"image_id": ["x", "y"], "probability_l": [p, p], "truth_l": truth, "probability_m": [q, q]})
        for p, q in ((0.2, 0.4), (0.6, 0.8))
    ]
    mean = average_tables(tables, (MEMBERS[0], MEMBERS[0].model_copy(update={"seed": 2})))
    np.testing.assert_allclose(mean[["probability_l", "probability_m"]], [[0.4, 0.6], [0.4, 0.6]])
    assert mean["truth_l"].isna().tolist() == [False, True]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_members_that_agree_are_left_as_they_are(probability):
    table = scores(*probability)
    mean = average_tables([table, table], (MEMBERS[0], MEMBERS[0]))
    assert mean["probability"].tolist() == probability


@pytest.mark.parametrize(
    "other",
    [scores(0.1), scores(0.1, 0.2).assign(truth=[False, True]), scores(0.1, 0.2).iloc[::-1]],
    ids=["fewer images", "another truth", "another order"],
)
def test_members_of_other_images_are_refused_by_name(other):
    with pytest.raises(InputError, match="predictions of b, seed 2: found other images or other truth than those of a"):
        average_tables([scores(0.1, 0.2), other], MEMBERS)


def test_activation_maps_of_two_sizes_are_averaged_at_the_larger():
    small = np.array([[[0, 0], [1, 1]]], dtype=np.float16)
    large = np.zeros((1, 4, 4), np.float16)
    large[0, 0, 0] = 1
    mean = average_activation_maps([small, large], [1, 3])
    assert mean.shape == (1, 4, 4)
    assert mean.dtype == np.float16
    assert mean.max() == 1
    assert mean[0, 0, 0] == 1
    np.testing.assert_allclose(mean[0, 3], 1 / 3, atol=1e-3)


def test_members_without_activation_maps_are_left_out():
    maps = np.array([[[0, 0.5], [1, 0]]], dtype=np.float16)
    none = np.empty((0, 1, 1), np.float16)
    np.testing.assert_array_equal(average_activation_maps([none, maps], [1, 1]), maps)
    assert len(average_activation_maps([none, none], [1, 1])) == 0


def test_a_map_without_evidence_stays_zero():
    maps = np.stack([np.zeros((2, 2)), np.array([[0.0, 0.25], [0.5, 0.0]])])
    np.testing.assert_array_equal(divide_by_maximum(maps), [np.zeros((2, 2)), [[0, 0.5], [1, 0]]])


def test_activation_maps_are_read_as_they_were_written(tmp_path):
    cams = np.random.default_rng(0).random((2, 3, 4, 4)).astype(np.float16)
    write_maps(["x", "y"], cams, ("l", "m", "n"), tmp_path / "cams.npz")
    image_ids, back = read_stacked_maps(tmp_path / "cams.npz")
    assert image_ids == ["x", "y"]
    np.testing.assert_array_equal(back, cams)
    (tmp_path / "cams.npz").write_text("no archive")
    with pytest.raises(InputError, match="expected an archive with the arrays image_id and cam"):
        read_stacked_maps(tmp_path / "cams.npz")


def stored_maps(folder, *maps):
    folder.mkdir()
    write_probability_maps(folder / "maps.npz", maps)
    table = pd.DataFrame({"image_id": [f"i{k}" for k in range(len(maps))], "subset": "val", "row": range(len(maps))})
    table.to_parquet(folder / "maps.parquet")
    return ProbabilityMaps(folder / "maps.npz", folder / "maps.parquet")


def test_probability_maps_are_averaged_by_weight_and_rounded(tmp_path):
    members = [
        stored_maps(tmp_path / "a", np.full((2, 2), 255, np.uint8)),
        stored_maps(tmp_path / "b", np.array([[0, 1], [2, 255]], np.uint8)),
    ]
    (mean,) = average_probability_maps(members, [1, 3])
    assert mean.dtype == np.uint8
    np.testing.assert_array_equal(mean, [[64, 64], [65, 255]])  # 63.75, 64.5 to the even 64, 65.25


def test_probability_maps_of_two_sizes_are_refused(tmp_path):
    members = [stored_maps(tmp_path / name, np.zeros((k, k), np.uint8)) for name, k in (("a", 2), ("b", 3))]
    with pytest.raises(InputError, match="image 'i0': found sizes"):
        list(average_probability_maps(members, [1, 1]))


def detections(*rows):
    columns = ["image_id", "subset", "label", "x", "y", "width", "height", "score"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype(dict.fromkeys(columns[:3], "str") | dict.fromkeys(columns[3:], "float64"))


LOOKED_AT = pd.DataFrame({"image_id": ["i", "j", "k"], "subset": ["val", "test", "test"]}, dtype="str")
OPTIONS = FuseDetectionsOptions(members=MEMBERS, weighted_boxes_fusion=BoxFusion())


def test_boxes_are_fused_image_by_image_and_class_by_class():
    first = detections(
        ("i", "val", "iph", 0, 0, 10, 10, 0.8),
        ("i", "val", "sah", 0, 0, 10, 10, 0.4),
        ("j", "test", "iph", 5, 5, 4, 4, 0.4),
    )
    second = detections(("i", "val", "iph", 0, 0, 10, 10, 0.4))
    fused = fuse_tables([first, second], [LOOKED_AT, LOOKED_AT], OPTIONS)
    assert fused.columns.tolist() == first.columns.tolist()
    assert fused.dtypes.tolist() == first.dtypes.tolist()
    assert fused[["image_id", "subset", "label"]].to_numpy().tolist() == [
        ["i", "val", "iph"],
        ["i", "val", "sah"],
        ["j", "test", "iph"],
    ]
    # Weights 1 and 3: (0.8 + 1.2) / 2 * 2 / 4, and alone 0.4 / 4.
    np.testing.assert_allclose(fused["score"], [0.5, 0.1, 0.1])
    np.testing.assert_allclose(fused[["x", "y", "width", "height"]].iloc[2], [5, 5, 4, 4])


def test_no_boxes_at_all_give_an_empty_table_of_the_same_columns():
    fused = fuse_tables([detections(), detections()], [LOOKED_AT, LOOKED_AT], OPTIONS)
    assert len(fused) == 0
    assert fused.dtypes.tolist() == detections().dtypes.tolist()


def test_of_an_image_the_best_hundred_boxes_are_kept_and_none_below_the_least_score():
    rows = [("i", "val", "iph", 20 * k, 0, 10, 10, 0.001 + k / 1000) for k in range(150)]
    fused = fuse_tables([detections(*rows), detections()], [LOOKED_AT, LOOKED_AT], OPTIONS)
    assert len(fused) == 100
    assert fused["score"].is_monotonic_decreasing
    few = fuse_tables([detections(rows[0]), detections()], [LOOKED_AT, LOOKED_AT], OPTIONS)  # 0.001 / 4
    assert len(few) == 0


def test_members_that_looked_at_other_images_are_refused():
    with pytest.raises(InputError, match="predictions of b, seed 2"):
        fuse_tables([detections(), detections()], [LOOKED_AT, LOOKED_AT.iloc[1:]], OPTIONS)
    with pytest.raises(InputError, match="3 files for 2 members"):
        fuse_tables([detections()] * 3, [LOOKED_AT] * 3, OPTIONS)


def test_an_ensemble_is_named_by_its_members_and_a_network_by_its_seed():
    assert name_seed("ensemble_yolo", 0, 3) == "ensemble of 3"
    assert name_seed("ensemble_yolo", 0) == "ensemble"
    assert name_seed("yolov8n", 0) == "seed 0"
