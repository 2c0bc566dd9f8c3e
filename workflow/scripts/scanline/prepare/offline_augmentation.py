"""Offline augmentation: changed copies of training images with their boxes, the same bytes however the work is shared.

What is done to a copy follows from the study's seed, the image_id and the copy's number alone. Each image is decoded
once for all its copies, as one grey channel.
"""

import os
import random
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import simplejpeg
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.files import sha256_of_bytes, sha256_of_text
from scanline.core.images import ImageError
from scanline.core.log import progress
from scanline.core.slices import read_slices
from scanline.core.tables import BOXES, IMAGES, validate
from scanline.curate.inspection import decode_grey
from scanline.prepare.image_names import name_images
from scanline.prepare.options import OfflineAugmentation
from scanline.prepare.windows import FRAME, REPAIRED, WINDOW, frame_of, repairs_of, window_of

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # the package asks the network for newer versions when it is imported
import albumentations

SUFFIXES = {"jpeg": ".jpg", "png": ".png"}
MIN_SIDE_PX = 1.0  # of a box that is kept
DECIMALS = 3  # of a box's coordinates in pixels: albumentations computes in float32
Grey = NDArray[np.uint8]
Boxes = NDArray[np.float64]
Rows = tuple[dict[str, Any], list[tuple[Any, ...]]]  # of a copy: its row of IMAGES, those of BOXES


@dataclass(frozen=True)
class Copy:
    """A changed copy of an image.

    Attributes:
        pixels: Shape (height, width) of the original, uint8.
        boxes: Shape (k, 4): x, y, width, height of the boxes that are left, in pixels, inside the image.
        rows: Shape (k,): which of the original's boxes they are.
    """

    pixels: Grey
    boxes: Boxes
    rows: NDArray[np.int64]


class Augmenter:
    """The operations of one augmentation. Not to be shared by threads: its operations hold the state of their draws."""

    def __init__(self, options: OfflineAugmentation) -> None:
        self.options = options
        self._pipeline = albumentations.Compose(
            operations(options),
            bbox_params=albumentations.BboxParams(
                format="coco",
                label_fields=["rows"],
                min_visibility=options.min_visibility,
                min_width=MIN_SIDE_PX,
                min_height=MIN_SIDE_PX,
                clip=True,
            ),
        )

    def __call__(self, image_id: str, copy: int, pixels: NDArray[np.uint8], boxes: Boxes) -> Copy:
        """Make a copy.

        A box is cut off at the edge of the image, and dropped where less than `min_visibility` of the area that it
        has after shift, scaling and rotation is left. A rotated box is the upright one around its rotated corners.

        Args:
            image_id: The original.
            copy: Number of the copy, from 1 on.
            pixels: The original, shape (height, width) or (height, width, 3), uint8.
            boxes: Its boxes, shape (n, 4): x, y, width, height in pixels.
        """
        seed = copy_seed(self.options.seed, image_id, copy)
        # One stream for all operations: with a seed each, as set_random_seed gives them, all would draw alike.
        self._pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        made = self._pipeline(image=pixels, bboxes=boxes, rows=np.arange(len(boxes)))
        height, width = pixels.shape[:2]
        left = np.asarray(made["bboxes"], dtype=np.float64).reshape(-1, 4)
        corners = np.concatenate([left[:, :2], left[:, :2] + left[:, 2:]], axis=1).round(DECIMALS)
        corners = corners.clip(0, np.array([width, height, width, height], dtype=np.float64))
        inside = np.concatenate([corners[:, :2], (corners[:, 2:] - corners[:, :2]).round(DECIMALS)], axis=1)
        return Copy(made["image"], inside, np.asarray(made["rows"], dtype=np.int64).reshape(-1))


def operations(options: OfflineAugmentation) -> list[Any]:
    """The operations of albumentations in their order; those of probability 0 are left out.

    Only the affine one can push a box out of the image, so that visibility is measured once.
    """
    shift, scale = options.shift_share, options.scale_change
    made = [
        albumentations.HorizontalFlip(p=options.horizontal_flip),
        albumentations.VerticalFlip(p=options.vertical_flip),
        albumentations.Affine(
            scale=(1 - scale, 1 + scale),
            keep_ratio=True,
            translate_percent={"x": (-shift, shift), "y": (-shift, shift)},
            rotate=(-options.rotation_degrees, options.rotation_degrees),
            p=options.affine,
        ),
        albumentations.CropAndPad(percent=((0.0, options.pad_share),) * 4, keep_size=True, p=options.pad),
        albumentations.RandomBrightnessContrast(
            brightness_limit=options.brightness, contrast_limit=options.contrast, p=options.brightness_contrast
        ),
        albumentations.CLAHE(clip_limit=(1.0, options.clahe_clip_limit), p=options.clahe),
        albumentations.GaussNoise(std_range=(0.0, options.noise_sd), p=options.noise),
    ]
    return [operation for operation in made if operation.p > 0]


def copy_seed(seed: int, image_id: str, copy: int) -> int:
    """The seed of a copy, 64 bits: the first of SHA-256 of `<seed>/<copy>/<image_id>`."""
    return int(sha256_of_text(f"{seed}/{copy}/{image_id}")[:16], 16)


