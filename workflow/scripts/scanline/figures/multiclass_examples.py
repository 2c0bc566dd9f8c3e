"""Example slices of each class, called right and wrong, with what the network saw its answer in (Grad-CAM)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from scanline.figures.examples import Slices
from scanline.figures.numbers import format_count, format_value, spell
from scanline.figures.options import RunFigureOptions
from scanline.figures.picture_grid import (
    Grid,
    Key,
    Section,
    draw_box,
    draw_sections,
    name_patient,
    one_a_patient,
    show_evidence,
    show_image,
)
from scanline.figures.style import GREEN, SKY, VERMILION

_GRID = Grid(across=4, pictures=1, gap=0.08)


def choose_class_examples(per_image: pd.DataFrame, label: str, *, correct: bool, count: int) -> pd.DataFrame:
    """Images of a class that were called right, or wrong: the most confident, one a patient while there are others.

    Ties go by image_id, so the choice does not depend on the order of rows.

    Args:
        per_image: Rows of one subset, columns image_id, patient, truth, predicted, correct, probability.
        label: The true class.
        correct: Whether they were called right.
        count: Images at most.
    """
    rows = per_image[(per_image["truth"] == label) & (per_image["correct"] == correct)]
    falling = rows.sort_values(["probability", "image_id"], ascending=[False, True], kind="stable")
    return one_a_patient(falling, count)


def plot_class_examples(
    per_image: pd.DataFrame, slices: Slices, metrics: Mapping[str, Any], options: RunFigureOptions, path: Path
) -> None:
    """For each class the most confident test images that were called right and wrong, under their Grad-CAM.

    Args:
        per_image: The table of single images; its test rows are shown.
        slices: Pixels, boxes, images, and maps of shape (classes, height, width) in the classes' order.
        metrics: metrics.json of the run: the classes.
        options: Looks, how many examples of each, title and phantom mark.
        path: PNG file to write.
    """
    labels = metrics["labels"]
    test = per_image[per_image["subset"] == "test"]
    sections = []
    for label in labels:
        total = int((test["truth"] == label).sum())
        for correct, word, colour in ((True, "called right", GREEN), (False, "taken for another class", VERMILION)):
            rows = choose_class_examples(test, label, correct=correct, count=options.examples_per_outcome)
            count = int(((test["truth"] == label) & (test["correct"] == correct)).sum())
            facts = f"{format_count(count)} of {format_count(total)} test images"
            sections.append(Section(f"{spell(label).capitalize()}, {word}", facts, colour, rows.to_dict("records")))

    def draw(panels: Sequence[Axes], case: Mapping[str, Any]) -> tuple[str, str]:
        pixels = slices.cache[case["image_id"]]
        show_image(panels[0], pixels)
        maps = slices.cams.get(case["image_id"])
        show_evidence(panels[0], None if maps is None else maps[labels.index(case["predicted"])], pixels.shape[0])
        boxes = slices.scaled_boxes(case["image_id"])
        for box in boxes[boxes["label"] == case["truth"]].itertuples():
            draw_box(panels[0], box, SKY, linewidth=1.2)
        words = f"{spell(case['predicted'])[:18]} {format_value(case['probability'])}"
        return words, name_patient(case["patient"])

    words = "The most confident images, under the Grad-CAM of the class that was predicted."
    key = Key(words, more="Below: that class, its probability and the patient. Boxes: of the true class.")
    draw_sections(sections, _GRID, key, draw, options, path)
