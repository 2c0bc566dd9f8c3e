"""Torchvision's detectors, with a head and an input of our own, on the loop of `engine`."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import scanline.core.torchvision_compat  # noqa: F401  (has to come before torchvision)
from scanline.core.errors import InputError
from scanline.train.batches import grey_statistics
from scanline.train.detection import (
    MAX_DETECTIONS,
    MIN_SCORE,
    DetectionJob,
    Detections,
    DetectionSamples,
    Detector,
    DetectorSpec,
)
from scanline.train.detection_ap import average_precision
from scanline.train.detection_batches import Target, augment_with_boxes, gather_boxes
from scanline.train.engine import Engine
from scanline.train.model_file import load_model, save_model
from scanline.train.options import BoxAugmentation
from scanline.train.torchvision_classifier import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    input_statistics,
    set_input_channels,
)
from scanline.train.weights import load_pretrained

from torchvision.models import get_model  # isort: skip
from torchvision.models.detection.transform import GeneralizedRCNNTransform  # isort: skip

VAL_SEED = 0  # of the anchors and proposals that val_loss is taken over: the same in each epoch
# What depends on the number of classes, and so is drawn anew where weights of other classes are started from.
_HEADS = ("roi_heads.box_predictor.", "head.classification_head.")
# MobileNetV3's last layers, which torchvision's SSDlite has at half the width of the classifier's (its Table 6).
_HALVED = ("backbone.features.1.",)

# What torchvision's networks of COCO were fed, where that was not normalised by ImageNet's mean and standard deviation.
COCO_STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "ssd300_vgg16": ((0.48235, 0.45882, 0.40784), (1 / 255,) * 3),
    "ssdlite320_mobilenet_v3_large": ((0.5,) * 3, (0.5,) * 3),
}


def build_detector(spec: DetectorSpec, pretrained: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
    """Build the network for the spec's classes, fed images in [0, 1] as large as the spec says, and not resized.

    Args:
        spec: What to build.
        pretrained: State dict to start from, of the backbone alone (a classifier of ImageNet) or of a whole detector
            (of COCO), whose outputs for other classes are left out; None draws all from PyTorch's current random
            state.

    Raises:
        InputError: If the weights do not fit the architecture, or the architecture cannot take such images.
    """
    size = spec.image_size_px
    try:
        model: nn.Module = get_model(
            spec.architecture, weights=None, weights_backbone=None, num_classes=len(spec.classes) + 1
        )
        if pretrained is not None:
            _start_from(model, spec.architecture, pretrained)
        set_input_channels(model, spec.channels)
        model.transform = GeneralizedRCNNTransform(
            size,
            size,
            list(spec.mean),
            list(spec.std),
            size_divisible=1 if spec.architecture.startswith("ssd") else 32,
            fixed_size=(size, size),
        )
        _keep_all_scores(model)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model.eval()([torch.zeros(spec.channels, size, size)])
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"model {spec.architecture}",
            found=str(error)[:300],
            expected=f"weights that fit it and images of {size} px that it can take",
            next_step="Change weights or architecture in the study file, or pixels.image_size_px.",
        ) from error
    return model.train()


def _keep_all_scores(model: nn.Module) -> None:
    """Keep detections from MIN_SCORE on, MAX_DETECTIONS an image; torchvision drops those below 0.05."""
    heads: Any = getattr(model, "roi_heads", model)
    heads.score_thresh = MIN_SCORE
    heads.detections_per_img = MAX_DETECTIONS
    if hasattr(model, "rpn"):
        model.rpn.score_thresh = 0.0  # type: ignore[union-attr]


def _start_from(model: nn.Module, architecture: str, pretrained: Mapping[str, torch.Tensor]) -> None:
    """Load what there is of a detector's or a backbone's weights.

    Raises:
        RuntimeError: If they are another network's.
    """
    is_detector = _is_detector(pretrained)
    state = tensors_that_fit(model, architecture, pretrained)
    if is_detector and hasattr(pretrained, "_metadata"):
        state._metadata = pretrained._metadata  # type: ignore[attr-defined]  # lets modules rename older keys
    missing, unexpected = model.load_state_dict(state, strict=False)
    where = "" if is_detector else "backbone.body."
    allowed = _HEADS if is_detector else (*_HALVED, "backbone.extra.", "backbone.scale_weight")
    lacking = [
        name
        for name in missing
        if name.startswith(where or "") and not name.startswith(allowed) and not name.endswith("num_batches_tracked")
    ]
    if unexpected or lacking or not state:
        what = f"unknown {unexpected[0]!r}" if unexpected else f"no {lacking[0]!r}" if lacking else "nothing that fits"
        raise RuntimeError(f"the weights hold {what}: they are another network's")


def _is_detector(pretrained: Mapping[str, torch.Tensor]) -> bool:
    return any(name.startswith("backbone.") for name in pretrained)


def tensors_that_fit(
    model: nn.Module, architecture: str, pretrained: Mapping[str, torch.Tensor]
) -> OrderedDict[str, torch.Tensor]:
    """The weights of a detector or a classifier that a detector starts from, by their names in the detector.

    Left out are a classifier's head, and what depends on the number of classes where that differs.
    """
    own, is_detector = model.state_dict(), _is_detector(pretrained)
    state: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, values in pretrained.items():
        target = name if is_detector else _place_in_detector(architecture, name)
        if target is None:
            continue
        droppable = _HEADS if is_detector else _HALVED if architecture.startswith("ssdlite") else ()
        if target in own and own[target].shape != values.shape and target.startswith(droppable):
            continue
        state[target] = values
    return state


def _place_in_detector(architecture: str, name: str) -> str | None:
    """Where a classifier's parameter stands in the detector; None for its head, which has no place there."""
    if name.startswith(("fc.", "classifier.")):
        return None
    if not architecture.startswith("ssd"):
        return f"backbone.body.{name.removeprefix('features.')}"
    number, _, rest = name.removeprefix("features.").partition(".")
    stage = int(number)
    if architecture == "ssd300_vgg16":  # split before the fourth pooling layer
        return f"backbone.features.{stage}.{rest}" if stage < 23 else f"backbone.extra.0.{stage - 23}.{rest}"
    if stage < 13:
        return f"backbone.features.0.{stage}.{rest}"
    if stage == 13 and rest.startswith("block.0."):  # SSDlite is split within the last strided block
        return f"backbone.features.0.13.{rest.removeprefix('block.0.')}"
    if stage == 13:
        return f"backbone.features.1.0.{rest.removeprefix('block.')}"
    return f"backbone.features.1.{stage - 13}.{rest}"


