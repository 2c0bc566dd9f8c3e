"""From the pixel cache to what a network takes: gather, augment, normalise."""

import math

import numpy as np
import torch
from torch.nn import functional

from scanline.prepare.samples import Samples
from scanline.train.options import Augmentation


def gather(samples: Samples, positions: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Take images out of the cache.

    Args:
        samples: A subset.
        positions: Shape (b,), int64: positions within the subset.
        device: Where the tensors go.

    Returns:
        Images, shape (b, 1, size, size), uint8; truth, shape (b, classes), float32, NaN where unknown.
    """
    chosen = positions.numpy()
    images = torch.from_numpy(np.ascontiguousarray(samples.pixels[samples.rows[chosen]])).unsqueeze(1)
    truth = torch.from_numpy(samples.truth[chosen])
    return images.to(device, non_blocking=True), truth.to(device, non_blocking=True)


def grey_statistics(samples: Samples, batch: int = 512) -> tuple[float, float]:
    """Mean and standard deviation of a subset's grey values, in [0, 1], from exact whole-number sums."""
    histogram = np.zeros(256, dtype=np.int64)
    for start in range(0, len(samples), batch):
        histogram += np.bincount(samples.pixels[samples.rows[start : start + batch]].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = float((histogram * values).sum() / histogram.sum())
    return mean, float(np.sqrt((histogram * (values - mean) ** 2).sum() / histogram.sum()))


def normalise(
    images: torch.Tensor,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    memory_format: torch.memory_format = torch.channels_last,
) -> torch.Tensor:
    """Grey uint8 or float images (b, 1, h, w) in [0, 255] to normalised float32 (b, channels, h, w)."""
    channels = len(mean)
    scaled = images.to(torch.float32) / 255
    shift = torch.tensor(mean, device=images.device).view(1, channels, 1, 1)
    scale = torch.tensor(std, device=images.device).view(1, channels, 1, 1)
    return ((scaled - shift) / scale).contiguous(memory_format=memory_format)


def augment(images: torch.Tensor, options: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Draw flips, a crop and a rotation for each image of a batch, all at once.

    The crop is a square of a random share (uniform between `crop_min_scale` and 1) of the area at a random place,
    turned about its centre by a random angle (uniform between plus and minus `rotation_degrees`), and resized back
    by bilinear sampling. Where it reaches beyond the image, the border is repeated.

    Args:
        images: Shape (b, 1, size, size), uint8.
        options: What to draw.
        generator: The source of randomness, on the CPU, so that a GPU draws the same.

    Returns:
        Shape (b, 1, size, size): uint8 where nothing was resampled, else float32 in [0, 255].
    """
    count = images.shape[0]
    if options.crop_min_scale < 1 or options.rotation_degrees > 0:
        area = options.crop_min_scale + (1 - options.crop_min_scale) * torch.rand(count, generator=generator)
        side = area.sqrt()
        shift = (1 - side).unsqueeze(1) * (2 * torch.rand(count, 2, generator=generator) - 1)
        angle = torch.zeros(count)
        if options.rotation_degrees > 0:
            angle = math.radians(options.rotation_degrees) * (2 * torch.rand(count, generator=generator) - 1)
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0] = theta[:, 1, 1] = side * angle.cos()
        theta[:, 1, 0] = side * angle.sin()
        theta[:, 0, 1] = -theta[:, 1, 0]
        theta[:, :, 2] = shift
        grid = functional.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
        images = functional.grid_sample(
            images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
        )
    for is_drawn, axis in ((options.horizontal_flip, -1), (options.vertical_flip, -2)):
        if is_drawn:
            flipped = (torch.rand(count, generator=generator) < 0.5).to(images.device)
            images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(axis), images)
    return images


def vary_grey(images: torch.Tensor, options: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Draw contrast and brightness for each image of a batch; what leaves [0, 255] is cut.

    Scanners and windows differ between hospitals: networks should not depend on the grey level. Contrast is about the
    image's mean, as in Isensee et al., nnU-Net, Nature Methods 18 (2021) 203-211 (supplement: contrast 0.75 to 1.25).

    Args:
        images: Shape (b, 1, size, size), uint8 or float32 in [0, 255].
        options: What to draw.
        generator: The source of randomness, on the CPU.

    Returns:
        The same shape: unchanged where nothing is drawn, else float32 in [0, 255].
    """
    if options.contrast == options.brightness == 0:
        return images
    drawn = 2 * torch.rand(2, images.shape[0], 1, 1, 1, generator=generator).to(images.device) - 1
    factor, shift = drawn[0], drawn[1]
    grey = images.float()
    mean = grey.mean(dim=(1, 2, 3), keepdim=True)
    changed = (grey - mean) * (1 + options.contrast * factor) + mean + 255 * options.brightness * shift
    return changed.clamp(0, 255)
