"""An entry of `models` in a study file: a network, and how its training differs from the study's."""

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from scanline.train.network_names import is_ultralytics
from scanline.train.options import ENGINE_OPTIONS, ModelOptions, TrainingOptions
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
        if not is_ultralytics(self.architecture):
            raise ValueError(f"no options of ultralytics for {self.architecture}, which is not one of its networks")
        for name, own in TRAINING.items():
            if getattr(self.ultralytics, name) is not None and own in getattr(self.training, "model_fields_set", ()):
                raise ValueError(f"either ultralytics.{name} or training.{own}: they are the same")
        return self

    @model_validator(mode="after")
    def _read_by_its_loop(self) -> Self:
        given = set() if self.training is None else self.training.model_fields_set & ENGINE_OPTIONS
        if given and is_ultralytics(self.architecture):
            raise ValueError(
                f"no {', '.join(sorted(given))} in training: {self.architecture} is trained by ultralytics"
            )
        return self

    def network(self) -> dict[str, Any]:
        """The network alone, plain values that differ from their defaults: of `ModelOptions`, or of `TunedModel`."""
        values = self.model_dump(mode="json", include=set(ModelOptions.model_fields), exclude_defaults=True)
        own = self.ultralytics.model_dump(mode="json", exclude_none=True) if self.ultralytics else {}
        return {**values, "ultralytics": own} if own else values

    def training_over(self, training: TrainingOptions) -> TrainingOptions:
        """The study's `training` with this network's own options laid over it."""
        if self.training is None:
            return training
        return TrainingOptions(**{**training.model_dump(), **self.training.model_dump(exclude_unset=True)})

    def training_options(self, training: TrainingOptions) -> dict[str, Any]:
        """`training_over`, plain values: those that differ from their defaults, and that the network's loop reads."""
        left_out = set(ENGINE_OPTIONS) if is_ultralytics(self.architecture) else set()
        return self.training_over(training).model_dump(mode="json", exclude_defaults=True, exclude=left_out)


def repeats(models: Mapping[str, StudyModel]) -> dict[str, str]:
    """The models that repeat another one, and which: they differ in the number of the repeat alone.

    Args:
        models: The study's, by name.

    Returns:
        Name of each repeat to the name of the model with the lowest number, in the order of `models`. Of models that
        share a number, which are one training, the first counts.
    """
    groups: dict[str, dict[int, str]] = {}
    for name, model in models.items():
        number = 0 if model.training is None else model.training.repeat
        values = model.model_dump(mode="json", exclude_unset=True)
        values["training"] = {key: value for key, value in (values.get("training") or {}).items() if key != "repeat"}
        groups.setdefault(json.dumps(values, sort_keys=True), {}).setdefault(number, name)
    originals = {name: group[min(group)] for group in groups.values() for name in group.values()}
    return {name: originals[name] for name in models if originals.get(name, name) != name}
