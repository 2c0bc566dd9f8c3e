"""Networks for image-level tasks, on the loop of `engine`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from scanline.prepare.samples import Samples
from scanline.train.batches import augment, gather, normalise
from scanline.train.engine import Engine
from scanline.train.options import Augmentation, ClassifyTask, ModelOptions, TrainingOptions
from scanline.train.torchvision_classifier import (
    ClassifierSpec,
    build_classifier,
    input_statistics,
    save_classifier,
)


@dataclass(frozen=True)
class Job:
    """What one training run is given.

    Attributes:
        task: What is predicted, and how training images are changed.
        model: The network.
        training: How much and how.
        seed: Seed of the initial weights, the order of images and the augmentation.
        device: Where to compute.
    """

    task: ClassifyTask
    model: ModelOptions
    training: TrainingOptions
    seed: int
    device: torch.device


def grey_statistics(samples: Samples, batch: int = 512) -> tuple[float, float]:
    """Mean and standard deviation of a subset's grey values, in [0, 1], from exact whole-number sums."""
    histogram = np.zeros(256, dtype=np.int64)
    for start in range(0, len(samples), batch):
        histogram += np.bincount(samples.pixels[samples.rows[start : start + batch]].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = float((histogram * values).sum() / histogram.sum())
    return mean, float(np.sqrt((histogram * (values - mean) ** 2).sum() / histogram.sum()))


class Trainer(Engine):
    """Trains one classifier in a folder of the model store."""

    def __init__(
        self,
        job: Job,
        train: Samples,
        val: Samples,
        folder: Path,
        pretrained: dict[str, torch.Tensor] | None = None,
    ) -> None:
        self.job, self.train_samples, self.val_samples = job, train, val
        mean, std = input_statistics(job.model.weights, job.model.channels, *grey_statistics(train))
        self.spec = ClassifierSpec(
            architecture=job.model.architecture,
            channels=job.model.channels,
            image_size_px=int(train.pixels.shape[-1]),
            mean=mean,
            std=std,
            classes=(job.task.target,),
        )
        torch.manual_seed(job.seed)
        model = build_classifier(self.spec, pretrained)
        super().__init__(model, job.training, job.seed, job.device, folder, len(train), len(val))
        positives = float(train.truth.sum())
        weight = (len(train) - positives) / positives if job.task.class_weights else 1.0
        self.positive_weight = torch.tensor(weight, device=job.device)

    def training_loss(self, positions: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mean cross-entropy of a batch, augmented."""
        images, truth = gather(self.train_samples, positions, self.device)
        if self.job.task.augmentation != Augmentation():
            images = augment(images, self.job.task.augmentation, generator)
        return self._loss(images, truth)

    def _loss(self, images: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        inputs = normalise(images, self.spec.mean, self.spec.std)
        with self.autocast():
            logits = self.model(inputs)
        return functional.binary_cross_entropy_with_logits(logits[:, 0].float(), truth, pos_weight=self.positive_weight)

    def validate(self) -> dict[str, float]:
        """Mean loss over val, images as they are."""
        samples, total = self.val_samples, 0.0
        for positions in torch.arange(len(samples)).split(4 * self.training.batch_size):
            total += float(self._loss(*gather(samples, positions, self.device))) * len(positions)
        return {"val_loss": total / len(samples)}

    def save(self, path: Path) -> None:
        """Write spec and weights."""
        save_classifier(path, self.spec, self.model)

    def facts(self) -> dict[str, Any]:
        """Network, weights at the start, weight of positives."""
        return {
            "architecture": self.spec.architecture,
            "weights": self.job.model.weights,
            "positive_weight": float(self.positive_weight),
        }
