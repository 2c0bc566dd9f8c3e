"""Copies of training images: the same bytes however the work is shared, and boxes that follow their pixels."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from augmented_study import make_study
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scanline.core.errors import InputError
from scanline.prepare.offline_augmentation import Augmenter, augment_image, augment_shard, originals_of_shard
from scanline.prepare.options import OfflineAugmentation

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
NOTHING = dict.fromkeys(
    ("horizontal_flip", "vertical_flip", "affine", "pad", "brightness_contrast", "clahe", "noise"), 0.0
)
HEIGHT, WIDTH = 120, 160


def options(**changes):
    return OfflineAugmentation(**{"factor": 3, **changes})


def originals(study, shard=0, shards=1):
    return originals_of_shard(study.tables.images, study.tables.boxes, study.tables.split, shard, shards)


def made_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def whole(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, *augment_shard(originals(study), options(), folder, threads=1)


def test_every_training_image_has_its_copies_and_no_other_image_has(study, whole):
    folder, images, _ = whole
    train = study.tables.split.loc[study.tables.split["subset"] == "train", "image_id"]
    expected = sorted(f"{image_id}_aug{number}" for image_id in train for number in (1, 2))
    assert sorted(images["image_id"]) == expected
    assert {Path(path).parent for path in images["path"]} == {folder}
    assert "north_P01_003_aug2.jpg" in made_files(folder)
    for path in images["path"]:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "L", (96, 64))


def test_four_shards_and_many_threads_give_the_bytes_of_one(study, whole, tmp_path):
    folder, images, boxes = whole
    parts = [
        augment_shard(originals(study, shard, 4), options(), tmp_path, threads=1 + shard) for shard in (3, 1, 0, 2)
    ]
    assert made_files(tmp_path) == made_files(folder)
    joined = pd.concat([part[0] for part in parts]).sort_values("image_id", ignore_index=True)
    assert joined["sha256"].tolist() == images.sort_values("image_id")["sha256"].tolist()
    columns = ["image_id", "label", "x", "y", "width", "height"]
    every = pd.concat([part[1] for part in parts]).sort_values(columns, ignore_index=True)
    pd.testing.assert_frame_equal(every, boxes.sort_values(columns, ignore_index=True))


def test_a_single_image_made_again_alone_is_identical(study, whole, tmp_path):
    folder, _, _ = whole
    augment_image(originals(study)[7], Augmenter(options()), tmp_path)
    made = made_files(tmp_path)
    assert len(made) == 2
    assert made.items() <= made_files(folder).items()


def test_another_seed_gives_other_bytes(study, whole, tmp_path):
    augment_image(originals(study)[7], Augmenter(options(seed=43)), tmp_path)
    before = made_files(whole[0])
    assert all(content != before[name] for name, content in made_files(tmp_path).items())


def test_png_copies_are_what_was_computed(study, tmp_path):
    original, augmenter = originals(study)[1], Augmenter(options(file_format="png"))
    augment_image(original, augmenter, tmp_path)
    pixels = np.asarray(Image.open(original.row["path"]))
    copy = augmenter(original.row["image_id"], 2, pixels, original.boxes)
    assert np.array_equal(np.asarray(Image.open(tmp_path / f"{original.name}_aug2.png")), copy.pixels)


def test_operations_are_drawn_independently():
    """With one seed for each operation, as albumentations' set_random_seed gives, all would happen or none."""
    augmenter = Augmenter(options(**{**NOTHING, "horizontal_flip": 0.5, "vertical_flip": 0.5}))
    pixels = np.arange(4, dtype=np.uint8).reshape(2, 2)
    seen = {augmenter("a", number, pixels, np.zeros((0, 4))).pixels.tobytes() for number in range(60)}
    assert len(seen) == 4


def box_strategy():
    return st.tuples(st.floats(0, WIDTH - 4), st.floats(0, HEIGHT - 4), st.floats(3, WIDTH), st.floats(3, HEIGHT)).map(
        lambda box: (box[0], box[1], min(box[2], WIDTH - box[0]), min(box[3], HEIGHT - box[1]))
    )


