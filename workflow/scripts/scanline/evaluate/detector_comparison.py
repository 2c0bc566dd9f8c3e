"""Ways to train a detector side by side: on the same test images, at each run's own frozen thresholds.

A value of an entry is the mean over its seeds, and its interval is over patients: the seeds' spread stands beside it.
One draw of patients serves all entries, so that what makes a patient hard for all of them cancels in differences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scanline.evaluate.average_precision import CocoMetrics
from scanline.evaluate.binary import BinaryMetrics
from scanline.evaluate.bootstrap import Estimate, Statistic, estimate, strata_of_clusters
from scanline.evaluate.coco_matching import match_detections
from scanline.evaluate.detection_tables import ALL_CLASSES, DetectionTables, check_detection_tables
from scanline.evaluate.detector_comparison_options import (
    ComparedDetector,
    CompareDetectorsOptions,
    DetectorComparison,
    DetectorEntry,
)
from scanline.evaluate.detector_point import DetectorPoint
from scanline.evaluate.detector_volumes import volumes_of_subsets
from scanline.evaluate.froc import LesionMetrics
from scanline.evaluate.inputs import Codes, Floats, refuse
from scanline.evaluate.paired import paired_difference
from scanline.evaluate.scores import clustered_by
from scanline.evaluate.volume_froc import VolumeFroc
from scanline.evaluate.volume_points import VolumePoints, known_volumes
from scanline.evaluate.volumes import Volumes

AVERAGE_PRECISIONS = ("ap_10", "ap_50", "ap_50_95")
LESIONS = {"sensitivity": "recall", "false_positives_per_image": "false_positives_per_image"}
VOLUMES = {"volume_auroc": "auroc", "volume_sensitivity": "recall", "volume_specificity": "specificity"}
FROC = {"volume_froc": "box_mean_sensitivity"}


@dataclass(frozen=True)
class DetectorFiles:
    """What prediction and evaluation of one run left.

    Attributes:
        run: Which run.
        detections: image_id, subset, label, x, y, width, height, score.
        predicted: image_id, subset.
        point: Its frozen score threshold of boxes.
        volume_points: Its frozen thresholds of volumes.
    """

    run: ComparedDetector
    detections: pd.DataFrame
    predicted: pd.DataFrame
    point: DetectorPoint
    volume_points: VolumePoints

    @property
    def test_images(self) -> "pd.Series[str]":
        """Ids of the test images."""
        return self.predicted.loc[self.predicted["subset"] == "test", "image_id"]


@dataclass(frozen=True)
class StudyTables:
    """Images, boxes and labels tables of the study."""

    images: pd.DataFrame
    boxes: pd.DataFrame
    labels: pd.DataFrame


class RunMetrics:
    """What a comparison shows of one run, as a function of the clusters' weights: a `bootstrap.Statistic`.

    Args:
        tables: Of the shared test images.
        volumes: Of these; None without any.
        files: Of the run, for its thresholds.
        headline: The AP that comes first.

    Attributes:
        cluster_count: Number of clusters.
    """

    def __init__(self, tables: DetectionTables, volumes: Volumes | None, files: DetectorFiles, headline: str) -> None:
        self.cluster_count = tables.cluster_count
        names = tuple(dict.fromkeys((headline, *AVERAGE_PRECISIONS)))
        matches = match_detections(tables, (files.point.iou_threshold,))
        self._coco = CocoMetrics(tables, names)
        self._lesions = LesionMetrics(tables, matches, files.point.threshold)
        self._parts: list[tuple[Statistic, dict[str, str]]] = [
            (self._coco, {name: name for name in names}),
            (self._lesions, {name: f"{ALL_CLASSES}.{own}" for name, own in LESIONS.items()}),
        ]
        self._without: dict[str, str] = {}
        if volumes is not None:
            row = volumes.rows[-1]
            froc = VolumeFroc(tables, matches, volumes)
            self._parts.append((froc, {name: f"{row}.{own}" for name, own in FROC.items()}))
            self._add_volumes(tables, volumes, files.volume_points)

    def _add_volumes(self, tables: DetectionTables, volumes: Volumes, points: VolumePoints) -> None:
        row, last = volumes.rows[-1], len(volumes.rows) - 1
        _, truth, score = known_volumes(volumes, last)
        point = points.points.get(row)
        first = np.zeros(len(volumes.ids), dtype=np.intp)
        inside = volumes.volume >= 0
        first[volumes.volume[inside]] = tables.clusters[inside]
        used, clusters = np.unique(first[~np.isnan(volumes.truth[:, last])], return_inverse=True)
        predicted = score >= (point.threshold if point else 0.5)
        measure = OfClusters(BinaryMetrics(truth, predicted, score, clusters.astype(np.intp)), used)
        self._parts.append((measure, VOLUMES))
        if point is None:
            reason = points.reasons.get(row, points.reasons.get("volumes", "val gives no threshold"))
            self._without = dict.fromkeys(("volume_sensitivity", "volume_specificity"), reason)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Every metric under each row of weights, each of shape (resamples,)."""
        values: dict[str, Floats] = {}
        for part, names in self._parts:
            of_part = part(weights)
            values |= {name: of_part[own] for name, own in names.items()}
        return {name: np.full(len(weights), np.nan) if name in self._without else one for name, one in values.items()}

    def reason_undefined(self, name: str) -> str:
        """Why a metric is undefined on these images."""
        if name in self._without:
            return self._without[name]
        part, names = next((part, names) for part, names in self._parts if name in names)
        return part.reason_undefined(names[name])


