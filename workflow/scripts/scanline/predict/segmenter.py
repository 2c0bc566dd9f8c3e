"""Probability maps of a trained segmentation network."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from scanline.core.log import progress
from scanline.predict.options import SCORED_SUBSETS
from scanline.predict.probability_maps import LEVELS, write_maps
from scanline.prepare.samples import Samples
from scanline.prepare.segmentation_samples import SplitMasks
from scanline.train.batches import gather, normalise
from scanline.train.segmentation_networks import SegmenterSpec, load_segmenter


def predict_maps(
    model_path: Path, samples: SplitMasks, device: torch.device, target: Path, batch_size: int = 16
) -> pd.DataFrame:
    """Write the probability maps of val, test and external, at the size of the cache, in float32 to 8 bits.

    Images of unknown mask are mapped too: evaluation counts them and measures nothing on them.

    Args:
        model_path: A trained model.pt.
        samples: Of the split.
        device: Where to compute.
        target: The archive to write, see `write_maps`.
        batch_size: Images at a time.

    Returns:
        Table of image_id, subset, row (of the archive).
    """
    spec, model = load_segmenter(model_path, device)
    parts = [
        (subset, kind[subset])
        for subset in SCORED_SUBSETS
        for kind in (samples.known, samples.unknown)
        if subset in kind
    ]
    write_maps(target, (one for _, part in parts for one in map_subset(spec, model, part, device, batch_size)))
    table = pd.DataFrame(
        {
            "image_id": pd.Series([name for _, part in parts for name in part.image_ids], dtype="str"),
            "subset": pd.Series([subset for subset, part in parts for _ in range(len(part))], dtype="str"),
        }
    )
    return table.assign(row=np.arange(len(table)))


def map_subset(
    spec: SegmenterSpec, model: nn.Module, samples: Samples, device: torch.device, batch_size: int
) -> Iterator[NDArray[np.uint8]]:
    """The map of each image, shape (size, size), round(255 p)."""
    for positions in progress(torch.arange(len(samples)).split(batch_size), unit="batch"):
        images, _ = gather(samples, positions, device)
        yield from map_images(spec, model, images)


def map_images(spec: SegmenterSpec, model: nn.Module, images: torch.Tensor) -> NDArray[np.uint8]:
    """The maps of a batch (b, 1, size, size), uint8, on the model's device: shape (b, size, size), round(255 p)."""
    with torch.no_grad():
        logits = model(normalise(images, spec.mean, spec.std))
    maps = (torch.sigmoid(logits[:, 0].double()) * LEVELS).round().to(torch.uint8)
    return np.asarray(maps.cpu().numpy())
