"""An entry of `models` in a study file: a network, and how its training differs from the study's."""

import re
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from scanline.train.network_names import ULTRALYTICS_NAME
from scanline.train.options import ModelOptions, TrainingOptions
from scanline.train.ultralytics_options import TRAINING, UltralyticsOptions


class StudyModel(ModelOptions):
    """A network. The rule that trains it is told the network and the training it ends up with, and no more."""

    training: TrainingOptions | None = Field(
        default=None,
        description="Options of the study's `training` that differ for this network; those that are not given here are"
        " the study's. `device` cannot differ.",
    )
    ultralytics: UltralyticsOptions | None = Field(
        default=None, description="Options of ultralytics' trainer by its own names; null for other networks."
    )

    @field_validator("training")
    @classmethod
    def _on_the_studys_device(cls, training: TrainingOptions | None) -> TrainingOptions | None:
        if training is not None and "device" in training.model_fields_set:
            raise ValueError("options of training other than device, which is the same for all models of a study")
        return training

    @model_validator(mode="after")
    def _told_once(self) -> Self:
        if self.ultralytics is None:
            return self
        if not re.fullmatch(ULTRALYTICS_NAME, self.architecture):
            raise ValueError(f"no options of ultralytics for {self.architecture}, which is not one of its networks")
        for name, own in TRAINING.items():
            if getattr(self.ultralytics, name) is not None and own in getattr(self.training, "model_fields_set", ()):
                raise ValueError(f"either ultralytics.{name} or training.{own}: they are the same")
        return self

    def network(self) -> dict[str, Any]:
        """The network alone, plain values: those of `ModelOptions`, or of `TunedModel` where it has options."""
        values = self.model_dump(mode="json", include=set(ModelOptions.model_fields))
        own = self.ultralytics.model_dump(mode="json", exclude_none=True) if self.ultralytics else {}
        return {**values, "ultralytics": own} if own else values

    def training_over(self, training: TrainingOptions) -> TrainingOptions:
        """The study's `training` with this network's own options laid over it."""
        if self.training is None:
            return training
        return TrainingOptions(**{**training.model_dump(), **self.training.model_dump(exclude_unset=True)})
