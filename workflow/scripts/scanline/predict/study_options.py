"""An entry of `models` in a study file: a network, how it is trained, and how it predicts."""

from typing import Self

from pydantic import Field, model_validator

from scanline.predict.test_time_augmentation_options import TtaOptions
from scanline.train.study_options import StudyModel

ONE_SIZE = ("vit_", "maxvit_")  # torchvision builds these for images of one size alone


class StudyNetwork(StudyModel):
    """A network, how it is trained, and how it predicts."""

    test_time_augmentation: TtaOptions | None = Field(
        default=None,
        description="Views of an image to predict on; null for the image alone. Training does not depend on it: entries"
        " that differ in nothing else share one trained model.",
    )

    @model_validator(mode="after")
    def _takes_other_sizes(self) -> Self:
        tta = self.test_time_augmentation
        if tta is not None and tta.scales != (1.0,) and self.architecture.startswith(ONE_SIZE):
            raise ValueError(f"{self.architecture} takes images of one size: leave test_time_augmentation.scales out")
        return self
