"""Example slices, right and wrong, beside what the network looked at (Grad-CAM)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from scanline.core.tables import BOXES, IMAGES, read_table
from scanline.figures.numbers import format_count, format_value
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

OUTCOMES = ("TP", "FP", "FN", "TN")
_NAMES = {
    "TP": ("True positives", "there, and found", GREEN),
    "FP": ("False positives", "not there, but reported", VERMILION),
    "FN": ("False negatives", "there, but missed", VERMILION),
    "TN": ("True negatives", "not there, none reported", BLUE),
}
_BOX_COLOURS = (SKY, "#F0E442", "#CC79A7", "#009E73")

_MARGIN, _GAP, _HEAD, _CAPTION, _KEY = 0.12, 0.2, 0.36, 0.37, 0.34  # inches
_CELL = (WIDTH_IN - 2 * _MARGIN - _GAP) / 4


@dataclass(frozen=True)
class Example:
    """One slice to show and why it was chosen."""

    image_id: str
    patient: str | None
    probability: float
    why: str


@dataclass(frozen=True)
class Slices:
    """Where the pictures of the examples come from.

    Args:
        pixels: Pixel cache, shape (images, size, size), dtype uint8.
        rows: image_id to its row of `pixels`.
        cams: image_id to its Grad-CAM map, shape (height, width), values 0 to 1.
        images: Images table, indexed by image_id.
        boxes: Boxes table.
    """

    pixels: NDArray[np.uint8]
    rows: Mapping[str, int]
    cams: Mapping[str, NDArray[np.floating[Any]]]
    images: pd.DataFrame
    boxes: pd.DataFrame


def read_slices(*, pixels: Path, index: Path, cams: Path, images: Path, boxes: Path) -> Slices:
    """Read what the examples are drawn from; the pixel cache is mapped, not loaded.

    Args:
        pixels: The pixel cache, .npy.
        index: Its table of rows.
        cams: Grad-CAM maps, .npz with the arrays `image_id` and `cam`.
        images: Images table.
        boxes: Boxes table.
    """
    places = read_table(index)
    with np.load(cams) as maps:
        found = dict(zip(maps["image_id"].tolist(), maps["cam"], strict=True))
    return Slices(
        pixels=np.load(pixels, mmap_mode="r"),
        rows=dict(zip(places["image_id"], places["row"], strict=True)),
        cams=found,
        images=read_table(images, IMAGES).set_index("image_id"),
        boxes=read_table(boxes, BOXES),
    )


def choose_examples(per_image: pd.DataFrame, outcome: str, threshold: float | None, count: int) -> list[Example]:
    """Choose slices of one outcome: half the most confident, half the nearest to the threshold.

    Slices of patients that are not shown yet come first. Ties go by image_id, so the choice does not depend
    on the order of rows.

    Args:
        per_image: Rows of one subset, columns `image_id`, `patient`, `probability`, `outcome`.
        outcome: TP, FP, FN or TN.
        threshold: The frozen threshold; without one (null) all are chosen by confidence.
        count: Slices at most.
    """
    rows = per_image[per_image["outcome"] == outcome].sort_values("image_id")
    positive = outcome in {"TP", "FP"}
    confident = rows.sort_values("probability", ascending=not positive, kind="stable")
    n_confident = count if threshold is None else (count + 1) // 2
    chosen = _pick(confident, n_confident, [], "most confident")
    if threshold is not None:
        distance = (rows["probability"] - threshold).abs()
        near = rows.loc[distance.sort_values(kind="stable").index]
        chosen += _pick(near, count - len(chosen), chosen, "near threshold")
    return chosen


def _pick(rows: pd.DataFrame, count: int, before: list[Example], why: str) -> list[Example]:
    taken = {example.image_id for example in before}
    patients = {example.patient for example in before if example.patient is not None}
    free = [
        Example(str(image_id), None if pd.isna(patient) else str(patient), float(probability), why)
        for image_id, patient, probability in zip(rows["image_id"], rows["patient"], rows["probability"], strict=True)
        if image_id not in taken
    ]
    first: list[Example] = []
    for example in free:
        if len(first) < count and (example.patient is None or example.patient not in patients):
            first.append(example)
            patients.add(example.patient or "")
    rest = [example for example in free if example not in first]
    order = {example.image_id: place for place, example in enumerate(free)}
    return sorted([*first, *rest[: count - len(first)]], key=lambda example: order[example.image_id])


def scale_boxes(boxes: pd.DataFrame, width: int, height: int, size: int) -> pd.DataFrame:
    """Boxes of one image in the coordinates of its cached square.

    Args:
        boxes: Columns `x`, `y`, `width`, `height` in pixels of the original, origin at its top left corner.
        width: Width of the original in pixels.
        height: Height of the original in pixels.
        size: Width and height of the cached image in pixels.
    """
    across, down = size / width, size / height
    return boxes.assign(
        x=boxes["x"] * across,
        y=boxes["y"] * down,
        width=boxes["width"] * across,
        height=boxes["height"] * down,
    )


def plot_examples(
    per_image: pd.DataFrame,
    slices: Slices,
    threshold: float | None,
    options: ClassifierFigureOptions,
    path: Path,
) -> None:
    """Examples of each outcome of test: the slice with its annotated boxes, beside its Grad-CAM.

    Args:
        per_image: The per-image table; its test rows are shown.
        slices: Pixels, maps, boxes and images.
        threshold: The frozen threshold.
        options: Looks, how many examples, title and phantom mark.
        path: PNG file to write.
    """
    test = per_image[per_image["subset"] == "test"]
    chosen = {outcome: choose_examples(test, outcome, threshold, options.examples_per_outcome) for outcome in OUTCOMES}
    rows = sum(max(1, (len(examples) + 1) // 2) for examples in chosen.values())
    empty = sum(not examples for examples in chosen.values())
    height = top_of(options.title) + bottom_of(options.phantom) + _KEY + 0.05
    height += len(OUTCOMES) * _HEAD + (rows - empty) * (_CELL + _CAPTION) + empty * 0.3
    with drawn_figure(
        path,
        height_in=height,
        dpi=options.resolution_dpi,
        phantom=options.phantom,
        title=options.title,
        constrained=False,
    ) as figure:
        page = _Page(figure, height, height - top_of(options.title))
        labels = sorted(slices.boxes["label"].unique())
        _draw_key(page, labels)
        for outcome in OUTCOMES:
            count = int((test["outcome"] == outcome).sum())
            _draw_outcome(page, outcome, count, len(test), chosen[outcome], slices, labels)


@dataclass
class _Page:
    """A figure that is filled from the top; `y` is the height in inches of what is still free."""

    figure: Figure
    height: float
    y: float

    def text(self, x: float, below: float, words: str, size: float, colour: str, weight: str = "normal") -> None:
        """Write words `below` inches under the top of what is free, `x` inches from the left."""
        place = (x / WIDTH_IN, (self.y - below) / self.height)
        self.figure.text(*place, words, va="top", size=size, color=colour, weight=weight)

    def picture(self, x: float) -> Axes:
        """Add square axes, `x` inches from the left."""
        box = (x / WIDTH_IN, (self.y - _CELL) / self.height, _CELL / WIDTH_IN, _CELL / self.height)
        axes = self.figure.add_axes(box)
        bare(axes)
        return axes


def _draw_key(page: _Page, labels: list[str]) -> None:
    handles = [
        Patch(
            edgecolor=_BOX_COLOURS[index % len(_BOX_COLOURS)],
            facecolor="none",
            linewidth=1.6,
            label=f"box: {label}",
        )
        for index, label in enumerate(labels)
    ]
    page.text(_MARGIN, 0.07, "Left: the slice. Right: its Grad-CAM.", size=9, colour=QUIET)
    if handles:
        page.figure.legend(
            handles=handles,
            loc="upper right",
            bbox_to_anchor=(1.0, (page.y + 0.03) / page.height),
            ncols=min(2, len(handles)),
            fontsize=8.5,
            handlelength=1.2,
        )
    page.y -= _KEY


def _draw_outcome(
    page: _Page,
    outcome: str,
    count: int,
    total: int,
    examples: list[Example],
    slices: Slices,
    labels: list[str],
) -> None:
    name, meaning, colour = _NAMES[outcome]
    line = Rectangle(
        (_MARGIN / WIDTH_IN, (page.y - 0.02) / page.height),
        1 - 2 * _MARGIN / WIDTH_IN,
        0.025 / page.height,
        color=colour,
        transform=page.figure.transFigure,
    )
    page.figure.add_artist(line)
    page.text(_MARGIN, 0.08, name, size=10.5, colour=colour, weight="bold")
    facts = f"{meaning}: {format_count(count)} of {format_count(total)} test images"
    page.figure.text(
        1 - _MARGIN / WIDTH_IN, (page.y - 0.09) / page.height, facts, size=9, color=INK, va="top", ha="right"
    )
    page.y -= _HEAD
    if not examples:
        page.text(_MARGIN, 0.0, "none", size=10, colour=QUIET)
        page.y -= 0.3
        return
    for start in range(0, len(examples), 2):
        for column, example in enumerate(examples[start : start + 2]):
            _draw_example(page, _MARGIN + column * (2 * _CELL + _GAP), example, slices, labels)
        page.y -= _CELL + _CAPTION


def _draw_example(page: _Page, x: float, example: Example, slices: Slices, labels: list[str]) -> None:
    pixels = slices.pixels[slices.rows[example.image_id]]
    size = pixels.shape[0]
    facts: Any = slices.images.loc[example.image_id]
    own = slices.boxes[slices.boxes["image_id"] == example.image_id]
    boxes: Any = scale_boxes(own, int(facts["width"]), int(facts["height"]), size)
    extent = (0.0, float(size), float(size), 0.0)
    left, right = page.picture(x), page.picture(x + _CELL)
    for axes in (left, right):
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="bilinear")
    cam = slices.cams.get(example.image_id)
    if cam is None:
        right.text(0.5, 0.05, "no map", transform=right.transAxes, ha="center", size=8, color=FAINT)
    else:
        heat = np.asarray(cam, dtype=np.float64)
        right.imshow(
            heat,
            cmap="inferno",
            vmin=0,
            vmax=1,
            alpha=_opacity(heat),
            extent=extent,
            interpolation="bilinear",
        )
    for box in boxes.itertuples():
        colour = _BOX_COLOURS[labels.index(box.label) % len(_BOX_COLOURS)]
        for axes in (left, right):
            axes.add_patch(
                Rectangle((box.x, box.y), box.width, box.height, fill=False, edgecolor=colour, linewidth=1.3)
            )
    for axes in (left, right):
        axes.set(xlim=(0, size), ylim=(size, 0))
    page.text(x, _CELL + 0.04, f"probability {format_value(example.probability)}, {example.why}", size=8, colour=INK)
    number = facts["slice_index"]
    which = "slice unknown" if pd.isna(number) else f"slice {int(number)}"
    page.text(x, _CELL + 0.17, f"patient {example.patient or 'unknown'}, {which}", size=8, colour=QUIET)


def _opacity(heat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Opacity of a map: what the network ignored stays grey, what it looked at glows."""
    opacity: NDArray[np.float64] = 0.7 * np.clip(heat, 0, 1)
    return opacity
