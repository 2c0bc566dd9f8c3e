"""The gate: any image in a wrong subset is caught, leaks are counted exactly, receipts and scripts say so."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_cohorts import RATIOS, grouped, images_table, naive, patients_table, random_cohort, shuffled

from scanline.core.errors import InputError
from scanline.core.tables import GROUPS, IMAGES, SPLIT, THUMBNAILS, labels_schema, read_table, write_table
from scanline.split.groups import find_groups
from scanline.split.keys import KINDS, tie_keys
from scanline.split.naive import assign_naive_image
from scanline.split.protocols import assign_split
from scanline.split.receipt import describe_balance
from scanline.split.verify import LeakError, count_naive_leaks, find_leaks, verify_split

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
IMAGES_AND_LABELS = random_cohort(5, 24)


def good_split():
    images, labels = IMAGES_AND_LABELS
    groups = find_groups(images)
    return images, groups, labels, assign_split(images, groups, labels, grouped())


GOOD = good_split()


def subsets(images, **placed):
    """Groups and split of images by hand: image_id without its source to subset."""
    groups = find_groups(images)
    split = groups.assign(subset=[placed[name.removeprefix("s/")] for name in groups["image_id"]])
    return groups, split.assign(dropped_by=None, reason=None)


def no_labels(images):
    return pd.DataFrame({"image_id": images["image_id"]})


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_single_image_moved_is_caught(data):
    images, groups, labels, split = GOOD
    row = data.draw(st.integers(0, len(split) - 1))
    other = data.draw(st.sampled_from(sorted({"train", "val", "test", "external"} - {split["subset"].iloc[row]})))
    moved = split.copy()
    moved.loc[moved.index[row], "subset"] = other
    with pytest.raises(LeakError) as caught:
        verify_split(images, groups, labels, shuffled(moved, row))
    assert split["image_id"].iloc[row].rsplit("_")[0] in str(caught.value)
    assert "1 shared patient_id" in str(caught.value)


def test_a_good_split_passes_and_its_receipt_adds_up():
    images, groups, labels, split = GOOD
    receipt = verify_split(shuffled(images), shuffled(groups), shuffled(labels), shuffled(split), RATIOS)
    json.dumps(receipt, allow_nan=False)
    assert receipt == verify_split(images, groups, labels, split, RATIOS)
    assert receipt["protocol"] == "grouped"
    assert receipt["leak_free"] is True
    assert receipt["compared_thumbnails"] == len(receipt["nearest_pairs"]) == 0
    assert set(receipt["leaks"]) == {*KINDS, "group_id", "phash"}
    assert all(leak["shared"] == 0 == leak["test_images"] for leak in receipt["leaks"].values())
    assert sum(counts["images"] for counts in receipt["subsets"].values()) == len(images)
    assert sum(counts["patients"] for counts in receipt["subsets"].values()) == 24
    assert sum(counts["share"] for counts in receipt["subsets"].values()) == pytest.approx(1)
    for name in ("bleed", "oedema"):
        counts = [counts["labels"][name] for counts in receipt["subsets"].values()]
        assert sum(count["positive"] for count in counts) == labels[name].sum()
        assert sum(count["unknown"] for count in counts) == labels[name].isna().sum()
        assert all(
            count["prevalence"] == count["positive"] / (count["positive"] + count["negative"]) for count in counts
        )
    assert [counts["target_share"] for counts in receipt["subsets"].values()] == [0.70, 0.15, 0.15]
    assert "target_share" not in verify_split(*GOOD)["subsets"]["train"]


def test_prevalence_without_known_labels_is_null():
    images = patients_table([1, 1, 1])
    groups, split = subsets(images, **{"000_00": "train", "001_00": "val", "002_00": "test"})
    labels = no_labels(images).assign(bleed=pd.array([None, True, False], "boolean"))
    receipt = verify_split(images, groups, labels, split)
    prevalences = [counts["labels"]["bleed"]["prevalence"] for counts in receipt["subsets"].values()]
    assert prevalences == [None, 1.0, 0.0]


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("patient_id", {"patient_id": "p"}, {"patient_id": "p"}),
        ("volume_id", {"volume_id": "v"}, {"volume_id": "v"}),
        ("sha256", {"sha256": "same"}, {"sha256": "same"}),
        ("sibling", {"image_id": "s/a"}, {"image_id": "s/a_aug1"}),
        ("sibling", {"image_id": "s/train/a_jpg.rf.0f"}, {"image_id": "s/valid/a_jpg.rf.1e"}),
    ],
)
@pytest.mark.parametrize("subset", ["val", "test", "external"])
def test_every_kind_stops_without_the_groups_table_knowing(kind, one, other, subset):
    images = images_table(
        [
            {"image_id": "s/x", **one},
            {"image_id": "s/y", **other},
            *({"image_id": f"s/{name}"} for name in ("l", "m", "n")),
        ]
    )
    ids = images["image_id"]
    lone = pd.DataFrame({"image_id": ids, "group_id": ids})
    split = lone.assign(subset=["train", subset, "train", "val", "test"], dropped_by=None, reason=None)
    with pytest.raises(LeakError, match=rf"found 1 shared {kind} .{kind} .*: {ids[0]} in train, {ids[1]} in {subset}"):
        verify_split(images, lone, no_labels(images), split)


def clean_tables(n_patients):
    """Images of patients who share nothing, three each, their groups, a split by patients, and thumbnails."""
    rng = np.random.default_rng(n_patients)
    rows = [
        {"image_id": f"s/{p:02d}_{k}", "patient_id": f"p{p:02d}", "volume_id": f"v{p:02d}"}
        for p in range(n_patients)
        for k in range(3)
    ]
    hashes = rng.integers(0, 2**63, len(rows), dtype=np.uint64)
    images = images_table([{**row, "phash": f"{code:016x}"} for row, code in zip(rows, hashes, strict=True)])
    pixels = [rng.integers(0, 250, 1024, np.uint8) for _ in rows]
    thumbnails = pd.DataFrame({"image_id": images["image_id"], "thumbnail": [one.tobytes() for one in pixels]})
    groups = find_groups(images, thumbnails)
    place = images["patient_id"].rank(method="dense").astype(int) % 4
    split = groups.assign(subset=place.map(dict(enumerate(["test", "train", "val", "external"]))))
    return images, thumbnails, groups, split.assign(dropped_by=None, reason=None)


def plant(kind, tables, victim, source):
    """Make one key of `victim`, a row, that of `source`, in the tables that are handed to the gate."""
    images, thumbnails, groups, split = (table.copy() for table in tables)
    if kind == "group_id":
        for table in (groups, split):
            table.loc[victim, "group_id"] = table.loc[source, "group_id"]
    elif kind == "sibling":
        for table in (images, thumbnails, groups, split):
            table.loc[victim, "image_id"] = table.loc[source, "image_id"] + "_aug1"
    elif kind == "near_duplicate":
        images.loc[victim, "phash"] = f"{int(images.loc[source, 'phash'], 16) ^ 0b101:016x}"
        pixels = np.frombuffer(thumbnails.loc[source, "thumbnail"], np.uint8) + np.arange(1024, dtype=np.uint8) % 4
        thumbnails.loc[victim, "thumbnail"] = pixels.tobytes()
    else:
        images.loc[victim, kind] = images.loc[source, kind]
    return images, thumbnails, groups, split


def test_nothing_is_told_of_clean_tables():
    images, thumbnails, groups, split = clean_tables(12)
    receipt = verify_split(images, groups, no_labels(images), split, thumbnails=thumbnails)
    assert receipt["leak_free"] is True
    assert {leak["shared"] for leak in receipt["leaks"].values()} == {0}


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([*KINDS, "group_id"]), st.data())
def test_a_leak_planted_in_any_of_its_six_forms_is_told_and_nothing_else(kind, data):
    tables = clean_tables(12)
    subset = tables[3]["subset"]
    source = data.draw(st.integers(0, len(subset) - 1))
    victim = data.draw(st.sampled_from([row for row in range(len(subset)) if subset[row] != subset[source]]))
    images, thumbnails, groups, split = plant(kind, tables, victim, source)
    handed = [shuffled(table, victim) for table in (images, groups, no_labels(images), split)]
    receipt = count_naive_leaks(*handed, thumbnails=shuffled(thumbnails, source))
    held = {name: leak["shared"] for name, leak in receipt["leaks"].items() if name != "phash"}
    assert receipt["leak_free"] is False
    assert held.pop(kind) == 1
    assert set(held.values()) == {0}
    in_test = {subset[victim], subset[source]} == {"train", "test"}
    assert (receipt["leaks"][kind]["test_images"] > 0) == in_test
    with pytest.raises(LeakError, match=rf"found 1 shared {kind} ") as caught:
        verify_split(*handed, thumbnails=thumbnails)
    assert images["image_id"][victim].removesuffix("_aug1")[:4] in str(caught.value)


def near_tables(same_picture):
    """Five images of hashes within 3 bits, the first two of one picture or not, and their thumbnails."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 240, (5, 32, 32))
    if same_picture:
        pixels[1] = pixels[0] + rng.integers(0, 9, (32, 32))
    names = [f"s/{name}" for name in "xylmn"]
    rows = [{"image_id": name, "phash": f"{0b111 >> place:016x}"} for place, name in enumerate(names)]
    thumbnails = [one.astype(np.uint8).tobytes() for one in pixels]
    return images_table(rows), pd.DataFrame({"image_id": names, "thumbnail": thumbnails})


