"""The phantom sources of ich_detection: equal for equal seeds, each of their defects met by curation and grouping."""

import hashlib

import pytest
import yaml
from curate_folders import REPOSITORY

from scanline.acquire.manifest import make_manifest
from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms import ich_coco, ich_negatives, ich_roboflow
from scanline.config import load_config
from scanline.curate.merge import count_flow, merge_sources
from scanline.curate.options import CurateSource
from scanline.curate.scan import curate_source
from scanline.split.groups import find_groups
from scanline.split.keys import sibling_keys

MAIN = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text("utf-8"))
STUDY = load_config(MAIN, REPOSITORY).studies["ich_detection"]
LAYOUTS = {"v3": (ich_coco, 10), "roboflow": (ich_roboflow, 7), "no_hem": (ich_negatives, 3)}


def source(name, seed=11, slices=6):
    layout, patients = LAYOUTS[name]
    return PhantomSource(
        method="phantom",
        path="data/x",
        layout=layout.__name__.rpartition(".")[2],
        patients=patients,
        slices_per_patient=slices,
        image_size_px=128,
        seed=seed,
    )


def digest(folder):
    content = b"".join(path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.is_file())
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    for name, (layout, _) in LAYOUTS.items():
        (folder / name).mkdir()
        layout.write(folder / name, source(name))
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
def images(curated):
    """Images and groups of all sources, one row an image."""
    merged = merge_sources([tables for tables, _ in curated.values()], STUDY.labels)
    return merged.images.merge(find_groups(merged.images, merged.thumbnails), on="image_id")


@pytest.mark.parametrize("name", ["v3", "roboflow", "no_hem"])
def test_equal_options_give_equal_bytes(folders, tmp_path, name):
    layout, _ = LAYOUTS[name]
    (tmp_path / "again").mkdir()
    layout.write(tmp_path / "again", source(name))
    assert digest(tmp_path / "again") == digest(folders / name)


def test_v3_hides_what_it_was_not_boxed_for_and_each_defect_is_counted(curated):
    tables, flow = curated["v3"]
    assert tables.labels[["edh", "hc"]].isna().all(axis=None)
    assert flow["refused_by_reason"] == {"image_not_in_annotations": 1}
    rows = flow["refused_rows_by_reason"]
    assert rows.pop("box_of_unknown_image") >= 1  # the boxes of the image that is not listed, however many
    assert rows == {
        "box_of_missing_image": 1,
        "box_outside_image": 1,
        "box_zero_area": 1,
        "class_ignored": 1,
        "duplicate_box": 1,
        "image_file_missing": 2,
    }
    assert flow["repaired_by_reason"] == {"box_clipped": 1}
    drawn = [one for one in ich_coco.draw_patient(source("v3"), "v3", 3, ich_coco.PATTERNS[3]) if one.boxes]
    assert "EDH" in {label for one in drawn for label, *_ in one.boxes}  # the fourth patient has one, unboxed


def test_the_export_has_all_kinds_and_siblings_across_its_subsets(curated):
    tables, flow = curated["roboflow"]
    assert all(flow["labels"][name]["positive"] > 0 and flow["labels"][name]["unknown"] == 0 for name in STUDY.labels)
    assert flow["repaired_by_reason"] == {"box_clipped": 1}
    assert flow["noted_by_reason"] == {"not_in_layout": 1, "parent_category": 3}
    keys = sibling_keys(tables.images).dropna()
    subsets = tables.images.loc[keys.index, "image_id"].str.split("/").str[1]
    assert subsets.groupby(keys).nunique().max() == 2


def test_the_negatives_are_read_from_pictures_and_from_dicom(curated):
    tables, flow = curated["no_hem"]
    assert flow["refused_by_reason"] == {"image_unreadable": 1}
    assert not tables.labels.drop(columns="image_id").any(axis=None)
    assert tables.labels.notna().all(axis=None)
    assert set(tables.images["patient_id"]) == {"no_hem:1001", "no_hem:1002", "no_hem:1003"}
    of_dicom = tables.images["path"].str.endswith(".dcm")
    assert of_dicom.sum() == 6
    assert tables.images.loc[of_dicom, "window_width_hu"].eq(80).all()
    means = tables.images.groupby(of_dicom)["grey_mean"].mean()
    assert abs(means[True] - means[False]) < 20  # the same grey, whichever the file


def test_a_patient_of_two_sources_is_one_group(images):
    sources = images.groupby("group_id")["source"].agg(set)
    assert sources[sources.map(len) > 1].tolist() == [{"v3", "roboflow"}] * 2
    common = images[images["patient_id"].isin(["v3:c000", "roboflow:c000"])]
    assert common["group_id"].nunique() == 1
