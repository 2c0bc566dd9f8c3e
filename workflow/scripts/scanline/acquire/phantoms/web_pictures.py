"""Pictures as a search of the web finds them: head CT of six classes, in every size, file format and colour mode.

Shared by the two sources of the study ct_hematoma: with one seed the pictures of the external source are drawn alike in
both, as the internal one holds copies of a few.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageDraw, ImageFont

from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms.haemorrhage import EPIDURAL, INTRAPARENCHYMAL, SUBARACHNOID, SUBDURAL, draw_kind
from scanline.acquire.phantoms.head_ct import draw_head, draw_slice
from scanline.acquire.phantoms.shapes import Grid, draw_waves
from scanline.core.images import Window, windowed

Pixels = NDArray[np.uint8]

NORMAL, OTHERS = "normal", "others"
KIND_OF = {
    "epidural": EPIDURAL,
    "subdural": SUBDURAL,
    "intracerebral": INTRAPARENCHYMAL,
    "subarachnoid": SUBARACHNOID,
}
CLASSES = (NORMAL, *KIND_OF, OTHERS)
FORMS = (  # suffix and Pillow's colour mode
    ("jpg", "L"),
    ("png", "RGB"),
    ("jpg", "RGB"),
    ("webp", "RGB"),
    ("gif", "P"),
    ("png", "LA"),
    ("jpg", "CMYK"),
    ("png", "I;16"),
    ("bmp", "L"),
    ("tif", "L"),
    ("jpeg", "RGB"),
    ("png", "P"),
)
TURNED = 6  # EXIF: the first row is the right side
TEXTS = ("R", "A 12:34", "Case 7", "www.example.org")


@dataclass(frozen=True)
class Style:
    """What pictures of one origin have in common.

    Attributes:
        center_hu: Middle of the window, in HU.
        width_hu: Width of the window, in HU.
        noise: Standard deviation of what is added, of 255.
        frame_share: Least share of a picture's side that the head's slice fills.
    """

    center_hu: float
    width_hu: float
    noise: float
    frame_share: float


class Picture(NamedTuple):
    """Grey pixels of shape (height, width), and the form of the file that they are put into, one of FORMS."""

    pixels: Pixels
    form: tuple[str, str]

    @property
    def suffix(self) -> str:
        """Of the file."""
        return self.form[0]


INTERNAL = Style(center_hu=40, width_hu=80, noise=0, frame_share=0.85)
EXTERNAL = Style(center_hu=45, width_hu=120, noise=6, frame_share=0.7)


def draw_case(options: PhantomSource, cohort: str, number: int, style: Style) -> tuple[str, list[Picture]]:
    """Draw the pictures of one case; the same for the same seed, cohort and number.

    Args:
        options: Pictures a case (`slices_per_patient`), the size that theirs are about, the seed.
        cohort: Whose case it is.
        number: Of the case within it; cases go through the classes in turn.
        style: Of its pictures.

    Returns:
        Class, and pictures of any sizes and forms.
    """
    rng = np.random.default_rng([options.seed, number, *cohort.encode()])
    label = CLASSES[number % len(CLASSES)]
    size = options.image_size_px
    if label == OTHERS:
        slices = [_draw_other(rng, size) for _ in range(options.slices_per_patient)]
    else:
        bleeds = (draw_kind(rng, KIND_OF[label]),) if label in KIND_OF else ()
        head = draw_head(rng, bleeds)
        middle = float(np.clip(bleeds[0].centre_mm[2], 0, 40)) if bleeds else float(rng.uniform(0, 40))
        levels = middle + np.linspace(-6, 6, options.slices_per_patient)
        window = Window(style.center_hu + rng.normal(0, 3), style.width_hu * rng.uniform(0.85, 1.2))
        slices = [windowed(draw_slice(head, float(z), size).hu, window) for z in levels]
    pictures = [_publish(rng, pixels, style) for pixels in slices]
    return label, [Picture(pixels, FORMS[int(rng.integers(len(FORMS)))]) for pixels in pictures]


def _draw_other(rng: np.random.Generator, size_px: int) -> Pixels:
    """No head: a smooth field with a bright shape in it."""
    grid = Grid.of(size_px, 240.0, float(rng.uniform(0, 3)), (0.0, 0.0), 0.0)
    field = draw_waves(rng, number=12, shortest_mm=30.0, longest_mm=120.0).at(grid)
    shape = np.abs(grid.x) + np.abs(grid.y) < rng.uniform(30, 90)
    return np.clip(110 + 45 * field + 60 * shape, 0, 255).astype(np.uint8)


def _publish(rng: np.random.Generator, pixels: Pixels, style: Style) -> Pixels:
    """The picture as someone put it on a page: in a frame, at another size, with text burnt into every third."""
    side = pixels.shape[0]
    canvas = Image.new("L", tuple(round(side / rng.uniform(style.frame_share, 1)) for _ in range(2)))
    canvas.paste(Image.fromarray(pixels), ((canvas.width - side) // 2, (canvas.height - side) // 2))
    scale = rng.uniform(0.7, 1.5)
    canvas = canvas.resize((round(canvas.width * scale), round(canvas.height * scale)), Image.Resampling.BICUBIC)
    if rng.random() < 1 / 3:
        text = str(rng.choice(TEXTS))
        ImageDraw.Draw(canvas).text((3, 3), text, fill=255, font=ImageFont.load_default_imagefont())
    noisy = np.asarray(canvas, dtype=np.float64) + style.noise * rng.standard_normal((canvas.height, canvas.width))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def encode(picture: Picture) -> bytes:
    """The bytes of a picture's file."""
    pixels, (suffix, mode) = picture
    deep = mode == "I;16"
    image = Image.fromarray(pixels.astype(np.uint16) * 257) if deep else Image.fromarray(pixels).convert(mode)
    content = io.BytesIO()
    image.save(content, Image.registered_extensions()[f".{suffix}"])
    return content.getvalue()


def write_turned(path: Path, pixels: Pixels) -> None:
    """Write a JPEG that is stored lying on its side, its EXIF saying so."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = TURNED
    Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90).save(path, quality=95, exif=exif)


def write_animated(path: Path, pixels: Pixels) -> None:
    """Write a GIF of three frames, of which the picture is the first."""
    frames = [Image.fromarray(pixels // share) for share in (1, 2, 4)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=200)


def write_smaller(path: Path, pixels: Pixels) -> None:
    """Write a JPEG of four fifths of the size: a near-duplicate."""
    image = Image.fromarray(pixels)
    image.resize((image.width * 4 // 5, image.height * 4 // 5)).save(path, quality=80)
