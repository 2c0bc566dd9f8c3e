"""Free-response ROC, and the counts of lesions at a fixed score threshold, with false positives counted by image.

FROC: Chakraborty, Med Phys 16 (1989) 561-568. The seven rates of false positives and the mean sensitivity over them:
Setio et al., Medical Image Analysis 42 (2017) 1-13 (LUNA16). There the curve is interpolated; here the sensitivity at
a rate is the highest that a threshold reaches with no more false positives an image than that.

Each class is measured on the images where it is known, all classes together on those where every class is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
import pandas as pd

from scanline.evaluate.average_precision import sum_by_class
from scanline.evaluate.bootstrap import divide, sum_by_cluster
from scanline.evaluate.coco_matching import FALSE_POSITIVE, TRUE_POSITIVE, Matches
from scanline.evaluate.detection_tables import ALL_CLASSES, DetectionTables
from scanline.evaluate.inputs import Bools, Codes, Floats
from scanline.evaluate.ranking import in_blocks

RATES = {"1/8": 0.125, "1/4": 0.25, "1/2": 0.5, "1": 1.0, "2": 2.0, "4": 4.0, "8": 8.0}  # false positives an image
FROC_METRICS = (*(f"sensitivity_at_{rate}" for rate in RATES), "mean_sensitivity")
LESION_METRICS = (
    "precision",
    "recall",
    "f1",
    "false_positives_per_image",
    "false_positives_per_negative_image",
)
_COUNTS = ("tp", "fp", "boxes", "images", "negative_images", "fp_on_negative_images")


def _sensitivities(
    weights: Any, clusters: Any, hits: Any, last_of_ties: Any, limits: Any, boxes: Any, sensitivity: Any
) -> None:
    """Write the sensitivity within each limit on false positives, shape (limits, resamples).

    `weights` has shape (clusters, resamples); `hits` and `last_of_ties` follow the detections by falling score.
    """
    columns, steps = weights.shape[1], len(limits)
    tp, fp, before = np.zeros(columns), np.zeros(columns), np.zeros(columns)
    step = np.zeros(columns, np.intp)
    for detection in range(len(clusters)):
        weight = weights[clusters[detection]]
        if hits[detection]:
            for column in range(columns):
                tp[column] += weight[column]
        else:
            for column in range(columns):
                fp[column] += weight[column]
        if last_of_ties[detection]:
            for column in range(columns):
                while step[column] < steps and fp[column] > limits[step[column], column]:
                    sensitivity[step[column], column] = before[column] / boxes[column]
                    step[column] += 1
                before[column] = tp[column]
    for column in range(columns):
        for rest in range(step[column], steps):
            sensitivity[rest, column] = tp[column] / boxes[column]


_compiled_sensitivities: Callable[..., None] = numba.njit(nogil=True, error_model="numpy")(_sensitivities)


def sensitivities_at_rates(
    weights: Floats, clusters: Codes, hits: Bools, last_of_ties: Bools, units: Floats, totals: Floats
) -> Floats:
    """The highest sensitivity that a threshold reaches with no more false positives a unit than each of RATES.

    Args:
        weights: Shape (resamples, clusters), not negative.
        clusters: Cluster of each detection, by falling score; shape (detections,).
        hits: Whether it is a true positive, same shape.
        last_of_ties: Whether the next one has a lower score, same shape.
        units: Weight of all images, or volumes, by which false positives are counted; shape (resamples,).
        totals: Weight of what there is to find, shape (resamples,).

    Returns:
        Shape (rates, resamples); NaN where there is nothing to find.
    """
    limits = np.array(list(RATES.values()))[:, None] * units
    found = np.empty_like(limits)
    columns = np.ascontiguousarray(weights.T)
    _compiled_sensitivities(columns, clusters, hits, last_of_ties, limits, np.ascontiguousarray(totals), found)
    return np.where(totals > 0, found, np.nan)


class _Counted:
    """What is counted for each class, and for all classes together: the base of both statistics.

    Args:
        tables: The checked tables.
        matches: Of any area, at one IoU threshold.
    """

    def __init__(self, tables: DetectionTables, matches: Matches) -> None:
        self.tables = tables
        self.outcome = matches.outcome[:, 0, 0]
        self.rows = (*tables.classes, ALL_CLASSES)
        truth, counted = tables.truth, matches.counted[0]
        together = counted & tables.fully_known[truth.image]
        self._boxes = self._with_all(
            sum_by_class(counted[:, None], tables, truth.image, truth.label), truth.image, together
        )
        known = np.column_stack([tables.known, tables.fully_known])
        self._images = sum_by_cluster(known, tables.clusters, tables.cluster_count)

    def _with_all(self, by_class: Floats, image: Codes, together: Bools) -> Floats:
        """Add all classes to the counts of each: shape (clusters, classes, 1) to (clusters, classes + 1)."""
        tables = self.tables
        total = sum_by_cluster(together[:, None], tables.clusters[image], tables.cluster_count)
        return np.column_stack([by_class[:, :, 0], total])

    def _reason_without_boxes(self, row: str) -> str:
        index = self.rows.index(row)
        if not self._images[:, index].any():
            return (
                "no image on which every class is known"
                if row == ALL_CLASSES
                else "the class is unknown on every image"
            )
        return "" if self._boxes[:, index].any() else "no truth box"


class FrocMetrics(_Counted):
    """Sensitivity at each of RATES and its mean, as a function of the clusters' weights.

    Args:
        tables: The checked tables.
        matches: Of any area, at one IoU threshold.

    Examples:
        >>> from scanline.evaluate.detection_tables import check_detection_tables
        >>> truth = pd.DataFrame([["i1", "bleed", 10, 10, 20, 20]], columns=["image_id", "label", *"xywh"])
        >>> truth = truth.rename(columns={"w": "width", "h": "height"})
        >>> predicted = pd.concat([truth.assign(score=0.9, x=12), truth.assign(score=0.4, image_id="i2")])
        >>> tables = check_detection_tables(truth, predicted, ["i1", "i2"], ["bleed"])
        >>> from scanline.evaluate.coco_matching import match_detections
        >>> matches = match_detections(tables, (0.5,))
        >>> FrocMetrics(tables, matches)(np.ones((1, 2)))["bleed.sensitivity_at_1/8"]
        array([1.])
    """

    def __init__(self, tables: DetectionTables, matches: Matches) -> None:
        super().__init__(tables, matches)
        self.curves = [self._ordered(index) for index in range(len(self.rows))]

    def _ordered(self, index: int) -> tuple[Codes, Bools, Bools, Floats]:
        """Image and outcome of the detections of a row by falling score, where a tie ends, and the scores."""
        detected = self.tables.detected
        kept = (self.outcome == TRUE_POSITIVE) | (self.outcome == FALSE_POSITIVE)
        kept &= detected.label == index if index < len(self.tables.classes) else self.tables.fully_known[detected.image]
        order = np.flatnonzero(kept)
        order = order[np.argsort(-detected.score[order], kind="stable")]
        score = detected.score[order]
        last = np.append(score[1:] != score[:-1], True)[: len(score)]
        return detected.image[order], self.outcome[order] == TRUE_POSITIVE, last, score

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Compute every sensitivity under each row of weights.

        Args:
            weights: Shape (resamples, clusters), not negative.

        Returns:
            "<class>.<metric>" for FROC_METRICS, the last class being ALL_CLASSES; each of shape (resamples,).
        """
        boxes, images = (weights @ self._boxes).T, (weights @ self._images).T
        values = np.full((len(self.rows), len(RATES), len(weights)), np.nan)

        def compute(part: slice) -> None:
            for index, (image, hits, last, _) in enumerate(self.curves):
                clusters = self.tables.clusters[image]
                values[index, :, part] = sensitivities_at_rates(
                    weights[part], clusters, hits, last, images[index, part], boxes[index, part]
                )

        in_blocks(compute, len(weights))
        return {
            f"{row}.{name}": series
            for row, of_row in zip(self.rows, values, strict=True)
            for name, series in zip(FROC_METRICS, (*of_row, of_row.mean(axis=0)), strict=True)
        }

    def reason_undefined(self, name: str) -> str:
        """Why a sensitivity is undefined on these boxes."""
        return self._reason_without_boxes(name.rpartition(".")[0])

    def table(self) -> pd.DataFrame:
        """Points of the FROC curves; points inside a horizontal stretch are left out.

        Returns:
            Columns label (a class, or "all classes"), score (the threshold; infinite at the start), sensitivity and
            false_positives_per_image. A row without true boxes has no curve.
        """
        boxes, images = self._boxes.sum(axis=0), self._images.sum(axis=0)
        parts = []
        for index, (_, hits, last, score) in enumerate(self.curves):
            if boxes[index] == 0:
                continue
            tp = np.append(0, np.cumsum(hits)[last])
            fp = np.append(0, np.cumsum(~hits)[last])
            inside = np.zeros(len(tp), dtype=bool)
            inside[1:-1] = (tp[1:-1] == tp[:-2]) & (tp[1:-1] == tp[2:])
            part = {
                "label": self.rows[index],
                "score": np.append(np.inf, score[last]),
                "sensitivity": tp / boxes[index],
                "false_positives_per_image": fp / images[index],
            }
            parts.append(pd.DataFrame(part)[~inside])
        columns = {"label": "str", "score": "f8", "sensitivity": "f8", "false_positives_per_image": "f8"}
        empty = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})
        return pd.concat(parts, ignore_index=True) if parts else empty


