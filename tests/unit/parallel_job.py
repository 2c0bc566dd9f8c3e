"""Training in two processes on a CPU, as on a machine with two GPUs: a script of the workflow with small changes.

Called with the name of the script, and its arguments. In the environment:

* PROCESSES: how many train; without it, one.
* DIES: rank and epoch of a process that is killed at the end of the epoch.
* WAITS: a file that the first process writes at the end of its first epoch, and then does not go on.

Networks without batch norm and dropout stand in for those of image-level tasks and of segmentation: batch norm has
statistics of its own in each process on a CPU.
"""

import os
import signal
import sys
import time
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from scanline.core.command_line import run
from scanline.train import image_level, segmentation
from scanline.train import run as training_run
from scanline.train.engine import Engine


def build_network(spec, pretrained=None, *, last):
    channels = 8
    return nn.Sequential(nn.Conv2d(spec.channels, channels, 3, padding=1), nn.GELU(), *last(spec, channels))


def classify(spec, channels):
    return nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, len(spec.classes))


def segment(spec, channels):
    return (nn.Conv2d(channels, 1, 3, padding=1),)


def on_cpu(module, device_ids=None, **options):
    """DistributedDataParallel without the list of GPUs that ultralytics gives."""
    return DISTRIBUTED(module, **options)


DISTRIBUTED = nn.parallel.DistributedDataParallel


def change_epochs(trained):
    """Let a process die or wait after an epoch, as the environment says; `trained` gives rank and epoch."""

    def ended(*arguments):
        rank, epoch = trained(*arguments)
        if os.environ.get("DIES") == f"{rank} {epoch}":
            os.kill(os.getpid(), signal.SIGKILL)
        if rank == 0 and epoch == 1 and "WAITS" in os.environ:
            Path(os.environ["WAITS"]).write_text(str(os.getpid()))
            time.sleep(600)

    return ended


def main():
    name = sys.argv[1]
    image_level.build_classifier = partial(build_network, last=classify)
    segmentation.build_segmenter = partial(build_network, last=segment)
    torch.nn.parallel.DistributedDataParallel = on_cpu
    training_run.count_processes = lambda gpus, device: int(os.environ.get("PROCESSES", "1"))
    train_epoch = Engine._train_epoch
    ended = change_epochs(lambda engine, epoch: (engine.processes.rank, epoch))

    def changed(engine, epoch):
        result = train_epoch(engine, epoch)
        ended(engine, epoch)
        return result

    Engine._train_epoch = changed
    script = import_module(name)
    arguments = sys.argv
    sys.argv = [arguments[0], *arguments[2:]]
    parse = script.parse_arguments

    def parsed(*names):
        options = parse(*names)
        sys.argv = arguments  # what the other processes are started with
        return options

    script.parse_arguments = parsed
    run(script.main)


if __name__ == "__main__":
    main()
