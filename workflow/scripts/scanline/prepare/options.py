"""What is made of the images before training."""

from pydantic import Field

from scanline.core.options import Options


class PixelOptions(Options):
    """The pixel cache: each image decoded, resized and kept as 8-bit grey, once."""

    image_size_px: int = Field(ge=16, le=2048, description="Width and height of the cached images.")
