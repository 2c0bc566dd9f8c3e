"""Networks for image-level tasks, on the loop of `engine`: one question an image, several at once, or one of classes.

One question and several are a sigmoid a class, in whose loss an entry that nobody looked for has no part. Classes that
exclude another are one softmax. Nothing else differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scanline.prepare.samples import Samples, count_known, exclusive_samples, load_samples, require_both_classes
from scanline.train.batches import augment, gather, grey_statistics, normalise, vary_grey
from scanline.train.engine import Engine
from scanline.train.label_losses import class_cross_entropy, known_cross_entropy
from scanline.train.label_weights import read_class_weights, read_sampler_weights
from scanline.train.options import (
    Augmentation,
    ClassifyTask,
    ImageLevelTask,
    ModelOptions,
    MulticlassTask,
    TrainingOptions,
)
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

    task: ImageLevelTask
    model: ModelOptions
    training: TrainingOptions
    seed: int
    device: torch.device


@dataclass(frozen=True)
class LabelWeights:
    """What makes rare classes heard; None for what the task does not ask for.

    Attributes:
        classes: Factor of the positives' loss of each class; of classes that exclude another, of their images' loss.
        sampler: Weights by which training images are drawn, shape (n,), float64.
    """

    classes: list[float] | None = None
    sampler: torch.Tensor | None = None


def classes_of(task: ImageLevelTask) -> tuple[str, ...]:
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
    exclusive = isinstance(task, MulticlassTask)
    samples = load_samples(inputs["pixels"], inputs["index"], inputs["labels"], inputs["split"], classes)
    if exclusive:
        samples = exclusive_samples(samples, classes, inputs["labels"])
    require_both_classes(samples, ("train", "val"), classes, inputs["split"])
    train = samples["train"]
    rare = LabelWeights(
        read_class_weights(inputs.get("class_weights"), classes, "balanced" if exclusive else task.class_weights)
        if task.class_weights
        else None,
        read_sampler_weights(inputs.get("sampler_weights"), train.image_ids) if task.sampler_weights else None,
    )
    return Trainer(job, train, samples["val"], folder, load_pretrained(weights), rare).fit()


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
            output="softmax" if isinstance(job.task, MulticlassTask) else "sigmoid",
        )
        torch.manual_seed(job.seed)
        model = build_classifier(self.spec, pretrained)
        super().__init__(model, job.training, job.seed, job.device, folder, len(train), len(val))
        self.class_weight = torch.tensor(weights.classes or [1.0] * len(self.spec.classes), device=job.device)
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
        share = self._weight(own) / self._weight(truth)
        return self.processes.whole(share * self._loss(self.processes.own(images), own))

    def _loss(self, images: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        inputs = normalise(images, self.spec.mean, self.spec.std)
        with self.autocast():
            logits = self.network(inputs)
        loss = class_cross_entropy if self.spec.output == "softmax" else known_cross_entropy
        return loss(logits.float(), truth, self.class_weight)

    def _weight(self, truth: torch.Tensor) -> torch.Tensor:
        """What the loss of a batch is a mean over: known entries, or images by the weights of their classes."""
        return (self.class_weight * truth).sum() if self.spec.output == "softmax" else truth.isfinite().sum()

    def validate(self) -> dict[str, float]:
        """Mean loss of val, images as they are: over known entries, or over images by the weights of their classes."""
        samples, total, weight = self.val_samples, 0.0, 0.0
        for positions in torch.arange(len(samples)).split(4 * self.training.batch_size):
            images, truth = gather(samples, positions, self.device)
            share = float(self._weight(truth))
            total += float(self._loss(images, truth)) * share
            weight += share
        return {"val_loss": total / weight}

    def save(self, path: Path) -> None:
        """Write spec and weights."""
        save_classifier(path, self.spec, self.model)

    def facts(self) -> dict[str, Any]:
        """Network, weights at the start, weights in the loss; of several classes also what is known of them."""
        facts: dict[str, Any] = {"architecture": self.spec.architecture, "weights": self.job.model.weights}
        weights = [float(weight) for weight in self.class_weight]
        if isinstance(self.job.task, ClassifyTask):
            return facts | {"positive_weight": weights[0]}
        subsets = {"train": self.train_samples, "val": self.val_samples}
        return facts | {
            "class_weight" if self.spec.output == "softmax" else "positive_weight": dict(
                zip(self.spec.classes, weights, strict=True)
            ),
            "labels": {name: count_known(samples, self.spec.classes) for name, samples in subsets.items()},
            "left_out": {name: samples.left_out for name, samples in subsets.items()},
        }
