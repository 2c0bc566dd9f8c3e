"""How well a segmentation network finds its lesion: curves of training, Dice of images and patients, confusion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from scanline.figures.matrices import draw_matrix, name_axes, yes_or_no
from scanline.figures.numbers import format_count, format_metric, format_value
from scanline.figures.options import RunFigureOptions
from scanline.figures.style import (
    INK,
    ORANGE,
    QUIET,
    SUBSET_COLOURS,
    WIDTH_IN,
    bare,
    drawn_figure,
    say,
    shown_subsets,
)
from scanline.figures.training import Curves
from scanline.figures.training import plot_training as plot_epochs

_LOSSES = {"bce_dice": "cross-entropy + Dice", "focal": "focal", "tversky": "Tversky"}
DICE_BINS = 20
HEADROOM = 1.75  # of the highest bar: room for a legend above it
BOLD_DIGIT = 0.7  # width of a bold digit of DejaVu Sans over the font's size


def plot_training(history: pd.DataFrame, run: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
    """Val Dice, and train and val loss, by epoch, the kept epoch marked in both.

    Args:
        history: Columns epoch, train_loss, val_loss, dice, from `figures.training.read_history`.
        run: run.json; its `best_epoch` is marked, its `loss` named.
        options: Looks, title and phantom mark.
        path: PNG file to write.

    Raises:
        InputError: If the history has no Dice.
    """
    title = "Dice of all val pixels at probability 0.5"
    quality = Curves(title, "Dice", (("dice", "val", ORANGE),), ("dice", "Dice"))
    loss = f"Loss by epoch ({_LOSSES[run['loss']]})" if run.get("loss") in _LOSSES else "Loss by epoch"
    plot_epochs(history, run, quality, options, path, loss=loss)


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


def plot_dice(per_image: pd.DataFrame, metrics: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
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


def plot_pixel_confusion(metrics: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
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


def plot_image_confusion(metrics: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
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
    options: RunFigureOptions,
    path: Path,
) -> None:
    with drawn_figure(
        path, height_in=4.25, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        grid = figure.add_gridspec(2, len(matrices), height_ratios=[1, 0.07])
        for place, (subset, counts) in enumerate(matrices.items()):
            axes = figure.add_subplot(grid[0, place])
            matrix = yes_or_no(counts)
            longest = len(format_count(int(matrix.max())))
            cell_in = 0.8 * WIDTH_IN / (2 * len(matrices))
            size = min(15.0, 72 * cell_in / (BOLD_DIGIT * longest))
            draw_matrix(axes, matrix, classes, classes if place == 0 else ("", ""), size=size, decimals=2)
            name_axes(axes, first=place == 0)
            axes.set_title(f"{subset}\n{format_count(int(matrix.sum()))} {unit}", fontsize=9.5)
        note = figure.add_subplot(grid[1, :])
        bare(note)
        note.text(0, 0.5, what, size=9, color=QUIET, va="center")
