"""Exports of a detection set as trees of files that other tools read as they are.

    coco/                                          yolo/
      annotations/instances_<subset>.json            data.yaml, dataset.yaml
      images/<subset>/<name>                         images/<subset>/<name>, labels/<subset>/<name>.txt

COCO so is what pycocotools and FiftyOne's COCODetectionDataset read, and CVAT's "COCO 1.0"; YOLO is what ultralytics,
FiftyOne's YOLOv5Dataset and CVAT's "Ultralytics YOLO Detection" do. data.yaml names folders relative to itself;
FiftyOne looks for dataset.yaml, which says the same. An image without a box has no annotation in COCO and an empty file
in YOLO. Images are linked, but for DICOM and slices of volumes, which are windowed and written as PNG.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import Field

from scanline.core.errors import InputError
from scanline.core.files import Placing, digest_of_files, place_file, read_json, sha256_of_file, write_json
from scanline.core.images import ImageError
from scanline.core.slices import read_slices
from scanline.prepare.coco_export import coco_document, find_faults
from scanline.prepare.detection_set import SIDES, ImageSet, is_converted, name_files, without_partly_known
from scanline.prepare.detection_set_options import ExportFormat, PartlyKnown, SetClasses
from scanline.prepare.png import encode_png
from scanline.prepare.windows import FileImages, by_file
from scanline.prepare.yolo_export import DESCRIPTION, label_line

DESCRIPTION_OF_FIFTYONE = "dataset.yaml"  # docs.voxel51.com, YOLOv5Dataset


class ExportOptions(SetClasses):
    """What the rule export_detection_set is told."""

    format: ExportFormat = Field(description="Of the tree.")
    files: Placing = Field(description="How the images get there.")
    partly_known: PartlyKnown = Field(description="Whether images on which a target is unknown are in the tree.")
    salt: str | None = Field(description="For pseudonyms in file names; null for the names of the source.")


def write_pngs(images: pd.DataFrame, targets: Sequence[Path], threads: int | None = None) -> None:
    """Write images of DICOM files, volumes and repaired pictures as PNG, each file decoded once.

    Args:
        images: Rows of the images table.
        targets: A path for each.
        threads: Files side by side; all cores if None. Decoding and packing release the interpreter's lock.

    Raises:
        InputError: If a file does not decode any more.
    """
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        list(pool.map(lambda file: _write_pngs_of(file, targets), by_file(images)))


def _write_pngs_of(file: FileImages, targets: Sequence[Path]) -> None:
    path = file.path
    try:
        for place, grey in zip(file.places, read_slices(path, file.wanted, file.repairs), strict=True):
            targets[place].write_bytes(encode_png(grey))
    except ImageError as error:
        raise InputError(
            path, found=str(error), expected="an intact image", next_step="Mend it, or curate again: it is refused."
        ) from error


def export_set(whole: ImageSet, options: ExportOptions, folder: Path, threads: int | None = None) -> dict[str, Any]:
    """Write a tree and read it back.

    Args:
        whole: The set.
        options: Format, links, names.
        folder: Gets the tree; empty or not there.
        threads: Files that are converted side by side; all cores if None.

    Returns:
        {"format", "subsets": {subset: {"images", "boxes", "background", "annotations" (SHA-256 of COCO's JSON, or of
        the lines of YOLO's files in the order of their names)}}, "left_out"}.

    Raises:
        InputError: If an image has no file, or what stands there afterwards is not the set.
    """
    if options.partly_known == "leave_out":
        whole = without_partly_known(whole)
    names = name_files(whole.images, options.salt)
    _require_files(whole)
    for subset in whole.subsets:
        images, _ = whole.of_subset(subset)
        place = folder / "images" / subset
        place.mkdir(parents=True)
        converted = is_converted(images)
        for image_id, path in zip(images.loc[~converted, "image_id"], images.loc[~converted, "path"], strict=True):
            place_file(Path(path), place / names[image_id], options.files)
        write_pngs(images[converted], [place / names[one] for one in images.loc[converted, "image_id"]], threads)
    write = _write_coco if options.format == "coco" else _write_yolo
    write(whole, names, folder)
    return {
        "format": options.format,
        "subsets": {subset: _read_back(whole, subset, options.format, folder) for subset in whole.subsets},
        "left_out": whole.left_out,
    }


def _require_files(whole: ImageSet) -> None:
    for image_id, path in zip(whole.images["image_id"], whole.images["path"], strict=True):
        if pd.isna(path) or not Path(path).is_file():
            raise InputError(
                f"image {image_id!r}",
                found=f"no file {path}",
                expected="a file of each image of the set",
                next_step="Bring the files back, or scan and curate their source again.",
            )


def _write_coco(whole: ImageSet, names: pd.Series, folder: Path) -> None:
    for subset in whole.subsets:
        write_json(folder / "annotations" / f"instances_{subset}.json", coco_document(whole, subset, names))


def _write_yolo(whole: ImageSet, names: pd.Series, folder: Path) -> None:
    numbers = {name: number for number, name in enumerate(whole.targets)}
    for subset in whole.subsets:
        images, boxes = whole.of_subset(subset)
        labels = folder / "labels" / subset
        labels.mkdir(parents=True)
        by_image = dict(iter(boxes.groupby("image_id")))
        for image_id, width, height in zip(images["image_id"], images["width"], images["height"], strict=True):
            own = by_image.get(image_id, boxes.iloc[:0])
            lines = [
                label_line(numbers[label], (x, y, x + w, y + h), int(width), int(height))
                for label, (x, y, w, h) in zip(own["label"], own[SIDES].to_numpy(), strict=True)
            ]
            (labels / f"{Path(names[image_id]).stem}.txt").write_text("".join(lines), "utf-8")
    values = {subset: f"images/{subset}" for subset in whole.subsets}
    content = yaml.safe_dump({**values, "names": dict(enumerate(whole.targets))}, sort_keys=False)
    for name in (DESCRIPTION, DESCRIPTION_OF_FIFTYONE):
        (folder / name).write_text(content, "utf-8")


def _read_back(whole: ImageSet, subset: str, form: ExportFormat, folder: Path) -> dict[str, Any]:
    """Count what stands in the tree, and compare it with the set."""
    images, boxes = whole.of_subset(subset)
    files = [path for path in (folder / "images" / subset).iterdir() if path.is_file()]
    if form == "coco":
        annotations = folder / "annotations" / f"instances_{subset}.json"
        document = read_json(annotations)
        found, digest = len(document["annotations"]), sha256_of_file(annotations)
        boxed = len({annotation["image_id"] for annotation in document["annotations"]})
        faults = find_faults(document)
    else:
        texts = sorted((folder / "labels" / subset).iterdir())
        counts = [len(path.read_text("utf-8").splitlines()) for path in texts]
        found, boxed = sum(counts), sum(map(bool, counts))
        digest, faults = digest_of_files(texts), [] if len(texts) == len(files) else [f"{len(texts)} label files"]
    counted = (len(files), found, boxed)
    wanted = (len(images), len(boxes), boxes["image_id"].nunique())
    if counted != wanted or faults:
        raise InputError(
            folder,
            found=f"{subset}: images, boxes, images with a box {counted} {'; '.join(faults[:3])}".strip(),
            expected=str(wanted),
            next_step="Check that the disk is not full, delete the folder and run again.",
        )
    return {"images": len(files), "boxes": found, "background": len(files) - boxed, "annotations": digest}
