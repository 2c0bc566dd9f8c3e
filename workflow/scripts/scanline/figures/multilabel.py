"""How well a classifier of several labels does: a panel for each label, all labels side by side, errors together."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from scanline.figures.matrices import draw_matrix, yes_or_no
from scanline.figures.numbers import UNDEFINED, format_count, format_interval, format_share, format_value, spell
from scanline.figures.options import RunFigureOptions
from scanline.figures.style import (
    FAINT,
    GREY,
    INK,
    QUIET,
    SUBSET_COLOURS,
    WIDTH_IN,
    bottom_of,
    drawn_figure,
    shown_subsets,
    top_of,
)

_FOOT_IN = 0.66  # names of the axes, of the marks and of the colours below all panels
UNSEEN = ("test", "external")
_CURVES: dict[str, dict[str, str]] = {
    "roc": {"area": "auroc", "x": "1 − specificity", "y": "Sensitivity", "name": "AUROC"},
    "precision_recall": {"area": "auprc", "x": "Recall (sensitivity)", "y": "Precision", "name": "AUPRC"},
}


def _panels(figure: Figure, count: int, columns: int) -> list[Axes]:
    """Axes for `count` panels in rows of `columns`; the places left over stay empty."""
    grid = figure.subplots(ceil(count / columns), columns, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    return list(grid[:count])


def _columns(labels: Sequence[str]) -> int:
    return 2 if len(labels) <= 4 else 3


def _title(label: str, labels: Sequence[str]) -> str:
    return fill(spell(label), 30 if _columns(labels) == 2 else 22)


def _set_title(axes: Axes, label: str, labels: Sequence[str]) -> None:
    axes.set_title(_title(label, labels), size=10.5 if _columns(labels) == 2 else 8.5)


def _height(panels: int, columns: int, panel_in: float, options: RunFigureOptions) -> float:
    """Height in inches of a figure of panels, each `panel_in` high with its title."""
    return _FOOT_IN + ceil(panels / columns) * panel_in + top_of(options.title) + bottom_of(options.phantom)


def _name_page(figure: Figure, title: str, options: RunFigureOptions) -> None:
    """A title over the whole width, for which the axes make room."""
    height = figure.get_figheight()
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        left, bottom, wide, tall = engine.get()["rect"]
        engine.set(rect=(left, bottom, wide, tall - 0.25 / height))
    figure.text(0.02, 1 - (top_of(options.title) + 0.05) / height, title, size=10.5, weight="bold", va="top")


def _name_axes(figure: Figure, x: str, y: str, below: str, subsets: Sequence[str], *, phantom: bool) -> None:
    """Name the axes of all panels at once, and the colours below them; the panels make room for it."""
    height = figure.get_figheight()
    foot, left = (bottom_of(phantom) + _FOOT_IN) / height, 0.3 / WIDTH_IN
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        _, bottom, _, tall = engine.get()["rect"]
        engine.set(rect=(left, foot, 1 - left, bottom + tall - foot))
    middle: dict[str, Any] = {"ha": "center", "color": INK, "size": 9.5}
    figure.text((1 + left) / 2, foot - 0.04 / height, x, va="top", **middle)
    figure.text(0.18 / WIDTH_IN, (1 + foot) / 2, y, va="center", rotation=90, **middle)
    figure.text((1 + left) / 2, foot - 0.24 / height, below, va="top", ha="center", size=8.5, color=QUIET)
    figure.legend(
        handles=[Patch(color=SUBSET_COLOURS[name], label=name) for name in subsets],
        loc="upper center",
        bbox_to_anchor=((1 + left) / 2, foot - 0.37 / height),
        ncols=len(subsets),
        handlelength=1,
        borderpad=0,
    )


def plot_label_curves(
    kind: str,
    curves: pd.DataFrame,
    metrics: Mapping[str, Any],
    options: RunFigureOptions,
    path: Path,
) -> None:
    """ROC or precision-recall curves, a panel for each label: areas with intervals, the operating point marked.

    Args:
        kind: `roc` or `precision_recall`.
        curves: Rows of points, columns `label`, `subset`, `curve`, `x`, `y`, in drawing order.
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    labels, texts = metrics["labels"], _CURVES[kind]
    columns = _columns(labels)
    height = _height(len(labels), columns, WIDTH_IN / columns + 0.1, options)
    with drawn_figure(
        path, height_in=height, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        for place, (axes, label) in enumerate(zip(_panels(figure, len(labels), columns), labels, strict=True)):
            points = curves[(curves["label"] == label) & (curves["curve"] == kind)]
            _draw_label_curves(axes, kind, points, metrics, label)
            _set_title(axes, label, labels)
            if place % columns:
                axes.set_yticklabels([])
        chance = "dotted: chance" if kind == "roc" else "dotted: share of positives"
        below = f"{texts['name']} [interval]; {chance}; diamond: {_name_point(metrics)}"
        _name_axes(figure, texts["x"], texts["y"], below, shown_subsets(metrics), phantom=options.phantom)


def _name_point(metrics: Mapping[str, Any]) -> str:
    if metrics["threshold_rule"] == "most_probable":
        return "the most probable class"
    return (
        "threshold, fixed"
        if metrics["threshold_rule"] == "fixed"
        else f"threshold, chosen on {metrics['threshold_from']}"
    )


def _draw_label_curves(axes: Axes, kind: str, points: pd.DataFrame, metrics: Mapping[str, Any], label: str) -> None:
    texts, is_roc = _CURVES[kind], kind == "roc"
    if is_roc:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    lines = []
    for subset in shown_subsets(metrics):
        result = metrics["subsets"][subset]["per_class"][label]
        colour = SUBSET_COLOURS[subset]
        rows = points[points["subset"] == subset]
        style = "default" if is_roc else "steps-pre"  # average precision holds each precision down to the next recall
        axes.plot(rows["x"], rows["y"], color=colour, linewidth=2 if subset == "test" else 1.5, drawstyle=style)
        if not is_roc and result["images"]:
            axes.axhline(result["positives"] / result["images"], color=colour, linewidth=1, linestyle=":")
        x, y = ("specificity", "recall") if is_roc else ("recall", "precision")
        across, up = result[x]["value"], result[y]["value"]
        if across is not None and up is not None:
            point = ([1 - across if is_roc else across], [up])
            axes.plot(*point, marker="D", markersize=6, color=colour, markeredgecolor="white", zorder=5)
        lines.append((_brief(result[texts["area"]]), colour))
    _write_values(axes, lines, at_right=is_roc)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal")
    axes.grid()


def _write_values(axes: Axes, lines: Sequence[tuple[str, str]], *, at_right: bool) -> None:
    """Write texts in their colours into a lower corner, one below the other."""
    for row, (text, colour) in enumerate(reversed(lines)):
        axes.text(
            0.98 if at_right else 0.03,
            0.04 + 0.1 * row,
            text,
            ha="right" if at_right else "left",
            transform=axes.transAxes,
            size=7.5,
            color=colour,
            weight="bold",
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.6},
            zorder=6,
        )


