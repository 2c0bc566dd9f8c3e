"""Two classifiers on the same images, in one call: every difference with its interval and its tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from scanline.evaluate.binary import BinaryMetrics
from scanline.evaluate.bootstrap import strata_of_clusters
from scanline.evaluate.delong import delong_test
from scanline.evaluate.inputs import Bools, Codes, Floats, as_clusters, as_probability, as_truth, check_lengths, refuse
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.paired import (
    PermutationTest,
    both_models,
    clustered_mcnemar_test,
    mcnemar_test,
    paired_difference,
    permutation_test,
)

OF_ORDER = ("auroc", "auprc")  # they look at the order of scores alone: swapped as ranks


def compare_binary(
    truth: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    thresholds: tuple[float, float] = (0.5, 0.5),
    patients: Sequence[object] | pd.Series | NDArray[np.generic] | None = None,
    permutations: int = 2000,
    options: EvaluateOptions | None = None,
    stream: Sequence[str] = ("compare_binary",),
) -> dict[str, Any]:
    """Compare two yes-or-no classifiers on the same images: first minus second.

    Args:
        truth: 0 or 1, shape (images,).
        first: Probability by the first model, from 0 to 1, shape (images,).
        second: Probability by the second model, shape (images,).
        thresholds: Of the two models; an image is predicted positive where its probability is at least this.
        patients: Patient of each image, null where unknown; None takes each image for itself.
        permutations: Random swaps for each p, beyond 12 patients.
        options: Of the intervals.
        stream: Names the random draws.

    Returns:
        JSON-ready: "images"; "clusters"; "auroc": DeLong's test (`delong_test`); "accuracy": McNemar's
        (`mcnemar_test`, or `clustered_mcnemar_test` where patients are given); "metrics": for each metric
        "first", "second", the difference ("value", "low", "high", "reason", "undefined_resamples") and "p" with
        "p_reason", by `permutation_test`. Areas are swapped as each model's ranks.

    Raises:
        InputError: For lengths that differ, unknown truth, or a probability or threshold that is not from 0 to 1.

    Examples:
        >>> generator = np.random.default_rng(0)
        >>> truth, patients = np.tile([0, 1], 40), np.repeat(np.arange(20), 4)
        >>> first, second = (1 / (1 + np.exp(generator.normal(0, 1, 80) - slope * (truth - 0.5))) for slope in (2, 1))
        >>> result = compare_binary(truth, first, second, patients=patients)
        >>> auroc = result["metrics"]["auroc"]
        >>> print(f"{auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f}), p = {auroc['p']:.4f}")
        0.222 (0.098 to 0.358), p = 0.0055
        >>> print(f"{result['auroc']['p']:.4f} {result['accuracy']['p']:.4f}")
        0.0010 0.0162
    """
    options = options or EvaluateOptions()
    for threshold in thresholds:
        if not 0 <= threshold <= 1:
            refuse("threshold", f"{threshold}", "a number from 0 to 1", "Fit it on val.")
    known = as_truth(truth)
    probabilities = [as_probability(first, "first"), as_probability(second, "second")]
    images = check_lengths(truth=known, first=probabilities[0], second=probabilities[1])
    clusters = as_clusters(patients, images)
    predictions = [values >= threshold for values, threshold in zip(probabilities, thresholds, strict=True)]
    measures = [
        BinaryMetrics(known, predicted, values, clusters)
        for predicted, values in zip(predictions, probabilities, strict=True)
    ]
    count = measures[0].clusters
    strata = strata_of_clusters(known, clusters) if options.stratified else None
    differences = paired_difference(measures[0], measures[1], count, options, *stream, strata=strata)
    swaps = _swap_both(known, predictions, probabilities, clusters, permutations, options, stream)
    values = [measure.values() for measure in measures]
    right, also_right = (predicted == known for predicted in predictions)
    independent = patients is None
    accuracy = mcnemar_test(right, also_right) if independent else clustered_mcnemar_test(right, also_right, patients)
    auroc = delong_test(known, probabilities[0], probabilities[1], patients, level=options.confidence_level)
    return {
        "images": images,
        "clusters": count,
        "auroc": auroc.as_json(),
        "accuracy": accuracy.as_json(),
        "metrics": {
            name: {
                "first": _or_none(values[0][name]),
                "second": _or_none(values[1][name]),
                **difference.as_json(),
                "p": swaps[name].p,
                "p_reason": swaps[name].reason,
            }
            for name, difference in differences.items()
            if "." not in name
        },
    }


def _swap_both(
    truth: Bools,
    predictions: Sequence[Bools],
    probabilities: Sequence[Floats],
    clusters: Codes,
    permutations: int,
    options: EvaluateOptions,
    stream: Sequence[str],
) -> dict[str, PermutationTest]:
    """Permutation tests of all metrics, those of order by ranks."""
    ranks = [rankdata(values) / max(len(values), 1) for values in probabilities]
    tests: list[dict[str, PermutationTest]] = []
    for scores in (probabilities, ranks):
        both = BinaryMetrics(
            np.tile(truth, 2), np.concatenate(predictions), np.concatenate(scores), both_models(clusters)
        )
        tests.append(permutation_test(both, both.clusters // 2, *stream, permutations=permutations, seed=options.seed))
    return tests[0] | {name: tests[1][name] for name in OF_ORDER}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
