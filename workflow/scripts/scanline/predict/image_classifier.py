"""A classifier of one class, several labels or several classes on single images: probabilities, calls, Grad-CAM."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scanline.predict.classifier import score_images
from scanline.predict.grad_cam import last_feature_map
from scanline.predict.image_models import Answer
from scanline.predict.pictures import draw_maps
from scanline.predict.rules import Rule, threshold_of
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
        exclusive = self.spec.output == "softmax"
        if exclusive:
            probability = self.rules[self.spec.classes[0]].calibrate(raw)
        else:
            columns = [self.rules[name].calibrate(raw[:, place]) for place, name in enumerate(self.spec.classes)]
            probability = np.stack(columns, axis=1)
        answer = self._class_of if exclusive else self._answer
        return [
            answer(row, None if cams is None else cams[place], grey)
            for place, (row, grey) in enumerate(zip(probability, originals, strict=True))
        ]

    def _class_of(
        self, probability: NDArray[np.float64], cams: NDArray[np.float16] | None, grey: NDArray[np.uint8]
    ) -> Answer:
        classes = self.spec.classes
        found = classes[int(probability.argmax())]
        each = {name: float(value) for name, value in zip(classes, probability, strict=True)}
        row = {"class": found, "probability": each[found]}
        row |= {f"probability_{name}": value for name, value in each.items()}
        pictures = {} if cams is None else {"grad_cam": draw_maps(grey, cams.astype(np.float32), classes)}
        told = {"class": found, "probabilities": each}
        return Answer(tables={"per_image": [row]}, positive=(found,), pictures=pictures, told=told)

    def _answer(
        self, probability: NDArray[np.float64], cams: NDArray[np.float16] | None, grey: NDArray[np.uint8]
    ) -> Answer:
        classes, is_single = self.spec.classes, len(self.spec.classes) == 1
        called = {}
        for name, value in zip(classes, probability, strict=True):
            threshold = threshold_of(self.rules[name])
            called[name] = {"positive": bool(value >= threshold), "probability": float(value), "threshold": threshold}
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
