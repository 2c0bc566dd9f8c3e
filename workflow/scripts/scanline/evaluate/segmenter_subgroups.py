"""A segmentation network by subgroups, and its gap from test to external."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scanline.evaluate.bootstrap import count_clusters
from scanline.evaluate.gap import measure_gap
from scanline.evaluate.inputs import Codes, as_clusters
from scanline.evaluate.metadata import evaluate_columns, subgroups_of
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.segmentation import SegmentationStatistic, cluster_keys
from scanline.evaluate.segmentation_cases import LESION_POSITIVE, PIXEL_COUNTS, UNKNOWN, SegmentationCases
from scanline.evaluate.subgroups import MetricsOf

SHOWN_METRICS = {  # by their names in the first table of a report
    "dice": "per_image.dice_mean",
    "patient_dice_median": "per_patient.dice_median",
    "pooled_dice": "pooled.dice",
    "sensitivity": "pooled.sensitivity",
    "specificity": "pooled.specificity",
    "image_accuracy": "image_level.accuracy",
}


def _shown(known: pd.DataFrame, clusters: Codes, min_predicted_pixels: int) -> MetricsOf:
    """SHOWN_METRICS of measured images of known truth; volumes are left out, as no shown metric is of them."""
    none = known[:0]
    statistic = SegmentationStatistic(known, clusters, none, clusters[:0], min_predicted_pixels=min_predicted_pixels)
    return MetricsOf({name: (statistic, inner) for name, inner in SHOWN_METRICS.items()})


def _known(cases: SegmentationCases) -> pd.DataFrame:
    return cases.images[cases.images["kind"] != UNKNOWN].reset_index(drop=True)


def measure_segmenter_subgroups(
    cases: SegmentationCases,
    images: pd.DataFrame,
    options: EvaluateOptions,
    subset: str,
    *,
    min_predicted_pixels: int,
) -> list[dict[str, Any]]:
    """SHOWN_METRICS by subgroup of images, for each column of the options that tells at least two apart.

    Args:
        cases: Of one subset; images of unknown truth are left out. The area of the true mask, in percent of the
            image, is an image's size of lesion.
        images: Images table.
        options: Of subgroups and intervals.
        subset: Its name.
        min_predicted_pixels: Fewer predicted pixels say that there is no lesion.

    Returns:
        What `evaluate_columns` makes, in the options' order.
    """
    known = _known(cases)
    pixels = known[list(PIXEL_COUNTS)].to_numpy(dtype=np.float64)
    percent = 100 * pixels[:, [0, 2]].sum(axis=1) / pixels.sum(axis=1)

    def measure(rows: Codes, clusters: Codes) -> MetricsOf:
        return _shown(known.iloc[rows], clusters, min_predicted_pixels)

    return evaluate_columns(
        subgroups_of(known["image_id"].tolist(), images, options.subgroups, options.age_edges_years, percent),
        measure,
        patients=known["patient_id"],
        clusters=as_clusters(cluster_keys(known), len(known)),
        positive=known["kind"] == LESION_POSITIVE,
        options=options,
        stream=("evaluate_segmenter", subset),
    )


def measure_segmenter_gap(
    cases: Mapping[str, SegmentationCases], options: EvaluateOptions, *, min_predicted_pixels: int
) -> dict[str, Any] | None:
    """Test minus external for SHOWN_METRICS, with intervals; None without both subsets.

    Args:
        cases: Subset to its measured images.
        options: Of the intervals.
        min_predicted_pixels: Fewer predicted pixels say that there is no lesion.
    """
    if not {"test", "external"} <= set(cases):
        return None
    sides = []
    for name in ("test", "external"):
        known = _known(cases[name])
        clusters = as_clusters(cluster_keys(known), len(known))
        sides.append((_shown(known, clusters, min_predicted_pixels), count_clusters(clusters)))
    gap = measure_gap(*sides[0], *sides[1], options, "evaluate_segmenter", "gap")
    return {name: value.as_json() for name, value in gap.items()}
