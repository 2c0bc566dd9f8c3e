"""Weights worked out with a split and read by training: of the classes for the loss, of the images for the sampler."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.files import read_json
from scanline.core.tables import read_table

_COLUMNS = {True: "positive_weight", "balanced": "weight"}


def read_class_weights(path: Path | None, classes: Sequence[str], rule: Literal[True, "balanced"]) -> list[float]:
    """Factors of the positives' loss, one a class.

    Args:
        path: class_weights.json of the split.
        classes: The classes that are predicted.
        rule: True for negatives / positives, "balanced" for N / (k n); both of the training images.

    Raises:
        InputError: If there is no file, or it has no weight for a class.
    """
    known = read_json(_asked_for(path, "class-weights"))["classes"]
    weights = [known.get(name, {}).get(_COLUMNS[rule]) for name in classes]
    for name, weight in zip(classes, weights, strict=True):
        if not weight:
            raise InputError(
                f"{path}: class {name}",
                found="no weight",
                expected="training images that show the class, and others that do not",
                next_step="Choose another seed or other ratios for this split, or take the class out of the task.",
            )
    return [float(weight) for weight in weights]


def read_sampler_weights(path: Path | None, image_ids: NDArray[np.object_]) -> torch.Tensor:
    """Weights by which training images are drawn, shape (n,), float64.

    Args:
        path: sampler_weights.parquet of the split.
        image_ids: The training images, shape (n,).

    Raises:
        InputError: If there is no file, or an image is not in it.
    """
    file = _asked_for(path, "sampler-weights")
    weights = read_table(file).set_index("image_id")["weight"].reindex(image_ids).to_numpy(dtype=np.float64)
    missing = np.isnan(weights)
    if missing.any():
        raise InputError(
            file,
            found=f"no row for image {image_ids[missing][0]!r} ({int(missing.sum())} such)",
            expected="every training image of the split",
            next_step=f"Delete {file} and run again.",
        )
    return torch.tensor(weights)


def _asked_for(path: Path | None, argument: str) -> Path:
    if path is None:
        raise InputError(
            f"--{argument}",
            found="no file",
            expected="the file that the rule weigh_labels wrote, as the task asks for these weights",
            next_step="Name it, or ask for no weights in the task.",
        )
    return path
