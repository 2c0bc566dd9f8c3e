"""One image through a trained model, from file to classes, probabilities and picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from scanline.core.errors import InputError
from scanline.core.files import read_json, written_aside
from scanline.predict.grad_cam import last_feature_map, scores_with_cams
from scanline.prepare.pixels import load_pixels
from scanline.train.batches import normalise
from scanline.train.torchvision_classifier import load_classifier

MAP_COLOUR = (230, 159, 0)  # orange of Okabe and Ito's palette
NAME_PX = 20  # height of a label's name on its map


def predict_image(image_path: Path, model_path: Path, operating_point: Path | None, picture: Path) -> str:
    """Predict one image on the CPU and write its Grad-CAM beside it.

    Args:
        image_path: An image that any study's adapter would accept.
        model_path: A trained model.pt, of one class or of several labels.
        operating_point: The temperatures and thresholds that were frozen on val; None takes 1 and 0.5.
        picture: PNG to write: the image, and beside it the image with the map over it, one for each label. An
            existing file is not overwritten.

    Returns:
        One line of JSON: image, class, positive, probability, threshold, grad_cam (null without a map); of several
        labels image, labels (to each its positive, probability and threshold) and grad_cam.

    Raises:
        InputError: If the image, the model or the operating point cannot be read, if the operating point is another
            model's, or if the picture exists.
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
    points = _read_points(operating_point, spec.classes)
    pixels = load_pixels(image_path, spec.image_size_px)
    inputs = normalise(torch.from_numpy(pixels.copy())[None, None], spec.mean, spec.std)
    logits, cams = scores_with_cams(model, last_feature_map(model, inputs), inputs, range(len(spec.classes)))
    findings = [_judge(float(logit), point) for logit, point in zip(logits[0].double(), points, strict=True)]
    if cams is not None:
        names = spec.classes if len(spec.classes) > 1 else ("",)
        with written_aside(picture) as aside:
            Image.fromarray(overlay(pixels, cams[0].numpy(), names)).save(aside)
    shown: dict[str, Any] = {"class": spec.classes[0], **findings[0]}
    if len(spec.classes) > 1:
        shown = {"labels": dict(zip(spec.classes, findings, strict=True))}
    return json.dumps({"image": str(image_path), **shown, "grad_cam": None if cams is None else str(picture)})


def _read_points(path: Path | None, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The frozen record of each class: operating_point.json holds one, or one a label under `labels`."""
    if path is None:
        return [{}] * len(classes)
    frozen = read_json(path)
    of_labels = frozen.get("labels")
    if set(of_labels or ()) != (set(classes) if len(classes) > 1 else set()):
        raise InputError(
            path,
            found=f"thresholds of {', '.join(of_labels or ()) or 'one class'}",
            expected=f"those of {', '.join(classes)}",
            next_step="Give the operating_point.json of this model.",
        )
    return [of_labels[name] for name in classes] if of_labels else [frozen]


def _judge(logit: float, point: dict[str, Any]) -> dict[str, Any]:
    threshold, temperature = float(point.get("threshold", 0.5)), float(point.get("temperature") or 1)
    probability = float(torch.sigmoid(torch.tensor(logit / temperature, dtype=torch.float64)))
    return {"positive": probability >= threshold, "probability": round(probability, 6), "threshold": threshold}


def overlay(
    pixels: NDArray[np.uint8], cams: NDArray[np.float32], names: Sequence[str], display_px: int = 448
) -> NDArray[np.uint8]:
    """The image, and beside it the image with each map in orange over it, in rows of at most four pictures.

    Args:
        pixels: Grey image (h, w), uint8.
        cams: Maps (labels, a, b) in [0, 1].
        names: Written on the maps, one each; an empty one writes nothing.
        display_px: Height of a picture.

    Returns:
        Shape (rows * display_px, columns * display_px, 3), uint8; a place without a picture is black.
    """
    size = (display_px, display_px)
    grey = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    plain = np.repeat(grey[..., None], 3, axis=2)
    pictures = [plain.astype(np.uint8)]
    for cam, name in zip(cams, names, strict=True):
        map_ = np.asarray(Image.fromarray((cam * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC))
        opacity = 0.6 * (map_.astype(np.float32) / 255)[..., None]
        shown = (plain * (1 - opacity) + np.array(MAP_COLOUR, dtype=np.float32) * opacity).astype(np.uint8)
        pictures.append(_named(shown, name) if name else shown)
    columns = min(4, len(pictures))
    black = [np.zeros_like(pictures[0])] * (-len(pictures) % columns)
    cells = [*pictures, *black]
    rows = [np.concatenate(cells[start : start + columns], axis=1) for start in range(0, len(cells), columns)]
    return np.concatenate(rows)


def _named(picture: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """The picture with a name in its upper left corner."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    draw.text((6, 4), name.replace("_", " "), fill="white", font_size=NAME_PX, stroke_width=2, stroke_fill="black")
    return np.asarray(image)
