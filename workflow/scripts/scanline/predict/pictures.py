"""Pictures of what a model says about an image: its evidence, its boxes, its mask; at the size of the image."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Picture = NDArray[np.uint8]

# Okabe & Ito, "Color Universal Design" (2008), from the one that stands out best on grey.
ORANGE = (230, 159, 0)
COLOURS = (ORANGE, (86, 180, 233), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0), (0, 114, 178))
MASK_OPACITY = 0.3
MAP_OPACITY = 0.6
COLUMNS = 4  # of maps side by side
MOST_PIXELS = 50_000_000  # of one picture: many labels on large images are shown smaller


def as_colour(grey: NDArray[np.uint8]) -> Picture:
    """A grey image (h, w) as (h, w, 3)."""
    return np.repeat(grey[..., None], 3, axis=2)


def draw_maps(grey: NDArray[np.uint8], cams: NDArray[np.floating], names: Sequence[str]) -> Picture:
    """The image, and beside it the image with each map in orange over it, in rows of at most four.

    Args:
        grey: Image (h, w), uint8.
        cams: Maps (labels, a, b) in [0, 1].
        names: Written on the maps, one each; an empty one writes nothing.

    Returns:
        Shape (rows * h, columns * w, 3), uint8, or smaller where that would be more than MOST_PIXELS; a place without
        a picture is black.
    """
    columns = min(COLUMNS, 1 + len(cams))
    rows = -(-(1 + len(cams)) // columns)
    shrink = min(1.0, (MOST_PIXELS / (rows * columns * grey.size)) ** 0.5)
    size = (max(1, int(grey.shape[1] * shrink)), max(1, int(grey.shape[0] * shrink)))
    plain = as_colour(np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC)))
    cells = [plain]
    for cam, name in zip(cams, names, strict=True):
        levels = Image.fromarray((cam * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
        opacity = MAP_OPACITY * np.asarray(levels, dtype=np.float64)[..., None] / 255
        cells.append(_named(_mixed(plain, opacity), name))
    cells += [np.zeros_like(plain)] * (rows * columns - len(cells))
    return np.concatenate(
        [np.concatenate(cells[start : start + columns], axis=1) for start in range(0, len(cells), columns)]
    )


def _mixed(picture: Picture, opacity: NDArray[np.floating]) -> Picture:
    """Orange over a picture, as opaque as told: shape (h, w, 1), in [0, 1]."""
    mixed: Picture = (picture * (1 - opacity) + np.array(ORANGE) * opacity).astype(np.uint8)
    return mixed


def _font_px(height: int, width: int) -> int:
    return max(10, min(height, width) // 26)


def _line_px(height: int, width: int) -> int:
    return max(1, min(height, width) // 256)


def _named(picture: Picture, name: str) -> Picture:
    """The picture with a name in its upper left corner."""
    if not name:
        return picture
    image = Image.fromarray(picture)
    size = _font_px(*picture.shape[:2])
    draw = ImageDraw.Draw(image)
    draw.text((size // 3, size // 5), shown(name), fill="white", font_size=size, stroke_width=2, stroke_fill="black")
    return np.asarray(image)


def shown(name: str) -> str:
    """A class' name as it is written on pictures."""
    return name.replace("_", " ")


def draw_boxes(
    grey: NDArray[np.uint8], corners: NDArray[np.float64], words: Sequence[str], classes: Sequence[int]
) -> Picture:
    """The image with boxes, each in the colour of its class, and words above it, or below it where there is no room.

    Args:
        grey: Image (h, w), uint8.
        corners: Shape (boxes, 4): xmin, ymin, xmax, ymax in continuous pixels. The first is drawn last, on top.
        words: To each box.
        classes: The number of each box's class, from 0 on.

    Returns:
        Shape (h, w, 3), uint8.
    """
    image = Image.fromarray(as_colour(grey))
    draw = ImageDraw.Draw(image)
    height, width = grey.shape
    size, line = _font_px(height, width), _line_px(height, width)
    for box, text, number in reversed(list(zip(corners, words, classes, strict=True))):
        colour = COLOURS[number % len(COLOURS)]
        left, top = (round(float(value)) for value in box[:2])
        right, bottom = (max(round(float(end)) - 1, start) for end, start in zip(box[2:], (left, top), strict=True))
        draw.rectangle((left, top, right, bottom), outline=colour, width=line)
        wide = draw.textlength(text, font_size=size)
        y = top - size - 4 if top - size - 4 >= 0 else min(bottom + 2, height - size - 4)
        x = max(0, min(left, width - wide - 2))
        draw.text((x, y), text, fill=colour, font_size=size, stroke_width=1, stroke_fill="black")
    return np.asarray(image)


def draw_mask(grey: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Picture:
    """The image with a mask in orange over it, thin inside and solid along its inner edge.

    Args:
        grey: Image (h, w), uint8.
        mask: Same shape.

    Returns:
        Shape (h, w, 3), uint8.
    """
    padded = Image.fromarray(np.pad(mask, 1).astype(np.uint8) * 255)
    inside = np.asarray(padded.filter(ImageFilter.MinFilter(2 * _line_px(*grey.shape) + 1)))[1:-1, 1:-1] > 0
    opacity = np.where(mask, np.where(inside, MASK_OPACITY, 1.0), 0.0)
    return _mixed(as_colour(grey), opacity[..., None])
