"""Losses of image-level tasks; what is unknown has neither loss nor gradient.

Each loss is a mean with weights: of entries (an image and a label), or of images where classes exclude another. Targets
may be soft: a target of t costs t times what a positive costs, and 1 - t times what a negative costs.

Sources: focal loss, Lin et al., ICCV (2017), equation 4; asymmetric loss, Ridnik et al., ICCV (2021), equations 5 to 7;
label smoothing, Szegedy et al., CVPR (2016), section 7.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

LossName = Literal["cross_entropy", "focal", "asymmetric"]
SMALLEST_PROBABILITY = 1e-8  # below which no logarithm is taken, and no power: of 0, those below 1 have no gradient


@dataclass(frozen=True)
class LossShape:
    """Which loss, and what shapes it.

    Attributes:
        name: cross_entropy, focal or asymmetric.
        focal_gamma: Exponent of the focal loss.
        positive_gamma: Exponent of the asymmetric loss for positives.
        negative_gamma: For negatives.
        margin: By which the asymmetric loss lowers the probability of negatives.
        smoothing: Share of each target that is spread evenly over its alternatives.
    """

    name: LossName = "cross_entropy"
    focal_gamma: float = 2.0
    positive_gamma: float = 0.0
    negative_gamma: float = 4.0
    margin: float = 0.05
    smoothing: float = 0.0


@dataclass(frozen=True)
class Targets:
    """What a batch should be called.

    Attributes:
        truth: Shape (b, classes), float32, from 0 to 1; any number where the weight is 0.
        weight: Shape (b, classes), float32: 1 where the truth is known, 0 where it is not, between where two are mixed.
    """

    truth: torch.Tensor
    weight: torch.Tensor


def as_targets(truth: torch.Tensor) -> Targets:
    """Targets of truths of 1, 0, and NaN where unknown, shape (b, classes)."""
    return Targets(truth.nan_to_num(), (~truth.isnan()).to(truth.dtype))


def mix_targets(targets: Targets, partner: torch.Tensor, share: torch.Tensor) -> Targets:
    """Targets of images that are mixed of two.

    The loss of a mixed target is `share` times the loss of the one plus 1 - `share` times that of the other (Zhang et
    al., mixup, ICLR (2018)); a truth that is unknown of either image leaves the other's part alone.

    Args:
        targets: Of the images before.
        partner: The image that each is mixed with, shape (b,), int64.
        share: Of the image itself, shape (b,), float32, from 0 to 1.
    """
    own, other = share[:, None] * targets.weight, (1 - share)[:, None] * targets.weight[partner]
    weight = own + other
    truth = own * targets.truth + other * targets.truth[partner]
    return Targets(torch.where(weight > 0, truth / weight.clamp_min(torch.finfo(weight.dtype).tiny), truth), weight)


def sigmoid_loss(
    logits: torch.Tensor, targets: Targets, positive_weight: torch.Tensor, shape: LossShape
) -> torch.Tensor:
    """Weighted mean loss over entries, one sigmoid each.

    Args:
        logits: Shape (b, classes), float32.
        targets: At least one entry has a weight.
        positive_weight: Factor of the positives' loss, shape (classes,).
        shape: Which loss.
    """
    truth, weight = targets.truth, targets.weight
    if shape.smoothing:
        truth = truth * (1 - shape.smoothing) + shape.smoothing / 2
    if shape.name == "cross_entropy":
        mean_of_all = functional.binary_cross_entropy_with_logits(
            logits, truth, weight=weight, pos_weight=positive_weight
        )
        return mean_of_all * (weight.numel() / weight.sum())
    of_positive, of_negative = _sides(logits, shape)
    entries = truth * positive_weight * of_positive + (1 - truth) * of_negative
    return (weight * entries).sum() / weight.sum()


def _sides(logits: torch.Tensor, shape: LossShape) -> tuple[torch.Tensor, torch.Tensor]:
    """What each entry costs as a positive, and as a negative.

    Powers of a sigmoid are taken by its logarithm: 1 - probability is 0 in float32 from a logit of 17 on, and powers
    below 1 have no gradient there.
    """
    log_positive, log_negative = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    if shape.name == "focal":
        of_positive = (shape.focal_gamma * log_negative).exp() * -log_positive
        return of_positive, (shape.focal_gamma * log_positive).exp() * -log_negative
    lowered = (logits.sigmoid() - shape.margin).clamp_min(0)
    power = lowered.clamp_min(SMALLEST_PROBABILITY) ** shape.negative_gamma
    of_negative = power * -(1 - lowered).clamp_min(SMALLEST_PROBABILITY).log()
    return (shape.positive_gamma * log_negative).exp() * -log_positive, of_negative


def softmax_loss(logits: torch.Tensor, targets: Targets, class_weight: torch.Tensor, shape: LossShape) -> torch.Tensor:
    """Mean loss over images, one softmax each, weighted by class as PyTorch's `cross_entropy` with weights is.

    Args:
        logits: Shape (b, classes), float32.
        targets: Rows of truth sum to 1; every weight is 1.
        class_weight: Of each class, shape (classes,).
        shape: cross_entropy or focal.
    """
    log_probability = logits.log_softmax(dim=1)
    truth = targets.truth * (1 - shape.smoothing) + shape.smoothing / logits.shape[1]
    entries = -class_weight * truth * log_probability
    if shape.name == "focal":
        others = -log_probability.expm1()
        entries = others.clamp_min(SMALLEST_PROBABILITY) ** shape.focal_gamma * entries
    return entries.sum() / (class_weight * targets.truth).sum()
