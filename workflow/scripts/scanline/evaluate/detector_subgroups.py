"""A detector by subgroups, and its gap from test to external."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scanline.evaluate.average_precision import CocoMetrics
from scanline.evaluate.coco_matching import match_detections
from scanline.evaluate.detection_cases import CaseMetrics
from scanline.evaluate.detection_tables import ALL_CLASSES, ANY_CLASS, DetectionTables
from scanline.evaluate.detector_options import Headline
from scanline.evaluate.detector_point import DetectorPoint
from scanline.evaluate.froc import LesionMetrics
from scanline.evaluate.gap import measure_gap
from scanline.evaluate.inputs import Codes
from scanline.evaluate.metadata import evaluate_columns, percent_in_boxes, subgroups_of
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.subgroups import MetricsOf


def shown_metrics(tables: DetectionTables, point: DetectorPoint, headline: Headline) -> MetricsOf:
    """The headline AP (mean over the classes), and at the frozen threshold what is found of boxes and of images.

    The names are those of the first table of a report: that of the AP, sensitivity (boxes found),
    false_positives_per_image, image_sensitivity, image_specificity.
    """
    coco = CocoMetrics(tables, (headline,))
    lesions = LesionMetrics(tables, match_detections(tables, (point.iou_threshold,)), point.threshold)
    cases = CaseMetrics(tables, "image", point.threshold)
    return MetricsOf(
        {
            headline: (coco, headline),
            "sensitivity": (lesions, f"{ALL_CLASSES}.recall"),
            "false_positives_per_image": (lesions, f"{ALL_CLASSES}.false_positives_per_image"),
            "image_sensitivity": (cases, f"{ANY_CLASS}.sensitivity"),
            "image_specificity": (cases, f"{ANY_CLASS}.specificity"),
        }
    )


def measure_detector_subgroups(
    tables: DetectionTables,
    images: pd.DataFrame,
    boxes: pd.DataFrame,
    point: DetectorPoint,
    options: EvaluateOptions,
    subset: str,
    headline: Headline = "ap_50",
) -> list[dict[str, Any]]:
    """`shown_metrics` by subgroup of images, for each column of the options that tells at least two apart.

    Args:
        tables: Of one subset.
        images: Its rows of the images table, in the order of the tables.
        boxes: True boxes of the targets, whose area on an image is its size of lesion.
        point: The frozen threshold.
        options: Of subgroups and intervals.
        subset: Its name.
        headline: The AP that is shown.

    Returns:
        What `evaluate_columns` makes, in the options' order.
    """
    present = tables.present.any(axis=1)
    truth = pd.Series(present, dtype="boolean").mask(~present & ~tables.fully_known)
    percent = percent_in_boxes(tables.images, images, boxes, truth)

    def measure(rows: Codes, clusters: Codes) -> MetricsOf:
        return shown_metrics(tables.of_images(rows, clusters), point, headline)

    return evaluate_columns(
        subgroups_of(tables.images, images, options.subgroups, options.age_edges_years, percent),
        measure,
        patients=images["patient_id"],
        clusters=tables.clusters,
        positive=truth,
        options=options,
        stream=("evaluate_detector", subset),
    )


def measure_detector_gap(
    tables: Mapping[str, DetectionTables],
    point: DetectorPoint,
    options: EvaluateOptions,
    headline: Headline = "ap_50",
) -> dict[str, Any] | None:
    """Test minus external for `shown_metrics`, with intervals; None without both subsets.

    Args:
        tables: Subset to its tables.
        point: The frozen threshold.
        options: Of the intervals.
        headline: The AP that is shown.
    """
    if not {"test", "external"} <= set(tables):
        return None
    test, external = tables["test"], tables["external"]
    gap = measure_gap(
        shown_metrics(test, point, headline),
        test.cluster_count,
        shown_metrics(external, point, headline),
        external.cluster_count,
        options,
        "evaluate_detector",
        "gap",
    )
    return {name: value.as_json() for name, value in gap.items()}
