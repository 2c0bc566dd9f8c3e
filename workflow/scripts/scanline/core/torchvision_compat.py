"""Make `import torchvision` work beside a PyTorch that its compiled operators do not fit.

A CPU-only build of PyTorch beside the registry's torchvision wheel dies at import with "operator
torchvision::nms does not exist", since the wheel's library wants CUDA. Import this module before torchvision;
where its library loads, nothing is changed.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from torch.nn import functional

from scanline.core.torch_compiler import import_compiler

# Schemas as torchvision's operators declare them (torchvision/csrc/ops/*.cpp).
_ARGUMENTS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_ROI_ALIGN = (
    "roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width,"
    " int sampling_ratio, bool aligned) -> Tensor"
)


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


def _roi_align(
    features: torch.Tensor,
    rois: torch.Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> torch.Tensor:
    """Mean of bilinear samples in each bin of each region (He et al. 2017, Mask R-CNN), with its gradient.

    Args:
        features: Shape (n, channels, h, w).
        rois: Shape (k, 5): number of the image, then x1, y1, x2, y2.
        spatial_scale: Pixels of the features to one of the regions.
        pooled_height: Bins down.
        pooled_width: Bins across.
        sampling_ratio: Samples a bin and direction; at least 1 here, while torchvision's also takes -1.
        aligned: Whether pixel centres lie at halves.

    Returns:
        Shape (k, channels, pooled_height, pooled_width).
    """
    if sampling_ratio < 1:
        raise ValueError(f"sampling_ratio {sampling_ratio}: the stand-in for roi_align needs at least 1")
    height, width = features.shape[-2:]
    corners = rois[:, 1:].to(torch.float32) * spatial_scale - (0.5 if aligned else 0.0)
    sides = corners[:, 2:] - corners[:, :2]
    if not aligned:
        sides = sides.clamp(min=1)

    def samples(start: torch.Tensor, side: torch.Tensor, bins: int) -> torch.Tensor:
        steps = (torch.arange(bins * sampling_ratio, device=rois.device) + 0.5) / (bins * sampling_ratio)
        return start.unsqueeze(1) + side.unsqueeze(1) * steps

    x, y = samples(corners[:, 0], sides[:, 0], pooled_width), samples(corners[:, 1], sides[:, 1], pooled_height)
    inside = ((y >= -1) & (y <= height)).unsqueeze(2) & ((x >= -1) & (x <= width)).unsqueeze(1)
    grid_x, grid_y = (2 * x + 1) / width - 1, (2 * y + 1) / height - 1
    shape = (len(rois), y.shape[1], x.shape[1])
    grid = torch.stack([grid_x.unsqueeze(1).expand(shape), grid_y.unsqueeze(2).expand(shape)], dim=-1)
    pooled = features.new_zeros((len(rois), features.shape[1], pooled_height, pooled_width))
    for image in range(len(features)):
        chosen = torch.nonzero(rois[:, 0] == image).squeeze(1)
        if len(chosen):
            points = grid[chosen].reshape(1, -1, x.shape[1], 2)
            sampled = functional.grid_sample(
                features[image : image + 1].float(), points, padding_mode="border", align_corners=False
            )
            sampled = sampled.view(features.shape[1], len(chosen), *shape[1:]).transpose(0, 1)
            means = functional.avg_pool2d(sampled * inside[chosen].unsqueeze(1), sampling_ratio)
            pooled = pooled.index_copy(0, chosen, means.to(features.dtype))
    return pooled


def load_operators() -> bool:
    """Load torchvision's own operators; where they do not load, define `nms` and `roi_align` for the CPU.

    Returns:
        Whether torchvision's own operators are in use.
    """
    package = find_spec("torchvision")
    if package is None or package.origin is None:
        return False
    import_compiler()  # torchvision will
    for library in sorted(Path(package.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
        return True
    registry = torch.library.Library("torchvision", "DEF")
    registry.define(f"nms{_ARGUMENTS}")
    registry.define(f"qnms{_ARGUMENTS}")  # for quantised boxes; torchvision registers its shape at import
    registry.define(_ROI_ALIGN)
    registry.impl("nms", _nms, "CPU")
    registry.impl("roi_align", _roi_align, "CompositeImplicitAutograd")
    _registries.append(registry)
    import torchvision.extension

    torchvision.extension._has_ops = _has_nms  # torchvision.ops asks it before each call
    # It has a name of its own for that function, and without operators compiles its own code, which takes a minute.
    import_module("torchvision.ops.roi_align")._has_ops = _has_nms  # type: ignore[attr-defined]
    return False


def _has_nms() -> bool:
    return True


_registries: list[torch.library.Library] = []  # a library unregisters its operators when it is collected
NATIVE_OPERATORS = load_operators()
