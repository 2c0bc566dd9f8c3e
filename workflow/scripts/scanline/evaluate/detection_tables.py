"""Boxes as evaluation takes them: checked, and coded by image and class."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.evaluate.bootstrap import count_clusters
from scanline.evaluate.inputs import (
    Bools,
    Codes,
    Floats,
    as_clusters,
    as_partial_truth,
    as_probability,
    as_scores,
    as_truth,
    refuse,
    refuse_entries,
)

MAX_DETECTIONS = 100  # a class and image, best first (COCO's default); what comes after is left out
BACKGROUND = "background"
ALL_CLASSES = "all classes"
ANY_CLASS = "any class"
BOX_COLUMNS = ("image_id", "label", "x", "y", "width", "height")


@dataclass(frozen=True)
class TruthBoxes:
    """True boxes in their table's order.

    Attributes:
        image: Position in the images, shape (boxes,).
        label: Position in the classes, shape (boxes,).
        xywh: Left, top, width and height in pixels, shape (boxes, 4), float64.
        area: In square pixels, by which COCO calls an object small, medium or large; shape (boxes,).
        crowd: Whether the box marks a crowd of objects, which counts neither as found nor as missed; shape (boxes,).
    """

    image: Codes
    label: Codes
    xywh: Floats
    area: Floats
    crowd: Bools


@dataclass(frozen=True)
class DetectedBoxes:
    """Detections that count, by class, image, falling score, then row: the order of COCO's matching.

    Attributes:
        image: Position in the images, shape (detections,).
        label: Position in the classes, shape (detections,).
        xywh: Left, top, width and height in pixels, shape (detections, 4), float64.
        score: From 0 to 1, shape (detections,).
        rank: Position among the detections of the same class and image, shape (detections,).
        row: Position in the predicted table, shape (detections,).
    """

    image: Codes
    label: Codes
    xywh: Floats
    score: Floats
    rank: Codes
    row: Codes


Boxes = TypeVar("Boxes", TruthBoxes, DetectedBoxes)


@dataclass(frozen=True)
class DetectionTables:
    """Everything that detection is measured on.

    Attributes:
        classes: The names of the classes.
        images: The image ids.
        patients: Patient of each image, None where unknown, shape (images,), object.
        volumes: Volume of each image, None where unknown, shape (images,), object.
        clusters: What the bootstrap draws: the patient of each image; where not all are known, its group, and without
            groups its patient, else its volume, else itself; shape (images,).
        known: Whether the annotators looked for the class, shape (images, classes).
        present: Whether the image holds a true box of the class, shape (images, classes).
        truth: The true boxes.
        detected: The detections that count.
        unknown_rows: Detections of a class that is unknown on their image: rows of the predicted table.
        surplus_rows: Detections beyond MAX_DETECTIONS: rows of the predicted table.
    """

    classes: tuple[str, ...]
    images: tuple[str, ...]
    patients: NDArray[np.object_]
    volumes: NDArray[np.object_]
    clusters: Codes
    known: Bools
    present: Bools
    truth: TruthBoxes
    detected: DetectedBoxes
    unknown_rows: Codes
    surplus_rows: Codes

    @property
    def cluster_count(self) -> int:
        """Number of clusters."""
        return count_clusters(self.clusters)

    @property
    def fully_known(self) -> Bools:
        """Images on which every class is known, shape (images,)."""
        return np.asarray(self.known.all(axis=1))

    def of_images(self, rows: Codes, clusters: Codes) -> "DetectionTables":
        """The tables of some of the images; what was left out as unknown or surplus is not listed again.

        Args:
            rows: Rising positions in the images.
            clusters: The cluster of each of them, numbered from 0; same shape.
        """
        place = np.full(len(self.images), -1, dtype=np.intp)
        place[rows] = np.arange(len(rows))
        none = np.empty(0, dtype=np.intp)
        return replace(
            self,
            images=tuple(self.images[row] for row in rows.tolist()),
            patients=self.patients[rows],
            volumes=self.volumes[rows],
            clusters=clusters,
            known=self.known[rows],
            present=self.present[rows],
            truth=_boxes_of(self.truth, place),
            detected=_boxes_of(self.detected, place),
            unknown_rows=none,
            surplus_rows=none,
        )


def _boxes_of(boxes: Boxes, place: Codes) -> Boxes:
    """The boxes of images that have a place, in their order."""
    kept = place[boxes.image] >= 0
    columns = {field.name: getattr(boxes, field.name)[kept] for field in fields(boxes)}
    return replace(boxes, **{**columns, "image": place[boxes.image[kept]]})


def check_detection_tables(
    truth: pd.DataFrame,
    predicted: pd.DataFrame,
    images: pd.DataFrame | Sequence[str],
    classes: Sequence[str],
    labels: pd.DataFrame | None = None,
) -> DetectionTables:
    """Check the tables of a detection task and code them.

    Args:
        truth: True boxes: image_id, label, x, y, width, height in pixels; where there, area in square pixels (else
            width x height) and iscrowd (else false), as in COCO.
        predicted: Detections: image_id, label, x, y, width, height, score from 0 to 1.
        images: Every image that was looked at, with boxes or without: image_id, and where there patient_id and
            volume_id, null where unknown. Or image ids alone.
        classes: The classes to measure.
        labels: The labels table: image_id and one nullable boolean a class, null where nobody looked for it. None:
            every class was looked for on every image.

    Raises:
        InputError: For a missing column, an image that stands twice or is not among `images`, a class that is not
            among `classes`, a box without size or with a null, a score outside 0 to 1, labels that contradict
            the boxes, a volume of two patients, and no images or no classes.
    """
    names = check_classes(classes)
    table = check_images(images)
    ids = pd.Index(table["image_id"])
    boxes = code_truth(truth, ids, names)
    present = np.zeros((len(ids), len(names)), dtype=bool)
    present[boxes.image, boxes.label] = True
    known = np.ones_like(present) if labels is None else _known_classes(labels, ids, names, present)
    detected, unknown_rows, surplus_rows = _code_detections(predicted, ids, names, known)
    patients, volumes = (_column_of_ids(table, name) for name in ("patient_id", "volume_id"))
    return DetectionTables(
        classes=names,
        images=tuple(ids),
        patients=patients,
        volumes=volumes,
        clusters=_clusters(patients, volumes, _column_of_ids(table, "group_id")),
        known=known,
        present=present,
        truth=boxes,
        detected=detected,
        unknown_rows=unknown_rows,
        surplus_rows=surplus_rows,
    )


def check_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """The classes as names, each once, none of them a name with a meaning of its own."""
    if isinstance(classes, str) or not len(classes):
        refuse("classes", repr(classes), "a list of at least one class")
    names = tuple(str(name) for name in classes)
    if not all(names):
        refuse("classes", "an empty name", "a name for each class")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        refuse("classes", f"{', '.join(repeated)} more than once", "each class once")
    reserved = sorted({BACKGROUND, ALL_CLASSES, ANY_CLASS} & set(names))
    if reserved:
        refuse(
            "classes", reserved[0], "a name that means a class: this one is used for what belongs to none, or to all"
        )
    return names


def check_images(images: pd.DataFrame | Sequence[str]) -> pd.DataFrame:
    """The images table with ids as text, each once; see `check_detection_tables`."""
    table = images if isinstance(images, pd.DataFrame) else pd.DataFrame({"image_id": list(images)}, dtype=object)
    _check_columns(table, ("image_id",), "images")
    if table.empty:
        refuse("images", "none", "at least one, with boxes or without")
    ids = _text(table["image_id"], "images: image_id")
    refuse_entries(ids.duplicated().to_numpy(), _entries(ids), "images: image_id", "each image once")
    return table.reset_index(drop=True).assign(image_id=ids)


def _check_columns(table: pd.DataFrame, names: Sequence[str], where: str) -> None:
    missing = [name for name in names if name not in table]
    if missing:
        refuse(f"{where}: columns", ", ".join(map(str, table.columns)) or "none", f"{', '.join(missing)} as well")


def _entries(column: "pd.Series[str]") -> NDArray[np.object_]:
    return column.to_numpy(dtype=object)


def _text(column: "pd.Series[str]", where: str) -> "pd.Series[str]":
    missing = column.isna().to_numpy()
    refuse_entries(missing, _entries(column), where, "a name in every row")
    return column.astype("str").reset_index(drop=True)


def _codes(column: "pd.Series[str]", names: pd.Index, where: str, expected: str) -> Codes:
    codes: Codes = names.get_indexer(pd.Index(_text(column, where))).astype(np.intp)
    refuse_entries(codes < 0, _entries(column), where, expected)
    return codes


def _code_boxes(
    table: pd.DataFrame, ids: pd.Index, classes: tuple[str, ...], where: str
) -> tuple[Codes, Codes, Floats]:
    """Image, class and (x, y, width, height) of each row."""
    image = _codes(table["image_id"], ids, f"{where}: image_id", "an image of the images table")
    expected = f"one of {', '.join(classes)}" if len(classes) <= 10 else f"one of the {len(classes)} classes"
    label = _codes(table["label"], pd.Index(classes), f"{where}: label", expected)
    sides = {name: as_scores(table[name], f"{where}: {name}") for name in ("x", "y", "width", "height")}
    for name in ("width", "height"):
        refuse_entries(sides[name] <= 0, sides[name], f"{where}: {name}", "more than 0 pixels")
    return image, label, np.ascontiguousarray(np.stack(list(sides.values()), axis=1))


def code_truth(truth: pd.DataFrame, ids: pd.Index, classes: tuple[str, ...]) -> TruthBoxes:
    """Check and code a table of true boxes; see `check_detection_tables`."""
    _check_columns(truth, BOX_COLUMNS, "truth")
    image, label, xywh = _code_boxes(truth, ids, classes, "truth")
    area = xywh[:, 2] * xywh[:, 3]
    if "area" in truth:
        area = as_scores(truth["area"], "truth: area")
        refuse_entries(area < 0, area, "truth: area", "0 square pixels or more")
    crowd = as_truth(truth["iscrowd"], "truth: iscrowd") if "iscrowd" in truth else np.zeros(len(truth), dtype=bool)
    return TruthBoxes(image=image, label=label, xywh=xywh, area=area, crowd=crowd)


def code_predicted(
    predicted: pd.DataFrame, ids: pd.Index, classes: tuple[str, ...]
) -> tuple[Codes, Codes, Floats, Floats]:
    """Check a table of detections: image, class, (x, y, width, height) and score of each row."""
    _check_columns(predicted, (*BOX_COLUMNS, "score"), "predicted")
    image, label, xywh = _code_boxes(predicted, ids, classes, "predicted")
    return image, label, xywh, as_probability(predicted["score"], "predicted: score")


def _code_detections(
    predicted: pd.DataFrame, ids: pd.Index, classes: tuple[str, ...], known: Bools
) -> tuple[DetectedBoxes, Codes, Codes]:
    """The detections that count, and the rows of those of unknown classes and of those beyond the limit."""
    image, label, xywh, score = code_predicted(predicted, ids, classes)
    looked_for = known[image, label]
    order = np.lexsort((-score, image, label))  # stable: equal scores of an image stay in the order of their rows
    order = order[looked_for[order]]
    group = label[order] * len(ids) + image[order]
    starts = np.flatnonzero(np.append(True, group[1:] != group[:-1])[: len(group)])
    rank = np.arange(len(group)) - np.repeat(starts, np.diff(np.append(starts, len(group))))
    counts = rank < MAX_DETECTIONS
    row = order[counts]
    detected = DetectedBoxes(
        image=image[row],
        label=label[row],
        xywh=np.ascontiguousarray(xywh[row]),
        score=score[row],
        rank=rank[counts],
        row=row,
    )
    return detected, np.flatnonzero(~looked_for), np.sort(order[~counts])


def _known_classes(labels: pd.DataFrame, ids: pd.Index, classes: tuple[str, ...], present: Bools) -> Bools:
    """Whether each class was looked for on each image; refuses labels that contradict the boxes."""
    _check_columns(labels, ("image_id", *classes), "labels")
    names = _text(labels["image_id"], "labels: image_id")
    refuse_entries(names.duplicated().to_numpy(), _entries(names), "labels: image_id", "each image once")
    rows = pd.Index(names).get_indexer(ids)
    refuse_entries(rows < 0, ids.to_numpy(dtype=object), "images", "an image of the labels table")
    values = as_partial_truth(labels[list(classes)].iloc[rows], "labels", classes)
    for wrong, found, expected in (
        (np.isnan(values) & present, "null", "true: the truth holds a box of this class"),
        ((values == 0) & present, "false", "true: the truth holds a box of this class"),
        ((values == 1) & ~present, "true", "a box of this class in the truth, or null where nobody drew one"),
    ):
        if wrong.any():
            image, label = (int(index) for index in np.argwhere(wrong)[0])
            more = f" (and {int(wrong.sum()) - 1} more)" if wrong.sum() > 1 else ""
            refuse(f"labels: image {ids[image]}, {classes[label]}", f"{found}{more}", expected)
    return ~np.isnan(values)


def _column_of_ids(table: pd.DataFrame, name: str) -> NDArray[np.object_]:
    if name not in table:
        return np.full(len(table), None, dtype=object)
    names: NDArray[np.object_] = table[name].astype("str").to_numpy(dtype=object, copy=True)
    names[table[name].isna().to_numpy()] = None
    return names


def _clusters(patients: NDArray[np.object_], volumes: NDArray[np.object_], groups: NDArray[np.object_]) -> Codes:
    """The patient of each image; where not all are known, its group, else its patient, its volume, or itself."""
    pairs = pd.DataFrame({"volume": volumes, "patient": patients}).drop_duplicates()
    pairs = pairs[pairs["volume"].notna()]
    shared = pairs["volume"].duplicated()
    if shared.any():
        volume = pairs.loc[shared, "volume"].iloc[0]
        found = pairs.loc[pairs["volume"] == volume, "patient"]
        names = " and ".join("null" if pd.isna(name) else str(name) for name in found)
        refuse(f"images: volume {volume}", f"the patients {names}", "one patient for all images of a volume")
    if pd.isna(patients).any() and pd.notna(groups).all():
        return as_clusters(groups, len(groups))
    keys = [
        f"patient {patient}" if patient is not None else None if volume is None else f"volume {volume}"
        for patient, volume in zip(patients, volumes, strict=True)
    ]
    return as_clusters(np.array(keys, dtype=object), len(keys))
