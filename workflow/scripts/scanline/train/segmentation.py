"""Segmentation networks, on the loop of `engine`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from scanline.core.errors import InputError
from scanline.core.log import logger
from scanline.prepare.segmentation_samples import MaskSamples, load_mask_samples, require_lesions
from scanline.train.batches import augment, gather, grey_statistics, normalise, vary_grey
from scanline.train.engine import Engine
from scanline.train.mask_losses import mask_loss, mask_loss_sums
from scanline.train.options import Augmentation, ModelOptions, SegmentTask, TrainingOptions
from scanline.train.run import train_in_store
from scanline.train.segmentation_networks import SegmenterSpec, build_segmenter, save_segmenter
from scanline.train.torchvision_classifier import input_statistics
from scanline.train.weights import load_pretrained

PACKAGES = ("torch", "torchvision", "segmentation-models-pytorch", "timm", "numpy", "pandas")


@dataclass(frozen=True)
class SegmentationJob:
    """What one training run is given.

    Attributes:
        task: What is segmented, by which loss, and how training images are drawn and changed.
        model: The network.
        training: How much and how.
        seed: Seed of the initial weights, the order of images and the augmentation.
        device: Where to compute.
        unknown: Images of unknown mask by subset, which are in neither training nor val: recorded.
    """

    task: SegmentTask
    model: ModelOptions
    training: TrainingOptions
    seed: int
    device: torch.device
    unknown: Mapping[str, int] = field(default_factory=dict)


def gather_masks(samples: MaskSamples, positions: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Take masks out of the cache.

    Args:
        samples: A subset of known masks.
        positions: Shape (b,), int64: positions within the subset.
        device: Where the tensor goes.

    Returns:
        Shape (b, 1, size, size), float32 of 0 and 1.
    """
    masks = np.ascontiguousarray(samples.masks[samples.rows[positions.numpy()]])
    return torch.from_numpy(masks).unsqueeze(1).to(device, torch.float32, non_blocking=True)


