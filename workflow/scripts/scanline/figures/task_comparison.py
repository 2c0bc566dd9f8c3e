"""Tasks of several kinds side by side on one question: every run with its intervals, on images and on patients."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from pydantic import Field

from scanline.core.run_names import name_seed
from scanline.figures.numbers import format_count, format_value, spell
from scanline.figures.options import FigureOptions
from scanline.figures.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    QUIET,
    SKY,
    VERMILION,
    drawn_figure,
)

METRICS = {"auroc": "AUROC", "recall": "Sensitivity", "specificity": "Specificity"}
LEVELS = ("image", "patient")
_COLOURS = (BLUE, GREEN, VERMILION, PURPLE, ORANGE, SKY)
_SEEDS = 0.18  # of a row: from the first seed of a network to its last
_MARKERS = {"image": ("o", 0.2), "patient": ("D", -0.2)}  # and how far above the row's middle


class TaskComparisonFigureOptions(FigureOptions):
    """What the figure needs beside the comparison."""

    phantom: bool = Field(description="Mark the figure as drawn from a phantom.")


def tell_one_class(comparison: Mapping[str, Any], level: str) -> str:
    """That all cases of a level are positive, or all negative; empty where there are both, or no case.

    Args:
        comparison: An entry of "comparisons" of task_comparison.json.
        level: image or patient.
    """
    counts, name = comparison["levels"][level], spell(comparison["label"])
    if counts["cases"] == 0 or (counts["positives"] and counts["negatives"]):
        return ""
    who = "every" if counts["positives"] else "no"
    return f"{who} {level} of {comparison['subset']} has {name}"


def name_run(run: Mapping[str, Any]) -> str:
    """Network and seed of a run."""
    return f"{run['model']}, {name_seed(run['model'], run['seed'])}"


def rows_of_figure(comparison: Mapping[str, Any]) -> list[list[Mapping[str, Any]]]:
    """The runs of each row, from the top: those that differ in nothing but the seed share one."""
    rows: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for run in comparison["runs"]:
        rows.setdefault((run["task"], run["model"]), []).append(run)
    return list(rows.values())


def plot_task_comparison(values: Mapping[str, Any], options: TaskComparisonFigureOptions, path: Path) -> None:
    """AUROC, sensitivity and specificity of each run with intervals: a block for each question and split.

    Seeds of one network stand close together in one row, with their lowest and highest value.

    Args:
        values: task_comparison.json.
        options: Looks and phantom mark.
        path: PNG file to write.
    """
    comparisons = values["comparisons"]
    heights = [1.75 + 0.74 * len(rows_of_figure(comparison)) for comparison in comparisons]
    with drawn_figure(path, height_in=sum(heights), dpi=options.resolution_dpi, phantom=options.phantom) as figure:
        blocks = figure.subfigures(len(comparisons), 1, height_ratios=heights, squeeze=False)[:, 0]
        for block, comparison in zip(blocks, comparisons, strict=True):
            _draw_block(block, comparison)


def _draw_block(block: SubFigure, comparison: Mapping[str, Any]) -> None:
    rows = rows_of_figure(comparison)
    tasks = list(dict.fromkeys(run["task"] for run in comparison["runs"]))
    colours = {task: _COLOURS[place % len(_COLOURS)] for place, task in enumerate(tasks)}
    panels = block.subplots(1, len(METRICS), sharey=True)
    for axes, (name, title) in zip(panels, METRICS.items(), strict=True):
        axes.set_title(title, loc="center")
        for place, runs in enumerate(reversed(rows)):
            for level in LEVELS:
                _draw_row(axes, [run[level]["metrics"][name] for run in runs], place, level, colours[runs[0]["task"]])
        _finish(axes, name, comparison)
    panels[0].set_yticks(range(len(rows)), [_label(runs, comparison) for runs in reversed(rows)], size=8.5)
    panels[0].set_ylim(-0.6, len(rows) - 0.4)
    handles = [
        panels[0].plot([], [], marker=marker, markersize=6, color=INK, fillstyle=_fill(level), linestyle="none")[0]
        for level, (marker, _) in _MARKERS.items()
    ]
    counts = comparison["levels"]
    names = [f"{format_count(counts[level]['cases'])} {level}s" for level in LEVELS]
    block.legend(handles, names, loc="outside lower left", ncols=2)
    block.suptitle(
        f"{comparison['title']}\nTest of split {comparison['split']}", size=10.5, weight="bold", x=0.02, ha="left"
    )


def _label(runs: Sequence[Mapping[str, Any]], comparison: Mapping[str, Any]) -> str:
    first = runs[0]
    stand_in = "" if first["answers_by"] == comparison["label"] else "\n(stand-in)"
    seeds = name_seed(first["model"], first["seed"]) if len(runs) == 1 else f"{len(runs)} seeds"
    return f"{first['task']}\n{first['model']}\n{seeds}{stand_in}"


def _fill(level: str) -> Any:
    return "full" if level == "image" else "none"


def _draw_row(axes: Axes, metrics: Sequence[Mapping[str, Any]], place: int, level: str, colour: str) -> None:
    """The estimates of one row and level: a point and its interval for each seed, and the values in words."""
    marker, offset = _MARKERS[level]
    shown = [metric for metric in metrics if metric["value"] is not None]
    if not shown:
        return
    step = _SEEDS / max(len(shown) - 1, 1)
    size = 6.5 if len(shown) == 1 else 4
    for index, metric in enumerate(shown):
        y = place + offset - index * step
        if metric["low"] is not None and metric["high"] is not None:
            axes.plot([metric["low"], metric["high"]], [y, y], color=colour, linewidth=2, alpha=0.55)
        axes.plot([metric["value"]], [y], marker=marker, markersize=size, color=colour, fillstyle=_fill(level))
    values = [float(metric["value"]) for metric in shown]
    lowest, highest = format_value(min(values)), format_value(max(values))
    axes.annotate(
        lowest if lowest == highest else f"{lowest} to {highest}",
        ((min(values) + max(values)) / 2, place + offset),
        xytext=(0, 5 if level == "image" else 6.5),
        textcoords="offset points",
        ha="center",
        size=8,
        color=colour,
        weight="bold" if level == "image" else "normal",
    )


def _finish(axes: Axes, name: str, comparison: Mapping[str, Any]) -> None:
    """The axis, and below it which level has no value, and why."""
    undefined = [
        level for level in LEVELS if all(run[level]["metrics"][name]["value"] is None for run in comparison["runs"])
    ]
    axes.set_xlabel("\n".join(_undefined(comparison, level) for level in undefined), size=8, color=QUIET)
    axes.margins(x=0.2)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=3)


def _undefined(comparison: Mapping[str, Any], level: str) -> str:
    reason = tell_one_class(comparison, level)
    return f"{level}s: undefined" + (f",\n{_broken(reason)}" if reason else "")


def _broken(text: str, width: int = 22) -> str:
    """The text in lines of at most `width` letters where its words allow."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
