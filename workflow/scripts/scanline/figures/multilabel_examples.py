"""Example slices of each label, right and wrong, above what the network looked at for it (Grad-CAM)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from scanline.figures.examples import OUTCOMES, Example, Slices, choose_examples, scale_boxes
from scanline.figures.numbers import format_count, format_value, spell
from scanline.figures.options import ClassifierFigureOptions
from scanline.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    QUIET,
    SKY,
    VERMILION,
    WIDTH_IN,
    bare,
    bottom_of,
    drawn_figure,
    top_of,
)

_NAMES = {
    "TP": ("found", GREEN),
    "FP": ("false alarm", VERMILION),
    "FN": ("missed", VERMILION),
    "TN": ("rightly negative", BLUE),
}
_MARGIN, _GAP, _HEAD, _CAPTION, _KEY = 0.12, 0.08, 0.5, 0.42, 0.3  # inches
_CELL = (WIDTH_IN - 2 * _MARGIN - 3 * _GAP) / 4
_PAIR = 2 * _CELL + 0.04  # a slice above its map


def plot_label_examples(
    per_image: pd.DataFrame,
    slices: Slices,
    metrics: Mapping[str, Any],
    options: ClassifierFigureOptions,
    path: Path,
) -> None:
    """For each label the most confident test image of each outcome, with the label's boxes, above its Grad-CAM.

    Args:
        per_image: The table of single images; its test rows are shown.
        slices: Pixels, boxes, images, and maps of shape (labels, height, width) in the labels' order.
        metrics: metrics.json of the run: labels and thresholds.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    labels = metrics["labels"]
    test = per_image[per_image["subset"] == "test"]
    height = top_of(options.title) + bottom_of(options.phantom) + _KEY
    height += len(labels) * (_HEAD + _PAIR + _CAPTION)
    with drawn_figure(
        path,
        height_in=height,
        dpi=options.resolution_dpi,
        phantom=options.phantom,
        title=options.title,
        constrained=False,
    ) as figure:
        y = height - top_of(options.title)
        key = "Above: the slice with the label's boxes. Below: its Grad-CAM for that label."
        _write(figure, _MARGIN, y - 0.05, key, 9, QUIET)
        y -= _KEY
        for place, label in enumerate(labels):
            rows = _rows_of(test, label)
            _draw_head(figure, y, label, rows, len(test))
            for column, outcome in enumerate(OUTCOMES):
                x = _MARGIN + column * (_CELL + _GAP)
                words, colour = _NAMES[outcome]
                count = int((rows["outcome"] == outcome).sum())
                _write(figure, x, y - 0.3, f"{words}: {format_count(count)}", 7.5, colour, "bold")
                chosen = choose_examples(rows, outcome, metrics["thresholds"][label], 1)
                if chosen:
                    _draw_example(figure, x, y - _HEAD, chosen[0], slices, label, place)
                else:
                    _write(figure, x, y - _HEAD - 0.05, "none", 9, QUIET)
            y -= _HEAD + _PAIR + _CAPTION


def _rows_of(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """The rows where a label is known, with the columns of one yes-or-no question."""
    rows = table[table[f"truth_{label}"].notna()]
    names = {f"probability_{label}": "probability", f"outcome_{label}": "outcome"}
    return rows[["image_id", "patient", *names]].rename(columns=names)


def _draw_head(figure: Figure, y: float, label: str, rows: pd.DataFrame, total: int) -> None:
    height = figure.get_figheight()
    place = (_MARGIN / WIDTH_IN, (y - 0.02) / height)
    line = Rectangle(place, 1 - 2 * _MARGIN / WIDTH_IN, 0.02 / height, color=FAINT, transform=figure.transFigure)
    figure.add_artist(line)
    _write(figure, _MARGIN, y - 0.07, spell(label), 10.5, INK, "bold")
    known = f"known of {format_count(len(rows))} of {format_count(total)} test images"
    figure.text(1 - _MARGIN / WIDTH_IN, (y - 0.08) / height, known, size=9, color=QUIET, va="top", ha="right")


def _write(figure: Figure, x: float, y: float, words: str, size: float, colour: str, weight: str = "normal") -> None:
    """Write words, their upper left corner at x and y inches from the figure's lower left one."""
    figure.text(x / WIDTH_IN, y / figure.get_figheight(), words, va="top", size=size, color=colour, weight=weight)


def _draw_example(
    figure: Figure, x: float, top: float, example: Example, slices: Slices, label: str, place: int
) -> None:
    pixels = slices.pixels[slices.rows[example.image_id]]
    size = pixels.shape[0]
    facts: Any = slices.images.loc[example.image_id]
    own = slices.boxes[(slices.boxes["image_id"] == example.image_id) & (slices.boxes["label"] == label)]
    boxes: Any = scale_boxes(own, int(facts["width"]), int(facts["height"]), size)
    extent = (0.0, float(size), float(size), 0.0)
    above, below = _picture(figure, x, top - _CELL), _picture(figure, x, top - _PAIR)
    for axes in (above, below):
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="bilinear")
    maps = slices.cams.get(example.image_id)
    if maps is None:
        below.text(0.5, 0.05, "no map", transform=below.transAxes, ha="center", size=8, color=FAINT)
    else:
        heat = np.asarray(maps[place], dtype=np.float64)
        opacity = 0.7 * np.clip(heat, 0, 1)  # what the network ignored stays grey
        below.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=opacity, extent=extent, interpolation="bilinear")
    for box in boxes.itertuples():
        for axes in (above, below):
            axes.add_patch(Rectangle((box.x, box.y), box.width, box.height, fill=False, edgecolor=SKY, linewidth=1.2))
    for axes in (above, below):
        axes.set(xlim=(0, size), ylim=(size, 0))
    number = facts["slice_index"]
    which = "" if pd.isna(number) else f", slice {int(number)}"
    bottom = top - _PAIR
    _write(figure, x, bottom - 0.04, f"probability {format_value(example.probability)}{which}", 7.5, INK)
    _write(figure, x, bottom - 0.17, f"patient {example.patient or 'unknown'}", 7.5, QUIET)


def _picture(figure: Figure, x: float, bottom: float) -> Axes:
    height = figure.get_figheight()
    axes = figure.add_axes((x / WIDTH_IN, bottom / height, _CELL / WIDTH_IN, _CELL / height))
    bare(axes)
    return axes
