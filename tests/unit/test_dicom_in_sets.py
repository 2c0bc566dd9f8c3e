"""DICOM among the images of a detection set: copies, caches and exports show it through its window."""

from pathlib import Path

import numpy as np
import pytest
from augmented_study import CLASSES, make_study
from PIL import Image
from source_folders import dicom

from scanline.core.dicom import decode_dicom
from scanline.core.images import Window
from scanline.prepare.detection_set import select_set
from scanline.prepare.offline_augmentation import augment_shard, originals_of_shard
from scanline.prepare.options import OfflineAugmentation
from scanline.prepare.pixels import cache_pixels, extend_cache
from scanline.prepare.set_export import ExportOptions, export_set

WINDOW = Window(50.0, 120.0)
UNCHANGED = {"affine": 0.0, "horizontal_flip": 0.0, "pad": 0.0, "brightness_contrast": 0.0, "clahe": 0.0, "noise": 0.0}


@pytest.fixture
def tables(tmp_path):
    """Tables of a study whose first training image is DICOM, and the grey that it shows."""
    made = make_study(tmp_path / "study").tables
    subset = made.split.set_index("image_id")["subset"]
    row = int(np.flatnonzero(made.images["image_id"].map(subset) == "train")[0])
    size = tuple(made.images.loc[row, ["height", "width"]])
    content = dicom(np.random.default_rng(0).integers(-100, 200, size).astype(np.int16))
    (tmp_path / "slice.dcm").write_bytes(content)
    images = made.images.assign(window_center_hu=None, window_width_hu=None).astype({"window_center_hu": "Float64"})
    images = images.astype({"window_width_hu": "Float64"})
    images.loc[row, ["window_center_hu", "window_width_hu"]] = WINDOW.center_hu, WINDOW.width_hu
    images.loc[row, "path"] = str(tmp_path / "slice.dcm")
    return made, images, row, decode_dicom(content, WINDOW)[0]


def test_an_export_holds_the_windowed_image_as_png(tables, tmp_path):
    made, images, row, grey = tables
    whole = select_set(images, made.boxes, made.labels, made.split, CLASSES)
    options = ExportOptions(targets=CLASSES, format="coco", files="hard_link", partly_known="keep", salt=None)
    export_set(whole, options, tmp_path / "coco")
    (png,) = [path for path in (tmp_path / "coco/images/train").iterdir() if path.stem.endswith(named(images, row))]
    assert png.suffix == ".png"
    assert np.array_equal(np.asarray(Image.open(png)), grey)


def named(images, row):
    return Path(images.loc[row, "image_id"]).name


def test_copies_are_windowed_and_are_no_dicom_themselves(tables, tmp_path):
    made, images, row, grey = tables
    options = OfflineAugmentation(factor=2, file_format="png", **UNCHANGED)
    originals = originals_of_shard(images, made.boxes, made.split, 0, 1)
    copies, _ = augment_shard(originals, options, tmp_path / "copies", 1)
    copy = copies[copies["original_id"] == images.loc[row, "image_id"]].iloc[0]
    assert np.array_equal(np.asarray(Image.open(copy["path"])), grey)
    assert copies[["window_center_hu", "window_width_hu"]].isna().all(axis=None)


def test_a_larger_cache_decodes_dicom_as_a_new_one_does(tables, tmp_path):
    _, images, row, _ = tables
    whole = cache_pixels(images, 32, tmp_path / "whole.npy", 1)
    others = images.drop(index=row)
    index = cache_pixels(others, 32, tmp_path / "others.npy", 1)
    assert len(extend_cache(tmp_path / "others.npy", index, images, tmp_path / "larger.npy", 1)) == len(whole)
    assert np.array_equal(np.load(tmp_path / "larger.npy"), np.load(tmp_path / "whole.npy"))
