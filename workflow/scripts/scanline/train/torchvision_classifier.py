"""Torchvision's classification networks, with a head and an input of our own."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

import scanline.core.torchvision_compat  # noqa: F401  (has to come before torchvision)
from scanline.core.errors import InputError
from scanline.train.model_file import load_model, save_model
from scanline.train.model_spec import ModelSpec

from torchvision.models import VisionTransformer, get_model  # isort: skip
from torchvision.models.vision_transformer import interpolate_embeddings  # isort: skip

# Mean and standard deviation of ImageNet's training images, which torchvision's weights were trained with
# (torchvision.transforms._presets.ImageClassification).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ClassifierSpec(ModelSpec):
    """A classification network.

    Attributes:
        architecture: Name of a torchvision classification model.
        channels: Input channels, 1 or 3; 3 repeats the grey image.
        image_size_px: Width and height of the input.
        mean: Subtracted from grey values in [0, 1], one a channel.
        std: Divided by, one a channel.
        classes: Names of the outputs.
        output: What makes probabilities of the outputs: a sigmoid each, or one softmax where classes exclude another.
    """

    architecture: str
    channels: int
    image_size_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    output: Literal["sigmoid", "softmax"] = "sigmoid"


def build_classifier(spec: ClassifierSpec, pretrained: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
    """Build the network with one output a class.

    Args:
        spec: What to build.
        pretrained: State dict of the original 1,000-class network to start from; None draws the weights from
            PyTorch's current random state.

    Raises:
        InputError: If the weights do not fit the architecture, or the architecture cannot take such images.
    """
    sized: dict[str, Any] = {}
    if spec.architecture.startswith("vit_"):
        sized = {"image_size": spec.image_size_px}
    elif spec.architecture == "maxvit_t":
        sized = {"input_size": (spec.image_size_px, spec.image_size_px)}
    try:
        model: nn.Module = get_model(spec.architecture, weights=None, **sized)
        if pretrained is not None:
            model.load_state_dict(_fit_positions(model, pretrained))
        set_input_channels(model, spec.channels)
        _set_outputs(model, len(spec.classes))
        with torch.no_grad():
            model.eval()(torch.zeros(1, spec.channels, spec.image_size_px, spec.image_size_px))
    except (AssertionError, RuntimeError, ValueError) as error:  # by assertions torchvision checks sizes
        raise InputError(
            f"model {spec.architecture}",
            found=str(error)[:300],
            expected=f"weights that fit it and images of {spec.image_size_px} px that it can take",
            next_step="Change weights or architecture in the study file, or pixels.image_size_px.",
        ) from error
    return model.train()


def _fit_positions(model: nn.Module, pretrained: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """Weights of a vision transformer with its embeddings of positions interpolated to its image size.

    As Dosovitskiy et al. (ICLR 2021, section 3.2) do to fine-tune at another resolution; of equal sizes as they are.
    """
    if not isinstance(model, VisionTransformer) or "encoder.pos_embedding" not in pretrained:
        return pretrained
    fitted: Mapping[str, torch.Tensor] = interpolate_embeddings(
        model.image_size, model.patch_size, OrderedDict(pretrained)
    )
    return fitted


def _parent_of(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, attribute = name.rpartition(".")
    return model.get_submodule(path), attribute


def set_input_channels(model: nn.Module, channels: int) -> None:
    """Make the first convolution take `channels`; a grey one sums its weights, as repeating the image would."""
    name, first = next((name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d))
    if first.in_channels == channels:
        return
    grey = nn.Conv2d(
        channels,
        first.out_channels,
        kernel_size=first.kernel_size,  # type: ignore[arg-type]
        stride=first.stride,  # type: ignore[arg-type]
        padding=first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    with torch.no_grad():
        grey.weight.copy_(first.weight.sum(dim=1, keepdim=True))
        if first.bias is not None and grey.bias is not None:
            grey.bias.copy_(first.bias)
    parent, attribute = _parent_of(model, name)
    setattr(parent, attribute, grey)


def head_of(model: nn.Module) -> str:
    """Name of the layer that makes the outputs: the last linear layer, in SqueezeNet the last convolution."""
    linear: list[str] = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    convolutions = [name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
    return (linear or convolutions)[-1]


def _set_outputs(model: nn.Module, outputs: int) -> None:
    """Replace the head by one with `outputs`."""
    name = head_of(model)
    last = model.get_submodule(name)
    parent, attribute = _parent_of(model, name)
    if isinstance(last, nn.Linear):
        setattr(parent, attribute, nn.Linear(last.in_features, outputs))
    elif isinstance(last, nn.Conv2d):
        setattr(parent, attribute, nn.Conv2d(last.in_channels, outputs, kernel_size=1))


def input_statistics(
    weights: str, channels: int, mean: float, std: float, statistics: Literal["auto", "imagenet", "train"] = "auto"
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation to normalise by: ImageNet's, or those of the training images.

    Args:
        weights: `imagenet`, `none` or a file.
        channels: 1 or 3.
        mean: Mean grey value of the training images, in [0, 1].
        std: Their standard deviation, in [0, 1].
        statistics: Which; auto takes ImageNet's for its weights with 3 channels.
    """
    if channels == 3 and (statistics == "imagenet" or (statistics == "auto" and weights == "imagenet")):
        return IMAGENET_MEAN, IMAGENET_STD
    return (mean,) * channels, (max(std, 1e-6),) * channels


def save_classifier(path: Path, spec: ClassifierSpec, model: nn.Module) -> None:
    """Write spec and weights to one file: see `save_model`."""
    save_model(path, spec, model)


def load_classifier(path: Path, device: torch.device) -> tuple[ClassifierSpec, nn.Module]:
    """Read a trained network back, in evaluation mode, on `device`.

    Raises:
        InputError: If the file is missing or was not written by `save_classifier`.
    """
    return load_model(path, device, ClassifierSpec, build_classifier)
