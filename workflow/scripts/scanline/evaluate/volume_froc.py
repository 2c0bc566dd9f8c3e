"""FROC with false positives counted by volume: the share of boxes found, and of volumes in which a box is found.

The rates are those of LUNA16, a scan being its unit too: Setio et al., Medical Image Analysis 42 (2017) 1-13. A lesion
has a box on each slice that shows it, and each such box is one to be found. Each class is measured on the volumes of
which every slice is known for it: where some are not, false positives could not be counted.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scanline.evaluate.bootstrap import sum_by_cluster
from scanline.evaluate.coco_matching import FALSE_POSITIVE, TRUE_POSITIVE, Matches
from scanline.evaluate.detection_tables import ANY_CLASS, DetectionTables
from scanline.evaluate.froc import RATES, sensitivities_at_rates
from scanline.evaluate.inputs import Bools, Codes, Floats
from scanline.evaluate.ranking import in_blocks
from scanline.evaluate.volumes import Volumes

FOUND = ("box", "volume")  # what a sensitivity is the share of
VOLUME_FROC_METRICS = tuple(
    f"{found}_{name}" for found in FOUND for name in (*(f"sensitivity_at_{rate}" for rate in RATES), "mean_sensitivity")
)


@dataclass(frozen=True)
class _Curve:
    """Detections of a row by falling score, with what there is to find in each cluster.

    Attributes:
        clusters: Of each detection, shape (detections,).
        hits: Whether it finds what is looked for, same shape.
        last: Whether the next one has a lower score, same shape.
        score: Same shape.
        totals: What there is to find, shape (clusters,).
    """

    clusters: Codes
    hits: Bools
    last: Bools
    score: Floats
    totals: Floats


class VolumeFroc:
    """Sensitivity at each of RATES of false positives a volume, as a function of the clusters' weights.

    Args:
        tables: The checked tables.
        matches: Of any area, at one IoU threshold.
        volumes: Of the same tables.

    Attributes:
        volumes_counted: Volumes that each row is measured on, shape (rows,).

    Examples:
        >>> from scanline.evaluate.coco_matching import match_detections
        >>> from scanline.evaluate.detection_tables import check_detection_tables
        >>> from scanline.evaluate.volumes import gather_volumes
        >>> truth = pd.DataFrame({"image_id": ["a1"], "label": "tear", "x": 1, "y": 1, "width": 8, "height": 8})
        >>> found = pd.concat([truth.assign(score=0.7), truth.assign(score=0.9, image_id="b1")])
        >>> images = pd.DataFrame({"image_id": ["a1", "a2", "b1"], "patient_id": ["p", "p", "q"]})
        >>> images["volume_id"] = ["a", "a", "b"]
        >>> labels = pd.DataFrame({"image_id": ["a1", "a2", "b1"], "tear": [True, False, False]})
        >>> tables = check_detection_tables(truth, found, images, ["tear"], labels)
        >>> volumes = gather_volumes(tables, images, labels, "volume_id")
        >>> froc = VolumeFroc(tables, match_detections(tables, (0.5,)), volumes)
        >>> values = froc(np.ones((1, 2)))  # one false positive on two volumes before the box is found
        >>> values["tear.box_sensitivity_at_1/4"], values["tear.box_sensitivity_at_1/2"]
        (array([0.]), array([1.]))
    """

    def __init__(self, tables: DetectionTables, matches: Matches, volumes: Volumes) -> None:
        self.tables, self.volumes = tables, volumes
        self.rows = volumes.rows
        self._outcome = matches.outcome[:, 0, 0]
        self._boxed = matches.counted[0]  # true boxes that are no crowd
        self.volumes_counted = volumes.known.sum(axis=0)
        clusters = np.zeros(len(volumes.ids), dtype=np.intp)
        inside = volumes.volume >= 0
        clusters[volumes.volume[inside]] = tables.clusters[inside]
        self._cluster_of_volume = clusters
        self._units = sum_by_cluster(volumes.known, clusters, tables.cluster_count)
        self._curves = {(row, kind): self._curve(index, kind) for index, row in enumerate(self.rows) for kind in FOUND}

    def _of_row(self, index: int, label: Codes) -> Bools:
        """Which boxes belong to a row: those of its class, or all of them for any class."""
        return np.full(len(label), True) if self.rows[index] == ANY_CLASS else label == index

    def _curve(self, index: int, kind: str) -> _Curve:
        volumes, detected, truth = self.volumes, self.tables.detected, self.tables.truth
        counted = np.append(volumes.known[:, index], False)  # the last: of no volume
        kept = (self._outcome == TRUE_POSITIVE) | (self._outcome == FALSE_POSITIVE)
        kept &= self._of_row(index, detected.label) & counted[volumes.volume[detected.image]]
        order = np.flatnonzero(kept)
        order = order[np.argsort(-detected.score[order], kind="stable")]
        true = self._boxed & self._of_row(index, truth.label) & counted[volumes.volume[truth.image]]
        owner = volumes.volume[truth.image[true]]
        if kind == "volume":
            owner = np.unique(owner)
            order = self._first_in_each_volume(order)
        totals = sum_by_cluster(np.ones((len(owner), 1)), self._cluster_of_volume[owner], self.tables.cluster_count)
        score = detected.score[order]
        return _Curve(
            clusters=np.ascontiguousarray(self.tables.clusters[detected.image[order]]),
            hits=self._outcome[order] == TRUE_POSITIVE,
            last=np.append(score[1:] != score[:-1], True)[: len(score)],
            score=score,
            totals=totals[:, 0],
        )

    def _first_in_each_volume(self, order: Codes) -> Codes:
        """All false positives, and of the true ones of a volume the first."""
        hits = order[self._outcome[order] == TRUE_POSITIVE]
        owner = self.volumes.volume[self.tables.detected.image[hits]]
        later = np.delete(hits, np.unique(owner, return_index=True)[1])
        return order[~np.isin(order, later)]

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Compute every sensitivity under each row of weights.

        Args:
            weights: Shape (resamples, clusters), not negative.

        Returns:
            "<row>.<metric>" for VOLUME_FROC_METRICS, each of shape (resamples,).
        """
        values = np.full((len(self._curves), len(RATES), len(weights)), np.nan)
        units = weights @ self._units

        def compute(part: slice) -> None:
            for place, ((row, _), curve) in enumerate(self._curves.items()):
                values[place, :, part] = sensitivities_at_rates(
                    weights[part],
                    curve.clusters,
                    curve.hits,
                    curve.last,
                    units[part, self.rows.index(row)],
                    weights[part] @ curve.totals,
                )

        in_blocks(compute, len(weights))
        found: dict[str, Floats] = {}
        for (row, kind), of_row in zip(self._curves, values, strict=True):
            for rate, series in zip(RATES, of_row, strict=True):
                found[f"{row}.{kind}_sensitivity_at_{rate}"] = series
            found[f"{row}.{kind}_mean_sensitivity"] = of_row.mean(axis=0)
        return found

    def reason_undefined(self, name: str) -> str:
        """Why a sensitivity is undefined on these volumes."""
        row = name.rpartition(".")[0]
        if not self.volumes_counted[self.rows.index(row)]:
            return "no volume of which every slice is known"
        return "" if self._curves[row, FOUND[0]].totals.any() else "no true box in these volumes"

    def table(self) -> pd.DataFrame:
        """Points of the curves; points inside a horizontal stretch are left out.

        Returns:
            Columns label (a class, or "any class"), found (box or volume), score (the threshold; infinite at the
            start), sensitivity and false_positives_per_volume. A row without true boxes has no curve.
        """
        parts = []
        for (row, kind), curve in self._curves.items():
            total, units = curve.totals.sum(), self._units[:, self.rows.index(row)].sum()
            if total == 0:
                continue
            tp = np.append(0, np.cumsum(curve.hits)[curve.last])
            fp = np.append(0, np.cumsum(~curve.hits)[curve.last])
            inside = np.zeros(len(tp), dtype=bool)
            inside[1:-1] = (tp[1:-1] == tp[:-2]) & (tp[1:-1] == tp[2:])
            part = {
                "label": row,
                "found": kind,
                "score": np.append(np.inf, curve.score[curve.last]),
                "sensitivity": tp / total,
                "false_positives_per_volume": fp / units,
            }
            parts.append(pd.DataFrame(part)[~inside])
        columns = {"label": "str", "found": "str", **dict.fromkeys(("score", "sensitivity"), "f8")}
        columns["false_positives_per_volume"] = "f8"
        empty = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})
        return pd.concat(parts, ignore_index=True) if parts else empty
