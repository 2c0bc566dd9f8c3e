"""Areas under the ROC and precision-recall curves, for thousands of weightings of the patients at once.

Scores are sorted once. Then numba-compiled code passes over the sorted images with the weights of many resamples
side by side, so that each step is one vector operation, and blocks of resamples are shared among the cores. Whole
weights give sums of whole numbers, which float64 holds exactly: only the last divisions round.

AUROC is the probability that a positive outranks a negative, ties counting half (Hanley & McNeil, Radiology 143
(1982) 29-36); AUPRC is average precision, without interpolation (scikit-learn, `average_precision_score`).
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from scanline.evaluate.inputs import Bools, Codes, Floats, check_lengths

BLOCK = 64  # resamples side by side: 64 weights of one patient are 512 bytes, eight cache lines
TINY = np.finfo(np.float64).tiny


def in_blocks(compute: Callable[[slice], None], rows: int, block: int = BLOCK) -> None:
    """Call `compute` on slices that cover 0 ... rows in blocks, on all cores of this process.

    The blocks, and so the results, do not depend on the number of cores. `compute` should release the
    interpreter's lock.
    """
    slices = [slice(start, min(start + block, rows)) for start in range(0, rows, block)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if len(slices) < 2 or cores < 2:
        for part in slices:
            compute(part)
        return
    with ThreadPoolExecutor(min(cores, len(slices))) as pool:
        list(pool.map(compute, slices))


def _areas(weights: Any, clusters: Any, steps: Any, auroc: Any, auprc: Any) -> None:
    """Write both areas of each column of weights, shape (clusters, resamples).

    A step is a score that positives have: negatives above it, negatives tied with it, its positives. `outranked`
    counts pairs in which the negative is above the positive, `gained` adds precision times new positives.
    """
    columns = weights.shape[1]
    tp, fp, outranked, gained = np.zeros(columns), np.zeros(columns), np.zeros(columns), np.zeros(columns)
    tied, new = np.empty(columns), np.empty(columns)
    done = 0
    for step in range(len(steps)):
        above, negatives, end = steps[step]
        for image in range(done, above):
            weight = weights[clusters[image]]
            for column in range(columns):
                fp[column] += weight[column]
        tied[:] = 0.0
        for image in range(above, negatives):
            weight = weights[clusters[image]]
            for column in range(columns):
                tied[column] += weight[column]
        new[:] = 0.0
        for image in range(negatives, end):
            weight = weights[clusters[image]]
            for column in range(columns):
                new[column] += weight[column]
        for column in range(columns):
            outranked[column] += new[column] * (fp[column] + 0.5 * tied[column])
            fp[column] += tied[column]
            tp[column] += new[column]
            gained[column] += new[column] * (tp[column] / max(tp[column] + fp[column], TINY))
        done = end
    for image in range(done, len(clusters)):
        weight = weights[clusters[image]]
        for column in range(columns):
            fp[column] += weight[column]
    for column in range(columns):
        pairs = tp[column] * fp[column]
        auroc[column] = (pairs - outranked[column]) / pairs if pairs > 0.0 else np.nan
        auprc[column] = gained[column] / tp[column] if tp[column] > 0.0 else np.nan


_compiled_areas: Callable[..., None] = numba.njit(nogil=True, error_model="numpy")(_areas)


class Ranking:
    """Scores sorted once, and the areas under both curves as a function of the clusters' weights.

    Args:
        truth: Shape (images,).
        score: Higher speaks for the positive class; any scale, no NaN; shape (images,).
        clusters: Cluster of each image, shape (images,).

    Raises:
        InputError: If the lengths differ.

    Examples:
        >>> ranking = Ranking(np.array([True, False, True]), np.array([0.9, 0.4, 0.2]), np.arange(3))
        >>> auroc, auprc = ranking.areas(np.ones((1, 3)))
        >>> print(auroc, auprc.round(3))
        [0.5] [0.833]
    """

    def __init__(self, truth: Bools, score: Floats, clusters: Codes) -> None:
        check_lengths(truth=truth, score=score, clusters=clusters)
        order = np.lexsort((truth, -score))
        positive, ordered = truth[order], score[order]
        self._clusters = np.ascontiguousarray(clusters[order])
        first_of_ties = np.append(True, ordered[1:] != ordered[:-1])[: len(order)]
        group = np.cumsum(first_of_ties) - 1
        positives = np.bincount(group, weights=positive).astype(np.intp)
        starts = np.flatnonzero(first_of_ties)
        ends = np.append(starts, len(order))[1:]
        held = positives > 0
        self._steps: Codes = np.stack([starts, ends - positives, ends], axis=1)[held]

    def areas(self, weights: Floats) -> tuple[Floats, Floats]:
        """AUROC and average precision under each row of weights.

        Args:
            weights: Shape (resamples, clusters), not negative.

        Returns:
            Two arrays of shape (resamples,); AUROC is NaN without positives or negatives, average precision
            without positives.
        """
        auroc, auprc = np.empty(len(weights)), np.empty(len(weights))

        def compute(rows: slice) -> None:
            columns = np.ascontiguousarray(weights[rows].T)
            _compiled_areas(columns, self._clusters, self._steps, auroc[rows], auprc[rows])

        in_blocks(compute, len(weights))
        return auroc, auprc
