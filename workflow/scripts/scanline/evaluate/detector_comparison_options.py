"""Which trained detectors are set side by side, and what the rule compare_detectors is told."""

from typing import Self

from pydantic import Field, model_validator

from scanline.core.options import Options
from scanline.evaluate.detector_options import BoxOptions
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.volume_options import VolumeOptions


class DetectorEntry(Options):
    """One way to train a detector: a split, a task and a network, with all seeds that `runs` gives it."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="What the report calls it.")
    split: str = Field(description="An entry of `splits`.")
    task: str = Field(description="An entry of `tasks`, of kind detect.")
    model: str = Field(description="An entry of `models`.")


class DetectorComparison(Options):
    """Ways to train a detector, set side by side on the test images that they share."""

    title: str = Field(description="What is compared, as the report prints it.")
    entries: tuple[DetectorEntry, ...] = Field(
        min_length=2,
        description="Each is compared with the first; all look for the same targets. Those without a trained model, as"
        " under some presets, are left out.",
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        trained = [(entry.split, entry.task, entry.model) for entry in self.entries]
        if len(set(trained)) < len(trained) or len({entry.name for entry in self.entries}) < len(trained):
            raise ValueError("entries that differ in name, and in split, task or model")
        return self


class ComparedDetector(Options):
    """One trained and evaluated detector."""

    split: str = Field(description="The split it was trained and tested on.")
    task: str = Field(description="The task.")
    model: str = Field(description="The network.")
    seed: int = Field(ge=0, description="The training seed.")


class CompareDetectorsOptions(Options):
    """What the rule compare_detectors is told."""

    comparisons: dict[str, DetectorComparison] = Field(min_length=1, description="Comparisons by name.")
    targets: dict[str, tuple[str, ...]] = Field(description="Task to the classes that it looks for.")
    runs: tuple[ComparedDetector, ...] = Field(description="The runs, in the order of the files given for them.")
    boxes: BoxOptions = Field(default=BoxOptions(), description="The AP that comes first.")
    volumes: VolumeOptions = Field(default=VolumeOptions(), description="Yes or no about a volume.")
    evaluate: EvaluateOptions = Field(default=EvaluateOptions(), description="Intervals.")
