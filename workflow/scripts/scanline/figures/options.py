"""How figures look."""

from pydantic import Field

from scanline.core.options import Options


class FigureOptions(Options):
    """Looks only: nothing here changes a number."""

    resolution_dpi: int = Field(default=150, ge=50, le=600, description="Resolution of the PNG files.")
    examples_per_outcome: int = Field(
        default=4, ge=1, le=12, description="Example slices shown for each of true / false positive / negative."
    )