def encode(pixels: Grey, options: OfflineAugmentation) -> bytes:
    """A grey image, shape (height, width), uint8, as the bytes of a JPEG or PNG file."""
    if options.file_format == "jpeg":
        content = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels)[:, :, None], options.jpeg_quality, "GRAY")
        return bytes(content)
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


@dataclass(frozen=True)
class Original:
    """A training image of which copies are made.

    Attributes:
        row: Its row of the IMAGES table.
        name: Of its files, without `_aug<k>` and suffix.
        labels: Class of each box.
        boxes: Shape (n, 4): x, y, width, height in pixels.
    """

    row: dict[str, Any]
    name: str
    labels: Sequence[str]
    boxes: Boxes


def originals_of_shard(
    images: pd.DataFrame, boxes: pd.DataFrame, split: pd.DataFrame, shard: int, shards: int
) -> list[Original]:
    """The images of train that balancing did not drop: every `shards`-th in the order of their ids.

    Raises:
        InputError: If one has no file.
    """
    train = split.loc[(split["subset"] == "train") & split["dropped_by"].isna(), "image_id"]
    names = name_images(images)
    mine = images[images["image_id"].isin(train)].sort_values("image_id").iloc[shard::shards]
    without = mine.loc[mine["path"].isna(), "image_id"]
    if len(without):
        raise InputError(
            f"image {without.iloc[0]!r}",
            found=f"no file ({len(without)} such in train)",
            expected="a file of each training image",
            next_step="Take offline_augmentation out of the study's tasks, or bring the images.",
        )
    by_image = dict(iter(boxes[boxes["image_id"].isin(mine["image_id"])].groupby("image_id")))
    found = []
    rows: list[dict[str, Any]] = mine.to_dict("records")  # type: ignore[assignment]
    for row in rows:
        own = by_image.get(row["image_id"], boxes.iloc[:0])
        sides = own[["x", "y", "width", "height"]].to_numpy(dtype=np.float64)
        found.append(Original(row, names[row["image_id"]], own["label"].tolist(), sides))
    return found


def augment_shard(
    originals: Sequence[Original], options: OfflineAugmentation, folder: Path, threads: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make the copies of a shard's images.

    Args:
        originals: From `originals_of_shard`.
        options: The augmentation.
        folder: Gets the files, `<source>_<patient>_<instance>_aug<k>.jpg`.
        threads: Images worked on at a time; the operations release the interpreter's lock.

    Returns:
        IMAGES and BOXES tables of the copies, in the order of the originals; image_id is the original's with `_aug<k>`
        behind it, and stands without that in the additional column `original_id`.

    Raises:
        InputError: If an image does not decode any more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(0)
    own = threading.local()

    def work(original: Original) -> list[Rows]:
        if not hasattr(own, "augmenter"):
            own.augmenter = Augmenter(options)
        return augment_image(original, own.augmenter, folder)

    with ThreadPoolExecutor(threads) as pool:
        made = [copy for copies in progress(pool.map(work, originals), len(originals), "image") for copy in copies]
    images = pd.DataFrame([row for row, _ in made], columns=None if made else [*IMAGES.columns])
    boxes = pd.DataFrame([row for _, rows in made for row in rows], columns=[*BOXES.columns])
    return validate(images, IMAGES, "images table"), validate(boxes, BOXES, "boxes table")


def _pixels_of(path: Path, row: Mapping[str, Any]) -> NDArray[np.uint8]:
    frame, window = frame_of(row), window_of(row)
    if frame is None and window is None:
        return decode_grey(path.read_bytes() if path.is_file() else None, repairs_of(row)).pixels
    return next(read_slices(path, [(frame, window)]))


def augment_image(original: Original, augmenter: Augmenter, folder: Path) -> list[Rows]:
    """Make and write all copies of one image: the row of each, and those of its boxes; see `augment_shard`."""
    options = augmenter.options
    image_id, path = original.row["image_id"], Path(original.row["path"])
    try:
        pixels = _pixels_of(path, original.row)
    except ImageError as error:
        raise InputError(
            path, found=str(error), expected="an intact image", next_step="Mend it, or curate again: it is refused."
        ) from error
    made = []
    for number in range(1, options.factor):
        copy = augmenter(image_id, number, pixels, original.boxes)
        content = encode(copy.pixels, options)
        file = folder / f"{original.name}_aug{number}{SUFFIXES[options.file_format]}"
        file.write_bytes(content)
        row = {
            **{name: value for name, value in original.row.items() if not name.startswith("grey_")},
            "image_id": f"{image_id}_aug{number}",
            "path": str(file),
            "sha256": sha256_of_bytes(content),
            "phash": None,
            "mask_path": None,
            "original_id": image_id,
            **{name: None for name in (*WINDOW, FRAME, REPAIRED) if name in original.row},
        }
        labels = [original.labels[place] for place in copy.rows]
        boxes = [(row["image_id"], label, *sides) for label, sides in zip(labels, copy.boxes.tolist(), strict=True)]
        made.append((row, boxes))
    return made
