"""The temperature of several classes: fitted on val, written down with proof of what it was fitted on, then applied.

An image is predicted to be of its most probable class, so there is no threshold; a temperature changes how sure the
probabilities are, and never which one is the largest.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scanline.core.errors import InputError
from scanline.core.files import read_json, sha256_of_text
from scanline.evaluate.calibration import calibrate, digest_of_scores, fit_temperature
from scanline.evaluate.inputs import Floats

RULE = "most_probable"


@dataclass(frozen=True)
class ClassPoint:
    """How probabilities of several classes become a class.

    Attributes:
        rule: Always most_probable.
        classes: In the order of the columns.
        temperature: What log probabilities are divided by; None where they are taken as they are.
        subset: The subset it was fitted on; None where nothing was fitted.
        images: Images of that subset; None where nothing was fitted.
        class_scores_sha256: Digest of what it was fitted on (see `digest_of_scores`); None where nothing was fitted.
    """

    rule: str
    classes: tuple[str, ...]
    temperature: float | None
    subset: str | None
    images: int | None
    class_scores_sha256: str | None

    def calibrate(self, probability: Floats) -> Floats:
        """Apply the temperature: shape (images, classes) to the same shape."""
        return probability if self.temperature is None else calibrate(probability, self.temperature)

    def as_json(self) -> dict[str, Any]:
        """The content of operating_point.json."""
        return asdict(self)

    def sha256(self) -> str:
        """Digest of the record, as metrics.json holds it."""
        return sha256_of_text(json.dumps(self.as_json(), sort_keys=True))


def fit_class_point(
    classes: Sequence[str],
    image_ids: Sequence[str],
    truth: Sequence[str],
    probability: Floats,
    *,
    temperature_scaling: bool,
    subset: str = "val",
    where: object = "scores",
) -> ClassPoint:
    """Fit the temperature on one subset, where one is asked for.

    Args:
        classes: In the order of the columns.
        image_ids: Of the fitting subset, and of no other, shape (images,).
        truth: Name of each image's class, shape (images,).
        probability: Shape (images, classes).
        temperature_scaling: Whether to fit one.
        subset: The name of the fitting subset.
        where: The scores' file, for messages.

    Raises:
        InputError: If a temperature is to be fitted on images of fewer than two classes.
    """
    names = tuple(classes)
    if not temperature_scaling:
        return ClassPoint(RULE, names, None, None, None, None)
    found = fit_temperature(truth, probability, classes=names, image_ids=image_ids, subset=subset, where=where)
    return ClassPoint(RULE, names, found.value, subset, found.images, found.scores_sha256)


def read_class_point(path: Path) -> ClassPoint:
    """Read an operating_point.json of several classes.

    Raises:
        InputError: If the file is missing, no JSON, or not such a record.
    """
    values: Any = read_json(path)
    fields = set(ClassPoint.__dataclass_fields__)
    if not isinstance(values, dict) or set(values) != fields:
        raise InputError(
            path,
            found=", ".join(sorted(values)) if isinstance(values, dict) else type(values).__name__,
            expected=f"a record with the keys {', '.join(sorted(fields))}",
            next_step=f"Make it again: snakemake {path}",
        )
    return ClassPoint(**{**values, "classes": tuple(values["classes"])})


def check_class_point(
    point: ClassPoint, classes: Sequence[str], image_ids: Sequence[str], truth: Sequence[str], probability: Floats
) -> None:
    """Check that a record is of these classes, and was fitted on exactly these scores.

    Args:
        point: The record.
        classes: In the order of the columns.
        image_ids: Of the subset it names, shape (images,).
        truth: Name of each image's class, shape (images,).
        probability: Shape (images, classes).

    Raises:
        InputError: If it is not.
    """
    next_step = "Fit it on these scores: delete operating_point.json and make it again."
    if point.classes != tuple(classes):
        raise InputError(
            "operating point: classes", found=", ".join(point.classes), expected=", ".join(classes), next_step=next_step
        )
    if point.class_scores_sha256 is None:
        return
    digest = digest_of_class_scores(image_ids, truth, probability)
    if digest != point.class_scores_sha256:
        raise InputError(
            "operating point: class_scores_sha256",
            found=f"{point.class_scores_sha256[:12]}..., fitted on {point.images} images of {point.subset}",
            expected=f"{digest[:12]}..., the digest of the {len(truth)} {point.subset} scores given",
            next_step=next_step,
        )


def digest_of_class_scores(image_ids: Sequence[str], truth: Sequence[str], probability: Floats) -> str:
    """`digest_of_scores` of truths that are names of classes."""
    return digest_of_scores(list(image_ids), np.array(list(truth), dtype=object), probability)
