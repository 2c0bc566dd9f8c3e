"""Scores and class activation maps of a trained image-level network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from scanline.core.errors import InputError
from scanline.core.files import written_aside
from scanline.core.log import progress
from scanline.predict.grad_cam import last_feature_map, scores_with_cams
from scanline.predict.options import SCORED_SUBSETS
from scanline.prepare.samples import Samples
from scanline.train.batches import gather, normalise
from scanline.train.torchvision_classifier import ClassifierSpec, load_classifier


def predict_samples(
    model_path: Path,
    samples: dict[str, Samples],
    target: str | Sequence[str],
    device: torch.device,
    batch_size: int = 64,
) -> tuple[pd.DataFrame, NDArray[np.float16]]:
    """Score val, test and external, in float32.

    Args:
        model_path: A trained model.pt.
        samples: From `load_samples`, of this target.
        target: The model's class, or its labels in its order.
        device: Where to compute.
        batch_size: Images at once.

    Returns:
        Of a model of one class: a table with image_id, subset, truth (bool) and probability (float64), and Grad-CAM
        maps of the same images in the same order, shape (n, h, w), float16. Of several labels: image_id, subset and
        for each label probability_<label> (float64) and truth_<label> (boolean, null where unknown), and maps of
        shape (n, labels, h, w). Of classes that exclude another: image_id, subset, truth (the name of the class) and
        probability_<class>, which sum to 1, and maps likewise. n is 0 where the network has no convolutional map.

    Raises:
        InputError: If the model cannot be read, or predicts other classes.
    """
    spec, model = load_classifier(model_path, device)
    wanted = (target,) if isinstance(target, str) else tuple(target)
    if spec.classes != wanted:
        raise InputError(
            model_path,
            found=f"a model of {', '.join(spec.classes)}",
            expected=f"a model of {', '.join(wanted)}",
            next_step=f"Delete {model_path} and run the same command again.",
        )
    tables, maps = [], []
    for subset in SCORED_SUBSETS:
        if subset not in samples:
            continue
        probability, cams = predict_subset(spec, model, samples[subset], device, batch_size)
        tables.append(_table(subset, samples[subset], probability, spec))
        maps.append(cams if len(spec.classes) > 1 else cams[:, 0])
    return pd.concat(tables, ignore_index=True), np.concatenate(maps)


def _table(subset: str, samples: Samples, probability: NDArray[np.float64], spec: ClassifierSpec) -> pd.DataFrame:
    classes = spec.classes
    columns: dict[str, object] = {"image_id": samples.image_ids, "subset": subset}
    if spec.output == "softmax":
        columns["truth"] = np.array(classes, dtype=object)[samples.truth.argmax(axis=1)]
        columns |= {f"probability_{name}": probability[:, column] for column, name in enumerate(classes)}
        return pd.DataFrame(columns).astype({"truth": "str"})
    if len(classes) == 1:
        columns |= {"truth": samples.truth[:, 0] > 0.5, "probability": probability[:, 0]}
        return pd.DataFrame(columns)
    for column, label in enumerate(classes):
        truth = samples.truth[:, column]
        columns[f"probability_{label}"] = probability[:, column]
        columns[f"truth_{label}"] = pd.arrays.BooleanArray(truth == 1, np.isnan(truth))
    return pd.DataFrame(columns)


def predict_subset(
    spec: ClassifierSpec, model: nn.Module, samples: Samples, device: torch.device, batch_size: int
) -> tuple[NDArray[np.float64], NDArray[np.float16]]:
    """Probabilities, shape (n, classes), and maps, shape (n, classes, h, w), of one subset."""
    model.requires_grad_(False)
    example = torch.zeros(1, spec.channels, spec.image_size_px, spec.image_size_px, device=device)
    layer = last_feature_map(model, example)
    probabilities, maps = [], []
    for positions in progress(torch.arange(len(samples)).split(batch_size), unit="batch"):
        images, _ = gather(samples, positions, device)
        probability, cams = score_images(spec, model, layer, images)
        probabilities.append(probability)
        if cams is not None:
            maps.append(cams)
    empty = np.empty((0, len(spec.classes), 1, 1), np.float16)
    return np.concatenate(probabilities), np.concatenate(maps) if maps else empty


def score_images(
    spec: ClassifierSpec, model: nn.Module, layer: nn.Module | None, images: torch.Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float16] | None]:
    """Probabilities and maps of a batch.

    Args:
        spec: Of the network.
        model: In evaluation mode, its weights without gradients.
        layer: From `last_feature_map`; None gives no maps.
        images: Shape (b, 1, size, size), uint8, on the model's device.

    Returns:
        Shape (b, classes); shape (b, classes, h, w), or None.
    """
    inputs = normalise(images, spec.mean, spec.std)
    logits, cams = scores_with_cams(model, layer, inputs, range(len(spec.classes)))
    exact = logits.double()
    probability = (exact.softmax(dim=1) if spec.output == "softmax" else exact.sigmoid()).cpu().numpy()
    return probability, None if cams is None else cams.cpu().numpy().astype(np.float16)


def write_maps(image_ids: Sequence[str], cams: NDArray[np.float16], target: str | Sequence[str], path: Path) -> None:
    """Write the maps as .npz with the arrays image_id and cam, and for several labels also label, the second axis.

    Args:
        image_ids: Of all scored images.
        cams: Maps of the same images, or none; shape (n, h, w), or (n, labels, h, w) for several labels.
        target: The class, or the labels.
        path: File to write.
    """
    arrays: dict[str, Any] = {"image_id": np.array(image_ids, dtype=str)[: len(cams)], "cam": cams}
    if not isinstance(target, str):
        arrays["label"] = np.array(target, dtype=str)
    with written_aside(path) as aside:
        np.savez_compressed(aside, **arrays)
