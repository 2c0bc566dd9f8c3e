"""Slices with the true and the predicted outline: best, typical, worst, missed, false alarms."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from scanline.figures.numbers import format_count, format_value
from scanline.figures.segmenter import SegmenterFigureOptions
from scanline.figures.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    QUIET,
    SKY,
    VERMILION,
    WIDTH_IN,
    bare,
    bottom_of,
    drawn_figure,
    top_of,
)

LEVELS = 255  # a map's value is round(LEVELS * probability)
TRUE_COLOUR, PREDICTED_COLOUR = SKY, ORANGE
SMALLEST_DETAIL = 1 / 3  # of the slice's side
_GROUPS = {
    "best": ("Best", "highest Dice", GREEN),
    "typical": ("Typical", "Dice nearest to the median", BLUE),
    "worst": ("Worst", "lowest Dice of those with a predicted mask", VERMILION),
    "missed": ("Missed", "lesion, and no predicted mask; largest first", VERMILION),
    "false_alarm": ("False alarms", "no lesion, and a predicted mask; largest first", VERMILION),
}
_MARGIN, _GAP, _HEAD, _CAPTION, _KEY = 0.12, 0.2, 0.36, 0.37, 0.34  # inches
_CELL = (WIDTH_IN - 2 * _MARGIN - _GAP) / 4


class Maps(Protocol):
    """Probability maps by image_id, shape (size, size), uint8: round(255 p)."""

    def __getitem__(self, image_id: str) -> NDArray[np.uint8]:
        """The map of an image."""


@dataclass(frozen=True)
class MaskedSlices:
    """Where the pictures come from.

    Attributes:
        pixels: Pixel cache, shape (images, size, size), uint8.
        masks: Mask cache, same shape: 1 lesion, 0 none, 255 unknown.
        rows: image_id to row of both.
        maps: Probability maps.
        threshold: Of the maps, as a probability.
    """

    pixels: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    rows: Mapping[str, int]
    maps: Maps
    threshold: float


def choose_overlays(per_image: pd.DataFrame, count: int) -> dict[str, pd.DataFrame]:
    """Choose slices of each group, one of a patient as long as there are others; ties go by image_id.

    best, typical (Dice nearest to the median) and worst are among slices with lesion and a predicted mask, and no
    slice is shown in two of them.

    Args:
        per_image: Rows of one subset: image_id, patient, kind, predicted, dice, predicted_pixels, tp, fn.
        count: Slices of each group at most.

    Returns:
        Rows of `per_image` by group, in the order of `_GROUPS`.
    """
    rows = per_image.sort_values("image_id", ignore_index=True)
    has_lesion = rows["kind"] == "lesion_positive"
    found = rows[has_lesion & rows["predicted"]].assign(_key=lambda table: table["dice"])
    missed = rows[has_lesion & ~rows["predicted"]].assign(_key=lambda table: -(table["tp"] + table["fn"]))
    false = rows[(rows["kind"] == "empty_true") & rows["predicted"]].assign(
        _key=lambda table: -table["predicted_pixels"]
    )
    typical = found.assign(_key=(found["dice"] - found["dice"].median()).abs())
    chosen: dict[str, pd.DataFrame] = {}
    taken: set[str] = set()
    for name, table in (("best", found.assign(_key=-found["dice"])), ("worst", found), ("typical", typical)):
        chosen[name] = _pick(table[~table["image_id"].isin(taken)], count)
        taken |= set(chosen[name]["image_id"])
    chosen |= {"missed": _pick(missed, count), "false_alarm": _pick(false, count)}
    return {name: chosen[name] for name in _GROUPS}


def _pick(table: pd.DataFrame, count: int) -> pd.DataFrame:
    ordered = table.sort_values(["_key", "image_id"], kind="stable").drop(columns="_key")
    again = ordered["patient"].notna() & ordered["patient"].duplicated()
    first = pd.concat([ordered[~again], ordered[again]])[:count]
    return ordered.loc[ordered.index.isin(first.index)]


def outline_segments(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The sides of pixels where a mask begins or ends, at the image's edge too.

    Args:
        mask: Shape (height, width).

    Returns:
        Shape (sides, 2, 2): start and end of each as (x, y), in pixels from the top left corner of the grid.
    """
    padded = np.pad(mask, 1)
    y, x = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    upright = np.stack([np.stack([x, y], axis=1), np.stack([x, y + 1], axis=1)], axis=1)
    y, x = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    level = np.stack([np.stack([x, y], axis=1), np.stack([x + 1, y], axis=1)], axis=1)
    return np.concatenate([upright, level]).astype(np.float64)


