"""Ultralytics' training loop, made to resume exactly and to depend on nothing but what it is given.

Ultralytics 8.4.190 is licensed under AGPL-3.0. Import this module by way of `ultralytics_detector`, which sets the
environment first. Taken from ultralytics: network, loss with its assignment of boxes, optimizer groups, learning
rates, gradient clipping, moving average of the weights, early stopping. Not taken:

* Its list of transforms, to which it adds albumentations' wherever that package is installed. With `augmentations=[]`
  that package is still called, and the random numbers it draws change the run. The transforms are listed here.
* Its own resume, from weights and momenta rounded to float16 and with other random numbers. Here each epoch has a
  seed, each image of an epoch too, and the checkpoint holds float32: a resumed run ends with the same weights.
* Steps over more than one batch (`nbs`), which a checkpoint at the end of an epoch would cut in two: nbs = batch.
* Its validation, which pads images, rounds to five decimals and stops suppression after a time limit. Here val is
  seen as at prediction, and AP is COCO's, as for the other detectors.
* Its division of images among GPUs. Each process takes its part of the batches that a single one would draw.
* Halving the batch when memory runs out, going back to an earlier epoch when the loss is NaN: both are errors.
"""

import random
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Sampler

import scanline.core.torchvision_compat  # noqa: F401  (has to come before ultralytics)
from scanline.core.errors import InputError
from scanline.core.files import written_aside
from scanline.core.log import logger
from scanline.train.detection import MAX_DETECTIONS, MIN_SCORE, Detections, DetectionSamples
from scanline.train.detection_ap import average_precision
from scanline.train.engine import epoch_seed
from scanline.train.model_store import BEST, CHECKPOINT
from scanline.train.processes import Processes, current_processes
from scanline.train.unknown_classes import SURELY_NOT

from ultralytics.data.augment import Compose, CutMix, MixUp, Mosaic, RandomFlip, RandomHSV, RandomPerspective  # isort: skip
from ultralytics.data.build import InfiniteDataLoader  # isort: skip
from ultralytics.data.dataset import YOLODataset  # isort: skip
from ultralytics.models.yolo.detect import DetectionTrainer  # isort: skip
from ultralytics.nn.tasks import DetectionModel  # isort: skip
from ultralytics.utils import ROOT, YAML  # isort: skip
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss  # isort: skip
from ultralytics.utils.nms import non_max_suppression  # isort: skip
from ultralytics.utils.torch_utils import unwrap_model  # isort: skip

NMS_IOU = 0.7  # ultralytics' default `iou` (cfg/default.yaml)
STRIDE = 32  # of the coarsest feature map: image sizes are multiples of it


class KnownClassesLoss(v8DetectionLoss):
    """Ultralytics' loss without what the network says of classes that are unknown on an image.

    Their logits are replaced by one that says surely not, which is what the loss wants of a class without a box: it is
    zero there, without a gradient, and so is nothing else of the loss (its classes are independent).
    """

    def get_assigned_targets_and_loss(
        self, preds: dict[str, torch.Tensor], batch: dict[str, Any], **assign_kwargs: Any
    ) -> tuple[Any, ...]:
        """The loss of one head; the batch holds `known`, shape (b, classes), where some class is unknown."""
        if "known" in batch:
            preds = {**preds, "scores": preds["scores"].masked_fill(~batch["known"][:, :, None], SURELY_NOT)}
        losses: tuple[Any, ...] = super().get_assigned_targets_and_loss(preds, batch, **assign_kwargs)
        return losses


class Network(DetectionModel):
    """A network of ultralytics with `KnownClassesLoss`."""

    def init_criterion(self) -> Any:
        """The loss of a network with one head, or with two."""
        layers: Any = self.model
        has_two_heads = getattr(layers[-1], "one2one_cv2", None) is not None
        return E2ELoss(self, KnownClassesLoss) if has_two_heads else KnownClassesLoss(self)