class OfClusters:
    """A statistic of some of the clusters, told the weights of all of them.

    Args:
        statistic: Of these clusters, numbered from 0.
        used: Their numbers among all, shape (clusters,).
    """

    def __init__(self, statistic: Statistic, used: Codes) -> None:
        self._statistic, self._used = statistic, used

    def __call__(self, weights: Floats) -> Mapping[str, Floats]:
        """The statistic's values under each row of weights."""
        return self._statistic(np.ascontiguousarray(weights[:, self._used]))

    def reason_undefined(self, name: str) -> str:
        """Why a value is undefined."""
        return self._statistic.reason_undefined(name).replace("image", "volume")


class MeanOfSeeds:
    """The mean over the runs of an entry, undefined where any run's value is: a `bootstrap.Statistic`."""

    def __init__(self, runs: Sequence[RunMetrics]) -> None:
        self._runs = runs

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """The mean of every metric under each row of weights, each of shape (resamples,)."""
        values = [run(weights) for run in self._runs]
        return {name: np.mean([one[name] for one in values], axis=0) for name in values[0]}

    def reason_undefined(self, name: str) -> str:
        """The reason of the first run for which it is undefined."""
        reasons = (run.reason_undefined(name) for run in self._runs)
        return next((reason for reason in reasons if reason), "")


