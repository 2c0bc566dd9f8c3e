"""Loss curves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from scanline.core.errors import InputError
from scanline.figures.numbers import format_value
from scanline.figures.options import ClassifierFigureOptions
from scanline.figures.style import BLUE, ORANGE, QUIET, drawn_figure

HISTORY_COLUMNS = ("epoch", "train_loss", "val_loss")


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


def plot_loss(history: pd.DataFrame, run: Mapping[str, Any], options: ClassifierFigureOptions, path: Path) -> None:
    """Train and val loss by epoch, the kept epoch marked.

    Args:
        history: The training's history, columns `epoch`, `train_loss`, `val_loss`.
        run: run.json; its `best_epoch` is marked.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    best = int(run["best_epoch"])
    with drawn_figure(
        path, height_in=3.5, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        axes = figure.add_subplot()
        marker = "o" if len(history) <= 25 else None
        for column, name, colour in (("train_loss", "train", BLUE), ("val_loss", "val", ORANGE)):
            axes.plot(history["epoch"], history[column], color=colour, label=name, marker=marker, markersize=3.5)
        kept = history.loc[history["epoch"] == best, "val_loss"]
        axes.axvline(best, color=QUIET, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
        if len(kept):
            loss = float(kept.iloc[0])
            axes.plot(
                [best],
                [loss],
                marker="o",
                markersize=10,
                markerfacecolor="none",
                markeredgecolor=QUIET,
                markeredgewidth=1.6,
                linestyle="none",
                label=f"kept: epoch {best}, val loss {format_value(loss)}",
            )
        axes.set_title("Loss by epoch")
        axes.set_xlabel("Epoch")
        axes.set_ylabel("Loss (cross-entropy)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.margins(x=0.04)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.legend(loc="upper right", frameon=True, framealpha=1, edgecolor="white")