@pytest.mark.parametrize("subset", ["val", "test", "external"])
def test_a_confirmed_near_duplicate_stops_and_a_near_hash_alone_does_not(subset):
    for same_picture in (True, False):
        images, thumbnails = near_tables(same_picture)
        ids = images["image_id"]
        lone = pd.DataFrame({"image_id": ids, "group_id": ids})
        split = lone.assign(subset=["train", subset, "train", "val", "test"], dropped_by=None, reason=None)
        tables = images, lone, no_labels(images), split
        naive_receipt = count_naive_leaks(*tables, thumbnails=thumbnails)
        leak = naive_receipt["leaks"]["near_duplicate"]
        nearest = naive_receipt["nearest_pairs"][0]
        assert (nearest["correlation"] >= 0.99) is same_picture
        assert same_picture is (nearest["images"] == ["s/x", "s/y"] and nearest["subsets"] == ["train", subset])
        assert leak["shared"] == int(same_picture)
        assert leak["test_images"] == int(same_picture and subset == "test")
        assert naive_receipt["leak_free"] is not same_picture
        if same_picture:
            where = rf"near_duplicate s/x: s/x in train, s/y in {subset}"
            with pytest.raises(LeakError, match=rf"found 1 shared near_duplicate .{where}.; expected .*near-duplicate"):
                verify_split(*tables, thumbnails=thumbnails)
        receipt = verify_split(*tables) if same_picture else verify_split(*tables, thumbnails=thumbnails)
        assert receipt["leak_free"] is True
        assert receipt["compared_thumbnails"] == (0 if same_picture else 5)
        assert receipt["leaks"]["near_duplicate"]["compared"] == receipt["compared_thumbnails"]
        assert receipt["leaks"]["sibling"]["compared"] == receipt["leaks"]["group_id"]["compared"] == len(tables[0])


