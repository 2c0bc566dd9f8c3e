"""How many views of an image a trained network is shown when it predicts."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from scanline.core.options import Options
from scanline.predict.ensemble_options import BoxFusion

Scale = Annotated[float, Field(ge=0.5, le=2)]


class TtaOptions(Options):
    """Test-time augmentation: each scale is shown as it is and in each flip, and what the network says is averaged."""

    horizontal_flip: bool = Field(default=False, description="Also show the image with left and right swapped.")
    vertical_flip: bool = Field(default=False, description="Also show the image with top and bottom swapped.")
    scales: tuple[Scale, ...] = Field(
        default=(1.0,),
        min_length=1,
        description="Sizes to show the image in, as shares of the size that the network was trained at; other than 1,"
        " rounded to a multiple of 32 pixels.",
    )
    weighted_boxes_fusion: BoxFusion = Field(
        default=BoxFusion(), description="How the boxes of the views become one set; of detection tasks alone."
    )

    @model_validator(mode="after")
    def _several_views(self) -> Self:
        if len(set(self.scales)) < len(self.scales):
            raise ValueError("each scale once")
        if not (self.horizontal_flip or self.vertical_flip or len(self.scales) > 1):
            raise ValueError("a flip, or several scales: one view is no test-time augmentation")
        return self
