"""Images a second in training: our engine, plain and with its options on, a bare PyTorch loop, a loop as often written.

All train the same network on the same images in one run. The bare loop does nothing but steps, in our
precision and memory format, on float tensors that are normalised beforehand: the most that PyTorch gives. The last
decodes each file with Pillow in each epoch, in float32, batch 4. They take turns, every second round in
the other order, and the ratios are of medians.

    python benchmarks/training_throughput.py [--architecture resnet18] [--image-size-px 128] [--images 512] [--rounds 4]
        [--clock processor]

The clock `processor` counts the seconds that this process computed for, so that ratios mean something on a machine that
others use too.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow/scripts"))

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from scanline.prepare.pixels import resize
from scanline.prepare.samples import Samples
from scanline.train.batches import gather, normalise
from scanline.train.device import be_deterministic, choose_precision
from scanline.train.image_level import Job, Trainer
from scanline.train.options import Augmentation, ClassifyTask, ModelOptions, TrainingOptions

CPU = torch.device("cpu")
BATCH = 32
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}
OPTIONS_ON = {"augmentation": Augmentation(policy="head_ct"), "mixup_alpha": 0.2, "label_smoothing": 0.1}


def make_files(folder: Path, count: int) -> list[Path]:
    """Write `count` grey PNG files of 512 x 512 px: a smooth head-like disc with noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    disc = np.clip((0.8 - np.hypot(x, y)) * 400, 0, 110)
    paths = []
    for number in range(count):
        pixels = np.clip(disc + rng.normal(0, 8, disc.shape), 0, 255).astype(np.uint8)
        paths.append(folder / f"{number:05d}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def time_engine(trainer: Trainer, epoch: int, clock: Callable[[], float]) -> float:
    """Images a second of one epoch of our engine."""
    start = clock()
    trainer._train_epoch(epoch)
    return len(trainer.train_samples) / (clock() - start)


def time_bare_loop(trainer: Trainer, images: torch.Tensor, truth: torch.Tensor, clock: Callable[[], float]) -> float:
    """Images a second of plain steps on normalised float tensors in memory."""
    order = torch.randperm(len(images))
    trainer.model.train()
    start = clock()
    for positions in order.split(BATCH):
        inputs = images[positions].contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=trainer.precision or torch.bfloat16, enabled=trainer.precision is not None):
            logits = trainer.model(inputs)
        loss = functional.binary_cross_entropy_with_logits(logits[:, 0].float(), truth[positions])
        trainer.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        trainer.optimizer.step()
    return len(images) / (clock() - start)


def time_script_loop(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    paths: list[Path],
    truth: torch.Tensor,
    size_px: int,
    clock: Callable[[], float],
) -> float:
    """Images a second where each file is decoded in each epoch, in float32, batch 4."""
    model.train()
    start = clock()
    for positions in torch.randperm(len(paths)).split(4):
        loaded = [np.asarray(Image.open(paths[int(position)]).resize((size_px, size_px))) for position in positions]
        inputs = torch.from_numpy(np.stack(loaded)).float()[:, None] / 255
        loss = functional.binary_cross_entropy_with_logits(model((inputs - 0.2) / 0.3)[:, 0], truth[positions])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return len(paths) / (clock() - start)


def main() -> None:
    """Run the loops in turn and print their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--image-size-px", type=int, default=128)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    args = parser.parse_args()
    clock = CLOCKS[args.clock]
    be_deterministic(torch.get_num_threads())
    with tempfile.TemporaryDirectory() as name:
        paths = make_files(Path(name), args.images)
        size = args.image_size_px
        pixels = np.stack([resize(np.asarray(Image.open(path)), size) for path in paths])
        rng = np.random.default_rng(1)
        samples = Samples(
            image_ids=np.array([path.stem for path in paths], dtype=object),
            rows=np.arange(len(paths)),
            truth=(rng.random((len(paths), 1)) < 0.2).astype(np.float32),
            pixels=pixels,
        )
        task = ClassifyTask(kind="binary", target="bleed")
        model = ModelOptions(architecture=args.architecture, weights="none", channels=1)
        options = TrainingOptions(batch_size=BATCH, device="cpu")
        ours, bare = (Trainer(Job(task, model, options, 0, CPU), samples, samples, Path(name)) for _ in range(2))
        with_all = task.model_copy(update=OPTIONS_ON)
        more = options.model_copy(update={"ema_decay": 0.99, "gradient_clip_norm": 1.0})
        full = Trainer(Job(with_all, model, more, 0, CPU), samples, samples, Path(name))
        script = Trainer(Job(task, model, options, 0, CPU), samples, samples, Path(name)).model
        script = script.to(memory_format=torch.contiguous_format)
        script_optimizer = torch.optim.AdamW(script.parameters(), lr=1e-3)
        everything, truths = gather(samples, torch.arange(len(samples)), CPU)
        truth = truths[:, 0]
        ready = normalise(everything, ours.spec.mean, ours.spec.std)
        loops: dict[str, Callable[[int], float]] = {
            "engine": lambda epoch: time_engine(ours, epoch, clock),
            "options on": lambda epoch: time_engine(full, epoch, clock),
            "bare loop": lambda _: time_bare_loop(bare, ready, truth, clock),
            "script loop": lambda _: time_script_loop(script, script_optimizer, paths, truth, size, clock),
        }
        rates: dict[str, list[float]] = {loop: [] for loop in loops}
        for number in range(args.rounds + 1):
            for loop in list(loops)[:: 1 if number % 2 else -1]:  # what ran just before tells on a loop
                rate = loops[loop](number + 1)
                if number:  # the first round warms up
                    rates[loop].append(rate)
    engine = float(np.median(rates["engine"]))
    precision = str(choose_precision("auto", CPU) or torch.float32)
    threads = torch.get_num_threads()
    print(f"\n{args.architecture}, {size} px, {args.images} images, {threads} threads, {precision}, {args.clock} time")
    print(f"{'loop':12} {'images/s (median, min to max)':>32} {'engine is':>12}")
    for loop, values in rates.items():
        middle = float(np.median(values))
        print(f"{loop:12} {middle:12.1f} ({min(values):6.1f} to {max(values):6.1f}) {engine / middle:11.2f}x")


if __name__ == "__main__":
    main()
