"""Segmentation networks of segmentation-models-pytorch, by architecture and encoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import scanline.core.torchvision_compat  # noqa: F401  (has to come before segmentation_models_pytorch)
from scanline.core.errors import InputError
from scanline.train.model_file import load_model, save_model
from scanline.train.model_spec import ModelSpec

import segmentation_models_pytorch  # type: ignore[import-untyped]  # isort: skip

CLASSIFIER_PREFIXES = ("fc.", "classifier.", "head.", "last_linear.")  # of an encoder's weights, never needed here
ENTRY = "segmenter"  # of the spec in model.pt
CREATED_BY_BATCH_NORM = "num_batches_tracked"  # old files lack it


@dataclass(frozen=True)
class SegmenterSpec(ModelSpec):
    """A segmentation network.

    Attributes:
        architecture: Of segmentation-models-pytorch, for example unet.
        encoder: Its encoder, for example resnet34.
        channels: Input channels, 1 or 3; 3 repeats the grey image.
        image_size_px: Width and height of the input.
        mean: Subtracted from grey values in [0, 1], one a channel.
        std: Divided by, one a channel.
        target: The class of the one output, a sigmoid a pixel.
    """

    architecture: str
    encoder: str
    channels: int
    image_size_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    target: str


def build_segmenter(spec: SegmenterSpec, pretrained: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
    """Build the network with one output channel.

    Args:
        spec: What to build.
        pretrained: State dict of the encoder to start from, for example torchvision's resnet34; None draws all weights
            from PyTorch's current random state. The decoder's weights are always drawn.

    Raises:
        InputError: If there is no such architecture or encoder, the two do not go together, the images have a size
            that they cannot take, or the weights are not this encoder's.
    """
    try:
        model: nn.Module = segmentation_models_pytorch.create_model(
            spec.architecture, spec.encoder, encoder_weights=None, in_channels=spec.channels, classes=1
        )
        if pretrained is not None:
            load_encoder(model.encoder, pretrained, spec.encoder)  # type: ignore[arg-type]
        with torch.no_grad():
            shape = model.eval()(torch.zeros(1, spec.channels, spec.image_size_px, spec.image_size_px)).shape
    except (RuntimeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise InputError(
            f"model {spec.architecture} with encoder {spec.encoder}",
            found=f"{type(error).__name__}: {error}"[:300],
            expected=f"an encoder that fits the architecture and images of {spec.image_size_px} px (most take multiples"
            " of 32)",
            next_step="Change architecture or encoder in the study file, or pixels.image_size_px.",
        ) from error
    if shape != (1, 1, spec.image_size_px, spec.image_size_px):
        raise ValueError(f"{spec.architecture} gives {tuple(shape)}")
    return model.train()


def load_encoder(encoder: nn.Module, pretrained: Mapping[str, torch.Tensor], name: str) -> None:
    """Load the weights of an encoder, every one of them: none may be missing, and only a classifier's may be left over.

    Where the encoder takes grey images and the weights colour ones, the first convolution's are summed over the
    colours, as repeating the grey image would.

    Raises:
        InputError: If the weights are not this encoder's.
    """
    own = encoder.state_dict()
    given = {key: value for key, value in pretrained.items() if not key.startswith(CLASSIFIER_PREFIXES)}
    for key, value in given.items():
        if key in own and value.ndim == own[key].ndim == 4 and (value.shape[1], own[key].shape[1]) == (3, 1):
            given[key] = value.sum(dim=1, keepdim=True)
    missing = [key for key in own if key not in given and not key.endswith(CREATED_BY_BATCH_NORM)]
    strange = [key for key in given if key not in own]
    unequal = [key for key in given if key in own and given[key].shape != own[key].shape]
    if missing or strange or unequal:
        kinds = (("missing", missing), ("left over", strange), ("of another shape", unequal))
        found = "; ".join(f"{len(keys)} {kind} (as {keys[0]})" for kind, keys in kinds if keys)
        raise InputError(
            f"weights for encoder {name}",
            found=found,
            expected=f"all {len(own)} tensors of the encoder; torchvision's files fit encoders of the same name such"
            " as resnet34, not those of timm (mit_b0, efficientnet-b0)",
            next_step="Set the model's weights to none, or to a file of this encoder's state dict.",
        )
    encoder.load_state_dict({**own, **given})


def save_segmenter(path: Path, spec: SegmenterSpec, model: nn.Module) -> None:
    """Write spec and weights to one file: see `save_model`."""
    save_model(path, spec, model, entry=ENTRY)


def load_segmenter(path: Path, device: torch.device) -> tuple[SegmenterSpec, nn.Module]:
    """Read a trained network back, in evaluation mode, on `device`.

    Raises:
        InputError: If the file is missing or was not written by `save_segmenter`.
    """
    expected = "a segmenter's model.pt of this workflow"
    return load_model(path, device, SegmenterSpec, build_segmenter, entry=ENTRY, expected=expected)
