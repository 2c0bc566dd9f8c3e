"""One image through a trained model, from file to class, probability and picture."""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scanline.core.errors import InputError
from scanline.core.files import read_json, written_aside
from scanline.predict.grad_cam import last_feature_map, scores_with_cam
from scanline.prepare.pixels import load_pixels
from scanline.train.batches import normalise
from scanline.train.torchvision_classifier import load_classifier


def predict_image(image_path: Path, model_path: Path, operating_point: Path | None, picture: Path) -> str:
    """Predict one image on the CPU and write its Grad-CAM beside it.

    Args:
        image_path: An image that any study's adapter would accept.
        model_path: A trained model.pt.
        operating_point: The temperature and threshold that were frozen on val; None takes 1 and 0.5.
        picture: PNG to write, twice as wide as high: the image, and the image with the map over it. An existing
            file is not overwritten.

    Returns:
        One line of JSON: image, class, positive, probability, threshold, grad_cam (null without a map).

    Raises:
        InputError: If the image or the model cannot be read, or the picture exists.
    """
    if picture.exists():
        raise InputError(
            picture,
            found="a file",
            expected="nothing there yet",
            next_step="Name another file with --grad-cam.",
        )
    spec, model = load_classifier(model_path, torch.device("cpu"))
    model.requires_grad_(False)
    pixels = load_pixels(image_path, spec.image_size_px)
    inputs = normalise(torch.from_numpy(pixels.copy())[None, None], spec.mean, spec.std)
    logits, cams = scores_with_cam(model, last_feature_map(model, inputs), inputs)
    frozen = {} if operating_point is None else read_json(operating_point)
    threshold, temperature = float(frozen.get("threshold", 0.5)), float(frozen.get("temperature") or 1)
    probability = float(torch.sigmoid(logits[0, 0].double() / temperature))
    if cams is not None:
        with written_aside(picture) as aside:
            Image.fromarray(overlay(pixels, cams[0].numpy())).save(aside)
    answer = {
        "image": str(image_path),
        "class": spec.classes[0],
        "positive": probability >= threshold,
        "probability": round(probability, 6),
        "threshold": threshold,
        "grad_cam": None if cams is None else str(picture),
    }
    return json.dumps(answer)


def overlay(pixels: NDArray[np.uint8], cam: NDArray[np.float32], display_px: int = 448) -> NDArray[np.uint8]:
    """The image, and beside it the image with the map in orange over it.

    Args:
        pixels: Grey image (h, w), uint8.
        cam: Map (a, b) in [0, 1].
        display_px: Height of the picture.

    Returns:
        Shape (display_px, 2 * display_px, 3), uint8.
    """
    size = (display_px, display_px)
    grey = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    map_ = np.asarray(Image.fromarray((cam * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC))
    opacity = 0.6 * (map_.astype(np.float32) / 255)[..., None]
    plain = np.repeat(grey[..., None], 3, axis=2)
    orange = np.array([230, 159, 0], dtype=np.float32)  # Okabe and Ito's palette
    return np.concatenate([plain, plain * (1 - opacity) + orange * opacity], axis=1).astype(np.uint8)
