"""Slices with true boxes (solid) and detections (dashed): found best, typical, worst, missed, false alarms."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from scanline.core.tables import IMAGES, read_table
from scanline.figures.numbers import format_count, format_value
from scanline.figures.options import ClassifierFigureOptions
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

GROUPS = {
    "best": ("Found best", "greatest overlap", GREEN),
    "typical": ("Found, typical", "overlap nearest to the median", BLUE),
    "worst": ("Found worst", "least overlap that still counts", ORANGE),
    "missed": ("Missed", "no detection reaches threshold and overlap", VERMILION),
    "false": ("False alarms", "highest scores that match no box", VERMILION),
}
_TRUTH, _FOUND = SKY, "#F0E442"
_ACROSS = 4
_MARGIN, _GAP, _HEAD, _CAPTION, _KEY, _NONE = 0.12, 0.08, 0.36, 0.37, 0.34, 0.3  # inches
_CELL = (WIDTH_IN - 2 * _MARGIN - (_ACROSS - 1) * _GAP) / _ACROSS


@dataclass(frozen=True)
class BoxExample:
    """One slice to show, and what about it."""

    image_id: str
    words: str


@dataclass(frozen=True)
class BoxSlices:
    """Where the pictures come from.

    Args:
        pixels: Pixel cache, shape (images, size, size), dtype uint8.
        rows: image_id to its row of `pixels`.
        sizes: image_id to width and height of the original in pixels.
        patients: image_id to the pseudonym of its patient, where known.
    """

    pixels: NDArray[np.uint8]
    rows: Mapping[str, int]
    sizes: Mapping[str, tuple[int, int]]
    patients: Mapping[str, str]


def read_box_slices(*, pixels: Path, index: Path, images: Path, image_level: pd.DataFrame) -> BoxSlices:
    """Read what the examples are drawn from; the pixel cache is mapped, not loaded.

    Args:
        pixels: The pixel cache, .npy.
        index: Its table of rows.
        images: Images table.
        image_level: Columns image and patient (a pseudonym).
    """
    places, facts = read_table(index), read_table(images, IMAGES)
    known = image_level.dropna(subset=["patient"])
    return BoxSlices(
        pixels=np.load(pixels, mmap_mode="r"),
        rows=dict(zip(places["image_id"], places["row"], strict=True)),
        sizes={
            image_id: (int(width), int(height))
            for image_id, width, height in zip(facts["image_id"], facts["width"], facts["height"], strict=True)
        },
        patients=dict(zip(known["image"], known["patient"], strict=True)),
    )


def choose_all(boxes: pd.DataFrame, count: int) -> dict[str, list[BoxExample]]:
    """Choose slices of each of GROUPS; of the three groups of found boxes, no two show the same slice."""
    chosen: dict[str, list[BoxExample]] = {}
    shown: set[str] = set()
    for group in ("best", "worst", "typical"):
        chosen[group] = choose_box_examples(boxes[~boxes["image_id"].isin(shown)], group, count)
        shown |= {example.image_id for example in chosen[group]}
    chosen |= {group: choose_box_examples(boxes, group, count) for group in ("missed", "false")}
    return {group: chosen[group] for group in GROUPS}


def choose_box_examples(boxes: pd.DataFrame, group: str, count: int) -> list[BoxExample]:
    """Choose slices of one of GROUPS, each at most once, in the group's order; ties go by image_id.

    Args:
        boxes: Rows of one subset, columns image_id, kind, score, outcome, iou.
        group: best, typical, worst, missed or false.
        count: Slices at most.
    """
    outcome = {"missed": "missed", "false": "FP"}.get(group, "TP")
    rows = boxes[boxes["outcome"] == outcome].sort_values("image_id", kind="stable")
    if group == "missed":  # those that nothing of whatever score finds come first
        rows = rows.sort_values("score", kind="stable", na_position="first")
    elif group == "false":
        rows = rows.sort_values("score", ascending=False, kind="stable")
    else:
        key = (rows["iou"] - rows["iou"].median()).abs() if group == "typical" else rows["iou"]
        rows = rows.loc[key.sort_values(ascending=group != "best", kind="stable").index]
    rows = rows.drop_duplicates("image_id").head(count)
    return [
        BoxExample(str(image_id), _words(group, float(score), float(iou)))
        for image_id, score, iou in zip(rows["image_id"], rows["score"], rows["iou"], strict=True)
    ]


def _words(group: str, score: float, iou: float) -> str:
    if group == "false":
        return f"score {format_value(score)}"
    if group == "missed":
        return "found at no score" if np.isnan(score) else f"found with score {format_value(score)}"
    return f"IoU {format_value(iou)}"


def plot_box_examples(
    boxes: pd.DataFrame, slices: BoxSlices, threshold: float, options: ClassifierFigureOptions, path: Path
) -> None:
    """Slices of test with their boxes, by GROUPS.

    Args:
        boxes: True boxes and called detections of all subsets; those of test are shown.
        slices: Pixels, sizes, patients.
        threshold: The frozen score threshold.
        options: Looks, how many examples, title and phantom mark.
        path: PNG file to write.
    """
    test = boxes[boxes["subset"] == "test"]
    chosen = choose_all(test, options.examples_per_outcome)
    rows = sum(-(-len(examples) // _ACROSS) for examples in chosen.values())
    empty = sum(not examples for examples in chosen.values())
    height = top_of(options.title) + bottom_of(options.phantom) + _KEY + 0.05
    height += len(GROUPS) * _HEAD + rows * (_CELL + _CAPTION) + empty * _NONE
    counts = _counts(test)
    with drawn_figure(
        path,
        height_in=height,
        dpi=options.resolution_dpi,
        phantom=options.phantom,
        title=options.title,
        constrained=False,
    ) as figure:
        page = _Page(figure, height, height - top_of(options.title))
        _draw_key(page, threshold)
        for group, examples in chosen.items():
            _draw_group(page, group, counts[group], examples, slices, test)


def _counts(test: pd.DataFrame) -> dict[str, str]:
    outcome = test["outcome"].value_counts()
    found, missed, false = (int(outcome.get(name, 0)) for name in ("found", "missed", "FP"))
    of_boxes = f"{format_count(found)} of {format_count(found + missed)} boxes found"
    missed_words = f"{format_count(missed)} of {format_count(found + missed)} boxes"
    return {
        "best": of_boxes,
        "typical": "",
        "worst": "",
        "missed": missed_words,
        "false": f"{format_count(false)} detections",
    }


@dataclass
class _Page:
    """A figure that is filled from the top; `y` is the height in inches of what is still free."""

    figure: Figure
    height: float
    y: float

    def text(self, x: float, below: float, words: str, size: float, colour: str, **more: Any) -> None:
        """Write at `x` inches from the left, `below` inches under what is drawn."""
        self.figure.text(x / WIDTH_IN, (self.y - below) / self.height, words, size=size, color=colour, va="top", **more)

    def picture(self, x: float) -> Axes:
        """Square axes at `x` inches from the left, at the top of what is free."""
        axes = self.figure.add_axes(
            (x / WIDTH_IN, (self.y - _CELL) / self.height, _CELL / WIDTH_IN, _CELL / self.height)
        )
        bare(axes)
        return axes


def _draw_key(page: _Page, threshold: float) -> None:
    page.text(_MARGIN, 0.06, f"test, score threshold {format_value(threshold)}", 9, QUIET)
    page.figure.legend(
        handles=[
            Line2D([], [], color=_TRUTH, linewidth=2, label="annotated"),
            Line2D([], [], color=_FOUND, linewidth=2, linestyle=(0, (2, 1)), label="detected, with its score"),
        ],
        loc="upper right",
        bbox_to_anchor=(1.0, (page.y + 0.03) / page.height),
        ncols=2,
        fontsize=8.5,
        handlelength=1.8,
    )
    page.y -= _KEY


def _draw_group(
    page: _Page, group: str, counted: str, examples: list[BoxExample], slices: BoxSlices, boxes: pd.DataFrame
) -> None:
    name, meaning, colour = GROUPS[group]
    line = Rectangle(
        (_MARGIN / WIDTH_IN, (page.y - 0.02) / page.height),
        1 - 2 * _MARGIN / WIDTH_IN,
        0.025 / page.height,
        color=colour,
        transform=page.figure.transFigure,
    )
    page.figure.add_artist(line)
    page.text(_MARGIN, 0.08, name, 10.5, colour, weight="bold")
    facts = f"{meaning}: {counted}" if counted else meaning
    page.text(WIDTH_IN - _MARGIN, 0.09, facts, 9, INK, ha="right")
    page.y -= _HEAD
    if not examples:
        others = group in {"typical", "worst"} and bool((boxes["outcome"] == "TP").any())
        page.text(_MARGIN, 0.0, "no others" if others else "none", 10, QUIET)
        page.y -= _NONE
    for start in range(0, len(examples), _ACROSS):
        for column, example in enumerate(examples[start : start + _ACROSS]):
            _draw_example(page, _MARGIN + column * (_CELL + _GAP), example, slices, boxes)
        page.y -= _CELL + _CAPTION


def _draw_example(page: _Page, x: float, example: BoxExample, slices: BoxSlices, boxes: pd.DataFrame) -> None:
    pixels = slices.pixels[slices.rows[example.image_id]]
    size = float(pixels.shape[0])
    width, height = slices.sizes[example.image_id]
    axes = page.picture(x)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=(0.0, size, size, 0.0), interpolation="bilinear")
    own = boxes[boxes["image_id"] == example.image_id]
    for row in own.sort_values(["kind", "score"], ascending=[False, True], kind="stable").to_dict("records"):
        left, top = row["x"] * size / width, row["y"] * size / height
        wide, high = row["width"] * size / width, row["height"] * size / height
        detected = row["kind"] == "detection"
        axes.add_patch(
            Rectangle(
                (left, top),
                wide,
                high,
                fill=False,
                edgecolor=_FOUND if detected else _TRUTH,
                linewidth=1.2,
                linestyle=(0, (3, 1.5)) if detected else "solid",
            )
        )
        if detected:
            low = top + high > 0.93 * size  # no room below the box: write inside it
            axes.text(
                min(left, 0.8 * size),
                top + high + (-0.01 if low else 0.01) * size,
                format_value(float(row["score"]), 2),
                size=7,
                color=_FOUND,
                ha="left",
                va="bottom" if low else "top",
                path_effects=[withStroke(linewidth=1.6, foreground="black")],
            )
    axes.set(xlim=(0, size), ylim=(size, 0))
    page.text(x, _CELL + 0.04, example.words, 8, INK)
    patient = slices.patients.get(example.image_id, "unknown")
    page.text(x, _CELL + 0.17, f"patient {patient}", 7.5, QUIET)
