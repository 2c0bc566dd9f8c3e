import json
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from segmentation_study import SIZE, TARGET, UNKNOWN_IDS, make_segmentation_study

import cache_masks as script
from scanline.core.errors import InputError
from scanline.prepare.masks import MaskOptions, cache_masks, load_mask, resize_mask
from scanline.prepare.segmentation_samples import load_mask_samples, require_lesions

OPTIONS = MaskOptions(image_size_px=SIZE, target=TARGET, sources=("s",))


@pytest.fixture
def study(tmp_path):
    return make_segmentation_study(tmp_path)


def tables(study):
    return (pd.read_parquet(study[name]) for name in ("images", "labels", "index"))


def samples_of(study):
    return load_mask_samples(**{name: study[name] for name in ("pixels", "index", "masks", "split")})


def averaged(mask, size):
    """Area average by brute force: each pixel cut into so many that both grids fall on the cuts."""
    height, width = mask.shape
    fine = np.kron(mask, np.ones((size, size)))
    return fine.reshape(size, height, size, width).mean(axis=(1, 3))


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.integers(1, 12))
def test_a_resized_pixel_is_lesion_where_half_its_area_is(seed, height, width, size):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    expected = averaged(mask, size) >= 0.5 - 1e-9
    assert np.array_equal(resize_mask(mask, size), expected.astype(np.uint8))


def test_a_mask_of_the_caches_size_stays_as_it_is():
    mask = np.random.default_rng(0).random((16, 16)) < 0.3
    assert np.array_equal(resize_mask(mask, 16), mask)


def test_a_resized_mask_lies_where_the_resized_image_does():
    from scanline.prepare.pixels import resize

    mask = np.zeros((90, 150), dtype=bool)
    mask[20:61, 33:100] = True
    image = resize((mask * 255).astype(np.uint8), 32)
    assert np.array_equal(resize_mask(mask, 32), image > 127)


def test_the_cache_holds_masks_in_the_pixel_caches_rows_and_255_where_unknown(study, tmp_path):
    images, labels, index = tables(study)
    shuffled = index.assign(row=np.random.default_rng(1).permutation(len(index)))
    counts = cache_masks(images, labels, shuffled, OPTIONS, tmp_path / "other.npy")
    masks = np.load(tmp_path / "other.npy")
    assert (masks.dtype, masks.shape) == (np.uint8, (40, SIZE, SIZE))
    rows = shuffled.set_index("image_id")["row"]
    for image in images.itertuples():
        mask = masks[rows[image.image_id]]
        if image.image_id in UNKNOWN_IDS:
            assert (mask == 255).all()
        else:
            assert np.array_equal(mask, resize_mask(np.asarray(Image.open(image.mask_path)) > 0, SIZE))
    assert (counts.lesion, counts.none, counts.unknown, counts.lost) == (18, 19, 3, 0)


def test_masks_of_a_source_that_outlines_another_class_are_unknown(study, tmp_path):
    images, labels, index = tables(study)
    images.loc[:3, "source"] = "t"
    assert cache_masks(images, labels, index, OPTIONS, tmp_path / "other.npy").unknown == 7
    assert (np.load(tmp_path / "other.npy")[:4] == 255).all()


def test_a_lesion_too_small_for_the_cache_is_counted(study, tmp_path):
    images, labels, index = tables(study)
    mask = np.zeros((48, 64), dtype=np.uint8)
    mask[10, 10] = 255
    Image.fromarray(mask).save(images["mask_path"][1])
    counts = cache_masks(images, labels, index, OPTIONS, tmp_path / "other.npy")
    assert (counts.lesion, counts.none, counts.lost) == (17, 20, 1)


def test_every_grey_value_above_0_is_lesion(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[0, 1], [7, 255]], dtype=np.uint8)).save(path)
    assert load_mask(path, 2, 2, 2).tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: Image.new("L", (48, 64)).save(path), "a mask of 48 x 64 px; expected 64 x 48 px"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "intact mask"),
        (lambda path: path.unlink(), "no such file"),
    ],
)
def test_a_mask_that_changed_after_curation_is_one_line(study, tmp_path, damage, message):
    images, labels, index = tables(study)
    damage(study["images"].parent / "s_p04_2_mask.png")
    with pytest.raises(InputError, match=message):
        cache_masks(images, labels, index, OPTIONS, tmp_path / "other.npy")
    assert not list(tmp_path.glob("*other*"))


def test_tables_that_do_not_fit_are_one_line(study, tmp_path):
    images, labels, index = tables(study)
    with pytest.raises(InputError, match="no row for image 's/p00_0'"):
        cache_masks(images, labels, index[1:], OPTIONS, tmp_path / "other.npy")
    with pytest.raises(InputError, match="the column oedema"):
        cache_masks(images, labels.rename(columns={TARGET: "bleed"}), index, OPTIONS, tmp_path / "other.npy")


def test_the_script_writes_the_same_cache(study, tmp_path, monkeypatch):
    files = {name: study[name] for name in ("images", "labels", "index")} | {"masks": tmp_path / "again.npy"}
    words = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    monkeypatch.setattr(sys, "argv", ["cache_masks.py", "--options", OPTIONS.model_dump_json(), *words])
    script.main()
    assert (tmp_path / "again.npy").read_bytes() == study["masks"].read_bytes()
    assert json.loads(OPTIONS.model_dump_json())["sources"] == ["s"]


def test_unknown_masks_are_in_no_subset_and_are_counted(study):
    samples = samples_of(study)
    assert {name: len(part) for name, part in samples.known.items()} == {"train": 23, "val": 7, "test": 7}
    assert samples.count_unknown() == {"test": 1, "train": 1, "val": 1}
    ids = {name for part in samples.known.values() for name in part.image_ids}
    assert not ids & set(UNKNOWN_IDS)
    assert [samples.unknown[name].image_ids[0] for name in ("train", "val", "test")] == list(UNKNOWN_IDS)
    train = samples.known["train"]
    assert (train.masks[train.rows] != 255).all()
    assert train.truth[:, 0].tolist() == [float(train.masks[row].any()) for row in train.rows]


def test_samples_leave_out_what_balancing_dropped(study):
    split = pd.read_parquet(study["split"])
    split.loc[0, "dropped_by"] = "undersample"
    split.to_parquet(study["split"])
    assert len(samples_of(study).known["train"]) == 22


def test_caches_of_other_shapes_are_one_line(study):
    np.save(study["masks"], np.zeros((40, 16, 16), np.uint8))
    with pytest.raises(InputError, match=r"masks of shape \(40, 16, 16\)"):
        samples_of(study)


def test_a_subset_without_lesion_is_one_line(study):
    masks = np.load(study["masks"])
    masks[24:32] = 0
    np.save(study["masks"], masks)
    samples = samples_of(study)
    require_lesions(samples.known, ("train",), study["split"])
    with pytest.raises(InputError, match="subset val: found 8 images of known mask, none with lesion"):
        require_lesions(samples.known, ("train", "val"), study["split"])
