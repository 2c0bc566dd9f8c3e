"""A segmentation network on single images: the mask at the image's own size."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scanline.predict.image_models import Answer
from scanline.predict.pictures import draw_mask
from scanline.predict.probability_maps import LEVELS
from scanline.predict.rules import Rule
from scanline.predict.segmenter import map_images
from scanline.train.segmentation_networks import load_segmenter


class ImageSegmenter:
    """See `image_models.ImageModel`."""

    def __init__(self, path: Path, rules: Mapping[str, Rule], device: torch.device) -> None:
        self.spec, self.model = load_segmenter(path, device)
        self.rule, self.device = rules[self.spec.target], device
        self.size_px = self.spec.image_size_px

    def __call__(self, resized: NDArray[np.uint8], originals: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """Masks, and whether they hold as many pixels as the rule asks for at the network's size."""
        maps = map_images(self.spec, self.model, torch.from_numpy(resized).unsqueeze(1).to(self.device))
        return [self._answer(map_, grey) for map_, grey in zip(maps, originals, strict=True)]

    def _answer(self, map_: NDArray[np.uint8], grey: NDArray[np.uint8]) -> Answer:
        assert self.rule.mask is not None
        predicted = self.rule.mask(map_)
        mask = enlarge_mask(predicted, grey.shape[1], grey.shape[0])
        positive = bool(np.count_nonzero(predicted) >= self.rule.min_predicted_pixels)
        row = {
            "class": self.spec.target,
            "positive": positive,
            "predicted_pixels": int(np.count_nonzero(mask)),
            "area_share": float(np.count_nonzero(mask) / mask.size),
            "probability": float(map_.max()) / LEVELS,
            "threshold": self.rule.threshold,
            "width": grey.shape[1],
            "height": grey.shape[0],
            "predicted_pixels_of_network": int(np.count_nonzero(predicted)),
        }
        return Answer(
            tables={"per_image": [row]},
            positive=(self.spec.target,) if positive else (),
            pictures={"overlay": draw_mask(grey, mask), "mask": mask.astype(np.uint8) * 255},
            told=row,
        )


def enlarge_mask(mask: NDArray[np.bool_], width: int, height: int) -> NDArray[np.bool_]:
    """The mask of a network at the size of the original image: each pixel is as that in which its centre lies.

    Nothing is smoothed: it stays the mask that the threshold was fitted for and that evaluation measures.

    Args:
        mask: Shape (size, size).
        width: Of the original, in pixels.
        height: Of the original, in pixels.

    Returns:
        Shape (height, width).
    """
    rows, columns = (
        (2 * np.arange(side) + 1) * of // (2 * side) for side, of in zip((height, width), mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]


def open_model(path: Path, rules: Mapping[str, Rule], device: torch.device) -> ImageSegmenter:
    """Load a segmentation network's model.pt."""
    return ImageSegmenter(path, rules, device)
