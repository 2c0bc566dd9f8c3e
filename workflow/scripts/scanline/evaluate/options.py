"""How predictions are scored."""

from typing import Literal

from pydantic import Field

from scanline.core.options import Options


class EvaluateOptions(Options):
    """Operating point and intervals."""

    operating_point: Literal["f1", "youden", "fixed"] = Field(
        default="f1",
        description="How the threshold is chosen on val: best F1, best Youden index, or 0.5 (fixed).",
    )
    bootstrap_resamples: int = Field(default=2000, ge=100, description="Resamples of patients for each interval.")
    confidence_level: float = Field(default=0.95, gt=0.5, lt=1, description="Coverage of the intervals.")
    seed: int = Field(default=0, ge=0, description="Seed of the resampling.")


class EvaluateClassifierOptions(Options):
    """What the rule evaluate_classifier is told."""

    evaluate: EvaluateOptions = Field(default=EvaluateOptions(), description="Operating point and intervals.")
    patient_salt: str = Field(description="Salt of the patient pseudonyms in the table of single images.")


class ComparedRun(Options):
    """One trained and evaluated model."""

    split: str = Field(description="The split it was trained and tested on.")
    protocol: Literal["grouped", "naive_image"] = Field(description="How that split was made.")
    task: str = Field(description="The task.")
    model: str = Field(description="The model.")
    seed: int = Field(ge=0, description="The training seed.")


class CompareSplitsOptions(Options):
    """What the rule compare_splits is told."""

    evaluate: EvaluateOptions = Field(default=EvaluateOptions(), description="Of which: the intervals.")
    runs: tuple[ComparedRun, ...] = Field(description="The runs, in the order of the files given for them.")