def compare_detectors(
    files: Sequence[DetectorFiles], tables: StudyTables, options: CompareDetectorsOptions
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Set the entries of each comparison side by side.

    Args:
        files: Of each run.
        tables: Of the study.
        options: Comparisons and intervals.

    Returns:
        The content of detector_comparison.json, and its values as a table: comparison, entry, against (empty for a
        value, else the entry that is subtracted), metric, value, low, high, reason.

    Raises:
        InputError: If the entries of a comparison share no test image, or an entry has no run.
    """
    found = [_compare(name, one, files, tables, options) for name, one in options.comparisons.items()]
    rows = [
        {"comparison": one["name"], "entry": entry["name"], "against": against, "metric": metric, **_plain(value)}
        for one in found
        for entry in one["entries"]
        for against, values in (("", entry["metrics"]), (one["reference"], entry["difference"] or {}))
        for metric, value in values.items()
    ]
    return {"comparisons": found}, pd.DataFrame(rows)


def _plain(estimate_: Mapping[str, Any]) -> dict[str, Any]:
    return {name: estimate_[name] for name in ("value", "low", "high", "reason")}


def _runs_of(entry: DetectorEntry, files: Sequence[DetectorFiles], where: str) -> list[DetectorFiles]:
    own = [
        one for one in files if (one.run.split, one.run.task, one.run.model) == (entry.split, entry.task, entry.model)
    ]
    if not own:
        refuse(where, "no run", "at least one trained model", "Name it in runs of the study file.")
    return own


def _compare(
    name: str,
    comparison: DetectorComparison,
    files: Sequence[DetectorFiles],
    study: StudyTables,
    options: CompareDetectorsOptions,
) -> dict[str, Any]:
    runs = {entry.name: _runs_of(entry, files, f"{name}: {entry.name}") for entry in comparison.entries}
    every = [one for own in runs.values() for one in own]
    shared = set.intersection(*(set(one.test_images) for one in every))
    if not shared:
        refuse(name, "no test image in common", "entries whose splits share test images", "Give their splits one seed.")
    targets = options.targets[comparison.entries[0].task]
    images = study.images[study.images["image_id"].isin(shared)].reset_index(drop=True)
    truth = study.boxes[study.boxes["image_id"].isin(shared) & study.boxes["label"].isin(targets)]
    measured: dict[str, list[RunMetrics]] = {}
    tables = None
    for key, own in runs.items():
        measured[key] = []
        for one in own:
            mine = one.detections[(one.detections["subset"] == "test") & one.detections["image_id"].isin(shared)]
            tables = check_detection_tables(truth, mine.reset_index(drop=True), images, targets, study.labels)
            volumes, _ = volumes_of_subsets({"test": tables}, study.images, study.labels, options.volumes)
            measured[key].append(RunMetrics(tables, volumes["test"], one, options.boxes.headline))
    assert tables is not None
    scoring, count = options.evaluate, tables.cluster_count
    strata = strata_of_clusters(np.asarray(tables.present.any(axis=1)), tables.clusters) if scoring.stratified else None
    means = {key: MeanOfSeeds(own) for key, own in measured.items()}
    reference, *_ = means
    stream = ("compare_detectors", name)
    entries = []
    for entry, (key, mean) in zip(comparison.entries, means.items(), strict=True):
        values = estimate(mean, count, scoring, *stream, strata=strata)
        difference = (
            None
            if key == reference
            else paired_difference(mean, means[reference], count, scoring, *stream, strata=strata)
        )
        entries.append(_entry(entry, runs[key], measured[key], values, difference))
    return {
        "name": name,
        "title": comparison.title,
        "reference": reference,
        "images": len(images),
        "patients": int(images["patient_id"].nunique()),
        "clustered_by": clustered_by(images["patient_id"]),
        "level": scoring.confidence_level,
        "volumes_of": options.volumes.of,
        "specificity": options.volumes.specificity,
        "iou_threshold": every[0].point.iou_threshold,
        "entries": entries,
    }


def _entry(
    entry: DetectorEntry,
    files: Sequence[DetectorFiles],
    runs: Sequence[RunMetrics],
    values: Mapping[str, Estimate],
    difference: Mapping[str, Estimate] | None,
) -> dict[str, Any]:
    plain = [{name: float(one[0]) for name, one in run(np.ones((1, run.cluster_count))).items()} for run in runs]
    return {
        **entry.model_dump(),
        "seeds": [one.run.seed for one in files],
        "test_images": max(len(one.test_images) for one in files),
        "metrics": {name: value.as_json() for name, value in values.items()},
        "per_seed": {name: [None if np.isnan(one[name]) else one[name] for one in plain] for name in values},
        "difference": None if difference is None else {name: value.as_json() for name, value in difference.items()},
    }
