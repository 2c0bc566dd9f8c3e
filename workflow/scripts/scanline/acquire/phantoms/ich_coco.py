"""Phantom of the source v3 of the study ich_detection: one COCO file beside a folder, filtered to four classes.

    annotations.json           IPH, IVH, SAH, SDH, and Fracture, which the study has no use for
    images/<patient>_<slice>.png

Its defects: every fourth patient has an EDH that nobody boxed; two images are listed and not there; one file is there
and not listed, and its boxes are; one box stands over the edge by a pixel and one by many; one box has no height, one
stands there twice, and one is of an image that never was listed. Patients `c...` are in the phantom ich_roboflow too.
"""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms.ich_slices import COMMON, EDH, IPH, IVH, SAH, SDH, IchSlice, draw_patient
from scanline.core.images import Window, windowed

VERSION = 1  # raised when what is drawn changes: a phantom of another version is drawn anew
ANNOTATED = (IPH, IVH, SAH, SDH)
FRACTURE = "Fracture"
PATTERNS = ((IPH, IVH), (SAH, SDH), (SDH, IVH), (SAH, EDH), (IPH,), (SDH,), (IPH, SAH), (SDH, EDH))
COMMON_PATTERNS = ((IPH, SAH), (SDH, IVH))


def write(folder: Path, options: PhantomSource) -> None:
    """Draw all patients into an existing, empty folder; equal options give equal bytes."""
    slices = [
        one
        for number in range(options.patients - len(COMMON_PATTERNS))
        for one in draw_patient(options, "v3", number, PATTERNS[number % len(PATTERNS)])
    ]
    for number, pattern in enumerate(COMMON_PATTERNS):
        slices += draw_patient(options, COMMON, number, pattern)
    (folder / "images").mkdir()
    for one in slices:
        Image.fromarray(windowed(one.hu, Window())).save(folder / "images" / _name(one), compress_level=3)
    document = _document(slices, options.image_size_px)
    _spoil(document, options.image_size_px)
    (folder / "annotations.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _name(one: IchSlice) -> str:
    return f"{one.patient}_{one.index:02d}.png"


def _document(slices: list[IchSlice], size_px: int) -> dict[str, list[dict[str, Any]]]:
    ids = {name: number for number, name in enumerate((*ANNOTATED, FRACTURE), start=1)}
    images = [
        {"id": number, "file_name": _name(one), "width": size_px, "height": size_px}
        for number, one in enumerate(slices)
    ]
    boxes = [
        (number, label, sides) for number, one in enumerate(slices) for label, *sides in one.boxes if label in ANNOTATED
    ]
    annotations = [
        {"id": index, "image_id": number, "category_id": ids[label], "bbox": sides, "iscrowd": 0}
        for index, (number, label, sides) in enumerate(boxes)
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "supercategory": "head"} for name, number in ids.items()],
    }


def _spoil(document: dict[str, list[dict[str, Any]]], size_px: int) -> None:
    """Put the defects in: see the module's docstring."""
    images, boxes = document["images"], document["annotations"]
    over, far, flat, twice, unlisted = boxes[0], boxes[1], boxes[2], boxes[3], boxes[-1]
    x, y, width, height = over["bbox"]
    over["bbox"] = [-1.0, y, x + width + 1.0, height]
    far["bbox"] = [size_px - 8.0, *far["bbox"][1:2], 40.0, far["bbox"][3]]
    fracture = len(document["categories"])
    for row, changes in (
        (flat, {"bbox": [*flat["bbox"][:3], 0.0]}),
        (twice, {}),
        (over, {"category_id": fracture, "bbox": [3.0, 3.0, 9.0, 5.0]}),
        (over, {"image_id": len(images)}),
    ):
        boxes.append({**row, **changes, "id": len(boxes)})
    for number in range(2):
        name = f"gone_{number:02d}.png"
        images.append({"id": len(images), "file_name": name, "width": size_px, "height": size_px})
    images.remove(images[unlisted["image_id"]])
