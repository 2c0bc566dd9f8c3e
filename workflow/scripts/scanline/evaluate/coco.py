"""Boxes in COCO's JSON formats, in and out: ground truth (instances) and results.

Formats: https://cocodataset.org/#format-data and https://cocodataset.org/#format-results. COCO numbers its images and
categories. Here images have names: a file that is written holds them beside the numbers, as `image_id` of an image,
so that they survive the way out and back.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scanline.core.files import read_json, written_aside
from scanline.evaluate.detection_tables import BOX_COLUMNS, check_classes, check_images, code_predicted, code_truth
from scanline.evaluate.inputs import refuse

NAME_KEY = "image_id"  # of an image in a file written here: its name
IMAGE_COLUMNS = ("image_id", "file_name", "width", "height", "patient_id", "volume_id")


_NUMBERS: dict[str, Any] = {"id": int, "width": int, "height": int, "score": int | float, "area": int | float}


@dataclass(frozen=True)
class CocoNumbers:
    """How a COCO file numbers its images and classes.

    Attributes:
        images: Name to number, in the file's order of numbers.
        classes: Name to number, in that order.
    """

    images: Mapping[str, int]
    classes: Mapping[str, int]


@dataclass(frozen=True)
class CocoTruth:
    """The content of a COCO ground-truth file.

    Attributes:
        images: image_id, and file_name, width, height, patient_id, volume_id (null where the file has none), by number.
        boxes: The boxes table (image_id, label, x, y, width, height), and area and iscrowd.
        numbers: How the file numbers images and classes.
    """

    images: pd.DataFrame
    boxes: pd.DataFrame
    numbers: CocoNumbers

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes by their numbers."""
        return tuple(self.numbers.classes)


def number_coco(images: pd.DataFrame | Sequence[str], classes: Sequence[str]) -> CocoNumbers:
    """Number images and classes 1, 2, ... in their order.

    Args:
        images: A table with image_id, or image ids.
        classes: Names of the classes.

    Raises:
        InputError: For an id or class that stands twice, or none.
    """
    ids = check_images(images)["image_id"]
    return CocoNumbers(
        images={name: number for number, name in enumerate(ids, start=1)},
        classes={name: number for number, name in enumerate(check_classes(classes), start=1)},
    )


def write_coco_truth(
    path: Path, boxes: pd.DataFrame, images: pd.DataFrame | Sequence[str], classes: Sequence[str]
) -> CocoNumbers:
    """Write true boxes as COCO ground truth; ids of patients and volumes are not written.

    Args:
        path: Where to.
        boxes: The boxes table; where there, area (else width x height) and iscrowd (else false).
        images: A table with image_id, and where there file_name (else the image id), width and height in pixels. Or
            image ids.
        classes: Names of the classes.

    Returns:
        The numbers, for `write_coco_results`.

    Raises:
        InputError: For boxes, images or classes that do not fit: see `check_detection_tables`.

    Examples:
        >>> import tempfile
        >>> boxes = pd.DataFrame({"image_id": ["a/1"], "label": "nodule", "x": 3, "y": 4, "width": 5, "height": 6})
        >>> path = Path(tempfile.mkdtemp()) / "truth.json"
        >>> write_coco_truth(path, boxes, ["a/1", "a/2"], ["nodule"]).images
        {'a/1': 1, 'a/2': 2}
        >>> read_coco_truth(path).boxes[["image_id", "label", "width", "area"]].values.tolist()
        [['a/1', 'nodule', 5.0, 30.0]]
    """
    numbers = number_coco(images, classes)
    coded = code_truth(boxes, pd.Index(list(numbers.images)), tuple(numbers.classes))
    rows = zip(coded.image, coded.label, coded.xywh.tolist(), coded.area.tolist(), coded.crowd.tolist(), strict=True)
    content = {
        "images": _image_entries(check_images(images)),
        "categories": [{"id": number, "name": name} for name, number in numbers.classes.items()],
        "annotations": [
            {
                "id": number,
                "image_id": int(image) + 1,
                "category_id": int(label) + 1,
                "bbox": box,
                "area": area,
                "iscrowd": int(crowd),
            }
            for number, (image, label, box, area, crowd) in enumerate(rows, start=1)
        ],
    }
    _write(path, content)
    return numbers


