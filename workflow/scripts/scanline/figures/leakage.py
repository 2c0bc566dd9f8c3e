"""The price of leakage: the same network on an honest split and on one that parts patients."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scanline.core.run_names import name_seed
from scanline.figures.numbers import format_share, format_value
from scanline.figures.options import StudyFigureOptions
from scanline.figures.style import BLUE, GREY, QUIET, VERMILION, drawn_figure, say

_METRICS = {"accuracy": "Accuracy", "f1": "F1", "auroc": "AUROC"}
_SIDES = (("from", BLUE, 0.17), ("to", VERMILION, -0.17))


def pair_rows(comparison: Mapping[str, Any]) -> list[tuple[str, dict[str, dict[str, Any]]]]:
    """The runs that differ in nothing but the split.

    Returns:
        For each difference of leakage.json, in its order, a name, and the rows `from` and `to`.
    """
    rows = {(row["split"], row["task"], row["model"], row["seed"]): row for row in comparison["rows"]}
    pairs = []
    for difference in comparison["differences"]:
        rest = (difference["task"], difference["model"], difference["seed"])
        sides = {side: rows[(difference[side], *rest)] for side, _, _ in _SIDES}
        pairs.append((f"{rest[1]}\n{name_seed(rest[1], rest[2])}", sides))
    return pairs


def plot_leakage(comparison: Mapping[str, Any] | None, options: StudyFigureOptions, path: Path) -> None:
    """Accuracy, F1 and AUROC with intervals on both splits, and how many test images leak.

    Args:
        comparison: leakage.json; None where the study has no naive split.
        options: Looks and phantom mark.
        path: PNG file to write.
    """
    pairs = [] if comparison is None else pair_rows(comparison)
    height = 2.0 if not pairs else max(4.2, 2 * (0.9 + 0.42 * len(pairs)))
    with drawn_figure(path, height_in=height, dpi=options.resolution_dpi, phantom=options.phantom) as figure:
        if not pairs:
            say(figure.add_subplot(), "No pair of runs differs in nothing but the split:\nnothing to compare.")
            return
        _draw_pairs(figure, pairs)


def _draw_pairs(figure: Figure, pairs: Sequence[tuple[str, dict[str, dict[str, Any]]]]) -> None:
    panels = figure.subplots(2, 2, sharey=True)
    for axes, (name, title) in zip(panels.flat, _METRICS.items(), strict=False):
        _draw_metric(axes, name, pairs)
        axes.set_title(title)
    _draw_share(panels[1, 1], pairs)
    panels[1, 1].set_title("Test images tied\nto train images")
    for axes in panels.flat:
        axes.set_yticks(range(len(pairs)), [name for name, _ in reversed(pairs)])
        axes.set_ylim(-0.55, len(pairs) - 0.45)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    names = {side: sorted({sides[side]["split"] for _, sides in pairs}) for side, _, _ in _SIDES}
    handles = [
        panels[0, 0].plot([], [], marker="o", color=colour, linestyle="none", label=label)[0]
        for (side, colour, _), label in zip(_SIDES, ("patients kept whole", "slices shuffled: leaks"), strict=True)
        if names[side]
    ]
    labels = [
        f"{', '.join(names[side])} ({handle.get_label()})" for (side, _, _), handle in zip(_SIDES, handles, strict=True)
    ]
    figure.legend(handles, labels, loc="outside upper left", ncols=1)


def _draw_metric(axes: Axes, name: str, pairs: Sequence[tuple[str, dict[str, dict[str, Any]]]]) -> None:
    for place, (_, sides) in enumerate(reversed(pairs)):
        for side, colour, offset in _SIDES:
            metric = sides[side]["metrics"].get(name) or {"value": None}
            value, low, high = metric["value"], metric.get("low"), metric.get("high")
            if value is None:
                continue
            if low is not None and high is not None:
                axes.plot([low, high], [place + offset] * 2, color=colour, linewidth=2, alpha=0.55)
            axes.plot([value], [place + offset], marker="o", markersize=7, color=colour)
            axes.annotate(
                format_value(value),
                (value, place + offset),
                xytext=(0, 6),
                textcoords="offset points",
                ha="center",
                size=8.5,
                color=colour,
                weight="bold",
            )
    axes.margins(x=0.18)
    axes.grid(axis="x")


def _draw_share(axes: Axes, pairs: Sequence[tuple[str, dict[str, dict[str, Any]]]]) -> None:
    for place, (_, sides) in enumerate(reversed(pairs)):
        for side, colour, offset in _SIDES:
            share = sides[side]["leaking_test_images_share"]
            if share is None:
                continue
            axes.barh(place + offset, share, height=0.24, color=colour)
            inside = share > 0.6
            axes.text(
                share + (-0.03 if inside else 0.03),
                place + offset,
                format_share(share),
                ha="right" if inside else "left",
                va="center",
                size=8.5,
                weight="bold",
                color="white" if inside else colour,
            )
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0%", "50%", "100%"])
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.tick_params(axis="x", labelcolor=QUIET)
