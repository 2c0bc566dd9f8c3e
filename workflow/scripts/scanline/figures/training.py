"""Curves of a training: loss and quality by epoch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from scanline.core.errors import InputError
from scanline.figures.numbers import format_value
from scanline.figures.options import RunFigureOptions
from scanline.figures.style import BLUE, ORANGE, QUIET, drawn_figure

TITLE_PAD = 21  # points between the axes and their title: room for the legend
_RING: Any = {
    "marker": "o",
    "markersize": 10,
    "markerfacecolor": "none",
    "markeredgecolor": QUIET,
    "markeredgewidth": 1.6,
    "linestyle": "none",
}
LOSSES = {"cross_entropy": "cross-entropy"}
HISTORY_COLUMNS = ("epoch", "train_loss", "val_loss")


@dataclass(frozen=True)
class Curves:
    """What is shown by epoch.

    Attributes:
        title: Of the curves.
        axis: Of the values.
        curves: Column of history.csv, name and colour of each.
        measure: Column and name of the one that carries the ring and whose value at the kept epoch is written.
    """

    title: str
    axis: str
    curves: Sequence[tuple[str, str, str]]
    measure: tuple[str, str]


def read_history(path: Path) -> pd.DataFrame:
    """Read history.csv: one row an epoch.

    Raises:
        InputError: If it is missing, no CSV, empty, or lacks a column.
    """
    try:
        history = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(
            path, found=str(error), expected="a table of epochs", next_step="Run the training again."
        ) from error
    missing = [name for name in HISTORY_COLUMNS if name not in history.columns]
    if missing or history.empty:
        raise InputError(
            path,
            found=f"no column {missing[0]}" if missing else "no epoch",
            expected=f"columns {', '.join(HISTORY_COLUMNS)} and a row an epoch",
            next_step="Run the training again.",
        )
    return history.sort_values("epoch", ignore_index=True)


def draw_epochs(axes: Axes, history: pd.DataFrame, shown: Curves, best: int) -> None:
    """Curves by epoch with the kept epoch marked by a line and a ring; the legend stands above them, not on them.

    Args:
        axes: Where.
        history: Column `epoch` and those of the curves.
        shown: The curves.
        best: The epoch whose weights were kept.
    """
    curves = shown.curves
    marker = "o" if len(history) <= 25 else None
    for column, name, colour in curves:
        axes.plot(history["epoch"], history[column], color=colour, label=name, marker=marker, markersize=3.5)
    axes.axvline(best, color=QUIET, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
    column, words = shown.measure
    values = history.loc[history["epoch"] == best, column]
    value = float(values.iloc[0]) if len(values) else math.nan
    label = f"kept: epoch {best}, {words} {format_value(value if math.isfinite(value) else None)}"
    axes.plot([best], [value], label=label, **_RING)
    known = history[[column for column, _, _ in curves]].to_numpy(dtype=float)
    if not np.isfinite(known).any():
        axes.text(0.5, 0.5, "not a number in any epoch", transform=axes.transAxes, ha="center", color=QUIET)
    axes.set_title(shown.title, pad=TITLE_PAD)
    axes.set_ylabel(shown.axis)
    axes.margins(x=0.04)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=len(curves) + 1,
        borderpad=0.1,
        borderaxespad=0.2,
        columnspacing=1.2,
    )


def draw_loss(axes: Axes, history: pd.DataFrame, best: int, title: str) -> None:
    """Train and val loss by epoch, as `draw_epochs`, from 0 up."""
    curves = (("train_loss", "train", BLUE), ("val_loss", "val", ORANGE))
    draw_epochs(axes, history, Curves(title, "Loss", curves, ("val_loss", "val loss")), best)
    known = history[["train_loss", "val_loss"]].to_numpy(dtype=float)
    known = known[np.isfinite(known)]
    axes.set_ylim(0, 1.08 * known.max() if known.size and known.max() > 0 else 1)


def plot_loss(history: pd.DataFrame, run: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
    """Train and val loss by epoch, the kept epoch marked.

    Args:
        history: The training's history, columns `epoch`, `train_loss`, `val_loss`.
        run: run.json; its `best_epoch` is marked.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    with drawn_figure(
        path, height_in=3.7, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        axes = figure.add_subplot()
        loss = run.get("options", {}).get("task", {}).get("loss", "cross_entropy")
        draw_loss(axes, history, int(run["best_epoch"]), f"Loss by epoch ({LOSSES.get(loss, loss)})")
        axes.set_xlabel("Epoch")


def plot_training(
    history: pd.DataFrame,
    run: Mapping[str, Any],
    quality: Curves,
    options: RunFigureOptions,
    path: Path,
    *,
    loss: str = "Loss by epoch",
) -> None:
    """Quality on val, and below it train and val loss, by epoch, the kept epoch marked in both.

    Args:
        history: Columns epoch, train_loss, val_loss and those of the quality.
        run: run.json; its `best_epoch` is marked.
        quality: What was measured on val, between 0 and 1.
        options: Looks, title and phantom mark.
        path: PNG file to write.
        loss: Title of the loss.

    Raises:
        InputError: If the history lacks a column of the quality.
    """
    missing = [column for column, _, _ in quality.curves if column not in history]
    if missing:
        raise InputError(
            "history of the training",
            found=f"columns {', '.join(history.columns)}",
            expected=f"the column {missing[0]} as well",
            next_step="Run the training again.",
        )
    best = int(run["best_epoch"])
    with drawn_figure(
        path, height_in=5.8, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.15, 1])
        draw_epochs(above, history, quality, best)
        above.set_ylim(-0.03, 1.03)
        draw_loss(below, history, best, loss)
        below.set_xlabel("Epoch")