class LesionMetrics(_Counted):
    """Precision, recall and false positives by image at a score threshold, as a function of the clusters' weights.

    A negative image holds no true box of the class, and for all classes together no true box at all.

    Args:
        tables: The checked tables.
        matches: Of any area, at one IoU threshold.
        score_threshold: A detection counts where its score is this or higher.
    """

    def __init__(self, tables: DetectionTables, matches: Matches, score_threshold: float) -> None:
        super().__init__(tables, matches)
        detected = tables.detected
        called = detected.score >= score_threshold
        negative = np.column_stack([tables.known & ~tables.present, tables.fully_known & ~tables.present.any(axis=1)])
        wrong = called & (self.outcome == FALSE_POSITIVE)
        sums = {
            "tp": self._of_detections(called & (self.outcome == TRUE_POSITIVE)),
            "fp": self._of_detections(wrong),
            "boxes": self._boxes,
            "images": self._images,
            "negative_images": sum_by_cluster(negative, tables.clusters, tables.cluster_count),
            "fp_on_negative_images": self._with_all(
                sum_by_class(
                    (wrong & negative[detected.image, detected.label])[:, None], tables, detected.image, detected.label
                ),
                detected.image,
                wrong & negative[detected.image, -1],
            ),
        }
        self._sums = np.stack([sums[name] for name in _COUNTS], axis=2)

    def _of_detections(self, counted: Bools) -> Floats:
        detected = self.tables.detected
        by_class = sum_by_class(counted[:, None], self.tables, detected.image, detected.label)
        return self._with_all(by_class, detected.image, counted & self.tables.fully_known[detected.image])

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Compute every metric under each row of weights.

        Args:
            weights: Shape (resamples, clusters), not negative.

        Returns:
            "<class>.<metric>" for LESION_METRICS, the last class being ALL_CLASSES; each of shape (resamples,).
        """
        values: dict[str, Floats] = {}
        counts = np.tensordot(weights, self._sums, 1)
        for index, row in enumerate(self.rows):
            tp, fp, boxes, images, negatives, fp_on_negatives = counts[:, index].T
            metrics: Sequence[Floats] = (
                divide(tp, tp + fp),
                divide(tp, boxes),
                divide(2 * tp, tp + fp + boxes),
                divide(fp, images),
                divide(fp_on_negatives, negatives),
            )
            values |= {f"{row}.{name}": series for name, series in zip(LESION_METRICS, metrics, strict=True)}
        return values

    def counts(self, row: str) -> dict[str, int]:
        """Numbers of a class or of ALL_CLASSES: true and false positives, true boxes, images."""
        totals = self._sums[:, self.rows.index(row)].sum(axis=0)
        return {name: int(total) for name, total in zip(_COUNTS, totals, strict=True)}

    def reason_undefined(self, name: str) -> str:
        """Why a metric is undefined on these boxes."""
        row, _, metric = name.rpartition(".")
        counts = self.counts(row)
        if not counts["images"]:
            return self._reason_without_boxes(row)
        missing = {
            "precision": "no detection reaches the score threshold" if counts["tp"] + counts["fp"] == 0 else "",
            "recall": self._reason_without_boxes(row),
            "f1": "no truth box, and no detection reaches the score threshold",
            "false_positives_per_negative_image": "no negative image" if not counts["negative_images"] else "",
        }
        if metric == "f1" and counts["tp"] + counts["fp"] + counts["boxes"]:
            return ""
        return missing.get(metric, "")
