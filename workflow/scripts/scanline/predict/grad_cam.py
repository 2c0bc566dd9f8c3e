"""Grad-CAM for any convolutional network (Selvaraju et al. 2017, ICCV, equations 1 and 2)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

SMALLEST_MAP = 4


def is_map(output: object) -> bool:
    """Whether a layer's output is a map of square images: (b, channels, size, size), or channels last as in Swin.

    Neither are tokens, nor attention by windows.
    """
    if not isinstance(output, torch.Tensor) or output.ndim != 4:
        return False
    return output.shape[2] == output.shape[3] or output.shape[1] == output.shape[2]


def channels_first(values: torch.Tensor) -> torch.Tensor:
    """A map, or its gradient, as (b, channels, size, size)."""
    return values if values.shape[2] == values.shape[3] else values.movedim(3, 1)


def last_feature_map(model: nn.Module, images: torch.Tensor) -> nn.Module | None:
    """The last module, in the order of computation, whose output is a map (see `is_map`) of 4 x 4 or more.

    A smaller map would say next to nothing about where; small images have one in an earlier stage.

    Pooling layers are passed over. None for networks in which only the first convolution has such a map (vision
    transformers).

    Args:
        model: The network, in evaluation mode.
        images: Any valid input, shape (b, channels, size, size).
    """
    found: list[nn.Module] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        large = is_map(output) and output.shape[2] >= SMALLEST_MAP  # the size wherever the channels are
        if large and not isinstance(module, nn.AdaptiveAvgPool2d | nn.AvgPool2d | nn.MaxPool2d):
            found.append(module)

    handles = [module.register_forward_hook(note) for module in model.modules() if module is not model]
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    first = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    return None if not found or found[-1] is first else found[-1]


def scores_with_cams(
    model: nn.Module, layer: nn.Module | None, images: torch.Tensor, outputs: Sequence[int] = (0,)
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logits of a batch, and where in each image the evidence of each output lies.

    The network runs once; each further output costs a backward pass through the layers after the map.

    Args:
        model: The network, in evaluation mode.
        layer: From `last_feature_map`; None gives no maps.
        images: Shape (b, channels, size, size), normalised.
        outputs: Indices of the outputs to explain.

    Returns:
        Logits, shape (b, all outputs); maps, shape (b, outputs, h, w), in [0, 1], each divided by its maximum (all
        zero where nothing speaks for the class), or None.
    """
    if layer is None:
        with torch.no_grad():
            return model(images), None
    kept: list[torch.Tensor] = []

    def cut(_: nn.Module, __: Any, activation: torch.Tensor) -> torch.Tensor:
        kept.append(activation.detach().requires_grad_())
        return kept[-1].clone()  # a leaf must not be changed in place by the next layer

    handle = layer.register_forward_hook(cut)
    try:
        logits = model(images)
    finally:
        handle.remove()
    maps = []
    for place, output in enumerate(outputs):
        (gradient,) = torch.autograd.grad(logits[:, output].sum(), kept[-1], retain_graph=place + 1 < len(outputs))
        weights = channels_first(gradient).mean(dim=(2, 3), keepdim=True)
        maps.append(functional.relu((weights * channels_first(kept[-1])).sum(dim=1)).detach())
    stacked = torch.stack(maps, dim=1)
    return logits.detach(), stacked / stacked.amax(dim=(2, 3), keepdim=True).clamp_min(1e-12)
