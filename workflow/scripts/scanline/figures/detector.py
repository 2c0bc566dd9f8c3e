"""How well a detector finds boxes: its training, precision and recall, FROC, confusion matrices."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from scanline.figures.numbers import UNDEFINED, format_count, format_metric, format_share, format_value, spell
from scanline.figures.options import ClassifierFigureOptions
from scanline.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    QUIET,
    SUBSET_COLOURS,
    VERMILION,
    drawn_figure,
    say,
)

SHOWN_SUBSETS = ("val", "test", "external")
SHOWN_IOUS = {0.5: "ap_50", 0.75: "ap_75"}
RATES = (0.125, 0.25, 0.5, 1, 2, 4, 8)  # false positives an image, as FROC is read


def plot_training(history: pd.DataFrame, run: Mapping[str, Any], options: ClassifierFigureOptions, path: Path) -> None:
    """AP on val, and loss of train and val, by epoch; the kept epoch marked in both.

    Args:
        history: Columns epoch, train_loss, val_loss, ap50, ap50_95.
        run: run.json; its `best_epoch` is marked.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    best = int(run["best_epoch"])
    with drawn_figure(
        path, height_in=5.6, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.15, 1])
        marker = "o" if len(history) <= 25 else None
        for axes, columns in (
            (above, (("ap50", "AP50", GREEN), ("ap50_95", "AP50-95", VERMILION))),
            (below, (("train_loss", "train", BLUE), ("val_loss", "val", ORANGE))),
        ):
            for column, name, colour in columns:
                axes.plot(history["epoch"], history[column], color=colour, label=name, marker=marker, markersize=3.5)
            axes.axvline(best, color=QUIET, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
            axes.margins(x=0.04)
            axes.grid(axis="y")
        kept = history.loc[history["epoch"] == best, "ap50_95"]
        if len(kept):
            above.plot(
                [best],
                [float(kept.iloc[0])],
                marker="o",
                markersize=10,
                markerfacecolor="none",
                markeredgecolor=QUIET,
                markeredgewidth=1.6,
                linestyle="none",
                label=f"kept: epoch {best}, AP50-95 {format_value(float(kept.iloc[0]))}",
            )
        above.set(ylim=(-0.02, 1.02), ylabel="AP on val")
        above.set_title("Average precision by epoch")
        below.set_title("Loss by epoch")
        below.set(xlabel="Epoch", ylabel="Loss")
        below.set_ylim(bottom=0)
        below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        for axes in (above, below):
            axes.legend(loc="best", frameon=True, framealpha=0.92, edgecolor="white")


def plot_precision_recall(
    curves: pd.DataFrame, metrics: Mapping[str, Any], options: ClassifierFigureOptions, path: Path
) -> None:
    """Precision and recall of boxes at IoU 0.5 and 0.75, a row of panels a class.

    Args:
        curves: Columns subset, curve, label, iou_threshold, x, y.
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    targets = metrics["targets"]
    with drawn_figure(
        path,
        height_in=0.7 + 3.3 * len(targets),
        dpi=options.resolution_dpi,
        phantom=options.phantom,
        title=options.title,
    ) as figure:
        panels = figure.subplots(len(targets), len(SHOWN_IOUS), squeeze=False, sharex=True, sharey=True)
        for row, label in zip(panels, targets, strict=True):
            for axes, (iou, name) in zip(row, SHOWN_IOUS.items(), strict=True):
                at = (curves["curve"] == "precision_recall") & (curves["label"] == label)
                _draw_precision_recall(
                    axes, curves[at & np.isclose(curves["iou_threshold"], iou)], metrics, name, label
                )
                axes.set_title(f"{spell(label)}, IoU {iou:g}")
                axes.legend(
                    loc="upper center",
                    bbox_to_anchor=(0.5, -0.19),
                    fontsize=8,
                    handlelength=1.4,
                    title="AP [interval]",
                    title_fontproperties={"weight": "bold", "size": 8.5},
                )
            row[0].set_ylabel("Precision")


def _draw_precision_recall(axes: Axes, curves: pd.DataFrame, metrics: Mapping[str, Any], name: str, label: str) -> None:
    for subset in (one for one in SHOWN_SUBSETS if one in metrics["subsets"]):
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


def plot_froc(curves: pd.DataFrame, metrics: Mapping[str, Any], options: ClassifierFigureOptions, path: Path) -> None:
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
        for subset in (name for name in SHOWN_SUBSETS if name in metrics["subsets"]):
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
        legend = axes.legend(
            loc="lower right",
            title="mean sensitivity at 1/8 to 8 [interval]",
            frameon=True,
            framealpha=0.92,
            edgecolor=FAINT,
            alignment="left",
        )
        legend.get_title().set_fontweight("bold")
        legend.get_title().set_fontsize(9)


def plot_confusion(metrics: Mapping[str, Any], options: ClassifierFigureOptions, path: Path) -> None:
    """Confusion matrices at the frozen threshold: of boxes, and of whether an image is positive at all.

    Args:
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    subsets = [name for name in SHOWN_SUBSETS if name in metrics["subsets"]]
    classes = len(metrics["targets"]) + 1
    with drawn_figure(
        path,
        height_in=5.8 + 0.5 * (classes - 2),
        dpi=options.resolution_dpi,
        phantom=options.phantom,
        title=options.title,
    ) as figure:
        panels = figure.subplots(2, len(subsets), squeeze=False)
        for column, subset in enumerate(subsets):
            result = metrics["subsets"][subset]
            names = [spell(name) for name in result["confusion"]["classes"]]
            counts = np.array(result["confusion"]["counts"], dtype=np.int64)
            boxes = f"{subset}: {format_count(result['truth_boxes'])} boxes"
            _draw_matrix(panels[0, column], counts, names, boxes, first=column == 0, countable=False)
            image = result["yes_or_no"]["image"]["any_class"]
            found = image["confusion"]
            matrix = np.array([[found["tp"], found["fn"]], [found["fp"], found["tn"]]], dtype=np.int64)
            words = f"{subset}: {format_count(int(matrix.sum()))} images"
            _draw_matrix(panels[1, column], matrix, ["positive", "negative"], words, first=column == 0, countable=True)


def _draw_matrix(
    axes: Axes, counts: "np.ndarray[Any, Any]", names: Sequence[str], title: str, *, first: bool, countable: bool
) -> None:
    """True classes as rows. Where background is one of them, its own cell cannot be counted."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    if not countable:
        shares[-1] = 0  # a share of false alarms says nothing: background has no number of its own
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25)
    size = len(names)
    for row in range(size):
        for column in range(size):
            if not countable and row == column == size - 1:
                axes.text(column, row, "not\ncounted", ha="center", va="center", size=8, color=QUIET)
                continue
            colour = "white" if shares[row, column] > 0.6 else INK
            share = format_share(float(shares[row, column])) if totals[row, 0] else UNDEFINED
            words = "false alarms" if not countable and row == size - 1 else share
            count = format_count(int(counts[row, column]))
            axes.text(column, row - 0.08, count, ha="center", va="center", size=13, weight="bold", color=colour)
            axes.text(column, row + 0.24, words, ha="center", va="center", size=8, color=colour)
    axes.set_title(title, fontsize=9.5)
    axes.set_xticks(range(size), [_fold(name) for name in names], fontsize=8.5)
    labels = [_fold(name) for name in names] if first else [""] * size
    axes.set_yticks(range(size), labels, rotation=90, va="center", fontsize=8.5)
    axes.set_xlabel("Predicted", color=QUIET)
    if first:
        axes.set_ylabel("True", color=QUIET)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for edge in range(1, size):
        axes.axhline(edge - 0.5, color="white", linewidth=3)
        axes.axvline(edge - 0.5, color="white", linewidth=3)


def _fold(name: str) -> str:
    return name if len(name) <= 12 else name.replace(" ", "\n", 1)
