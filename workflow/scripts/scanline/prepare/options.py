"""What is made of the images before training."""

from typing import Literal

from pydantic import Field

from scanline.core.files import Placing
from scanline.core.options import Options


class PixelOptions(Options):
    """The pixel cache: each image decoded, resized and kept as 8-bit grey, once."""

    image_size_px: int = Field(ge=16, le=2048, description="Width and height of the cached images.")


def _chance(default: float, meaning: str) -> float:
    value: float = Field(default=default, ge=0, le=1, description=f"Probability of {meaning}")
    return value


class OfflineAugmentation(Options):
    """Changed copies of the training images, made once and kept as files; val and test are never changed.

    The operations come in the order of their probabilities below. Those that move boxes do so exactly.
    """

    factor: int = Field(ge=2, le=10, description="Training images afterwards to one before: 3 adds two copies of each.")
    seed: int = Field(default=42, description="With image and copy number, the seed of what is done to each copy.")
    shards: int = Field(default=1, ge=1, description="Jobs that share the work; the files do not depend on it.")
    file_format: Literal["jpeg", "png"] = Field(default="jpeg", description="Of the copies.")
    jpeg_quality: int = Field(default=95, ge=1, le=100, description="Of JPEG files.")
    files: Placing = Field(
        default="hard_link",
        description="How the originals get their place beside the copies. A hard link is a relative symbolic link"
        " across file systems.",
    )
    min_visibility: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="A box of which less than this share of its area is left inside the image is dropped; of a class"
        " that so loses all its boxes it is unknown whether the copy shows it.",
    )
    horizontal_flip: float = _chance(0.5, "swapping left and right.")
    vertical_flip: float = _chance(0.0, "swapping top and bottom; an axial head is not scanned upside down.")
    affine: float = _chance(0.8, "a shift, scaling and rotation.")
    shift_share: float = Field(default=0.0625, ge=0, lt=1, description="Greatest shift, as a share of width or height.")
    scale_change: float = Field(default=0.1, ge=0, lt=1, description="Greatest change of size, as a share of it.")
    rotation_degrees: float = Field(default=10.0, ge=0, le=180, description="Greatest rotation, either way.")
    pad: float = _chance(0.3, "a black margin on each side; the image keeps its size, what is on it shrinks.")
    pad_share: float = Field(default=0.1, gt=0, lt=1, description="Greatest margin, as a share of width or height.")
    brightness_contrast: float = _chance(0.5, "other brightness and contrast.")
    brightness: float = Field(default=0.1, ge=0, lt=1, description="Greatest shift, as a share of the grey range.")
    contrast: float = Field(default=0.1, ge=0, lt=1, description="Greatest change of contrast, as a share of it.")
    clahe: float = _chance(0.2, "contrast-limited adaptive histogram equalisation (CLAHE).")
    clahe_clip_limit: float = Field(default=2.0, ge=1, description="Greatest clip limit of CLAHE.")
    noise: float = _chance(0.3, "Gaussian noise.")
    noise_sd: float = Field(
        default=0.02, gt=0, lt=1, description="Greatest standard deviation of the noise, as a share of the grey range."
    )

    def in_words(self) -> str:
        """What is done, for a datasheet."""
        operations = (
            ("left-right flip", self.horizontal_flip),
            ("top-bottom flip", self.vertical_flip),
            (
                f"shift up to {self.shift_share:.2%}, scaling up to {self.scale_change:.0%}, rotation up to"
                f" {self.rotation_degrees:g} degrees",
                self.affine,
            ),
            (f"margins up to {self.pad_share:.0%}", self.pad),
            (f"brightness up to {self.brightness:.0%}, contrast up to {self.contrast:.0%}", self.brightness_contrast),
            (f"CLAHE, clip limit up to {self.clahe_clip_limit:g}", self.clahe),
            (f"Gaussian noise, standard deviation up to {self.noise_sd:.1%}", self.noise),
        )
        done = "; ".join(f"{words} (probability {chance:g})" for words, chance in operations if chance)
        form = f"JPEG of quality {self.jpeg_quality}" if self.file_format == "jpeg" else "PNG"
        return (
            f"{self.factor} training images to each original, copies as {form}: {done}. Boxes with less than"
            f" {self.min_visibility:.0%} of their area inside the image are dropped."
        )


class AugmentShard(Options):
    """What the rule augment_images is told of one shard."""

    augmentation: OfflineAugmentation = Field(description="The entry of the study's `offline_augmentation`.")
    shard: int = Field(ge=0, description="Number of the shard, from 0.")
