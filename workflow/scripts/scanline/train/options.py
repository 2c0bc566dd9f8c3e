"""What is trained, and how."""

from typing import Literal

from pydantic import Field, field_validator

from scanline.core.options import Options
from scanline.train.torchvision_names import CLASSIFICATION_MODELS


class Augmentation(Options):
    """Random changes of training images, drawn anew each epoch; val and test are never changed."""

    horizontal_flip: bool = Field(default=False, description="Swap the image's left and right, half of the time.")
    vertical_flip: bool = Field(default=False, description="Swap the image's top and bottom, half of the time.")
    crop_min_scale: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Random crop of at least this share of the area, resized back; 1 = none.",
    )


class ClassifyTask(Options):
    """One question a slice: is the class there? Images where nobody looked are left out."""

    kind: Literal["binary"] = Field(description="Binary classification of images.")
    target: str = Field(description="The study class to predict.")
    augmentation: Augmentation = Field(default=Augmentation(), description="Of training images only.")
    class_weights: bool = Field(
        default=False, description="Weight the loss of positives by negatives / positives of train."
    )


class ModelOptions(Options):
    """A network."""

    architecture: str = Field(description="A torchvision classification model, for example resnet18.")
    weights: str = Field(
        default="imagenet", description="Weights to start from: imagenet, none, or a file of a state dict."
    )
    channels: Literal[1, 3] = Field(default=3, description="Input channels; 3 repeats the grey image.")

    @field_validator("architecture")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in CLASSIFICATION_MODELS:
            raise ValueError(f"a torchvision classification model, one of {', '.join(CLASSIFICATION_MODELS)}")
        return name


class TrainingOptions(Options):
    """How much and how: the same for all models of a run of the workflow."""

    epochs: int = Field(default=40, ge=1, description="Epochs at most.")
    patience_epochs: int = Field(
        default=8,
        ge=1,
        description="Stop after this many epochs without a lower val loss; the best epoch is kept.",
    )
    batch_size: int = Field(default=32, ge=1, description="Images a step.")
    learning_rate: float = Field(default=3e-4, gt=0, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(default=0.05, ge=0, description="AdamW's decoupled weight decay.")
    warmup_epochs: float = Field(default=1.0, ge=0, description="Linear warm-up before the cosine decay.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Autocast type. auto: bfloat16 where the device computes with it natively, else float32.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="cuda without a GPU fails at once.")
