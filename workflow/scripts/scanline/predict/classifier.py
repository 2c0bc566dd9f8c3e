"""Scores and class activation maps of a trained image-level network."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from scanline.core.log import progress
from scanline.predict.grad_cam import last_feature_map, scores_with_cam
from scanline.prepare.samples import Samples
from scanline.train.batches import gather, normalise
from scanline.train.torchvision_classifier import ClassifierSpec, load_classifier

SCORED_SUBSETS = ("val", "test", "external")


def predict_samples(
    model_path: Path, samples: dict[str, Samples], device: torch.device, batch_size: int = 64
) -> tuple[pd.DataFrame, NDArray[np.float16]]:
    """Score val, test and external, in float32.

    Returns:
        Table with image_id, subset, truth (bool) and probability (float64); Grad-CAM maps of the same images in
        the same order, shape (n, h, w), float16, with n = 0 where the network has no convolutional map.
    """
    spec, model = load_classifier(model_path, device)
    tables, maps = [], []
    for subset in SCORED_SUBSETS:
        if subset not in samples:
            continue
        probability, cams = predict_subset(spec, model, samples[subset], device, batch_size)
        tables.append(
            pd.DataFrame(
                {
                    "image_id": samples[subset].image_ids,
                    "subset": subset,
                    "truth": samples[subset].truth > 0.5,
                    "probability": probability,
                }
            )
        )
        maps.append(cams)
    return pd.concat(tables, ignore_index=True), np.concatenate(maps)


def predict_subset(
    spec: ClassifierSpec, model: nn.Module, samples: Samples, device: torch.device, batch_size: int
) -> tuple[NDArray[np.float64], NDArray[np.float16]]:
    """Probabilities, shape (n,), and maps, shape (n, h, w), of one subset."""
    model.requires_grad_(False)
    example = torch.zeros(1, spec.channels, spec.image_size_px, spec.image_size_px, device=device)
    layer = last_feature_map(model, example)
    probabilities, maps = [], []
    for positions in progress(torch.arange(len(samples)).split(batch_size), unit="batch"):
        images, _ = gather(samples, positions, device)
        logits, cams = scores_with_cam(model, layer, normalise(images, spec.mean, spec.std))
        probabilities.append(torch.sigmoid(logits[:, 0].double()).cpu().numpy())
        if cams is not None:
            maps.append(cams.cpu().numpy().astype(np.float16))
    empty = np.empty((0, 1, 1), np.float16)
    return np.concatenate(probabilities), np.concatenate(maps) if maps else empty
