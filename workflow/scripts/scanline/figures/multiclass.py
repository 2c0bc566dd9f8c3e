"""Which classes a classifier of several takes for which: confusion matrices of test and of external."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from scanline.figures.matrices import draw_matrix, name_axes
from scanline.figures.numbers import format_count, spell
from scanline.figures.options import RunFigureOptions
from scanline.figures.style import WIDTH_IN, bottom_of, drawn_figure, top_of

UNSEEN = ("test", "external")
_NAMES_IN = 1.1  # of the title, the names below the columns and the name of the axis
MOST_UNTURNED = 4  # classes whose names stand level below the columns
SIZES = {4: (13.0, 8.5), 8: (10.0, 7.0)}  # most classes to size of counts and of shares, points


def plot_class_confusion(metrics: Mapping[str, Any], options: RunFigureOptions, path: Path) -> None:
    """Confusion matrices of test and of external: counts, and shares of each true class; one below the other.

    Args:
        metrics: metrics.json of the run.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    subsets = [name for name in UNSEEN if name in metrics["subsets"]]
    names = [fill(spell(label), 16) for label in metrics["labels"]]
    side = min(WIDTH_IN - 0.9, max(2.4, 0.72 * len(names)))
    height = len(subsets) * (side + _NAMES_IN) + top_of(options.title) + bottom_of(options.phantom)
    size, share_size = next((sizes for most, sizes in SIZES.items() if len(names) <= most), (7.5, 0.0))
    with drawn_figure(
        path, height_in=height, dpi=options.resolution_dpi, phantom=options.phantom, title=options.title
    ) as figure:
        for axes, subset in zip(figure.subplots(len(subsets), 1, squeeze=False)[:, 0], subsets, strict=True):
            matrix = np.array(metrics["subsets"][subset]["confusion"], dtype=np.int64)
            draw_matrix(axes, matrix, names, names, size=size, share_size=share_size, decimals=0)
            axes.tick_params(labelsize=8)
            axes.set_yticks(range(len(names)), names, rotation=0, va="center")
            if len(names) > MOST_UNTURNED:
                axes.set_xticks(range(len(names)), names, rotation=90)
            name_axes(axes, first=True)
            axes.set_title(f"{subset}: {format_count(int(matrix.sum()))} images", size=9.5)