def detail_around(mask: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The square to show large: around all that a mask holds, with a margin, inside the image.

    Args:
        mask: Shape (size, size).

    Returns:
        Left, top and side, pixels; the whole image for an empty mask.
    """
    size = mask.shape[0]
    y, x = np.nonzero(mask)
    if len(y) == 0:
        return 0.0, 0.0, float(size)
    extent = max(x.max() - x.min(), y.max() - y.min()) + 1
    side = min(float(size), max(1.6 * extent, SMALLEST_DETAIL * size))
    left, top = (float(np.clip((along.min() + along.max() + 1) / 2 - side / 2, 0, size - side)) for along in (x, y))
    return left, top, side


def plot_overlays(per_image: pd.DataFrame, slices: MaskedSlices, options: SegmenterFigureOptions, path: Path) -> None:
    """Slices of test, whole and enlarged, with the true and the predicted outline.

    Args:
        per_image: The per-image table; its test rows are shown.
        slices: Pixels, masks and maps.
        options: Looks, how many examples, title and phantom mark.
        path: PNG file to write.
    """
    chosen = choose_overlays(per_image[per_image["subset"] == "test"], options.examples_per_outcome)
    rows = sum((len(table) + 1) // 2 for table in chosen.values())
    empty = sum(table.empty for table in chosen.values())
    height = top_of(options.title) + bottom_of(options.phantom) + _KEY + 0.05
    height += len(_GROUPS) * _HEAD + rows * (_CELL + _CAPTION) + empty * 0.3
    with drawn_figure(
        path,
        height_in=height,
        dpi=options.resolution_dpi,
        phantom=options.phantom,
        title=options.title,
        constrained=False,
    ) as figure:
        page = _Page(figure, height, height - top_of(options.title))
        _draw_key(page)
        for name, table in chosen.items():
            _draw_group(page, name, table, slices)


@dataclass
class _Page:
    """A figure that is filled from the top; `y` is the height in inches of what is still free."""

    figure: Figure
    height: float
    y: float

    def text(self, x: float, below: float, words: str, **looks: Any) -> None:
        """Write words `below` inches under the top of what is free, `x` inches from the left."""
        self.figure.text(x / WIDTH_IN, (self.y - below) / self.height, words, va="top", **looks)

    def picture(self, x: float) -> Axes:
        """Add square axes, `x` inches from the left."""
        box = (x / WIDTH_IN, (self.y - _CELL) / self.height, _CELL / WIDTH_IN, _CELL / self.height)
        axes = self.figure.add_axes(box)
        bare(axes)
        return axes


def _draw_key(page: _Page) -> None:
    handles = [
        Line2D([], [], color=colour, linewidth=width, label=label)
        for colour, width, label in ((TRUE_COLOUR, 2.2, "true outline"), (PREDICTED_COLOUR, 1.2, "predicted outline"))
    ]
    page.text(_MARGIN, 0.07, "Left: the slice. Right: its framed part.", size=9, color=QUIET)
    page.figure.legend(
        handles=handles,
        loc="upper right",
        bbox_to_anchor=(1.0, (page.y + 0.03) / page.height),
        ncols=2,
        fontsize=8.5,
        handlelength=1.4,
    )
    page.y -= _KEY


def _draw_group(page: _Page, name: str, table: pd.DataFrame, slices: MaskedSlices) -> None:
    title, meaning, colour = _GROUPS[name]
    line = Rectangle(
        (_MARGIN / WIDTH_IN, (page.y - 0.02) / page.height),
        1 - 2 * _MARGIN / WIDTH_IN,
        0.025 / page.height,
        color=colour,
        transform=page.figure.transFigure,
    )
    page.figure.add_artist(line)
    page.text(_MARGIN, 0.08, title, size=10.5, color=colour, weight="bold")
    page.text(WIDTH_IN - _MARGIN, 0.09, meaning, size=9, color=INK, ha="right")
    page.y -= _HEAD
    if table.empty:
        page.text(_MARGIN, 0.0, "none in test", size=10, color=QUIET)
        page.y -= 0.3
        return
    for start in range(0, len(table), 2):
        for column in range(start, min(start + 2, len(table))):
            _draw_slice(page, _MARGIN + (column - start) * (2 * _CELL + _GAP), table.iloc[column], slices)
        page.y -= _CELL + _CAPTION


def _draw_slice(page: _Page, x: float, facts: "pd.Series[Any]", slices: MaskedSlices) -> None:
    image_id = facts["image_id"]
    row = slices.rows[image_id]
    pixels, truth = slices.pixels[row], slices.masks[row] == 1
    predicted = slices.maps[image_id] >= round(LEVELS * slices.threshold)
    left, top, side = detail_around(truth | predicted)
    size = float(pixels.shape[0])
    whole, detail = page.picture(x), page.picture(x + _CELL)
    for axes in (whole, detail):
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=(0.0, size, size, 0.0), interpolation="bilinear")
    for mask, colour, width in ((truth, TRUE_COLOUR, 2.2), (predicted, PREDICTED_COLOUR, 1.2)):
        sides = list(outline_segments(mask))
        detail.add_collection(LineCollection(sides, colors=colour, linewidths=width))
        whole.add_collection(LineCollection(sides, colors=colour, linewidths=width / 2))
    whole.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor="white", linewidth=0.8, linestyle=":"))
    whole.set(xlim=(0, size), ylim=(size, 0))
    detail.set(xlim=(left, left + side), ylim=(top + side, top))
    true_pixels, predicted_pixels = int(facts["tp"] + facts["fn"]), int(facts["predicted_pixels"])
    counts = f"{format_count(true_pixels)} px true, {format_count(predicted_pixels)} predicted"
    words = f"Dice {format_value(float(facts['dice']))}, {counts}" if true_pixels else counts
    page.text(x, _CELL + 0.04, words, size=8, color=INK)
    number, patient = facts["slice_index"], facts["patient"]
    which = "slice unknown" if pd.isna(number) else f"slice {int(number)}"
    page.text(x, _CELL + 0.17, f"patient {'unknown' if pd.isna(patient) else patient}, {which}", size=8, color=QUIET)
