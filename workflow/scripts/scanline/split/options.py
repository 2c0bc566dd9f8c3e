"""How images are assigned to subsets."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from scanline.core.options import Options


class Ratios(Options):
    """Shares of all images; they sum to 1."""

    train: float = Field(gt=0, lt=1, description="Share of the images to train on.")
    val: float = Field(gt=0, lt=1, description="Share for early stopping, thresholds and calibration.")
    test: float = Field(gt=0, lt=1, description="Share for the figures that are reported.")


class _Split(Options):
    ratios: Ratios = Field(description="Shares of train, val and test.")
    seed: int = Field(ge=0, description="Seed of the assignment.")

    @field_validator("ratios")
    @classmethod
    def _sum_to_one(cls, ratios: Ratios) -> Ratios:
        total = ratios.train + ratios.val + ratios.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"ratios that sum to 1 (these sum to {total:g})")
        return ratios


class GroupedSplit(_Split):
    """Whole groups (patients and all that is tied to them) in one subset; proved by the gate."""

    protocol: Literal["grouped"] = Field(description="Groups are never parted.")
    balance: tuple[str, ...] = Field(
        description="Classes whose prevalence is brought close to the whole study's in each subset."
    )


class NaiveImageSplit(_Split):
    """Images shuffled one by one, as is often done: it leaks, and serves to show what leakage is worth."""

    protocol: Literal["naive_image"] = Field(description="Images one by one, patients ignored.")


SplitOptions = Annotated[GroupedSplit | NaiveImageSplit, Field(discriminator="protocol")]
