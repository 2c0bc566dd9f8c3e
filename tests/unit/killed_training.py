"""Killing a training in the middle of an epoch, and comparing what comes of it. For tests of the engines."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def weights_of(model: Path) -> dict[str, torch.Tensor]:
    """The weights in a model.pt."""
    state: dict[str, torch.Tensor] = torch.load(model, weights_only=True)["state"]
    return state


def assert_equal_weights(first: Path, second: Path) -> None:
    """Check that two model.pt hold the same weights to the bit."""
    one, other = weights_of(first), weights_of(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def linger(trainer: type, epoch: int, ready: Path) -> None:
    """Have a trainer stop for a minute at the end of an epoch, before anything of it is saved, and say so by a file."""
    original: Any = trainer._train_epoch  # type: ignore[attr-defined]

    def slow_epoch(self: Any, number: int) -> Any:
        loss = original(self, number)
        if number == epoch:
            ready.touch()
            time.sleep(60)
        return loss

    trainer._train_epoch = slow_epoch  # type: ignore[attr-defined]


def kill_in_epoch(train: Callable[..., None], *arguments: object, ready: Path) -> None:
    """Run `train(*arguments, ready)`, which lingers, in a process of its own, and kill it there.

    Args:
        train: A function of a module, so that the new process finds it.
        arguments: What it is given.
        ready: The file that says that it lingers.
    """
    process = multiprocessing.get_context("spawn").Process(target=train, args=(*arguments, ready))
    process.start()
    while not ready.exists():
        time.sleep(0.05)
        assert process.is_alive()
    os.kill(process.pid, signal.SIGKILL)  # type: ignore[arg-type]
    process.join()


def note_epochs(monkeypatch: Any, trainer: type) -> list[int]:
    """A list that grows by each epoch that is trained from now on."""
    original: Any = trainer._train_epoch  # type: ignore[attr-defined]
    epochs: list[int] = []
    monkeypatch.setattr(trainer, "_train_epoch", lambda self, epoch: epochs.append(epoch) or original(self, epoch))
    return epochs
