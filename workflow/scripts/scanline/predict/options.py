"""What is predicted, and where."""

from typing import Literal

from pydantic import Field

from scanline.core.options import Options

SCORED_SUBSETS = ("val", "test", "external")


class PredictOptions(Options):
    """The part of the study file that predictions depend on."""

    target: str | tuple[str, ...] = Field(
        description="The class that the model predicts; the labels of a multi-label model, in its order."
    )
    exclusive: bool = Field(
        default=False, description="Whether the labels exclude another: an image shows exactly one of them."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(description="cuda without a GPU fails at once.")
