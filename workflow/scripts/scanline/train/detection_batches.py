"""From the pixel cache to what a detector trains on: images with their boxes, changed together."""

import numpy as np
import torch

from scanline.train.batches import augment
from scanline.train.detection import DetectionSamples
from scanline.train.options import Augmentation, BoxAugmentation

MIN_SHARE_LEFT = 0.25  # of a box's area that a crop must leave; less of a lesion cannot be told from none

Target = dict[str, torch.Tensor]


def gather_boxes(samples: DetectionSamples, positions: torch.Tensor) -> tuple[torch.Tensor, list[Target]]:
    """Take images and boxes out of a subset, on the CPU.

    Args:
        samples: A subset.
        positions: Shape (b,), int64: positions within the subset.

    Returns:
        Images, shape (b, 1, size, size), uint8; and of each image `boxes`, shape (k, 4), float32, corners in cache
        pixels, and `labels`, shape (k,), int64, from 1 on; and `known`, shape (classes,), bool, where some class is
        unknown on some image.
    """
    chosen = positions.numpy()
    images = torch.from_numpy(np.ascontiguousarray(samples.pixels[samples.rows[chosen]])).unsqueeze(1)
    targets = [
        {
            "boxes": torch.from_numpy(samples.boxes[position].copy()),
            "labels": torch.from_numpy(samples.classes[position].copy()),
        }
        for position in chosen.tolist()
    ]
    if samples.known is not None:
        for target, known in zip(targets, samples.known[chosen], strict=True):
            target["known"] = torch.from_numpy(known.copy())
    return images, targets


def augment_with_boxes(
    images: torch.Tensor, targets: list[Target], options: BoxAugmentation, generator: torch.Generator
) -> tuple[torch.Tensor, list[Target]]:
    """Draw flips and a crop for each image, as `batches.augment` does, and carry the boxes along.

    Two more channels hold where each pixel lies, x and y: what became of them tells what became of the image.
    Boxes are cut at the crop's edge; those that keep less than MIN_SHARE_LEFT of their area are dropped.

    Args:
        images: Shape (b, 1, h, w), uint8.
        targets: The `boxes` and `labels` of each image; not changed.
        options: What to draw.
        generator: The source of randomness, on the CPU.

    Returns:
        Images, shape (b, 1, h, w), float32 in [0, 255]; targets.
    """
    count, _, height, width = images.shape
    x = (torch.arange(width) + 0.5).expand(count, 1, height, width)
    y = (torch.arange(height) + 0.5).view(1, 1, height, 1).expand(count, 1, height, width)
    drawn = Augmentation(**options.model_dump())
    changed = augment(torch.cat([images.float(), x, y], dim=1), drawn, generator)
    origin_x, origin_y = changed[:, 1, 0].double(), changed[:, 2, :, 0].double()
    moved = [_move(target, origin_x[number], origin_y[number], width, height) for number, target in enumerate(targets)]
    return changed[:, :1], moved


def _move(target: Target, origin_x: torch.Tensor, origin_y: torch.Tensor, width: int, height: int) -> Target:
    """Boxes of one image, given where the pixels of a row, and of a column, of the changed image came from."""
    boxes = target["boxes"].double()
    moved = torch.empty_like(boxes)
    for axis, (origin, length) in enumerate(((origin_x, width), (origin_y, height))):
        scale = (origin[-1] - origin[0]) / (length - 1)  # negative where the axis was flipped
        ends = (boxes[:, axis::2] - origin[0]) / scale + 0.5
        moved[:, axis::2] = ends.sort(dim=1).values
    area = (moved[:, 2:] - moved[:, :2]).prod(dim=1)
    limits = torch.tensor([width, height, width, height], dtype=torch.float64)
    cut = torch.minimum(moved.clamp(min=0), limits)
    kept = (cut[:, 2:] - cut[:, :2]).clamp(min=0).prod(dim=1) >= MIN_SHARE_LEFT * area
    return {**target, "boxes": cut[kept].float(), "labels": target["labels"][kept]}
