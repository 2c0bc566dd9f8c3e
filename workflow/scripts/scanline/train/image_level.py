"""Networks for image-level tasks, on the loop of `engine`: one question an image, or several at once.

Both kinds of task are one sigmoid a class. An entry that nobody looked for has no part in the loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from scanline.prepare.samples import Samples, count_known, load_samples, require_both_classes
from scanline.train.batches import augment, gather, normalise, vary_grey
from scanline.train.engine import Engine
from scanline.train.label_weights import read_class_weights, read_sampler_weights
from scanline.train.options import Augmentation, ClassifyTask, ModelOptions, MultilabelTask, TrainingOptions
from scanline.train.torchvision_classifier import (
    ClassifierSpec,
    build_classifier,
    input_statistics,
    save_classifier,
)
from scanline.train.weights import load_pretrained


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

    task: ClassifyTask | MultilabelTask
    model: ModelOptions
    training: TrainingOptions
    seed: int
    device: torch.device


@dataclass(frozen=True)
class LabelWeights:
    """What makes rare classes heard; None for what the task does not ask for.

    Attributes:
        positive: Factor of the positives' loss of each class.
        sampler: Weights by which training images are drawn, shape (n,), float64.
    """

    positive: list[float] | None = None
    sampler: torch.Tensor | None = None


def classes_of(task: ClassifyTask | MultilabelTask) -> tuple[str, ...]:
    """The classes that a task predicts, in the order of the network's outputs."""
    return (task.target,) if isinstance(task, ClassifyTask) else task.targets


def fit_classifier(job: Job, inputs: Mapping[str, Path], weights: Path | None, folder: Path) -> dict[str, Any]:
    """Train a network in a folder of the model store: a resumed one where it was begun there.

    Args:
        job: What to train.
        inputs: Files named pixels, index, labels, split, and class_weights or sampler_weights where the task asks.
        weights: Record or file of the weights to start from, or None.
        folder: Of the model store; model.pt and history.csv are written there.

    Returns:
        The facts of the run, plain values.

    Raises:
        InputError: For train or val without positives or negatives of a class, or weights that are missing or do
            not fit.
    """
    task, classes = job.task, classes_of(job.task)
    samples = load_samples(inputs["pixels"], inputs["index"], inputs["labels"], inputs["split"], classes)
    require_both_classes(samples, ("train", "val"), classes, inputs["split"])
    train = samples["train"]
    rare = LabelWeights(
        read_class_weights(inputs.get("class_weights"), classes, task.class_weights) if task.class_weights else None,
        read_sampler_weights(inputs.get("sampler_weights"), train.image_ids) if task.sampler_weights else None,
    )
    return Trainer(job, train, samples["val"], folder, load_pretrained(weights), rare).fit()


def grey_statistics(samples: Samples, batch: int = 512) -> tuple[float, float]:
    """Mean and standard deviation of a subset's grey values, in [0, 1], from exact whole-number sums."""
    histogram = np.zeros(256, dtype=np.int64)
    for start in range(0, len(samples), batch):
        histogram += np.bincount(samples.pixels[samples.rows[start : start + batch]].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = float((histogram * values).sum() / histogram.sum())
    return mean, float(np.sqrt((histogram * (values - mean) ** 2).sum() / histogram.sum()))


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


class Trainer(Engine):
    """Trains one classifier in a folder of the model store."""

    def __init__(
        self,
        job: Job,
        train: Samples,
        val: Samples,
        folder: Path,
        pretrained: dict[str, torch.Tensor] | None = None,
        weights: LabelWeights = LabelWeights(),
    ) -> None:
        self.job, self.train_samples, self.val_samples = job, train, val
        mean, std = input_statistics(job.model.weights, job.model.channels, *grey_statistics(train))
        self.spec = ClassifierSpec(
            architecture=job.model.architecture,
            channels=job.model.channels,
            image_size_px=int(train.pixels.shape[-1]),
            mean=mean,
            std=std,
            classes=classes_of(job.task),
        )
        torch.manual_seed(job.seed)
        model = build_classifier(self.spec, pretrained)
        super().__init__(model, job.training, job.seed, job.device, folder, len(train), len(val))
        self.positive_weight = torch.tensor(weights.positive or [1.0] * len(self.spec.classes), device=job.device)
        self.sampler = weights.sampler

    def order(self, generator: torch.Generator) -> torch.Tensor:
        """Each image once, or as many drawn with replacement by the sampler's weights."""
        if self.sampler is None:
            return super().order(generator)
        return torch.multinomial(self.sampler, self.n_train, replacement=True, generator=generator)

    def training_loss(self, positions: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mean cross-entropy of a batch, augmented."""
        images, truth = gather(self.train_samples, positions, self.device)
        if self.job.task.augmentation != Augmentation():
            images = augment(images, self.job.task.augmentation, generator)
            images = vary_grey(images, self.job.task.augmentation, generator)
        own = self.processes.own(truth)
        share = own.isfinite().sum() / truth.isfinite().sum()  # of the known entries
        return self.processes.whole(share * self._loss(self.processes.own(images), own))

    def _loss(self, images: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        inputs = normalise(images, self.spec.mean, self.spec.std)
        with self.autocast():
            logits = self.network(inputs)
        return known_cross_entropy(logits.float(), truth, self.positive_weight)

    def validate(self) -> dict[str, float]:
        """Mean loss over the known entries of val, images as they are."""
        samples, total = self.val_samples, 0.0
        known = np.isfinite(samples.truth)
        for positions in torch.arange(len(samples)).split(4 * self.training.batch_size):
            entries = int(known[positions.numpy()].sum())
            total += float(self._loss(*gather(samples, positions, self.device))) * entries
        return {"val_loss": total / int(known.sum())}

    def save(self, path: Path) -> None:
        """Write spec and weights."""
        save_classifier(path, self.spec, self.model)

    def facts(self) -> dict[str, Any]:
        """Network, weights at the start, weight of positives; of several labels also what is known of them."""
        facts: dict[str, Any] = {"architecture": self.spec.architecture, "weights": self.job.model.weights}
        weights = [float(weight) for weight in self.positive_weight]
        if isinstance(self.job.task, ClassifyTask):
            return facts | {"positive_weight": weights[0]}
        subsets = {"train": self.train_samples, "val": self.val_samples}
        return facts | {
            "positive_weight": dict(zip(self.spec.classes, weights, strict=True)),
            "labels": {name: count_known(samples, self.spec.classes) for name, samples in subsets.items()},
            "left_out": {name: samples.left_out for name, samples in subsets.items()},
        }
