"""An entry of `models` in a study file: a network, and how its training differs from the study's."""

from typing import Any

from pydantic import Field, field_validator

from scanline.train.options import ModelOptions, TrainingOptions


class StudyModel(ModelOptions):
    """A network. The rule that trains it is told the network and the training it ends up with, and no more."""

    training: TrainingOptions | None = Field(
        default=None,
        description="Options of the study's `training` that differ for this network; those that are not given here are"
        " the study's. `device` cannot differ.",
    )

    @field_validator("training")
    @classmethod
    def _on_the_studys_device(cls, training: TrainingOptions | None) -> TrainingOptions | None:
        if training is not None and "device" in training.model_fields_set:
            raise ValueError("options of training other than device, which is the same for all models of a study")
        return training

    def network(self) -> dict[str, Any]:
        """The network alone, plain values: the fields of `ModelOptions`."""
        return self.model_dump(mode="json", include=set(ModelOptions.model_fields))

    def training_over(self, training: TrainingOptions) -> TrainingOptions:
        """The study's `training` with this network's own options laid over it."""
        if self.training is None:
            return training
        return TrainingOptions(**{**training.model_dump(), **self.training.model_dump(exclude_unset=True)})
