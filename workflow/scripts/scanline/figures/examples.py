"""Example slices, right and wrong, beside what the network looked at (Grad-CAM)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

from scanline.core.tables import BOXES, IMAGES, read_table
from scanline.figures.numbers import format_count, format_value, spell
from scanline.figures.options import RunFigureOptions
from scanline.figures.picture_grid import (
    CachedImages,
    Grid,
    Key,
    Section,
    draw_box,
    draw_sections,
    name_patient,
    one_a_patient,
    read_cached_images,
    scale_boxes,
    show_evidence,
    show_image,
)
from scanline.figures.style import BLUE, GREEN, PURPLE, SKY, VERMILION, YELLOW

OUTCOMES = ("TP", "FP", "FN", "TN")
_NAMES = {
    "TP": ("True positives", "there, and found", GREEN),
    "FP": ("False positives", "not there, but reported", VERMILION),
    "FN": ("False negatives", "there, but missed", VERMILION),
    "TN": ("True negatives", "not there, none reported", BLUE),
}
_BOX_COLOURS = (SKY, YELLOW, PURPLE, GREEN)
_GRID = Grid(across=2, pictures=2, gap=0.2)


@dataclass(frozen=True)
class Example:
    """One slice to show and why it was chosen."""

    image_id: str
    patient: str | None
    probability: float
    why: str


@dataclass(frozen=True)
class Slices:
    """Where the pictures of the examples come from.

    Attributes:
        cache: Pixel cache.
        cams: image_id to its Grad-CAM map, shape (height, width), values 0 to 1.
        images: Images table, indexed by image_id.
        boxes: Boxes table.
    """

    cache: CachedImages
    cams: Mapping[str, NDArray[np.floating[Any]]]
    images: pd.DataFrame
    boxes: pd.DataFrame

    def scaled_boxes(self, image_id: str) -> pd.DataFrame:
        """The boxes of an image in pixels of its cached square."""
        facts: Any = self.images.loc[image_id]
        own = self.boxes[self.boxes["image_id"] == image_id]
        return scale_boxes(own, int(facts["width"]), int(facts["height"]), self.cache[image_id].shape[0])


def read_slices(*, pixels: Path, index: Path, cams: Path, images: Path, boxes: Path) -> Slices:
    """Read what the examples are drawn from; the pixel cache is mapped, not loaded.

    Args:
        pixels: The pixel cache, .npy.
        index: Its table of rows.
        cams: Grad-CAM maps, .npz with the arrays `image_id` and `cam`.
        images: Images table.
        boxes: Boxes table.
    """
    with np.load(cams) as maps:
        found = dict(zip(maps["image_id"].tolist(), maps["cam"], strict=True))
    return Slices(
        cache=read_cached_images(pixels, index),
        cams=found,
        images=read_table(images, IMAGES).set_index("image_id"),
        boxes=read_table(boxes, BOXES),
    )


def choose_examples(per_image: pd.DataFrame, outcome: str, threshold: float | None, count: int) -> list[Example]:
    """Choose slices of one outcome: half the most confident, half the nearest to the threshold.

    Slices of patients that are not shown yet come first. Ties go by image_id, so the choice does not depend
    on the order of rows.

    Args:
        per_image: Rows of one subset, columns `image_id`, `patient`, `probability`, `outcome`.
        outcome: TP, FP, FN or TN.
        threshold: The frozen threshold; without one (null) all are chosen by confidence.
        count: Slices at most.
    """
    rows = per_image[per_image["outcome"] == outcome].sort_values("image_id")
    positive = outcome in {"TP", "FP"}
    confident = rows.sort_values("probability", ascending=not positive, kind="stable")
    n_confident = count if threshold is None else (count + 1) // 2
    chosen = _pick(confident, n_confident, [], "most confident")
    if threshold is not None:
        distance = (rows["probability"] - threshold).abs()
        near = rows.loc[distance.sort_values(kind="stable").index]
        chosen += _pick(near, count - len(chosen), chosen, "near threshold")
    return chosen


def _pick(rows: pd.DataFrame, count: int, before: list[Example], why: str) -> list[Example]:
    free = rows[~rows["image_id"].isin([example.image_id for example in before])]
    shown = {example.patient for example in before if example.patient is not None}
    picked = one_a_patient(free, count, shown)
    return [
        Example(str(image_id), None if pd.isna(patient) else str(patient), float(probability), why)
        for image_id, patient, probability in zip(
            picked["image_id"], picked["patient"], picked["probability"], strict=True
        )
    ]


def plot_examples(
    per_image: pd.DataFrame,
    slices: Slices,
    threshold: float | None,
    options: RunFigureOptions,
    path: Path,
) -> None:
    """Examples of each outcome of test: the slice with its annotated boxes, beside its Grad-CAM.

    Args:
        per_image: The per-image table; its test rows are shown.
        slices: Pixels, maps, boxes and images.
        threshold: The frozen threshold.
        options: Looks, how many examples, title and phantom mark.
        path: PNG file to write.
    """
    test = per_image[per_image["subset"] == "test"]
    labels = sorted(slices.boxes["label"].unique())
    colours = {label: _BOX_COLOURS[place % len(_BOX_COLOURS)] for place, label in enumerate(labels)}
    sections = []
    for outcome, (name, meaning, colour) in _NAMES.items():
        count = int((test["outcome"] == outcome).sum())
        facts = f"{meaning}: {format_count(count)} of {format_count(len(test))} test images"
        cases = choose_examples(test, outcome, threshold, options.examples_per_outcome)
        sections.append(Section(name, facts, colour, cases))

    def draw(panels: Sequence[Axes], example: Example) -> tuple[str, str]:
        pixels = slices.cache[example.image_id]
        for axes in panels:
            show_image(axes, pixels)
        show_evidence(panels[1], slices.cams.get(example.image_id), pixels.shape[0])
        for box in slices.scaled_boxes(example.image_id).itertuples():
            for axes in panels:
                draw_box(axes, box, colours[str(box.label)], linewidth=1.3)
        facts: Any = slices.images.loc[example.image_id]
        words = f"probability {format_value(example.probability)}, {example.why}"
        return words, name_patient(example.patient, facts["slice_index"])

    handles = [
        Patch(edgecolor=colours[label], facecolor="none", linewidth=1.6, label=f"box: {spell(label)}")
        for label in labels
    ]
    key = Key("Left: the slice. Right: its Grad-CAM.", handles)
    draw_sections(sections, _GRID, key, draw, options, path, handlelength=1.2)
