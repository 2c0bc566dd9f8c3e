"""Options of ultralytics' trainer under its own names, and what becomes of those that it, or YOLOv5, had before.

Checked against ultralytics 8.4.190 (cfg/default.yaml, cfg/__init__.py, data/augment.py, utils/loss.py); the tests
compare it with what is installed. What YOLOv5 meant by its names: data/hyps/hyp.scratch-low.yaml, train.py (`cls` times
classes / 80) and utils/loss.py (no class loss for a single class) of its release 7.0. This module does not import
torch.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from scanline.core.options import Options
from scanline.train.options import TrainingOptions

BOX_DEFAULT, CLS_DEFAULT = 7.5, 0.5  # ultralytics' default gains
YOLOV5_BOX_DEFAULT, YOLOV5_CLS_DEFAULT = 0.05, 0.5
LOWEST_BOX = 1.0  # where ultralytics' own search for hyperparameters begins (engine/tuner.py)

NO_OBJECTNESS = "today's heads predict no objectness, the score of a class is all there is"
NO_SEGMENTS = "it pastes outlined objects, and boxes have no outline"
CLASSIFICATION_ONLY = "ultralytics uses it in classification only"
REFUSED = {
    "obj": f"{NO_OBJECTNESS}: leave it out",
    "obj_pw": f"{NO_OBJECTNESS}: leave it out",
    "label_smoothing": "ultralytics has removed it and would drop it with a warning: leave it out",
    "anchors": "today's heads have no anchors: leave it out",
    "anchor_t": "today's heads have no anchors to fit boxes to: leave it out",
    "iou_t": "boxes are assigned by score and overlap together, without a threshold: leave it out",
    "fl_gamma": "the class loss is binary cross-entropy, there is no focal loss: leave it out",
    "image_weights": "each image is drawn once an epoch: give the split an oversample policy for train instead",
    "copy_paste": f"{NO_SEGMENTS}: it would have no effect, leave it out",
    "copy_paste_mode": f"{NO_SEGMENTS}: it would have no effect, leave it out",
    "erasing": f"{CLASSIFICATION_ONLY}: it would have no effect on boxes, leave it out",
    "auto_augment": f"{CLASSIFICATION_ONLY}: it would have no effect on boxes, leave it out",
    "bgr": "the three channels of a grey image are equal: it would have no effect, leave it out",
    "multi_scale": "images keep the size of the pixel cache, at which they are predicted: leave it out",
    "nbs": "a step is always one batch, as a checkpoint could cut longer ones in two: set training.batch_size",
    "epochs": "set training.epochs",
    "batch": "set training.batch_size",
    "imgsz": "set image_size_px of the task or of pixels",
    "seed": "name the seeds in runs",
    "device": "set training.device",
    "amp": "set training.precision",
    "pretrained": "set the model's weights",
    "resume": "a killed run always goes on from its last epoch",
}
TRAINING = {  # the option of `training` that each of these stands for
    "lr0": "learning_rate",
    "weight_decay": "weight_decay",
    "warmup_epochs": "warmup_epochs",
    "patience": "patience_epochs",
}
TAKEN_TO_SETTINGS = ("gains", "box", "cls", "cls_pw", "scale", *TRAINING)  # each by a rule of its own
GREY = "no effect: the images are grey and have no colour"

Share = Annotated[float, Field(ge=0, le=1)]
Optimizer = Literal["AdamW", "Adam", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD"]


class UltralyticsOptions(Options):
    """Options of ultralytics' trainer, by its names. null leaves what this workflow takes for every detector.

    Without this section shift and zoom are small, colours stay, and images are neither tiled nor mixed.
    """

    gains: Literal["ultralytics", "yolov5"] = Field(
        default="ultralytics",
        description="Whose scale box, cls and cls_pw are given in. yolov5: taken to today's as the same multiple of the"
        " default (box 0.05 to 7.5, cls 0.5 to 0.5); cls_pw must be 1, YOLOv5's weight of positives.",
    )
    single_cls: bool | None = Field(
        default=None, description="All boxes are of one class; the tasks trained so must have one target."
    )
    optimizer: Optimizer | None = Field(
        default=None, description="AdamW where null. There is no auto: it would ignore lr0 and momentum."
    )
    lr0: float | None = Field(default=None, gt=0, le=1, description="Peak learning rate; null: training.learning_rate.")
    lrf: Share | None = Field(default=None, description="Last learning rate as a share of lr0; null: 0.01.")
    momentum: Share | None = Field(default=None, description="Momentum of SGD, first beta of Adam; null: 0.9.")
    weight_decay: Share | None = Field(default=None, description="null: training.weight_decay.")
    warmup_epochs: float | None = Field(default=None, ge=0, description="null: training.warmup_epochs.")
    warmup_momentum: Share | None = Field(
        default=None, description="Momentum at the start of the warm-up, of SGD and RMSprop only; null: 0.8."
    )
    warmup_bias_lr: Share | None = Field(
        default=None, description="Learning rate of biases at the start of the warm-up; null: 0."
    )
    cos_lr: bool | None = Field(
        default=None, description="Cosine decay of the learning rate, false for a linear one; null: true."
    )
    patience: int | None = Field(
        default=None, ge=0, description="Epochs without a better val AP; 0: never stop early; null: training's."
    )
    save_period: int | None = Field(
        default=None,
        ge=1,
        description="Keep the averaged weights of every so many epochs as epoch<n>.pt in the run's folder of the model"
        " store, where another network's weights can name them; null: of the best epoch only.",
    )
    box: float | None = Field(default=None, gt=0, description="Gain of the box loss; null: 7.5. See gains.")
    cls: float | None = Field(default=None, gt=0, description="Gain of the class loss; null: 0.5. See gains.")
    cls_pw: Share | None = Field(
        default=None,
        description="Power of the inverse frequency by which classes are weighted, 0 = none; null: 0. It is not"
        " YOLOv5's weight of positives, see gains.",
    )
    dfl: float | None = Field(default=None, ge=0, description="Gain of the distribution focal loss; null: 1.5.")
    hsv_h: Share | None = Field(default=None, description="Change of hue; grey images have none.")
    hsv_s: Share | None = Field(default=None, description="Change of saturation; grey images have none.")
    hsv_v: Share | None = Field(
        default=None, description="Change of brightness by a factor of up to 1 +- this; needs 3 channels; null: 0."
    )
    degrees: float | None = Field(default=None, ge=0, le=180, description="Rotation, either way; null: 0.")
    translate: Share | None = Field(default=None, description="Shift as a share of the size, either way; null: 0.1.")
    scale: Annotated[float, Field(ge=0, lt=1)] | tuple[float, float] | None = Field(
        default=None, description="Zoom by a factor of 1 +- this, or from the first to the second; null: 0.75 to 1.25."
    )
    shear: float | None = Field(default=None, ge=0, lt=90, description="Shear in degrees, either way; null: 0.")
    perspective: Share | None = Field(default=None, description="Perspective, typically up to 0.001; null: 0.")
    flipud: Share | None = Field(default=None, description="Share of images turned upside down; null: the task's.")
    fliplr: Share | None = Field(default=None, description="Share of mirrored images; null: the task's.")
    mosaic: Share | None = Field(default=None, description="Share of images tiled from four; null: 0.")
    mixup: Share | None = Field(default=None, description="Share of images blended with another; null: 0.")
    cutmix: Share | None = Field(default=None, description="Share of images with a patch of another; null: 0.")
    close_mosaic: int | None = Field(
        default=None, ge=0, description="Last epochs without mosaic, mixup and cutmix; null: 0, to the end."
    )

    @model_validator(mode="before")
    @classmethod
    def _honoured(cls, values: Any) -> Any:
        for name in values if isinstance(values, dict) else ():
            if name in REFUSED:
                raise ValueError(f"no {name} (found {values[name]}): {REFUSED[name]}")
        return values

    @model_validator(mode="after")
    def _of_one_scale(self) -> Self:
        if self.gains == "yolov5" and self.cls_pw not in (None, 1.0):
            raise ValueError(
                f"cls_pw 1 with gains yolov5, found {self.cls_pw:g}: it weights positives, which today's loss cannot"
            )
        if self.gains == "ultralytics" and self.box is not None and self.box < LOWEST_BOX:
            raise ValueError(
                f"box of {LOWEST_BOX:g} or more, found {self.box:g}: that is YOLOv5's scale, whose default is"
                f" {YOLOV5_BOX_DEFAULT:g} where today's is {BOX_DEFAULT:g}; set gains: yolov5 to have it taken over"
            )
        if isinstance(self.scale, tuple) and not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError("a scale from a smaller to a larger factor, both above 0")
        return self


def training_with(options: UltralyticsOptions, training: TrainingOptions) -> TrainingOptions:
    """The training options with lr0, weight_decay, warmup_epochs and patience in their places."""
    given = {TRAINING[name]: getattr(options, name) for name in TRAINING if getattr(options, name) is not None}
    if given.get("patience_epochs") == 0:
        given["patience_epochs"] = training.epochs
    return TrainingOptions(**{**training.model_dump(), **given})


def trainer_settings(options: UltralyticsOptions) -> dict[str, Any]:
    """What ultralytics is told beyond the training options: its names to values, only those that were given."""
    values = options.model_dump(exclude_none=True)
    settings = {name: value for name, value in values.items() if name not in TAKEN_TO_SETTINGS}
    is_old = options.gains == "yolov5"
    if options.box is not None:
        settings["box"] = BOX_DEFAULT * options.box / YOLOV5_BOX_DEFAULT if is_old else options.box
    if options.cls is not None:
        settings["cls"] = CLS_DEFAULT * options.cls / YOLOV5_CLS_DEFAULT if is_old else options.cls
    if options.cls_pw is not None:
        settings["cls_pw"] = 0.0 if is_old else options.cls_pw
    if options.scale is not None:
        zoom = options.scale
        settings["scale"] = list(zoom) if isinstance(zoom, tuple) else [1 - zoom, 1 + zoom]
    return settings


def explain_settings(options: UltralyticsOptions, channels: int, classes: int) -> dict[str, str]:
    """One line for each given option that does not do what its name may promise, by name.

    Args:
        options: As given.
        channels: Input channels of the network.
        classes: Number of targets.
    """
    settings, lines = trainer_settings(options), {}
    is_old = options.gains == "yolov5"
    for name in TRAINING:
        if getattr(options, name) is not None:
            lines[name] = f"stands in the place of training.{TRAINING[name]}"
    if is_old and options.box is not None:
        lines["box"] = (
            f"YOLOv5's {options.box:g} taken as {settings['box']:g}, the same multiple of the default"
            f" ({YOLOV5_BOX_DEFAULT:g} there, {BOX_DEFAULT:g} here)"
        )
    if options.cls is not None:
        of_both = f"YOLOv5's {options.cls:g} taken as" if is_old else "taken as today's"
        lines["cls"] = (
            f"{of_both} {settings['cls']:g}; YOLOv5 multiplies its own by classes / 80 and leaves it out for one class,"
            " while today's trains the score itself"
        )
    if options.cls_pw is not None:
        lines["cls_pw"] = (
            "YOLOv5's weight of positives of 1 is none: off"
            if is_old
            else "a power of the inverse class frequency, not YOLOv5's weight of positives"
            + ("; no effect with one class" if classes == 1 else "")
        )
    if is_old and options.dfl is not None:
        lines["dfl"] = "YOLOv5 has none: taken as today's"
    for name in ("hsv_h", "hsv_s"):
        if getattr(options, name):
            lines[name] = GREY
    if options.hsv_v and channels != 3:
        lines["hsv_v"] = "no effect: ultralytics changes brightness of images with 3 channels only"
    if options.warmup_momentum is not None and options.optimizer not in ("SGD", "RMSprop"):
        lines["warmup_momentum"] = f"no effect: {options.optimizer or 'AdamW'} has no momentum that warms up"
    mixes = options.mosaic or options.mixup or options.cutmix
    if options.close_mosaic and not mixes:
        lines["close_mosaic"] = "no effect: there is no mosaic, mixup or cutmix to end"
    return lines
