"""Whether an image, a volume or a patient is positive, told by its boxes.

A case is truly positive for a class when one of its images holds a true box of it, negative when the class is known
on all its images and none holds one, and otherwise unknown and left out. Its score is that of its best detection;
a case without detections ranks below all others.
"""

import numpy as np
import pandas as pd

from scanline.evaluate.bootstrap import divide, sum_by_cluster
from scanline.evaluate.detection_tables import ANY_CLASS, DetectionTables
from scanline.evaluate.inputs import Codes, Floats
from scanline.evaluate.ranking import Ranking

LEVELS = ("image", "volume", "patient")
CASE_METRICS = ("sensitivity", "specificity", "auroc")
NO_DETECTION = -1.0  # below every score


class CaseMetrics:
    """Sensitivity, specificity and AUROC of the cases of one level, as a function of the clusters' weights.

    Args:
        tables: The checked tables.
        level: image, volume or patient.
        score_threshold: A case is called positive where it has a detection of this score or a higher one.

    Attributes:
        cases: The ids of the cases; images without a volume, or patient, belong to none.
        images_left_out: Images that belong to no case.
        truth: 1, 0, or NaN for unknown, shape (cases, classes + 1); the last column is any class.
        score: NO_DETECTION where there is none, same shape.

    Examples:
        >>> from scanline.evaluate.detection_tables import check_detection_tables
        >>> truth = pd.DataFrame([["i1", "bleed", 10, 10, 20, 20]], columns=["image_id", "label", *"xywh"])
        >>> truth = truth.rename(columns={"w": "width", "h": "height"})
        >>> predicted = pd.concat([truth.assign(score=0.9, x=12), truth.assign(score=0.4, image_id="i2")])
        >>> tables = check_detection_tables(truth, predicted, ["i1", "i2"], ["bleed"])
        >>> values = CaseMetrics(tables, "image", score_threshold=0.5)(np.ones((1, 2)))
        >>> values["bleed.sensitivity"], values["bleed.specificity"], values["bleed.auroc"]
        (array([1.]), array([1.]), array([1.]))
    """

    def __init__(self, tables: DetectionTables, level: str, score_threshold: float) -> None:
        ids = {"image": np.array(tables.images, object), "volume": tables.volumes, "patient": tables.patients}[level]
        codes, names = pd.factorize(ids)
        self.tables, self.level, self.score_threshold = tables, level, score_threshold
        self.cases = [str(name) for name in names]
        self.images_left_out = int((codes < 0).sum())
        inside = np.flatnonzero(codes >= 0)
        self._clusters = np.zeros(len(self.cases), dtype=np.intp)
        self._clusters[codes[inside]] = tables.clusters[inside]
        self.rows = (*tables.classes, ANY_CLASS)
        present = np.column_stack([tables.present, tables.present.any(axis=1)])
        known = np.column_stack([tables.known, tables.fully_known])
        shape = (len(self.cases), len(self.rows))
        positive, unknown = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        np.logical_or.at(positive, codes[inside], present[inside])
        np.logical_or.at(unknown, codes[inside], ~known[inside])
        self.truth = np.where(positive, 1.0, np.where(unknown, np.nan, 0.0))
        self.score = self._best_scores(codes.astype(np.intp), shape)
        self.called = self.score >= score_threshold
        self._prepare()

    def _best_scores(self, codes: Codes, shape: tuple[int, int]) -> Floats:
        detected = self.tables.detected
        score = np.full(shape, NO_DETECTION)
        case = codes[detected.image]
        inside = case >= 0
        np.maximum.at(score, (case[inside], detected.label[inside]), detected.score[inside])
        score[:, -1] = score[:, :-1].max(axis=1)
        return score

    def _prepare(self) -> None:
        """Sums of each cluster, and the rankings."""
        sums, self._rankings = [], []
        for index in range(len(self.rows)):
            kept = ~np.isnan(self.truth[:, index])
            truth, called = self.truth[kept, index] == 1, self.called[kept, index]
            counts = np.stack([truth, truth & called, ~truth, ~truth & ~called], axis=1)
            sums.append(sum_by_cluster(counts, self._clusters[kept], self.tables.cluster_count))
            self._rankings.append(Ranking(truth, self.score[kept, index], self._clusters[kept]))
        self._sums = np.stack(sums, axis=1)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """Compute every metric under each row of weights.

        Args:
            weights: Shape (resamples, clusters), not negative.

        Returns:
            "<class>.<metric>" for CASE_METRICS, the last class being ANY_CLASS; each of shape (resamples,).
        """
        values = {}
        counts = np.tensordot(weights, self._sums, 1)
        for index, row in enumerate(self.rows):
            positives, found, negatives, spared = counts[:, index].T
            values[f"{row}.sensitivity"] = divide(found, positives)
            values[f"{row}.specificity"] = divide(spared, negatives)
            values[f"{row}.auroc"] = self._rankings[index].areas(weights)[0]
        return values

    def counts(self, row: str) -> dict[str, int]:
        """Positive, negative and unknown cases of a class or of ANY_CLASS."""
        truth = self.truth[:, self.rows.index(row)]
        unknown = int(np.isnan(truth).sum())
        positives = int((truth == 1).sum())
        return {"positives": positives, "negatives": len(truth) - positives - unknown, "unknown": unknown}

    def reason_undefined(self, name: str) -> str:
        """Why a metric is undefined on these cases."""
        row, _, metric = name.rpartition(".")
        counts = self.counts(row)
        needs = {"sensitivity": ("positives",), "specificity": ("negatives",), "auroc": ("positives", "negatives")}
        words = {"positives": f"no {self.level} is positive", "negatives": f"no {self.level} is negative"}
        return "; ".join(words[need] for need in needs[metric] if counts[need] == 0)

    def table(self) -> pd.DataFrame:
        """One row a case and class.

        Returns:
            Columns level, case_id, label (a class, or "any class"), truth (null where unknown), score (null without
            a detection) and predicted.
        """
        cases, rows = len(self.cases), len(self.rows)
        truth = pd.array(np.where(np.isnan(self.truth), 0, self.truth).ravel() == 1, dtype="boolean")
        truth[np.isnan(self.truth).ravel()] = pd.NA
        return pd.DataFrame(
            {
                "level": self.level,
                "case_id": np.repeat(np.array(self.cases, dtype=object), rows),
                "label": np.tile(np.array(self.rows, dtype=object), cases),
                "truth": truth,
                "score": np.where(self.score == NO_DETECTION, np.nan, self.score).ravel(),
                "predicted": self.called.ravel(),
            }
        ).astype({"level": "str", "case_id": "str", "label": "str"})
