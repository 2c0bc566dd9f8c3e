"""How a volume is scored from the boxes on its slices."""

from typing import Literal

from pydantic import Field

from scanline.core.options import Options


class VolumeOptions(Options):
    """Yes or no about a volume, from a detector's boxes."""

    of: Literal["volume_id", "patient_id"] = Field(
        default="volume_id",
        description="What makes images one volume: their series, or the patient where a data set has one series a"
        " patient and does not name it. Images without it are in no volume, and counted.",
    )
    score: Literal["maximum", "top_k_mean"] = Field(
        default="maximum",
        description="A volume's score: that of its best slice, or the mean of its best top_k slices. A slice's score is"
        " that of its best box, 0 without any.",
    )
    top_k: int = Field(
        default=3, ge=1, description="Slices that top_k_mean takes; all of them where a volume has fewer."
    )
    specificity: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Specificity that the threshold on a volume's score must reach on val, at the highest sensitivity.",
    )
