"""Confusion matrices: counts, and their share of each true class."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from scanline.figures.numbers import UNDEFINED, format_count, format_share
from scanline.figures.style import INK, QUIET


def yes_or_no(counts: Mapping[str, int]) -> NDArray[np.int64]:
    """Counts tp, fn, fp, tn as a matrix of shape (2, 2): true classes as rows, positive first."""
    return np.array([[counts["tp"], counts["fn"]], [counts["fp"], counts["tn"]]], dtype=np.int64)


def draw_matrix(
    axes: Axes,
    counts: NDArray[np.int64],
    predicted: Sequence[str],
    true: Sequence[str],
    *,
    size: float = 15.0,
    share_size: float = 9.0,
    decimals: int = 1,
    words: Mapping[tuple[int, int], str] | None = None,
    aspect: str = "equal",
) -> None:
    """Draw a matrix, coloured by the share of each true class; without names of its axes.

    Args:
        axes: Where.
        counts: Shape (n, n): true classes as rows.
        predicted: Names below the columns.
        true: Names beside the rows; empty texts where a neighbour has them.
        size: Of the counts, points.
        share_size: Of the shares, points; 0 leaves them out.
        decimals: Of the shares.
        words: By row and column, what stands in place of a share, where a share would say nothing; the cell stays
            white. A cell with the words NOT_COUNTED has no count either.
        aspect: equal, or auto to fill the axes.
    """
    words = words or {}
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    for place in words:
        shares[place] = 0
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25, aspect=aspect)  # type: ignore[arg-type]
    up, down = (0.08, 0.24) if aspect == "equal" else (0.13, 0.27)
    for row, column in np.ndindex(counts.shape):
        if words.get((row, column)) == NOT_COUNTED:
            axes.text(column, row, NOT_COUNTED, ha="center", va="center", size=8, color=QUIET)
            continue
        share = format_share(float(shares[row, column]), decimals) if totals[row, 0] else UNDEFINED
        colour = "white" if shares[row, column] > 0.6 else INK
        count = format_count(int(counts[row, column]))
        y = row - up if share_size else row
        axes.text(column, y, count, ha="center", va="center", size=size, weight="bold", color=colour)
        if share_size:
            text = words.get((row, column), share)
            axes.text(column, row + down, text, ha="center", va="center", size=share_size, color=colour)
    axes.set_xticks(range(counts.shape[1]), predicted)
    axes.set_yticks(range(counts.shape[0]), true, rotation=90 if max(map(len, true)) > 1 else 0, va="center")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for edge in range(1, len(counts)):
        axes.axhline(edge - 0.5, color="white", linewidth=3)
        axes.axvline(edge - 0.5, color="white", linewidth=3)


def name_axes(axes: Axes, *, first: bool) -> None:
    """Name the axes of a matrix; true classes beside the first of a row only."""
    axes.set_xlabel("Predicted", color=QUIET)
    if first:
        axes.set_ylabel("True", color=QUIET)


NOT_COUNTED = "not\ncounted"
