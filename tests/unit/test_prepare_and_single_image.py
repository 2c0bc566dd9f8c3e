import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from scanline.core.errors import InputError
from scanline.core.files import write_json
from scanline.predict.single_image import overlay, predict_image
from scanline.prepare.pixels import cache_pixels, load_pixels, resize
from scanline.prepare.samples import load_samples
from scanline.train.torchvision_classifier import ClassifierSpec, build_classifier, save_classifier


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for number in range(5):
        path = tmp_path / f"slice '{number}'.png"
        Image.fromarray(rng.integers(0, 256, (48, 40), dtype=np.uint8)).save(path)
        paths.append(str(path))
    return pd.DataFrame({"image_id": [f"s/{number}" for number in range(5)], "path": paths})


def test_cache_holds_each_image_resized_in_its_row(images, tmp_path):
    index = cache_pixels(images, 32, tmp_path / "pixels.npy", threads=2)
    pixels = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    assert pixels.shape == (5, 32, 32)
    assert pixels.dtype == np.uint8
    for image_id, row in zip(index["image_id"], index["row"], strict=True):
        path = images.set_index("image_id").loc[image_id, "path"]
        assert np.array_equal(pixels[row], resize(np.asarray(Image.open(path)), 32))


def test_a_damaged_image_leaves_no_half_written_cache(images, tmp_path):
    from pathlib import Path

    damaged = Path(images["path"][3])
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.raises(InputError, match="intact image"):
        cache_pixels(images, 32, tmp_path / "pixels.npy", threads=2)
    assert not (tmp_path / "pixels.npy").exists()
    assert not list(tmp_path.glob(".pixels*"))


def test_resize_averages_when_it_shrinks():
    checkerboard = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.abs(resize(checkerboard, 8).astype(int) - 127).max() <= 2


def test_samples_name_what_is_missing(training_files):
    index = pd.read_parquet(training_files["index"])
    index.iloc[1:].to_parquet(training_files["index"])
    with pytest.raises(InputError, match=r"no row for image 's/000' \(1 such\)"):
        load_samples(**training_files, target="bleed")


def test_samples_leave_out_what_balancing_dropped(training_files):
    split = pd.read_parquet(training_files["split"])
    split.loc[0, "dropped_by"] = "undersample"
    split.to_parquet(training_files["split"])
    assert len(load_samples(**training_files, target="bleed")["train"]) == 35


def test_one_image_gives_class_probability_and_picture(images, tmp_path):
    torch.manual_seed(0)
    spec = ClassifierSpec("resnet18", 1, 64, (0.5,), (0.25,), ("bleed",))
    save_classifier(tmp_path / "model.pt", spec, build_classifier(spec))
    write_json(tmp_path / "operating_point.json", {"threshold": 0.001, "temperature": None})
    image, picture = Path(images["path"][0]), tmp_path / "cam.png"
    answer = json.loads(predict_image(image, tmp_path / "model.pt", tmp_path / "operating_point.json", picture))
    assert answer["class"] == "bleed"
    assert 0 < answer["probability"] < 1
    assert answer["positive"] is True
    assert Image.open(picture).size == (896, 448)
    write_json(tmp_path / "cooled.json", {"threshold": 0.001, "temperature": 0.25})
    cooled = json.loads(predict_image(image, tmp_path / "model.pt", tmp_path / "cooled.json", tmp_path / "same.png"))
    log_odds = [np.log(one["probability"] / (1 - one["probability"])) for one in (answer, cooled)]
    assert log_odds[1] == pytest.approx(4 * log_odds[0], rel=1e-3)
    with pytest.raises(InputError, match="nothing there yet"):
        predict_image(image, tmp_path / "model.pt", None, picture)
    with pytest.raises(InputError, match="intact image"):
        predict_image(tmp_path / "model.pt", tmp_path / "model.pt", None, tmp_path / "other.png")


def test_overlay_leaves_the_left_half_plain_and_colours_the_evidence():
    pixels = np.full((64, 64), 100, np.uint8)
    cam = np.zeros((4, 4), np.float32)
    cam[0, 0] = 1
    picture = overlay(pixels, cam[None], [""], display_px=64)
    assert picture.shape == (64, 128, 3)
    assert (picture[:, :64] == 100).all()
    assert (picture[40:, 110:] == 100).all()
    assert picture[2, 66, 0] > 150
    assert picture[2, 66, 2] < 60


def test_load_pixels_of_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_pixels(tmp_path / "none.png", 32)
