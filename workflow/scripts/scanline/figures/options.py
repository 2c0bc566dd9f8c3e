"""How figures look."""

from pydantic import Field

from scanline.core.options import Options

LABEL_FIGURES = (
    "label_frequencies",
    "label_counts_together",
    "label_lift",
    "findings_per_image",
    "label_demographics",
    "images_per_patient",
    "label_leaks",
)
DETECTION_SET_FIGURES = ("set_counts", "set_sizes", "set_places", "set_examples")


class FigureOptions(Options):
    """Looks only: nothing here changes a number."""

    resolution_dpi: int = Field(default=150, ge=50, le=600, description="Resolution of the PNG files.")
    examples_per_outcome: int = Field(
        default=4,
        ge=1,
        le=12,
        description="Example slices shown for each of true / false positive / negative.",
    )


class RunFigureOptions(FigureOptions):
    """What the figures of one trained network need beside its files."""

    title: str = Field(description="A line that names the run, printed above each figure.")
    members: tuple[str, ...] = Field(default=(), description="Of an ensemble: its runs, by name.")
    phantom: bool = Field(description="Mark the figures as drawn from a phantom.")


class StudyFigureOptions(FigureOptions):
    """What the figures of a study need beside its files."""

    splits: tuple[str, ...] = Field(min_length=1, description="Names of the splits, in the receipts' order.")
    phantom: bool = Field(description="Mark the figures as drawn from a phantom.")
