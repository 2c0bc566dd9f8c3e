"""The phantom sources of ct_hematoma: equal for equal seeds, each of their defects handled by the study's own rules."""

import hashlib

import numpy as np
import pytest
import yaml
from curate_folders import REPOSITORY

from scanline.acquire.manifest import make_manifest
from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms import ct_hematoma_external, ct_hematoma_internal
from scanline.config import load_config
from scanline.curate.merge import count_flow, merge_sources
from scanline.curate.options import CurateSource
from scanline.curate.scan import curate_source
from scanline.prepare.pixels import cache_pixels, resize
from scanline.report.study import describe_split
from scanline.split.groups import find_groups
from scanline.split.options import target_ratios
from scanline.split.protocols import assign_split
from scanline.split.receipt import describe_balance
from scanline.split.verify import verify_split

MAIN = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text("utf-8"))
STUDY = load_config(MAIN, REPOSITORY).studies["ct_hematoma"]
LAYOUTS = {"internal": (ct_hematoma_internal, 30), "external": (ct_hematoma_external, 12)}


def source(name, seed=3):
    layout, cases = LAYOUTS[name]
    return PhantomSource(
        method="phantom",
        path="data/x",
        layout=layout.__name__.rpartition(".")[2],
        patients=cases,
        slices_per_patient=2,
        image_size_px=80,
        seed=seed,
    )


def digest(folder):
    content = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    return hashlib.sha256(content).hexdigest()


def draw(folder, name, seed=3):
    folder.mkdir(parents=True)
    LAYOUTS[name][0].write(folder, source(name, seed))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    for name in LAYOUTS:
        draw(folder / name, name)
    return folder


@pytest.fixture(scope="module")
def curated(folders):
    """Name of each source to its tables and its flow."""
    found = {}
    for name in LAYOUTS:
        options = CurateSource(folder=str(folders / name), labels=STUDY.labels, curate=STUDY.sources[name].curate)
        files = make_manifest(folders / name)
        tables = curate_source(name, files, folders / "files.parquet", options)
        found[name] = tables, count_flow(files, tables, folders / "files.parquet")
    return found


@pytest.fixture(scope="module")
def split(curated):
    merged = merge_sources([tables for tables, _ in curated.values()], STUDY.labels)
    groups = find_groups(merged.images, merged.thumbnails)
    options = STUDY.splits["grouped"]
    return merged, groups, assign_split(merged.images, groups, merged.labels, options), options


@pytest.mark.parametrize("name", LAYOUTS)
def test_equal_seeds_give_equal_bytes(folders, tmp_path, name):
    assert digest(draw(tmp_path / "again", name)) == digest(folders / name)
    assert digest(draw(tmp_path / "other", name, seed=4)) != digest(folders / name)


def test_every_defect_is_met_by_a_rule(curated):
    flow = curated["internal"][1]
    assert flow["refused_by_reason"] == {
        "class_ignored": 1,
        "duplicate_file": 1,
        "duplicate_of_another_class": 2,
        "image_unreadable": 3,
        "no_class_folder": 1,
    }
    repaired = flow["repaired_by_reason"]
    assert (repaired["exif_orientation"], repaired["first_frame"]) == (1, 1)
    assert repaired["sixteen_bits"] > 0


def test_each_image_has_one_class(curated):
    for tables, _ in curated.values():
        truth = tables.labels.drop(columns="image_id").astype("Int64")
        assert truth.notna().all(axis=None)
        assert (truth.sum(axis=1) == 1).all()
        assert (truth.sum() > 0).all()


def test_the_turned_picture_stands_upright_in_the_cache(curated, tmp_path):
    images = curated["internal"][0].images
    place = images.index[images["image_id"].str.endswith("/turned")][0]
    row = images.loc[place]
    _, upright = ct_hematoma_internal._next_case(source("internal"), 1)
    assert (row["height"], row["width"]) == upright.shape
    assert row["repairs"] == "exif_orientation"
    cache_pixels(images, 48, tmp_path / "pixels.npy", 1)
    cached = np.load(tmp_path / "pixels.npy")[place].astype(float)
    sums = [
        np.corrcoef(np.rot90(cached, turns).ravel(), resize(upright, 48).astype(float).ravel())[0, 1]
        for turns in range(4)
    ]
    assert int(np.argmax(sums)) == 0
    assert sums[0] > 0.99


def test_near_duplicates_inside_are_one_group(split):
    _, groups, _, _ = split
    group_of = groups.set_index("image_id")["group_id"]
    smaller = next(name for name in group_of.index if name.endswith("/smaller"))
    assert group_of[smaller] == group_of[smaller.replace("smaller", "turned")]


def test_external_duplicates_leave_the_internal_side_and_are_listed(split):
    merged, groups, table, options = split
    rows = table.set_index("image_id")
    seen = rows[rows["dropped_by"].eq("external_sources")]
    assert [name.split("/")[1:] for name in sorted(seen.index)] == [
        ["subarachnoid", "seen_004_0"],
        ["subdural", "seen_smaller"],
    ]
    assert rows.loc[rows.index.str.startswith("external/"), "dropped_by"].isna().all()
    assert (rows.loc[rows.index.str.startswith("external/"), "subset"] == "external").all()
    receipt = verify_split(
        merged.images, groups, merged.labels, table, target_ratios(options), merged.thumbnails, "grouped"
    )
    receipt |= describe_balance(merged.images, merged.labels, table, options)
    assert receipt["dropped"] == {"external_sources": 2}
    assert [entry["image"] for entry in receipt["seen_outside"]] == sorted(seen.index)
    assert all(name.startswith("external/") for entry in receipt["seen_outside"] for name in entry["of"])
    page = describe_split("grouped", receipt)
    assert page["n_seen_outside"] == 2
    assert page["seen_outside"][0]["of"] == receipt["seen_outside"][0]["of"][0]
    assert "no more: two images of one patient may stand in two subsets" in page["words"]