def augment_pair(
    images: torch.Tensor, masks: torch.Tensor, options: Augmentation, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Change images and masks alike, by `batches.augment`: images bilinearly, masks by the nearest pixel.

    The grey values of the images alone are varied, by `batches.vary_grey`.

    The coordinates of the pixels are changed along with the image. As they are linear they come out exact, and say
    for each new pixel which old one is nearest.

    Args:
        images: Shape (b, 1, h, w), uint8.
        masks: Shape (b, 1, h, w), float32 of 0 and 1.
        options: What to draw.
        generator: On the CPU.

    Returns:
        Images, float32 in [0, 255], and masks, float32 of 0 and 1, of the same shapes.
    """
    count, _, height, width = images.shape
    across = torch.arange(width, device=images.device, dtype=torch.float32).expand(count, 1, height, width)
    down = torch.arange(height, device=images.device, dtype=torch.float32).view(-1, 1).expand(count, 1, height, width)
    changed = augment(torch.cat([images.float(), down, across], dim=1), options, generator)
    which = torch.arange(count, device=images.device).view(-1, 1, 1)
    nearest = masks[which, 0, changed[:, 1].round().long(), changed[:, 2].round().long()]
    return vary_grey(changed[:, :1], options, generator), nearest.unsqueeze(1)


def draw_order(truth: torch.Tensor, positive_share: float | None, generator: torch.Generator) -> torch.Tensor:
    """Positions of the training images in the order of an epoch.

    Args:
        truth: Shape (n,), 1 for images with lesion, 0 for others.
        positive_share: None takes each image once. Else each image with lesion is taken once, and of the others as
            many as make this the share of images with lesion, drawn anew each epoch, without replacement; where there
            are too few of them, each is taken once.
        generator: On the CPU.

    Returns:
        Shape (m,), int64: m <= n different positions, shuffled.
    """
    order = torch.randperm(len(truth), generator=generator)
    if positive_share is None:
        return order
    has_lesion = truth[order] > 0.5
    wanted = round(int(has_lesion.sum()) * (1 - positive_share) / positive_share)
    taken = order[has_lesion | (torch.cumsum(~has_lesion, 0) <= wanted)]
    return taken[torch.randperm(len(taken), generator=generator)]


class SegmentationTrainer(Engine):
    """Trains one segmentation network in a folder of the model store."""

    def __init__(
        self,
        job: SegmentationJob,
        train: MaskSamples,
        val: MaskSamples,
        folder: Path,
        pretrained: dict[str, torch.Tensor] | None = None,
    ) -> None:
        if job.model.encoder is None:
            raise InputError(
                f"model {job.model.architecture}",
                found="no encoder",
                expected="an encoder of segmentation-models-pytorch, for example resnet34",
                next_step="Add encoder to the model in the study file.",
            )
        self.job, self.train_samples, self.val_samples = job, train, val
        statistics = grey_statistics(train)
        mean, std = input_statistics(job.model.weights, job.model.channels, *statistics, job.model.statistics)
        self.spec = SegmenterSpec(
            architecture=job.model.architecture,
            encoder=job.model.encoder,
            channels=job.model.channels,
            image_size_px=int(train.pixels.shape[-1]),
            mean=mean,
            std=std,
            target=job.task.target,
        )
        torch.manual_seed(job.seed)
        model = build_segmenter(self.spec, pretrained)
        super().__init__(model, job.training, job.seed, job.device, folder, len(train), len(val))

    def order(self, generator: torch.Generator) -> torch.Tensor:
        """Each image once, or each with lesion and so many others that it is the task's share."""
        return draw_order(torch.from_numpy(self.train_samples.truth[:, 0]), self.job.task.positive_share, generator)

    def training_loss(self, positions: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The task's loss of a batch, augmented."""
        images, _ = gather(self.train_samples, positions, self.device)
        masks = gather_masks(self.train_samples, positions, self.device)
        if self.job.task.augmentation != Augmentation():
            images, masks = augment_pair(images, masks, self.job.task.augmentation, generator)
        loss = self.job.task.loss
        sums = mask_loss_sums(loss, self._logits(self.processes.own(images)), self.processes.own(masks))
        return mask_loss(loss, self.processes.whole(sums))

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        inputs = normalise(images, self.spec.mean, self.spec.std, self.memory_format)
        with self.autocast():
            logits: torch.Tensor = self.network(inputs)
        return logits.float()

    def pretrained_layers(self) -> list[nn.Module]:
        """Those of the encoder."""
        return list(self.model.get_submodule("encoder").modules())

    def validate(self) -> dict[str, float]:
        """Loss of all of val at once, and Dice of all its pixels at probability 0.5, images as they are."""
        loss, samples = self.job.task.loss, self.val_samples
        sums = torch.zeros(5, dtype=torch.float64, device=self.device)
        counts = torch.zeros(3, dtype=torch.int64, device=self.device)  # both, predicted, true pixels
        for positions in torch.arange(len(samples)).split(self.training.batch_size):
            images, _ = gather(samples, positions, self.device)
            masks = gather_masks(samples, positions, self.device)
            logits = self._logits(images)
            sums += mask_loss_sums(loss, logits, masks).double()
            predicted, true = logits >= 0, masks > 0.5
            counts += torch.stack([(predicted & true).sum(), predicted.sum(), true.sum()])
        both, predicted_pixels, true_pixels = counts.tolist()
        dice = 2 * both / max(1, predicted_pixels + true_pixels)
        return {"val_loss": float(mask_loss(loss, sums)), "dice": dice}

    def save(self, path: Path) -> None:
        """Write spec and weights."""
        save_segmenter(path, self.spec, self.model)

    def facts(self) -> dict[str, Any]:
        """Network, weights at the start, loss, images of known and unknown mask."""
        return {
            "architecture": self.spec.architecture,
            "encoder": self.spec.encoder,
            "weights": self.job.model.weights,
            "loss": self.job.task.loss,
            "image_size_px": self.spec.image_size_px,
            "n_train_with_lesion": int(self.train_samples.truth.sum()),
            "n_val_with_lesion": int(self.val_samples.truth.sum()),
            "images_of_unknown_mask": dict(self.job.unknown),
        }


def train_segmenter(
    task: SegmentTask,
    model: ModelOptions,
    training: TrainingOptions,
    *,
    inputs: Mapping[str, Path],
    weights: Path | None,
    seed: int,
    **job: Any,
) -> None:
    """Train a segmentation network; arguments as for `train_in_store`.

    Args:
        task: What to segment.
        model: The network.
        training: How much and how.
        inputs: Files named pixels, index, masks, split.
        weights: Record or file of a state dict of the encoder, or None.
        seed: Training seed.
        job: The rest of what `train_in_store` takes.

    Raises:
        InputError: As there, for train or val without lesion, or weights that do not fit.
    """

    def fit(folder: Path, device: torch.device) -> dict[str, Any]:
        samples = load_mask_samples(**inputs)
        unknown = samples.count_unknown()
        logger.info("images of unknown mask, left out: %s", ", ".join(f"{n} in {name}" for name, n in unknown.items()))
        require_lesions(samples.known, ("train", "val"), inputs["split"])
        started = SegmentationJob(task, model, training, seed, device, unknown)
        known = samples.known
        return SegmentationTrainer(started, known["train"], known["val"], folder, load_pretrained(weights)).fit()

    train_in_store(task, model, training, fit, inputs=inputs, weights=weights, seed=seed, packages=PACKAGES, **job)
