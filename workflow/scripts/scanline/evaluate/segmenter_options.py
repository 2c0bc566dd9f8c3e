"""How masks are scored, and what the evaluation of a segmentation network is told."""

from typing import Literal

from pydantic import Field

from scanline.core.options import Options
from scanline.evaluate.options import EvaluateOptions


class MaskScoring(Options):
    """When a pixel counts as lesion, and an image as positive."""

    threshold: Literal["dice", "fixed"] = Field(
        default="dice",
        description="How the threshold of probability maps is chosen: best Dice of all val pixels, or 0.5 (fixed).",
    )
    min_predicted_pixels: int = Field(
        default=1,
        ge=1,
        description="An image or volume with fewer predicted pixels than this is called negative; in pixels of the"
        " cached image.",
    )
    surface_tolerance_px: float = Field(
        default=1.0, gt=0, description="Of the surface Dice, in pixels of the cached image."
    )


class EvaluateSegmenterOptions(Options):
    """What the rule evaluate_segmenter is told."""

    target: str = Field(description="The class that was segmented: its column of the labels table.")
    masks: MaskScoring = Field(default=MaskScoring(), description="Threshold of the maps, and what counts.")
    evaluate: EvaluateOptions = Field(default=EvaluateOptions(), description="Intervals and subgroups.")
    patient_salt: str = Field(description="Salt of the pseudonyms in the table of single images.")
