"""Example slices of each label, right and wrong, with what the network looked at for it (Grad-CAM)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from scanline.figures.examples import OUTCOMES, Example, Slices, choose_examples
from scanline.figures.numbers import format_count, format_value, spell
from scanline.figures.options import RunFigureOptions
from scanline.figures.picture_grid import (
    MARGIN,
    Key,
    Page,
    draw_box,
    drawn_page,
    name_patient,
    show_evidence,
    show_image,
)
from scanline.figures.style import BLUE, FAINT, GREEN, INK, QUIET, SKY, VERMILION, WIDTH_IN

MOST_WHOLE = 4  # labels that have room for slice and map apart
_NAMES = {
    "TP": ("found", GREEN),
    "FP": ("false alarm", VERMILION),
    "FN": ("missed", VERMILION),
    "TN": ("rightly negative", BLUE),
}
_GAP, _FOOT = 0.08, 0.05  # inches, as all that follows


@dataclass(frozen=True)
class _Form:
    """How the row of one label stands.

    Attributes:
        names_in: Width of the column of names; 0 has the name above the pictures.
        columns_in: Height of the names of the outcomes above all rows; 0 has them in each row.
        head_in: Height above the pictures.
        caption_in: Height below them.
        pictures: Of an example, one below the other.
        size: Of the words below, points.
    """

    names_in: float
    columns_in: float
    head_in: float
    caption_in: float
    pictures: int
    size: float

    @property
    def side(self) -> float:
        """Of a picture."""
        return (WIDTH_IN - 2 * MARGIN - self.names_in - 3 * _GAP) / 4

    @property
    def height(self) -> float:
        """Of a label's row."""
        return self.head_in + self.pictures * self.side + (self.pictures - 1) * _GAP / 2 + self.caption_in

    def left(self, column: int) -> float:
        """Left edge of an outcome's picture."""
        return MARGIN + self.names_in + column * (self.side + _GAP)


_WHOLE = _Form(names_in=0.0, columns_in=0.0, head_in=0.5, caption_in=0.42, pictures=2, size=7.5)
_DENSE = _Form(names_in=1.35, columns_in=0.22, head_in=0.06, caption_in=0.31, pictures=1, size=7)


def plot_label_examples(
    per_image: pd.DataFrame,
    slices: Slices,
    metrics: Mapping[str, Any],
    options: RunFigureOptions,
    path: Path,
) -> None:
    """For each label the most confident test image of each outcome, with the label's boxes and its Grad-CAM.

    Up to MOST_WHOLE labels have the map below the slice; more of them have it over the slice, in smaller pictures,
    so that 14 labels take less than 20 inches.

    Args:
        per_image: The table of single images; its test rows are shown.
        slices: Pixels, boxes, images, and maps of shape (labels, height, width) in the labels' order.
        metrics: metrics.json of the run: labels and thresholds.
        options: Looks, title and phantom mark.
        path: PNG file to write.
    """
    labels = metrics["labels"]
    test = per_image[per_image["subset"] == "test"]
    form = _WHOLE if len(labels) <= MOST_WHOLE else _DENSE
    key = Key("Above: the slice with the label's boxes. Below: its Grad-CAM for that label.")
    if form is _DENSE:
        words = "The most confident test image of each outcome, under its Grad-CAM for the label."
        key = Key(words, more="Boxes: those of the label. Below: probability and patient.")
    with drawn_page(path, key.height + form.columns_in + _FOOT + len(labels) * form.height, options) as page:
        key.draw(page)
        if form.columns_in:
            for column, outcome in enumerate(OUTCOMES):
                words, colour = _NAMES[outcome]
                page.text(form.left(column), 0.03, words, size=7.5, color=colour, weight="bold")
            page.y -= form.columns_in
        for place, label in enumerate(labels):
            rows = _rows_of(test, label)
            _name_label(page, form, label, rows, len(test))
            for column, outcome in enumerate(OUTCOMES):
                x = form.left(column)
                words, colour = _NAMES[outcome]
                count = format_count(int((rows["outcome"] == outcome).sum()))
                if form is _WHOLE:
                    page.text(x, 0.3, f"{words}: {count}", size=7.5, color=colour, weight="bold")
                chosen = choose_examples(rows, outcome, metrics["thresholds"][label], 1)
                if chosen:
                    _draw_example(page, form, x, chosen[0], slices, (place, label))
                else:
                    page.text(x, form.head_in + 0.05, "none", size=9, color=QUIET)
            page.y -= form.height


def _rows_of(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """The rows where a label is known, with the columns of one yes-or-no question."""
    rows = table[table[f"truth_{label}"].notna()]
    names = {f"probability_{label}": "probability", f"outcome_{label}": "outcome"}
    return rows[["image_id", "patient", *names]].rename(columns=names)


def _name_label(page: Page, form: _Form, label: str, rows: pd.DataFrame, total: int) -> None:
    page.line(FAINT, 0.02)
    known = f"known of {format_count(len(rows))} of {format_count(total)}"
    if form is _WHOLE:
        page.text(MARGIN, 0.07, spell(label), size=10.5, color=INK, weight="bold")
        page.text(WIDTH_IN - MARGIN, 0.08, f"{known} test images", size=9, color=QUIET, ha="right")
        return
    name = fill(spell(label), 17, max_lines=3)
    page.text(MARGIN, form.head_in, name, size=9, color=INK, weight="bold")
    below = form.head_in + 0.155 * (1 + name.count("\n")) + 0.03
    for outcome in OUTCOMES:
        words, colour = _NAMES[outcome]
        count = format_count(int((rows["outcome"] == outcome).sum()))
        page.text(MARGIN, below, f"{words}: {count}", size=7.5, color=colour)
        below += 0.125
    page.text(MARGIN, below, known, size=7.5, color=QUIET)


def _draw_example(
    page: Page, form: _Form, x: float, example: Example, slices: Slices, of_label: tuple[int, str]
) -> None:
    place, label = of_label
    pixels = slices.cache[example.image_id]
    panels: Sequence[Axes] = [
        page.picture(x, form.side, form.head_in + number * (form.side + _GAP / 2)) for number in range(form.pictures)
    ]
    maps = slices.cams.get(example.image_id)
    boxes = slices.scaled_boxes(example.image_id)
    for axes in panels:
        show_image(axes, pixels)
    show_evidence(panels[-1], None if maps is None else maps[place], pixels.shape[0])
    for axes in panels:
        for box in boxes[boxes["label"] == label].itertuples():
            draw_box(axes, box, SKY, linewidth=1.2)
    facts: Any = slices.images.loc[example.image_id]
    number = facts["slice_index"]
    below = form.height - form.caption_in + 0.04
    shown = f"probability {format_value(example.probability)}"
    if form is _WHOLE and not pd.isna(number):
        shown += f", slice {int(number)}"
    page.text(x, below, shown, size=form.size, color=INK)
    owner = name_patient(example.patient) if form is _WHOLE else example.patient or "patient unknown"
    page.text(x, below + 0.13, owner, size=form.size, color=QUIET)
