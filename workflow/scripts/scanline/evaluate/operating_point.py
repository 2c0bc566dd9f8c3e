"""The operating point: chosen on val, written down with proof of what it was chosen on, then only applied.

What is fitted (a temperature, then a threshold) is one frozen record. It carries the digest of the scores it was
fitted on, and `check_fitted_on` compares that with the val scores at hand: a threshold fitted on anything else, test
scores included, is refused. The record's own digest stands in metrics.json.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scanline.core.errors import InputError
from scanline.core.files import read_json, sha256_of_text
from scanline.evaluate.binary import cumulative_counts
from scanline.evaluate.bootstrap import divide
from scanline.evaluate.calibration import calibrate, digest_of_scores, fit_temperature
from scanline.evaluate.inputs import Bools, Floats
from scanline.evaluate.options import EvaluateOptions

FIXED_THRESHOLD = 0.5
ROUNDING = 1e-9  # of an image: a target share of a count is met up to this


@dataclass(frozen=True)
class OperatingPoint:
    """A frozen threshold: an image is predicted positive where its calibrated probability >= threshold.

    Attributes:
        rule: f1, youden, sensitivity, specificity or fixed.
        threshold: In [0, 1], on the calibrated probability.
        temperature: What the logits are divided by before; None where probabilities are taken as they are.
        target: The sensitivity or specificity that was asked for; None for other rules.
        criterion: The best F1 or Youden index, or the sensitivity or specificity reached, on the fitting subset;
            None for the fixed rule.
        subset: The subset it was fitted on; None where nothing was fitted.
        images: Images of that subset; None where nothing was fitted.
        positives: Positive ones among them; None where nothing was fitted.
        scores_sha256: Digest of what it was fitted on (see `digest_of_scores`); None where nothing was fitted.
    """

    rule: str
    threshold: float
    temperature: float | None
    target: float | None
    criterion: float | None
    subset: str | None
    images: int | None
    positives: int | None
    scores_sha256: str | None

    def calibrate(self, probability: Floats) -> Floats:
        """Apply the temperature: shape (images,) to the same shape."""
        return probability if self.temperature is None else calibrate(probability, self.temperature)

    def predict(self, probability: Floats) -> Bools:
        """Apply temperature and threshold to raw probabilities: shape (images,) to booleans of the same shape."""
        return self.calibrate(probability) >= self.threshold

    def as_json(self) -> dict[str, object]:
        """The content of operating_point.json."""
        return asdict(self)

    def sha256(self) -> str:
        """Digest of the record, as metrics.json holds it."""
        return sha256_of_text(json.dumps(self.as_json(), sort_keys=True))


def read_operating_point(path: Path) -> OperatingPoint:
    """Read an operating_point.json.

    Raises:
        InputError: If the file is missing, no JSON, or not such a record.
    """
    values: Any = read_json(path)
    fields = set(OperatingPoint.__dataclass_fields__)
    if not isinstance(values, dict) or set(values) != fields:
        found = ", ".join(sorted(values)) if isinstance(values, dict) else type(values).__name__
        raise InputError(
            path,
            found=found,
            expected=f"an operating point with the keys {', '.join(sorted(fields))}",
            next_step=f"Make it again: snakemake {path}",
        )
    return OperatingPoint(**values)


def fit_operating_point(
    options: EvaluateOptions,
    image_ids: Sequence[str],
    truth: Bools,
    probability: Floats,
    *,
    subset: str = "val",
    where: object = "scores",
) -> OperatingPoint:
    """Fit the temperature if the options ask for one, then choose the threshold, on one subset.

    Args:
        options: The rule (best F1, best Youden index, a sensitivity or specificity to reach, or 0.5), its target,
            and whether to fit a temperature first.
        image_ids: Of the fitting subset, and of no other, shape (images,).
        truth: Shape (images,).
        probability: Shape (images,).
        subset: The name of the fitting subset.
        where: The scores file, for messages.

    Raises:
        InputError: If the subset lacks positives or negatives and something is to be fitted, or no threshold
            reaches the target.

    Examples:
        >>> truth, probability = np.array([False, False, True, True]), np.array([0.1, 0.3, 0.7, 0.9])
        >>> point = fit_operating_point(EvaluateOptions(), ["a", "b", "c", "d"], truth, probability)
        >>> point.threshold, point.criterion, point.subset
        (0.5, 1.0, 'val')
    """
    rule = options.operating_point
    target = options.target if rule in {"sensitivity", "specificity"} else None
    if rule == "fixed" and not options.temperature_scaling:
        return OperatingPoint(rule, FIXED_THRESHOLD, None, None, None, None, None, None, None)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        task = "to fit the temperature" if rule == "fixed" else f"to choose the threshold by {rule}"
        raise InputError(
            f"{where}: subset {subset}",
            found=f"{positives} positive and {negatives} negative images",
            expected=f"at least one of each, {task}",
            next_step=f"Give the split a larger {subset} share or another seed, or set evaluate.operating_point: fixed"
            " and evaluate.temperature_scaling: false in the study file.",
        )
    digest = digest_of_scores(image_ids, truth, probability)
    temperature = None
    if options.temperature_scaling:
        temperature = fit_temperature(truth, probability, subset=subset, where=where).value
        probability = calibrate(probability, temperature)
    if rule == "fixed":
        threshold, criterion = FIXED_THRESHOLD, None
    else:
        threshold, criterion = best_threshold(rule, truth, probability, target, where=f"{where}: subset {subset}")
    return OperatingPoint(rule, threshold, temperature, target, criterion, subset, len(truth), positives, digest)


def best_threshold(
    rule: str, truth: Bools, probability: Floats, target: float | None = None, *, where: object = "scores"
) -> tuple[float, float]:
    """Threshold and criterion of the best F1 or Youden index, or of a sensitivity or specificity to reach.

    All thresholds between two neighbouring distinct scores predict alike: the middle of them is taken (0 is the
    neighbour of the lowest score). Of several gaps of equally good F1 or Youden index the lowest is taken, which
    finds most positives. A sensitivity is reached at the best specificity, and a specificity at the best
    sensitivity. The criteria are compared as whole numbers (Youden) or correctly rounded quotients of whole
    numbers (F1), so that equal ones are equal.

    Args:
        rule: f1, youden, sensitivity or specificity.
        truth: Holds both classes, shape (images,).
        probability: Shape (images,).
        target: The sensitivity or specificity to reach; None for the other rules.
        where: The scores, for messages.

    Raises:
        InputError: If the specificity cannot be reached by a threshold that calls any image positive.

    Examples:
        >>> truth = np.array([False, True, False, True])
        >>> best_threshold("sensitivity", truth, np.array([0.1, 0.4, 0.6, 0.9]), target=0.9)
        (0.25, 1.0)
        >>> best_threshold("specificity", truth, np.array([0.1, 0.4, 0.6, 0.9]), target=0.9)
        (0.75, 1.0)
    """
    scores, tp, fp = cumulative_counts(truth, probability)
    positives, negatives = tp[-1], fp[-1]
    if rule == "f1":
        criterion = divide(2 * tp, tp + fp + positives)
        best = np.flatnonzero(criterion == criterion.max())[-1]
    elif rule == "youden":
        whole = tp * negatives - fp * positives
        best = np.flatnonzero(whole == whole.max())[-1]
        criterion = whole / (positives * negatives)
    elif rule == "sensitivity" and target is not None:
        criterion = tp / positives
        best = np.flatnonzero(tp >= target * positives - ROUNDING)[0]
    elif rule == "specificity" and target is not None:
        criterion = (negatives - fp) / negatives
        reached = negatives - fp >= target * negatives - ROUNDING
        if not reached.any():
            raise InputError(
                where,
                found=f"specificity {criterion[0]:.4f} at the highest score",
                expected=f"{target:g} or more at a threshold that calls an image positive",
                next_step="Lower evaluate.target in the study file, or choose the threshold by another rule.",
            )
        best = np.flatnonzero(reached & (tp == tp[reached].max()))[0]
    else:
        raise ValueError(f"rule {rule} with target {target}")
    upper = scores[best]
    lower = scores[best + 1] if best + 1 < len(scores) else 0.0
    middle = lower + (upper - lower) / 2
    return float(middle if middle > lower else upper), float(criterion[best])


def check_fitted_on(
    point: OperatingPoint, image_ids: Sequence[str], truth: Bools, probability: Floats, *, where: object
) -> None:
    """Check that an operating point was fitted on exactly these scores, before it is applied to others.

    Args:
        point: The record.
        image_ids: Of the subset it names, shape (images,).
        truth: Shape (images,).
        probability: Shape (images,).
        where: Its file, for messages.

    Raises:
        InputError: If it was fitted on other scores.
    """
    if point.scores_sha256 is None:
        return
    digest = digest_of_scores(image_ids, truth, probability)
    if digest != point.scores_sha256:
        raise InputError(
            f"{where}: scores_sha256",
            found=f"{point.scores_sha256[:12]}..., fitted on {point.images} images of {point.subset}",
            expected=f"{digest[:12]}..., the digest of the {len(truth)} {point.subset} scores given",
            next_step="Fit the operating point on these scores: delete it and make it again.",
        )
