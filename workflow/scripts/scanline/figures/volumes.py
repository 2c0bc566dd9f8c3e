"""How well a detector tells volumes apart: ROC of the volumes, FROC with false positives counted by volume."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from scanline.figures.numbers import format_metric, format_value, spell
from scanline.figures.options import RunFigureOptions
from scanline.figures.style import GREY, SUBSET_COLOURS, drawn_figure, say, shown_subsets, titled_legend

RATES = (0.125, 0.25, 0.5, 1, 2, 4, 8)  # false positives a volume, as FROC is read
LINES = {"box": ("boxes found", "-"), "volume": ("volumes in which a box is found", "--")}
PLACE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (-0.02, -0.15)}


def plot_volume_roc(curves: pd.DataFrame, metrics: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
    """Sensitivity against 1 - specificity of volumes, any class; diamonds mark the threshold frozen on val.

    Args:
        curves: Columns subset, curve, label, x, y.
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    with drawn_figure(
        path, height_in=5.1, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        axes = figure.add_subplot()
        axes.set_title("ROC of volumes")
        own = _of_any_class(curves[curves["curve"] == "volume_roc"], metrics)
        if own.empty:
            say(axes, _nothing(metrics, "No subset has both positive and negative volumes."))
            return
        for subset, level in _levels(metrics).items():
            points = own[own["subset"] == subset]
            found = level["any_class"]["metrics"]
            look: dict[str, Any] = {"color": SUBSET_COLOURS[subset], "linewidth": 2.4 if subset == "test" else 1.8}
            axes.plot(points["x"], points["y"], label=f"{subset}: {_short(found['auroc'])}", **look)
            sensitivity, specificity = found["recall"]["value"], found["specificity"]["value"]
            if sensitivity is not None and specificity is not None:
                _mark(axes, 1 - specificity, sensitivity, SUBSET_COLOURS[subset])
        wanted = format_value(metrics["volumes"]["specificity"])
        words = f"threshold of specificity {wanted} or more on val"
        axes.plot([], [], marker="D", markersize=7, color=GREY, linestyle="none", label=words)
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), xlabel="1 - specificity", ylabel="Sensitivity (volumes)")
        axes.grid()
        titled_legend(axes, "AUROC [interval]", **PLACE)


def plot_volume_froc(curves: pd.DataFrame, metrics: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
    """Share of the boxes, and of the volumes, found against false positives a volume, any class.

    Args:
        curves: Columns subset, curve, label, x, y.
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    with drawn_figure(
        path, height_in=5.6, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        axes = figure.add_subplot()
        axes.set_title("Free-response ROC by volume")
        own = _of_any_class(curves[curves["curve"].isin([f"volume_froc_{kind}" for kind in LINES])], metrics)
        if own.empty:
            say(axes, _nothing(metrics, "There is no true box in any volume."))
            return
        for subset, level in _levels(metrics).items():
            for kind, (words, style) in LINES.items():
                at = (own["subset"] == subset) & (own["curve"] == f"volume_froc_{kind}")
                points = own[at].sort_values(["x", "y"])
                mean = _short(level["any_class"]["froc"][f"{kind}_mean_sensitivity"])
                look: dict[str, Any] = {"color": SUBSET_COLOURS[subset], "linestyle": style, "drawstyle": "steps-post"}
                width = 2.4 if subset == "test" else 1.8
                axes.plot(points["x"], points["y"], label=f"{subset}, {words}: {mean}", linewidth=width, **look)
        axes.set_xscale("symlog", linthresh=RATES[0], linscale=0.6)
        axes.set_xticks([0, *RATES], ["0", "1/8", "1/4", "1/2", "1", "2", "4", "8"])
        axes.minorticks_off()
        axes.set(xlim=(-0.008, 9), ylim=(-0.015, 1.015))
        axes.set(xlabel="False positives a volume", ylabel=f"Sensitivity (IoU {metrics['iou_threshold']:g})")
        axes.grid()
        titled_legend(axes, "mean sensitivity at 1/8 to 8 [interval]", **PLACE)


def _levels(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What metrics.json holds of the volumes of each subset that has some."""
    found = {name: metrics["subsets"][name]["volume_level"] for name in shown_subsets(metrics)}
    return {name: level for name, level in found.items() if level is not None}


def _of_any_class(curves: pd.DataFrame, metrics: Mapping[str, Any]) -> pd.DataFrame:
    targets = metrics["targets"]
    return curves[curves["label"] == (targets[0] if len(targets) == 1 else "any class")]


def _nothing(metrics: Mapping[str, Any], otherwise: str) -> str:
    reason = metrics["volumes"]["reason"]
    return f"There are no volumes: {spell(reason)}." if reason else otherwise


def _mark(axes: Axes, x: float, y: float, colour: str) -> None:
    axes.plot([x], [y], marker="D", markersize=9, color=colour, markeredgecolor="white", zorder=5, clip_on=False)


def _short(metric: Mapping[str, Any] | None) -> str:
    text = format_metric(metric)
    return text if len(text) <= 40 else text[:37] + "..."
