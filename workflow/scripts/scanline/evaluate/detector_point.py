"""The score from which on a detection counts: chosen on val, written down with what it was chosen on, then applied."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scanline.core.errors import InputError
from scanline.core.files import read_json, sha256_of_text
from scanline.evaluate.bootstrap import divide
from scanline.evaluate.coco_matching import TRUE_POSITIVE, match_detections
from scanline.evaluate.detection_tables import DetectionTables
from scanline.evaluate.detector_options import BoxOptions

NOTHING_FOUND = 0.5  # the threshold where val has no detection to choose it by


@dataclass(frozen=True)
class DetectorPoint:
    """A frozen threshold: a detection counts where its score >= threshold.

    Attributes:
        rule: f1 or fixed.
        threshold: In [0, 1].
        iou_threshold: At which F1 was measured.
        criterion: F1 reached on val; None for the fixed rule.
        subset: The subset it was fitted on; None for the fixed rule.
        images: Images of that subset; None for the fixed rule.
        truth_boxes: True boxes on them; None for the fixed rule.
        tables_sha256: Digest of the images, boxes and detections it was fitted on; None for the fixed rule.
    """

    rule: str
    threshold: float
    iou_threshold: float
    criterion: float | None
    subset: str | None
    images: int | None
    truth_boxes: int | None
    tables_sha256: str | None

    def as_json(self) -> dict[str, object]:
        """The content of operating_point.json."""
        return asdict(self)

    def sha256(self) -> str:
        """Digest of the record, as metrics.json holds it."""
        return sha256_of_text(json.dumps(self.as_json(), sort_keys=True))


def digest_of_tables(images: list[str], truth: pd.DataFrame, detections: pd.DataFrame) -> str:
    """SHA-256 of image ids, true boxes and detections, sorted: the order of rows is no matter."""
    box = ["image_id", "label", "x", "y", "width", "height"]
    rows = [
        sorted(images),
        sorted(truth[box].to_numpy(dtype=object).tolist()),
        sorted(detections[[*box, "score"]].to_numpy(dtype=object).tolist()),
    ]
    return sha256_of_text(json.dumps(rows))


def fit_detector_point(tables: DetectionTables, digest: str, options: BoxOptions, where: object) -> DetectorPoint:
    """Choose the score with the best F1 of boxes, over all classes together.

    All thresholds between two neighbouring distinct scores call the same boxes: the middle of them is taken (0 is
    the neighbour of the lowest score). Of several equally good gaps the lowest is taken, which finds most boxes.

    Args:
        tables: Of val, and of no other subset.
        digest: Of what they hold: see `digest_of_tables`.
        options: The rule and the overlap.
        where: The detections' file, for messages.

    Raises:
        InputError: If val has no true box.
    """
    iou = options.iou_threshold
    if options.score_threshold != "f1":
        return DetectorPoint("fixed", float(options.score_threshold), iou, None, None, None, None, None)
    boxes = int((~tables.truth.crowd).sum())
    if boxes == 0:
        raise InputError(
            f"{where}: subset val",
            found="no true box",
            expected="at least one, to choose the score threshold by f1",
            next_step="Give the split another seed, or set a number as evaluate.boxes.score_threshold.",
        )
    matches = match_detections(tables, (iou,))
    order = np.argsort(-tables.detected.score, kind="stable")
    threshold, criterion = NOTHING_FOUND, 0.0
    if len(order):
        score = tables.detected.score[order]
        hit = matches.outcome[order, 0, 0] == TRUE_POSITIVE
        last = np.flatnonzero(np.append(score[1:] != score[:-1], True))
        tp, called = np.cumsum(hit)[last], (last + 1).astype(np.float64)
        f1 = divide(2.0 * tp, called + boxes)
        best = int(np.flatnonzero(f1 == f1.max())[-1])
        upper = float(score[last[best]])
        lower = float(score[last[best] + 1]) if last[best] + 1 < len(score) else 0.0
        middle = lower + (upper - lower) / 2
        threshold, criterion = middle if middle > lower else upper, float(f1[best])
    return DetectorPoint("f1", threshold, iou, criterion, "val", len(tables.images), boxes, digest)


def read_detector_point(path: Path) -> DetectorPoint:
    """Read an operating_point.json.

    Raises:
        InputError: If the file is missing, no JSON, or not such a record.
    """
    values: Any = read_json(path)
    fields = set(DetectorPoint.__dataclass_fields__)
    if not isinstance(values, dict) or set(values) != fields:
        found = ", ".join(sorted(values)) if isinstance(values, dict) else type(values).__name__
        raise InputError(
            path,
            found=found,
            expected=f"a detector's operating point with the keys {', '.join(sorted(fields))}",
            next_step=f"Make it again: snakemake {path}",
        )
    return DetectorPoint(**values)


def check_fitted_on(point: DetectorPoint, digest: str) -> None:
    """Check that a threshold was fitted on exactly these tables of val, before it is applied to others.

    Raises:
        InputError: If it was fitted on others.
    """
    if point.tables_sha256 is not None and point.tables_sha256 != digest:
        raise InputError(
            "operating point: tables_sha256",
            found=f"{point.tables_sha256[:12]}..., fitted on {point.images} images of {point.subset}",
            expected=f"{digest[:12]}..., the digest of the val detections given",
            next_step="Fit the operating point on these detections: delete it and make it again.",
        )
