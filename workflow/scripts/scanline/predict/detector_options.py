"""What a detector is asked to find, and where it computes."""

from typing import Literal

from pydantic import Field

from scanline.core.options import Options


class PredictDetectorOptions(Options):
    """The part of the study file that detections depend on."""

    targets: tuple[str, ...] = Field(min_length=1, description="The classes that the detector finds.")
    device: Literal["auto", "cpu", "cuda"] = Field(description="cuda without a GPU fails at once.")
