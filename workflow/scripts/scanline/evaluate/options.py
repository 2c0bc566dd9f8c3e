"""How predictions are scored."""

from typing import Literal, Self

from pydantic import Field, model_validator

from scanline.core.options import Options


class EvaluateOptions(Options):
    """Operating point and intervals."""

    operating_point: Literal["f1", "youden", "sensitivity", "specificity", "fixed"] = Field(
        default="f1",
        description="How the threshold is chosen on val: best F1, best Youden index, a sensitivity or specificity to"
        " reach (target), or 0.5 (fixed).",
    )
    target: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="The sensitivity or specificity that the threshold must reach on val; null for other rules.",
    )
    temperature_scaling: bool = Field(
        default=False,
        description="Whether to fit one temperature on val and divide all logits by it before the threshold is chosen.",
    )
    prevalence: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of positives where the classifier is to be used: predictive values are given for it too.",
    )
    bootstrap_resamples: int = Field(default=2000, ge=100, description="Resamples of patients for each interval.")
    confidence_level: float = Field(default=0.95, gt=0.5, lt=1, description="Coverage of the intervals.")
    interval_method: Literal["percentile", "bca"] = Field(
        default="percentile",
        description="Percentile intervals, or bias-corrected and accelerated ones (bca), which cost one more"
        " evaluation a patient.",
    )
    stratified: bool = Field(
        default=False,
        description="Whether each resample keeps the number of patients with and without a positive image.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the resampling.")

    subgroups: tuple[str, ...] = Field(
        default=("sex", "age_years", "view", "scanner", "source", "lesion_size"),
        description="What test and external are broken down by: columns of the images table, and lesion_size (area of"
        " the boxes, or of the true mask, in percent of the image). Those without two known values are left out."
        " Decide before looking at results.",
    )
    age_edges_years: tuple[float, ...] = Field(
        default=(18, 40, 65, 80),
        description="Where a new age band begins. Bands without images are not shown.",
    )

    @model_validator(mode="after")
    def _target_fits_rule(self) -> Self:
        wanted = self.operating_point in {"sensitivity", "specificity"}
        if wanted and self.target is None:
            raise ValueError(f"operating_point {self.operating_point} needs a target, for example target: 0.95")
        if not wanted and self.target is not None:
            raise ValueError(f"target {self.target:g} has no meaning for operating_point {self.operating_point}")
        return self


class EvaluateClassifierOptions(Options):
    """What the rule evaluate_classifier is told."""

    target: str = Field(description="The class that was predicted: its boxes score the class activation maps.")
    evaluate: EvaluateOptions = Field(default=EvaluateOptions(), description="Operating point and intervals.")
    patient_salt: str = Field(description="Salt of the patient pseudonyms in the table of single images.")


class ComparedRun(Options):
    """One trained and evaluated model."""

    split: str = Field(description="The split it was trained and tested on.")
    protocol: Literal["grouped", "stratified", "official", "kfold", "naive_image"] = Field(
        description="How that split was made."
    )
    task: str = Field(description="The task.")
    model: str = Field(description="The model.")
    seed: int = Field(ge=0, description="The training seed.")


class CompareSplitsOptions(Options):
    """What the rule compare_splits is told."""

    evaluate: EvaluateOptions = Field(default=EvaluateOptions(), description="Of which: the intervals.")
    runs: tuple[ComparedRun, ...] = Field(description="The runs, in the order of the files given for them.")
