"""Ultralytics' detectors (YOLO), trained from their descriptions or from a file of weights; never from the network.

Ultralytics is licensed under AGPL-3.0, which a model or service built with it has to respect.

The package is imported late, by `import_ultralytics`, as it reads its environment then. What it is told keeps it off
the network (YOLO_OFFLINE, YOLO_AUTOINSTALL, no integrations) and inside the folder of the job (YOLO_CONFIG_DIR). How
training differs from `yolo train` is told in `ultralytics_trainer`.

Two runs of one job on one machine give equal weights, and so does a run that was killed and resumed. AP in the history
is COCO's AP on val, for early stopping; the study's numbers come from scanline.evaluate.
"""

import os
import shutil
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import scanline.core.torchvision_compat  # noqa: F401  (has to come before ultralytics)
from scanline.core.errors import InputError
from scanline.core.files import read_json, written_aside
from scanline.core.log import logger
from scanline.core.options import check_options
from scanline.prepare.yolo_export import YoloSubset, write_yolo
from scanline.train.detection import DetectionJob, Detections, DetectionSamples, DetectorSpec
from scanline.train.detector_model import TunedModel
from scanline.train.device import choose_precision, describe_device
from scanline.train.model_store import BEST, CHECKPOINT
from scanline.train.options import BoxAugmentation, TrainingOptions
from scanline.train.processes import current_processes, require_parts
from scanline.train.ultralytics_options import UltralyticsOptions, explain_settings, trainer_settings, training_with

# Shift and zoom of training images. Ultralytics' defaults are 0.1 and 0.5 (cfg/default.yaml), made for photographs;
# heads in CT are of much the same size, so that half of its zoom is taken.
SHIFT = 0.1
ZOOM = 0.25
MIN_SIZE_PX = 64
INTEGRATIONS = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb", "vscode_msg")

# What torch.load and a look into what it gives may raise on a file of something else.
UNREADABLE = (OSError, LookupError, TypeError, AttributeError, RuntimeError, ValueError, EOFError, UnpicklingError)


def import_ultralytics(folder: Path | None = None) -> None:
    """Import the package so that it fetches nothing and keeps its settings to a folder.

    Args:
        folder: For its settings; None for one that is gone when the import is done.
    """
    if "ultralytics" in sys.modules:
        return
    if folder is None:
        with TemporaryDirectory() as made:
            _import(Path(made))
    else:
        _import(folder)