def has_frozen_norm(architecture: str) -> bool:
    """Whether torchvision keeps the batch norm of this architecture's pretrained backbone as it is."""
    return not architecture.endswith("_v2") and not architecture.startswith("ssd")


class DetectorTrainer(Engine):
    """Trains one detector in a folder of the model store.

    The kept epoch is the one with the best AP50-95 on val, which is what is asked of a detector: its loss is a sum
    over sampled anchors and proposals, most of them background, and rises on val with the confidence of a few while
    boxes still get better. Until something is found on val, patience does not begin.
    """

    criterion = "ap50_95"
    higher_is_better = True

    def __init__(
        self,
        job: DetectionJob,
        train: DetectionSamples,
        val: DetectionSamples,
        folder: Path,
        pretrained: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.job, self.train_samples, self.val_samples = job, train, val
        grey = grey_statistics(train)  # type: ignore[arg-type]  # it takes pixels and rows of any samples
        mean, std = input_statistics(job.model.weights, job.model.channels, *grey)
        if job.model.weights == "coco" and job.model.channels == 3:
            mean, std = COCO_STATISTICS.get(job.model.architecture, (IMAGENET_MEAN, IMAGENET_STD))
        self.spec = DetectorSpec(
            family="torchvision",
            architecture=job.model.architecture,
            classes=job.task.targets,
            image_size_px=train.image_size_px,
            channels=job.model.channels,
            mean=mean,
            std=std,
        )
        self.freezes_norm = pretrained is not None and has_frozen_norm(job.model.architecture)
        torch.manual_seed(job.seed)
        model = build_detector(self.spec, pretrained)
        self.taken = 0 if pretrained is None else len(tensors_that_fit(model, self.spec.architecture, pretrained))
        super().__init__(model, job.training, job.seed, job.device, folder, len(train), len(val))

    def pretrained_layers(self) -> list[nn.Module]:
        """Those of the backbone."""
        return list(self.model.get_submodule("backbone").modules())

    def training_loss(self, positions: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Sum of the detector's losses over a batch, augmented."""
        images, targets = gather_boxes(self.train_samples, positions)
        if self.job.task.augmentation != BoxAugmentation():
            images, targets = augment_with_boxes(images, targets, self.job.task.augmentation, generator)
        if self.freezes_norm:
            _hold_norm(self.model.backbone)
        share = len(self.processes.own(targets)) / len(targets)
        return self.processes.whole(share * self._loss(self.processes.own(images), self.processes.own(targets)))

    def _loss(self, images: torch.Tensor, targets: list[Target]) -> torch.Tensor:
        inputs = list(as_inputs(images.to(self.device, non_blocking=True), self.spec.channels))
        there = [{name: values.to(self.device) for name, values in target.items()} for target in targets]
        with self.autocast():
            losses: dict[str, torch.Tensor] = self.network(inputs, there)
        return torch.stack([loss.float() for loss in losses.values()]).sum()

    def validate(self) -> dict[str, float]:
        """Loss and AP on val, images as they are; batch norm keeps its statistics."""
        samples, total = self.val_samples, 0.0
        detector = TorchvisionDetector(self.spec, self.kept, self.device)
        found: list[Detections] = []
        for positions in torch.arange(len(samples)).split(self.training.batch_size):
            images, targets = gather_boxes(samples, positions)
            found += detector(images[:, 0].numpy())
            total += self._val_loss(images, targets) * len(positions)
        return {"val_loss": total / len(samples), **average_precision(samples, found)}

    def _val_loss(self, images: torch.Tensor, targets: list[Target]) -> float:
        """The loss as in training, over the same draw of anchors and proposals in each epoch."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(VAL_SEED)
            self.kept.train()
            _hold_norm(self.kept)
            loss = float(self._loss(images, targets))
        self.kept.eval()
        return loss

    def _is_patience_over(self) -> bool:
        return self.progress.best < 0 and super()._is_patience_over()

    def save(self, path: Path) -> None:
        """Write spec and weights."""
        save_detector(path, self.spec, self.model)

    def facts(self) -> dict[str, Any]:
        """Network, weights at the start, how many of their tensors were taken, whether they kept their batch norm."""
        return {
            "architecture": self.spec.architecture,
            "weights": self.job.model.weights,
            "tensors_from_weights": self.taken,
            "frozen_batch_norm": self.freezes_norm,
        }


def as_inputs(images: torch.Tensor, channels: int) -> torch.Tensor:
    """Grey images (b, 1, h, w) in [0, 255] to float32 (b, channels, h, w) in [0, 1]."""
    return (images.to(torch.float32) / 255).expand(-1, channels, -1, -1)


def _hold_norm(module: nn.Module) -> None:
    """Let batch norm use the statistics it has, and learn none."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.SyncBatchNorm):
            layer.eval()


class TorchvisionDetector:
    """A network in evaluation mode, called with images of the pixel cache; computes in float32."""

    def __init__(self, spec: DetectorSpec, model: nn.Module, device: torch.device) -> None:
        self.spec, self.model, self.device = spec, model, device

    def __call__(self, images: NDArray[np.uint8]) -> list[Detections]:
        """Find boxes on images of shape (b, size, size), uint8."""
        batch = torch.from_numpy(np.ascontiguousarray(images)).unsqueeze(1).to(self.device)
        with torch.no_grad():
            results: list[Target] = self.model(list(as_inputs(batch, self.spec.channels)))
        return [_detections(result) for result in results]


def _detections(result: Target) -> Detections:
    order = result["scores"].argsort(descending=True, stable=True)
    boxes = result["boxes"][order].float().cpu().numpy()
    scores = result["scores"][order].float().cpu().numpy()
    kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (scores >= MIN_SCORE)
    return Detections(boxes[kept], result["labels"][order].cpu().numpy()[kept], scores[kept])


def save_detector(path: Path, spec: DetectorSpec, model: nn.Module) -> None:
    """Write spec and weights to one file: see `save_model`."""
    save_model(path, spec, model)


def fit_torchvision(
    job: DetectionJob, train: DetectionSamples, val: DetectionSamples, folder: Path, weights: Path | None
) -> dict[str, Any]:
    """Train a detector of torchvision's: see `scanline.train.detection`."""
    return DetectorTrainer(job, train, val, folder, load_pretrained(weights)).fit()


def load_torchvision(path: Path, device: torch.device) -> tuple[DetectorSpec, Detector]:
    """Read a trained detector back, in evaluation mode, on `device`.

    Raises:
        InputError: If the file is missing or was not written by `save_detector`.
    """
    spec, model = load_model(path, device, DetectorSpec, build_detector)
    return spec, TorchvisionDetector(spec, model, device)
