from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from scanline.core.errors import InputError
from scanline.prepare.pixels import cache_pixels, load_pixels, resize
from scanline.prepare.samples import load_samples


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


def test_the_cache_is_a_byte_a_pixel_so_that_112120_images_at_224_fit_56_gigabytes(images, tmp_path):
    cache_pixels(images, 32, tmp_path / "pixels.npy", threads=2)
    heading = (tmp_path / "pixels.npy").stat().st_size - 5 * 32 * 32
    assert heading == 128
    assert heading + 112_120 * 224 * 224 == pytest.approx(5.6e9, rel=0.005)


def test_training_maps_the_cache_and_reads_no_more_than_its_batches(training_files):
    pixels = load_samples(**training_files, target="bleed")["train"].pixels
    while not isinstance(pixels, np.memmap):
        assert isinstance(pixels, np.ndarray)
        assert pixels.base is not None  # a view, never a copy
        pixels = pixels.base
    assert pixels.mode == "r"


def test_a_damaged_image_leaves_no_half_written_cache(images, tmp_path):
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


def test_load_pixels_of_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_pixels(tmp_path / "none.png", 32)
