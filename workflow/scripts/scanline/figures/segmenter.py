"""How well a segmentation network finds its lesion: curves of training, Dice of images and patients, confusion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from pydantic import Field

from scanline.core.errors import InputError
from scanline.figures.numbers import UNDEFINED, format_count, format_metric, format_share, format_value
from scanline.figures.options import FigureOptions
from scanline.figures.style import BLUE, INK, ORANGE, QUIET, SUBSET_COLOURS, WIDTH_IN, bare, drawn_figure, say

SHOWN_SUBSETS = ("val", "test", "external")
DICE_BINS = 20
HEADROOM = 1.75  # of the highest bar: room for a legend above it
BOLD_DIGIT = 0.7  # width of a bold digit of DejaVu Sans over the font's size


class SegmenterFigureOptions(FigureOptions):
    """What the figures of one segmentation network need beside its files."""

    title: str = Field(description="A line that names the run, printed above each figure.")
    phantom: bool = Field(description="Mark the figures as drawn from a phantom.")


def shown_subsets(metrics: Mapping[str, Any]) -> list[str]:
    """Measured subsets in their order."""
    return [name for name in SHOWN_SUBSETS if name in metrics["subsets"]]


def plot_training(history: pd.DataFrame, run: Mapping[str, Any], options: SegmenterFigureOptions, path: Path) -> None:
    """Train and val loss, and below them val Dice, by epoch, the kept epoch marked.

    Args:
        history: Columns epoch, train_loss, val_loss, dice, from `figures.training.read_history`.
        run: run.json; its `best_epoch` is marked, its `loss` named.
        options: Looks, title and phantom mark.
        path: PNG file to write.

    Raises:
        InputError: If the history has no Dice.
    """
    if "dice" not in history:
        raise InputError(
            "history of the training",
            found=f"columns {', '.join(history.columns)}",
            expected="the column dice of a segmentation network's training",
            next_step="Run the training again.",
        )
    best = int(run["best_epoch"])
    kept = history[history["epoch"] == best]
    marker = "o" if len(history) <= 25 else None
    with drawn_figure(
        path, height_in=5.4, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        losses, dice = figure.subplots(2, 1, sharex=True, height_ratios=[1.15, 1])
        for axes, column, name, colour in (
            (losses, "train_loss", "train", BLUE),
            (losses, "val_loss", "val", ORANGE),
            (dice, "dice", "val", ORANGE),
        ):
            axes.plot(history["epoch"], history[column], color=colour, label=name, marker=marker, markersize=3.5)
        for axes, column, words in ((losses, "val_loss", "val loss"), (dice, "dice", "Dice")):
            axes.axvline(best, color=QUIET, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
            if len(kept):
                value = float(kept[column].iloc[0])
                label = f"kept: epoch {best}, {words} {format_value(value)}"
                axes.plot([best], [value], label=label, **_RING)
            axes.margins(x=0.04)
            axes.grid(axis="y")
        losses.set_title(f"Loss by epoch ({_LOSSES.get(run.get('loss', ''), 'loss')})")
        losses.set_ylabel("Loss")
        losses.set_ylim(bottom=0)
        losses.legend(loc="upper right", frameon=True, framealpha=0.9, edgecolor="white")
        dice.set_title("Dice of all val pixels at probability 0.5")
        dice.set_ylabel("Dice")
        dice.set_xlabel("Epoch")
        dice.set_ylim(0, 1.02)
        dice.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        place = "upper right" if history["dice"].max() < 0.6 else "lower right"
        dice.legend(loc=place, frameon=True, framealpha=0.9, edgecolor="white")


_LOSSES = {"bce_dice": "cross-entropy + Dice", "focal": "focal", "tversky": "Tversky"}
_RING: Any = {
    "marker": "o",
    "markersize": 10,
    "markerfacecolor": "none",
    "markeredgecolor": QUIET,
    "markeredgewidth": 1.6,
    "linestyle": "none",
}


def dice_of_patients(per_image: pd.DataFrame) -> pd.Series:
    """Dice of each patient's pixels together, of those with lesion, rising.

    Args:
        per_image: Rows of one subset; images of unknown mask or no patient are left out.

    Returns:
        By pseudonym, 2 tp / (2 tp + fp + fn).
    """
    known = per_image[(per_image["kind"] != "unknown") & per_image["patient"].notna()]
    pixels = known.groupby("patient")[["tp", "fp", "fn"]].sum().astype("float64")
    pixels = pixels[pixels["tp"] + pixels["fn"] > 0]
    dice: pd.Series = 2 * pixels["tp"] / (2 * pixels["tp"] + pixels["fp"] + pixels["fn"])
    return dice.sort_values(kind="stable")


def plot_dice(per_image: pd.DataFrame, metrics: Mapping[str, Any], options: SegmenterFigureOptions, path: Path) -> None:
    """Dice of each image with lesion as a histogram, and of each patient as a point, subset by subset.

    Args:
        per_image: The per-image table.
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    subsets = shown_subsets(metrics)
    with drawn_figure(
        path,
        height_in=1.0 + 2.5 * len(subsets),
        dpi=options.resolution_dpi,
        phantom=options.phantom,
        title=options.title,
    ) as figure:
        panels = figure.subplots(2 * len(subsets), 1, sharex=True, height_ratios=[2.4, 1] * len(subsets))
        for place, subset in enumerate(subsets):
            rows = per_image[per_image["subset"] == subset]
            _draw_dice(panels[2 * place], panels[2 * place + 1], rows, metrics["subsets"][subset], subset)
        panels[-1].set_xlabel("Dice")
        panels[-1].set_xlim(-0.02, 1.02)


