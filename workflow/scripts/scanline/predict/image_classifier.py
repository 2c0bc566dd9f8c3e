"""A classifier of one class or several labels on single images: probabilities, calls, Grad-CAM."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scanline.predict.classifier import score_images
from scanline.predict.grad_cam import last_feature_map
from scanline.predict.image_models import Answer
from scanline.predict.pictures import draw_maps
from scanline.predict.rules import Rule
from scanline.train.torchvision_classifier import load_classifier


class ImageClassifier:
    """See `image_models.ImageModel`."""

    def __init__(self, path: Path, rules: Mapping[str, Rule], device: torch.device) -> None:
        self.spec, self.model = load_classifier(path, device)
        self.model.requires_grad_(False)
        self.rules, self.device = rules, device
        self.size_px = self.spec.image_size_px
        example = torch.zeros(1, self.spec.channels, self.size_px, self.size_px, device=device)
        self.layer = last_feature_map(self.model, example)

    def __call__(self, resized: NDArray[np.uint8], originals: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """Probabilities, calibrated; a picture of the evidence where the network has a map."""
        images = torch.from_numpy(resized).unsqueeze(1).to(self.device)
        raw, cams = score_images(self.spec, self.model, self.layer, images)
        columns = [self.rules[name].calibrate(raw[:, place]) for place, name in enumerate(self.spec.classes)]
        probability = np.stack(columns, axis=1)
        return [
            self._answer(row, None if cams is None else cams[place], grey)
            for place, (row, grey) in enumerate(zip(probability, originals, strict=True))
        ]

    def _answer(
        self, probability: NDArray[np.float64], cams: NDArray[np.float16] | None, grey: NDArray[np.uint8]
    ) -> Answer:
        classes, is_single = self.spec.classes, len(self.spec.classes) == 1
        called = {
            name: {
                "positive": bool(value >= self.rules[name].threshold),
                "probability": float(value),
                "threshold": self.rules[name].threshold,
            }
            for name, value in zip(classes, probability, strict=True)
        }
        if is_single:
            row = {"class": classes[0], **called[classes[0]]}
        else:
            row = {f"{key}_{name}": value for name in classes for key, value in called[name].items()}
        names = ("",) if is_single else classes
        pictures = {} if cams is None else {"grad_cam": draw_maps(grey, cams.astype(np.float32), names)}
        return Answer(
            tables={"per_image": [row]},
            positive=tuple(name for name in classes if called[name]["positive"]),
            pictures=pictures,
            told=row if is_single else {"labels": called},
        )


def open_model(path: Path, rules: Mapping[str, Rule], device: torch.device) -> ImageClassifier:
    """Load a classifier's model.pt."""
    return ImageClassifier(path, rules, device)
