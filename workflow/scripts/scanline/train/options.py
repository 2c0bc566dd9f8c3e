"""What is trained, and how."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from scanline.core.options import Options
from scanline.train.network_names import (
    BACKBONES,
    CLASSIFICATION_MODELS,
    DETECTION_MODELS,
    SEGMENTATION_ARCHITECTURES,
    ULTRALYTICS_NAME,
)

StopOn = Literal["val_loss", "auroc", "f1", "accuracy"]


class BoxAugmentation(Options):
    """Random changes of training images and their boxes, drawn anew each epoch; val and test are never changed."""

    horizontal_flip: bool = Field(default=False, description="Swap the image's left and right, half of the time.")
    vertical_flip: bool = Field(default=False, description="Swap the image's top and bottom, half of the time.")
    crop_min_scale: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Random crop of at least this share of the area, resized back; 1 = none.",
    )


# Small changes that leave a finding where a reader would look for it. Heads are turned, moved and windowed a little
# differently from scan to scan, and their sides are alike but for the finding; the sides of a chest are not. Nothing is
# turned upside down.
POLICIES: dict[str, dict[str, float | bool]] = {
    "head_ct": {
        "horizontal_flip": True,
        "crop_min_scale": 0.8,
        "rotation_degrees": 10.0,
        "contrast": 0.15,
        "brightness": 0.05,
    },
    "chest_xray": {"crop_min_scale": 0.8, "rotation_degrees": 7.0, "contrast": 0.2, "brightness": 0.1},
}


class Augmentation(BoxAugmentation):
    """Random changes of training images, drawn anew each epoch; val and test are never changed."""

    policy: Literal["head_ct", "chest_xray"] | None = Field(
        default=None,
        description="Values for the options that are not given here. head_ct: horizontal_flip, crop_min_scale 0.8,"
        " rotation_degrees 10, contrast 0.15, brightness 0.05. chest_xray: crop_min_scale 0.8, rotation_degrees 7,"
        " contrast 0.2, brightness 0.1, no flip. They then stand as if given, and policy is null.",
    )
    rotation_degrees: float = Field(
        default=0.0,
        ge=0,
        le=180,
        description="Random rotation by up to so many degrees either way; 0 = none. Boxes cannot be turned.",
    )
    contrast: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Stretch grey values about the image's mean by a random factor between 1 - this and 1 + this.",
    )
    brightness: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Shift grey values by a random amount of up to this share of their range, either way.",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_policy(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("policy") not in POLICIES:
            return values
        given = {key: value for key, value in values.items() if key != "policy"}
        return {**POLICIES[values["policy"]], **given}


class ImageTask(Options):
    """What all tasks have."""

    image_size_px: int | None = Field(
        default=None,
        ge=16,
        le=2048,
        description="Width and height of the images that this task sees; null takes `pixels.image_size_px`.",
    )


class AugmentableTask(ImageTask):
    """A task that may train on an offline augmentation: its truth is boxes or labels of whole images."""

    offline_augmentation: str | None = Field(
        default=None,
        description="An entry of `offline_augmentation`, of which the training images are taken; val and test stay as"
        " they are. null: none.",
    )

    @model_validator(mode="after")
    def _drawn_in_one_way(self) -> Self:
        if self.offline_augmentation is not None and getattr(self, "sampler_weights", False):
            raise ValueError("either sampler_weights or offline_augmentation: the weights are of the original images")
        return self


class ImageLevelOptions(AugmentableTask):
    """How networks of image-level tasks learn."""

    augmentation: Augmentation = Field(default=Augmentation(), description="Of training images only.")
    sampler_weights: bool = Field(
        default=False,
        description="Draw training images with replacement, images of rare classes more often: by the largest weight"
        " N / (k n) of the task's classes that an image shows. Val and test are taken as they are.",
    )
    loss: Literal["cross_entropy", "focal", "asymmetric"] = Field(
        default="cross_entropy",
        description="Cross-entropy, focal (Lin et al. 2017), or asymmetric (Ridnik et al. 2021; not of multiclass"
        " tasks). What is unknown has no part in it.",
    )
    focal_gamma: float = Field(default=2.0, ge=0, description="Focal loss: exponent of 1 - probability of the truth.")
    asymmetric_gamma: tuple[float, float] = Field(
        default=(0.0, 4.0), description="Asymmetric loss: exponents for positives and for negatives, at least 0."
    )
    asymmetric_margin: float = Field(
        default=0.05, ge=0, lt=1, description="Asymmetric loss: what the probability of negatives is lowered by."
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="Share of each target that is spread evenly over its alternatives."
    )
    mixup_alpha: float = Field(
        default=0.0,
        ge=0,
        description="Mix each training image with another of its batch, by a share drawn from Beta(alpha, alpha)"
        " (Zhang et al. 2018); 0: no mixing.",
    )
    stop_on: StopOn = Field(
        default="val_loss",
        description="What early stopping and a plateau schedule go by on val: the loss, or the mean over classes of"
        " AUROC, F1 or accuracy (at 0.5, or of the most probable class).",
    )

    @model_validator(mode="after")
    def _gammas_fit(self) -> Self:
        if min(self.asymmetric_gamma) < 0:
            raise ValueError("two exponents of at least 0 as asymmetric_gamma")
        return self


class ClassifyTask(ImageLevelOptions):
    """One question a slice: is the class there? Images where nobody looked are left out."""

    kind: Literal["binary"] = Field(description="Binary classification of images.")
    target: str = Field(description="The study class to predict.")
    class_weights: bool = Field(
        default=False, description="Weight the loss of positives by negatives / positives of train."
    )


class MultilabelTask(ImageLevelOptions):
    """Several questions a slice at once; a label that is unknown on an image is left out of the loss there."""

    kind: Literal["multilabel"] = Field(description="Multi-label classification of images.")
    targets: tuple[str, ...] = Field(min_length=2, description="The study classes to predict.")
    class_weights: bool | Literal["balanced"] = Field(
        default=False,
        description="Weight each label's positives, by numbers of train. true: negatives / positives. balanced:"
        " N / (k n), N images with a known label, n that show it, k labels of the study.",
    )


class MulticlassTask(ImageLevelOptions):
    """One question a slice with several answers: which of these classes is it? An image shows exactly one of them."""

    kind: Literal["multiclass"] = Field(
        description="Multi-class classification of images: the classes exclude another."
    )
    targets: tuple[str, ...] = Field(
        min_length=2,
        description="The study classes to tell apart. An image that shows none of them is in no subset of this task,"
        " and counted; one that shows two is refused.",
    )
    class_weights: bool = Field(
        default=False,
        description="Weight each image's loss by its class: N / (k n), n of N training images of the class, k classes.",
    )

    @model_validator(mode="after")
    def _loss_fits(self) -> Self:
        if self.loss == "asymmetric":
            raise ValueError(
                "loss cross_entropy or focal: the asymmetric loss is of labels that do not exclude another"
            )
        return self


class DetectTask(AugmentableTask):
    """Where is it: boxes. Images without boxes are background and stay in."""

    kind: Literal["detect"] = Field(description="Detection by boxes.")
    targets: tuple[str, ...] = Field(min_length=1, description="The study classes to find.")
    excluded_classes: tuple[str, ...] = Field(
        default=(),
        description="Study classes that an image must not show beside no target: it would be taught as background. Such"
        " images are in no subset of this task, and counted.",
    )
    augmentation: BoxAugmentation = Field(default=BoxAugmentation(), description="Of training images only.")


class SegmentTask(ImageTask):
    """Which pixels: masks. Images whose mask is unknown are in no subset, and counted."""

    kind: Literal["segment"] = Field(description="Segmentation by masks.")
    target: str = Field(description="The study class whose masks are learnt.")
    loss: Literal["bce_dice", "focal", "tversky"] = Field(
        default="bce_dice", description="Cross-entropy + Dice, focal, or Tversky."
    )
    positive_share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of images with lesion among those of an epoch: each with lesion once, and so many others,"
        " drawn anew each epoch; null takes each image once.",
    )
    augmentation: Augmentation = Field(default=Augmentation(), description="Of training images only.")


Task = Annotated[ClassifyTask | MulticlassTask | MultilabelTask | DetectTask | SegmentTask, Field(discriminator="kind")]
ImageLevelTask = ClassifyTask | MulticlassTask | MultilabelTask


class ModelOptions(Options):
    """A network."""

    architecture: str = Field(
        description="A torchvision classification model (resnet18), a torchvision detector"
        " (fasterrcnn_resnet50_fpn), an ultralytics model (yolov8n), or an architecture of"
        " segmentation-models-pytorch (unet)."
    )
    encoder: str | None = Field(
        default=None, description="Encoder of a segmentation network, for example resnet34; null for others."
    )
    weights: str = Field(
        default="imagenet",
        description="Weights to start from: imagenet (of the backbone or encoder), coco (of a whole detector, whose"
        " outputs for COCO's classes are left out), none, or a file of a state dict.",
    )
    channels: Literal[1, 3] = Field(default=3, description="Input channels; 3 repeats the grey image.")
    statistics: Literal["auto", "imagenet", "train"] = Field(
        default="auto",
        description="Mean and standard deviation that images are normalised by: ImageNet's (of 3 channels), or those of"
        " the training images. auto: ImageNet's for its weights with 3 channels. Of image-level tasks and"
        " segmentation.",
    )

    @field_validator("architecture")
    @classmethod
    def _known(cls, name: str) -> str:
        if kind_of_network(name) is None:
            known = ", ".join((*CLASSIFICATION_MODELS, *DETECTION_MODELS, *SEGMENTATION_ARCHITECTURES))
            raise ValueError(f"an ultralytics detector such as yolov8n, or one of {known}")
        return name

    @model_validator(mode="after")
    def _encoder_fits(self) -> Self:
        segments = kind_of_network(self.architecture) == "segment"
        if segments and self.encoder is None:
            raise ValueError(f"{self.architecture} needs an encoder, for example encoder: resnet34")
        if not segments and self.encoder is not None:
            raise ValueError(f"{self.architecture} has no encoder of its own; leave encoder out")
        if self.weights == "imagenet" and self.imagenet_network() is None:
            name = self.encoder or self.architecture
            others = "coco, none" if kind_of_network(self.architecture) == "detect" else "none"
            raise ValueError(f"no ImageNet weights are known for {name}: set weights to {others}, or to a file")
        if self.statistics != "auto" and kind_of_network(self.architecture) == "detect":
            raise ValueError("no statistics: detectors are normalised as their weights ask")
        if self.statistics == "imagenet" and self.channels == 1:
            raise ValueError("statistics auto or train: ImageNet's are of 3 channels")
        if self.weights == "coco" and kind_of_network(self.architecture) != "detect":
            raise ValueError(f"{self.architecture} is no detector, and coco has weights of detectors: set imagenet")
        return self

    def imagenet_network(self) -> str | None:
        """The torchvision classification network whose ImageNet weights this one can start from; None for none."""
        name = self.encoder or BACKBONES.get(self.architecture, self.architecture)
        return name if name in CLASSIFICATION_MODELS else None

    def published_network(self) -> str | None:
        """The network whose published weights are to be acquired; None where there are none to acquire."""
        if self.weights == "coco":
            return self.architecture
        return self.imagenet_network() if self.weights == "imagenet" else None


def kind_of_network(architecture: str) -> Literal["classify", "detect", "segment"] | None:
    """What a network does, by its name; None for a name that nobody knows."""
    if architecture in CLASSIFICATION_MODELS:
        return "classify"
    if architecture in DETECTION_MODELS or re.fullmatch(ULTRALYTICS_NAME, architecture):
        return "detect"
    return "segment" if architecture in SEGMENTATION_ARCHITECTURES else None


# What ultralytics, which has a loop of its own, does not read: it is not told of them, and a model of its that gives
# one is refused.
ENGINE_OPTIONS = frozenset(
    {
        "optimizer",
        "momentum",
        "schedule",
        "plateau_factor",
        "plateau_patience_epochs",
        "gradient_clip_norm",
        "accumulation_steps",
        "ema_decay",
        "frozen_epochs",
        "channels_last",
        "deterministic",
    }
)


class TrainingOptions(Options):
    """How much and how: the same for all models of a study, but for what a model changes for itself."""

    epochs: int = Field(default=40, ge=1, description="Epochs at most.")
    patience_epochs: int = Field(
        default=8,
        ge=1,
        description="Stop after this many epochs without a better val; the best epoch is kept.",
    )
    batch_size: int = Field(default=32, ge=1, description="Images a step.")
    learning_rate: float = Field(default=3e-4, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(
        default=0.05, ge=0, description="Weight decay: decoupled with adamw, added to the gradient with sgd."
    )
    warmup_epochs: float = Field(default=1.0, ge=0, description="Linear warm-up before the schedule.")
    optimizer: Literal["adamw", "sgd"] = Field(default="adamw", description="AdamW, or SGD with momentum.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of sgd.")
    schedule: Literal["cosine", "plateau"] = Field(
        default="cosine",
        description="Learning rate after the warm-up: a half cosine to 0 at the last epoch, or lowered whenever val has"
        " not become better for more than plateau_patience_epochs.",
    )
    plateau_factor: float = Field(
        default=0.1, gt=0, lt=1, description="What the plateau schedule multiplies the learning rate by."
    )
    plateau_patience_epochs: int = Field(
        default=3, ge=0, description="Epochs without a better val that the plateau schedule bears."
    )
    gradient_clip_norm: float | None = Field(
        default=None, gt=0, description="Scale gradients down to this norm of all of them together; null: never."
    )
    accumulation_steps: int = Field(
        default=1,
        ge=1,
        description="Parts that each batch is computed in, for batches that do not fit the GPU: the step is that of the"
        " whole batch, but batch norm sees the parts. Of image-level tasks alone.",
    )
    ema_decay: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Measure and keep an exponential moving average of the weights with this decay a step; null: the"
        " weights themselves.",
    )
    frozen_epochs: int = Field(
        default=0,
        ge=0,
        description="Epochs at the start in which only the new layers learn: the head of a classifier, all but the"
        " encoder of a segmentation network or the backbone of a torchvision detector.",
    )
    channels_last: bool = Field(default=True, description="Memory format of the network and its images.")
    deterministic: bool = Field(
        default=True,
        description="Equal seeds give equal weights on one machine. false lets cuDNN pick its algorithms by timing.",
    )
    repeat: int = Field(
        default=0,
        ge=0,
        description="Number of a repeat, which is trained for itself: a model that differs from another in this alone"
        " shows whether equal seeds give equal weights.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Autocast type. auto: bfloat16 where the device computes with it natively, else float32.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="cuda without a GPU fails at once.")
