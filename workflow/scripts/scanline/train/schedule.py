"""How the learning rate goes, and how the network that is kept is averaged.

Both follow from how far training has come and what val said, so that a resumed training goes on as it would have.
"""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import nn


def warm_up(step: int, warmup_steps: float) -> float:
    """Linear warm-up, from 1 / (warmup_steps + 1) at step 0 to 1."""
    return min(1.0, (step + 1) / (warmup_steps + 1))


def cosine_factor(step: int, warmup_steps: float, total_steps: int) -> float:
    """Linear warm-up to 1, then a half cosine to 0 (Loshchilov and Hutter 2017, SGDR, without restarts)."""
    if step < warmup_steps:
        return warm_up(step, warmup_steps)
    done = (step - warmup_steps) / max(1.0, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def plateau_factor(values: Sequence[float], factor: float, patience_epochs: int) -> float:
    """What the learning rate has been multiplied by after epochs with these values of the criterion, lower is better.

    It is multiplied by `factor` when the criterion has not fallen for more than `patience_epochs` epochs, and the
    epochs are then counted anew: as PyTorch's ReduceLROnPlateau with threshold 0 does.
    """
    best, bad, scale = math.inf, 0, 1.0
    for value in values:
        if value < best:
            best, bad = value, 0
        else:
            bad += 1
        if bad > patience_epochs:
            scale, bad = scale * factor, 0
    return scale


class MovingAverage:
    """An exponential moving average of a network's weights and of its batch norm statistics.

    After step n, counted from 1, the average is d times itself plus 1 - d times the network, d being `decay` or, while
    that is smaller, n / (n + 9): early weights are soon forgotten (as TensorFlow's ExponentialMovingAverage has it
    with (1 + m) / (10 + m) for m steps before this one).

    Args:
        model: The network; the average begins as its copy.
        decay: Below 1.

    Attributes:
        model: The averaged network.
        steps: Steps averaged over.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = deepcopy(model).requires_grad_(False).eval()
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the network after a step."""
        self.steps += 1
        share = 1 - min(self.decay, self.steps / (self.steps + 9))
        for average, value in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(value, share)
            else:
                average.copy_(value)

    def state(self) -> dict[str, Any]:
        """What resuming needs."""
        return {"model": self.model.state_dict(), "steps": self.steps}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.model.load_state_dict(state["model"])
        self.steps = int(state["steps"])
