"""When a class is called on an image: the frozen threshold and what goes with it, for a model of any kind.

Nothing here needs PyTorch. `scanline.evaluate.frozen_rules` makes these of the file that evaluation wrote.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["binary", "multilabel", "multiclass", "detect", "segment"]


def as_they_are(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of a model without a temperature."""
    return probability


@dataclass(frozen=True)
class Rule:
    """The rule of one class.

    Attributes:
        threshold: In [0, 1]. A classifier's class is called where the calibrated probability is at least this, a box
            where its score is, and a pixel where `mask` says so. None of classes that exclude another: the most
            probable one is called.
        calibrate: Of classifiers: raw probabilities to calibrated ones, same shape: (n,), or (n, classes) of classes
            that exclude another, whose rules are one and the same.
        mask: Of segmentation networks: a map of round(255 p), uint8, to booleans of its shape.
        min_predicted_pixels: Of segmentation networks: an image with fewer, at the network's size, is negative.
    """

    threshold: float | None
    calibrate: Callable[[NDArray[np.float64]], NDArray[np.float64]] = as_they_are
    mask: Callable[[NDArray[np.uint8]], NDArray[np.bool_]] | None = None
    min_predicted_pixels: int = 1


def threshold_of(rule: Rule) -> float:
    """The threshold of a rule that has one.

    Raises:
        ValueError: If it has none.
    """
    if rule.threshold is None:
        raise ValueError("this rule calls the most probable class and has no threshold")
    return rule.threshold
