"""Predictive values at another prevalence than the sample's, by Bayes' theorem.

Precision and NPV of a test set hold for its own share of positives, which is seldom that of the clinic. Altman &
Bland, Diagnostic tests 2: predictive values, BMJ 309 (1994) 102.
"""

import numpy as np
from numpy.typing import ArrayLike

from scanline.evaluate.bootstrap import divide
from scanline.evaluate.inputs import Floats, refuse_entries


def predictive_values(sensitivity: ArrayLike, specificity: ArrayLike, prevalence: ArrayLike) -> tuple[Floats, Floats]:
    """Positive and negative predictive value at a stated prevalence.

    PPV = sens prev / (sens prev + (1 - spec) (1 - prev)); NPV = spec (1 - prev) / (spec (1 - prev) + (1 - sens)
    prev). At the sample's own prevalence they are its precision and NPV.

    Args:
        sensitivity: From 0 to 1, NaN where undefined, any shape, for example (resamples,).
        specificity: Same.
        prevalence: Share of positives where the test is to be used, from 0 to 1, broadcast against the others.

    Returns:
        PPV and NPV in the common shape; NaN where sensitivity or specificity is undefined, or nobody would be
        called positive (PPV) or negative (NPV).

    Raises:
        InputError: If a value is not from 0 to 1, or a prevalence is unknown.

    Examples:
        >>> ppv, npv = predictive_values(0.9, 0.9, [0.5, 0.01])
        >>> print(ppv.round(3), npv.round(3))
        [0.9   0.083] [0.9   0.999]
    """
    shares = check_prevalence(prevalence)
    sens, spec = (
        _share_or_undefined(values, where)
        for values, where in ((sensitivity, "sensitivity"), (specificity, "specificity"))
    )
    true_positive, false_positive = sens * shares, (1 - spec) * (1 - shares)
    true_negative, false_negative = spec * (1 - shares), (1 - sens) * shares
    return (
        divide(true_positive, true_positive + false_positive),
        divide(true_negative, true_negative + false_negative),
    )


def check_prevalence(prevalence: ArrayLike) -> Floats:
    """Prevalences as float64.

    Raises:
        InputError: If one is not a number from 0 to 1.
    """
    shares = np.asarray(prevalence, dtype=np.float64)
    _refuse_wrong(~((shares >= 0) & (shares <= 1)), shares, "prevalence")
    return shares


def _share_or_undefined(values: ArrayLike, where: str) -> Floats:
    shares = np.asarray(values, dtype=np.float64)
    _refuse_wrong((shares < 0) | (shares > 1), shares, where)
    return shares


def _refuse_wrong(wrong: np.ndarray, values: Floats, where: str) -> None:
    refuse_entries(np.atleast_1d(wrong).ravel(), np.atleast_1d(values).ravel(), where, "a number from 0 to 1")
