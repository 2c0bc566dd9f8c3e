"""What all detectors share: their training images, what describes them, what they find, and how they are called.

A family of detectors is a module `scanline.train.<family>_detector`, found by name, with two functions:

    fit_<family>(job: DetectionJob, train: DetectionSamples, val: DetectionSamples, folder: Path,
                 weights: Path | None) -> dict[str, Any]
        Train in `folder` of the model store, going on from what a killed run left there. Write `model.pt`
        and `history.csv` (epoch, train_loss, val_loss, ap50, ap50_95, learning_rate, seconds, is_best; the
        APs by `detection_ap.average_precision` or to the same definition). `weights` is the record that
        acquire_weights wrote (.json) or a file, as `train.weights.load_pretrained` takes it. The facts returned
        are plain values for run.json: those that `Engine.fit` gives, as far as they are known, and always
        architecture, weights, seed, epochs, best_epoch, best_ap50_95, stopped_early, n_train, n_val, device,
        images_per_second, train_seconds, wall_seconds.

    load_<family>(path: Path, device: torch.device) -> tuple[DetectorSpec, Detector]
        Read `model.pt` back: a dictionary of which "spec" is `DetectorSpec.as_json()` and "state" the state
        dict, so that `torch.load(path, weights_only=True)` reads it. InputError where it is something else.

A `Detector` is called with a batch of images of the pixel cache as they are, and finds corners in cache pixels;
normalisation, channels and non-maximum suppression are its own affair. This module does not import torch.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.scratch import map_array
from scanline.core.tables import BOXES, IMAGES, SPLIT, drawn_images, read_table
from scanline.train.boxes import corners_from_xywh, scale_boxes
from scanline.train.model_spec import ModelSpec
from scanline.train.network_names import DETECTION_MODELS, ULTRALYTICS_NAME
from scanline.train.options import DetectTask, ModelOptions, TrainingOptions

if TYPE_CHECKING:
    import torch

Family = Literal["torchvision", "ultralytics"]
MIN_SCORE = 0.001
MAX_DETECTIONS = 100
LEFT_OUT = ("unknown", "without_box", "other_class")


@dataclass(frozen=True)
class DetectionSamples:
    """The images of one subset with their boxes; images without boxes are background and stay in.

    Attributes:
        image_ids: Shape (n,), str.
        rows: Shape (n,), int64: rows of `pixels`.
        boxes: n arrays of shape (k, 4), float32: corners xmin, ymin, xmax, ymax in cache pixels.
        classes: n arrays of shape (k,), int64: numbers from 1 on, in the order of the task's targets.
        sizes: Shape (n, 2), int64: width and height of the original images.
        pixels: The whole pixel cache, shape (images, size, size), uint8, mapped into memory.
        left_out: Images of the subset that are not in it, by reason: `unknown` where nobody looked for any of
            the targets, `without_box` where a target is there and no box says where, `other_class` where an
            excluded class is there and no target.
        known: Shape (n, classes): whether the annotators looked for the class on the image; what a network says of
            the others enters neither loss nor AP. None where they looked for every class on every image.
    """

    image_ids: NDArray[np.object_]
    rows: NDArray[np.int64]
    boxes: tuple[NDArray[np.float32], ...]
    classes: tuple[NDArray[np.int64], ...]
    sizes: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    left_out: dict[str, int]
    known: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def image_size_px(self) -> int:
        """Width and height of the cached images."""
        return int(self.pixels.shape[-1])

    @property
    def n_background(self) -> int:
        """Images without a box."""
        return sum(len(boxes) == 0 for boxes in self.boxes)

    @property
    def n_partly_known(self) -> int:
        """Images on which some of the targets are unknown."""
        return 0 if self.known is None else int((~self.known).any(axis=1).sum())


@dataclass(frozen=True)
class Detections:
    """What a detector finds on one image: at most MAX_DETECTIONS, by falling score, none below MIN_SCORE.

    Attributes:
        boxes: Shape (k, 4), float32: corners in cache pixels, within the image.
        classes: Shape (k,), int64: numbers from 1 on.
        scores: Shape (k,), float32.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]


class Detector(Protocol):
    """A trained network in evaluation mode."""

    def __call__(self, images: NDArray[np.uint8]) -> list[Detections]:
        """Find boxes on images of shape (b, size, size), uint8, as the pixel cache holds them.

        Test-time augmentation shows them at other sizes too, multiples of 32.
        """
        ...


