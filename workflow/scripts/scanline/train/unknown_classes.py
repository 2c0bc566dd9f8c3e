"""Classes that nobody looked for on an image, taken out of a detector's loss.

Where a class is unknown, its logit is replaced by one that says surely not before the loss sees it. No box of that
class is on the image, so that this is the answer the loss wants: it is zero there and has no gradient. What the network
says of the other classes is learnt from as on any image.

What cannot be taken out is what a network says of all classes at once: an unknown lesion without a box counts as
background for the proposals of Faster R-CNN, and in the softmax of Faster R-CNN and SSD against the known classes.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import nn

SURELY_NOT = -1e4  # exp of it is 0 in all precisions, and it is finite in float16


class UnknownClasses:
    """Watches a detector of torchvision's, and silences it within `with of_images(targets):`.

    Args:
        model: As `torchvision_detector.build_detector` makes it. Its weights and what it predicts stay as they are.
    """

    def __init__(self, model: nn.Module) -> None:
        self._unknown: torch.Tensor | None = None
        self._counts = torch.zeros(0, dtype=torch.int64)
        heads: Any = getattr(model, "roi_heads", None)
        if heads is None:
            model.get_submodule("head").register_forward_hook(self._silence_head)
        else:
            heads.box_roi_pool.register_forward_pre_hook(self._count_proposals)
            heads.box_predictor.register_forward_hook(self._silence_predictor)

    def of_images(self, targets: Sequence[Mapping[str, torch.Tensor]]) -> "UnknownClasses":
        """Name the images that are to come by their targets, some with `known`, shape (classes,), bool."""
        if "known" in targets[0]:
            unknown = ~torch.stack([target["known"] for target in targets])
            self._unknown = nn.functional.pad(unknown, (1, 0))  # class 0 is the background
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unknown = None

    def _silence_head(self, module: nn.Module, inputs: Any, outputs: dict[str, torch.Tensor]) -> Any:
        if self._unknown is None:
            return outputs
        logits = outputs["cls_logits"].masked_fill(self._unknown[:, None, :], SURELY_NOT)
        return {**outputs, "cls_logits": logits}

    def _count_proposals(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._counts = torch.tensor([len(proposals) for proposals in inputs[1]])

    def _silence_predictor(
        self, module: nn.Module, inputs: Any, outputs: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self._unknown is None:
            return outputs
        logits, deltas = outputs
        of_proposals = self._unknown.repeat_interleave(self._counts.to(self._unknown.device), dim=0)
        return logits.masked_fill(of_proposals, SURELY_NOT), deltas
