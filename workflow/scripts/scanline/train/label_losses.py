"""Losses of image-level tasks; what is unknown has neither loss nor gradient."""

import torch
from torch.nn import functional


def known_cross_entropy(logits: torch.Tensor, truth: torch.Tensor, positive_weight: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the known entries; an unknown entry has neither loss nor gradient.

    Args:
        logits: Shape (b, classes), float32.
        truth: Shape (b, classes), float32: 1, 0, or NaN where unknown; at least one entry is known.
        positive_weight: Factor of the positives' loss, shape (classes,).
    """
    known = ~truth.isnan()
    mean_of_all = functional.binary_cross_entropy_with_logits(
        logits, truth.nan_to_num(), weight=known.to(logits.dtype), pos_weight=positive_weight
    )
    return mean_of_all * (known.numel() / known.sum())


def class_cross_entropy(logits: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of classes that exclude another, weighted by class: PyTorch's `cross_entropy` with weights.

    Args:
        logits: Shape (b, classes), float32.
        truth: Shape (b, classes), float32: rows that sum to 1.
        weight: Of each class, shape (classes,).
    """
    weighted = weight * truth
    return -(weighted * logits.log_softmax(dim=1)).sum() / weighted.sum()
