"""What the study is made of: the flow of files, class balance, subset balance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline

from scanline.core.errors import InputError
from scanline.figures.numbers import UNDEFINED, format_count, format_share, spell
from scanline.figures.options import StudyFigureOptions
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
    bare,
    bottom_of,
    drawn_figure,
)

KINDS = ("images", "annotations", "masks", "other", "refused")
LISTED = "images in tables"  # that only tables tell of: rows, not files
_KIND_COLOURS = dict(zip((*KINDS, LISTED), (BLUE, SKY, GREEN, GREY, VERMILION, BLUE), strict=True))
MANY_CLASSES = 6  # from more classes on, a class has a row of its own in each figure
SUBSETS = ("train", "val", "test", "external")


@dataclass(frozen=True)
class Block:
    """One block of the flow: where its bar stands and how much flows in and out."""

    name: str
    count: int
    colour: str
    column: int
    bottom: float
    height: float


@dataclass(frozen=True)
class Flow:
    """Counts of the flow of files.

    Args:
        sources: Source to kind (images, annotations, masks, other, refused) to files; `images in tables` to rows.
        subsets: Subset to images, `not in the split` among them where there are any.
    """

    sources: Mapping[str, Mapping[str, int]]
    subsets: Mapping[str, int]

    def files(self, source: str) -> int:
        """Raw files of a source, and images that only its tables tell of."""
        return sum(self.sources[source].values())

    def kind(self, kind: str) -> int:
        """Files of one kind over all sources."""
        return sum(counts.get(kind, 0) for counts in self.sources.values())


def main_split(receipts: Sequence[Mapping[str, Any]]) -> int:
    """Place of the split that stands for the study: the first proved free of leaks, else the first."""
    return next((place for place, receipt in enumerate(receipts) if receipt["leak_free"]), 0)


def count_flow(flow: Mapping[str, Any], curated_images: int, receipt: Mapping[str, Any]) -> Flow:
    """Bring the counts of curation and of one split together.

    Args:
        flow: flow.json: `sources`, each with `files` and the count of each kind.
        curated_images: Rows of the images table.
        receipt: Receipt of the split whose subsets are shown.

    Raises:
        InputError: If the kinds of a source do not sum to its files.
    """
    for name, source in flow["sources"].items():
        found = sum(int(source[kind]) for kind in KINDS)
        if found != source["files"]:
            raise InputError(
                f"flow.json: {name}",
                found=f"{found} files of known fate",
                expected=f"{source['files']}, the files of the source",
                next_step="Curate the source again.",
            )
    sources = {name: {kind: int(source[kind]) for kind in KINDS} for name, source in flow["sources"].items()}
    for name, source in flow["sources"].items():
        if source.get("images_without_file"):
            sources[name][LISTED] = int(source["images_without_file"])
    subsets = {name: int(receipt["subsets"][name]["images"]) for name in SUBSETS if name in receipt["subsets"]}
    left_out = curated_images - sum(subsets.values())
    if left_out > 0:
        subsets["not in the split"] = left_out
    return Flow(sources, subsets)


def plot_flow(flow: Flow, split: str, options: StudyFigureOptions, path: Path) -> None:
    """Raw files to what became of them, and images to the subsets of one split, bars to scale.

    Args:
        flow: The counts.
        split: Name of the split whose subsets are shown.
        options: Looks and phantom mark.
        path: PNG file to write.
    """
    height = 4.3
    with drawn_figure(
        path, height_in=height, dpi=options.resolution_dpi, phantom=options.phantom, constrained=False
    ) as figure:
        bottom = bottom_of(options.phantom) / height
        axes = figure.add_axes((0.025, bottom + 0.02, 0.97, 0.96 - bottom))
        bare(axes)
        axes.set(xlim=(0, 2.9), ylim=(0, 1.17))
        files = {name: flow.files(name) for name in flow.sources}
        kinds = {kind: flow.kind(kind) for kind in (LISTED, *KINDS) if flow.kind(kind)}
        palette = (INK, PURPLE, ORANGE, SKY, GREEN)
        colours = {name: palette[index % len(palette)] for index, name in enumerate(files)}
        scale = min(_scale(counts) for counts in (files, kinds, flow.subsets))
        first = _stack(files, 0, scale, colours)
        second = _stack(kinds, 1, scale, _KIND_COLOURS)
        third = _stack(flow.subsets, 2, scale, SUBSET_COLOURS)
        _connect(axes, first, second, [flow.sources[a.name].get(b.name, 0) for a in first for b in second])
        images = [block for block in second if block.name in ("images", LISTED)]
        if len(images) == 1:
            _connect(axes, images, third, [block.count for block in third])
        heads = (
            ("Files and rows" if LISTED in kinds else "Raw files", "by source"),
            ("What they are", "every file counted"),
            ("Subsets", f"split {split}"),
        )
        for blocks, (head, note) in zip((first, second, third), heads, strict=True):
            _label(axes, blocks, head, note)


_SLOT, _GAP = 0.125, 0.03  # each block has room for its two lines of words, however thin its bar


def _scale(counts: Mapping[str, int]) -> float:
    """The largest height for one file with which a column still fits into a height of 1."""
    free, scale = 1.0 - _GAP * (len(counts) - 1), 1.0 / max(1, sum(counts.values()))
    while sum(max(count * scale, _SLOT) for count in counts.values()) > free and scale > 1e-12:
        scale *= 0.98
    return scale


def _stack(counts: Mapping[str, int], column: int, scale: float, colours: Mapping[str, str]) -> list[Block]:
    """Bars of one column from the top down, heights to scale but never too thin to see."""
    top, blocks = 1.0, []
    for name, count in counts.items():
        height = max(count * scale, 0.006)
        blocks.append(Block(name, count, colours.get(name, GREY), column, top - height, height))
        top -= max(height, _SLOT) + _GAP
    return blocks


_BAR = 0.07
_LEFT = (0.0, 1.02, 2.1)


def _connect(axes: Axes, left: Sequence[Block], right: Sequence[Block], counts: Sequence[int]) -> None:
    """Draw ribbons from each left block to each right one; `counts` row by row, left blocks outermost."""
    taken_left = [block.bottom + block.height for block in left]
    taken_right = [block.bottom + block.height for block in right]
    share = iter(counts)
    for i, start in enumerate(left):
        for j, end in enumerate(right):
            count = next(share)
            if not count:
                continue
            out, into = start.height * count / start.count, end.height * count / end.count
            _ribbon(axes, start.column, end.column, taken_left[i], out, taken_right[j], into, end.colour)
            taken_left[i] -= out
            taken_right[j] -= into


def _ribbon(axes: Axes, column: int, to: int, top: float, out: float, top_to: float, into: float, colour: str) -> None:
    x0, x1 = _LEFT[column] + _BAR, _LEFT[to]
    middle = (x0 + x1) / 2
    corners = [
        (x0, top),
        (middle, top),
        (middle, top_to),
        (x1, top_to),
        (x1, top_to - into),
        (middle, top_to - into),
        (middle, top - out),
        (x0, top - out),
        (x0, top),
    ]
    curve = [Outline.CURVE4] * 3
    codes = [Outline.MOVETO, *curve, Outline.LINETO, *curve, Outline.CLOSEPOLY]
    axes.add_patch(PathPatch(Outline(corners, codes), facecolor=colour, alpha=0.22, linewidth=0))


def _label(axes: Axes, blocks: Sequence[Block], head: str, note: str) -> None:
    x = _LEFT[blocks[0].column] if blocks else 0.0
    if blocks:
        axes.text(x, 1.085, head, size=10, weight="bold", va="bottom")
        axes.text(x, 1.035, note, size=8.5, color=QUIET, va="bottom")
    for block in blocks:
        axes.add_patch(Rectangle((x, block.bottom), _BAR, block.height, color=block.colour, linewidth=0))
        y = block.bottom + block.height
        text = axes.annotate(
            format_count(block.count),
            (x + _BAR + 0.035, y),
            size=10.5,
            weight="bold",
            va="top",
            xytext=(0, 2),
            textcoords="offset points",
        )
        axes.annotate(
            spell(block.name), (0, 0), xycoords=text, size=9, color=QUIET, va="top", xytext=(0, -2),
            textcoords="offset points",
        )  # fmt: skip


def plot_class_balance(labels: pd.DataFrame, options: StudyFigureOptions, path: Path) -> None:
    """Images of each class: positive, negative, and unknown where nobody looked.

    Args:
        labels: Labels table: `image_id` and one nullable boolean a class.
        options: Looks and phantom mark.
        path: PNG file to write.
    """
    classes = [name for name in labels.columns if name != "image_id"]
    total = len(labels)
    if len(classes) > MANY_CLASSES:
        _plot_many_classes(labels, classes, options, path)
        return
    with drawn_figure(
        path, height_in=0.75 + 0.85 * len(classes), dpi=options.resolution_dpi, phantom=options.phantom
    ) as figure:
        axes = figure.add_subplot()
        for place, name in enumerate(reversed(classes)):
            counts = {
                "positive": int((labels[name] == True).sum()),  # noqa: E712 - null is neither
                "negative": int((labels[name] == False).sum()),  # noqa: E712
                "unknown": int(labels[name].isna().sum()),
            }
            _draw_balance(axes, place, name, counts, total)
        axes.set(xlim=(0, max(total, 1)), ylim=(-0.5, len(classes) - 0.5))
        bare(axes)
        axes.set_title(f"Classes of {format_count(total)} images", pad=10)


def _plot_many_classes(labels: pd.DataFrame, classes: Sequence[str], options: StudyFigureOptions, path: Path) -> None:
    """One line a class: bars of positives, most first, with the counts of positives and unknowns in words."""
    counts = {name: (int(labels[name].sum()), int(labels[name].isna().sum())) for name in classes}
    names = sorted(classes, key=lambda name: (-counts[name][0], name))
    most = max(1, *(positive for positive, _ in counts.values()))
    height = 0.9 + 0.27 * len(names)
    with drawn_figure(path, height_in=height, dpi=options.resolution_dpi, phantom=options.phantom) as figure:
        axes = figure.add_subplot()
        for place, name in enumerate(names):
            positive, unknown = counts[name]
            known = len(labels) - unknown
            axes.barh(place, positive, height=0.68, color=VERMILION)
            share = format_share(positive / known if known else None)
            words = f"{format_count(positive)} of {format_count(known)} ({share})"
            words += f", {format_count(unknown)} unknown" if unknown else ""
            axes.text(positive + 0.012 * most, place, words, va="center", size=8.5)
        axes.set_yticks(range(len(names)), [spell(name) for name in names])
        axes.set(xlim=(0, 1.45 * most), ylim=(len(names) - 0.4, -0.6))
        axes.set_xticks([])
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(f"Positive images of each class, of {format_count(len(labels))}", pad=8)


_BALANCE = {
    "positive": (VERMILION, "white", None),
    "negative": (BLUE, "white", None),
    "unknown": ("white", INK, "////"),
}


def _draw_balance(axes: Axes, place: int, name: str, counts: Mapping[str, int], total: int) -> None:
    start = 0
    axes.text(0, place + 0.24, spell(name), weight="bold", va="bottom")
    words = []
    for kind, count in counts.items():
        colour, _, hatch = _BALANCE[kind]
        edge = GREY if hatch else "white"
        axes.barh(place, count, left=start, height=0.4, color=colour, hatch=hatch, edgecolor=edge, linewidth=0.6)
        start += count
        share = format_share(count / total if total else None)
        words.append((colour if not hatch else QUIET, f"{kind} {format_count(count)} ({share})"))
    for index, (colour, word) in enumerate(words):
        x, align = ((0.0, "left"), (0.42, "center"), (1.0, "right"))[index]
        axes.text(
            x,
            place - 0.25,
            word,
            size=9,
            color=colour,
            va="top",
            ha=align,
            transform=axes.get_yaxis_transform(),
        )


def plot_subset_balance(receipts: Sequence[Mapping[str, Any]], options: StudyFigureOptions, path: Path) -> None:
    """Size and prevalence of each subset of each split, beside what was aimed at.

    Args:
        receipts: receipt.json of each split, in the order of `options.splits`.
        options: Looks, names of the splits and phantom mark.
        path: PNG file to write.
    """
    rows = [
        (split, subset, receipt["subsets"][subset])
        for split, receipt in zip(options.splits, receipts, strict=True)
        for subset in SUBSETS
        if subset in receipt["subsets"]
    ]
    places = _places(rows)
    classes = list(dict.fromkeys(label for _, _, facts in rows for label in facts["labels"]))
    if len(classes) > MANY_CLASSES:
        _plot_many_deviations(rows, classes, options, path)
        return
    height = 1.75 + 0.22 * len(classes) + 0.28 * places[-1]
    with drawn_figure(path, height_in=height, dpi=options.resolution_dpi, phantom=options.phantom) as figure:
        size, prevalence = figure.subplots(1, 2, sharey=True)
        _draw_sizes(size, rows, places)
        _draw_prevalence(prevalence, rows, places, classes)
        size.set_yticks(places, [subset for _, subset, _ in rows])
        size.set_ylim(places[-1] + 0.6, -0.9)
        for axes in (size, prevalence):
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
        last = ""
        for (split, _, _), place in zip(rows, places, strict=True):
            if split != last:
                size.text(0, place - 0.52, split, weight="bold", size=9.5, va="bottom", ha="left")
                last = split
        size.set_title("Share of images", pad=14)
        prevalence.set_title("Prevalence of the classes", pad=14)
        figure.legend(loc="outside upper left")


def _plot_many_deviations(
    rows: Sequence[tuple[str, str, Mapping[str, Any]]],
    classes: Sequence[str],
    options: StudyFigureOptions,
    path: Path,
) -> None:
    """A column a subset, a row a class: how far its prevalence is from the whole study's, in percent of it."""
    whole = {name: whole_prevalence(rows, name) for name in classes}
    names = sorted(classes, key=lambda name: (-(whole[name] or 0.0), name))
    values = np.full((len(names), len(rows)), np.nan)
    for row, name in enumerate(names):
        for column, (_, _, facts) in enumerate(rows):
            prevalence, aim = facts["labels"].get(name, {}).get("prevalence"), whole[name]
            if prevalence is not None and aim:
                values[row, column] = prevalence / aim - 1
    height = 1.7 + 0.29 * len(names)
    with drawn_figure(path, height_in=height, dpi=options.resolution_dpi, phantom=options.phantom) as figure:
        axes = figure.add_subplot()
        axes.imshow(values, cmap="RdBu_r", vmin=-0.3, vmax=0.3, aspect="auto")
        for row, column in np.ndindex(values.shape):
            value = values[row, column]
            words = UNDEFINED if np.isnan(value) else f"{100 * value:+.1f}%".replace("-", "\N{MINUS SIGN}")
            colour = "white" if abs(value) > 0.2 else INK
            axes.text(column, row, words, ha="center", va="center", size=6.5, color=colour)
        axes.set_yticks(range(len(names)), [f"{spell(name)}  {format_share(whole[name])}" for name in names])
        heads = [f"{subset}\n{format_count(int(facts['images']))}" for _, subset, facts in rows]
        axes.set_xticks(range(len(rows)), heads, size=7)
        for split in dict.fromkeys(split for split, _, _ in rows):
            columns = [column for column, (name, _, _) in enumerate(rows) if name == split]
            place = (columns[0] + columns[-1]) / 2
            axes.annotate(
                split,
                (place, 1),
                xytext=(0, 28),
                xycoords=axes.get_xaxis_transform(),
                textcoords="offset points",
                ha="center",
                size=8,
                weight="bold",
            )
        axes.tick_params(length=0, labelsize=8, axis="y")
        axes.tick_params(length=0, axis="x", top=True, labeltop=True, bottom=False, labelbottom=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        for column in range(1, len(rows)):
            if rows[column][0] != rows[column - 1][0]:
                axes.axvline(column - 0.5, color=INK, linewidth=1.2)
        axes.set_xlabel("Prevalence in the subset, against that of all images\n(beside the names)", size=8.5)


def _places(rows: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[float]:
    places, y, last = [], 0.0, ""
    for split, _, _ in rows:
        y += 1.0 if split == last else 1.75
        last = split
        places.append(y - 1.75)
    return places


def _draw_sizes(axes: Axes, rows: Sequence[tuple[str, str, Mapping[str, Any]]], places: Sequence[float]) -> None:
    marked = False
    for (_, subset, facts), y in zip(rows, places, strict=True):
        axes.barh(y, facts["share"], height=0.62, color=SUBSET_COLOURS[subset], alpha=0.85)
        axes.text(
            max(facts["share"], facts.get("target_share") or 0) + 0.025,
            y,
            format_count(int(facts["images"])),
            va="center",
            size=9,
        )
        if facts.get("target_share") is not None:
            axes.plot(
                [facts["target_share"]] * 2,
                [y - 0.42, y + 0.42],
                color=INK,
                linewidth=1.6,
                label=None if marked else "target share of images",
            )
            marked = True
    axes.set_xlim(0, 1.0)


def _draw_prevalence(
    axes: Axes,
    rows: Sequence[tuple[str, str, Mapping[str, Any]]],
    places: Sequence[float],
    classes: Sequence[str],
) -> None:
    highest = 0.0
    colours, markers = (VERMILION, GREEN, PURPLE, BLUE, ORANGE, SKY), ("o", "s", "^", "D", "v", "P")
    for index, name in enumerate(classes):
        colour, marker = colours[index % len(colours)], markers[index % len(markers)]
        points = [
            (facts["labels"][name]["prevalence"], y)
            for (_, _, facts), y in zip(rows, places, strict=True)
            if name in facts["labels"] and facts["labels"][name]["prevalence"] is not None
        ]
        whole = whole_prevalence(rows, name)
        if whole is not None:
            axes.axvline(whole, color=colour, linewidth=1.2, linestyle=(0, (4, 2)), alpha=0.8)
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            marker=marker,
            markersize=6.5,
            markeredgecolor="white",
            linestyle="none",
            color=colour,
            label=f"{spell(name)}; line: the whole study, {format_share(whole)}",
        )
        highest = max([highest, *(x for x, _ in points)])
    axes.set_xlim(0, min(1.0, 1.15 * highest) or 1.0)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)


def whole_prevalence(rows: Sequence[tuple[str, str, Mapping[str, Any]]], label: str) -> float | None:
    """Prevalence of a class over all subsets of the first split: positives / (positives + negatives)."""
    if not rows:
        return None
    counts = [facts["labels"][label] for split, _, facts in rows if split == rows[0][0] and label in facts["labels"]]
    positives, negatives = sum(c["positive"] for c in counts), sum(c["negative"] for c in counts)
    return positives / (positives + negatives) if positives + negatives else None
