"""Several processes that train one network, a GPU each: PyTorch's DistributedDataParallel, started as torchrun does.

The job itself keeps the model store's folder locked and starts its own command line once for each GPU. Every process
draws the order and the augmentation of whole batches from the same seeds, computes on its part of each batch, and
takes its step with the gradient of the whole batch: so the weights are those of one process with the same batch size,
but for rounding and for what a network draws or averages itself, see docs/training.md. The first process alone
measures val and writes.
"""

import ctypes
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
import torch.distributed
from torch import nn
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from scanline.core.errors import InputError
from scanline.core.files import read_json, write_json
from scanline.core.log import logger

FOLDER, STARTED_BY = "SCANLINE_TRAINING_FOLDER", "SCANLINE_TRAINING_STARTED_BY"
FACTS, FAILURE = "facts.json", "failure.json"
PATIENCE = timedelta(hours=3)  # for the others; the first may measure val for long. Ultralytics waits as long.
LOOPBACK = "127.0.0.1"  # all processes are on one machine, whose own name it may not know
SIGNAL_OF_PARENTS_DEATH = 1  # PR_SET_PDEATHSIG, see prctl(2)


@dataclass(frozen=True)
class Processes:
    """The processes that train one network, and which of them this one is.

    Attributes:
        rank: Number of this process, from 0 on.
        count: How many there are.
    """

    rank: int
    count: int

    @property
    def is_first(self) -> bool:
        """Whether this is the process that measures val and writes."""
        return self.rank == 0

    def own(self, batch: Any) -> Any:
        """The part of a batch that is this process's: of a tensor along its first axis, or of a list."""
        start, end = (len(batch) * edge // self.count for edge in (self.rank, self.rank + 1))
        return batch[start:end]

    def whole(self, part: torch.Tensor) -> torch.Tensor:
        """Sum of a part over all processes.

        Its gradient is that of the own part, times the number of processes, since DistributedDataParallel then takes
        the mean over them.
        """
        if self.count == 1:
            return part
        total = part.detach().clone()
        torch.distributed.all_reduce(total)
        return total + self.count * (part - part.detach())

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Mean of a value over all processes, without gradient."""
        return self.whole(value.detach()) / self.count

    def from_first(self, values: dict[str, float]) -> dict[str, float]:
        """What the first process has, in all of them."""
        if self.count == 1:
            return values
        held = [values]
        torch.distributed.broadcast_object_list(held, src=0)
        return held[0]

    def wait_for_all(self) -> None:
        """Go on when all processes have come here."""
        if self.count > 1:
            torch.distributed.barrier()

    def share_norm(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Let batch norm take its statistics over whole batches, which PyTorch can on GPUs alone."""
        if self.count == 1 or device.type != "cuda":
            return model
        shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return shared

    def in_parallel(self, model: nn.Module) -> nn.Module | None:
        """The network as it is called to train in several processes; None where there is one."""
        if self.count == 1:
            return None
        return nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)


def current_processes() -> Processes:
    """The processes of the current training; a single one where no others were started."""
    if not torch.distributed.is_initialized():
        return Processes(0, 1)
    return Processes(torch.distributed.get_rank(), torch.distributed.get_world_size())


def count_processes(gpus: int, device: torch.device) -> int:
    """How many processes train on a device: one a GPU that the job was given, and one on a CPU.

    Args:
        gpus: The rule's resource `gpu`.
        device: Chosen by `choose_device`.

    Raises:
        InputError: If the job sees fewer GPUs than it was given.
    """
    if gpus <= 1 or device.type != "cuda":
        return 1
    seen = torch.cuda.device_count()
    if seen < gpus:
        raise InputError(
            "resource gpu",
            found=f"{gpus}, and {seen} GPUs that the job can use",
            expected=f"at most {seen}",
            next_step="Lower gpu in set-resources of the profile, or add nodes=1 there, so that all are on one node.",
        )
    return gpus


def require_parts(batch_size: int, n_train: int, count: int) -> None:
    """Check that every process has an image of each batch.

    Raises:
        InputError: If there are more processes than images in a batch.
    """
    if min(batch_size, n_train) < count:
        raise InputError(
            "training.batch_size",
            found=f"batches of {min(batch_size, n_train)} images",
            expected=f"at least {count}, one for each GPU",
            next_step="Raise batch_size in the study file or the preset, or lower gpu in set-resources.",
        )


def fit_in_processes(folder: Path, count: int) -> dict[str, Any]:
    """Run this program's command line in `count` processes, which train in `folder`.

    Returns:
        The facts of the run, from the first process.

    Raises:
        InputError: That of a process, or naming the one that broke off.
    """
    for name in (FACTS, FAILURE):
        (folder / name).unlink(missing_ok=True)
    os.environ |= {FOLDER: str(folder), STARTED_BY: str(os.getpid())}
    as_torchrun = LaunchConfig(  # --standalone
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=f"{LOOPBACK}:0",
        local_addr=LOOPBACK,
        max_restarts=0,
    )
    logger.info("training in %d processes", count)
    try:
        elastic_launch(as_torchrun, sys.executable)(*sys.argv)
    except ChildFailedError as error:
        raise _failure(folder, error) from None
    except SignalException as ended:
        sys.exit(128 + int(ended.sigval))
    finally:
        for name in (FOLDER, STARTED_BY):
            del os.environ[name]
    facts: dict[str, Any] = read_json(folder / FACTS)
    (folder / FACTS).unlink()
    return facts


def _failure(folder: Path, error: ChildFailedError) -> InputError:
    told = folder / FAILURE
    if told.exists():
        values = read_json(told)
        told.unlink()
        return InputError(values.pop("where"), **values)
    rank, failure = error.get_first_failure()
    return InputError(
        f"training process {rank}",
        found=f"exit status {failure.exitcode}",
        expected="0",
        next_step="What it said stands above. Run the same command again: training goes on after the last epoch.",
    )


def folder_of_process() -> Path | None:
    """The folder that this process trains in, where `fit_in_processes` started it; it then dies with its parent."""
    if FOLDER not in os.environ:
        return None
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SIGNAL_OF_PARENTS_DEATH, signal.SIGKILL)
        if os.getppid() != int(os.environ[STARTED_BY]):
            sys.exit(1)
    return Path(os.environ[FOLDER])


@contextmanager
def joined(folder: Path, device: torch.device) -> Iterator[torch.device]:
    """Join the other processes; bad input is told to the one that started them.

    Args:
        folder: From `folder_of_process`.
        device: Of all processes; on a machine with GPUs each takes its own.
    """
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    elif sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if os.environ["RANK"] != "0":
        logger.setLevel(logging.ERROR)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield device
    except InputError as error:
        names = ("where", "found", "expected", "next_step")
        write_json(folder / FAILURE, {name: getattr(error, name) for name in names})
        sys.exit(1)
    torch.distributed.destroy_process_group()


def tell_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Leave the facts of the run for the process that started this one."""
    if current_processes().is_first:
        write_json(folder / FACTS, json.loads(json.dumps(facts)))
