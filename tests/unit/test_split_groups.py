"""Groups: the transitive closure of patient, volume, sibling and identical informative file."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_cohorts import images_table, patients_table, shuffled

from scanline.core.errors import InputError
from scanline.split.groups import find_groups
from scanline.split.keys import KINDS, sibling_keys, tie_keys

small = st.sampled_from([None, "1", "2", "3", "4"])
names = st.sampled_from(["a", "b", "a_aug0", "a_aug1", "b_jpg.rf.0f1e", "train/a_aug3", "c/a", "c/a_aug2", "d/e"])


@st.composite
def cohorts(draw):
    chosen = draw(st.lists(st.tuples(st.sampled_from(["s", "t"]), names), min_size=1, max_size=18, unique=True))
    extra = draw(st.integers(0, 6))
    ids = [(source, name) for source, name in chosen] + [("s", f"lone/{index}") for index in range(extra)]
    return images_table(
        [
            {
                "image_id": f"{source}/{name}",
                "source": source,
                "patient_id": draw(small),
                "volume_id": draw(small),
                "sha256": draw(small.filter(bool)),
                "phash": draw(st.sampled_from([None, "7"])),
            }
            for source, name in ids
        ]
    )


def naive_partition(images: pd.DataFrame) -> set[frozenset[str]]:
    """Union of any two rows that share a key, until nothing changes."""
    keys = tie_keys(images)
    rows = [{(kind, row[kind]) for kind in KINDS if isinstance(row[kind], str)} for row in keys.to_dict("records")]
    groups = [({image_id}, held) for image_id, held in zip(images["image_id"], rows, strict=True)]
    changed = True
    while changed:
        changed = False
        for one in range(len(groups)):
            for other in range(one + 1, len(groups)):
                if groups[one][1] & groups[other][1]:
                    members, held = groups.pop(other)
                    groups[one] = (groups[one][0] | members, groups[one][1] | held)
                    changed = True
                    break
            if changed:
                break
    return {frozenset(members) for members, _ in groups}


def partition(groups: pd.DataFrame) -> set[frozenset[str]]:
    return {frozenset(rows) for _, rows in groups.groupby("group_id")["image_id"]}


@settings(max_examples=60, deadline=None)
@given(cohorts())
def test_groups_are_the_transitive_closure(images):
    groups = find_groups(images)
    assert sorted(groups["image_id"]) == sorted(images["image_id"])
    assert partition(groups) == naive_partition(images)


@settings(max_examples=25, deadline=None)
@given(cohorts(), st.integers(0, 99))
def test_row_order_changes_nothing(images, seed):
    pd.testing.assert_frame_equal(find_groups(images), find_groups(shuffled(images, seed)))


def test_names_are_the_smallest_patient_or_image():
    images = images_table(
        [
            {"image_id": "s/2", "patient_id": "b", "volume_id": "v"},
            {"image_id": "s/3", "patient_id": "a", "volume_id": "v"},
            {"image_id": "s/1", "volume_id": "v"},
            {"image_id": "s/5", "sha256": "x"},
            {"image_id": "s/4", "sha256": "x"},
        ]
    )
    assert find_groups(images)["group_id"].tolist() == ["a", "a", "a", "image:s/4", "image:s/4"]


def test_blank_images_and_nulls_never_tie():
    blank = {"sha256": "blank", "phash": None}
    images = images_table([{"image_id": f"s/{index}", "patient_id": f"p{index}", **blank} for index in range(5)])
    assert find_groups(images)["group_id"].nunique() == 5
    lone = images_table([{"image_id": f"s/{index}"} for index in range(5)])
    assert find_groups(lone)["group_id"].nunique() == 5
    informative = images.assign(phash=pd.Series(["f0"] * 5, dtype="str"))
    assert set(find_groups(informative)["group_id"]) == {"p0"}


def test_equal_phash_alone_never_ties():
    images = images_table([{"image_id": f"s/{index}", "phash": "same"} for index in range(5)])
    assert find_groups(images)["group_id"].nunique() == 5


@pytest.mark.parametrize(
    ("one", "other", "tied"),
    [
        ("s/a", "s/a_aug0", True),
        ("s/a_aug1", "s/a_aug9", True),
        ("s/a_aug1", "s/a_aug10", False),
        ("s/a_jpg.rf.0a1b2c", "s/a_jpg.rf.ffff00", True),
        ("s/train/images/a_jpg.rf.0a1b2c", "s/valid/images/a_jpg.rf.ffff00", True),
        ("s/a_jpg.rf.0a1b2c", "s/a", True),
        ("s/a_aug2_png.rf.0a1b2c", "s/a", True),
        ("s/a.rf.0a1b2c_aug2", "s/a", True),
        ("s/benign/1_aug0", "s/malignant/1_aug1", False),
        ("s/a_aug0", "s/b_aug0", False),
        ("s/a_aug0", "t/a_aug0", False),
        ("s/train/a", "s/test/a", False),
        ("s/a_augment", "s/a", False),
        ("s/_aug0", "s/_aug1", False),
    ],
)
def test_siblings(one, other, tied):
    rows = [{"image_id": image_id, "source": image_id[0]} for image_id in (one, other)]
    images = images_table(rows)
    assert (len(set(find_groups(images)["group_id"])) == 1) == tied
    assert sibling_keys(images).notna().all() or not tied


def test_a_false_tie_stops_and_names_what_bridges():
    images = patients_table([10] * 60)
    images.loc[images["image_id"].isin([f"s/{patient:03d}_00" for patient in range(12)]), "sha256"] = "same"
    with pytest.raises(InputError) as caught:
        find_groups(shuffled(images))
    message = str(caught.value)
    assert "12 patients or other units tied into 120 of 600 images (20%)" in message
    assert "sha256 same (12 units, e.g. s/000_00 and s/001_00)" in message
    assert "\n" not in message


def test_many_bridges_are_listed_shortly():
    images = patients_table([10] * 60)
    for patient in range(20):
        tied = images["image_id"].isin([f"s/{patient:03d}_01", f"s/{patient + 1:03d}_00"])
        images.loc[tied, "sha256"] = f"x{patient:02d}"
    with pytest.raises(InputError, match=r"x00 .* and 15 keys more; expected at most 5%"):
        find_groups(images)


def test_one_large_patient_is_no_bridge():
    assert find_groups(patients_table([400] + [5] * 60))["group_id"].nunique() == 61


def test_one_large_volume_without_patients_is_no_bridge():
    rows = [{"image_id": f"s/v{index:03d}", "volume_id": "v"} for index in range(50)]
    rows += [{"image_id": f"s/i{index:03d}"} for index in range(100)]
    assert find_groups(images_table(rows))["group_id"].nunique() == 101


@pytest.mark.parametrize(
    ("n_patients", "n_tied", "stops"),
    [
        (10, 9, False),
        (19, 19, False),
        (24, 2, False),
        (24, 3, True),
        (39, 2, False),
        (60, 3, False),
        (60, 4, True),
    ],
)
def test_small_studies(n_patients, n_tied, stops):
    images = patients_table([16] * n_patients)
    images.loc[images["image_id"].isin([f"s/{patient:03d}_00" for patient in range(n_tied)]), "sha256"] = "same"
    if stops:
        with pytest.raises(InputError, match="bridged by"):
            find_groups(images)
    else:
        assert find_groups(images)["group_id"].nunique() == n_patients - n_tied + 1


def test_no_images_and_twice_the_same():
    with pytest.raises(InputError, match="found no images"):
        find_groups(patients_table([3]).iloc[:0])
    images = patients_table([3])
    with pytest.raises(InputError, match="'s/000_00'; expected every image once"):
        find_groups(pd.concat([images, images.iloc[:1]], ignore_index=True))


def test_many_images_fast():
    rng = np.random.default_rng(0)
    n_images = 20_000
    images = patients_table([2] * (n_images // 2))
    images["sha256"] = pd.Series(rng.permutation(n_images)).astype("str")
    assert find_groups(images)["group_id"].nunique() == n_images // 2
