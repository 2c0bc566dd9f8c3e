"""Networks for image-level tasks, on the loop of `engine`: one question an image, several at once, or one of classes.

One question and several are a sigmoid a class, in whose loss an entry that nobody looked for has no part. Classes that
exclude another are one softmax. Nothing else differs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from scanline.prepare.samples import Samples, count_known, exclusive_samples, load_samples, require_both_classes
from scanline.train.batches import augment, gather, grey_statistics, normalise, vary_grey
from scanline.train.engine import Engine
from scanline.train.label_losses import LossShape, Targets, as_targets, mix_targets, sigmoid_loss, softmax_loss
from scanline.train.label_metrics import measure_val
from scanline.train.label_weights import read_class_weights, weigh_images
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
    head_of,
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
        inputs: Files named pixels, index, labels, split, and class_weights where the task asks.
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
        weigh_images(inputs["labels"], inputs["split"], classes, train.image_ids) if task.sampler_weights else None,
    )
    return Trainer(job, train, samples["val"], folder, load_pretrained(weights), rare).fit()


def mix_images(
    images: torch.Tensor, targets: Targets, alpha: float, generator: torch.Generator
) -> tuple[torch.Tensor, Targets]:
    """Mix each image of a batch with another one, and their targets alike (mixup, Zhang et al., ICLR (2018)).

    Args:
        images: Shape (b, 1, h, w), uint8 or float32.
        targets: Of the images.
        alpha: Each share is drawn from Beta(alpha, alpha).
        generator: On the CPU.

    Returns:
        Images, float32, and targets, of the same shapes.
    """
    seed = int(torch.randint(2**62, (1,), generator=generator))
    share = torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, len(images)).astype(np.float32))
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    share = share.to(images.device)
    grey, own = images.float(), share.view(-1, 1, 1, 1)
    return own * grey + (1 - own) * grey[partner], mix_targets(targets, partner, share)


class Trainer(Engine):
    """Trains one classifier in a folder of the model store."""

    can_accumulate = True

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
        statistics = grey_statistics(train)
        mean, std = input_statistics(job.model.weights, job.model.channels, *statistics, job.model.statistics)
        self.spec = ClassifierSpec(
            architecture=job.model.architecture,
            channels=job.model.channels,
            image_size_px=int(train.pixels.shape[-1]),
            mean=mean,
            std=std,
            classes=classes_of(job.task),
            output="softmax" if isinstance(job.task, MulticlassTask) else "sigmoid",
        )
        task = job.task
        self.exclusive = self.spec.output == "softmax"
        self.shape = LossShape(
            task.loss, task.focal_gamma, *task.asymmetric_gamma, task.asymmetric_margin, task.label_smoothing
        )
        if task.stop_on != "val_loss":
            self.criterion, self.higher_is_better = f"val_{task.stop_on}", True
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

    def pretrained_layers(self) -> list[nn.Module]:
        """All but the head."""
        head = self.model.get_submodule(head_of(self.model))
        return [layer for layer in self.model.modules() if layer is not head]

    def training_loss(self, positions: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mean loss of a batch, augmented."""
        return torch.stack(list(self.training_losses(positions, generator))).sum()

    def training_losses(self, positions: torch.Tensor, generator: torch.Generator) -> Iterator[torch.Tensor]:
        """Losses of the parts of a batch, all of which is drawn, augmented and mixed at once."""
        images, truth = gather(self.train_samples, positions, self.device)
        task = self.job.task
        if task.augmentation != Augmentation():
            images = augment(images, task.augmentation, generator)
            images = vary_grey(images, task.augmentation, generator)
        targets = as_targets(truth)
        if task.mixup_alpha > 0:
            images, targets = mix_images(images, targets, task.mixup_alpha, generator)
        total, own = self._weight(targets), self.processes.own(torch.arange(len(images), device=self.device))
        parts = min(self.training.accumulation_steps, max(1, len(images) // (2 * self.processes.count)))
        for rows in own.tensor_split(parts):
            part = Targets(targets.truth[rows], targets.weight[rows])
            share = self._weight(part) / total
            yield self.processes.whole(share * self._loss(self._logits(images[rows]), part, self.shape))

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        inputs = normalise(images, self.spec.mean, self.spec.std, self.memory_format)
        with self.autocast():
            logits: torch.Tensor = self.network(inputs)
        return logits.float()

    def _loss(self, logits: torch.Tensor, targets: Targets, shape: LossShape) -> torch.Tensor:
        loss = softmax_loss if self.exclusive else sigmoid_loss
        return loss(logits, targets, self.class_weight, shape)

    def _weight(self, targets: Targets) -> torch.Tensor:
        """What the loss of a batch is a mean over: known entries, or images by the weights of their classes."""
        return (self.class_weight * targets.truth).sum() if self.exclusive else targets.weight.sum()

    def validate(self) -> dict[str, float]:
        """Mean loss of val without smoothing, images as they are, and what early stopping goes by.

        The loss is a mean over known entries, or over images by the weights of their classes.
        """
        samples, total, weight = self.val_samples, 0.0, 0.0
        shape = replace(self.shape, smoothing=0.0)
        found = []
        for positions in torch.arange(len(samples)).split(4 * self.training.batch_size):
            images, truth = gather(samples, positions, self.device)
            targets, logits = as_targets(truth), self._logits(images)
            share = float(self._weight(targets))
            total += float(self._loss(logits, targets, shape)) * share
            weight += share
            found.append(logits.softmax(dim=1) if self.exclusive else logits.sigmoid())
        measured = {"val_loss": total / weight}
        if self.criterion != "val_loss":
            probability = torch.cat(found).double().cpu().numpy()
            name = self.job.task.stop_on
            measured[self.criterion] = measure_val(name, samples.truth, probability, exclusive=self.exclusive)
        return measured

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
            "class_weight" if self.exclusive else "positive_weight": dict(zip(self.spec.classes, weights, strict=True)),
            "labels": {name: count_known(samples, self.spec.classes) for name, samples in subsets.items()},
            "left_out": {name: samples.left_out for name, samples in subsets.items()},
        }
