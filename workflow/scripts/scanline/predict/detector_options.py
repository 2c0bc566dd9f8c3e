"""What a detector is asked to find, and where it computes."""

from typing import Literal

from pydantic import Field

from scanline.core.options import Options
from scanline.predict.test_time_augmentation_options import TtaOptions


class PredictDetectorOptions(Options):
    """The part of the study file that detections depend on."""

    targets: tuple[str, ...] = Field(min_length=1, description="The classes that the detector finds.")
    excluded_classes: tuple[str, ...] = Field(
        default=(), description="Images that show one of these and no target are not looked at."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(description="cuda without a GPU fails at once.")
    test_time_augmentation: TtaOptions | None = Field(
        default=None, description="Views of an image to predict on; null for the image alone."
    )
