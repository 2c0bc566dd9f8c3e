"""An entry of `ensembles` in a study file: whose predictions are taken together, and how boxes are fused."""

from typing import Literal, Self

from pydantic import Field, model_validator

from scanline.core.options import Options

Confidence = Literal["average", "maximum", "box_and_model_average", "absent_model_aware_average"]


class BoxFusion(Options):
    """Weighted boxes fusion (Solovyev, Wang & Gabruseva, Image and Vision Computing 107 (2021) 104117)."""

    iou_threshold: float = Field(
        default=0.55,
        ge=0,
        lt=1,
        description="Boxes of a class that overlap by more are one box; 0.55 was best on most of the paper's sets.",
    )
    skip_box_score: float = Field(default=0.0, ge=0, lt=1, description="Boxes with a lower score are left out.")
    confidence: Confidence = Field(
        default="average",
        description="Score of a fused box. average: the mean of its boxes, times the share of members that gave one;"
        " maximum: the highest, by the largest weight; box_and_model_average: the mean, times the weights of the"
        " members that gave one over all; absent_model_aware_average: the mean, with a 0 for each member without one.",
    )


class EnsembleMember(Options):
    """Trained runs of one network."""

    model: str = Field(description="An entry of `models`.")
    seeds: tuple[int, ...] = Field(min_length=1, description="Seeds of its runs.")
    weight: float = Field(default=1.0, gt=0, description="How much each of these runs counts beside the others.")


class Ensemble(Options):
    """Several trained runs that predict together: boxes fused, probabilities and maps averaged."""

    members: tuple[EnsembleMember, ...] = Field(min_length=1, description="Whose predictions are taken together.")
    weighted_boxes_fusion: BoxFusion = Field(
        default=BoxFusion(), description="How boxes become one; of detection tasks alone."
    )

    @model_validator(mode="after")
    def _several_runs_each_once(self) -> Self:
        runs = [(member.model, member.seed) for member in self.runs()]
        twice = [run for place, run in enumerate(runs) if run in runs[:place]]
        if twice:
            raise ValueError(f"each run once, and {twice[0][0]} with seed {twice[0][1]} comes twice")
        if len(runs) < 2:
            raise ValueError("at least two runs: several seeds of a network, or several networks")
        return self

    def runs(self) -> tuple["FusedRun", ...]:
        """The trained runs, in the order of the file."""
        return tuple(
            FusedRun(model=member.model, seed=seed, weight=member.weight)
            for member in self.members
            for seed in member.seeds
        )


class FusedRun(Options):
    """One trained run in an ensemble."""

    model: str = Field(description="Name of its network.")
    seed: int = Field(description="Seed of its training.")
    weight: float = Field(default=1.0, gt=0, description="How much it counts.")

    @property
    def name(self) -> str:
        """The run in words."""
        return f"{self.model}, seed {self.seed}"


class AverageOptions(Options):
    """What averaging scores or maps depends on."""

    members: tuple[FusedRun, ...] = Field(min_length=2, description="The runs, in the order of the lists of files.")
    target: str | tuple[str, ...] = Field(description="The class that they predict; the labels of several, in order.")

    @property
    def weights(self) -> tuple[float, ...]:
        """How much each run counts."""
        return tuple(member.weight for member in self.members)


class FuseDetectionsOptions(Options):
    """What fusing detections depends on."""

    members: tuple[FusedRun, ...] = Field(min_length=2, description="The runs, in the order of the lists of files.")
    weighted_boxes_fusion: BoxFusion = Field(description="How boxes become one.")