def write_coco_results(path: Path, predicted: pd.DataFrame, numbers: CocoNumbers) -> None:
    """Write detections as COCO results.

    Args:
        path: Where to.
        predicted: The boxes table and score.
        numbers: Of the ground truth that they belong to.

    Raises:
        InputError: For detections that do not fit: see `check_detection_tables`.
    """
    images, classes = list(numbers.images.values()), list(numbers.classes.values())
    rows = code_predicted(predicted, pd.Index(list(numbers.images)), tuple(numbers.classes))
    image, label, xywh, score = (part.tolist() for part in rows)
    content = [
        {"image_id": images[first], "category_id": classes[second], "bbox": box, "score": value}
        for first, second, box, value in zip(image, label, xywh, score, strict=True)
    ]
    _write(path, content)


def read_coco_truth(path: Path, name_key: str | None = None) -> CocoTruth:
    """Read COCO ground truth.

    Args:
        path: The file.
        name_key: The key of an image that holds its name, for example file_name; None takes image_id where every
            image has one (as `write_coco_truth` makes them), else the number as text.

    Raises:
        InputError: If the file is missing or no COCO ground truth: a missing key, an image, name or category that
            stands twice, an annotation of an unknown image or category, a box that is not four numbers.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= set(content):
        refuse(path, _kind(content), "COCO ground truth: images, annotations and categories")
    images = sorted(_entries(path, "images", content["images"], ("id",)), key=lambda entry: entry["id"])
    categories = _entries(path, "categories", content["categories"], ("id", "name"))
    if name_key is None:
        name_key = NAME_KEY if all(NAME_KEY in entry for entry in images) else "id"
    _entries(path, "images", images, (name_key,))
    names = {entry["id"]: str(entry[name_key]) for entry in images}
    labels = {entry["id"]: str(entry["name"]) for entry in sorted(categories, key=lambda one: one["id"])}
    for what, values, expected in (
        ("images: id", [entry["id"] for entry in images], "each image once"),
        (f"images: {name_key}", list(names.values()), "each image once"),
        ("categories: id", [entry["id"] for entry in categories], "each category once"),
        ("categories: name", list(labels.values()), "each category once"),
    ):
        _refuse_repeated(path, what, values, expected)
    annotations = _entries(path, "annotations", content["annotations"], ("image_id", "category_id", "bbox"))
    boxes = _boxes_table(path, "annotations", annotations, names, labels)
    sides = boxes["width"] * boxes["height"]
    boxes["area"] = [float(entry.get("area", side)) for entry, side in zip(annotations, sides.tolist(), strict=True)]
    boxes["iscrowd"] = np.array([bool(entry.get("iscrowd", 0)) for entry in annotations], dtype=bool)
    return CocoTruth(_images_table(images, names), boxes, CocoNumbers(_turned(names), _turned(labels)))


def read_coco_results(path: Path, numbers: CocoNumbers) -> pd.DataFrame:
    """Read COCO results.

    Args:
        path: The file: a list of {image_id, category_id, bbox, score}. image_id is the number of an image, or its name.
        numbers: Of the ground truth that they belong to.

    Returns:
        The boxes table and score.

    Raises:
        InputError: If the file is missing or no list of results, names an image or category that the ground truth
            does not have, or holds a box that is not four numbers.

    Examples:
        >>> import tempfile
        >>> path, numbers = Path(tempfile.mkdtemp()) / "results.json", number_coco(["a/1", "a/2"], ["nodule"])
        >>> _ = path.write_text('[{"image_id": 2, "category_id": 1, "bbox": [3, 4, 5, 6], "score": 0.75}]')
        >>> read_coco_results(path, numbers).values.tolist()
        [['a/2', 'nodule', 3.0, 4.0, 5.0, 6.0, 0.75]]
    """
    content = read_json(path)
    if not isinstance(content, list):
        refuse(path, _kind(content), "COCO results: a list of image_id, category_id, bbox and score")
    entries = _entries(path, "results", content, ("image_id", "category_id", "bbox", "score"))
    names: dict[int | str, str] = {number: name for name, number in numbers.images.items()}
    names |= {name: name for name in numbers.images}
    boxes = _boxes_table(path, "results", entries, names, {number: name for name, number in numbers.classes.items()})
    return boxes.assign(score=np.array([entry["score"] for entry in entries], dtype=np.float64))


def _entries(path: Path, what: str, values: Any, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The entries of a list, each an object with the keys."""
    if not isinstance(values, list):
        refuse(f"{path}: {what}", _kind(values), "a list")
    for index, entry in enumerate(values):
        missing = [key for key in keys if key not in entry] if isinstance(entry, dict) else list(keys)
        if missing:
            refuse(f"{path}: {what}: entry {index}", f"no {missing[0]}", f"an object with {', '.join(keys)}")
        for key, kind in _NUMBERS.items():
            unknown = entry.get(key) is None and key in ("width", "height")
            if key in entry and not unknown and not _is_number(entry[key], kind):
                expected = "a whole number" if kind is int else "a number"
                refuse(f"{path}: {what}: entry {index}: {key}", repr(entry[key]), expected)
    return values


