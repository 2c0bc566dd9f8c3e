"""One look for all figures: colours safe for colour-blind readers, plain axes, the same bytes every time."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from scanline.core.files import written_aside

# Okabe & Ito, "Color Universal Design" (2008).
BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
ORANGE = "#E69F00"
SKY = "#56B4E9"
PURPLE = "#CC79A7"
YELLOW = "#F0E442"

INK = "#1f2933"
QUIET = "#5f6b7a"
FAINT = "#d5dbe3"
GREY = "#9aa5b1"

SUBSET_COLOURS = {"train": BLUE, "val": ORANGE, "test": VERMILION, "external": PURPLE}
SHOWN_SUBSETS = ("val", "test", "external")
WIDTH_IN = 5.6  # so that 10 pt is still read on a telephone that shows the figure 360 points wide
PHANTOM_MARK = "PHANTOM - no real data"
_MARK_HEIGHT_IN = 0.3

STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#e6eaef",
    "grid.linewidth": 0.8,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "scanline",
}


@contextmanager
def drawn_figure(
    path: Path, *, height_in: float, dpi: int, phantom: bool, title: str = "", constrained: bool = True
) -> Iterator[Figure]:
    """Give an empty figure in the project's style; write it to `path` as PNG when the block ends.

    Args:
        path: PNG file, written aside and renamed.
        height_in: Height in inches; the width is `WIDTH_IN`.
        dpi: Pixels an inch.
        phantom: Print the mark that says that no real data is shown.
        title: A quiet line above everything, such as the run's name.
        constrained: Let matplotlib place the axes; without it the block places them itself, and must leave
            `top_of(...)` and `bottom_of(...)` inches free.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained" if constrained else None)
        FigureCanvasAgg(figure)
        bottom, top = bottom_of(phantom) / height_in, top_of(title) / height_in
        if constrained:
            engine = figure.get_layout_engine()
            if isinstance(engine, ConstrainedLayoutEngine):
                engine.set(rect=(0.0, bottom, 1.0, 1.0 - bottom - top), w_pad=0.08, h_pad=0.08)
        if title:
            figure.text(0.02, 1 - 0.08 / height_in, title, size=9, color=QUIET, va="top", ha="left")
        if phantom:
            figure.text(
                0.985,
                0.07 / height_in,
                PHANTOM_MARK,
                size=8.5,
                weight="bold",
                color=VERMILION,
                va="bottom",
                ha="right",
            )
        yield figure
        with written_aside(path) as aside:
            figure.savefig(aside, dpi=dpi, format="png", metadata={"Software": None})


def shown_subsets(metrics: Mapping[str, Any]) -> list[str]:
    """The measured subsets of a metrics.json, in their order."""
    return [name for name in SHOWN_SUBSETS if name in metrics["subsets"]]


def titled_legend(axes: Axes, title: str, **looks: Any) -> None:
    """A legend with a bold title at its left; `looks` as for `Axes.legend`."""
    axes.legend(title=title, title_fontproperties={"weight": "bold", "size": 9}, alignment="left", **looks)


def top_of(title: str) -> float:
    """Inches that the title line takes at the top of a figure."""
    return 0.34 if title else 0.0


def bottom_of(phantom: bool) -> float:
    """Inches that the phantom mark takes at the bottom of a figure."""
    return _MARK_HEIGHT_IN if phantom else 0.0


def bare(axes: Axes) -> None:
    """Leave nothing of the axes but what is drawn in them."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def say(axes: Axes, text: str) -> None:
    """Write one sentence where there is nothing to draw."""
    bare(axes)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=QUIET, wrap=True)
