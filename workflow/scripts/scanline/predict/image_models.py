"""A trained model of any kind, ready for images of any size from any place."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.predict.rules import Kind, Rule

_MODULES = {
    "binary": "classifier",
    "multilabel": "classifier",
    "multiclass": "classifier",
    "detect": "detector",
    "segment": "segmenter",
}


@dataclass(frozen=True)
class ModelKind:
    """What a model.pt says that it is.

    Attributes:
        name: The kind of its task.
        classes: What it tells of an image, in the order of its outputs.
    """

    name: Kind
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What a model says about one image.

    Attributes:
        tables: By a table's name, the image's rows in it, without the image's name.
        positive: The classes that are called on it.
        pictures: By kind of picture, shape (h, w) or (h, w, 3), uint8.
        told: The same in few words, for JSON.
    """

    tables: dict[str, list[dict[str, Any]]]
    positive: tuple[str, ...]
    pictures: dict[str, NDArray[np.uint8]]
    told: dict[str, Any]


class ImageModel(Protocol):
    """A trained network with the rules of its classes.

    Attributes:
        size_px: Width and height that it takes images in.
    """

    size_px: int

    def __call__(self, resized: NDArray[np.uint8], originals: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """Answers to a batch.

        Args:
            resized: Shape (b, size_px, size_px), uint8, as `prepare.pixels.resize` makes them.
            originals: The b grey images (h, w), uint8; they are what boxes, masks and pictures refer to.
        """
        ...


def read_kind(path: Path) -> ModelKind:
    """Read what a model.pt is, without building its network.

    Raises:
        InputError: If it is missing or no model of this workflow.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        spec = json.loads(saved["segmenter"] if "segmenter" in saved else saved["spec"])
        if "segmenter" in saved:
            return ModelKind("segment", (spec["target"],))
        classes = tuple(map(str, spec["classes"]))
    except (OSError, KeyError, TypeError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        raise InputError(
            path,
            found="nothing there" if not path.exists() else f"something else ({type(error).__name__})",
            expected="the model.pt that a training rule of this workflow wrote",
            next_step="Name one with --model: results/<study>/models/<split>/<task>/<model>/seed<seed>/model.pt.",
        ) from error
    if "family" in spec:
        return ModelKind("detect", classes)
    if spec.get("output") == "softmax":
        return ModelKind("multiclass", classes)
    return ModelKind("binary" if len(classes) == 1 else "multilabel", classes)


def load_image_model(path: Path, kind: ModelKind, rules: Mapping[str, Rule], device: torch.device) -> ImageModel:
    """Load a model; the packages of its kind are imported now and not before.

    Args:
        path: The model.pt.
        kind: From `read_kind`.
        rules: Of each of its classes.
        device: Where to compute.
    """
    module = import_module(f"scanline.predict.image_{_MODULES[kind.name]}")
    model: ImageModel = module.open_model(path, rules, device)
    return model