def build_network(architecture: str, n_classes: int, channels: int) -> Network:
    """A fresh network from the description in the package; its weights depend on torch's seed alone.

    Raises:
        InputError: If the package has no such network.
    """
    scale, name = architecture.removesuffix("u")[-1:], architecture.removesuffix("u")[:-1]
    files = sorted((ROOT / "cfg" / "models").glob(f"*/{name}.yaml"))
    description = YAML.load(files[0]) if files else {}  # type: ignore[no-untyped-call]
    if scale not in description.get("scales", {}):
        raise InputError(
            f"model {architecture}",
            found="no such detector in ultralytics",
            expected="a name such as yolov8n, yolo11n or yolov5nu",
            next_step="Change the architecture in the study file.",
        )
    description |= {"scale": scale, "yaml_file": files[0].name}
    return Network(description, ch=channels, nc=n_classes, verbose=False)  # type: ignore[no-untyped-call]


def network_input(images: torch.Tensor, channels: int) -> torch.Tensor:
    """Grey images (b, h, w), uint8, to float32 (b, channels, h, w) in [0, 1], as in training."""
    return images.unsqueeze(1).expand(-1, channels, -1, -1).to(torch.float32) / 255


def find_boxes(output: torch.Tensor, size: int, n_classes: int, *, end2end: bool) -> list[Detections]:
    """Suppress non-maxima by ultralytics' own function and cut boxes to the image.

    Args:
        output: Of the network in evaluation mode: (b, 4 + n_classes, anchors), or (b, k, 6) where it is end2end.
        size: Width and height of the images.
        n_classes: Number of classes.
        end2end: Whether the network needs no suppression.
    """
    kept = non_max_suppression(
        output,
        conf_thres=MIN_SCORE,
        iou_thres=NMS_IOU,
        multi_label=True,
        max_det=MAX_DETECTIONS,
        nc=n_classes,
        max_time_img=float("inf"),  # a limit in seconds would make the result depend on the machine's load
        end2end=end2end,
    )
    return [_detections(rows.detach().cpu().numpy(), size) for rows in kept]


def _detections(rows: NDArray[np.float32], size: int) -> Detections:
    boxes = rows[:, :4].clip(0, size).astype(np.float32)
    is_kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & (rows[:, 4] >= MIN_SCORE)
    order = np.argsort(-rows[is_kept, 4], kind="stable")[:MAX_DETECTIONS]
    return Detections(
        boxes=boxes[is_kept][order],
        classes=rows[is_kept, 5][order].astype(np.int64) + 1,
        scores=rows[is_kept, 4][order].astype(np.float32),
    )


