"""How predictions are scored."""

from typing import Literal

from pydantic import Field

from scanline.core.options import Options


class EvaluateOptions(Options):
    """Operating point and intervals."""

    operating_point: Literal["f1", "youden", "fixed"] = Field(
        default="f1", description="How the threshold is chosen on val: best F1, best Youden index, or 0.5 (fixed)."
    )
    bootstrap_resamples: int = Field(default=2000, ge=100, description="Resamples of patients for each interval.")
    confidence_level: float = Field(default=0.95, gt=0.5, lt=1, description="Coverage of the intervals.")
    seed: int = Field(default=0, ge=0, description="Seed of the resampling.")
