"""Weights from the training images of a split: of the classes for the loss, of the images for the sampler."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.files import read_json
from scanline.core.tables import read_table
from scanline.split.label_weights import weigh_labels

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
    if path is None:
        raise InputError(
            "--class-weights",
            found="no file",
            expected="the file that the rule weigh_labels wrote, as the task asks for these weights",
            next_step="Name it, or ask for no weights in the task.",
        )
    known = read_json(path)["classes"]
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


def weigh_images(labels: Path, split: Path, classes: Sequence[str], image_ids: NDArray[np.object_]) -> torch.Tensor:
    """Weights by which training images are drawn, shape (n,), float64: `weigh_labels` of the classes of a task.

    Args:
        labels: Labels table.
        split: Split table.
        classes: The classes that are predicted; no other counts.
        image_ids: The training images, shape (n,).

    Raises:
        InputError: If no training image shows a class.
    """
    _, table = weigh_labels(read_table(labels)[["image_id", *classes]], read_table(split))
    return torch.tensor(table.set_index("image_id")["weight"].loc[list(image_ids)].to_numpy(dtype=np.float64))
