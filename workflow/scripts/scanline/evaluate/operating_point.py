"""The threshold: chosen on val, written down with proof of what it was chosen on, then only applied."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from scanline.core.errors import InputError
from scanline.core.files import sha256_of_text
from scanline.evaluate.binary import Bools, Floats, cumulative_counts, divide

FIXED_THRESHOLD = 0.5


@dataclass(frozen=True)
class OperatingPoint:
    """A frozen threshold: an image is predicted positive where its probability >= threshold.

    Attributes:
        rule: f1, youden or fixed.
        threshold: In [0, 1].
        criterion: The best F1 or Youden index on the fitting subset; None for the fixed rule.
        subset: The subset it was fitted on; None for the fixed rule, which looks at none.
        images: Images of that subset; None for the fixed rule.
        positives: Positive ones among them; None for the fixed rule.
        scores_sha256: Digest of what it was fitted on (see `digest_of_scores`); None for the fixed rule.
    """

    rule: str
    threshold: float
    criterion: float | None
    subset: str | None
    images: int | None
    positives: int | None
    scores_sha256: str | None

    def predict(self, probability: Floats) -> Bools:
        """Apply the threshold: shape (images,) to booleans of the same shape."""
        return probability >= self.threshold

    def as_json(self) -> dict[str, object]:
        """The content of operating_point.json."""
        return asdict(self)


def fit_operating_point(
    rule: str,
    image_ids: Sequence[str],
    truth: Bools,
    probability: Floats,
    *,
    subset: str = "val",
    where: object,
) -> OperatingPoint:
    """Choose the threshold of best F1 or best Youden index (sensitivity + specificity - 1), or take 0.5.

    All thresholds between two neighbouring distinct scores predict alike: the middle of them is taken (0 is
    the neighbour of the lowest score). Of several equally good gaps the lowest is taken, which finds most
    positives.

    Args:
        rule: f1, youden or fixed.
        image_ids: Of the fitting subset, and of no other, shape (images,).
        truth: Shape (images,).
        probability: Shape (images,).
        subset: The name of the fitting subset.
        where: The scores file, for messages.

    Raises:
        InputError: If the subset lacks positives or negatives and the rule needs them.
    """
    if rule == "fixed":
        return OperatingPoint(rule, FIXED_THRESHOLD, None, None, None, None, None)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        raise InputError(
            f"{where}: subset {subset}",
            found=f"{positives} positive and {negatives} negative images",
            expected=f"at least one of each, to choose the threshold by {rule}",
            next_step=f"Give the split a larger {subset} share or another seed, or set"
            " evaluate.operating_point: fixed in the study file.",
        )
    threshold, criterion = best_threshold(rule, truth, probability)
    digest = digest_of_scores(image_ids, truth, probability)
    return OperatingPoint(rule, threshold, criterion, subset, len(truth), positives, digest)


def best_threshold(rule: str, truth: Bools, probability: Floats) -> tuple[float, float]:
    """Threshold and criterion of the best F1 or Youden index; truth must hold both classes.

    The criteria are compared as ratios of whole numbers with one denominator (Youden) or correctly rounded
    quotients of whole numbers (F1), so that equal ones are equal and the choice among them is the stated one.
    """
    scores, tp, fp = cumulative_counts(truth, probability)
    positives, negatives = tp[-1], fp[-1]
    if rule == "f1":
        criterion = divide(2 * tp, tp + fp + positives)
        best = np.flatnonzero(criterion == criterion.max())[-1]
        value = criterion[best]
    else:
        criterion = tp * negatives - fp * positives
        best = np.flatnonzero(criterion == criterion.max())[-1]
        value = criterion[best] / (positives * negatives)
    upper = scores[best]
    lower = scores[best + 1] if best + 1 < len(scores) else 0.0
    middle = lower + (upper - lower) / 2
    return float(middle if middle > lower else upper), float(value)


def digest_of_scores(image_ids: Sequence[str], truth: Bools, probability: Floats) -> str:
    """SHA-256 of the JSON list of [image id, truth, probability], sorted: the order of rows is no matter."""
    rows = sorted(zip(image_ids, truth.tolist(), probability.tolist(), strict=True))
    return sha256_of_text(json.dumps(rows))
