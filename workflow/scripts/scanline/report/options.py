"""What a report is told beside the files that it reads."""

from typing import Literal

from pydantic import Field

from scanline.core.options import Options
from scanline.core.run_names import name_seed
from scanline.predict.ensemble_options import BoxFusion, FusedRun


class ReportedSource(Options):
    """A source of raw files, as it is to be credited."""

    title: str = Field(description="Name of the data set.")
    license: str = Field(description="Its licence.")
    citation: str = Field(description="What to cite.")
    url: str = Field(description="Where it is published.")


class ReportedSplit(Options):
    """A split of the study."""

    name: str = Field(description="Its name in the study file.")
    protocol: str = Field(description="How it was made: grouped, official, kfold or naive_image.")


class ReceiptOptions(Options):
    """The page of a split's receipt."""

    study: str = Field(description="Name of the study.")
    phantom: bool = Field(description="Say that nothing here was measured.")
    split: str = Field(description="Name of the split.")
    protocol: str = Field(description="How it was made.")


class ReportedRun(Options):
    """One trained model."""

    split: str = Field(description="Name of the split.")
    protocol: str = Field(description="Protocol of the split.")
    task: str = Field(description="Name of the task.")
    kind: Literal["binary", "multilabel", "multiclass", "detect", "segment"] = Field(description="Kind of the task.")
    model: str = Field(description="Name of the network.")
    seed: int = Field(description="Seed of the training.")
    members: tuple[FusedRun, ...] = Field(default=(), description="Of an ensemble: the runs that it is made of.")
    weighted_boxes_fusion: BoxFusion | None = Field(
        default=None, description="Of an ensemble of detectors: how boxes become one."
    )

    @property
    def seed_in_words(self) -> str:
        """The seed; of an ensemble, of how many."""
        return name_seed(self.model, self.seed, len(self.members) or None)


class ReportedYardstick(Options):
    """Figures that others reported."""

    name: str = Field(description="Whose figures, and how they were obtained.")
    source: str = Field(description="Where they are told.")
    split: str | None = Field(default=None, description="The split that is most like theirs; null for other data.")
    other_split: str | None = Field(default=None, description="Their split, where it is like none of the study's.")
    data_set: str | None = Field(default=None, description="The other data set; null for the study's own.")
    subset: Literal["val", "test", "external"] = Field(default="test", description="The subset most like theirs.")
    task: str = Field(description="The task that they answer.")
    kind: Literal["binary", "multilabel", "multiclass", "detect", "segment"] = Field(description="Kind of that task.")
    metrics: dict[str, float] = Field(description="Metric name to value.")


class ReportedDetectionSet(Options):
    """A detection set, and what of its datasheet the numbers do not tell."""

    split: str = Field(description="Name of the split.")
    task: str = Field(description="Name of the task.")
    augmentation: str = Field(description="The offline augmentation of its training images, in words.")
    motivation: str = Field(description="What it was made for.")
    collection: str = Field(description="How images and boxes came about.")
    limits: str = Field(description="What it is not to be used for.")


class ReportOptions(Options):
    """A study's report."""

    study: str = Field(description="Name of the study.")
    title: str = Field(description="Title of the page.")
    description: str = Field(description="What the study asks.")
    labels: tuple[str, ...] = Field(description="The study's classes.")
    sources: tuple[ReportedSource, ...] = Field(description="Sources to credit.")
    phantom: bool = Field(description="Say that nothing here was measured.")
    splits: tuple[ReportedSplit, ...] = Field(description="Splits, in the receipts' order.")
    runs: tuple[ReportedRun, ...] = Field(description="Models, in the order of all lists of files of runs.")
    yardsticks: tuple[ReportedYardstick, ...] = Field(default=(), description="Figures of others.")
    detection_sets: tuple[ReportedDetectionSet, ...] = Field(
        default=(), description="Detection sets, in the order of the lists of their files."
    )
    command: str = Field(description="The command that makes everything again.")


class OverviewRun(ReportedRun):
    """One trained model of one of several studies."""

    study: str = Field(description="Name of the study; its report is <study>/report.html.")
    title: str = Field(description="Title of the study.")
    phantom: bool = Field(description="Say that nothing here was measured.")


class OverviewOptions(Options):
    """The page over all studies."""

    runs: tuple[OverviewRun, ...] = Field(description="Models, in the order of the metrics files.")
