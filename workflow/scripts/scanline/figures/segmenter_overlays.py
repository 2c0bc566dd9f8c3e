"""Slices with the true and the predicted outline: best, typical, worst, missed, false alarms."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from scanline.figures.numbers import format_count, format_value
from scanline.figures.options import RunFigureOptions
from scanline.figures.picture_grid import (
    CachedImages,
    Grid,
    Key,
    Section,
    best_typical_worst,
    draw_sections,
    name_patient,
    one_a_patient,
    show_image,
)
from scanline.figures.style import BLUE, GREEN, ORANGE, SKY, VERMILION

LEVELS = 255  # a map's value is round(LEVELS * probability)
TRUE_COLOUR, PREDICTED_COLOUR = SKY, ORANGE
SMALLEST_DETAIL = 1 / 3  # of the slice's side
GROUPS = {
    "best": ("Best", GREEN),
    "typical": ("Typical", BLUE),
    "worst": ("Worst", ORANGE),
    "missed": ("Missed", VERMILION),
    "false_alarm": ("False alarms", VERMILION),
}
_GRID = Grid(across=2, pictures=2, gap=0.2)


class Maps(Protocol):
    """Probability maps by image_id, shape (size, size), uint8: round(255 p)."""

    def __getitem__(self, image_id: str) -> NDArray[np.uint8]:
        """The map of an image."""


@dataclass(frozen=True)
class MaskedSlices:
    """Where the pictures come from.

    Attributes:
        pixels: Pixel cache.
        masks: Mask cache, images of the same shape: 1 lesion, 0 none, 255 unknown.
        maps: Probability maps.
        threshold: Of the maps, as a probability.
    """

    pixels: CachedImages
    masks: CachedImages
    maps: Maps
    threshold: float


def choose_overlays(per_image: pd.DataFrame, count: int) -> dict[str, pd.DataFrame]:
    """Choose slices of each of GROUPS, one a patient as long as there are others; ties go by image_id.

    best, typical (Dice nearest to the median) and worst are among slices with lesion and a predicted mask, and no
    slice is shown in two of them.

    Args:
        per_image: Rows of one subset: image_id, patient, kind, predicted, dice, predicted_pixels, tp, fn.
        count: Slices of each group at most.

    Returns:
        Rows of `per_image` by group, in the order of GROUPS.
    """
    rows = per_image.sort_values("image_id", ignore_index=True)
    chosen = best_typical_worst(rows[_is_found(rows)], "dice", count)
    missed, false = rows[_is_missed(rows)], rows[_is_false(rows)]
    missed = missed.assign(_size=missed["tp"] + missed["fn"]).sort_values("_size", ascending=False, kind="stable")
    false = false.sort_values("predicted_pixels", ascending=False, kind="stable")
    chosen |= {"missed": one_a_patient(missed.drop(columns="_size"), count), "false_alarm": one_a_patient(false, count)}
    return {name: chosen[name] for name in GROUPS}


def _is_found(rows: pd.DataFrame) -> "pd.Series[bool]":
    return (rows["kind"] == "lesion_positive") & rows["predicted"]


def _is_missed(rows: pd.DataFrame) -> "pd.Series[bool]":
    return (rows["kind"] == "lesion_positive") & ~rows["predicted"]


def _is_false(rows: pd.DataFrame) -> "pd.Series[bool]":
    return (rows["kind"] == "empty_true") & rows["predicted"]


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


def plot_overlays(per_image: pd.DataFrame, slices: MaskedSlices, options: RunFigureOptions, path: Path) -> None:
    """Slices of test, whole and enlarged, with the true and the predicted outline.

    Args:
        per_image: The per-image table; its test rows are shown.
        slices: Pixels, masks and maps.
        options: Looks, how many examples, title and phantom mark.
        path: PNG file to write.
    """
    test = per_image[per_image["subset"] == "test"]
    chosen, facts = choose_overlays(test, options.examples_per_outcome), _facts(test)
    sections = []
    for group, (name, colour) in GROUPS.items():
        empty = "no others" if group in {"typical", "worst"} and _is_found(test).any() else "none in test"
        cases = [row for _, row in chosen[group].iterrows()]
        sections.append(Section(name, facts[group], colour, cases, empty))
    handles = [
        Line2D([], [], color=colour, linewidth=width, label=label)
        for colour, width, label in ((TRUE_COLOUR, 2.2, "true outline"), (PREDICTED_COLOUR, 1.2, "predicted outline"))
    ]
    more = f"Predicted: probability {format_value(slices.threshold)} or more. px: pixels of the masks."
    key = Key("Left: the slice. Right: its framed part.", handles, more)

    def draw(panels: Sequence[Axes], row: "pd.Series[Any]") -> tuple[str, str]:
        return _draw_slice(panels, row, slices)

    draw_sections(sections, _GRID, key, draw, options, path, handlelength=1.4)


def _facts(test: pd.DataFrame) -> dict[str, str]:
    found = test[_is_found(test)]
    missed, lesions = int(_is_missed(test).sum()), int((test["kind"] == "lesion_positive").sum())
    false, empty = int(_is_false(test).sum()), int((test["kind"] == "empty_true").sum())
    median = "" if found.empty else f", {format_value(float(found['dice'].median()))}"
    of_lesions, of_empty = f"of {format_count(lesions)} with lesion", f"of {format_count(empty)} without lesion"
    return {
        "best": f"highest Dice of {format_count(len(found))} slices with lesion and predicted mask",
        "typical": f"Dice nearest to their median{median}",
        "worst": "lowest Dice of them",
        "missed": f"no mask predicted: {format_count(missed)} {of_lesions}; largest first",
        "false_alarm": f"a mask predicted: {format_count(false)} {of_empty}; largest first",
    }


def _draw_slice(panels: Sequence[Axes], facts: "pd.Series[Any]", slices: MaskedSlices) -> tuple[str, str]:
    image_id = facts["image_id"]
    pixels, truth = slices.pixels[image_id], slices.masks[image_id] == 1
    predicted = slices.maps[image_id] >= round(LEVELS * slices.threshold)
    left, top, side = detail_around(truth | predicted)
    whole, detail = panels
    for axes in panels:
        show_image(axes, pixels)
    for mask, colour, width in ((truth, TRUE_COLOUR, 2.2), (predicted, PREDICTED_COLOUR, 1.2)):
        sides = list(outline_segments(mask))
        detail.add_collection(LineCollection(sides, colors=colour, linewidths=width))
        whole.add_collection(LineCollection(sides, colors=colour, linewidths=width / 2))
    whole.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor="white", linewidth=0.8, linestyle=":"))
    detail.set(xlim=(left, left + side), ylim=(top + side, top))
    true_pixels, predicted_pixels = int(facts["tp"] + facts["fn"]), int(facts["predicted_pixels"])
    counts = f"{format_count(true_pixels)} px true, {format_count(predicted_pixels)} predicted"
    words = f"Dice {format_value(float(facts['dice']))}, {counts}" if true_pixels else counts
    return words, name_patient(facts["patient"], facts["slice_index"])
