"""A detector of any family on single images: the boxes that reach the threshold, in pixels of the image."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from scanline.predict.detector import boxes_in_original, load_detector
from scanline.predict.image_models import Answer
from scanline.predict.pictures import draw_boxes, shown
from scanline.predict.rules import Rule, threshold_of
from scanline.train.boxes import corners_from_xywh

NO_BOX = dict.fromkeys(("class", "confidence", "xmin", "ymin", "xmax", "ymax"))


class ImageDetector:
    """See `image_models.ImageModel`."""

    def __init__(self, path: Path, rules: Mapping[str, Rule], device: torch.device) -> None:
        self.spec, self.detector = load_detector(path, device)
        self.threshold = threshold_of(rules[self.spec.classes[0]])  # one score for all classes
        self.size_px = self.spec.image_size_px

    def __call__(self, resized: NDArray[np.uint8], originals: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """Boxes by falling confidence, and whether there is any."""
        found = self.detector(resized)
        return [
            self._answer(boxes_in_original(one, self.size_px, (grey.shape[1], grey.shape[0]), self.spec.classes), grey)
            for one, grey in zip(found, originals, strict=True)
        ]

    def _answer(self, found: pd.DataFrame, grey: NDArray[np.uint8]) -> Answer:
        called = found[found["score"] >= self.threshold]
        corners = corners_from_xywh(called[["x", "y", "width", "height"]].to_numpy())
        labels, scores = called["label"].tolist(), called["score"].tolist()
        boxes = [
            {"class": label, "confidence": score, "xmin": x0, "ymin": y0, "xmax": x1, "ymax": y1}
            for label, score, (x0, y0, x1, y1) in zip(labels, scores, corners.tolist(), strict=True)
        ]
        words = [f"{shown(label)} {score:.2f}" for label, score in zip(labels, scores, strict=True)]
        numbers = [self.spec.classes.index(label) for label in labels]
        row = {
            "predicted": bool(boxes),
            "max_confidence": float(found["score"].iloc[0]) if len(found) else None,
            "threshold": self.threshold,
        }
        return Answer(
            tables={"detections": list(boxes) or [dict(NO_BOX)], "image_level": [row]},
            positive=tuple(name for name in self.spec.classes if name in labels),
            pictures={"boxes": draw_boxes(grey, corners, words, numbers)},
            told={"positive": bool(boxes), "threshold": self.threshold, "detections": boxes},
        )


def open_model(path: Path, rules: Mapping[str, Rule], device: torch.device) -> ImageDetector:
    """Load a detector's model.pt."""
    return ImageDetector(path, rules, device)
