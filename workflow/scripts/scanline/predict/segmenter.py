"""Probability maps of a trained segmentation network."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from scanline.core.log import progress
from scanline.predict.options import SCORED_SUBSETS
from scanline.predict.probability_maps import LEVELS, write_maps
from scanline.predict.test_time_augmentation import View, require_sizes, views_of
from scanline.predict.test_time_augmentation_options import TtaOptions
from scanline.prepare.samples import Samples
from scanline.prepare.segmentation_samples import SplitMasks
from scanline.train.batches import gather, normalise
from scanline.train.segmentation_networks import SegmenterSpec, load_segmenter


def predict_maps(
    model_path: Path,
    samples: SplitMasks,
    device: torch.device,
    target: Path,
    batch_size: int = 16,
    tta: TtaOptions | None = None,
) -> pd.DataFrame:
    """Write the probability maps of val, test and external, at the size of the cache, in float32 to 8 bits.

    Images of unknown mask are mapped too: evaluation counts them and measures nothing on them.

    Args:
        model_path: A trained model.pt.
        samples: Of the split.
        device: Where to compute.
        target: The archive to write, see `write_maps`.
        batch_size: Images at a time.
        tta: Views to map, turn back and average; None for the images alone.

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
    views = views_of(tta, spec.image_size_px)
    require_sizes(views, spec.image_size_px, lambda images: map_images(spec, model, images.to(device)))
    subsets = (map_subset(spec, model, part, device, batch_size, views) for _, part in parts)
    write_maps(target, chain.from_iterable(subsets))
    table = pd.DataFrame(
        {
            "image_id": pd.Series([name for _, part in parts for name in part.image_ids], dtype="str"),
            "subset": pd.Series([subset for subset, part in parts for _ in range(len(part))], dtype="str"),
        }
    )
    return table.assign(row=np.arange(len(table)))


def map_subset(
    spec: SegmenterSpec,
    model: nn.Module,
    samples: Samples,
    device: torch.device,
    batch_size: int,
    views: Sequence[View],
) -> Iterator[NDArray[np.uint8]]:
    """The map of each image, shape (size, size), round(255 p)."""
    for positions in progress(torch.arange(len(samples)).split(batch_size), unit="batch"):
        images, _ = gather(samples, positions, device)
        yield from map_views(spec, model, images, views)


def map_images(spec: SegmenterSpec, model: nn.Module, images: torch.Tensor) -> NDArray[np.uint8]:
    """The maps of a batch (b, 1, size, size), uint8, on the model's device: shape (b, size, size), round(255 p)."""
    return map_views(spec, model, images, (View(images.shape[-1]),))


def map_views(spec: SegmenterSpec, model: nn.Module, images: torch.Tensor, views: Sequence[View]) -> NDArray[np.uint8]:
    """As `map_images`: the mean of the probabilities of all views, turned back."""
    shape = (images.shape[-2], images.shape[-1])
    with torch.no_grad():
        found = []
        for view in views:
            logits = model(normalise(view.show(images), spec.mean, spec.std))
            found.append(view.turn_maps_back(torch.sigmoid(logits[:, :1].double()), shape))
    mean = torch.stack(found).mean(dim=0)[:, 0]
    return np.asarray((mean * LEVELS).round().to(torch.uint8).cpu().numpy())
