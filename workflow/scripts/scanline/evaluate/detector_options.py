"""How detections are scored."""

from typing import Annotated, Literal

from pydantic import Field

from scanline.core.options import Options
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.volume_options import VolumeOptions

Headline = Literal["ap_10", "ap_30", "ap_50", "ap_75", "ap_50_95"]


class BoxOptions(Options):
    """When a detection counts."""

    score_threshold: Literal["f1"] | Annotated[float, Field(ge=0, le=1)] = Field(
        default="f1",
        description="Score from which on a detection counts: the one with the best F1 of boxes on val (f1), or a"
        " number from 0 to 1.",
    )
    iou_threshold: float = Field(
        default=0.5, gt=0, le=1, description="Overlap (IoU) that a detection must reach to find a true box."
    )
    headline: Headline = Field(
        default="ap_50",
        description="The average precision that comes first in reports, that subgroups and comparisons are told by and"
        " whose curve is drawn first: ap_10 (at IoU 0.1) where loose localisation is what matters.",
    )


class EvaluateDetectorOptions(Options):
    """What the rule evaluate_detector is told."""

    targets: tuple[str, ...] = Field(min_length=1, description="The classes that were looked for.")
    boxes: BoxOptions = Field(default=BoxOptions(), description="When a detection counts.")
    volumes: VolumeOptions = Field(default=VolumeOptions(), description="Yes or no about a volume.")
    evaluate: EvaluateOptions = Field(default=EvaluateOptions(), description="Intervals and subgroups.")
    patient_salt: str = Field(description="Salt of the patient pseudonyms in the tables of single images.")