def _draw_dice(images: Axes, patients: Axes, rows: pd.DataFrame, measured: Mapping[str, Any], subset: str) -> None:
    colour = SUBSET_COLOURS[subset]
    values = rows.loc[rows["kind"] == "lesion_positive", "dice"].to_numpy(dtype=float)
    images.set_title(f"{subset}: {format_count(len(values))} images with lesion")
    images.set_ylabel("Images")
    images.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(values) == 0:
        say(images, "No image with lesion.")
    else:
        edges = np.linspace(0, 1, DICE_BINS + 1)
        images.hist(values, bins=edges.tolist(), color=colour, alpha=0.85, edgecolor="white")
        highest = np.histogram(values, edges)[0].max()
        images.set_ylim(0, HEADROOM * highest)
        missed = int((values == 0).sum())
        mean, median = (measured["per_image"]["metrics"][f"dice_{name}"] for name in ("mean", "median"))
        for metric, name, style in ((mean, "mean", "-"), (median, "median", (0, (4, 2)))):
            images.axvline(metric["value"], ymax=1 / HEADROOM, color=INK, linewidth=1.2, linestyle=style)
            images.plot([], [], color=INK, linewidth=1.2, linestyle=style, label=f"{name} {format_metric(metric)}")
        words = f"Dice 0: {format_count(missed)} of {format_count(len(values))} images"
        images.plot([], [], linestyle="none", label=words)
        images.legend(loc="upper left" if values.mean() > 0.5 else "upper right")
    dice = dice_of_patients(rows).to_numpy()
    # Neighbours in rank lie at different heights, so that equal values stay apart; no random jitter.
    patients.plot(dice, np.arange(len(dice)) % 5, "o", color=colour, markersize=5.5, markeredgecolor="white")
    mean = measured["per_patient"]["metrics"]["dice_mean"]
    if mean["value"] is not None:
        patients.axvline(mean["value"], color=INK, linewidth=1.2)
    patients.set_ylim(-1, 5)
    patients.set_yticks([])
    patients.set_ylabel("Patients")
    words = f"{format_count(len(dice))} patients with lesion, mean {format_metric(mean)}"
    patients.text(0.0, 1.04, words, transform=patients.transAxes, size=9, color=QUIET, va="bottom")
    patients.grid(axis="x")
    patients.spines["left"].set_visible(False)


def plot_pixel_confusion(metrics: Mapping[str, Any], options: SegmenterFigureOptions, path: Path) -> None:
    """All pixels of the images of known mask at the frozen threshold: counts, and shares of each true class.

    Args:
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    matrices = {name: metrics["subsets"][name]["pixel_confusion"] for name in shown_subsets(metrics)}
    size = metrics["measured_at_px"]
    what = f"pixels of {size} × {size} px masks, predicted at probability ≥ {format_value(metrics['threshold'])}"
    _plot_matrices(matrices, ("lesion", "none"), "pixels", what, options, path)


def plot_image_confusion(metrics: Mapping[str, Any], options: SegmenterFigureOptions, path: Path) -> None:
    """Is there lesion on the image, said by the predicted mask: counts, and shares of each true class.

    Args:
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    matrices = {name: metrics["subsets"][name]["image_level"] for name in shown_subsets(metrics)}
    fewest = metrics["min_predicted_pixels"]
    what = f"lesion on the image: predicted by {fewest} pixel{'s' if fewest > 1 else ''} or more"
    _plot_matrices(matrices, ("positive", "negative"), "images", what, options, path)


def _plot_matrices(
    matrices: Mapping[str, Mapping[str, Any]],
    classes: Sequence[str],
    unit: str,
    what: str,
    options: SegmenterFigureOptions,
    path: Path,
) -> None:
    with drawn_figure(
        path, height_in=4.25, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        grid = figure.add_gridspec(2, len(matrices), height_ratios=[1, 0.07])
        for place, (subset, counts) in enumerate(matrices.items()):
            axes = figure.add_subplot(grid[0, place])
            matrix = np.array([[counts["tp"], counts["fn"]], [counts["fp"], counts["tn"]]], dtype=np.int64)
            _draw_matrix(axes, matrix, classes, 0.8 * WIDTH_IN / (2 * len(matrices)), first=place == 0)
            axes.set_title(f"{subset}\n{format_count(int(matrix.sum()))} {unit}", fontsize=9.5)
        note = figure.add_subplot(grid[1, :])
        bare(note)
        note.text(0, 0.5, what, size=9, color=QUIET, va="center")


def _draw_matrix(axes: Axes, matrix: NDArray[np.int64], classes: Sequence[str], cell_in: float, *, first: bool) -> None:
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros((2, 2)), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25)
    longest = len(format_count(int(matrix.max())))
    size = min(15.0, 72 * cell_in / (BOLD_DIGIT * longest))
    for row in range(2):
        for column in range(2):
            share = format_share(float(shares[row, column]), 2) if totals[row, 0] else UNDEFINED
            colour = "white" if shares[row, column] > 0.6 else INK
            count = format_count(int(matrix[row, column]))
            axes.text(column, row - 0.08, count, ha="center", va="center", size=size, weight="bold", color=colour)
            axes.text(column, row + 0.22, share, ha="center", va="center", size=9, color=colour)
    axes.set_xticks([0, 1], classes)
    axes.set_yticks([0, 1], classes if first else ["", ""], rotation=90, va="center")
    axes.set_xlabel("Predicted", color=QUIET)
    if first:
        axes.set_ylabel("True", color=QUIET)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.axhline(0.5, color="white", linewidth=3)
    axes.axvline(0.5, color="white", linewidth=3)