def test_a_parted_group_stops_even_where_no_key_tells():
    images = images_table([{"image_id": f"s/{name}"} for name in "abc"])
    groups = pd.DataFrame({"image_id": images["image_id"], "group_id": ["g", "g", "h"]})
    split = groups.assign(subset=["train", "test", "val"], dropped_by=None, reason=None)
    with pytest.raises(LeakError, match=r"1 shared group_id .group_id g: s/a in train, s/b in test"):
        verify_split(images, groups, no_labels(images), split)


def test_blank_files_and_equal_phash_do_not_stop():
    blank = {"sha256": "blank", "phash": None}
    alike = {"phash": "alike"}
    images = images_table(
        [
            {"image_id": "s/a", **blank},
            {"image_id": "s/b", **blank},
            {"image_id": "s/c", **alike},
            {"image_id": "s/d", **alike},
        ]
    )
    groups, split = subsets(images, a="train", b="val", c="train", d="test")
    receipt = verify_split(images, groups, no_labels(images), split)
    assert receipt["leak_free"]
    assert receipt["leaks"]["phash"] == {"compared": 2, "shared": 1, "test_images": 1, "test_images_share": 1.0}
    assert receipt["leaks"]["sha256"]["shared"] == 0


def test_the_message_lists_few_pairs_in_one_line():
    images, groups, labels, _ = GOOD
    with pytest.raises(LeakError) as caught:
        verify_split(images, groups, labels, assign_naive_image(groups, naive()))
    message = str(caught.value)
    assert message.count(" in train, ") <= 6
    assert "23 shared patient_id (patient_id p000: s/000_" in message  # one patient of 24 fell into train whole
    assert "\n" not in message


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_naive_leaks_are_counted_exactly(seed):
    images, labels = random_cohort(seed, 8)
    images = images.assign(
        volume_id=(images["patient_id"] + images["image_id"].str[-1:]).where(images.index % 3 > 0),
        phash=images["phash"].mask(images.index % 7 == 0),
        sha256=pd.Series(images.index % 50, index=images.index)
        .astype("str")
        .where(images.index % 2 == 0, images["sha256"]),
    )
    groups = find_groups(images)
    split = assign_naive_image(groups, naive(seed))
    receipt = count_naive_leaks(images, groups, labels, split, RATIOS)
    subset = split.set_index("image_id")["subset"].to_dict()
    keys = tie_keys(images).assign(
        phash=images["phash"], group_id=images["image_id"].map(groups.set_index("image_id")["group_id"])
    )
    for kind, leak in receipt["leaks"].items():
        held: dict[str, list[str]] = {}
        for image_id, key in zip(images["image_id"], keys[kind], strict=True):
            if isinstance(key, str):
                held.setdefault(key, []).append(subset[image_id])
        shared = sum(len(set(where)) > 1 for where in held.values())
        leaking = sum(where.count("test") for where in held.values() if "train" in where)
        assert (leak["shared"], leak["test_images"]) == (shared, leaking), kind
        assert leak["test_images_share"] == leaking / (split["subset"] == "test").sum()
    assert receipt["leak_free"] is False
    assert receipt["protocol"] == "naive_image"