def _import(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(
        YOLO_CONFIG_DIR=str(folder.absolute()), YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false"
    )
    # What the package changes for the whole process is put back. Its Image.open goes looking for another package where
    # a file is no image; its torch.save waits and tries again where a disk is full.
    open_image, save = Image.open, torch.save
    with np.printoptions():
        from ultralytics.utils import SETTINGS
    Image.open, torch.save = open_image, save

    SETTINGS.update(dict.fromkeys(INTEGRATIONS, False))  # type: ignore[no-untyped-call]


class UltralyticsDetector:
    """A trained network, ready to be called; see `detection.Detector`."""

    def __init__(self, spec: DetectorSpec, network: nn.Module, device: torch.device) -> None:
        self.spec, self.network, self.device = spec, network.to(device).eval().requires_grad_(False), device

    def __call__(self, images: NDArray[np.uint8]) -> list[Detections]:
        """Find boxes on images of shape (b, size, size), in float32; the size may be another multiple of 32."""
        from scanline.train.ultralytics_trainer import find_boxes, network_input

        with torch.no_grad():
            output = self.network(
                network_input(torch.from_numpy(np.ascontiguousarray(images)).to(self.device), self.spec.channels)
            )
        return find_boxes(output[0], images.shape[-1], len(self.spec.classes), end2end=bool(self.network.end2end))


def fit_ultralytics(
    job: DetectionJob, train: DetectionSamples, val: DetectionSamples, folder: Path, weights: Path | None
) -> dict[str, Any]:
    """Train a detector in a folder of the model store; see `detection`.

    Args:
        job: What to train, and how.
        train: Training images.
        val: Images to stop by.
        folder: Gets model.pt and history.csv; holds all that is written meanwhile.
        weights: A state dict or a checkpoint of ultralytics to start from, or the record of one, or None.

    Returns:
        The facts of the run; nothing where another process writes.

    Raises:
        InputError: For a network that ultralytics does not have, images of a size that it would pad, rates that it
            refuses, weights that do not fit, images to be mixed of which some are partly unknown, or a loss that does
            not stay finite.
    """
    started = time.monotonic()
    work, processes = folder / "ultralytics", current_processes()
    import_ultralytics(work / ("settings" if processes.is_first else f"settings{processes.rank}"))
    from scanline.train.ultralytics_trainer import ResumableTraining, build_network

    spec = _spec(job, train)
    job, notes = _with_own_options(job)
    _check_rates(job.training)
    _check_batches(job.training, len(train), processes.count)
    torch.manual_seed(job.seed)
    network = build_network(spec.architecture, len(spec.classes), spec.channels)
    taken = _take_weights(network, _starting_state(job, weights), weights)
    settings = _settings(job, spec, work, processes.count)
    _check_mixing(settings, train)
    if not _is_done(folder, job):
        subsets = {"train": _yolo_subset(train), "val": _yolo_subset(val)}
        if processes.is_first:
            write_yolo(work, train.pixels, subsets, spec.classes, spec.channels)
        processes.wait_for_all()
        folders = {name: work / "images" / name for name in subsets}
        shared = processes.share_norm(network, job.device)
        ResumableTraining(settings, shared, spec.classes, folders, train, val, folder).train()  # type: ignore[no-untyped-call]
    processes.wait_for_all()
    if not processes.is_first:
        return {}
    saved = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
    state = torch.load(folder / BEST, map_location="cpu", weights_only=True)
    with written_aside(folder / "model.pt") as aside:
        torch.save({"spec": spec.as_json(), "state": state}, aside)
    history = pd.DataFrame(saved["history"])
    history["is_best"] = history["epoch"] == saved["best_epoch"]
    with written_aside(folder / "history.csv") as aside:
        history.to_csv(aside, index=False)
    shutil.rmtree(work, ignore_errors=True)
    return {
        "architecture": spec.architecture,
        "weights": job.model.weights,
        "tensors_from_weights": taken,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "seed": job.seed,
        "epochs": saved["epoch"],
        "best_epoch": saved["best_epoch"],
        "best_ap50_95": saved["best"],
        "stopped_early": saved["epoch"] < job.training.epochs,
        "n_train": len(train),
        "n_val": len(val),
        "device": describe_device(job.device),
        "processes": processes.count,
        "precision": "bfloat16" if settings["amp"] == "bf16" else "float32",
        "images_per_second": saved["epoch"] * len(train) / saved["train_seconds"],
        "train_seconds": saved["train_seconds"],
        "wall_seconds": time.monotonic() - started,
        "ultralytics": version("ultralytics"),
        "ultralytics_settings": {
            name: value for name, value in settings.items() if name not in ("save_dir", "device", "workers")
        },
        **({"ultralytics_notes": notes} if notes else {}),
    }


def load_ultralytics(path: Path, device: torch.device) -> tuple[DetectorSpec, UltralyticsDetector]:
    """Read a trained detector back; nothing in the file is run.

    Raises:
        InputError: If the file is missing or was not written by `fit_ultralytics`.
    """
    import_ultralytics()
    from scanline.train.ultralytics_trainer import build_network

    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        spec = DetectorSpec.from_json(saved["spec"])
        network = build_network(spec.architecture, len(spec.classes), spec.channels)
        network.load_state_dict(saved["state"])
    except UNREADABLE as error:
        raise InputError(
            path,
            found=str(error)[:200],
            expected="a model.pt of an ultralytics detector, made by this workflow",
            next_step=f"snakemake {path}",
        ) from error
    return spec, UltralyticsDetector(spec, network, device)


def _spec(job: DetectionJob, train: DetectionSamples) -> DetectorSpec:
    size, channels = train.image_size_px, job.model.channels
    if size % 32 or size < MIN_SIZE_PX:
        raise InputError(
            "image_size_px",
            found=str(size),
            expected=f"a multiple of 32 from {MIN_SIZE_PX} on, as ultralytics would pad other images",
            next_step="Change the size in the study file or the preset.",
        )
    return DetectorSpec(
        family="ultralytics",
        architecture=job.model.architecture,
        classes=job.task.targets,
        image_size_px=size,
        channels=channels,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )


def _own_options(job: DetectionJob) -> UltralyticsOptions | None:
    if not isinstance(job.model, TunedModel):
        return None
    return check_options(UltralyticsOptions, job.model.ultralytics, "--options: model.ultralytics")


def _with_own_options(job: DetectionJob) -> tuple[DetectionJob, dict[str, str]]:
    """The job with the trainer's own options in their places, and a line for each that does not speak for itself."""
    options = _own_options(job)
    if options is None:
        return job, {}
    notes = explain_settings(options, job.model.channels, len(job.task.targets))
    for name, line in notes.items():
        logger.info("ultralytics.%s: %s", name, line)
    return replace(job, training=training_with(options, job.training)), notes


def _check_rates(training: TrainingOptions) -> None:
    for name in ("learning_rate", "weight_decay"):
        value = getattr(training, name)
        if value > 1:
            raise InputError(
                f"training.{name}",
                found=str(value),
                expected="at most 1, as ultralytics takes no more",
                next_step="Lower it in the study file or the preset.",
            )


def _check_batches(training: TrainingOptions, n_train: int, processes: int) -> None:
    require_parts(training.batch_size, n_train, processes)
    if training.batch_size % processes:
        raise InputError(
            "training.batch_size",
            found=f"{training.batch_size} on {processes} GPUs",
            expected=f"a multiple of {processes}, as ultralytics takes equal parts",
            next_step="Change batch_size in the study file or the preset, or gpu in set-resources.",
        )


def _check_mixing(settings: dict[str, Any], train: DetectionSamples) -> None:
    for name in ("mosaic", "mixup", "cutmix"):
        if settings[name] and train.n_partly_known:
            raise InputError(
                f"ultralytics.{name}",
                found=f"{settings[name]}, and {train.n_partly_known} training images on which a class is unknown",
                expected="no mixing of images, as a class may be known on one and unknown on another",
                next_step="Set it to 0, or train on targets that were looked for on every image.",
            )


def _settings(job: DetectionJob, spec: DetectorSpec, work: Path, processes: int) -> dict[str, Any]:
    """Ultralytics' options; those that are not here are without effect, or at the defaults of its cfg/default.yaml."""
    training, on_gpu, options = job.training, job.device.type == "cuda", _own_options(job)
    is_half = on_gpu and choose_precision(training.precision, job.device) is torch.bfloat16
    return {
        "task": "detect",
        "mode": "train",
        "model": spec.architecture,
        "data": spec.architecture,  # not read, see ResumableTraining.get_dataset
        "pretrained": False,
        "imgsz": spec.image_size_px,
        "epochs": training.epochs,
        "patience": training.patience_epochs,
        "batch": training.batch_size,
        "nbs": training.batch_size,
        "optimizer": "AdamW",
        "lr0": training.learning_rate,
        "lrf": 0.01,
        "cos_lr": True,
        "momentum": 0.9,
        "weight_decay": training.weight_decay,
        "warmup_epochs": training.warmup_epochs,
        "warmup_bias_lr": 0.0,
        "seed": job.seed,
        "deterministic": True,
        "device": ",".join(map(str, range(processes))) if on_gpu else "cpu",
        "workers": torch.get_num_threads() if on_gpu else 0,
        "amp": "bf16" if is_half else False,  # float16 makes ultralytics fetch a network to try it with
        "save_dir": str(work / "run"),
        "exist_ok": True,
        "plots": False,
        "verbose": False,
        **augmentation_settings(job.task.augmentation),
        **(trainer_settings(options) if options else {}),
    }


def augmentation_settings(augmentation: BoxAugmentation) -> dict[str, Any]:
    """Ultralytics' names for how training images are changed.

    Flips are the task's; so is a crop, as a zoom in. Shift and zoom are small and always there. Colours are not
    changed, as grey values are densities. Images are not mixed or tiled (mosaic, mixup, cutmix, copy-paste), as a
    slice has one head, and where it lies is part of what there is to learn. A model's `ultralytics` changes any of it.
    """
    return {
        "translate": SHIFT,
        "scale": [1 - ZOOM, max(1 + ZOOM, augmentation.crop_min_scale**-0.5)],
        "fliplr": 0.5 if augmentation.horizontal_flip else 0.0,
        "flipud": 0.5 if augmentation.vertical_flip else 0.0,
        **dict.fromkeys(("hsv_h", "hsv_s", "hsv_v", "bgr", "degrees", "shear", "perspective"), 0.0),
        **dict.fromkeys(("mosaic", "mixup", "cutmix", "copy_paste", "erasing", "multi_scale"), 0.0),
        "auto_augment": None,
        "close_mosaic": 0,
    }


def _yolo_subset(samples: DetectionSamples) -> YoloSubset:
    return YoloSubset(samples.rows, samples.boxes, [numbers - 1 for numbers in samples.classes])


def _is_done(folder: Path, job: DetectionJob) -> bool:
    """Whether a killed run had nothing left but to write its results."""
    path = folder / CHECKPOINT
    if not path.exists():
        return False
    saved = torch.load(path, map_location="cpu", weights_only=True)
    return bool(
        saved["epoch"] >= job.training.epochs or saved["epoch"] - saved["best_epoch"] >= job.training.patience_epochs
    )


def _starting_state(job: DetectionJob, path: Path | None) -> dict[str, torch.Tensor] | None:
    """The weights to start from; of a checkpoint of ultralytics, those that it would predict with."""
    if path is None:
        if job.model.weights != "none":
            raise InputError(
                f"model {job.model.architecture}: weights",
                found=job.model.weights,
                expected="coco, none, or a file of weights: ultralytics' detectors have none of ImageNet",
                next_step="Set the model's weights in the study file.",
            )
        return None
    if path.suffix == ".json":
        path = Path(read_json(path)["path"])
    from ultralytics.nn.tasks import torch_safe_load

    try:
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
        except UnpicklingError:  # a whole network: its known classes are rebuilt, others are refused
            saved, _ = torch_safe_load(path, safe_only=True)  # type: ignore[no-untyped-call]
        if "model" in saved:  # a whole network, which torch.load knows too once ultralytics has told it the classes
            saved = (saved.get("ema") or saved["model"]).float().state_dict()
        saved = saved.get("state", saved)
        if not all(isinstance(value, torch.Tensor) for value in saved.values()):
            raise TypeError("something else")
    except UNREADABLE as error:
        raise InputError(
            path,
            found=str(error)[:200],
            expected="a state dict, a model.pt of this workflow, or a checkpoint of ultralytics",
            next_step="Set the model's weights to none or another file.",
        ) from error
    return dict(saved)


def _take_weights(network: nn.Module, state: dict[str, torch.Tensor] | None, path: Path | None) -> int:
    """Load the tensors that fit by name and shape; filters of colour images are summed for a grey input.

    Returns:
        How many were taken.

    Raises:
        InputError: If fewer than half fit, as then they are of another network.
    """
    if state is None:
        return 0
    own = network.state_dict()
    fitting = {}
    for name, value in own.items():
        given = state.get(name)
        if given is not None and given.ndim == 4 and value.shape[1] == 1 and given.shape[1] == 3:
            given = given.sum(1, keepdim=True)
        if given is not None and given.shape == value.shape:
            fitting[name] = given
    if 2 * len(fitting) < len(own):
        raise InputError(
            path,
            found=f"weights of which {len(fitting)} of {len(own)} tensors fit",
            expected="weights of the same architecture",
            next_step="Set the model's weights to none or another file.",
        )
    network.load_state_dict(fitting, strict=False)
    logger.info("%d of %d tensors taken from %s", len(fitting), len(own), path)
    return len(fitting)
