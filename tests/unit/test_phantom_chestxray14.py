"""The phantom of NIH ChestX-ray14: the official layout, findings where the labels say, boxes around them."""

import hashlib

import numpy as np
import pytest
import yaml
from curate_folders import REPOSITORY
from PIL import Image

from scanline.acquire.manifest import make_manifest
from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms import nih_chestxray14
from scanline.acquire.phantoms.chest_xray import ENLARGED, FINDINGS, draw_chest, draw_person, expose
from scanline.config import load_config
from scanline.curate.merge import count_flow
from scanline.curate.options import CurateSource
from scanline.curate.scan import curate_source
from scanline.split.groups import find_groups
from scanline.split.protocols import assign_split

MAIN = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text("utf-8"))
STUDY = load_config(MAIN, REPOSITORY).studies["chestxray14"]
SIZE = 96
PATIENTS = 100


def draw(folder, seed=9):
    folder.mkdir(parents=True)
    options = PhantomSource(
        method="phantom",
        path="data/x",
        layout="nih_chestxray14",
        patients=PATIENTS,
        slices_per_patient=8,
        image_size_px=SIZE,
        seed=seed,
    )
    nih_chestxray14.write(folder, options)
    return folder


def digest(folder):
    content = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    return hashlib.sha256(content).hexdigest()


def curate(folder, size=SIZE):
    layout = {"images": "files", "image_size_px": size}
    curate = STUDY.sources["nih_chestxray14"].curate.model_copy(update={"layout": layout})
    options = CurateSource(folder=str(folder), labels=STUDY.labels, curate=curate)
    files = make_manifest(folder)
    tables = curate_source("nih", files, folder.parent / "files.parquet", options)
    return tables, count_flow(files, tables, folder.parent / "files.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("phantom") / "raw")


@pytest.fixture(scope="module")
def curated(folder):
    return curate(folder)


def test_equal_seeds_give_equal_bytes(folder, tmp_path):
    assert digest(draw(tmp_path / "again")) == digest(folder)
    assert digest(draw(tmp_path / "other", seed=10)) != digest(folder)


def test_every_defect_is_met_by_a_rule(curated):
    _, flow = curated
    assert flow["refused_by_reason"] == {"image_not_in_table": 1, "image_unreadable": 1}
    assert flow["refused_rows_by_reason"] == {"row_without_image": 1}
    noted = flow["noted_by_reason"]
    assert noted["label_file_of_2017"] == 1
    assert noted["age_impossible"] == 1
    assert noted["channels_reduced"] == 1
    assert noted["official_list"] == 2


def test_every_finding_is_shown_and_the_classes_are_the_fourteen(curated):
    tables, flow = curated
    assert set(tables.labels.columns) - {"image_id"} == set(STUDY.labels)
    assert all(counts["positive"] > 0 for counts in flow["labels"].values())
    assert (tables.labels.drop(columns="image_id").sum(axis=1) == 0).any()  # No Finding


def test_a_few_patients_have_many_images_and_most_have_few(curated):
    images = curated[0].images
    often = images.groupby("patient_id").size()
    assert often.median() <= 3
    assert often.max() >= 6
    assert images["sex"].isin(["female", "male"]).all()
    assert set(images["view"]) == {"PA", "AP"}


def test_no_group_ties_two_patients_and_the_official_lists_hold(curated):
    tables, _ = curated
    groups = find_groups(tables.images, tables.thumbnails)
    assert groups["group_id"].nunique() == tables.images["patient_id"].nunique()
    split = assign_split(tables.images, groups, tables.labels, STUDY.splits["official"])
    listed = tables.images.set_index("image_id")["official_subset"][split["image_id"]].to_numpy()
    assert ((split["subset"] == "test").to_numpy() == (listed == "test")).all()
    assert set(split["subset"]) == {"train", "val", "test"}


def test_boxes_are_of_test_images_and_scale_with_the_images(folder, curated):
    tables, _ = curated
    subset = tables.images.set_index("image_id")["official_subset"]
    truth = tables.labels.set_index("image_id")
    assert len(tables.boxes) > 10
    for box in tables.boxes.itertuples():
        assert subset[box.image_id] == "test"
        assert truth.loc[box.image_id, box.label]
        assert 0 <= box.x <= box.x + box.width <= SIZE + 1e-6
    rows = (folder / "BBox_List_2017.csv").read_text("utf-8").splitlines()[1:]
    widths = [float(row.split(",")[4]) for row in rows]
    assert max(widths) > SIZE  # as published: of 1024 pixels
    assert sorted(tables.boxes["width"]) == pytest.approx(sorted(width * SIZE / 1024 for width in widths))


def test_images_of_another_size_than_the_layout_says_are_refused_where_they_have_boxes(folder, curated):
    tables, flow = curate(folder, size=1024)
    boxed = curated[0].boxes["image_id"].nunique()
    assert flow["refused_by_reason"]["size_differs"] == boxed
    assert tables.boxes.empty


@pytest.mark.parametrize("finding", [ENLARGED, *FINDINGS])
def test_a_finding_changes_the_pixels_of_its_mark_and_little_else(finding):
    chest = expose(np.random.default_rng(3), draw_person(np.random.default_rng(2), breasts=False), from_front=False)
    plain, none = draw_chest(np.random.default_rng(1), chest, (), SIZE)
    shown, marks = draw_chest(np.random.default_rng(1), chest, (finding,), SIZE)
    assert none == {}
    mark = marks[finding]
    change = np.abs(shown.astype(float) - plain.astype(float))
    assert 0.0005 < mark.mean() < 0.4
    assert change[mark].mean() > 2 * change[~mark].mean()


def test_images_are_grey_of_the_size_asked_for(folder):
    with Image.open(sorted((folder / "images_002/images").iterdir())[0]) as image:
        assert (image.mode, image.size) == ("L", (SIZE, SIZE))
