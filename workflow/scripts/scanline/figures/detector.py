"""How well a detector finds boxes: its training, precision and recall, FROC, confusion matrices."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from scanline.figures.matrices import NOT_COUNTED, draw_matrix, name_axes, yes_or_no
from scanline.figures.numbers import format_count, format_metric, format_value, spell
from scanline.figures.options import RunFigureOptions
from scanline.figures.style import (
    GREEN,
    GREY,
    SUBSET_COLOURS,
    VERMILION,
    drawn_figure,
    say,
    shown_subsets,
    titled_legend,
)
from scanline.figures.training import Curves
from scanline.figures.training import plot_training as plot_epochs

IOUS = {"ap_10": 0.1, "ap_30": 0.3, "ap_50": 0.5, "ap_75": 0.75}
FEW_CLASSES = 3  # background among them
RATES = (0.125, 0.25, 0.5, 1, 2, 4, 8)  # false positives an image, as FROC is read


def plot_training(history: pd.DataFrame, run: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
    """AP on val, and loss of train and val, by epoch; the kept epoch marked in both.

    Args:
        history: Columns epoch, train_loss, val_loss, ap50, ap50_95.
        run: run.json; its `best_epoch` is marked.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    curves = (("ap50", "AP50", GREEN), ("ap50_95", "AP50-95", VERMILION))
    quality = Curves("Average precision by epoch", "AP on val", curves, ("ap50_95", "AP50-95"))
    plot_epochs(history, run, quality, options, path)


