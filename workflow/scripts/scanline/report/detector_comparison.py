"""Ways to train a detector side by side in a report: words and two tables of each comparison."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scanline.figures.numbers import format_count, format_difference, format_value, spell
from scanline.report.headline import Cell
from scanline.report.kinds import AVERAGE_PRECISIONS
from scanline.report.models import Line, ModelTable

METRICS = {
    "sensitivity": "Boxes found",
    "false_positives_per_image": "False detections an image",
    "volume_auroc": "AUROC of volumes",
    "volume_sensitivity": "Volume sensitivity",
    "volume_specificity": "Volume specificity",
    "volume_froc": "Boxes found, mean over 1/8 to 8 false detections a volume",
}
CLUSTERS = {"patient_id": "patients", "image_id": "images, as no patient is known"}


@dataclass(frozen=True)
class DetectorComparisonPart:
    """One comparison: a title, a paragraph, and the tables of values and of differences."""

    title: str
    words: str
    tables: tuple[ModelTable, ...]


def describe_detector_comparison(values: Mapping[str, Any]) -> tuple[DetectorComparisonPart, ...]:
    """What the report shows of detector_comparison.json."""
    return tuple(_describe(one) for one in values["comparisons"])


def _describe(one: Mapping[str, Any]) -> DetectorComparisonPart:
    names = {**AVERAGE_PRECISIONS, **METRICS}
    shown = [name for name in one["entries"][0]["metrics"] if name in names]
    heads = ("Entry", *(names[name] for name in shown))
    level = f"{100 * one['level']:g}%"
    brackets = f"{level} bootstrap intervals over {CLUSTERS[one['clustered_by']]}"
    first = spell(one["reference"])
    return DetectorComparisonPart(
        one["title"],
        _tell(one),
        (
            ModelTable(f"On the shared test images; in brackets {brackets}.", heads, _values(one, shown)),
            ModelTable(
                f"Differences from {first}, under the same draws of patients; in brackets {brackets}. Nothing corrects"
                " for their number.",
                heads,
                _differences(one, shown),
            ),
        ),
    )


def _tell(one: Mapping[str, Any]) -> str:
    all_images = {entry["name"]: entry["test_images"] for entry in one["entries"]}
    fewer = {name: count - one["images"] for name, count in all_images.items() if count > one["images"]}
    left = "; ".join(f"{format_count(count)} of {spell(name)}" for name, count in fewer.items())
    seeds = any(len(entry["seeds"]) > 1 for entry in one["entries"])
    has_volumes = "volume_auroc" in one["entries"][0]["metrics"]
    return (
        f"All are measured on the same {format_count(one['images'])} test images of {format_count(one['patients'])}"
        f" patients" + (f" (left out, as others lack them: {left})" if left else "") + ", each run at the thresholds"
        " that were frozen on its own val; a box is found at an IoU of"
        f" {format_value(one['iou_threshold'], 1)} or more."
        + (
            f" A volume is called at a threshold of specificity {format_value(one['specificity'])} or more on val."
            if has_volumes
            else ""
        )
        + (" Where an entry has several seeds a value is their mean." if seeds else "")
    )


def _values(one: Mapping[str, Any], shown: list[str]) -> tuple[Line, ...]:
    lines = []
    for entry in one["entries"]:
        seeds = ", ".join(map(str, entry["seeds"]))
        what = f"split {entry['split']}, task {entry['task']}, {entry['model']}, seed {seeds}"
        lines.append(Line(spell(entry["name"]), tuple(entry["metrics"][name] for name in shown), what))
        if len(entry["seeds"]) > 1:
            spread = tuple(_spread(entry["per_seed"][name]) for name in shown)
            lines.append(Line(f"{spell(entry['name'])}, single seeds", spread, "lowest to highest"))
    return tuple(lines)


def _spread(values: list[float | None]) -> Cell:
    known = [value for value in values if value is not None]
    return Cell(f"{format_value(min(known))} to {format_value(max(known))}" if known else "undefined", None)


def _differences(one: Mapping[str, Any], shown: list[str]) -> tuple[Line, ...]:
    rows = [entry for entry in one["entries"] if entry["difference"] is not None]
    return tuple(
        Line(
            f"{spell(entry['name'])} − {spell(one['reference'])}",
            tuple(_difference(entry["difference"][name]) for name in shown),
        )
        for entry in rows
    )


def _difference(metric: Mapping[str, Any]) -> Any:
    return metric if metric["value"] is None else Cell(*format_difference(metric))
