"""A tiny detection job, drawn by a seeded generator: bright boxes in noise. No real data.

As a program it trains in the folder given, and is killed after an epoch where a second argument says so.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from scanline.train.detection import DetectionJob, DetectionSamples
from scanline.train.options import Augmentation, DetectTask, ModelOptions, TrainingOptions
from scanline.train.ultralytics_detector import fit_ultralytics, import_ultralytics

SIZE = 64
FLIPS = Augmentation(horizontal_flip=True)


def make_samples(count: int, first: int = 0) -> DetectionSamples:
    """Images of which each third is background."""
    pixels, boxes, classes = [], [], []
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        image = rng.integers(0, 60, (SIZE, SIZE))
        x, y = rng.integers(4, 36, 2)
        width, height = rng.integers(12, 25, 2)
        if number % 3 < 2:
            image[y : y + height, x : x + width] = 200
            boxes.append(np.array([[x, y, x + width, y + height]], np.float32))
            classes.append(np.array([1], np.int64))
        else:
            boxes.append(np.zeros((0, 4), np.float32))
            classes.append(np.zeros(0, np.int64))
        pixels.append(image.astype(np.uint8))
    return DetectionSamples(
        image_ids=np.array([f"s/{number}" for number in range(count)], dtype=object),
        rows=np.arange(count),
        boxes=tuple(boxes),
        classes=tuple(classes),
        sizes=np.full((count, 2), SIZE),
        pixels=np.stack(pixels),
        left_out={},
    )


def make_job(architecture: str = "yolov8n", weights: str = "none", channels: int = 1, **training) -> DetectionJob:
    """Three epochs of two steps, or as told."""
    options = {"epochs": 3, "batch_size": 4, "learning_rate": 2e-3, "weight_decay": 5e-4, "device": "cpu", **training}
    return DetectionJob(
        task=DetectTask(kind="detect", targets=("bleed",), augmentation=FLIPS),
        model=ModelOptions(architecture=architecture, weights=weights, channels=channels),
        training=TrainingOptions(**options),
        seed=5,
        device=torch.device("cpu"),
    )


def train(folder: Path, job: DetectionJob | None = None, weights: Path | None = None) -> dict:
    """Train on eight images with four for val; the facts."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    return fit_ultralytics(job or make_job(), make_samples(8), make_samples(4, first=100), folder, weights)


def die_after(epoch: int, settings: Path) -> None:
    """Have the process killed, as by the system, when this epoch's checkpoint is written."""
    import_ultralytics(settings)
    from scanline.train.ultralytics_trainer import ResumableTraining

    save = ResumableTraining.save_model

    def save_and_die(training: ResumableTraining) -> bool:
        save(training)
        if training.epoch + 1 == epoch:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    ResumableTraining.save_model = save_and_die


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if len(sys.argv) > 2:
        die_after(int(sys.argv[2]), place / "ultralytics" / "settings")
    train(place)
