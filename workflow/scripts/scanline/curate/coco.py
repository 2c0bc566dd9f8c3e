"""COCO's JSON of boxes, read with each of its rows accounted for: kept, or refused with a reason.

The format: https://cocodataset.org/#format-data. A box is x, y, width, height in continuous pixels, the origin at the
top left corner of the pixel grid.
"""

import json
import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from scanline.core.errors import InputError
from scanline.curate.entries import Box, Reject

PARTS = ("images", "annotations", "categories")
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".dcm"})
LARGEST = 1e9  # a coordinate in pixels


def is_picture(path: str) -> bool:
    """Whether a file's suffix is that of an image."""
    return PurePosixPath(path).suffix.lower() in PICTURES


@dataclass
class CocoImage:
    """One image of a COCO file.

    Attributes:
        path: Relative to the source's folder; a file that is there.
        size: (width, height) as declared; None where it is not.
        boxes: In the order of the annotations, each with its row there.
        doubtful: Whether it has a box of no known class.
    """

    path: str
    size: tuple[int, int] | None
    boxes: list[Box] = field(default_factory=list)
    doubtful: bool = False


@dataclass(frozen=True)
class CocoFile:
    """What a COCO file tells: images that are there, by path, and what was refused of its rows."""

    images: dict[str, CocoImage]
    rejects: list[Reject]


def read_coco(
    folder: Path, path: str, image_folder: str, files: Collection[str], *, has_parent: bool = False
) -> CocoFile:
    """Read one COCO file.

    * A row of `images` without a file is refused, with its boxes. Two rows of one file are one image. Two files under
      one id are both refused, as nobody can tell whose the boxes are.
    * An annotation of an unknown image or category is refused; so is the second of two that are equal. After a box of
      an unknown category the image is doubtful. A crowd's box is refused: it is not one lesion's.

    Args:
        folder: The source's folder.
        path: The COCO file, relative to it.
        image_folder: Where the file names start, relative to it; "" for the folder itself.
        files: The manifest's paths.
        has_parent: Whether category 0, where others name it as their supercategory, is no class: Roboflow adds it.

    Raises:
        InputError: If the file is no COCO file, or gives a category two names.
    """
    document = _read_document(folder / path)
    rejects: list[Reject] = []
    by_id, missing = _read_images(document["images"], path, image_folder, frozenset(files), rejects)
    names, parent = _read_categories(document["categories"], folder / path, has_parent=has_parent)
    if parent is not None:
        detail = f"category 0, {parent!r}, is the parent of the others and no class"
        rejects.append(Reject(path, 0, "noted", "parent_category", detail))
    _Annotations(path, by_id, missing, names, parent, rejects).read(document["annotations"])
    return CocoFile({image.path: image for image in by_id.values()}, rejects)


def _read_document(path: Path) -> dict[str, list[Any]]:
    try:
        document: dict[str, list[Any]] = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise _no_coco(path, f"no JSON ({error})") from error
    for part in PARTS:
        if not isinstance(document, dict) or not isinstance(document.get(part), list):
            raise _no_coco(path, f"no list {part!r}")
    return document


def _no_coco(path: Path, found: str) -> InputError:
    return InputError(
        path,
        found=found,
        expected=f"a COCO file with the lists {', '.join(PARTS)}",
        next_step="Export it again, or name another file in the study file.",
    )


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _read_images(
    rows: list[Any], path: str, image_folder: str, files: frozenset[str], rejects: list[Reject]
) -> tuple[dict[Any, CocoImage], set[Any]]:
    """Images by id, of which several may be one image; and the ids of images that are not there."""

    def refuse(row: int, reason: str, detail: str) -> None:
        rejects.append(Reject(path, row, "refused", reason, f"images[{row}]: {detail}"))

    names: dict[Any, dict[str, list[int]]] = {}  # id to file to its rows
    for row, values in enumerate(rows):
        name = values.get("file_name") if isinstance(values, dict) else None
        if not isinstance(name, str) or not name or not _is_id(values.get("id")):
            refuse(row, "image_row_incomplete", "no id or no file_name")
            continue
        names.setdefault(values["id"], {}).setdefault(name, []).append(row)
    by_path: dict[str, CocoImage] = {}
    by_id: dict[Any, CocoImage] = {}
    missing: set[Any] = set()
    for key, named in names.items():
        if len(named) > 1:
            missing.add(key)
            for name, its_rows in named.items():
                for row in its_rows:
                    refuse(row, "image_id_twice", f"id {key} of {name} is also that of {_others(named, name)}")
            continue
        ((name, its_rows),) = named.items()
        for row in its_rows[1:]:
            refuse(row, "duplicate_image_row", f"the same image as images[{its_rows[0]}], {name}")
        relative = f"{image_folder}/{name}" if image_folder else name
        if relative not in files:
            missing.add(key)
            refuse(its_rows[0], "image_file_missing", f"no such file {relative}")
            continue
        if relative in by_path:
            refuse(its_rows[0], "duplicate_image_row", f"{name} has another id too: its boxes are put together")
        by_id[key] = by_path.setdefault(relative, CocoImage(relative, _declared_size(rows[its_rows[0]])))
    return by_id, missing


