"""Slices with true boxes (solid) and detections (dashed): found best, typical, worst, missed, false alarms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from scanline.core.tables import IMAGES, read_table
from scanline.figures.numbers import format_count, format_value
from scanline.figures.options import RunFigureOptions
from scanline.figures.picture_grid import (
    CachedImages,
    Grid,
    Key,
    Section,
    best_typical_worst,
    draw_box,
    draw_sections,
    name_patient,
    one_a_patient,
    read_cached_images,
    scale_boxes,
    show_image,
)
from scanline.figures.style import BLUE, GREEN, ORANGE, SKY, VERMILION, YELLOW

GROUPS = {
    "best": ("Found best", GREEN),
    "typical": ("Found, typical", BLUE),
    "worst": ("Found worst", ORANGE),
    "missed": ("Missed", VERMILION),
    "false": ("False alarms", VERMILION),
}
_TRUTH, _FOUND = SKY, YELLOW
_THIN, _THICK = 1.0, 2.2
_GRID = Grid(across=4, pictures=1, gap=0.08)


@dataclass(frozen=True)
class BoxExample:
    """One slice to show, and the box that it is shown for.

    Attributes:
        image_id: The slice.
        row: Label of the box' row in the table of boxes.
        words: What about it.
    """

    image_id: str
    row: int
    words: str


@dataclass(frozen=True)
class BoxSlices:
    """Where the pictures come from.

    Attributes:
        cache: Pixel cache.
        sizes: image_id to width and height of the original in pixels.
        patients: image_id to the pseudonym of its patient, where known.
    """

    cache: CachedImages
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
    facts = read_table(images, IMAGES)
    known = image_level.dropna(subset=["patient"])
    return BoxSlices(
        cache=read_cached_images(pixels, index),
        sizes={
            image_id: (int(width), int(height))
            for image_id, width, height in zip(facts["image_id"], facts["width"], facts["height"], strict=True)
        },
        patients=dict(zip(known["image"], known["patient"], strict=True)),
    )


def choose_all(boxes: pd.DataFrame, patients: Mapping[str, str], count: int) -> dict[str, list[BoxExample]]:
    """Choose slices of each of GROUPS, one a patient as long as there are others; ties go by image_id.

    Of the three groups of found boxes, no two show the same slice. Missed are shown first those that no detection of
    whatever score finds, false alarms by falling score.

    Args:
        boxes: Rows of one subset, columns image_id, kind, score, outcome, iou.
        patients: image_id to the pseudonym of its patient, where known.
        count: Slices of each group at most.
    """
    rows = boxes.assign(patient=boxes["image_id"].map(patients).astype("object")).sort_values("image_id", kind="stable")
    missed = rows[rows["outcome"] == "missed"].sort_values("score", kind="stable", na_position="first")
    false = rows[rows["outcome"] == "FP"].sort_values("score", ascending=False, kind="stable")
    chosen = best_typical_worst(rows[rows["outcome"] == "TP"], "iou", count)
    for group, ordered in (("missed", missed), ("false", false)):
        chosen[group] = one_a_patient(ordered.drop_duplicates("image_id"), count)
    return {
        group: [
            BoxExample(str(image_id), int(row), _words(group, float(score), float(iou)))
            for row, image_id, score, iou in zip(
                table.index, table["image_id"], table["score"], table["iou"], strict=True
            )
        ]
        for group, table in chosen.items()
    }


def _words(group: str, score: float, iou: float) -> str:
    if group == "false":
        return f"score {format_value(score)}"
    if group == "missed":
        return "found at no score" if np.isnan(score) else f"found with score {format_value(score)}"
    return f"IoU {format_value(iou)}, score {format_value(score, 2)}"


def plot_box_examples(
    boxes: pd.DataFrame, slices: BoxSlices, threshold: float, options: RunFigureOptions, path: Path
) -> None:
    """Slices of test with their boxes, by GROUPS; the box that a slice is shown for is drawn thick.

    Args:
        boxes: True boxes and called detections of all subsets; those of test are shown.
        slices: Pixels, sizes, patients.
        threshold: The frozen score threshold.
        options: Looks, how many examples, title and phantom mark.
        path: PNG file to write.
    """
    test = boxes[boxes["subset"] == "test"].reset_index(drop=True)
    chosen = choose_all(test, slices.patients, options.examples_per_outcome)
    facts, has_found = _facts(test), bool((test["outcome"] == "TP").any())
    sections = []
    for group, (name, colour) in GROUPS.items():
        empty = "no others" if has_found and group in {"typical", "worst"} else "none in test"
        sections.append(Section(name, facts[group], colour, chosen[group], empty))

    def draw(panels: Sequence[Axes], example: BoxExample) -> tuple[str, str]:
        _draw_slice(panels[0], example, slices, test)
        return example.words, name_patient(slices.patients.get(example.image_id))

    handles = [
        Line2D([], [], color=_TRUTH, linewidth=2, label="annotated"),
        Line2D([], [], color=_FOUND, linewidth=2, linestyle=(0, (2, 1)), label="detected, with its score"),
    ]
    words = f"test, score threshold {format_value(threshold)}"
    key = Key(words, handles, "Thick: the box that the words below the slice are about.")
    draw_sections(sections, _GRID, key, draw, options, path, handlelength=1.8)


def _facts(test: pd.DataFrame) -> dict[str, str]:
    outcome = test["outcome"].value_counts()
    found, missed, false = (int(outcome.get(name, 0)) for name in ("found", "missed", "FP"))
    total = format_count(found + missed)
    median = test.loc[test["outcome"] == "TP", "iou"].median()
    of_median = "" if np.isnan(median) else f", {format_value(float(median))}"
    return {
        "best": f"greatest overlap: {format_count(found)} of {total} boxes found",
        "typical": f"overlap nearest to the median{of_median}",
        "worst": "least overlap that still counts",
        "missed": f"no detection reaches threshold and overlap: {format_count(missed)} of {total} boxes",
        "false": f"detections that match no box, highest scores first: {format_count(false)}",
    }


def _draw_slice(axes: Axes, example: BoxExample, slices: BoxSlices, boxes: pd.DataFrame) -> None:
    pixels = slices.cache[example.image_id]
    size = pixels.shape[0]
    show_image(axes, pixels)
    own = scale_boxes(boxes[boxes["image_id"] == example.image_id], *slices.sizes[example.image_id], size)
    for box in own.sort_values(["kind", "score"], ascending=[False, True], kind="stable").itertuples():
        row: Any = box
        width = _THICK if row.Index == example.row else _THIN
        if row.kind == "truth":
            draw_box(axes, row, _TRUTH, linewidth=width)
            continue
        draw_box(axes, row, _FOUND, linewidth=width, linestyle=(0, (3 / width**0.5, 1.5 / width**0.5)))
        bottom = row.y + row.height
        low = bottom > 0.93 * size  # no room below the box: write inside it
        axes.text(
            min(row.x, 0.8 * size),
            bottom + (-0.01 if low else 0.01) * size,
            format_value(float(row.score), 2),
            size=7,
            color=_FOUND,
            ha="left",
            va="bottom" if low else "top",
            path_effects=[withStroke(linewidth=1.6, foreground="black")],
        )
