"""A small study with masks, drawn by a seeded generator: bright ellipses in noise. No real data."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from scanline.core.tables import IMAGES, SPLIT, labels_schema, write_table
from scanline.predict.probability_maps import write_maps
from scanline.prepare.masks import MaskOptions, cache_masks
from scanline.prepare.pixels import cache_pixels

SIZE = 32
SHAPE = (48, 64)  # height and width of the originals
SLICES = 4
TARGET = "oedema"
UNKNOWN_IDS = ("s/p02_1", "s/p07_0", "s/p09_1")  # no mask file; neither file nor label; no label
SUBSETS = {"train": range(0, 6), "val": range(6, 8), "test": range(8, 10)}


def make_segmentation_study(folder: Path) -> dict[str, Path]:
    """Write images, masks, tables and both caches: 10 patients of 4 slices, lesion on slices 1 and 2."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    images, labels, split = [], [], []
    for patient in range(10):
        centre_y, centre_x = rng.uniform(18, 30), rng.uniform(22, 42)
        for number in range(SLICES):
            image_id = f"s/p{patient:02d}_{number}"
            name = image_id.replace("/", "_")
            has_lesion = number in (1, 2)
            radius = 8 + 3 * rng.random()
            mask = (np.hypot((y - centre_y) / 0.8, x - centre_x) < radius) & has_lesion
            pixels = np.clip(rng.normal(70, 12, SHAPE) + 110 * mask, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}.png")
            mask_path = folder / f"{name}_mask.png"
            Image.fromarray(mask.astype(np.uint8) * 255).save(mask_path)
            has_file = image_id not in UNKNOWN_IDS[:2]
            images.append(
                {
                    "image_id": image_id,
                    "source": "s",
                    "path": str(folder / f"{name}.png"),
                    "patient_id": f"p{patient}",
                    "volume_id": f"v{patient}",
                    "slice_index": number,
                    "width": SHAPE[1],
                    "height": SHAPE[0],
                    "modality": "CT",
                    "sha256": f"{patient}{number}",
                    "phash": None,
                    "mask_path": str(mask_path) if has_file else None,
                }
            )
            labels.append({"image_id": image_id, TARGET: None if image_id in UNKNOWN_IDS[1:] else has_lesion})
            subset = next(name for name, patients in SUBSETS.items() if patient in patients)
            split.append({"image_id": image_id, "group_id": f"p{patient}", "subset": subset})
    names = ("images.parquet", "labels.parquet", "split.parquet", "pixels.npy", "pixels.parquet", "masks.npy")
    files = dict(
        zip(("images", "labels", "split", "pixels", "index", "masks"), (folder / n for n in names), strict=True)
    )
    table, label_table = pd.DataFrame(images), pd.DataFrame(labels).astype({TARGET: "boolean"})
    write_table(table, files["images"], IMAGES)
    write_table(label_table, files["labels"], labels_schema([TARGET]))
    write_table(pd.DataFrame(split).assign(dropped_by=None, reason=None), files["split"], SPLIT)
    index = cache_pixels(table, SIZE, files["pixels"], threads=1)
    write_table(index, files["index"])
    options = MaskOptions(image_size_px=SIZE, target=TARGET, sources=("s",))
    cache_masks(table, label_table, index, options, files["masks"])
    return files


def make_maps(study: dict[str, Path], folder: Path, seed: int = 0) -> dict[str, Path]:
    """Write probability maps of val and test: the true mask moved by a pixel or two, noise, one missed, one false."""
    rng = np.random.default_rng(seed)
    split = pd.read_parquet(study["split"])
    masks, pixels = np.load(study["masks"]), np.load(study["pixels"])
    table = split.loc[split["subset"].isin(["val", "test"]), ["image_id", "subset"]].reset_index(drop=True)
    maps = []
    for image_id in table["image_id"]:
        row = split.index[split["image_id"] == image_id][0]
        mask = masks[row] if masks[row, 0, 0] != 255 else pixels[row] > 120
        moved = np.roll(mask, rng.integers(0, 3, 2), (0, 1))
        moved = np.zeros_like(moved) if image_id == "s/p08_1" else moved
        if image_id == "s/p09_3":
            moved[5:12, 20:26] = 1
        maps.append(np.clip(30 + 140 * moved + rng.normal(0, 12, mask.shape), 0, 255).astype(np.uint8))
    files = {"maps": folder / "maps.npz", "table": folder / "maps.parquet"}
    write_maps(files["maps"], maps)
    write_table(table.assign(row=range(len(table))), files["table"])
    return files
