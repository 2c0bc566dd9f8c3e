"""The score from which on a volume is called positive: chosen on val by specificity, written down, then applied."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scanline.core.errors import InputError
from scanline.core.files import read_json, sha256_of_text
from scanline.evaluate.inputs import Bools, Floats
from scanline.evaluate.operating_point import ROUNDING, OperatingPoint, check_fitted_on, fit_operating_point
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.volume_options import VolumeOptions
from scanline.evaluate.volumes import Volumes

FIELDS = ("options", "points", "reasons")


@dataclass(frozen=True)
class VolumePoints:
    """Frozen thresholds on the score of a volume, one a class, and one for any class.

    Attributes:
        options: What volumes are, and how they are scored.
        points: Row to its point; rows without one are in `reasons`.
        reasons: Row to why val gives no threshold.
    """

    options: VolumeOptions
    points: Mapping[str, OperatingPoint]
    reasons: Mapping[str, str]

    @property
    def top_k(self) -> int:
        """Slices that make a volume's score."""
        return slices_taken(self.options)

    def as_json(self) -> dict[str, Any]:
        """The content of volume_operating_point.json."""
        points = {row: asdict(point) for row, point in self.points.items()}
        return {"options": self.options.model_dump(mode="json"), "points": points, "reasons": dict(self.reasons)}

    def sha256(self) -> str:
        """Digest of the record, as metrics.json holds it."""
        return sha256_of_text(json.dumps(self.as_json(), sort_keys=True))


def slices_taken(options: VolumeOptions) -> int:
    """Slices that make a volume's score: 1 for the maximum."""
    return 1 if options.score == "maximum" else options.top_k


def fit_volume_points(volumes: Volumes | None, options: VolumeOptions, why_none: str = "") -> VolumePoints:
    """Choose the thresholds on val: of those that reach the specificity, the one of highest sensitivity.

    Args:
        volumes: Of val, and of no other subset; None without any.
        options: The specificity, and how volumes are scored.
        why_none: Why there are no volumes.
    """
    points, reasons = {}, {}
    for index, row in enumerate(volumes.rows if volumes else ()):
        assert volumes is not None
        ids, truth, score = known_volumes(volumes, index)
        reason = _reason_without(truth, score, options.specificity)
        if reason:
            reasons[row] = reason
            continue
        wanted = EvaluateOptions(operating_point="specificity", target=options.specificity)
        points[row] = fit_operating_point(wanted, ids, truth, score, where=f"volumes, {row}")
    return VolumePoints(options, points, reasons or ({} if volumes else {"volumes": why_none}))


def known_volumes(volumes: Volumes, index: int) -> tuple[list[str], Bools, Floats]:
    """Ids, truth and score of the volumes whose truth is known for a row."""
    known = ~np.isnan(volumes.truth[:, index])
    ids = [str(name) for name in volumes.ids[known]]
    return ids, volumes.truth[known, index] == 1, volumes.score[known, index]


def _reason_without(truth: Bools, score: Floats, specificity: float) -> str:
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return f"val has {positives} positive and {negatives} negative volumes: a threshold needs both"
    spared = int((score[~truth] < score.max()).sum())
    if spared < specificity * negatives - ROUNDING:
        return f"no threshold that calls a volume of val positive has a specificity of {specificity:g} there"
    return ""


def read_volume_points(path: Path) -> VolumePoints:
    """Read a volume_operating_point.json.

    Raises:
        InputError: If the file is missing, no JSON, or not such a record.
    """
    values: Any = read_json(path)
    try:
        if set(values) != set(FIELDS):
            raise TypeError("other keys")
        points = {row: OperatingPoint(**point) for row, point in values["points"].items()}
        return VolumePoints(VolumeOptions(**values["options"]), points, dict(values["reasons"]))
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(
            path,
            found=str(error)[:200],
            expected=f"operating points of volumes with the keys {', '.join(FIELDS)}",
            next_step=f"Make it again: snakemake {path}",
        ) from error


def check_points(points: VolumePoints, val: Volumes | None, options: VolumeOptions) -> None:
    """Check that the thresholds were fitted on these volumes of val, scored in this way, before they are applied.

    Raises:
        InputError: If they were fitted on others.
    """
    if points.options != options:
        raise InputError(
            "volume operating point: options",
            found=points.options.model_dump_json(),
            expected=options.model_dump_json(),
            next_step="Fit it with these options: delete it and make it again.",
        )
    rows = val.rows if val else ()
    for row, point in points.points.items():
        if row not in rows or val is None:
            raise InputError(
                "volume operating point",
                found=f"a threshold for {row}",
                expected=f"thresholds for {', '.join(rows) or 'nothing: val has no volumes'}",
                next_step="Fit it on these detections: delete it and make it again.",
            )
        ids, truth, score = known_volumes(val, rows.index(row))
        check_fitted_on(point, ids, truth, score, where=f"volume operating point, {row}")