@dataclass(frozen=True)
class DetectorSpec(ModelSpec):
    """A detector of any family.

    Attributes:
        family: `torchvision` or `ultralytics`.
        architecture: Name of the network within its family.
        classes: The targets; the network's class number 1 is the first.
        image_size_px: Width and height of the input.
        channels: Input channels, 1 or 3; 3 repeats the grey image.
        mean: Subtracted from grey values in [0, 1], one a channel; zeros where the network wants none.
        std: Divided by, one a channel; ones where the network wants none.
    """

    family: Family
    architecture: str
    classes: tuple[str, ...]
    image_size_px: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class DetectionJob:
    """What one training run is given.

    Attributes:
        task: What is found, and how training images are changed.
        model: The network.
        training: How much and how.
        seed: Seed of the initial weights, the order of images and the augmentation.
        device: Where to compute.
    """

    task: DetectTask
    model: ModelOptions
    training: TrainingOptions
    seed: int
    device: "torch.device"


def detector_family(architecture: str) -> Family:
    """The package that builds an architecture.

    Raises:
        InputError: If none has a detector of that name.
    """
    if architecture in DETECTION_MODELS:
        return "torchvision"
    if re.fullmatch(ULTRALYTICS_NAME, architecture):
        return "ultralytics"
    raise InputError(
        f"model {architecture}",
        found="no detector of that name",
        expected=f"one of {', '.join(DETECTION_MODELS)}, or an ultralytics model such as yolov8n",
        next_step="Change the architecture in the study file.",
    )


def family_module(architecture: str) -> tuple[Family, ModuleType]:
    """The family of an architecture and the module that trains it, imported now and not before.

    Raises:
        InputError: If no family has such an architecture.
    """
    family = detector_family(architecture)
    return family, import_module(f"scanline.train.{family}_detector")


def fit_detector(
    job: DetectionJob, train: DetectionSamples, val: DetectionSamples, folder: Path, weights: Path | None
) -> dict[str, Any]:
    """Train a detector of any family: see the module's docstring."""
    family, module = family_module(job.model.architecture)
    fit: Callable[..., dict[str, Any]] = getattr(module, f"fit_{family}")
    facts = fit(job, train, val, folder, weights)
    samples = {"train": train, "val": val}
    return {
        **facts,
        "family": family,
        "classes": list(job.task.targets),
        "background_images": {name: subset.n_background for name, subset in samples.items()},
        "boxes": {name: sum(map(len, subset.boxes)) for name, subset in samples.items()},
        "left_out": {name: subset.left_out for name, subset in samples.items()},
        "partly_known_images": {name: subset.n_partly_known for name, subset in samples.items()},
    }


def load_detection_samples(
    pixels: Path,
    index: Path,
    images: Path,
    boxes: Path,
    labels: Path,
    split: Path,
    targets: tuple[str, ...],
    excluded: tuple[str, ...] = (),
) -> dict[str, DetectionSamples]:
    """Join cache, images, boxes, labels and split to the samples of each subset, in the split's order.

    Images that balancing dropped are left out, and so are those of `DetectionSamples.left_out`. Boxes of other
    classes than the targets are no boxes; what sticks out of an image is cut off.

    Raises:
        InputError: If a table is missing, a split image is not in the cache, the images or the labels, a target
            is no class of the labels, or a box lies outside its image.
    """
    table = drawn_images(read_table(split, SPLIT)).reset_index(drop=True)
    rows = read_table(index).set_index("image_id")["row"]
    sizes = read_table(images, IMAGES).set_index("image_id")[["width", "height"]]
    truth = read_table(labels).set_index("image_id")
    _require_targets(labels, truth, (*targets, *excluded))
    for name, listed in ((index, rows.index), (images, sizes.index), (labels, truth.index)):
        missing = table.loc[~table["image_id"].isin(listed), "image_id"]
        if len(missing):
            raise InputError(
                name,
                found=f"no row for image {missing.iloc[0]!r} ({len(missing)} such)",
                expected="every image of the split",
                next_step=f"Delete {split} and run again.",
            )
    mapped = map_array(pixels)
    found = _boxes_by_image(read_table(boxes, BOXES), sizes, mapped.shape[-1], targets, boxes)
    ids = table["image_id"].to_numpy(dtype=object)
    known_truth = truth.loc[ids, list(targets)].astype("boolean")
    known = np.asarray(known_truth.notna().to_numpy(dtype=bool))
    unknown = np.asarray(~known.any(axis=1))
    without_box = ~unknown & _has_class_without_box(known_truth, found, ids)
    shows = truth.loc[ids].astype("boolean").fillna(False)
    other_class = shows[list(excluded)].any(axis=1).to_numpy() & ~shows[list(targets)].any(axis=1).to_numpy()
    table = table.assign(unknown=unknown, without_box=without_box, other_class=other_class & ~unknown)
    return {
        str(subset): _subset(members, rows, sizes, found, mapped, known[members.index])
        for subset, members in table.groupby("subset", sort=True)
    }


