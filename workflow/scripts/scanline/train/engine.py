"""The loop that all networks of ours are trained by: early stopping, exact resume, a record of the run."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from scanline.core.errors import InputError
from scanline.core.files import written_aside
from scanline.core.log import logger, progress
from scanline.train.device import choose_precision, describe_device
from scanline.train.model_store import BEST, CHECKPOINT
from scanline.train.options import TrainingOptions
from scanline.train.processes import current_processes, require_parts
from scanline.train.schedule import MovingAverage, cosine_factor, plateau_factor, warm_up


@dataclass
class Progress:
    """How far training has come; saved with each checkpoint.

    Attributes:
        epoch: Epochs done.
        best_epoch: The epoch with the best criterion; 0 before the first.
        best: Its criterion, lower is better.
        history: A row an epoch.
        images: Training images taken, over all epochs.
        train_seconds: Time spent in training steps.
        diverged: Whether the last epoch ended in numbers that are not finite, after better ones; never saved.
    """

    epoch: int = 0
    best_epoch: int = 0
    best: float = math.inf
    history: list[dict[str, float]] = field(default_factory=list)
    images: int = 0
    train_seconds: float = 0.0
    diverged: bool = False


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for each epoch, so that an epoch draws the same whether or not a run was resumed before it."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def make_optimizer(model: nn.Module, training: TrainingOptions) -> torch.optim.Optimizer:
    """The optimiser that the options ask for, over all weights of a network."""
    if training.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(),
            lr=training.learning_rate,
            momentum=training.momentum,
            weight_decay=training.weight_decay,
        )
    return torch.optim.AdamW(model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)


class Engine(ABC):
    """Trains one network in a folder of the model store, from its last checkpoint where there is one.

    A subclass says how a batch becomes a loss, how val is measured and how the network is saved. In several processes
    (`processes`) each has an engine of its own.

    Args:
        model: The network, built under `torch.manual_seed(seed)`.
        training: How much and how.
        seed: Of the order of images and of augmentation.
        device: Where to compute.
        folder: Of the model store.
        n_train: Number of training images.
        n_val: Number of val images.

    Attributes:
        criterion: The column of the history that early stopping goes by.
        higher_is_better: Whether a higher criterion is better.
        can_accumulate: Whether the loss of a batch is a sum over parts of it, see `training_losses`.
    """

    criterion = "val_loss"
    higher_is_better = False
    can_accumulate = False

    def __init__(
        self,
        model: nn.Module,
        training: TrainingOptions,
        seed: int,
        device: torch.device,
        folder: Path,
        n_train: int,
        n_val: int,
    ) -> None:
        self.training, self.seed, self.device, self.folder = training, seed, device, folder
        self.n_train, self.n_val = n_train, n_val
        self.processes = current_processes()
        require_parts(training.batch_size, n_train, self.processes.count)
        if training.accumulation_steps > 1 and not self.can_accumulate:
            raise InputError(
                "training.accumulation_steps",
                found=str(training.accumulation_steps),
                expected="1, as the loss of this network is not a sum over parts of a batch",
                next_step="Leave it out, or lower batch_size.",
            )
        model = self.processes.share_norm(model, device)
        self.memory_format = torch.channels_last if training.channels_last else torch.contiguous_format
        self.model = model.to(device, memory_format=self.memory_format)  # type: ignore[call-overload]
        self.average = None if training.ema_decay is None else MovingAverage(self.model, training.ema_decay)
        self.parallel = self.processes.in_parallel(self.model)
        self.precision = choose_precision(training.precision, device)
        self.optimizer = make_optimizer(self.model, training)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision is torch.float16)
        self.progress = Progress()

    @abstractmethod
    def training_loss(self, positions: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mean loss of a batch, the network being in training mode.

        All is drawn for the whole batch; the loss is that of the process's own part, made `processes.whole`.

        Args:
            positions: Of the batch's images within train, shape (b,), int64.
            generator: For augmentation; on the CPU.
        """

    def training_losses(self, positions: torch.Tensor, generator: torch.Generator) -> Iterator[torch.Tensor]:
        """Losses whose sum is that of the batch, each to be followed backwards before the next is made."""
        yield self.training_loss(positions, generator)

    def pretrained_layers(self) -> list[nn.Module]:
        """What is held still in the first `frozen_epochs`: the weights that each of these layers has of its own."""
        return []

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Measure val: columns of the history, the criterion among them."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write the network as model.pt."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What run.json says of this kind of network, plain values."""

    def order(self, generator: torch.Generator) -> torch.Tensor:
        """Positions of the training images in the order of an epoch; a sampler may repeat or leave out some."""
        return torch.randperm(self.n_train, generator=generator)

    @property
    def network(self) -> nn.Module:
        """The network to call: in training that of all processes, whose gradients are averaged; else the kept one."""
        if not torch.is_grad_enabled():
            return self.kept
        return self.model if self.parallel is None else self.parallel

    @property
    def kept(self) -> nn.Module:
        """The network that is measured on val and kept: the average of the weights where the options ask for one."""
        return self.model if self.average is None else self.average.model

    def autocast(self) -> torch.autocast:
        """The precision of the forward pass."""
        return torch.autocast(
            self.device.type, dtype=self.precision or torch.bfloat16, enabled=self.precision is not None
        )

    def fit(self) -> dict[str, Any]:
        """Train until the last epoch or until patience ends; write model.pt and history.csv into the folder.

        Where weights or val are no longer finite numbers after an epoch that had them, training ends there and the best
        epoch is kept, as no later one could be better.

        Returns:
            The facts of the run, plain values; nothing where another process writes.

        Raises:
            InputError: If the first epoch ends in numbers that are not finite; no checkpoint is left.
        """
        started = time.monotonic()
        self._resume()
        while self.progress.epoch < self.training.epochs and not self._is_patience_over():
            self._run_epoch()
            if self.progress.diverged:
                break
            self._save_checkpoint()
        if not self.processes.is_first:
            return {}
        self.model.load_state_dict(torch.load(self.folder / BEST, map_location=self.device, weights_only=True))
        with written_aside(self.folder / "model.pt") as aside:
            self.save(aside)
        with written_aside(self.folder / "history.csv") as aside:
            history = pd.DataFrame(self.progress.history)
            history["is_best"] = history["epoch"] == self.progress.best_epoch
            history.to_csv(aside, index=False)
        return {**self._facts(time.monotonic() - started), **self.facts()}

    def _is_patience_over(self) -> bool:
        since_best = self.progress.epoch - self.progress.best_epoch
        return self.progress.epoch > 0 and since_best >= self.training.patience_epochs

    def _run_epoch(self) -> None:
        epoch = self.progress.epoch + 1
        seconds = time.monotonic()
        train_loss, seen = self._train_epoch(epoch)
        seconds = time.monotonic() - seconds
        self.model.eval()
        with torch.no_grad():
            measured = self.processes.from_first(self._measure(train_loss) if self.processes.is_first else {})
        self.progress.diverged = not all(math.isfinite(value) for value in measured.values())
        if self.progress.diverged:
            self._tell_divergence(epoch, measured)
        value = -measured[self.criterion] if self.higher_is_better else measured[self.criterion]
        is_best = value < self.progress.best and not self.progress.diverged
        if is_best:
            self.progress.best, self.progress.best_epoch = value, epoch
        if is_best and self.processes.is_first:
            with written_aside(self.folder / BEST) as aside:
                torch.save(self.kept.state_dict(), aside)
        self.progress.epoch = epoch
        self.progress.images += seen
        self.progress.train_seconds += seconds
        row = {"epoch": epoch, "train_loss": train_loss, **measured}
        row |= {"learning_rate": self.optimizer.param_groups[0]["lr"], "seconds": round(seconds, 3)}
        self.progress.history.append(row)
        logger.info(
            "epoch %d of %d: train loss %.4f, %s%s, %.0f images/s",
            epoch,
            self.training.epochs,
            train_loss,
            ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in measured.items()),
            " (best)" if is_best else "",
            seen / seconds,
        )

    def _measure(self, train_loss: float) -> dict[str, float]:
        """Columns of the history; the criterion alone, NaN, of a network whose training loss is not finite.

        Weights may be: PyTorch leaves the gradient of those that saw nothing but padding undefined in bfloat16.
        """
        return self.validate() if math.isfinite(train_loss) else {self.criterion: math.nan}

    def _tell_divergence(self, epoch: int, measured: dict[str, float]) -> None:
        found = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in measured.items())
        if self.progress.best_epoch == 0:
            raise InputError(
                f"training, epoch {epoch}",
                found=f"{found}: the network diverged",
                expected="finite numbers",
                next_step="Lower learning_rate, set gradient_clip_norm, or set precision to float32.",
            )
        logger.warning(
            "epoch %d: %s: the network diverged; training ends, and epoch %d is kept",
            epoch,
            found,
            self.progress.best_epoch,
        )

    def _train_epoch(self, epoch: int) -> tuple[float, int]:
        """One pass over the training images in a fresh order; the mean loss, and how many images it is over."""
        torch.manual_seed(epoch_seed(self.seed, epoch) + self.processes.rank)  # dropout and stochastic depth
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, epoch))
        batches = self._batches(generator)
        steps = len(batches)
        total = torch.zeros((), device=self.device, dtype=torch.float64)
        count = 0
        self.model.train()
        self._freeze(epoch <= self.training.frozen_epochs)
        for number, positions in enumerate(progress(batches, unit="batch") if self.processes.is_first else batches):
            step = (epoch - 1) * steps + number
            self.optimizer.param_groups[0]["lr"] = self.training.learning_rate * self._rate_factor(step, steps)
            self.optimizer.zero_grad(set_to_none=True)
            for loss in self.training_losses(positions, generator):
                self.scaler.scale(loss).backward()
                total += loss.detach() * len(positions)
            self._step()
            count += len(positions)
        return float(total) / count, count

    def _step(self) -> None:
        if self.training.gradient_clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.training.gradient_clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.model)

    def _rate_factor(self, step: int, steps: int) -> float:
        """What the peak learning rate is multiplied by at a step, counted over all epochs of so many steps."""
        training = self.training
        if training.schedule == "cosine":
            return cosine_factor(step, training.warmup_epochs * steps, training.epochs * steps)
        sign = -1 if self.higher_is_better else 1
        values = [sign * row[self.criterion] for row in self.progress.history]
        scale = plateau_factor(values, training.plateau_factor, training.plateau_patience_epochs)
        return warm_up(step, training.warmup_epochs * steps) * scale

    def _freeze(self, frozen: bool) -> None:
        """Hold the pretrained layers still, statistics of batch norm included, or let them learn."""
        for layer in self.pretrained_layers() if self.training.frozen_epochs else []:
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(not frozen)
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.train(not frozen)

    def _batches(self, generator: torch.Generator) -> list[torch.Tensor]:
        """The epoch's order cut into batches.

        A last batch of one image is left out, as batch norm cannot take it, or of fewer images than processes.
        """
        batches = list(self.order(generator).split(self.training.batch_size))
        too_few = len(batches[-1]) < max(2, self.processes.count)
        return batches[:-1] if len(batches) > 1 and too_few else batches

    def _save_checkpoint(self) -> None:
        if not self.processes.is_first:
            return
        with written_aside(self.folder / CHECKPOINT) as aside:
            torch.save(
                {
                    "model": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "progress": asdict(self.progress),
                    **({} if self.average is None else {"average": self.average.state()}),
                },
                aside,
            )

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        # on the CPU, where Adam's steps stay: on a GPU each of them would make the optimiser wait for it
        saved = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.progress = Progress(**saved["progress"])
        if self.average is not None:
            self.average.load(saved["average"])
        logger.info("resumed after epoch %d from %s", self.progress.epoch, path)

    def _facts(self, wall_seconds: float) -> dict[str, Any]:
        done = self.progress
        return {
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "seed": self.seed,
            "epochs": done.epoch,
            "best_epoch": done.best_epoch,
            f"best_{self.criterion}": -done.best if self.higher_is_better else done.best,
            "stopped_early": done.epoch < self.training.epochs,
            **({"diverged_in_epoch": done.epoch} if done.diverged else {}),
            "n_train": self.n_train,
            "n_val": self.n_val,
            "device": describe_device(self.device),
            "processes": self.processes.count,
            "precision": str(self.precision or torch.float32).removeprefix("torch."),
            "images_per_second": done.images / done.train_seconds if done.train_seconds else None,
            "train_seconds": done.train_seconds,
            "wall_seconds": wall_seconds,
        }