def _boxes_table(
    path: Path, what: str, entries: list[dict[str, Any]], images: Mapping[Any, str], classes: Mapping[int, str]
) -> pd.DataFrame:
    for index, entry in enumerate(entries):
        where = f"{path}: {what}: entry {index}"
        if not _among(entry["image_id"], images):
            refuse(f"{where}: image_id", repr(entry["image_id"]), "an image of the ground truth")
        if not _among(entry["category_id"], classes):
            refuse(f"{where}: category_id", repr(entry["category_id"]), f"one of {_first_few(classes)}")
        if not _is_box(entry["bbox"]):
            refuse(f"{where}: bbox", repr(entry["bbox"]), "four numbers: x, y, width, height")
    sides = np.array([entry["bbox"] for entry in entries], dtype=np.float64).reshape(-1, 4)
    table = {
        "image_id": pd.Series([images[entry["image_id"]] for entry in entries], dtype="str"),
        "label": pd.Series([classes[entry["category_id"]] for entry in entries], dtype="str"),
    }
    return pd.DataFrame(table | dict(zip(BOX_COLUMNS[2:], sides.T, strict=True)))


def _among(key: Any, known: Mapping[Any, str]) -> bool:
    return isinstance(key, int | str) and not isinstance(key, bool) and key in known


def _is_number(value: Any, kind: Any = int | float) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_box(values: Any) -> bool:
    return isinstance(values, list) and len(values) == 4 and all(_is_number(value) for value in values)


def _first_few(keys: Iterable[int]) -> str:
    names = [str(key) for key in keys]
    return ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")


def _refuse_repeated(path: Path, what: str, values: Sequence[Any], expected: str) -> None:
    repeated = pd.Series(values, dtype=object)
    repeated = repeated[repeated.duplicated()]
    if len(repeated):
        refuse(f"{path}: {what}", f"{repeated.iloc[0]!r} more than once", expected)


def _turned(names: Mapping[int, str]) -> dict[str, int]:
    return {name: number for number, name in names.items()}


def _images_table(images: list[dict[str, Any]], names: Mapping[int, str]) -> pd.DataFrame:
    rows = [{**entry, "image_id": names[entry["id"]]} for entry in images]
    table = pd.DataFrame(rows, columns=list(IMAGE_COLUMNS))
    text = dict.fromkeys(("image_id", "file_name", "patient_id", "volume_id"), "str")
    return table.astype(text | {"width": "Int64", "height": "Int64"})


def _image_entries(images: pd.DataFrame) -> list[dict[str, Any]]:
    """The images of a file, numbered from 1; a width or height that is unknown is left out."""
    entries = []
    for number, row in enumerate(images.astype(object).to_dict("records"), start=1):
        file_name = row.get("file_name")
        entry = {
            "id": number,
            NAME_KEY: row["image_id"],
            "file_name": row["image_id"] if pd.isna(file_name) else file_name,
        }
        sides = {name: int(row[name]) for name in ("width", "height") if not pd.isna(row.get(name))}
        entries.append({**entry, **sides})
    return entries


def _write(path: Path, content: Any) -> None:
    with written_aside(path) as aside:
        aside.write_text(json.dumps(content, allow_nan=False) + "\n", "utf-8")


def _kind(content: Any) -> str:
    return (
        f"an object with {', '.join(map(str, content)) or 'nothing'}"
        if isinstance(content, dict)
        else f"a {type(content).__name__}"
    )