def _require_targets(labels: Path, truth: pd.DataFrame, targets: tuple[str, ...]) -> None:
    for target in targets:
        if target not in truth.columns:
            raise InputError(
                labels,
                found=f"no class {target!r}",
                expected=f"targets among {', '.join(map(str, truth.columns))}",
                next_step="Change the task's targets in the study file.",
            )


BoxesOfImages = dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]]
_NOTHING = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64))


def _boxes_by_image(
    boxes: pd.DataFrame, sizes: pd.DataFrame, size: int, targets: tuple[str, ...], where: Path
) -> BoxesOfImages:
    """Corners in cache pixels and class numbers of the images that have boxes of the targets."""
    boxes = boxes[boxes["label"].isin(targets) & boxes["image_id"].isin(sizes.index)].reset_index(drop=True)
    numbers = boxes["label"].map({name: number for number, name in enumerate(targets, start=1)})
    found: BoxesOfImages = {}
    both = sizes.to_dict("index")
    for image_id, rows in boxes.groupby("image_id", sort=False):
        width, height = float(both[image_id]["width"]), float(both[image_id]["height"])
        corners = scale_boxes(
            corners_from_xywh(rows[["x", "y", "width", "height"]].to_numpy()), (width, height), (size, size)
        )
        corners = corners.clip(0, size)
        if (corners[:, 2:] <= corners[:, :2]).any():
            raise InputError(
                f"{where}: image {image_id!r}",
                found="a box outside the image",
                expected=f"boxes within {width:g} x {height:g} px",
                next_step="Mend the annotation and curate again.",
            )
        found[str(image_id)] = (corners.astype(np.float32), numbers.loc[rows.index].to_numpy().astype(np.int64))
    return found


def _has_class_without_box(truth: pd.DataFrame, found: BoxesOfImages, ids: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Whether a target is said to be on an image and no box of it is there; shape (n,)."""
    there = truth.fillna(False).to_numpy(dtype=bool)
    boxed = np.zeros_like(there)
    for position, image_id in enumerate(ids):
        boxed[position, found.get(image_id, _NOTHING)[1] - 1] = True
    return np.asarray((there & ~boxed).any(axis=1))


def _subset(
    members: pd.DataFrame,
    rows: pd.Series,
    sizes: pd.DataFrame,
    found: BoxesOfImages,
    pixels: NDArray[np.uint8],
    known: NDArray[np.bool_],
) -> DetectionSamples:
    left_out = {reason: int(members[reason].sum()) for reason in LEFT_OUT}
    kept = ~members[list(LEFT_OUT)].any(axis=1).to_numpy(dtype=bool)
    ids = members.loc[kept, "image_id"].to_numpy(dtype=object)
    return DetectionSamples(
        image_ids=ids,
        rows=rows.loc[ids].to_numpy(dtype=np.int64),
        boxes=tuple(found.get(image_id, _NOTHING)[0] for image_id in ids),
        classes=tuple(found.get(image_id, _NOTHING)[1] for image_id in ids),
        sizes=sizes.loc[ids].to_numpy(dtype=np.int64),
        pixels=pixels,
        left_out=left_out,
        known=None if known[kept].all() else known[kept],
    )


def require_boxes(samples: dict[str, DetectionSamples], targets: tuple[str, ...], split: Path) -> None:
    """Check that train and val have a box of each target.

    Raises:
        InputError: Naming the subset and the target that it lacks.
    """
    for subset in ("train", "val"):
        held = samples[subset].classes if subset in samples else ()
        numbers = {int(number) for classes in held for number in classes}
        for number, target in enumerate(targets, start=1):
            if number not in numbers:
                raise InputError(
                    f"{split}: subset {subset}",
                    found=f"no box of {target!r}",
                    expected="at least one of each target in train and val",
                    next_step="Choose another seed or other ratios for this split, or other targets.",
                )
