"""Make `import torchvision` work beside a PyTorch that its compiled operators do not fit.

A CPU-only build of PyTorch beside the registry's torchvision wheel dies at import with "operator
torchvision::nms does not exist", since the wheel's library wants CUDA. Import this module before torchvision;
where its library loads, nothing is changed.
"""

from importlib.util import find_spec
from pathlib import Path

import torch

# Schemas as torchvision's operators declare them (torchvision/csrc/ops/*.cpp).
_ARGUMENTS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression: boxes (n, 4) as x1, y1, x2, y2; kept indices by falling score."""
    order = scores.argsort(descending=True, stable=True)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while order.numel() > 0:
        best, order = order[0], order[1:]
        kept.append(int(best))
        corner_min = torch.maximum(boxes[best, :2], boxes[order, :2])
        corner_max = torch.minimum(boxes[best, 2:], boxes[order, 2:])
        overlap = (corner_max - corner_min).clamp(min=0).prod(dim=1)
        order = order[overlap / (area[best] + area[order] - overlap) <= iou_threshold]
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)


def load_operators() -> bool:
    """Load torchvision's own operators; where they do not load, define `nms` for the CPU.

    Returns:
        Whether torchvision's own operators are in use.
    """
    package = find_spec("torchvision")
    if package is None or package.origin is None:
        return False
    for library in sorted(Path(package.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
        return True
    registry = torch.library.Library("torchvision", "DEF")
    registry.define(f"nms{_ARGUMENTS}")
    registry.define(f"qnms{_ARGUMENTS}")  # for quantised boxes; torchvision registers its shape at import
    registry.impl("nms", _nms, "CPU")
    _registries.append(registry)
    import torchvision.extension

    torchvision.extension._has_ops = _has_nms  # torchvision.ops asks it before each call
    return False


def _has_nms() -> bool:
    return True


_registries: list[torch.library.Library] = []  # a library unregisters its operators when it is collected
NATIVE_OPERATORS = load_operators()
