"""model.pt: the weights of a network with the spec that rebuilds it."""

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

import torch
from torch import nn

from scanline.core.errors import InputError
from scanline.train.model_spec import ModelSpec

Spec = TypeVar("Spec", bound=ModelSpec)

# What reading a file of something else, or of another network, ends in.
UNREADABLE = (OSError, KeyError, TypeError, AttributeError, RuntimeError, ValueError, EOFError, UnpicklingError)


def save_model(path: Path, spec: ModelSpec, model: nn.Module, *, entry: str = "spec") -> None:
    """Write spec and weights to one file that `torch.load` reads with `weights_only=True`.

    Args:
        path: File to write.
        spec: Of the network.
        model: The network.
        entry: The spec's name in the file; the weights are under `state`.
    """
    torch.save({entry: spec.as_json(), "state": model.state_dict()}, path)


def load_model(
    path: Path,
    device: torch.device,
    spec_type: type[Spec],
    build: Callable[[Spec], nn.Module],
    *,
    entry: str = "spec",
    expected: str = "a model.pt of this workflow",
) -> tuple[Spec, nn.Module]:
    """Read what `save_model` wrote; the network is in evaluation mode, on `device`.

    Args:
        path: File to read.
        device: Where the network is to compute.
        spec_type: What the file's spec must be.
        build: Makes the network of a spec, with any weights.
        entry: As for `save_model`.
        expected: What the file should be, for messages.

    Raises:
        InputError: If the file is missing, or holds no such spec or other weights than the spec's network has.
    """
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
        spec = spec_type.from_json(saved[entry])
        model = build(spec)
        model.load_state_dict(saved["state"])
    except UNREADABLE as error:
        raise InputError(path, found=str(error)[:200], expected=expected, next_step=f"snakemake {path}") from error
    return spec, model.to(device).eval()
