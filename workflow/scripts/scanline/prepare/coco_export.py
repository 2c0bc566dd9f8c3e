"""COCO documents: the images and boxes of a subset as pycocotools, FiftyOne and CVAT read them, and their faults.

https://cocodataset.org/#format-data. Boxes are [x, y, width, height] in continuous pixels from the top left corner of
the pixel grid. An image without a box stands among the images and has no annotation.
"""

from typing import Any

import pandas as pd

from scanline.prepare.detection_set import SIDES, ImageSet

ROUNDING_PX = 1e-6


def coco_document(whole: ImageSet, subset: str, names: pd.Series) -> dict[str, Any]:
    """The document of a subset.

    Args:
        whole: The set.
        subset: One of its subsets.
        names: File name by image_id, relative to the subset's folder of images.

    Returns:
        `info`, `licenses`, `categories` (numbered from 1 in the order of the targets), `images` and `annotations`
        (both numbered from 1); plain values for JSON. An image tells its source, of a copy its original, and classes
        that nobody looked for as `not_exhaustive_category_ids` (https://www.lvisdataset.org/dataset).
    """
    images, boxes = whole.of_subset(subset)
    numbers = {image_id: number for number, image_id in enumerate(images["image_id"], start=1)}
    originals = images["original_id"].map(names)
    classes = {name: number for number, name in enumerate(whole.targets, start=1)}
    described = []
    unknown = images["unknown_targets"]
    columns = (images["image_id"], images["width"], images["height"], images["source"], originals, unknown)
    for image_id, width, height, source, original, lacking in zip(*columns, strict=True):
        entry = {
            "id": numbers[image_id],
            "file_name": names[image_id],
            "width": int(width),
            "height": int(height),
            "source": source,
        }
        if pd.notna(original):
            entry["augmentation_of"] = original
        if pd.notna(lacking):
            entry["not_exhaustive_category_ids"] = [classes[name] for name in lacking.split(",")]
        described.append(entry)
    annotations = [
        {
            "id": number,
            "image_id": numbers[image_id],
            "category_id": classes[label],
            "bbox": [float(value) for value in sides],
            "area": float(sides[2] * sides[3]),
            "iscrowd": 0,
            "segmentation": [],
        }
        for number, (image_id, label, sides) in enumerate(
            zip(boxes["image_id"], boxes["label"], boxes[SIDES].to_numpy(), strict=True), start=1
        )
    ]
    return {
        "info": {"description": f"subset {subset}"},
        "licenses": [],
        "categories": [{"id": number, "name": name, "supercategory": ""} for name, number in classes.items()],
        "images": described,
        "annotations": annotations,
    }


def find_faults(document: dict[str, Any]) -> list[str]:
    """What is wrong with a COCO document, a line each; nothing where it is valid."""
    faults = []
    for part in ("images", "annotations", "categories"):
        ids = [entry.get("id") for entry in document.get(part, [])]
        if len(ids) != len(set(ids)) or None in ids:
            faults.append(f"{part}: ids that are missing or stand twice")
    names = [image.get("file_name") for image in document["images"]]
    if len(names) != len(set(names)):
        faults.append("images: file names that stand twice")
    images = {image["id"]: image for image in document["images"]}
    categories = {category["id"] for category in document["categories"]}
    for annotation in document["annotations"]:
        image = images.get(annotation["image_id"])
        place = f"annotation {annotation['id']}"
        if image is None:
            faults.append(f"{place}: of no image")
            continue
        if annotation["category_id"] not in categories:
            faults.append(f"{place}: of no category")
        x, y, width, height = annotation["bbox"]
        if not (width > 0 and height > 0 and x >= -ROUNDING_PX and y >= -ROUNDING_PX):
            faults.append(f"{place}: a box {annotation['bbox']}")
        if x + width > image["width"] + ROUNDING_PX or y + height > image["height"] + ROUNDING_PX:
            faults.append(f"{place}: a box that leaves its image")
    return faults
