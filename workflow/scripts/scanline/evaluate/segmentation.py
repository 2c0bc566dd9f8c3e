"""Segmentation metrics of one lesion class: per image, per volume, per patient, pooled, and lesion by lesion.

Masks are measured one image at a time (`measure_case`, or `measure_cases` for a stream of them, which also stacks
the slices of each volume), so that memory holds one volume at most. The rows of numbers they make are then summed
up with patient-clustered intervals (`evaluate_segmentation`). Three kinds of cases are never mixed:

* lesion_positive: the truth holds lesion. The averages over cases are over these alone.
* empty_true: the truth is known to hold none. Dice and IoU say nothing useful here (undefined if the prediction is
  empty too, 0 for a single stray pixel), so these cases have figures of their own: how many have any predicted
  pixel, and how many such pixels and components they have.
* unknown: there is no truth. They are counted, and enter no metric.

With pixels counted as tp, fp, fn, tn: Dice = 2 tp / (2 tp + fp + fn), IoU = tp / (tp + fp + fn), sensitivity =
tp / (tp + fn), specificity = tn / (tn + fp), precision = tp / (tp + fp). A missed lesion (empty prediction) has
Dice, IoU, sensitivity and surface Dice 0; its precision and HD95 are undefined, left out of their averages and
counted. Taha & Hanbury, BMC Med Imaging 15 (2015) 29; surfaces as in `scanline.evaluate.surfaces`, lesions as in
`scanline.evaluate.lesions`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scanline.evaluate.binary import Confusion, confusion_metrics, sum_outcomes, weigh_outcomes
from scanline.evaluate.bootstrap import Statistic, count_clusters, divide, estimate, strata_of_clusters, sum_by_cluster
from scanline.evaluate.inputs import Bools, Codes, Floats, as_clusters, refuse
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.segmentation_cases import (
    CASE_COLUMNS,
    CASE_METRICS,
    DISTANCES,
    EMPTY_TRUE,
    KINDS,
    LESION_COUNTS,
    LESION_POSITIVE,
    OVERLAPS,
    PIXEL_COUNTS,
    UNKNOWN,
    VOLUMES,
    kinds_of_cases,
    overlap_metrics,
)

_UNITS = (
    (("surface_dice",), "surface_dice_tolerance"),
    (DISTANCES, "distance_unit"),
    (VOLUMES[:2], "volume_unit"),
)  # metrics, and the column that must be the same in all cases that are averaged
MEDIAN_CELLS = 1_000_000  # of weights gathered at once: 8 MB and a few copies


def evaluate_segmentation(
    images: pd.DataFrame,
    volumes: pd.DataFrame | None = None,
    options: EvaluateOptions | None = None,
    *,
    min_predicted_pixels: int = 1,
    stream: str = "test",
    where: str = "segmentation",
) -> dict[str, Any]:
    """Sum up measured cases, each figure with its patient-clustered interval.

    Whole patients are resampled; images of no known patient by volume, and images of neither one by one.

    * per_image and per_volume: mean and median over lesion-positive cases in which the metric is defined. The median
      of a resample is that of its images, one of a patient drawn k times counting k times. Cases measured in
      different units, or with different tolerances, are not averaged.
    * per_patient: the same, each patient's images first pooled: patients with many slices count no more than others.
    * pooled: of the pixels of all known images together, empty-true ones among them.
    * empty_true: images whose truth is known to be empty.
    * image_level, volume_level: whether there is a lesion at all, said by at least `min_predicted_pixels` pixels.
    * lesions, volume_lesions: lesion-wise detection in known images (components in 2-D) and known volumes (in 3-D).

    Args:
        images: From `measure_cases`, or rows of `measure_case` with image_id, patient_id and volume_id (nullable).
        volumes: From `measure_cases`; None or empty where images do not stack.
        options: Intervals; None for the defaults.
        min_predicted_pixels: Fewer predicted pixels than this say no.
        stream: What is measured; each subset is resampled independently.
        where: What it is, for messages.

    Returns:
        For metrics.json: counts, and the sections above, each with its "metrics" of name to estimate.

    Raises:
        InputError: For missing columns, an image or a volume that comes twice, an unknown kind, counts that are null
            where the truth is known, no cases, no case of known truth, or a volume without images in `images`.

    Examples:
        >>> from scanline.evaluate.segmentation_cases import MaskPair, measure_cases
        >>> truth = np.zeros((32, 32), bool)
        >>> truth[8:24, 8:24] = True
        >>> pairs = [MaskPair(f"i{k}", np.roll(truth, k, 0), truth, patient_id=f"p{k // 2}") for k in range(8)]
        >>> result = evaluate_segmentation(measure_cases(pairs).images)
        >>> result["images"]["lesion_positive"], result["clusters"]
        (8, 4)
        >>> {name: round(result["per_image"]["metrics"]["dice_mean"][name], 3) for name in ("value", "low", "high")}
        {'value': 0.781, 'low': 0.656, 'high': 0.906}
    """
    options = options or EvaluateOptions()
    if min_predicted_pixels < 1:
        refuse(f"{where}: min_predicted_pixels", str(min_predicted_pixels), "at least 1")
    images = _check_cases(images, "image_id", f"{where}: images table")
    volumes = _check_cases(volumes if volumes is not None else images[:0], "volume_id", f"{where}: volumes table")
    if len(images) == 0:
        refuse(f"{where}: images table", "no images", "at least one")
    if (images["kind"] == UNKNOWN).all():
        refuse(f"{where}: images table", f"{len(images)} images of unknown truth", "a known truth of at least one")
    known, known_volumes = images[images["kind"] != UNKNOWN], volumes[volumes["kind"] != UNKNOWN]
    keys = cluster_keys(known)
    clusters = as_clusters(keys, len(known))
    numbers = dict(zip(keys, clusters.tolist(), strict=True))
    volume_clusters = _clusters_of_volumes(known_volumes, numbers, where)
    statistic = SegmentationStatistic(
        known, clusters, known_volumes, volume_clusters, min_predicted_pixels=min_predicted_pixels
    )
    with_lesion = (known["kind"] == LESION_POSITIVE).to_numpy(dtype=bool)
    strata = strata_of_clusters(with_lesion, clusters) if options.stratified else None
    estimates = estimate(statistic, statistic.clusters, options, "evaluate_segmentation", stream, strata=strata)
    sections: dict[str, dict[str, Any]] = {name: {} for name in statistic.parts}
    for name, value in estimates.items():
        section, _, metric = name.partition(".")
        sections[section][metric] = value.as_json()
    return {
        "images": _count_kinds(images),
        "volumes": _count_kinds(volumes),
        "patients": int(known["patient_id"].nunique()),
        "images_without_patient": int(known["patient_id"].isna().sum()),
        "clusters": statistic.clusters,
        "min_predicted_pixels": min_predicted_pixels,
        "pixel_confusion": {name: int(known[name].sum()) for name in PIXEL_COUNTS},
        **{name: {**statistic.parts[name].counts, "metrics": metrics} for name, metrics in sections.items()},
    }


class SegmentationStatistic:
    """Every metric of `evaluate_segmentation`, as a function of the clusters' weights, named "<section>.<metric>".

    Args:
        images: Of known truth, as from `measure_cases`.
        clusters: Cluster of each image, shape (images,).
        volumes: Of known truth, as from `measure_cases`.
        volume_clusters: Cluster of each volume, shape (volumes,).
        min_predicted_pixels: Fewer predicted pixels than this say that there is no lesion.
    """

    def __init__(
        self,
        images: pd.DataFrame,
        clusters: Codes,
        volumes: pd.DataFrame,
        volume_clusters: Codes,
        *,
        min_predicted_pixels: int = 1,
    ) -> None:
        self.clusters = count = count_clusters(clusters)
        pixels = sum_by_cluster(_numbers(images, PIXEL_COUNTS), clusters, count)
        patients = pd.DataFrame({**overlap_metrics(Confusion(*pixels.T)), "kind": kinds_of_cases(pixels)})
        self.parts: dict[str, _Part] = {
            "per_image": _CaseSummary(images, CASE_METRICS, clusters, count, "image"),
            "per_volume": _CaseSummary(volumes, CASE_METRICS, volume_clusters, count, "volume"),
            "per_patient": _CaseSummary(patients, OVERLAPS, np.arange(count), count, "patient"),
            "pooled": _PooledPixels(pixels),
            "empty_true": _EmptyImages(images, clusters, count),
            "image_level": _LesionPresence(images, clusters, count, min_predicted_pixels),
            "volume_level": _LesionPresence(volumes, volume_clusters, count, min_predicted_pixels),
            "lesions": _LesionDetection(images, clusters, count, "image"),
            "volume_lesions": _LesionDetection(volumes, volume_clusters, count, "volume"),
        }

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Compute every metric under each row of weights, shape (resamples, clusters)."""
        return {
            f"{section}.{name}": values
            for section, part in self.parts.items()
            for name, values in part(weights).items()
        }

    def reason_undefined(self, name: str) -> str:
        """Why a metric is undefined on these cases."""
        section, _, metric = name.partition(".")
        return self.parts[section].reason_undefined(metric)


