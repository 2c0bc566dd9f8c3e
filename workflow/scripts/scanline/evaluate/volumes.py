"""Volumes as evaluation sees them: their truth and their score, from the slices.

A volume is truly positive for a class when any of its slices is, unknown when none is and any is unknown, and else
negative. Slices that nobody predicted count for the truth too: a lesion that a filter took away is one that is missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.evaluate.detection_tables import ANY_CLASS, DetectionTables
from scanline.evaluate.inputs import Bools, Codes, Floats, check_lengths, refuse


@dataclass(frozen=True)
class Volumes:
    """The volumes of one subset.

    Attributes:
        ids: Volume ids in the order of their first slice, shape (volumes,), str.
        patients: Patient of each, None where unknown, shape (volumes,), object.
        rows: The classes, then ANY_CLASS where there are several.
        truth: 1, 0, or NaN for unknown, shape (volumes, rows).
        score: From 0 to 1, shape (volumes, rows).
        slices: Slices that were predicted, shape (volumes,).
        volume: Volume of each image of the detection tables, -1 for none, shape (images,).
        known: Whether the class is known on every slice, shape (volumes, rows).
    """

    ids: NDArray[np.object_]
    patients: NDArray[np.object_]
    rows: tuple[str, ...]
    truth: Floats
    score: Floats
    slices: Codes
    volume: Codes
    known: Bools

    @property
    def images_left_out(self) -> int:
        """Predicted images that belong to no volume."""
        return int((self.volume < 0).sum())

    @property
    def clustered_by(self) -> str:
        """What the intervals are clustered by: volume_id where no patient is known, else patient_id."""
        return "patient_id" if any(patient is not None for patient in self.patients) else "volume_id"


def score_volumes(slice_scores: Floats, volume: Codes, count: int, top_k: int = 1) -> Floats:
    """The mean of each volume's `top_k` highest slice scores; 1 gives the maximum.

    Args:
        slice_scores: From 0 to 1, 0 for a slice without detection; shape (slices,) or (slices, rows).
        volume: Volume of each slice, from 0 on, -1 for none; shape (slices,).
        count: Number of volumes, each with at least one slice.
        top_k: Slices to take; all of a volume that has fewer.

    Returns:
        Shape (count,) or (count, rows).

    Raises:
        InputError: If the lengths differ, top_k is below 1, or a volume has no slice.

    Examples:
        >>> scores, volume = np.array([0.9, 0.3, 0.6, 0.0]), np.array([0, 0, 0, 1])
        >>> score_volumes(scores, volume, 2)
        array([0.9, 0. ])
        >>> score_volumes(scores, volume, 2, top_k=2)
        array([0.75, 0.  ])
    """
    check_lengths(slice_scores=slice_scores, volume=volume)
    if top_k < 1:
        refuse("top_k", str(top_k), "at least 1 slice")
    columns = slice_scores[:, None] if slice_scores.ndim == 1 else slice_scores
    inside = np.flatnonzero(volume >= 0)
    sizes = np.bincount(volume[inside], minlength=count)
    if (sizes == 0).any():
        refuse("volumes", f"volume {int(np.flatnonzero(sizes == 0)[0])} without a slice", "a slice in each")
    first = np.cumsum(sizes) - sizes
    found = np.empty((count, columns.shape[1]))
    for index, column in enumerate(columns.T):
        order = inside[np.lexsort((-column[inside], volume[inside]))]
        rank = np.arange(len(order)) - first[volume[order]]
        taken = np.where(rank < top_k, column[order], 0.0)
        found[:, index] = np.bincount(volume[order], weights=taken, minlength=count) / np.minimum(sizes, top_k)
    return found[:, 0] if slice_scores.ndim == 1 else found


def truth_of_volumes(labels: Floats, volume: Codes, count: int) -> Floats:
    """Truth of each volume from its slices.

    Args:
        labels: 1, 0, or NaN for unknown, shape (slices, rows).
        volume: Volume of each slice, from 0 on, -1 for none; shape (slices,).
        count: Number of volumes.

    Returns:
        1 where any slice is positive, else NaN where any is unknown, else 0; shape (count, rows).

    Examples:
        >>> labels = np.array([[1.0], [np.nan], [0.0], [np.nan], [0.0]])
        >>> truth_of_volumes(labels, np.array([0, 0, 1, 1, 2]), 3).ravel()
        array([ 1., nan,  0.])
    """
    positive, unknown = (_any_slice(of, volume, count) for of in (labels == 1, np.isnan(labels)))
    return np.where(positive, 1.0, np.where(unknown, np.nan, 0.0))


def _any_slice(values: Bools, volume: Codes, count: int) -> Bools:
    """Whether a value holds on any slice of each volume: shape (slices, rows) to (count, rows)."""
    inside = np.flatnonzero(volume >= 0)
    found = np.zeros((count, values.shape[1]), dtype=bool)
    np.logical_or.at(found, volume[inside], values[inside])
    return found


def gather_volumes(
    tables: DetectionTables, images: pd.DataFrame, labels: pd.DataFrame, column: str, top_k: int = 1
) -> Volumes | None:
    """The volumes that the predicted images of a subset belong to.

    Args:
        tables: The checked tables of the subset.
        images: Images table with all slices of these volumes, predicted or not: image_id, patient_id and `column`.
        labels: Labels table: image_id and one nullable boolean a class, for all of these images.
        column: What names the volume: volume_id, or patient_id.
        top_k: As for `score_volumes`.

    Returns:
        None where no predicted image belongs to a volume.

    Examples:
        >>> from scanline.evaluate.detection_tables import check_detection_tables
        >>> truth = pd.DataFrame({"image_id": ["a1"], "label": "tear", "x": 1, "y": 1, "width": 8, "height": 8})
        >>> found = truth.assign(score=0.7)
        >>> images = pd.DataFrame({"image_id": ["a1", "a2", "b1"], "patient_id": ["p", "p", "q"]})
        >>> images["volume_id"] = ["a", "a", "b"]
        >>> labels = pd.DataFrame({"image_id": ["a1", "a2", "b1"], "tear": [True, False, False]})
        >>> tables = check_detection_tables(truth, found, images, ["tear"], labels)
        >>> volumes = gather_volumes(tables, images, labels, "volume_id")
        >>> volumes.ids.tolist(), volumes.truth[:, 0].tolist(), volumes.score[:, 0].tolist()
        (['a', 'b'], [1.0, 0.0], [0.7, 0.0])
    """
    names = images.set_index("image_id")[column].reindex(list(tables.images))
    volume, ids = pd.factorize(names.astype(object).where(names.notna(), None).to_numpy(dtype=object))
    if not len(ids):
        return None
    volume = volume.astype(np.intp)
    members = images.loc[images[column].isin(ids)]
    owner = pd.Index(ids).get_indexer(members[column]).astype(np.intp)
    of_classes = _labels_of(labels, members["image_id"], tables.classes)
    truth = truth_of_volumes(_with_any(of_classes), owner, len(ids))
    known = ~_any_slice(np.isnan(of_classes), owner, len(ids))
    if known.shape[1] > 1:
        known = np.column_stack([known, known.all(axis=1)])
    patients = members.drop_duplicates(column).set_index(column, drop=False)["patient_id"].reindex(ids)
    rows = (*tables.classes, ANY_CLASS) if len(tables.classes) > 1 else tables.classes
    return Volumes(
        ids=np.asarray(ids, dtype=object),
        patients=patients.astype(object).where(patients.notna(), None).to_numpy(dtype=object),
        rows=rows,
        truth=truth,
        score=score_volumes(_scores_of_slices(tables), volume, len(ids), top_k),
        slices=np.bincount(volume[volume >= 0], minlength=len(ids)),
        volume=volume,
        known=known,
    )


def _labels_of(labels: pd.DataFrame, image_ids: "pd.Series[str]", classes: Sequence[str]) -> Floats:
    rows = labels.set_index("image_id")[list(classes)].reindex(image_ids)
    values: Floats = rows.astype("boolean").to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def _with_any(labels: Floats) -> Floats:
    """Add a column for any class where there are several; shape (slices, classes) to (slices, rows)."""
    if labels.shape[1] == 1:
        return labels
    positive, unknown = (labels == 1).any(axis=1), np.isnan(labels).any(axis=1)
    return np.column_stack([labels, np.where(positive, 1.0, np.where(unknown, np.nan, 0.0))])


def _scores_of_slices(tables: DetectionTables) -> Floats:
    """The best score of each class on each image, 0 without a detection; shape (images, rows)."""
    detected, classes = tables.detected, len(tables.classes)
    scores = np.zeros((len(tables.images), classes))
    np.maximum.at(scores, (detected.image, detected.label), detected.score)
    return scores if classes == 1 else np.column_stack([scores, scores.max(axis=1)])
