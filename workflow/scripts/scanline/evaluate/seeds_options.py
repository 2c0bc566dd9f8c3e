"""What the rule compare_seeds is told."""

from typing import Literal

from pydantic import Field

from scanline.core.options import Options
from scanline.core.run_names import name_seed
from scanline.evaluate.options import EvaluateOptions


class Member(Options):
    """A trained run in an ensemble."""

    model: str = Field(description="Its network.")
    seed: int = Field(description="Its training seed.")


class SeedRun(Options):
    """A run whose network has several seeds, or that is an ensemble or a member of one."""

    split: str = Field(description="The split it was tested on.")
    task: str = Field(description="The task.")
    kind: Literal["binary", "multilabel", "multiclass", "detect", "segment"] = Field(description="Kind of the task.")
    targets: tuple[str, ...] = Field(min_length=1, description="The task's classes.")
    model: str = Field(description="The network, or the ensemble.")
    seed: int = Field(description="The training seed.")
    repeat_of: str | None = Field(default=None, description="Network whose training this one repeats, seed by seed.")
    members: tuple[Member, ...] = Field(default=(), description="Of an ensemble: its runs.")

    @property
    def name(self) -> str:
        """The run in words."""
        return f"{self.model}, {name_seed(self.model, self.seed, len(self.members) or None)}"


class CompareSeedsOptions(Options):
    """What the rule compare_seeds is told."""

    runs: tuple[SeedRun, ...] = Field(min_length=1, description="The runs, in the order of the files given for them.")
    headline: dict[str, dict[str, tuple[str, ...]]] = Field(
        description="Kind of task to metric to its place in a subset of metrics.json."
    )
    chosen_by: dict[str, str] = Field(
        default={}, description="Kind of task to the metric that chooses the best member."
    )
    evaluate: EvaluateOptions = Field(default=EvaluateOptions(), description="Intervals of the differences.")
