"""A detection set, drawn: how many images and boxes, how large and where the boxes are, and examples with copies."""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from scanline.figures.numbers import format_count, spell
from scanline.figures.options import RunFigureOptions
from scanline.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    QUIET,
    SKY,
    SUBSET_COLOURS,
    VERMILION,
    WIDTH_IN,
    YELLOW,
    bare,
    drawn_figure,
    say,
)

_CLASS_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, GREY)
_STAGE_NAMES = {"curated": "before balancing", "balanced": "originals", "augmented": "with copies"}
_SET_STAGES = ("balanced", "augmented")
_ACROSS = 3  # maps in a row
_FEWEST_PICTURES = 3  # in a row of examples


def plot_detection_set(statistics: Mapping[str, Any], options: RunFigureOptions, paths: Sequence[Path]) -> None:
    """Draw the figures of DETECTION_SET_FIGURES, in their order.

    Args:
        statistics: detection_set.json.
        options: Looks, title and phantom mark.
        paths: PNG files to write, one a figure.
    """
    rows = len(_subset_rows(statistics))
    bars = len(_class_bars(statistics))
    n_classes = len(statistics["targets"])
    lines = -(-n_classes // _ACROSS)
    wide = WIDTH_IN / min(_ACROSS, max(n_classes, 2))
    examples = max(1, len(statistics["examples"]))
    drawings: tuple[tuple[float, Callable[[Figure], None]], ...] = (  # inches, and who draws
        (2.1 + 0.3 * rows + (0.2 * bars + 0.2) * n_classes, lambda figure: _draw_counts(figure, statistics)),
        (3.2 + 0.22 * (n_classes // 2 + 1), lambda figure: _draw_sizes(figure, statistics)),
        (0.5 + wide * lines, lambda figure: _draw_places(figure, statistics)),
        (
            0.5 + (WIDTH_IN / _pictures_of(statistics) + 0.25) * examples,
            lambda figure: _draw_examples(figure, statistics),
        ),
    )
    titles = [f"{options.title}: {words}" for words in ("numbers", "sizes", "where the boxes are", "examples of train")]
    for (height, draw), title, path in zip(drawings, titles, paths, strict=True):
        dpi, phantom = options.resolution_dpi, options.phantom
        with drawn_figure(path, height_in=height, dpi=dpi, phantom=phantom, title=title) as figure:
            draw(figure)


def _subset_rows(statistics: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The bars of images: train before and after augmentation, the others once."""
    stages = statistics["stages"]
    has_copies = "augmented" in stages
    rows = []
    for subset in (name for name in SUBSET_COLOURS if name in statistics["images"]):
        for stage in _SET_STAGES:
            counts = stages.get(stage, {}).get(subset)
            if counts and (stage == "balanced" or counts["copies"]):
                name = f"{subset}, {_STAGE_NAMES[stage]}" if subset == "train" and has_copies else subset
                rows.append((name, counts))
    return rows


def _class_bars(statistics: Mapping[str, Any]) -> list[tuple[str, str, float, Mapping[str, int]]]:
    """The bars of each class: name, colour, opacity and boxes by class."""
    return [
        (name, SUBSET_COLOURS[name.split(",")[0]], 0.45 if counts["copies"] else 1.0, counts["boxes"])
        for name, counts in _subset_rows(statistics)
    ]


def _draw_counts(figure: Figure, statistics: Mapping[str, Any]) -> None:
    rows, bars = _subset_rows(statistics), _class_bars(statistics)
    heights = [0.9 + 0.3 * len(rows), 1.1 + (0.2 * len(bars) + 0.2) * len(statistics["targets"])]
    above, below = figure.subplots(2, 1, height_ratios=heights)
    _draw_images(above, rows)
    _draw_boxes(below, statistics["targets"], bars)


def _draw_images(axes: Axes, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    longest = max(counts["images"] for _, counts in rows)
    for place, (_, counts) in enumerate(rows):
        positive, negative, total = counts["positives"], counts["negatives"], counts["images"]
        axes.barh(place, positive, height=0.66, color=BLUE)
        axes.barh(place, negative, left=positive, height=0.66, color=FAINT)
        unknown = total - positive - negative
        axes.barh(place, unknown, left=positive + negative, height=0.66, color="white", edgecolor=GREY, hatch="////")
        text = f"{format_count(total)}: {format_count(positive)} with, {format_count(negative)} negative"
        text += f", {format_count(unknown)} unknown" if unknown else ""
        axes.text(total + longest * 0.012, place, text, va="center", size=8.5)
    _name_rows(axes, [name for name, _ in rows])
    axes.set_xlim(0, longest * 3.4)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_title("Images: with a box, negative, unknown", pad=8)


def _draw_boxes(axes: Axes, targets: Sequence[str], bars: Sequence[tuple[str, str, float, Mapping[str, int]]]) -> None:
    longest = max([1, *(count for *_, boxes in bars for count in boxes.values())])
    step = 0.8 / len(bars)
    for number, (_, colour, opacity, boxes) in enumerate(bars):
        for place, target in enumerate(targets):
            y = place - 0.4 + step * (number + 0.5)
            axes.barh(y, boxes[target], height=step * 0.92, color=colour, alpha=opacity)
            axes.text(boxes[target] + longest * 0.012, y, format_count(boxes[target]), va="center", size=8)
    _name_rows(axes, [spell(target) for target in targets])
    axes.set_xlim(0, longest * 1.15)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_title("Boxes", pad=8)
    handles = [Patch(color=colour, alpha=opacity, label=name) for name, colour, opacity, _ in bars]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.45, -0.02, 0, 0), ncols=2, borderaxespad=2.2)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names from the top down, without ticks."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _draw_sizes(figure: Figure, statistics: Mapping[str, Any]) -> None:
    axes = figure.add_subplot()
    has_boxes = False
    for target, colour in zip(statistics["targets"], _CLASS_COLOURS * len(statistics["targets"]), strict=False):
        counts = np.array(statistics["sizes"][target]["side_shares"], dtype=float)
        if counts.sum():
            has_boxes = True
            edges = np.linspace(0, 100, len(counts) + 1)
            label = f"{spell(target)} ({format_count(int(counts.sum()))})"
            axes.stairs(100 * counts / counts.sum(), edges, color=colour, linewidth=2, label=label)
    if not has_boxes:
        say(axes, "no boxes")
        return
    axes.set_xlim(0, 100)
    axes.set_ylim(0, None)
    axes.set_xlabel("Square root of a box's share of the image's area, %")
    axes.set_ylabel("Boxes of the class, %")
    axes.set_title("How large the boxes are", pad=8)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, borderaxespad=2.2)


def _draw_places(figure: Figure, statistics: Mapping[str, Any]) -> None:
    targets = statistics["targets"]
    lines = -(-len(targets) // _ACROSS)
    grid = figure.subplots(lines, min(_ACROSS, max(len(targets), 2)), squeeze=False)
    for axes in grid.flat[len(targets) :]:
        axes.set_visible(False)
    for axes, target in zip(grid.flat, targets, strict=False):
        counts = np.array(statistics["places"][target], dtype=float)
        bare(axes)
        axes.imshow(counts, cmap="magma", vmin=0, vmax=max(1.0, counts.max()), interpolation="nearest")
        axes.set_title(spell(target), size=8.5, weight="normal", pad=4)
        axes.set_xlabel(f"brightest: {format_count(int(counts.max()))} boxes", size=8, color=QUIET)


def _draw_examples(figure: Figure, statistics: Mapping[str, Any]) -> None:
    examples = statistics["examples"]
    if not examples:
        say(figure.add_subplot(), "no boxes in train")
        return
    grid = figure.subplots(len(examples), _pictures_of(statistics), squeeze=False)
    for line, example in zip(grid, examples, strict=True):
        for number, axes in enumerate(line):
            if number >= len(example["pictures"]):
                axes.set_visible(False)
                continue
            _draw_picture(axes, example["pictures"][number], example["label"])
            words = spell(example["label"]) if number == 0 else f"copy {number}"
            axes.set_title(words, size=8, weight="normal", color=INK if number == 0 else QUIET, pad=3)
        line[0].set_xlabel(example["source"], size=7.5, color=QUIET)


def _pictures_of(statistics: Mapping[str, Any]) -> int:
    """Pictures in a row of examples: the original and its copies, and never fewer than fit well."""
    return max([_FEWEST_PICTURES, *(len(example["pictures"]) for example in statistics["examples"])])


def _draw_picture(axes: Axes, picture: Mapping[str, Any], label: str) -> None:
    """An image with its boxes; those of the class that it is shown for are drawn thick."""
    bare(axes)
    width, height = picture["width"], picture["height"]
    png = picture.get("png")
    with Image.open(picture["path"] if png is None else io.BytesIO(base64.b64decode(png))) as image:
        axes.imshow(image.convert("L"), cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    for box in picture["boxes"]:
        thick = 1.8 if box["label"] == label else 0.8
        corner = (box["x"], box["y"])
        axes.add_patch(Rectangle(corner, box["width"], box["height"], fill=False, edgecolor=YELLOW, linewidth=thick))
    axes.set(xlim=(0, width), ylim=(height, 0))
