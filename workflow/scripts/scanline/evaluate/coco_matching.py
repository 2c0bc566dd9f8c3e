"""Which detection finds which true box.

`match_detections` follows COCO's rules (pycocotools, `COCOeval.evaluateImg`; Lin et al., Microsoft COCO, ECCV 2014):
within a class and image the detections choose in the order of their scores, each the free true box of greatest
overlap, if that reaches the IoU threshold. A true box out of the area range, or of a crowd, is chosen last and what
chose it is ignored, as is a detection out of the area range that chose none; a crowd can be chosen again, and its
overlap is the intersection as a part of the detection alone. faster-coco-eval keeps its matches in an opaque object,
and resampling needs them: hence this code, which is tested against it and against pycocotools.

`match_classes` lets detections choose among the boxes of all classes, for the confusion matrix.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from scanline.evaluate.detection_tables import DetectedBoxes, DetectionTables, TruthBoxes
from scanline.evaluate.inputs import Bools, Codes, Floats

FALSE_POSITIVE, TRUE_POSITIVE, IGNORED = 0, 1, 2
ANY_AREA = (0.0, 1e10)  # square pixels: COCO's range "all"


@dataclass(frozen=True)
class Matches:
    """The outcome of each detection, in the order of `DetectedBoxes`.

    Attributes:
        outcome: FALSE_POSITIVE, TRUE_POSITIVE or IGNORED, shape (detections, area ranges, thresholds), uint8.
        chosen: Position of the true box that was chosen in `TruthBoxes`, -1 for none; same shape, intp.
        counted: Whether a true box is to be found: in the area range and no crowd; shape (area ranges, true boxes).
    """

    outcome: NDArray[np.uint8]
    chosen: Codes
    counted: Bools


def _overlap(detection: Any, box: Any, crowd: Any) -> Any:
    """IoU of two boxes (x, y, width, height); for a crowd, the part of the detection inside the box."""
    width = min(detection[0] + detection[2], box[0] + box[2]) - max(detection[0], box[0])
    height = min(detection[1] + detection[3], box[1] + box[3]) - max(detection[1], box[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    shared = width * height
    own = detection[2] * detection[3]
    return shared / own if crowd else shared / (own + box[2] * box[3] - shared)


_compiled_overlap: Callable[..., Any] = numba.njit(nogil=True, error_model="numpy")(_overlap)


def _choose(detections: Any, boxes: Any, crowds: Any, counted: Any, groups: Any, thresholds: Any, chosen: Any) -> None:
    """Let the detections of each group (first and end detection, first and end true box) choose."""
    for group in range(len(groups)):
        first, end, first_box, end_box = groups[group]
        size = end_box - first_box
        overlaps = np.empty((end - first, size))
        for detection in range(first, end):
            for box in range(size):
                overlaps[detection - first, box] = _compiled_overlap(
                    detections[detection], boxes[first_box + box], crowds[first_box + box]
                )
        order, taken = np.empty(size, np.intp), np.empty(size, np.bool_)
        for area in range(len(counted)):
            place = 0
            for wanted in (True, False):
                for box in range(size):
                    if counted[area, first_box + box] == wanted:
                        order[place] = box
                        place += 1
            for threshold in range(len(thresholds)):
                taken[:] = False
                for detection in range(first, end):
                    best, match = min(thresholds[threshold], 1 - 1e-10), -1
                    for box in order:
                        if taken[box] and not crowds[first_box + box]:
                            continue
                        if match > -1 and counted[area, first_box + match] and not counted[area, first_box + box]:
                            break
                        if overlaps[detection - first, box] >= best:
                            best, match = overlaps[detection - first, box], box
                    if match > -1:
                        taken[match] = True
                        chosen[detection, area, threshold] = first_box + match


def _choose_any(
    detections: Any, labels: Any, boxes: Any, box_labels: Any, crowds: Any, groups: Any, threshold: Any, chosen: Any
) -> None:
    """Let the detections of each image choose among boxes of all classes: real ones first, then crowds."""
    for group in range(len(groups)):
        first, end, first_box, end_box = groups[group]
        taken = np.zeros(end_box - first_box, np.bool_)
        for detection in range(first, end):
            best, match, same = min(threshold, 1 - 1e-10), -1, False
            for box in range(first_box, end_box):
                if crowds[box] or taken[box - first_box]:
                    continue
                overlap = _compiled_overlap(detections[detection], boxes[box], False)
                of_its_class = labels[detection] == box_labels[box]
                if overlap > best or (overlap == best and (match < 0 or (of_its_class and not same))):
                    best, match, same = overlap, box, of_its_class
            if match > -1:
                taken[match - first_box] = True
            else:
                for box in range(first_box, end_box):
                    if crowds[box] and _compiled_overlap(detections[detection], boxes[box], True) >= best:
                        match = box
                        break
            chosen[detection] = match


_compiled_choose: Callable[..., None] = numba.njit(nogil=True, error_model="numpy")(_choose)
_compiled_choose_any: Callable[..., None] = numba.njit(nogil=True, error_model="numpy")(_choose_any)


def match_detections(
    tables: DetectionTables, thresholds: Sequence[float], area_ranges: Sequence[tuple[float, float]] = (ANY_AREA,)
) -> Matches:
    """Match detections to true boxes of their class by COCO's rules.

    Args:
        tables: The checked tables.
        thresholds: IoU that a match must reach.
        area_ranges: Least and greatest area in square pixels, both included.
    """
    truth, detected = tables.truth, tables.detected
    images = len(tables.images)
    order = np.lexsort((truth.image, truth.label))
    counted = np.stack([(truth.area >= low) & (truth.area <= high) & ~truth.crowd for low, high in area_ranges])
    groups = _groups(detected.label * images + detected.image, (truth.label * images + truth.image)[order])
    chosen = np.full((len(detected.row), len(area_ranges), len(thresholds)), -1, dtype=np.intp)
    _compiled_choose(
        detected.xywh,
        truth.xywh[order],
        truth.crowd[order],
        np.ascontiguousarray(counted[:, order]),
        groups,
        np.asarray(thresholds, dtype=np.float64),
        chosen,
    )
    chosen = np.where(chosen < 0, -1, np.append(order, -1)[chosen])
    return Matches(_outcomes(detected, chosen, counted, area_ranges), chosen, counted)


def _outcomes(
    detected: DetectedBoxes, chosen: Codes, counted: Bools, area_ranges: Sequence[tuple[float, float]]
) -> NDArray[np.uint8]:
    area = detected.xywh[:, 2] * detected.xywh[:, 3]
    outcome = np.empty(chosen.shape, dtype=np.uint8)
    for index, (low, high) in enumerate(area_ranges):
        found = chosen[:, index]
        hit = np.append(counted[index], False)[found]
        outside = ((area < low) | (area > high))[:, None]
        missed = np.where(outside, IGNORED, FALSE_POSITIVE)
        outcome[:, index] = np.where(hit, TRUE_POSITIVE, np.where(found < 0, missed, IGNORED))
    return outcome


def _groups(detected: Codes, boxes: Codes) -> Codes:
    """First and end detection, first and end box of each group that has detections; both are sorted by group."""
    names, first = np.unique(detected, return_index=True)
    ends = np.append(first, len(detected))[1:]
    sides = [np.searchsorted(boxes, names, side=side) for side in ("left", "right")]
    return np.ascontiguousarray(np.stack([first, ends, *sides], axis=1).astype(np.intp))


def match_classes(tables: DetectionTables, score_threshold: float, iou_threshold: float) -> tuple[Codes, Codes]:
    """Match detections to true boxes of whatever class.

    The detections of an image choose in the order of their scores, each the free true box of greatest overlap;
    of equal ones a box of the detection's own class, so that one lesion with boxes of two classes can be found as both.
    A detection that finds none but lies on a crowd is given that.

    Args:
        tables: The checked tables.
        score_threshold: Detections below it are left out.
        iou_threshold: IoU that a match must reach.

    Returns:
        Positions in `DetectedBoxes` of the detections that are not left out, and the position of the box each chose
        in `TruthBoxes`, -1 for none.
    """
    truth, detected = tables.truth, tables.detected
    kept = np.flatnonzero(detected.score >= score_threshold)
    kept = kept[np.lexsort((detected.row[kept], -detected.score[kept], detected.image[kept]))]
    order = np.argsort(truth.image, kind="stable")
    chosen = np.full(len(kept), -1, dtype=np.intp)
    _compiled_choose_any(
        detected.xywh[kept],
        detected.label[kept],
        truth.xywh[order],
        truth.label[order],
        truth.crowd[order],
        _groups(detected.image[kept], truth.image[order]),
        float(iou_threshold),
        chosen,
    )
    return kept, np.where(chosen < 0, -1, np.append(order, -1)[chosen])


def overlap_of(detected: DetectedBoxes, truth: TruthBoxes, detections: Codes, boxes: Codes) -> Floats:
    """IoU of pairs of a detection and a true box (for a crowd: the part of the detection inside it), shape (pairs,)."""
    first, second = detected.xywh[detections], truth.xywh[boxes]
    corners = [np.minimum(first[:, k] + first[:, k + 2], second[:, k] + second[:, k + 2]) for k in (0, 1)]
    sides = [end - np.maximum(first[:, k], second[:, k]) for k, end in enumerate(corners)]
    shared = np.maximum(sides[0], 0) * np.maximum(sides[1], 0)
    own, other = first[:, 2] * first[:, 3], second[:, 2] * second[:, 3]
    overlap: Floats = shared / np.where(truth.crowd[boxes], own, own + other - shared)
    return overlap