def weighted_median(values: Floats, weights: Floats) -> Floats:
    """The median of values that count as often as their weights say.

    The lower middle value is the first with at least half of the total weight at or below it, the upper the first
    with more than half; the median is their mean. For whole weights it is the median of the values repeated so often.

    Args:
        values: Rising, shape (cases,).
        weights: Not negative, shape (resamples, cases).

    Returns:
        Shape (resamples,), NaN where all weights are 0.

    Examples:
        >>> weighted_median(np.array([1.0, 2.0, 5.0]), np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 2.0]]))
        array([2. , 3.5])
    """
    medians = np.full(len(weights), np.nan)
    if len(values) == 0:
        return medians
    reached = np.cumsum(weights, axis=1)
    half = reached[:, -1:] / 2
    lower, upper = (reached < half).sum(axis=1), (reached <= half).sum(axis=1)
    some = half[:, 0] > 0
    medians[some] = (values[lower[some]] + values[upper[some]]) / 2
    return medians


class _Part(Statistic):
    """One section of the metrics: a statistic with the counts that stand beside it."""

    counts: dict[str, Any]


class _CaseSummary(_Part):
    """Mean and median of each metric over the lesion-positive cases in which it is defined."""

    def __init__(self, table: pd.DataFrame, metrics: Sequence[str], clusters: Codes, count: int, case: str) -> None:
        positive = (table["kind"] == LESION_POSITIVE).to_numpy(dtype=bool)
        table, clusters = table[positive], clusters[positive]
        self.counts: dict[str, Any] = {f"{case}s": len(table)}
        self._case, self._reasons, self._mixed = case, {}, dict[str, str]()
        for names, unit in _UNITS:
            if unit in table:
                units = sorted(table[unit].dropna().unique().tolist())
                self.counts[unit] = units[0] if len(units) == 1 else None
                if len(units) > 1:
                    reason = f"the {unit} is {units[0]} for some {case}s and {units[1]} for others"
                    self._mixed |= dict.fromkeys(names, reason)
        if "hd95_reason" in table:
            self._reasons = {str(key): int(n) for key, n in table["hd95_reason"].value_counts(sort=False).items()}
            self.counts["hd95_undefined"] = self._reasons
        self._sums, self._rising = dict[str, Floats](), dict[str, tuple[Floats, Codes]]()
        for name in metrics:
            values = _numbers(table, [name])[:, 0]
            defined = ~np.isnan(values) if name not in self._mixed else np.zeros(len(values), dtype=bool)
            values, of_values = values[defined], clusters[defined]
            order = np.argsort(values, kind="stable")
            self._sums[name] = sum_by_cluster(np.stack([values, np.ones(len(values))], axis=1), of_values, count)
            self._rising[name] = values[order], of_values[order]

    def __call__(self, weights: Floats) -> Mapping[str, Floats]:
        results = {}
        for name, sums in self._sums.items():
            results[f"{name}_mean"] = divide(*(weights @ sums).T)
            values, clusters = self._rising[name]
            rows = max(1, MEDIAN_CELLS // max(1, len(values)))
            results[f"{name}_median"] = np.concatenate(
                [
                    weighted_median(values, weights[start : start + rows][:, clusters])
                    for start in range(0, len(weights), rows)
                ]
            )
        return results

    def reason_undefined(self, name: str) -> str:
        metric = name.rpartition("_")[0]
        if self.counts[f"{self._case}s"] == 0:
            return f"no {self._case} is lesion-positive"
        if metric in self._mixed:
            return self._mixed[metric]
        if metric in DISTANCES:
            return "; ".join(self._reasons)
        return {"precision": f"no lesion-positive {self._case} has a predicted pixel"}.get(
            metric, f"no lesion-positive {self._case} has background"
        )


class _PooledPixels(_Part):
    """Overlap and volume of the pixels of all known images together."""

    def __init__(self, pixels: Floats) -> None:
        self._pixels = pixels
        self.counts = {name: int(total) for name, total in zip(PIXEL_COUNTS, pixels.sum(axis=0), strict=True)}

    def __call__(self, weights: Floats) -> Mapping[str, Floats]:
        pixels = weigh_outcomes(weights, self._pixels)
        return {
            **overlap_metrics(pixels),
            "relative_volume_difference_percent": divide(100 * (pixels.fp - pixels.fn), pixels.tp + pixels.fn),
        }

    def reason_undefined(self, name: str) -> str:
        return {
            "dice": "there is no true or predicted pixel",
            "iou": "there is no true or predicted pixel",
            "specificity": "there is no background pixel",
            "precision": "no pixel is predicted",
        }.get(name, "no pixel is lesion")


class _EmptyImages(_Part):
    """What is predicted where the truth is known to be empty."""

    def __init__(self, table: pd.DataFrame, clusters: Codes, count: int) -> None:
        empty = (table["kind"] == EMPTY_TRUE).to_numpy(dtype=bool)
        numbers = _numbers(table[empty], ("predicted_pixels", "false_lesions"))
        columns = np.column_stack([np.ones(len(numbers)), numbers[:, 0] > 0, numbers])
        self._sums = sum_by_cluster(columns, clusters[empty], count)
        self.counts = {"images": len(numbers), "with_predicted_pixels": int(columns[:, 1].sum())}

    def __call__(self, weights: Floats) -> Mapping[str, Floats]:
        images, predicted, pixels, lesions = (weights @ self._sums).T
        return {
            "share_with_predicted_pixels": divide(predicted, images),
            "predicted_pixels_mean": divide(pixels, images),
            "false_lesions_mean": divide(lesions, images),
        }

    def reason_undefined(self, name: str) -> str:
        return "no image is known to be without lesion"


class _LesionPresence(_Part):
    """Whether a case holds any lesion, as a binary classification."""

    def __init__(self, table: pd.DataFrame, clusters: Codes, count: int, min_predicted_pixels: int) -> None:
        self._truth: Bools = (table["kind"] == LESION_POSITIVE).to_numpy(dtype=bool)
        self._predicted: Bools = _numbers(table, ("predicted_pixels",))[:, 0] >= min_predicted_pixels
        self._outcomes = sum_outcomes(self._truth, self._predicted, clusters, count)
        self.counts = {name: int(total) for name, total in zip(PIXEL_COUNTS, self._outcomes.sum(axis=0), strict=True)}

    def __call__(self, weights: Floats) -> Mapping[str, Floats]:
        metrics = confusion_metrics(weigh_outcomes(weights, self._outcomes))
        return {"sensitivity" if name == "recall" else name: values for name, values in metrics.items()}

    def reason_undefined(self, name: str) -> str:
        counts = weigh_outcomes(np.ones((1, len(self._outcomes))), self._outcomes)
        return counts.reason_undefined("recall" if name == "sensitivity" else name)


class _LesionDetection(_Part):
    """Lesion-wise detection in the known cases whose lesions could be counted."""

    def __init__(self, table: pd.DataFrame, clusters: Codes, count: int, case: str) -> None:
        lesions = _numbers(table, LESION_COUNTS)
        counted = ~np.isnan(lesions).any(axis=1)
        columns = np.column_stack([np.ones(int(counted.sum())), lesions[counted]])
        self._sums = sum_by_cluster(columns, clusters[counted], count)
        self._case = case
        self.counts = {
            name: int(total) for name, total in zip((f"{case}s", *LESION_COUNTS), self._sums.sum(axis=0), strict=True)
        }

    def __call__(self, weights: Floats) -> Mapping[str, Floats]:
        cases, truth, found, predicted, false = (weights @ self._sums).T
        return {
            "sensitivity": divide(found, truth),
            "precision": divide(predicted - false, predicted),
            f"false_positives_per_{self._case}": divide(false, cases),
        }

    def reason_undefined(self, name: str) -> str:
        if self.counts[f"{self._case}s"] == 0:
            return f"there is no {self._case} of known truth"
        return {"sensitivity": "there is no true lesion"}.get(name, "no lesion is predicted")


def _check_cases(table: pd.DataFrame, key: str, where: str) -> pd.DataFrame:
    """Check a table of measured cases."""
    needed = [key, "patient_id", *(["volume_id"] if key == "image_id" else []), *CASE_COLUMNS]
    missing = [name for name in needed if name not in table]
    if missing:
        refuse(f"{where}: columns", ", ".join(map(str, table.columns)), f"{', '.join(missing)} as well")
    _refuse_cases(table, table[key].isna(), key, where, key, "a name for each")
    _refuse_cases(table, table[key].duplicated(), key, where, key, "each once")
    _refuse_cases(table, ~table["kind"].isin(KINDS), key, where, "kind", f"one of {', '.join(KINDS)}")
    known = table["kind"] != UNKNOWN
    for name in (*PIXEL_COUNTS, "predicted_pixels"):
        wrong = pd.Series(~(_numbers(table, (name,))[:, 0] >= 0), index=table.index) & known
        _refuse_cases(table, wrong, key, where, name, "a number of pixels where the truth is known")
    return table


def _refuse_cases(
    table: pd.DataFrame, wrong: "pd.Series[bool]", key: str, where: str, column: str, expected: str
) -> None:
    """Refuse the table if any row is wrong, naming the first such case and how many there are."""
    if not wrong.any():
        return
    first = table.loc[wrong].iloc[0]
    more = f" (and {int(wrong.sum()) - 1} more)" if wrong.sum() > 1 else ""
    refuse(f"{where}: {first[key]}: {column}", f"{first[column]}{more}", expected)


def _count_kinds(table: pd.DataFrame) -> dict[str, int]:
    return {"total": len(table), **{kind: int((table["kind"] == kind).sum()) for kind in KINDS}}


def cluster_keys(images: pd.DataFrame) -> "pd.Series[Any]":
    """What each image is resampled with: its patient, else its volume, else itself."""
    patients, volumes = images["patient_id"], images["volume_id"]
    keys = [
        ("patient", patient) if pd.notna(patient) else ("volume", volume) if pd.notna(volume) else ("image", image)
        for patient, volume, image in zip(patients, volumes, images["image_id"], strict=True)
    ]
    return pd.Series(keys, dtype=object)


def _clusters_of_volumes(volumes: pd.DataFrame, numbers: Mapping[object, int], where: str) -> Codes:
    clusters = []
    for volume, patient in zip(volumes["volume_id"], volumes["patient_id"], strict=True):
        key = ("patient", patient) if pd.notna(patient) else ("volume", volume)
        if key not in numbers:
            refuse(f"{where}: volumes table: {volume}", f"no image of {' '.join(key)}", "its slices among the images")
        clusters.append(numbers[key])
    return np.array(clusters, dtype=np.intp)


def _numbers(table: pd.DataFrame, columns: Sequence[str]) -> Floats:
    """Columns of numbers as float64, null as NaN, shape (rows, columns)."""
    return np.column_stack([table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in columns])