def test_a_naive_split_of_unrelated_images_says_that_nothing_leaks():
    images = images_table([{"image_id": f"s/{index}"} for index in range(10)])
    groups = find_groups(images)
    receipt = count_naive_leaks(images, groups, no_labels(images), assign_naive_image(groups, naive()))
    assert receipt["leak_free"] is True
    assert receipt["subsets"]["train"]["patients"] == 0


def test_dropped_images_are_not_counted_but_still_leak():
    images = patients_table([2, 1, 1])
    groups, split = subsets(images, **{"000_00": "train", "000_01": "train", "001_00": "val", "002_00": "test"})
    split.loc[1, ["dropped_by", "reason"]] = ["undersample", "negative"]
    assert verify_split(images, groups, no_labels(images), split)["subsets"]["train"]["images"] == 1
    split.loc[1, "subset"] = "test"
    assert find_leaks(images, groups, split)["patient_id"].shared == 1
    with pytest.raises(LeakError):
        verify_split(images, groups, no_labels(images), split)


def test_tables_of_other_images_stop():
    images, groups, labels, split = GOOD
    with pytest.raises(InputError, match=r"split table: image_id: found 1 images missing .* first 's/000_00'"):
        verify_split(images, groups, labels, split.iloc[1:])
    with pytest.raises(InputError, match="images table: image_id: found 1 images missing that groups table has"):
        verify_split(images.iloc[1:], groups, labels, split)
    with pytest.raises(InputError, match="labels table: image_id: found 2 images missing"):
        verify_split(images, groups, labels.iloc[2:], split)
    with pytest.raises(InputError, match="column image_id"):
        verify_split(images, groups, labels, pd.concat([split, split.iloc[:1]]))
    with pytest.raises(InputError, match="column subset"):
        verify_split(images, groups, labels, split.assign(subset=split["subset"].where(split.index > 0)))
    with pytest.raises(InputError, match="found no image in val"):
        verify_split(images, groups, labels, split.assign(subset=split["subset"].replace("val", "train")))
    with pytest.raises(InputError, match="group_id of s/000_00: found 'other'; expected 'p000'"):
        verify_split(images, groups, labels, split.assign(group_id=split["group_id"].replace("p000", "other")))


def run_script(rule, **arguments):
    flags = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
    return subprocess.run(
        [sys.executable, SCRIPTS / f"{rule}.py", *flags],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SCRIPTS)},
        check=False,
    )


def test_the_scripts_run_one_after_another(tmp_path):
    images, labels = IMAGES_AND_LABELS
    files = {name: tmp_path / f"{name}.parquet" for name in ("images", "labels", "groups", "split")}
    thumbnails = {"thumbnails": tmp_path / "thumbnails.parquet"}
    write_table(images.assign(phash=None), files["images"], IMAGES)
    write_table(pd.DataFrame({"image_id": [], "thumbnail": []}), thumbnails["thumbnails"], THUMBNAILS)
    write_table(labels, files["labels"], labels_schema(["bleed", "oedema"]))
    receipt = tmp_path / "receipt.json"
    options = {"options": grouped().model_dump_json()}
    made = run_script("group_images", images=files["images"], **thumbnails, groups=files["groups"])
    assert made.returncode == 0, made.stderr
    assert "24 patients in 24 groups" in made.stderr
    made = run_script("split_grouped", **files, **options)
    assert made.returncode == 0, made.stderr
    pd.testing.assert_frame_equal(read_table(files["groups"], GROUPS), GOOD[1])
    pd.testing.assert_frame_equal(read_table(files["split"], SPLIT), GOOD[3])
    made = run_script("verify_split", **files, **thumbnails, **options, receipt=receipt)
    assert made.returncode == 0, made.stderr
    told = describe_balance(images, labels, GOOD[3], grouped())
    assert json.loads(receipt.read_text()) == {**verify_split(images.assign(phash=None), *GOOD[1:], RATIOS), **told}

    naive_files = {**files, "split": tmp_path / "naive.parquet"}
    options = {"options": naive().model_dump_json()}
    made = run_script("split_naive_image", **naive_files, **thumbnails, **options, receipt=receipt)
    assert made.returncode == 0, made.stderr
    assert json.loads(receipt.read_text())["leak_free"] is False
    refused = tmp_path / "refused.json"
    options = {"options": grouped().model_dump_json()}
    made = run_script("verify_split", **naive_files, **thumbnails, **options, receipt=refused)
    assert made.returncode == 1
    assert "23 shared patient_id" in made.stderr
    assert "Traceback" not in made.stderr
    assert not refused.exists()