def _brief(metric: Mapping[str, Any]) -> str:
    """A metric with its interval in two decimals, or the one word undefined."""
    if metric["value"] is None:
        return UNDEFINED
    return f"{format_value(metric['value'], 2)} {format_interval(metric['low'], metric['high'], 2)}"


def plot_label_areas(metrics: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
    """AUROC of each label and their mean, with intervals, one below the other.

    Args:
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    labels = metrics["labels"]
    subsets = shown_subsets(metrics)
    names = [*(_title(label, labels) for label in labels), "Mean of labels"]
    row_in = 0.14 + 0.18 * len(subsets)
    with drawn_figure(
        path,
        height_in=1.35 + row_in * len(names) + top_of(options.title) + bottom_of(options.phantom),
        dpi=options.resolution_dpi,
        phantom=options.phantom,
        title=options.title,
    ) as figure:
        axes = figure.add_subplot()
        lowest = 0.5
        for place, subset in enumerate(subsets):
            result = metrics["subsets"][subset]
            areas = [result["per_class"][label]["auroc"] for label in labels] + [result["averages"]["macro"]["auroc"]]
            shift = (place - (len(subsets) - 1) / 2) * 0.8 / len(subsets)
            colour = SUBSET_COLOURS[subset]
            for row, area in enumerate(areas):
                y = row + shift + (0.25 if row == len(labels) else 0)
                axes.text(
                    1.02, y, _brief(area), transform=axes.get_yaxis_transform(), va="center", size=8, color=colour
                )
                if area["value"] is None:
                    continue
                low, high = (area["value"] if area[end] is None else area[end] for end in ("low", "high"))
                axes.plot([low, high], [y, y], color=colour, linewidth=1.6)
                marker = "D" if row == len(labels) else "o"
                axes.plot(area["value"], y, marker=marker, markersize=6, color=colour, markeredgecolor="white")
                lowest = min(lowest, low)
            axes.plot([], [], color=colour, marker="o", markersize=6, markeredgecolor="white", label=subset)
        axes.axvline(0.5, color=GREY, linewidth=1, linestyle=":")
        axes.axhline(len(labels) - 0.4, color=FAINT, linewidth=1)
        axes.set_yticks([*range(len(labels)), len(labels) + 0.25], names)
        axes.set(xlim=(max(0.0, lowest - 0.03), 1.005), ylim=(len(names) - 0.2, -0.6), xlabel="AUROC (dotted: chance)")
        axes.set_title("AUROC [interval] of each label", pad=22)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=len(subsets), borderpad=0.1)


def plot_label_confusion(metrics: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
    """Confusion matrices of each label at its frozen threshold, of test and of external.

    Args:
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    labels = metrics["labels"]
    subsets = [name for name in UNSEEN if name in metrics["subsets"]]
    columns = 2 if len(labels) <= 4 else 4 if len(subsets) == 2 else 3
    dense = columns > 2
    panels = [(label, subset) for label in labels for subset in subsets]
    titles = [fill(spell(label), 54 // columns) for label in labels]
    title_in = 0.14 * (2 + max(title.count("\n") for title in titles))
    height = _height(len(panels), columns, (1.15 if dense else 0.72 * WIDTH_IN / columns) + title_in, options)
    with drawn_figure(
        path, height_in=height, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        names = ("+", "−") if dense else ("positive", "negative")
        for place, (axes, (label, subset)) in enumerate(
            zip(_panels(figure, len(panels), columns), panels, strict=True)
        ):
            matrix = yes_or_no(metrics["subsets"][subset]["confusion"][label])
            draw_matrix(axes, matrix, names, names, size=11, share_size=7 if dense else 8, aspect="auto")
            axes.tick_params(labelsize=8)
            known = format_count(int(matrix.sum())) + ("" if columns == 4 else " images")
            axes.set_title(f"{titles[place // len(subsets)]}\n{subset}: {known}", size=8.5)
        below = "count, and share of the images that truly are so" + ("; above: images" if columns == 4 else "")
        _name_axes(figure, "Predicted", "True", below, (), phantom=options.phantom)


def plot_errors_together(metrics: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
    """Images of test in which two labels are both wrong, by pairs; on the diagonal each label's errors.

    The colour is the share of the images in which both labels are known.

    Args:
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    labels, result = metrics["labels"], metrics["subsets"]["test"]
    counts = np.array(result["errors_together"], dtype=np.int64)
    known = np.array(result["known_together"], dtype=np.int64)
    shares = np.divide(counts, known, out=np.zeros(counts.shape), where=known > 0)
    names = [fill(spell(label), 20) for label in labels]
    size = 8 if len(labels) > 6 else 11
    height = 1.4 + min(3.4, 1.2 * len(labels)) + top_of(options.title) + bottom_of(options.phantom)
    with drawn_figure(
        path, height_in=height, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        axes = figure.add_subplot()
        most = max(float(shares.max()), 1e-9)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15 * most)
        for row in range(len(labels)):
            for column in range(len(labels)):
                colour = "white" if shares[row, column] > 0.65 * most else INK
                text = format_count(int(counts[row, column])) if known[row, column] else "–"
                weight = "bold" if row == column else "normal"
                axes.text(column, row, text, ha="center", va="center", size=size, color=colour, weight=weight)
        axes.set_xticks(range(len(labels)), names, rotation=90 if len(labels) > 4 else 0, size=8)
        axes.set_yticks(range(len(labels)), names, size=8)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        _name_page(figure, "Test images in which both labels are wrong", options)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.03)
        bar.set_label("share of images\nwith both known", size=8.5)
        bar.ax.yaxis.set_major_formatter(lambda value, _: format_share(value))
        bar.ax.tick_params(labelsize=8)
        bar.ax.set_ylim(0, most)
        bar.outline.set_visible(False)


def plot_label_calibration(metrics: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
    """Reliability of each label: observed share of positives against mean probability by bin.

    Args:
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    labels = metrics["labels"]
    columns = _columns(labels)
    height = _height(len(labels), columns, WIDTH_IN / columns + 0.1, options)
    with drawn_figure(
        path, height_in=height, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        for place, (axes, label) in enumerate(zip(_panels(figure, len(labels), columns), labels, strict=True)):
            _draw_label_calibration(axes, metrics, label)
            _set_title(axes, label, labels)
            if place % columns:
                axes.set_yticklabels([])
        below = "Expected calibration error [interval]; dotted: perfect"
        names = "Mean probability of the bin", "Observed share of positives"
        _name_axes(figure, *names, below, shown_subsets(metrics), phantom=options.phantom)


def _draw_label_calibration(axes: Axes, metrics: Mapping[str, Any], label: str) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
    lines = []
    for subset in shown_subsets(metrics):
        result, colour = metrics["subsets"][subset], SUBSET_COLOURS[subset]
        found = result["calibration"][label]
        lines.append((_brief(result["per_class"][label]["ece"]), colour))
        rows = [] if found is None else [row for row in found["reliability"] if row["images"]]
        total = sum(row["images"] for row in rows)
        x, y = [row["probability"] for row in rows], [row["observed"] for row in rows]
        low, high = (
            [row["observed"] if row[end] is None else row[end] for row in rows]
            for end in ("observed_low", "observed_high")
        )
        axes.vlines(x, low, high, color=colour, linewidth=1, alpha=0.7)
        sizes = [8 + 80 * (row["images"] / total) ** 0.5 for row in rows]
        axes.scatter(x, y, s=sizes, color=colour, edgecolor="white", linewidth=0.6, zorder=3)
    _write_values(axes, lines, at_right=True)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal")
    axes.grid()