def _others(named: dict[str, list[int]], name: str) -> str:
    return ", ".join(other for other in named if other != name)


def _declared_size(values: dict[str, Any]) -> tuple[int, int] | None:
    width, height = values.get("width"), values.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _read_categories(rows: list[Any], path: Path, *, has_parent: bool) -> tuple[dict[Any, str], str | None]:
    """Names of the classes by id, and the name of the parent that is none."""
    names: dict[Any, str] = {}
    for values in rows:
        if not isinstance(values, dict) or not _is_id(values.get("id")) or not isinstance(values.get("name"), str):
            raise _no_coco(path, "a category without id or name")
        if names.setdefault(values["id"], values["name"]) != values["name"]:
            raise _no_coco(path, f"category {values['id']} named {names[values['id']]!r} and {values['name']!r}")
    parents = [values.get("supercategory") for values in rows if values["id"] != 0]
    if has_parent and names.get(0) in parents:
        return {key: name for key, name in names.items() if key != 0}, names[0]
    return names, None


@dataclass
class _Annotations:
    """The annotations of one COCO file, read into its images."""

    path: str
    images: dict[Any, CocoImage]
    missing: set[Any]
    names: dict[Any, str]
    parent: str | None
    rejects: list[Reject]

    def read(self, rows: list[Any]) -> None:
        ids = Counter(str(values.get("id")) for values in rows if isinstance(values, dict))
        seen: dict[tuple[Any, ...], int] = {}
        for row, values in enumerate(rows):
            if not isinstance(values, dict) or not (
                _is_id(values.get("image_id")) and _is_id(values.get("category_id"))
            ):
                self._refuse(row, "annotation_incomplete", "no image_id or no category_id")
                continue
            image = self.images.get(values["image_id"])
            if image is None:
                known = values["image_id"] in self.missing
                reason = "box_of_missing_image" if known else "box_of_unknown_image"
                self._refuse(row, reason, f"image {values['image_id']} is {'refused' if known else 'not listed'}")
                continue
            self._read_box(row, values, image, seen)
            if ids[str(values.get("id"))] > 1:
                detail = f"annotations[{row}]: id {values.get('id')} is another annotation's too"
                self.rejects.append(Reject(self.path, row, "noted", "annotation_id_twice", detail))

    def _read_box(self, row: int, values: dict[str, Any], image: CocoImage, seen: dict[tuple[Any, ...], int]) -> None:
        label = self.names.get(values["category_id"])
        if label is None:
            image.doubtful = True
            is_parent = self.parent is not None and values["category_id"] == 0
            reason = "box_of_parent_category" if is_parent else "box_of_unknown_category"
            self._refuse(
                row, reason, f"category {values['category_id']} on {image.path}: its other classes are unknown"
            )
            return
        sides = _sides(values.get("bbox"))
        key = (image.path, label, *sides)
        if key in seen:
            self._refuse(row, "duplicate_box", f"the same as annotations[{seen[key]}], {label} on {image.path}")
            return
        seen[key] = row
        problem = "box_is_crowd" if values.get("iscrowd") == 1 else None
        image.boxes.append(Box(label, *sides, row=row, problem=problem))

    def _refuse(self, row: int, reason: str, detail: str) -> None:
        self.rejects.append(Reject(self.path, row, "refused", reason, f"annotations[{row}]: {detail}"))


def _sides(bbox: object) -> tuple[float, float, float, float]:
    """Four finite numbers, or NaN for the engine to refuse."""
    x, y, width, height = map(_number, bbox if isinstance(bbox, list) and len(bbox) == 4 else [None] * 4)
    return x, y, width, height


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not -LARGEST < value < LARGEST:
        return math.nan
    return float(value)
