"""How well a classifier separates, and whether its probabilities can be believed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from scanline.figures.matrices import draw_matrix, name_axes, yes_or_no
from scanline.figures.numbers import format_count, format_metric, format_value
from scanline.figures.options import RunFigureOptions
from scanline.figures.style import GREY, SUBSET_COLOURS, drawn_figure, shown_subsets, titled_legend

_CURVES: dict[str, dict[str, str]] = {
    "roc": {
        "title": "ROC curve",
        "area": "auroc",
        "x_label": "1 − specificity",
        "y_label": "Sensitivity",
        "legend": "AUROC [interval]",
    },
    "precision_recall": {
        "title": "Precision and recall",
        "area": "auprc",
        "x_label": "Recall (sensitivity)",
        "y_label": "Precision",
        "legend": "AUPRC [interval]",
    },
}


def plot_curve(
    kind: str,
    curves: pd.DataFrame,
    metrics: Mapping[str, Any],
    options: RunFigureOptions,
    path: Path,
) -> None:
    """ROC or precision-recall curve of val and test, areas with intervals, the operating point marked.

    Args:
        kind: `roc` or `precision_recall`.
        curves: Rows of points, columns `subset`, `curve`, `x`, `y`, in drawing order.
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    texts = _CURVES[kind]
    with drawn_figure(
        path, height_in=6.6, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        axes = figure.add_subplot()
        marked = False
        for subset in shown_subsets(metrics):
            result = metrics["subsets"][subset]
            points = curves[(curves["subset"] == subset) & (curves["curve"] == kind)]
            _draw_curve(axes, kind, points, f"{subset}: {_short(result['metrics'].get(texts['area']))}", subset)
            if kind == "precision_recall" and result["images"]:
                axes.axhline(
                    result["positives"] / result["images"],
                    color=SUBSET_COLOURS[subset],
                    linewidth=1,
                    linestyle=":",
                )
            point = _operating_point(kind, result["metrics"])
            if point is not None:
                axes.plot(
                    *point,
                    marker="D",
                    markersize=9,
                    color=SUBSET_COLOURS[subset],
                    markeredgecolor="white",
                    zorder=5,
                )
                marked = True
        if kind == "roc":
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="chance")
        else:
            axes.plot([], [], color=GREY, linewidth=1, linestyle=":", label="chance (prevalence)")
        if marked:
            rule, where = metrics["threshold_rule"], metrics["threshold_from"]
            origin = "fixed" if rule == "fixed" else f"chosen on {where}"
            label = f"threshold {format_value(metrics['threshold'])}, {origin}"
            axes.plot([], [], marker="D", markersize=7, color=GREY, linestyle="none", label=label)
        axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), xlabel=texts["x_label"], ylabel=texts["y_label"])
        axes.set_aspect("equal")
        axes.set_title(texts["title"])
        axes.grid()
        titled_legend(axes, texts["legend"], loc="upper left", bbox_to_anchor=(-0.02, -0.11), borderpad=0)


def _short(metric: Mapping[str, Any] | None) -> str:
    text = format_metric(metric)
    return text if len(text) <= 60 else text[:57] + "..."


def _draw_curve(axes: Axes, kind: str, points: pd.DataFrame, label: str, subset: str) -> None:
    colour, width = SUBSET_COLOURS[subset], 2.4 if subset == "test" else 1.8
    x, y = points["x"].to_numpy(float), points["y"].to_numpy(float)
    style = "default"
    if kind == "precision_recall" and len(x):
        # Average precision holds each precision down to the next lower recall: steps, not slopes.
        style = "steps-post" if x[0] >= x[-1] else "steps-pre"
    axes.plot(x, y, color=colour, linewidth=width, label=label, drawstyle=style)


def _operating_point(kind: str, metrics: Mapping[str, Any]) -> tuple[list[float], list[float]] | None:
    values = {name: (metrics.get(name) or {}).get("value") for name in ("specificity", "recall", "precision")}
    if kind == "roc":
        x = None if values["specificity"] is None else 1 - values["specificity"]
        y = values["recall"]
    else:
        x, y = values["recall"], values["precision"]
    return None if x is None or y is None else ([x], [y])


def plot_confusion(metrics: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
    """Confusion matrices of val and test at the frozen threshold: counts, and shares of each true class.

    Args:
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    subsets = shown_subsets(metrics)
    with drawn_figure(
        path, height_in=3.75, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        panels = figure.subplots(1, len(subsets), squeeze=False)[0]
        for index, (axes, subset) in enumerate(zip(panels, subsets, strict=True)):
            matrix = yes_or_no(metrics["subsets"][subset]["confusion"])
            names = ("positive", "negative")
            draw_matrix(axes, matrix, names, names if index == 0 else ("", ""))
            name_axes(axes, first=index == 0)
            axes.set_title(f"{subset}: {format_count(int(matrix.sum()))} images")


def plot_calibration(
    metrics: Mapping[str, Any],
    options: RunFigureOptions,
    path: Path,
    *,
    observed: str = "Observed share of positives",
) -> None:
    """Reliability curve of val and test: observed frequency against mean probability by bin, images below.

    Args:
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
        observed: What is observed, beside the axis.
    """
    subsets = shown_subsets(metrics)
    with drawn_figure(
        path, height_in=6.4, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
        curve.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="perfect")
        for index, subset in enumerate(subsets):
            result = metrics["subsets"][subset]
            bins = result["calibration"]["reliability"]
            _draw_reliability(curve, subset, bins, f"{subset}: {_short(result['metrics'].get('ece'))}")
            width = (bins[0]["upper"] - bins[0]["lower"]) / (len(subsets) + 0.4)
            left = [row["lower"] + (index + 0.2) * width for row in bins]
            heights = [row["images"] for row in bins]
            counts.bar(left, heights, width=width, align="edge", color=SUBSET_COLOURS[subset])
        curve.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), ylabel=observed)
        curve.grid()
        titled_legend(curve, "Calibration: expected error [interval]", loc="lower left", bbox_to_anchor=(-0.01, 1.0))
        counts.set(xlabel="Mean probability of the bin", ylabel="Images (log)", yscale="symlog")
        counts.set_yticks([0, 1, 10, 100, 1000, 10000], ["0", "1", "10", "100", "1,000", "10,000"])
        most = max(row["images"] for name in subsets for row in metrics["subsets"][name]["calibration"]["reliability"])
        counts.set_ylim(0, 1.3 * max(most, 1))


def _draw_reliability(axes: Axes, subset: str, bins: Sequence[Mapping[str, Any]], label: str) -> None:
    """Points with intervals, larger where a bin holds more images; no line, which would leap between small bins."""
    rows = [row for row in bins if row["images"]]
    colour = SUBSET_COLOURS[subset]
    x, y = [row["probability"] for row in rows], [row["observed"] for row in rows]
    low = [row["observed"] if row["observed_low"] is None else row["observed_low"] for row in rows]
    high = [row["observed"] if row["observed_high"] is None else row["observed_high"] for row in rows]
    total = sum(row["images"] for row in rows)
    sizes = [18 + 180 * (row["images"] / total) ** 0.5 for row in rows]
    axes.vlines(x, low, high, color=colour, linewidth=1.2, alpha=0.7)
    axes.scatter(x, y, s=sizes, color=colour, edgecolor="white", linewidth=0.8, zorder=3)
    axes.plot([], [], color=colour, marker="o", markersize=6, linestyle="none", label=label)