def turned(box, matrix):
    """The upright box around the four corners of a box that a 3 x 3 matrix moves."""
    x, y, width, height = box
    corners = np.array([[x, y, 1], [x + width, y, 1], [x, y + height, 1], [x + width, y + height, 1]]).T
    moved = (matrix @ corners)[:2]
    return np.array([*moved.min(axis=1), *moved.max(axis=1)])


@settings(max_examples=150, deadline=None)
@given(boxes=st.lists(box_strategy(), max_size=4), image=st.integers(0, 10**6))
def test_boxes_stay_inside_and_are_kept_by_their_visible_area(boxes, image):
    augmenter = Augmenter(
        options(**{**NOTHING, "affine": 1.0, "shift_share": 0.5, "scale_change": 0.5, "rotation_degrees": 90})
    )
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    copy = augmenter(str(image), 1, pixels, np.array(boxes, dtype=float).reshape(-1, 4))
    assert (copy.boxes >= 0).all()
    assert (copy.boxes[:, :2] + copy.boxes[:, 2:] <= [WIDTH + 1e-9, HEIGHT + 1e-9]).all()
    assert (copy.boxes[:, 2:] > 0).all()
    matrix = np.asarray(augmenter._pipeline.transforms[0].params["bbox_matrix"])
    kept = dict(zip(copy.rows.tolist(), copy.boxes, strict=True))
    for row, box in enumerate(boxes):
        corners = turned(box, matrix)
        inside = corners.clip(0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
        sides, left = corners[2:] - corners[:2], inside[2:] - inside[:2]
        visible = left.prod() / sides.prod()
        if abs(visible - 0.3) < 1e-3 or (abs(left - 1) < 1e-2).any():
            continue  # on the edge of a threshold
        assert (row in kept) == (visible >= 0.3 and (left >= 1).all())
        if row in kept:
            assert np.allclose(kept[row], [*inside[:2], *left], atol=0.02)


@settings(max_examples=60, deadline=None)
@given(image=st.integers(0, 10**6))
def test_boxes_follow_the_pixels(image):
    """A bright rectangle is where its box says, within a pixel, after flip, shift, scaling and margins."""
    augmenter = Augmenter(
        options(
            **{**NOTHING, "horizontal_flip": 0.5, "vertical_flip": 0.5, "affine": 0.8, "pad": 0.6}, rotation_degrees=0
        )
    )
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[40:80, 50:110] = 255
    copy = augmenter(str(image), 1, pixels, np.array([[50.0, 40.0, 60.0, 40.0]]))
    rows, columns = np.nonzero(copy.pixels > 127)
    x, y, width, height = copy.boxes[0]
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.allclose(found, [x, y, x + width, y + height], atol=1.0)


def test_grey_and_colour_copies_have_the_same_boxes():
    augmenter = Augmenter(options())
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH), dtype=np.uint8)
    boxes = np.array([[20.0, 30.0, 50.0, 40.0], [90.0, 60.0, 60.0, 50.0]])
    for number in range(10):
        grey = augmenter("a", number, pixels, boxes)
        colour = augmenter("a", number, np.repeat(pixels[:, :, None], 3, axis=2), boxes)
        assert np.array_equal(grey.boxes, colour.boxes)


def test_a_damaged_image_is_told(study, tmp_path):
    original = originals(study)[0]
    cut = tmp_path / "cut.png"
    cut.write_bytes(Path(original.row["path"]).read_bytes()[:300])
    original.row["path"] = str(cut)
    with pytest.raises(InputError, match="expected an intact image"):
        augment_image(original, Augmenter(options()), tmp_path)


def test_an_image_without_a_file_is_told(study):
    images = study.tables.images.copy()
    images.loc[3, "path"] = None
    with pytest.raises(InputError, match=r"no file \(1 such in train\)"):
        originals_of_shard(images, study.tables.boxes, study.tables.split, 0, 1)


WITHOUT_NETWORK = """
import socket
def refuse(*args, **kwargs): raise RuntimeError("asked the network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import scanline.prepare.offline_augmentation
"""


def test_nothing_asks_the_network_for_newer_versions():
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    paths = [str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    answer = subprocess.run(
        [sys.executable, "-c", WITHOUT_NETWORK],
        env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stderr == ""
