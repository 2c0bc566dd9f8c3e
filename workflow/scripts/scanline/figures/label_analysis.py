"""What the labels of a study are like, drawn: how often, together with what, in whom, and what a split leaks."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, TwoSlopeNorm
from matplotlib.figure import Figure
from pydantic import Field

from scanline.figures.numbers import format_count, format_share, format_value, spell
from scanline.figures.options import FigureOptions
from scanline.figures.style import BLUE, GREY, INK, ORANGE, PURPLE, QUIET, SKY, VERMILION, drawn_figure, say

_VALUE_COLOURS = (BLUE, ORANGE, PURPLE, SKY, VERMILION)
_FEWEST = 5  # images of a pair from which its lift is drawn


class LabelFigureOptions(FigureOptions):
    """What the figures need beside the numbers."""

    phantom: bool = Field(description="Mark the figures as drawn from a phantom.")


def plot_label_analysis(
    statistics: Mapping[str, Any], leaks: Mapping[str, Any], options: LabelFigureOptions, paths: Sequence[Path]
) -> None:
    """Draw the figures of LABEL_FIGURES, in their order.

    Args:
        statistics: As `scanline.curate.label_statistics.describe_labels` gives them.
        leaks: Split to what `scanline.split.label_leaks.count_label_leaks` gives.
        options: Looks and phantom mark.
        paths: PNG files to write, one a figure.
    """
    n_classes = len(statistics["labels"])
    naive = next((name for name in leaks if name.startswith("naive_image")), None)
    drawings: tuple[tuple[float, Callable[[Figure], None]], ...] = (
        (1.2 + 0.27 * n_classes, lambda figure: _draw_frequencies(figure, statistics)),
        (1.9 + 0.3 * n_classes, lambda figure: _draw_counts_together(figure, statistics)),
        (1.9 + 0.3 * n_classes, lambda figure: _draw_lift(figure, statistics)),
        (3.0, lambda figure: _draw_findings_per_image(figure, statistics)),
        (3.4 + 0.27 * n_classes, lambda figure: _draw_demographics(figure, statistics)),
        (3.0, lambda figure: _draw_images_per_patient(figure, statistics)),
        (1.5 + 0.3 * (n_classes + 1), lambda figure: _draw_leaks(figure, leaks, naive)),
    )
    for (height, draw), path in zip(drawings, paths, strict=True):
        with drawn_figure(path, height_in=height, dpi=options.resolution_dpi, phantom=options.phantom) as figure:
            draw(figure)


def _by_frequency(statistics: Mapping[str, Any]) -> list[str]:
    labels = statistics["labels"]
    return sorted(labels, key=lambda name: (-labels[name]["positive"], name))


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """Names from the top down, without ticks."""
    axes.set_yticks(range(len(names)), [spell(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _draw_frequencies(figure: Figure, statistics: Mapping[str, Any]) -> None:
    axes = figure.add_subplot()
    names = _by_frequency(statistics)
    counts = [statistics["labels"][name]["positive"] for name in names]
    axes.barh(range(len(names)), counts, height=0.7, color=BLUE)
    for place, name in enumerate(names):
        facts = statistics["labels"][name]
        text = f"{format_count(facts['positive'])} ({format_share(facts['prevalence'])})"
        axes.text(facts["positive"] + max(counts) * 0.012, place, text, va="center", size=8.5)
    _rows(axes, names)
    axes.set_xlim(0, max([*counts, 1]) * 1.25)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("Images that show the finding")
    axes.set_title(f"Findings on {format_count(statistics['images'])} images", pad=8)


def _matrix_axes(figure: Figure, names: Sequence[str], title: str) -> Axes:
    axes = figure.add_subplot()
    axes.set_xticks(range(len(names)), [spell(name) for name in names], rotation=90)
    axes.set_yticks(range(len(names)), [spell(name) for name in names])
    axes.tick_params(length=0, labelsize=8.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, pad=8, loc="left")
    return axes


def _cell_size(n_classes: int) -> float:
    """Size of the numbers in a matrix, in points, so that they do not run into each other."""
    return min(6.8, 95 / n_classes)


def _ordered(statistics: Mapping[str, Any], key: str) -> tuple[list[str], Any]:
    """Classes by frequency, and a matrix of co_occurrence in that order, NaN for null."""
    names, classes = _by_frequency(statistics), statistics["co_occurrence"]["classes"]
    order = [classes.index(name) for name in names]
    return names, np.array(statistics["co_occurrence"][key], dtype=float)[np.ix_(order, order)]


def _draw_counts_together(figure: Figure, statistics: Mapping[str, Any]) -> None:
    names, counts = _ordered(statistics, "counts")
    axes = _matrix_axes(figure, names, "Images that show both findings")
    shown = np.where(counts > 0, counts, np.nan)
    norm = LogNorm(1, max(counts.max(), 2))
    axes.imshow(shown, cmap="Blues", norm=norm, aspect="auto")
    for row, column in np.ndindex(counts.shape):
        value = counts[row, column]
        dark = value > 0 and norm(value) > 0.62
        axes.text(
            column,
            row,
            _short(value),
            ha="center",
            va="center",
            size=_cell_size(len(names)),
            weight="bold" if row == column else "normal",
            color="white" if dark else INK,
        )
    figure.supxlabel("Diagonal, bold: all images with the finding. Colour: logarithmic.", color=QUIET, size=8.5)


def _short(value: float) -> str:
    return f"{value:.0f}" if value < 1000 else f"{value / 1000:.1f}k" if value < 10_000 else f"{value / 1000:.0f}k"


def _draw_lift(figure: Figure, statistics: Mapping[str, Any]) -> None:
    names, values = _ordered(statistics, "lift")
    _, counts = _ordered(statistics, "counts")
    axes = _matrix_axes(figure, names, "Lift: how often together, against chance")
    told = np.where((counts >= _FEWEST) & (values > 0), values, np.nan)
    logs = np.log2(told)
    reach = max(1.0, float(np.nanmax(np.abs(logs), initial=1.0)) if np.isfinite(logs).any() else 1.0)
    axes.imshow(logs, cmap="RdBu_r", norm=TwoSlopeNorm(0, -reach, reach), aspect="auto")
    for row, column in np.ndindex(values.shape):
        if row == column or np.isnan(told[row, column]):
            text = "" if row == column else "·"
        else:
            text = f"{told[row, column]:.1f}"
        dark = np.isfinite(logs[row, column]) and abs(logs[row, column]) > 0.65 * reach
        axes.text(
            column, row, text, ha="center", va="center", size=_cell_size(len(names)), color="white" if dark else INK
        )
    note = f"1: as often as by chance. Dot: fewer than {_FEWEST} images show both."
    figure.supxlabel(note, color=QUIET, size=8.5)


def _draw_findings_per_image(figure: Figure, statistics: Mapping[str, Any]) -> None:
    axes = figure.add_subplot()
    counts = {int(number): count for number, count in statistics["counts_of_findings"].items()}
    total = max(sum(counts.values()), 1)
    for number, count in counts.items():
        axes.bar(number, count, width=0.72, color=GREY if number == 0 else BLUE if number == 1 else VERMILION)
        text = f"{format_count(count)}\n{format_share(count / total)}"
        axes.text(number, count + max(counts.values()) * 0.015, text, ha="center", va="bottom", size=7.5)
    axes.set_xticks(range(max(counts, default=0) + 1))
    axes.set_ylim(0, max([*counts.values(), 1]) * 1.22)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("Findings on the image")
    axes.set_ylabel("Images")
    mean = format_value(statistics["findings_per_image"], 2)
    axes.set_title(f"{mean} findings an image on average", pad=8)


def _draw_demographics(figure: Figure, statistics: Mapping[str, Any]) -> None:
    parts = figure.subfigures(2, 1, height_ratios=[2.2, 1.2 + 0.27 * len(statistics["labels"])], squeeze=False)
    above, below = parts[0, 0], parts[1, 0]
    ages, spread = above.subplots(1, 2, width_ratios=[1.6, 1])
    _draw_ages(ages, statistics)
    _draw_values(spread, statistics)
    names = _by_frequency(statistics)
    age, sex, view = below.subplots(1, 3, sharey=True)
    for place, name in enumerate(names):
        quartiles = statistics["labels"][name]["age_quartiles_years"]
        if quartiles is not None:
            lower, median, upper = quartiles
            age.hlines(place, lower, upper, color=SKY, linewidth=5)
            age.plot(median, place, "o", color=BLUE, markersize=5)
    age.set_xlim(0, 100)
    age.set_xlabel("Median, quartiles")
    age.set_title("Age, years", pad=6)
    _draw_shares(sex, statistics, names, "sex")
    _draw_shares(view, statistics, names, "view")
    _rows(age, names)


def _draw_ages(axes: Axes, statistics: Mapping[str, Any]) -> None:
    ages = {int(start): count for start, count in statistics["age"].items() if start != "unknown"}
    if not ages:
        say(axes, "No ages are known.")
        return
    axes.bar(list(ages), list(ages.values()), width=4.6, align="edge", color=BLUE)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel(f"Age, years ({format_count(statistics['age'].get('unknown', 0))} images unknown)")
    axes.set_title("Images by age", pad=6)


def _draw_values(axes: Axes, statistics: Mapping[str, Any]) -> None:
    """Sex and view of all images: one stacked bar each, every part named."""
    told = [(key, statistics[key]) for key in ("sex", "view") if statistics[key]]
    if not told:
        say(axes, "Neither sex nor\nview is known.")
        return
    for place, (_, values) in enumerate(told):
        left, total = 0.0, sum(values.values())
        for index, (value, count) in enumerate(values.items()):
            share = count / total
            axes.barh(place, share, left=left, height=0.5, color=_VALUE_COLOURS[index % len(_VALUE_COLOURS)])
            if share > 0.15:
                text = f"{value}\n{format_share(share)}"
                axes.text(left + share / 2, place, text, ha="center", va="center", size=8, color="white", weight="bold")
            left += share
    axes.set_yticks(range(len(told)), [key for key, _ in told])
    axes.set_ylim(len(told) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title("Sex and view", pad=6)


def _draw_shares(axes: Axes, statistics: Mapping[str, Any], names: Sequence[str], key: str) -> None:
    """Share of each sex, or view, among the images of each finding."""
    values = list(statistics[key])
    if not values:
        axes.text(0.5, len(names) / 2, f"{key} is\nnot known", ha="center", va="center", color=QUIET)
        axes.set_xticks([])
        return
    for place, name in enumerate(names):
        counts, left = statistics["labels"][name][f"by_{key}"], 0.0
        total = max(sum(counts.values()), 1)
        for index, value in enumerate(values):
            share = counts.get(value, 0) / total
            colour = _VALUE_COLOURS[index % len(_VALUE_COLOURS)]
            axes.barh(place, share, left=left, height=0.7, color=colour)
            if index == 0:
                axes.text(0.02, place, format_share(share, 0), va="center", size=8, color="white", weight="bold")
            left += share
    axes.axvline(statistics[key][values[0]] / sum(statistics[key].values()), color=INK, linewidth=1.2, linestyle="--")
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    axes.set_xlabel("Dashed: of all")
    axes.set_xticks([0, 0.5, 1])
    axes.tick_params(axis="y", length=0)
    axes.set_title(f"{key.capitalize()}: {values[0]}", pad=6)


def _draw_images_per_patient(figure: Figure, statistics: Mapping[str, Any]) -> None:
    axes = figure.add_subplot()
    counts = {int(number): count for number, count in statistics["images_per_patient"].items()}
    if not counts:
        say(axes, "No patients are known.")
        return
    axes.bar(list(counts), list(counts.values()), width=0.9, color=BLUE)
    axes.set_yscale("log")
    axes.set_ylim(0.7, max(counts.values()) * 2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else "")
    axes.set_xlabel("Images of the patient")
    axes.set_ylabel("Patients (logarithmic)")
    patients, single = sum(counts.values()), counts.get(1, 0)
    most = max(counts)
    of_several = statistics["images"] - single
    text = (
        f"{format_share(single / patients)} of {format_count(patients)} patients have one image;"
        f" {format_share(of_several / statistics['images'])}\nof all images are of patients with several, up to {most}"
    )
    axes.set_title(text, pad=8, size=9.5)


def _draw_leaks(figure: Figure, leaks: Mapping[str, Any], naive: str | None) -> None:
    axes = figure.add_subplot()
    if naive is None:
        say(axes, "The study has no naive_image split.")
        return
    found = leaks[naive]
    everyone = next(iter(found))
    names = [everyone, *sorted((n for n in found if n != everyone), key=lambda n: (-found[n]["test_images"], n))]
    for place, name in enumerate(names):
        facts = found[name]
        if facts["share"] is None:
            axes.text(0.01, place, "not in test", va="center", size=8.5, color=QUIET)
            continue
        axes.barh(place, facts["share"], height=0.72, color=ORANGE, label="patient in train" if place == 0 else None)
        if name != everyone:
            label = "patient in train with the same finding" if place == 1 else None
            axes.barh(place, facts["same_label_share"], height=0.36, color=VERMILION, label=label)
        text = f"{format_share(facts['share'])} of {format_count(facts['test_images'])}"
        axes.text(facts["share"] + 0.012, place, text, va="center", size=8.5)
    _rows(axes, names)
    axes.set_xlim(0, 1.28)
    axes.set_xticks(np.arange(0, 1.01, 0.2))
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    axes.set_xlabel(f"Test images of the split {naive}")
    axes.set_title("What shuffling images leaks, by finding", pad=8)
    figure.legend(loc="outside lower center", ncols=2)
