"""A detector of any family with test-time augmentation."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from scanline.predict.test_time_augmentation import require_sizes, views_of
from scanline.predict.test_time_augmentation_options import TtaOptions
from scanline.predict.weighted_boxes import ScoredBoxes, fuse_boxes
from scanline.train.detection import MAX_DETECTIONS, MIN_SCORE, Detections, Detector


class AugmentedDetector:
    """A detector with test-time augmentation: called as it is, see `scanline.train.detection.Detector`."""

    def __init__(self, detector: Detector, options: TtaOptions, size: int) -> None:
        self.detector, self.options, self.size = detector, options, size
        self.views = views_of(options, size)
        require_sizes(self.views, size, lambda images: detector(images[:, 0].numpy()))

    def __call__(self, images: NDArray[np.uint8]) -> list[Detections]:
        """Find boxes on images of shape (b, size, size), uint8, in all views, and fuse them."""
        batch = torch.from_numpy(np.ascontiguousarray(images)).unsqueeze(1)
        found = [self.detector(np.ascontiguousarray(view.show(batch)[:, 0].numpy())) for view in self.views]
        return [self._fuse([of_view[place] for of_view in found]) for place in range(len(images))]

    def _fuse(self, found: Sequence[Detections]) -> Detections:
        boxes = [
            ScoredBoxes(view.turn_boxes_back(one.boxes, self.size), one.classes, one.scores.astype(np.float64))
            for view, one in zip(self.views, found, strict=True)
        ]
        fused = fuse_boxes(boxes, [1.0] * len(boxes), self.options.weighted_boxes_fusion)
        kept = np.flatnonzero(fused.scores >= MIN_SCORE)[:MAX_DETECTIONS]
        corners = fused.corners[kept].clip(0, self.size).astype(np.float32)
        return Detections(corners, fused.classes[kept], fused.scores[kept].astype(np.float32))
