"""The engine for image-level tasks: early stopping on val loss, exact resume, a record of the run."""

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from scanline.core.files import written_aside
from scanline.core.log import logger, progress
from scanline.prepare.samples import Samples
from scanline.train.batches import augment, gather, normalise
from scanline.train.device import choose_precision, describe_device
from scanline.train.model_store import BEST, CHECKPOINT
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


@dataclass
class Progress:
    """How far training has come; saved with each checkpoint.

    Attributes:
        epoch: Epochs done.
        best_epoch: The epoch with the lowest val loss; 0 before the first.
        best_loss: Its val loss.
        history: A row an epoch.
        train_seconds: Time spent in training steps.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    history: list[dict[str, float]] = field(default_factory=list)
    train_seconds: float = 0.0


def grey_statistics(samples: Samples, batch: int = 512) -> tuple[float, float]:
    """Mean and standard deviation of a subset's grey values, in [0, 1], from exact whole-number sums."""
    histogram = np.zeros(256, dtype=np.int64)
    for start in range(0, len(samples), batch):
        histogram += np.bincount(samples.pixels[samples.rows[start : start + batch]].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = float((histogram * values).sum() / histogram.sum())
    return mean, float(np.sqrt((histogram * (values - mean) ** 2).sum() / histogram.sum()))


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for each epoch, so that an epoch draws the same whether or not a run was resumed before it."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def learning_rate_factor(step: int, warmup_steps: float, total_steps: int) -> float:
    """Linear warm-up to 1, then a half cosine to 0 (Loshchilov and Hutter 2017, SGDR, without restarts)."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / max(1.0, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class Trainer:
    """Trains one network in a folder of the model store, from its last checkpoint where there is one."""

    def __init__(
        self,
        job: Job,
        train: Samples,
        val: Samples,
        folder: Path,
        pretrained: dict[str, torch.Tensor] | None = None,
    ) -> None:
        self.job, self.train_samples, self.val_samples, self.folder = job, train, val, folder
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
        self.model = model.to(job.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision = choose_precision(job.training.precision, job.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=job.training.learning_rate, weight_decay=job.training.weight_decay
        )
        self.scaler = torch.amp.GradScaler(job.device.type, enabled=self.precision is torch.float16)
        positives = float(train.truth.sum())
        weight = (len(train) - positives) / positives if job.task.class_weights else 1.0
        self.positive_weight = torch.tensor(weight, device=job.device)
        self.progress = Progress()

    def fit(self) -> dict[str, Any]:
        """Train until the last epoch or until patience ends; write model.pt and history.csv into the folder.

        Returns:
            The facts of the run, plain values.
        """
        started = time.monotonic()
        self._resume()
        options = self.job.training
        while self.progress.epoch < options.epochs and not self._is_patience_over():
            self._run_epoch()
            self._save_checkpoint()
        self.model.load_state_dict(torch.load(self.folder / BEST, map_location=self.job.device, weights_only=True))
        with written_aside(self.folder / "model.pt") as aside:
            save_classifier(aside, self.spec, self.model)
        with written_aside(self.folder / "history.csv") as aside:
            history = pd.DataFrame(self.progress.history)
            history["is_best"] = history["epoch"] == self.progress.best_epoch
            history.to_csv(aside, index=False)
        return self._facts(time.monotonic() - started)

    def _is_patience_over(self) -> bool:
        since_best = self.progress.epoch - self.progress.best_epoch
        return self.progress.epoch > 0 and since_best >= self.job.training.patience_epochs

    def _run_epoch(self) -> None:
        epoch = self.progress.epoch + 1
        seconds = time.monotonic()
        train_loss = self._train_epoch(epoch)
        seconds = time.monotonic() - seconds
        val_loss = self.mean_loss(self.val_samples)
        is_best = val_loss < self.progress.best_loss
        if is_best:
            self.progress.best_loss, self.progress.best_epoch = val_loss, epoch
            with written_aside(self.folder / BEST) as aside:
                torch.save(self.model.state_dict(), aside)
        self.progress.epoch = epoch
        self.progress.train_seconds += seconds
        self.progress.history.append(
            {
                "epoch": epoch,
                "train_loss": train_loss,
                "val_loss": val_loss,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "seconds": round(seconds, 3),
            }
        )
        logger.info(
            "epoch %d of %d: train loss %.4f, val loss %.4f%s, %.0f images/s",
            epoch,
            self.job.training.epochs,
            train_loss,
            val_loss,
            " (best)" if is_best else "",
            len(self.train_samples) / seconds,
        )

    def _train_epoch(self, epoch: int) -> float:
        """One pass over the training images in a fresh order; the mean loss."""
        options, device = self.job.training, self.job.device
        torch.manual_seed(epoch_seed(self.job.seed, epoch))  # dropout and stochastic depth
        generator = torch.Generator().manual_seed(epoch_seed(self.job.seed, epoch))
        batches = self._batches(generator)
        steps = len(batches)
        warmup_steps = options.warmup_epochs * steps
        total = torch.zeros((), device=device, dtype=torch.float64)
        count = 0
        self.model.train()
        for number, positions in enumerate(progress(batches, unit="batch")):
            step = (epoch - 1) * steps + number
            factor = learning_rate_factor(step, warmup_steps, options.epochs * steps)
            self.optimizer.param_groups[0]["lr"] = options.learning_rate * factor
            images, truth = gather(self.train_samples, positions, device)
            if self.job.task.augmentation != Augmentation():
                images = augment(images, self.job.task.augmentation, generator)
            loss = self._loss(images, truth)
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            total += loss.detach() * len(positions)
            count += len(positions)
        return float(total) / count

    def _batches(self, generator: torch.Generator) -> list[torch.Tensor]:
        """A random order cut into batches; a last batch of one image is left out, as batch norm cannot take it."""
        order = torch.randperm(len(self.train_samples), generator=generator)
        batches = list(order.split(self.job.training.batch_size))
        return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches

    def _loss(self, images: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        inputs = normalise(images, self.spec.mean, self.spec.std)
        with torch.autocast(
            self.job.device.type, dtype=self.precision or torch.bfloat16, enabled=self.precision is not None
        ):
            logits = self.model(inputs)
        return functional.binary_cross_entropy_with_logits(logits[:, 0].float(), truth, pos_weight=self.positive_weight)

    @torch.no_grad()
    def mean_loss(self, samples: Samples) -> float:
        """Mean loss over a subset, in evaluation mode, images as they are."""
        self.model.eval()
        total = 0.0
        for positions in torch.arange(len(samples)).split(4 * self.job.training.batch_size):
            total += float(self._loss(*gather(samples, positions, self.job.device))) * len(positions)
        return total / len(samples)

    def _save_checkpoint(self) -> None:
        with written_aside(self.folder / CHECKPOINT) as aside:
            torch.save(
                {
                    "model": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "progress": asdict(self.progress),
                },
                aside,
            )

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        saved = torch.load(path, map_location=self.job.device, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.progress = Progress(**saved["progress"])
        logger.info("resumed after epoch %d from %s", self.progress.epoch, path)

    def _facts(self, wall_seconds: float) -> dict[str, Any]:
        done = self.progress
        seen = done.epoch * len(self.train_samples)
        return {
            "architecture": self.spec.architecture,
            "weights": self.job.model.weights,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "seed": self.job.seed,
            "epochs": done.epoch,
            "best_epoch": done.best_epoch,
            "best_val_loss": done.best_loss,
            "stopped_early": done.epoch < self.job.training.epochs,
            "n_train": len(self.train_samples),
            "n_val": len(self.val_samples),
            "positive_weight": float(self.positive_weight),
            "device": describe_device(self.job.device),
            "precision": str(self.precision or torch.float32).removeprefix("torch."),
            "images_per_second": seen / done.train_seconds if done.train_seconds else None,
            "train_seconds": done.train_seconds,
            "wall_seconds": wall_seconds,
        }