class RandomZoom(RandomPerspective):
    """Random shift, zoom, turn, shear and perspective onto black, as air is; ultralytics fills with grey 114."""

    def apply_image(self, labels: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Warp the image by the drawn matrix."""
        assert params is not None
        black, size = (0, 0, 0, 0), params["size"]
        if self.perspective:
            image = cv2.warpPerspective(labels["img"], params["M"], dsize=size, borderValue=black)
        else:
            image = cv2.warpAffine(labels["img"], params["M"][:2], dsize=size, borderValue=black)
        labels["img"] = image if image.ndim == 3 else image[..., None]
        labels["resized_shape"] = image.shape[:2]
        return labels


class SeededMosaic(Mosaic):
    """Four images side by side on black. Any others are drawn: ultralytics draws from those that were read last."""

    def get_indexes(self) -> list[int]:
        """Three images of the subset."""
        return [random.randrange(len(self.dataset)) for _ in range(self.n - 1)]

    def apply_image(self, labels: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Lay the four images out."""
        assert params is not None
        side = 2 * self.imgsz
        canvas = np.zeros((side, side, labels["img"].shape[2]), np.uint8)
        for tile in params["layout"]:
            onto = np.s_[tile["y1a"] : tile["y2a"], tile["x1a"] : tile["x2a"]]
            canvas[onto] = tile["labels_patch"]["img"][tile["y1b"] : tile["y2b"], tile["x1b"] : tile["x2b"]]
        labels["img"] = canvas
        return labels


class SeededImages(YOLODataset):
    """Images whose random changes depend on the epoch's seed and the image alone, not on order or worker.

    Attributes:
        epoch_seed: Seed of the epoch.
        known: Of the images, in the order of their files; see `DetectionSamples`.
    """

    epoch_seed = 0
    known: NDArray[np.bool_] | None = None

    def build_transforms(self, hyp: Any) -> Compose:
        """The changes of training images, all of them; val images stay as they are."""
        if not self.augment:
            return super().build_transforms(hyp)
        size = int(self.imgsz)  # type: ignore[arg-type]
        zoom = RandomZoom(
            degrees=hyp.degrees,
            translate=hyp.translate,
            scale=tuple(hyp.scale),
            shear=hyp.shear,
            perspective=hyp.perspective,
            size=(size, size),
        )
        # What is off is left out, as it would draw a random number that the others then miss.
        tiled = [SeededMosaic(self, imgsz=size, p=hyp.mosaic)] if hyp.mosaic else []
        placed = Compose([*tiled, zoom])  # type: ignore[no-untyped-call]
        mixed = [kind(self, placed, share) for kind, share in ((MixUp, hyp.mixup), (CutMix, hyp.cutmix)) if share]
        return Compose(  # type: ignore[no-untyped-call]
            [
                placed,
                *mixed,
                *([RandomHSV(hyp.hsv_h, hyp.hsv_s, hyp.hsv_v)] if hyp.hsv_v else []),
                RandomFlip(direction="vertical", p=hyp.flipud),
                RandomFlip(direction="horizontal", p=hyp.fliplr),
                self.format_class(bbox_format="xywh", normalize=True, batch_idx=True, bgr=0.0),
            ]
        )

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.augment:
            own = f"{self.epoch_seed} {index}"
            random.seed(own)
            np.random.seed(zlib.crc32(own.encode()))  # noqa: NPY002  (which ultralytics draws from)
        sample = dict(super().__getitem__(index))
        return sample if self.known is None else {**sample, "known": torch.from_numpy(self.known[index])}


class OwnImages(Sampler[int]):
    """The images of a process: its part of each batch in the order that a single process would draw.

    A last batch of fewer images than processes is left out.

    Args:
        count: Number of training images.
        batch_size: Of whole batches; divided by the processes without rest.
        processes: Who takes part.

    Attributes:
        generator: Of the order; the loader's own, seeded for each epoch.
    """

    generator: torch.Generator | None = None

    def __init__(self, count: int, batch_size: int, processes: Processes) -> None:
        self.count, self.batch_size, self.processes = count, batch_size, processes

    def _own(self, order: torch.Tensor) -> list[int]:
        batches = [batch for batch in order.split(self.batch_size) if len(batch) >= self.processes.count]
        return [int(position) for batch in batches for position in self.processes.own(batch)]

    def __iter__(self) -> Iterator[int]:
        return iter(self._own(torch.randperm(self.count, generator=self.generator)))

    def __len__(self) -> int:
        return len(self._own(torch.arange(self.count)))

    def set_epoch(self, epoch: int) -> None:
        """Nothing: the generator has been given the epoch's seed."""


class ResumableTraining(DetectionTrainer):
    """Trains one network in a folder of the model store, from its last checkpoint where there is one.

    Args:
        settings: Ultralytics' options, all that matter.
        network: To train; from `build_network`.
        names: Of the classes, by number.
        subsets: Folder of the images of `train` and `val`.
        train: The training images, in the order of their files.
        val: The val images, in the order of their files.
        folder: Of the model store, for the checkpoint and the best weights.
    """

    model: Any  # until it is set up, the base class has other types here
    ema: Any
    optimizer: Any
    loss: Any
    tloss: Any
    metrics: Any

    def __init__(
        self,
        settings: dict[str, Any],
        network: nn.Module,
        names: Sequence[str],
        subsets: dict[str, Path],
        train: DetectionSamples,
        val: DetectionSamples,
        folder: Path,
    ) -> None:
        channels = int(network.yaml["channels"])  # type: ignore[index]
        self._data = {
            **{name: str(path) for name, path in subsets.items()},
            "names": dict(enumerate(names)),
            "nc": len(names),
            "channels": channels,
        }
        threads = torch.get_num_threads()
        super().__init__(overrides=settings)
        torch.set_num_threads(threads)  # ultralytics takes all cores but one
        self.processes = current_processes()
        if self.processes.count > 1:
            self.world_size = self.processes.count  # which ultralytics counts on GPUs alone
        self.model = network
        self.val, self.folder = val, folder
        self._known = {"train": train.known, "val": val.known}
        self.history: list[dict[str, float]] = []
        self.train_seconds = self._epoch_seconds = 0.0
        self.add_callback("on_train_epoch_start", ResumableTraining._start_epoch)
        self.add_callback("on_train_epoch_end", ResumableTraining._end_epoch)

    def get_dataset(self) -> dict[str, Any]:
        """What the data set is; ultralytics' own look at its description would look for a font to draw with."""
        return self._data

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> SeededImages:
        """The images of a subset, at their own size: never padded."""
        images = SeededImages(
            img_path=img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=mode == "train",
            hyp=self.args,
            rect=False,
            stride=STRIDE,
            prefix=f"{mode}: ",
            task="detect",
            data=self.data,
            single_cls=self.args.single_cls,
        )
        images.known = self._known[mode]
        return images

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch on the device, grey values in [0, 1], with `known` where some class is unknown on some image."""
        prepared: dict[str, Any] = super().preprocess_batch(batch)
        if "known" in prepared:
            prepared["known"] = torch.stack(prepared["known"]).to(self.device)
        return prepared

    def _setup_ddp(self) -> None:
        """Take the process's device; the processes have joined before, in `processes.joined`."""
        if self.device.type == "cuda":
            self.device = torch.device("cuda", torch.cuda.current_device())

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        """A loader of all images, or in several processes of the own part of each training batch."""
        loader = super().get_dataloader(dataset_path, batch_size, -1, mode)
        if self.processes.count == 1 or mode == "val":
            return loader
        sampler = OwnImages(len(loader.dataset), self.batch_size, self.processes)
        own = InfiniteDataLoader(
            dataset=loader.dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=loader.num_workers,
            pin_memory=loader.pin_memory,
            collate_fn=loader.collate_fn,
            worker_init_fn=loader.worker_init_fn,
            generator=loader.generator,
        )
        sampler.generator = own.generator
        return own

    def _start_epoch(self) -> None:
        seed = epoch_seed(self.args.seed, self.epoch + 1)
        torch.manual_seed(seed)
        self.train_loader.generator.manual_seed(seed)  # order of images
        self.train_loader.dataset.epoch_seed = seed
        self.train_loader.reset()  # draw the order anew, and tell workers the seed
        self._oom_retries = 3  # ultralytics' limit: out of memory is an error, not another batch size
        self._epoch_seconds = -time.monotonic()

    def _end_epoch(self) -> None:
        self._epoch_seconds += time.monotonic()
        self.train_seconds += self._epoch_seconds
        if self.processes.count > 1:
            self.tloss = {name: self.processes.mean(loss) for name, loss in self.tloss.items()}

    def validate(self) -> tuple[dict[str, float], float]:
        """Measure val with the averaged weights, in float32.

        Returns:
            `val_loss`, the sum of the losses' means over batches, with `ap50` and `ap50_95`; and `ap50_95`, which
            early stopping goes by.
        """
        measured = self.processes.from_first(self._measure() if self.processes.is_first else {})
        return measured, measured["ap50_95"]

    def _measure(self) -> dict[str, float]:
        network = self.ema.ema.eval()
        losses, found = [], []
        with torch.no_grad():
            for values in self.test_loader:
                batch = self.preprocess_batch(values)
                output = network(batch["img"])
                losses.append(sum(float(loss) for loss in network.loss(batch, output)[1].values()))
                found += find_boxes(output[0], self.args.imgsz, self.data["nc"], end2end=bool(network.end2end))
        return {"val_loss": float(np.mean(losses)), **average_precision(self.val, found)}

    def _handle_nan_recovery(self, epoch: int) -> bool:
        value = float(self.loss.detach())
        if not np.isfinite(value) or not np.isfinite(self.metrics["val_loss"]):
            raise InputError(
                "training.learning_rate",
                found=f"a loss that is not finite in epoch {epoch + 1}",
                expected="losses that stay finite",
                next_step="Lower the learning rate, or set the precision to float32.",
            )
        return False

    def save_metrics(self, metrics: dict[str, float]) -> None:
        """Add a row to the history; ultralytics would write its own table."""
        self.history.append(
            {
                "epoch": self.epoch + 1,
                "train_loss": sum(float(loss) for loss in self.tloss.values()),
                **{name: metrics[name] for name in ("val_loss", "ap50", "ap50_95")},
                "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
                "seconds": round(self._epoch_seconds, 3),
            }
        )

    def save_model(self) -> bool:
        """Write the best weights where this epoch has them, then the checkpoint."""
        is_best = self.stopper.best_epoch == self.epoch + 1
        if is_best:
            with written_aside(self.folder / BEST) as aside:
                torch.save(self.ema.ema.state_dict(), aside)
        if self.save_period > 0 and (self.epoch + 1) % self.save_period == 0:
            with written_aside(self.folder / f"epoch{self.epoch + 1}.pt") as aside:
                torch.save(self.ema.ema.state_dict(), aside)
        with written_aside(self.folder / CHECKPOINT) as aside:
            torch.save(
                {
                    "epoch": self.epoch + 1,
                    "model": unwrap_model(self.model).state_dict(),
                    "average": self.ema.ema.state_dict(),
                    "updates": self.ema.updates,
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "best_epoch": self.stopper.best_epoch,
                    "best": float(self.stopper.best_fitness),
                    "history": self.history,
                    "train_seconds": self.train_seconds,
                },
                aside,
            )
        row = self.history[-1]
        logger.info(
            "epoch %d of %d: train loss %.4f, val loss %.4f, ap50 %.4f, ap50 95 %.4f%s, %.0f images/s",
            self.epoch + 1,
            self.epochs,
            *(row[name] for name in ("train_loss", "val_loss", "ap50", "ap50_95")),
            " (best)" if is_best else "",
            len(self.train_loader.dataset) / self._epoch_seconds,
        )
        return True

    def resume_training(self, ckpt: Any) -> None:
        """Go on from the checkpoint in the folder, where there is one."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        saved = torch.load(path, map_location=self.device, weights_only=True)
        network: Any = unwrap_model(self.model)
        network.load_state_dict(saved["model"])
        self.ema.ema.load_state_dict(saved["average"])
        self.ema.updates = saved["updates"]
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.stopper.best_epoch, self.stopper.best_fitness = saved["best_epoch"], saved["best"]
        self.history, self.train_seconds = saved["history"], saved["train_seconds"]
        self.start_epoch = saved["epoch"]
        if hasattr(network.model[-1], "one2one_cv2"):  # two losses, whose weights change from epoch to epoch
            network.criterion = network.init_criterion()
            for _ in range(self.start_epoch):
                network.criterion.update()
        logger.info("resumed after epoch %d from %s", self.start_epoch, path)

    def final_eval(self) -> None:
        """Nothing: ultralytics would round the best weights to float16 and validate them once more."""
