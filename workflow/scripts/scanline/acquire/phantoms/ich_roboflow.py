"""Phantom of the source roboflow of the study ich_detection: Roboflow's COCO export with six classes.

    <train|valid|test>/_annotations.coco.json     category 0, ICH, is the parent of the six
    <train|valid|test>/<patient>_<slice>_png.rf.<hash>.jpg
    README.roboflow.txt

Its defects: slices are dealt out to the subsets one by one, and every other one has an augmented sibling in another
subset; one box stands over the edge by half a pixel. The patients `c...` are also in the phantom ich_coco, where their
files are PNG.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms.ich_coco import COMMON_PATTERNS
from scanline.acquire.phantoms.ich_slices import (
    COMMON,
    EDH,
    HC,
    IPH,
    IVH,
    SAH,
    SDH,
    Box,
    IchSlice,
    draw_patient,
)
from scanline.core.images import Window, windowed

VERSION = 1  # raised when what is drawn changes: a phantom of another version is drawn anew
PARENT = "ICH"
CLASSES = (EDH, HC, IPH, IVH, SAH, SDH)
PATTERNS = ((EDH, HC, SAH), (IPH, SDH, EDH), (HC, IVH, SDH), (EDH, IPH, IVH), (HC, SAH))
SUBSETS = ("train", "valid", "test")
SHARES = (0.7, 0.2, 0.1)


def write(folder: Path, options: PhantomSource) -> None:
    """Draw all patients into an existing, empty folder; equal options give equal bytes."""
    rng = np.random.default_rng([options.seed, len(CLASSES)])
    documents = {subset: _empty_document() for subset in SUBSETS}
    patterns: list[tuple[str, int, tuple[str, ...]]] = []
    patterns += [(COMMON, number, pattern) for number, pattern in enumerate(COMMON_PATTERNS)]
    own = range(options.patients - len(COMMON_PATTERNS))
    patterns += [("roboflow", number, PATTERNS[number % len(PATTERNS)]) for number in own]
    count = 0
    for cohort, number, classes in patterns:
        for one in draw_patient(options, cohort, number, classes):
            first, other = (str(name) for name in rng.choice(SUBSETS, 2, replace=False, p=SHARES))
            pixels = windowed(one.hu, Window())
            _add(folder, documents[first], first, one, pixels, one.boxes)
            if count % 2 == 1:
                _add(folder, documents[other], other, one, *_augmented(pixels, one.boxes))
            count += 1
    first_box = documents["train"]["annotations"][0]["bbox"]
    first_box[2] = options.image_size_px - first_box[0] + 0.5
    for subset, document in documents.items():
        text = json.dumps(document, indent=1) + "\n"
        (folder / subset / "_annotations.coco.json").write_text(text, "utf-8")
    (folder / "README.roboflow.txt").write_text("A phantom: no Roboflow project stands behind it.\n", "utf-8")


def _empty_document() -> dict[str, list[dict[str, Any]]]:
    categories = [{"id": 0, "name": PARENT, "supercategory": "none"}]
    categories += [{"id": number, "name": name, "supercategory": PARENT} for number, name in enumerate(CLASSES, 1)]
    return {"images": [], "annotations": [], "categories": categories}


def _augmented(pixels: NDArray[np.uint8], boxes: tuple[Box, ...]) -> tuple[NDArray[np.uint8], tuple[Box, ...]]:
    """Left and right swapped, and a little brighter."""
    brighter = np.minimum(pixels[:, ::-1].astype(np.int64) + 12, 255).astype(np.uint8)
    return brighter, tuple((name, pixels.shape[1] - x - width, y, width, height) for name, x, y, width, height in boxes)


def _add(
    folder: Path,
    document: dict[str, list[dict[str, Any]]],
    subset: str,
    one: IchSlice,
    pixels: NDArray[np.uint8],
    boxes: tuple[Box, ...],
) -> None:
    """Write one image of a subset and its rows."""
    number, size = len(document["images"]), pixels.shape[0]
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()[:32]
    name = f"{one.patient}_{one.index:02d}_png.rf.{digest}.jpg"
    (folder / subset).mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / subset / name, quality=95)
    document["images"].append({"id": number, "license": 1, "file_name": name, "height": size, "width": size})
    document["annotations"] += [
        {
            "id": len(document["annotations"]) + index,
            "image_id": number,
            "category_id": CLASSES.index(label) + 1,
            "bbox": [x, y, width, height],
            "area": width * height,
            "segmentation": [],
            "iscrowd": 0,
        }
        for index, (label, x, y, width, height) in enumerate(boxes)
    ]
