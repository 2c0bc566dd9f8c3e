"""Offline augmentation against plain loops over the same library, in one run on the same images: a table with ratios.

    make benchmark-augmentation

Each makes the copies of the same JPEG files with the same operations and probabilities, from file to JPEG file, boxes
included. Plain is what one would write: OpenCV reads colour, albumentations works on three channels, each copy of an
image reads it again; in one process, and in one for each core. They take turns; the shortest round of each counts.
Afterwards both sides' boxes are compared: drawn from the same seeds they must be equal.
"""

import argparse
import os
import random
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow/scripts"))

import cv2
import numpy as np
import pandas as pd
from timing import show, timed

from scanline.prepare.offline_augmentation import (
    DECIMALS,
    MIN_SIDE_PX,
    Original,
    albumentations,
    augment_shard,
    copy_seed,
    operations,
)
from scanline.prepare.options import OfflineAugmentation

SIDE_PX = 512
OPTIONS = OfflineAugmentation(factor=3)
TOLERANCE_PX = 2 * 10.0**-DECIMALS


def make_originals(folder: Path, count: int) -> list[Original]:
    """Write grey JPEG files of heads: a bright ring round a textured disc, with one to three boxes each."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : SIDE_PX * 1j, -1 : 1 : SIDE_PX * 1j]
    distance = np.hypot(x / 0.75, y / 0.9)
    found = []
    for number in range(count):
        texture = cv2.GaussianBlur(generator.normal(90, 60, (SIDE_PX, SIDE_PX)), (0, 0), 3)
        pixels = np.where(distance < 0.92, texture, np.where(distance < 1, 240, 0)).clip(0, 255).astype(np.uint8)
        path = folder / f"head_{number:04d}.jpg"
        cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, OPTIONS.jpeg_quality])
        corners = generator.uniform(40, 360, (generator.integers(1, 4), 2))
        boxes = np.concatenate([corners, generator.uniform(20, 140, corners.shape)], axis=1)
        row = {
            "image_id": f"made/{number:04d}",
            "source": "made",
            "path": str(path),
            "patient_id": f"made/{number // 4}",
            "volume_id": None,
            "slice_index": None,
            "width": SIDE_PX,
            "height": SIDE_PX,
            "modality": "CT",
        }
        found.append(Original(row, path.stem, ["bleed"] * len(boxes), boxes))
    return found


def plain(original: Original, folder: Path) -> list[pd.DataFrame]:
    """Two copies of an image as one would write them."""
    pipeline = albumentations.Compose(
        operations(OPTIONS),
        bbox_params=albumentations.BboxParams(
            format="coco", label_fields=["labels"], min_visibility=0.3, min_width=MIN_SIDE_PX, min_height=MIN_SIDE_PX
        ),
    )
    made = []
    for number in range(1, OPTIONS.factor):
        image = cv2.cvtColor(cv2.imread(original.row["path"]), cv2.COLOR_BGR2RGB)
        seed = copy_seed(OPTIONS.seed, original.row["image_id"], number)
        pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        copy = pipeline(image=image, bboxes=original.boxes, labels=original.labels)
        file = folder / f"{original.name}_aug{number}.jpg"
        pixels = cv2.cvtColor(copy["image"], cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(file), pixels, [cv2.IMWRITE_JPEG_QUALITY, OPTIONS.jpeg_quality])
        table = pd.DataFrame(np.array(copy["bboxes"]).reshape(-1, 4), columns=["x", "y", "width", "height"])
        made.append(table.assign(image_id=f"{original.row['image_id']}_aug{number}"))
    return made


def loop(originals: list[Original], folder: Path) -> pd.DataFrame:
    """One process."""
    return pd.concat([table for original in originals for table in plain(original, folder)])


def pool(originals: list[Original], folder: Path, cores: int) -> pd.DataFrame:
    """A process for each core; they are started before the clock is."""
    with ProcessPoolExecutor(cores) as workers:
        list(workers.map(abs, range(cores)))
        made = workers.map(partial(plain, folder=folder), originals, chunksize=8)
        return pd.concat([table for copies in made for table in copies])


def compare(ours: pd.DataFrame, others: pd.DataFrame) -> float:
    """The greatest difference of two tables of boxes in pixels; they must have the same boxes."""
    columns = ["x", "y", "width", "height"]
    first, second = (table.sort_values("image_id", kind="stable") for table in (ours, others))
    if first["image_id"].tolist() != second["image_id"].tolist():
        sys.exit("the two sides kept different boxes")
    return float(np.abs(first[columns].to_numpy() - second[columns].to_numpy()).max())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as name:
        folders = {part: Path(name) / part for part in ("raw", "loop", "pool", "ours")}
        for folder in folders.values():
            folder.mkdir()
        originals = make_originals(folders["raw"], args.images)
        calls = {
            "ours": lambda: augment_shard(originals, OPTIONS, folders["ours"], cores)[1],
            "pool": lambda: pool(originals, folders["pool"], cores),
            "loop": lambda: loop(originals, folders["loop"]),
        }
        seconds = dict.fromkeys(calls, float("inf"))
        boxes = {}
        for _ in range(args.rounds):
            for side, call in calls.items():
                taken, boxes[side] = timed(call)
                seconds[side] = min(seconds[side], taken)
        names = {side: sorted(path.name for path in folders[side].iterdir()) for side in calls}
    if not names["ours"] == names["pool"] == names["loop"]:
        sys.exit("the sides made different files")
    worst = max(compare(boxes["ours"], boxes[side]) for side in ("pool", "loop"))
    if worst > TOLERANCE_PX:
        sys.exit(f"boxes differ by {worst} px")
    made = len(names["ours"])
    show(
        f"{made} copies of {args.images} images of {SIDE_PX} x {SIDE_PX} px, file to file; {cores} cores",
        [
            (f"scanline, one channel, {cores} threads", seconds["ours"]),
            (f"plain loop, RGB, {cores} processes", seconds["pool"]),
            ("plain loop, RGB, one process", seconds["loop"]),
        ],
    )
    print(f"  copies a second: {', '.join(f'{side} {made / taken:.0f}' for side, taken in seconds.items())}")
    print(f"  {len(boxes['ours'])} boxes on each side, at most {worst:.4f} px apart")


if __name__ == "__main__":
    main()
