"""Weights to start training from."""

from pathlib import Path
from pickle import UnpicklingError

import torch

from scanline.core.errors import InputError
from scanline.core.files import read_json


def load_pretrained(path: Path | None) -> dict[str, torch.Tensor] | None:
    """Read the state dict to start from.

    Args:
        path: The record that acquire_weights wrote (.json), a file of a state dict, or None for no weights.

    Raises:
        InputError: If the file is missing or holds no state dict.
    """
    if path is None:
        return None
    if path.suffix == ".json":
        path = Path(read_json(path)["path"])
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        raise _no_state_dict(path, str(error)[:200]) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise _no_state_dict(path, "something else")
    return state


def _no_state_dict(path: Path, found: str) -> InputError:
    return InputError(
        path,
        found=found,
        expected="a state dict: parameter names to tensors, as torch.save wrote it",
        next_step="Set the model's weights to imagenet, none, or another file.",
    )
