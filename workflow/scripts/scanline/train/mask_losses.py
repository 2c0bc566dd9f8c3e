"""Losses of a binary mask: cross-entropy + Dice, focal, Tversky.

Each is a function of a few sums over pixels. A training batch is one sum; val is one sum over all its pixels, so that
its loss depends neither on how val falls into batches nor on batches that happen to hold no lesion. On one batch the
values are those of segmentation-models-pytorch's BCEWithLogits + DiceLoss, FocalLoss and TverskyLoss.

Sources: Dice: Milletari et al., V-Net, 3DV (2016), here with sums in the denominator, not squares. Focal: Lin et al.,
Focal loss for dense object detection, ICCV (2017), alpha 0.25 and gamma 2 as there, averaged over pixels. Tversky:
Salehi et al., Tversky loss function for image segmentation using 3D fully convolutional deep networks, MLMI (2017),
alpha 0.3 for false and beta 0.7 for missed pixels as there.
"""

from typing import Literal

import torch
from torch.nn import functional

LossName = Literal["bce_dice", "focal", "tversky"]

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
TVERSKY_ALPHA, TVERSKY_BETA = 0.3, 0.7
SMALLEST = 1e-7  # of a denominator, as in segmentation-models-pytorch


def mask_loss_sums(name: LossName, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Sums over the pixels of a batch, to be added up over batches and given to `mask_loss`.

    Args:
        name: The loss.
        logits: Any shape, float32.
        truth: The same shape, 0 or 1.

    Returns:
        Shape (5,), float32: pixels, point-wise loss (cross-entropy or focal), soft true positives, false positives and
        false negatives.
    """
    probability = torch.sigmoid(logits)
    if name == "tversky":
        pointwise = torch.zeros((), device=logits.device)
    else:
        entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        if name == "focal":
            weight = FOCAL_ALPHA * truth + (1 - FOCAL_ALPHA) * (1 - truth)
            entropy = weight * (1 - torch.exp(-entropy)) ** FOCAL_GAMMA * entropy
        pointwise = entropy.sum()
    found = (probability * truth).sum()
    pixels = torch.tensor(float(truth.numel()), device=logits.device)
    return torch.stack([pixels, pointwise, found, probability.sum() - found, truth.sum() - found])


def mask_loss(name: LossName, sums: torch.Tensor) -> torch.Tensor:
    """The loss from sums of `mask_loss_sums`.

    The overlap terms (Dice, Tversky) are 0 where there is no lesion pixel: their gradient is 0 there anyway.

    Args:
        name: The loss.
        sums: Shape (5,).

    Returns:
        Shape ().
    """
    pixels, pointwise, found, false, missed = sums.unbind()
    if name == "focal":
        return pointwise / pixels
    alpha, beta = (TVERSKY_ALPHA, TVERSKY_BETA) if name == "tversky" else (0.5, 0.5)
    overlap = found / (found + alpha * false + beta * missed).clamp_min(SMALLEST)
    has_lesion = (found + missed > 0).to(sums.dtype)
    return pointwise / pixels + (1 - overlap) * has_lesion
