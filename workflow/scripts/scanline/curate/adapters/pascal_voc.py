"""Pascal VOC XML, one file an image, with masks where there are any: patients and slices by numbers in the paths."""

import math
import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.parsers import expat

from pydantic import Field, field_validator, model_validator

from scanline.core.errors import InputError
from scanline.core.log import progress
from scanline.core.options import Options as BaseOptions
from scanline.curate.entries import Box, Entries, Entry, Reject

KINDS = ("image", "annotation", "mask")
Key = tuple[int, int]  # patient, slice


class Options(BaseOptions):
    """Where the three trees keep a slice, and how its numbers are read.

    A pattern is a regular expression that a whole path, relative to the source's folder, must match; `.` matches
    a line break too. A path is taken by the first of image, annotation and mask that it matches.
    """

    image: str = Field(description="Pattern of the image files, with groups patient and slice, and name if given.")
    annotation: str = Field(description="Pattern of the XML files, with the same groups.")
    mask: str | None = Field(default=None, description="Pattern of the mask files; null without masks.")
    name_digits: int | None = Field(
        default=None,
        ge=1,
        description="Digits of the patient's number in group name; another count of digits is counted as repaired.",
    )
    first_pixel: Literal[0, 1] = Field(
        description="0: corners count from 0, x = xmin, width = xmax - xmin. 1: pixels count from 1 and xmax is"
        " inside the box, as in the VOC data itself: x = xmin - 1, width = xmax - xmin + 1."
    )

    @field_validator("image", "annotation", "mask")
    @classmethod
    def _has_groups(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            groups = set(re.compile(pattern).groupindex)
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from None
        if not groups >= {"patient", "slice"}:
            raise ValueError("a pattern with the groups (?P<patient>...) and (?P<slice>...)")
        return pattern

    @model_validator(mode="after")
    def _name_has_digits(self) -> "Options":
        patterns = [pattern for pattern in (self.image, self.annotation, self.mask) if pattern is not None]
        if self.name_digits is not None and not all("name" in re.compile(p).groupindex for p in patterns):
            raise ValueError("a group (?P<name>...) in each pattern where name_digits is given")
        return self

    def pattern(self, kind: str) -> re.Pattern[str] | None:
        """The compiled pattern of a kind of file."""
        text: str | None = getattr(self, kind)
        return None if text is None else re.compile(text, re.DOTALL)


@dataclass(frozen=True)
class _Annotation:
    boxes: tuple[Box, ...]
    size: tuple[int, int] | None


class _AnnotationError(Exception):
    """An XML file that does not parse or is no Pascal VOC annotation: reason, detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reject = (reason, " ".join(detail.split()))


def read_entries(folder: Path, files: Sequence[str], options: Options) -> Entries:
    """Join the image, annotation and mask trees on the numbers of patient and slice.

    Returns:
        Entries by path; rejects; the paths that match no pattern.

    Raises:
        InputError: If no file matches the image pattern.
    """
    by_key, rejects, others = _sort_files(files, options)
    if not by_key["image"]:
        raise InputError(
            folder,
            found=f"{len(files)} files, none that is an image of the layout" + "".join(f" ({f})" for f in files[:1]),
            expected=f"paths that match {options.image}",
            next_step="Check the folder, or layout.image in the study file.",
        )
    single = {kind: _single_files(paths, kind, rejects) for kind, paths in by_key.items()}
    for kind in KINDS[1:]:
        for key in sorted(single[kind].keys() - single["image"].keys()):
            detail = f"patient {key[0]}, slice {key[1]} has no usable image"
            rejects.append(Reject(single[kind].pop(key), None, "refused", f"{kind}_without_image", detail))
    annotations = {
        key: (path, annotation)
        for key, path in progress(sorted(single["annotation"].items()), unit="annotation")
        if (annotation := _read_or_refuse(folder, path, options, rejects)) is not None
    }
    entries = [
        _make_entry(key, path, annotations.get(key), single["mask"].get(key)) for key, path in single["image"].items()
    ]
    return sorted(entries, key=lambda entry: entry.path), rejects, others


def _sort_files(
    files: Sequence[str], options: Options
) -> tuple[dict[str, dict[Key, list[str]]], list[Reject], list[str]]:
    """Paths by kind and key; rejects for names that contradict themselves; paths of no kind."""
    patterns = [(kind, pattern) for kind in KINDS if (pattern := options.pattern(kind)) is not None]
    by_key: dict[str, dict[Key, list[str]]] = {kind: defaultdict(list) for kind in KINDS}
    rejects: list[Reject] = []
    others: list[str] = []
    for path in sorted(files):
        matches = ((kind, pattern.fullmatch(path)) for kind, pattern in patterns)
        kind, match = next(((kind, match) for kind, match in matches if match), ("", None))
        if match is None:
            others.append(path)
            continue
        key, reject = _read_name(path, match, options.name_digits)
        if reject is not None:
            rejects.append(reject)
        if key is not None:
            by_key[kind][key].append(path)
    return by_key, rejects, others


def _read_name(path: str, match: re.Match[str], name_digits: int | None) -> tuple[Key | None, Reject | None]:
    """Patient and slice of a matched path, None where its name is refused, and what there is to say of it."""
    groups = {name: text for name, text in match.groupdict().items() if text is not None}
    numbers = {name: int(text) for name, text in groups.items() if text.isdecimal()}
    for name in ("patient", "slice", *(["name"] if "name" in groups else [])):
        if name not in numbers:
            detail = f"{name} is {groups.get(name, '')!r}, no number"
            return None, Reject(path, None, "refused", "name_not_a_number", detail)
    key = numbers["patient"], numbers["slice"]
    if "name" not in groups:
        return key, None
    if numbers["name"] != numbers["patient"]:
        detail = f"the file name says patient {groups['name']}, its folder {groups['patient']}"
        return None, Reject(path, None, "refused", "name_mismatch", detail)
    if name_digits is not None and len(groups["name"]) != name_digits:
        detail = f"{groups['name']} has {len(groups['name'])} digits instead of {name_digits}: read as patient {key[0]}"
        return key, Reject(path, None, "repaired", "name_digits", detail)
    return key, None


def _single_files(by_key: dict[Key, list[str]], kind: str, rejects: list[Reject]) -> dict[Key, str]:
    """Path of each key; where several files claim one key nobody can tell which is right, and all are refused."""
    for key, paths in by_key.items():
        if len(paths) > 1:
            for path in paths:
                rival = ", ".join(other for other in paths if other != path)
                detail = f"patient {key[0]}, slice {key[1]} is also {rival}"
                rejects.append(Reject(path, None, "refused", f"duplicate_{kind}", detail))
    return {key: paths[0] for key, paths in by_key.items() if len(paths) == 1}


def _read_or_refuse(folder: Path, path: str, options: Options, rejects: list[Reject]) -> _Annotation | None:
    try:
        annotation = _read_annotation((folder / path).read_bytes(), options.first_pixel)
    except _AnnotationError as error:
        rejects.append(Reject(path, None, "refused", *error.reject))
        return None
    if annotation.size is None:
        detail = "no <size>: width and height are read from the image"
        rejects.append(Reject(path, None, "repaired", "size_missing", detail))
    return annotation


def _make_entry(key: Key, path: str, found: tuple[str, _Annotation] | None, mask: str | None) -> Entry:
    patient, slice_index = str(key[0]), key[1]
    if found is None:
        return Entry(path, patient, patient, slice_index, None, mask_path=mask)
    annotation_path, annotation = found
    return Entry(
        path, patient, patient, slice_index, annotation.boxes, annotation.size, annotation_path, mask_path=mask
    )


def _read_annotation(content: bytes, first_pixel: int) -> _Annotation:
    """Parse the XML of one image."""
    root = _parse_safely(content)
    if root.tag != "annotation":
        raise _AnnotationError("annotation_not_pascal_voc", f"its root is <{root.tag}>, not <annotation>")
    size = root.find("size")
    return _Annotation(
        boxes=tuple(_read_box(node, first_pixel) for node in root.findall("object")),
        size=None if size is None else (_whole_number(size, "width"), _whole_number(size, "height")),
    )


def _parse_safely(content: bytes) -> ET.Element:
    """Parse XML that declares no document type: no entities to expand, nothing to fetch (as defusedxml does)."""

    def refuse(*_: object) -> None:
        raise _AnnotationError("annotation_unsafe", "it declares a document type (<!DOCTYPE>)")

    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = refuse
    try:
        guard.Parse(content, True)
        return ET.fromstring(content)
    except (expat.ExpatError, ET.ParseError, ValueError, LookupError) as error:
        raise _AnnotationError("annotation_unreadable", f"it does not parse: {error}") from error


def _whole_number(node: ET.Element, name: str) -> int:
    text = (node.findtext(name) or "").strip()
    if not (text.isascii() and text.isdigit()):
        raise _AnnotationError("annotation_incomplete", f"<{node.tag}> has {name} {text!r}, no whole number")
    return int(text)


def _read_box(node: ET.Element, first_pixel: int) -> Box:
    """Box of one <object>.

    Where pixels count from 1 the right edge of pixel xmax is xmax itself (Everingham et al., VOC development
    kit: coordinates are 1-based and inclusive).
    """
    label = node.findtext("name")
    corners = node.find("bndbox")
    if label is None or not label.strip() or corners is None:
        raise _AnnotationError("annotation_incomplete", "an <object> without <name> or <bndbox>")
    x_min, y_min, x_max, y_max = _floats(corners.findtext(name) for name in ("xmin", "ymin", "xmax", "ymax"))
    x, y = x_min - first_pixel, y_min - first_pixel
    return Box(label, x, y, x_max - x, y_max - y)


def _floats(texts: Iterable[str | None]) -> list[float]:
    """Numbers of the texts; what is no finite number is NaN, for the engine to refuse."""
    numbers = []
    for text in texts:
        try:
            number = float(text or "nan")
        except ValueError:
            number = math.nan
        numbers.append(number if math.isfinite(number) else math.nan)
    return numbers
