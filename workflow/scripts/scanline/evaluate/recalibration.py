"""Calibration slope and intercept: the logistic regression of the truth on the log odds of the probability.

Cox, Two further applications of a model for binary regression, Biometrika 45 (1958) 562-565; Van Calster et al.,
Calibration: the Achilles heel of predictive analytics, BMC Medicine 17 (2019) 230.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from scanline.evaluate.bootstrap import count_clusters
from scanline.evaluate.calibration import NO_IMAGES, logit
from scanline.evaluate.inputs import Bools, Codes, Floats, check_lengths
from scanline.evaluate.ranking import in_blocks

METRICS = ("calibration_slope", "calibration_intercept", "calibration_in_the_large")
MAX_NEWTON_STEPS = 200
ROUNDING = 1e-15
SMALL_GAIN = 1e-12  # of the loss: the step that promises it leaves an error of about its square
LONGEST_STEP = 4.0  # in log odds: where all probabilities are near 0 or 1 a full Newton step leads far away

NO_POSITIVES = "no image is positive"
NO_NEGATIVES = "no image is negative"
EQUAL_PROBABILITIES = "all probabilities are equal"
SEPARATED = "the probabilities separate the classes, so that no finite slope fits best"
NOT_CONVERGED = "the classes overlap so little that the fit of the slope does not converge"


def _recalibrate(
    weights: Any, clusters: Any, log_odds: Any, positive: Any, start: Any, free_slope: bool, found: Any
) -> None:
    """Write intercept and slope of the weighted logistic regression of each row; NaN where it has no optimum.

    The optimum exists where both classes have weight and, with a free slope, their log odds overlap (Albert &
    Anderson, Biometrika 71 (1984) 1-10). Newton steps are bounded, and halved while the loss rises. The
    last one is the one that can lower the loss by no more than SMALL_GAIN of it.
    """
    for row in range(weights.shape[0]):
        weight = weights[row]
        low, high = np.full(2, np.inf), np.full(2, -np.inf)
        for image in range(len(clusters)):
            if weight[clusters[image]] > 0.0:
                side = 1 if positive[image] else 0
                low[side] = min(low[side], log_odds[image])
                high[side] = max(high[side], log_odds[image])
        found[row] = np.nan
        if low[0] > high[0] or low[1] > high[1]:
            continue
        if free_slope and (low[0] >= high[1] or low[1] >= high[0]):
            continue
        reach = max(high[0], high[1], -low[0], -low[1])
        intercept, slope = start
        step_intercept, step_slope, loss_before = 0.0, 0.0, np.inf
        for _ in range(MAX_NEWTON_STEPS):
            loss = gradient = gradient_slope = curve = curve_mixed = curve_slope = 0.0
            for image in range(len(clusters)):
                w = weight[clusters[image]]
                if w > 0.0:
                    x = log_odds[image]
                    score = intercept + slope * x
                    decay = np.exp(-abs(score))
                    against = -score if positive[image] else score
                    error = 1.0 / (1.0 + decay) if against >= 0.0 else decay / (1.0 + decay)
                    loss += w * (max(against, 0.0) + np.log1p(decay))
                    gap, spread = -w * error if positive[image] else w * error, w * decay / (1.0 + decay) ** 2
                    gradient += gap
                    gradient_slope += gap * x
                    curve += spread
                    curve_mixed += spread * x
                    curve_slope += spread * x * x
            if loss > loss_before * (1.0 + ROUNDING):
                step_intercept, step_slope = step_intercept / 2.0, step_slope / 2.0
                intercept, slope = intercept + step_intercept, slope + step_slope
                done = abs(step_intercept) + abs(step_slope) < ROUNDING
            else:
                loss_before = loss
                if free_slope:
                    determinant = curve * curve_slope - curve_mixed * curve_mixed
                    if not determinant > 0.0:
                        break
                    step_intercept = (curve_slope * gradient - curve_mixed * gradient_slope) / determinant
                    step_slope = (curve * gradient_slope - curve_mixed * gradient) / determinant
                else:
                    step_intercept = gradient / curve
                expected_gain = (gradient * step_intercept + gradient_slope * step_slope) / 2.0
                shorter = LONGEST_STEP / max(abs(step_intercept) + abs(step_slope) * reach, LONGEST_STEP)
                step_intercept, step_slope = step_intercept * shorter, step_slope * shorter
                intercept, slope = intercept - step_intercept, slope - step_slope
                done = expected_gain <= SMALL_GAIN * loss
            if done:
                found[row, 0], found[row, 1] = intercept, slope
                break


_compiled_recalibrate: Callable[..., None] = numba.njit(nogil=True, error_model="numpy")(_recalibrate)


class LogisticRecalibration:
    """How the truth depends on the log odds of the probability, as a function of the clusters' weights.

    `calibration_intercept` a and `calibration_slope` b fit logit P(positive) = a + b logit(probability), 0 and 1
    for perfect probabilities (Cox 1958); b < 1 says that they are too extreme. `calibration_in_the_large` is the
    intercept with b fixed to 1: below 0, probabilities are too high on the whole. Probabilities of 0 and 1 count
    as `logit` clips them.

    Args:
        truth: Shape (images,).
        probability: Of the positive class, in [0, 1], shape (images,).
        clusters: Cluster of each image, shape (images,); None makes each image its own.

    Raises:
        InputError: If the lengths differ.

    Examples:
        >>> truth = np.array([False, True, False, True, True, False])
        >>> measure = LogisticRecalibration(truth, np.array([0.1, 0.2, 0.4, 0.6, 0.95, 0.9]))
        >>> {name: value.round(3).tolist() for name, value in measure(np.ones((1, 6))).items()}
        {'calibration_slope': [0.241], 'calibration_intercept': [-0.061], 'calibration_in_the_large': [-0.174]}
    """

    def __init__(self, truth: Bools, probability: Floats, clusters: Codes | None = None) -> None:
        check_lengths(truth=truth, probability=probability, clusters=clusters)
        clusters = np.arange(len(truth)) if clusters is None else clusters
        order = np.argsort(clusters, kind="stable")  # images of one weight side by side are faster
        self._truth, self._clusters, self._log_odds = truth[order], clusters[order], logit(probability)[order]
        self.clusters = count_clusters(clusters)
        spread = float(self._log_odds.std()) if len(truth) else 0.0
        self._scale = spread if spread > 0 else 1.0
        self._center = float(self._log_odds.mean()) if spread > 0 else 0.0
        self._standardized = (self._log_odds - self._center) / self._scale
        self._starts = [np.array([0.0, self._scale]), np.array([0.0, 1.0])]
        for number, fit in enumerate(self._fit(np.ones((1, self.clusters)))):
            if not np.isnan(fit).any():
                self._starts[number] = fit[0]

    def _fit(self, weights: Floats) -> tuple[Floats, Floats]:
        """Both fits, on standardized log odds and with slope 1: intercept and slope, each (resamples, 2)."""
        free, fixed = np.empty((len(weights), 2)), np.empty((len(weights), 2))

        def compute(rows: slice) -> None:
            part = np.ascontiguousarray(weights[rows])
            data = (part, self._clusters)
            _compiled_recalibrate(*data, self._standardized, self._truth, self._starts[0], True, free[rows])
            _compiled_recalibrate(*data, self._log_odds, self._truth, self._starts[1], False, fixed[rows])

        in_blocks(compute, len(weights))
        return free, fixed

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Compute METRICS under each row of weights.

        Args:
            weights: Shape (resamples, clusters), not negative.

        Returns:
            Each of shape (resamples,), NaN where undefined.
        """
        free, fixed = self._fit(weights)
        slope = free[:, 1] / self._scale
        return {
            "calibration_slope": slope,
            "calibration_intercept": free[:, 0] - slope * self._center,
            "calibration_in_the_large": fixed[:, 0],
        }

    def reason_undefined(self, name: str) -> str:
        """Why a value is undefined on these images."""
        if len(self._truth) == 0:
            return NO_IMAGES
        if not self._truth.any():
            return NO_POSITIVES
        if self._truth.all():
            return NO_NEGATIVES
        positive, negative = self._log_odds[self._truth], self._log_odds[~self._truth]
        if self._log_odds.min() == self._log_odds.max():
            return EQUAL_PROBABILITIES
        if positive.min() >= negative.max() or negative.min() >= positive.max():
            return SEPARATED
        return NOT_CONVERGED
