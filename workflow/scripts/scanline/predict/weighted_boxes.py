"""Weighted boxes fusion: the boxes of several models, or of several views of an image, become one set.

Solovyev, Wang & Gabruseva, Weighted boxes fusion: ensembling boxes from different object detection models, Image and
Vision Computing 107 (2021) 104117, section 3. Boxes are taken by falling score; each joins the fused box of its class
that it overlaps most, if by more than a threshold, and else begins one. A fused box lies at the mean of its boxes'
corners, weighted by their scores.

The package ensemble-boxes, by the paper's first author, is what the tests compare with. It is not used itself: it sorts
boxes of equal score in no fixed order, wants coordinates in shares of the image and computes them in single precision,
prints, and ends the process on wrong input.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scanline.predict.ensemble_options import BoxFusion, Confidence


@dataclass(frozen=True)
class ScoredBoxes:
    """Boxes on one image.

    Attributes:
        corners: Shape (k, 4), float64: xmin, ymin, xmax, ymax, in any unit.
        classes: Shape (k,), int64.
        scores: Shape (k,), float64, positive.
    """

    corners: NDArray[np.float64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)


def fuse_boxes(found: Sequence[ScoredBoxes], weights: Sequence[float], options: BoxFusion) -> ScoredBoxes:
    """Fuse what several models found on one image.

    Args:
        found: Of each model; in the same unit.
        weights: Of each model, positive; their boxes' scores are multiplied by them.
        options: Threshold of overlap, lowest score, score of a fused box.

    Returns:
        Fused boxes by falling score; of equal scores, those of a smaller class first, then those whose best box came
        first.
    """
    together = np.asarray(weights, dtype=np.float64)
    corners = np.concatenate([boxes.corners.reshape(-1, 4) for boxes in found])
    classes = np.concatenate([boxes.classes for boxes in found])
    model = np.repeat(np.arange(len(found)), [len(boxes) for boxes in found])
    scores = np.concatenate([boxes.scores for boxes in found])
    sides = corners[:, 2:] - corners[:, :2]
    taken = np.flatnonzero((scores >= options.skip_box_score) & (scores > 0) & (sides > 0).all(axis=1))
    taken = taken[np.argsort(-(scores * together[model])[taken], kind="stable")]
    parts = []
    for number in np.unique(classes[taken]):
        own = taken[classes[taken] == number]
        fused, strength = _fuse_class(corners[own], scores[own], model[own], together, options)
        parts.append((fused, np.full(len(fused), number), strength))
    if not parts:
        return ScoredBoxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(-joined[2], kind="stable")
    return ScoredBoxes(joined[0][order], joined[1][order].astype(np.int64), joined[2][order])


def _fuse_class(
    corners: NDArray[np.float64],
    scores: NDArray[np.float64],
    model: NDArray[np.int64],
    weights: NDArray[np.float64],
    options: BoxFusion,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fused corners and scores of the boxes of one class, which come by falling weighted score."""
    strength = scores * weights[model]
    fused = np.empty_like(corners)
    total = np.zeros(len(corners))
    sums = np.zeros_like(corners)
    members: list[list[int]] = []
    for place, box in enumerate(corners):
        overlap = overlap_with(fused[: len(members)], box)
        best = int(overlap.argmax()) if len(overlap) else -1
        if best < 0 or overlap[best] <= options.iou_threshold:
            best = len(members)
            members.append([])
        members[best].append(place)
        sums[best] += strength[place] * box
        total[best] += strength[place]
        fused[best] = box if len(members[best]) == 1 else sums[best] / total[best]
    confidences = [_confidence(strength[own], model[own], weights, options.confidence) for own in members]
    return fused[: len(members)], np.array(confidences)


def overlap_with(boxes: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes (k, 4) with one box (4,), all of positive area: shape (k,)."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    common = sides.clip(min=0).prod(axis=1)
    return np.asarray(common / ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - common))


def _confidence(
    strength: NDArray[np.float64], model: NDArray[np.int64], weights: NDArray[np.float64], how: Confidence
) -> float:
    """The score of a fused box.

    Args:
        strength: Scores of its boxes times their models' weights, shape (k,).
        model: Of each box, shape (k,).
        weights: Of all models.
        how: See `BoxFusion`; "average" is equation (5) of the paper.
    """
    if how == "maximum":
        return float(strength.max() / weights.max())
    if how == "average":
        return float(strength.mean() * min(len(strength), len(weights)) / weights.sum())
    there = np.unique(model)
    if how == "box_and_model_average":
        return float(strength.sum() / weights[model].sum() * weights[there].sum() / weights.sum())
    return float(strength.sum() / (weights[model].sum() + np.delete(weights, there).sum()))