def plot_precision_recall(
    curves: pd.DataFrame, metrics: Mapping[str, Any], options: RunFigureOptions, path: Path
) -> None:
    """Precision and recall of boxes at two IoU, that of the headline first, a row of panels a class.

    Args:
        curves: Columns subset, curve, label, iou_threshold, x, y.
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    targets, shown_ious = metrics["targets"], _shown_ious(metrics)
    names = [fill(spell(label), 22) for label in targets]
    title_lines = max(name.count("\n") for name in names) + 1
    with drawn_figure(
        path,
        height_in=0.7 + (3.3 + 0.17 * title_lines) * len(targets),
        dpi=options.resolution_dpi,
        phantom=options.phantom,
        title=options.title,
    ) as figure:
        panels = figure.subplots(len(targets), len(shown_ious), squeeze=False, sharex=True, sharey=True)
        for row, label, shown in zip(panels, targets, names, strict=True):
            for axes, (iou, name) in zip(row, shown_ious.items(), strict=True):
                at = (curves["curve"] == "precision_recall") & (curves["label"] == label)
                _draw_precision_recall(
                    axes, curves[at & np.isclose(curves["iou_threshold"], iou)], metrics, name, label
                )
                axes.set_title(f"{shown}\nIoU {iou:g}")
                place = {"loc": "upper left", "bbox_to_anchor": (-0.02, -0.19), "borderpad": 0}
                titled_legend(axes, "AP [interval]", fontsize=8, handlelength=1.4, **place)
            row[0].set_ylabel("Precision")


def _shown_ious(metrics: Mapping[str, Any]) -> dict[float, str]:
    """The AP of the headline and the one at IoU 0.5, or at 0.75 where that is the headline, by IoU."""
    first = metrics.get("headline", "ap_50")
    names = [first, "ap_50"] if first in ("ap_10", "ap_30") else ["ap_50", "ap_75"]
    return {IOUS[name]: name for name in names}


def _draw_precision_recall(axes: Axes, curves: pd.DataFrame, metrics: Mapping[str, Any], name: str, label: str) -> None:
    for subset in shown_subsets(metrics):
        points = curves[curves["subset"] == subset].sort_values("x")
        axes.plot(
            points["x"].to_numpy(float),
            points["y"].to_numpy(float),
            color=SUBSET_COLOURS[subset],
            linewidth=2.4 if subset == "test" else 1.8,
            drawstyle="steps-pre",
            label=f"{subset}: {_short(metrics['subsets'][subset]['per_class'][label][name])}",
        )
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), xlabel="Recall")
    axes.tick_params(labelbottom=True)
    axes.grid()


def _short(metric: Mapping[str, Any] | None) -> str:
    text = format_metric(metric)
    return text if len(text) <= 40 else text[:37] + "..."


def plot_froc(curves: pd.DataFrame, metrics: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
    """Sensitivity for boxes against false positives an image, all classes together; the operating point marked.

    Args:
        curves: Columns subset, curve, label, iou_threshold, x, y.
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    with drawn_figure(
        path, height_in=4.9, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        axes = figure.add_subplot()
        own = curves[(curves["curve"] == "froc") & (curves["label"] == "all classes")]
        if own.empty:
            axes.set_title("Free-response ROC")
            say(axes, "There is no true box in any subset.")
            return
        for subset in shown_subsets(metrics):
            result = metrics["subsets"][subset]
            points = own[own["subset"] == subset].sort_values(["x", "y"])
            axes.plot(
                points["x"],
                points["y"],
                color=SUBSET_COLOURS[subset],
                linewidth=2.4 if subset == "test" else 1.8,
                drawstyle="steps-post",
                label=f"{subset}: {_short(result['froc']['all_classes']['mean_sensitivity'])}",
            )
            lesions = result["lesions"]["all_classes"]
            x, y = lesions["false_positives_per_image"]["value"], lesions["recall"]["value"]
            if x is not None and y is not None:
                colour = SUBSET_COLOURS[subset]
                axes.plot([x], [y], marker="D", markersize=9, color=colour, markeredgecolor="white", zorder=5)
        origin = "fixed" if metrics["threshold_rule"] == "fixed" else f"chosen on {metrics['threshold_from']}"
        words = f"score threshold {format_value(metrics['threshold'])}, {origin}"
        axes.plot([], [], marker="D", markersize=7, color=GREY, linestyle="none", label=words)
        axes.set_xscale("symlog", linthresh=RATES[0], linscale=0.6)
        axes.set_xticks([0, *RATES], ["0", "1/8", "1/4", "1/2", "1", "2", "4", "8"])
        axes.minorticks_off()
        axes.set(xlim=(-0.008, 9), ylim=(-0.015, 1.015))
        axes.set(xlabel="False positives an image", ylabel=f"Sensitivity (boxes, IoU {metrics['iou_threshold']:g})")
        axes.set_title("Free-response ROC")
        axes.grid()
        place = {"loc": "upper left", "bbox_to_anchor": (-0.02, -0.15)}
        titled_legend(axes, "mean sensitivity at 1/8 to 8 [interval]", **place)


def plot_confusion(metrics: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
    """Confusion matrices at the frozen threshold: of boxes, and of whether an image is positive at all.

    With more than FEW_CLASSES classes the matrices of boxes stand one below the other, as large as the page.

    Args:
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    subsets = shown_subsets(metrics)
    classes = len(metrics["targets"]) + 1
    wide = classes > FEW_CLASSES
    own_rows = len(subsets) if wide else 1
    box_in = 4.9 if wide else 2.9 + 0.25 * (classes - 2)
    with drawn_figure(
        path,
        height_in=own_rows * box_in + 2.9,
        dpi=options.resolution_dpi,
        phantom=options.phantom,
        title=options.title,
    ) as figure:
        grid = figure.add_gridspec(own_rows + 1, len(subsets), height_ratios=[box_in] * own_rows + [2.7])
        for place, subset in enumerate(subsets):
            result = metrics["subsets"][subset]
            first = wide or place == 0
            axes = figure.add_subplot(grid[place, :] if wide else grid[0, place])
            _draw_boxes(axes, result["confusion"], wide=wide, first=first)
            axes.set_title(f"{subset}: {format_count(result['truth_boxes'])} boxes", fontsize=9.5)
            matrix = yes_or_no(result["yes_or_no"]["image"]["any_class"]["confusion"])
            axes = figure.add_subplot(grid[-1, place])
            names = ("positive", "negative")
            draw_matrix(axes, matrix, names, names if place == 0 else ("", ""), size=13, share_size=8)
            name_axes(axes, first=place == 0)
            axes.set_title(f"{subset}: {format_count(int(matrix.sum()))} images", fontsize=9.5)


def _draw_boxes(axes: Axes, confusion: Mapping[str, Any], *, wide: bool, first: bool) -> None:
    """True classes as rows, the last one background: boxes missed, and detections that match none."""
    counts = np.array(confusion["counts"], dtype=np.int64)
    names, last = [spell(name) for name in confusion["classes"]], len(counts) - 1
    # A share of false alarms says nothing: background has no number of its own.
    words = {(last, column): "false alarms" for column in range(last)} | {(last, last): NOT_COUNTED}
    across = [fill(name, 16 if wide else 12) for name in names]
    beside = [fill(name, 22) if wide else name for name in across] if first else [""] * len(names)
    draw_matrix(axes, counts, across, beside, size=11 if wide else 13, share_size=0 if wide else 8, words=words)
    axes.tick_params(axis="both", labelsize=8.5)
    if wide:
        axes.tick_params(axis="x", labelrotation=90)
        axes.tick_params(axis="y", labelrotation=0)
    name_axes(axes, first=first)
