"""What a report tells of a detector's volumes: names of the metrics, and the words above their table."""

from collections.abc import Mapping
from typing import Any

from scanline.figures.numbers import format_count, format_value

PLACE = ("volume_level", "any_class", "metrics")
METRICS = {
    "auroc": "AUROC of volumes",
    "auprc": "AUPRC of volumes",
    "recall": "Volume sensitivity",
    "specificity": "Volume specificity",
    "precision": "Volume positive predictive value",
    "npv": "Volume negative predictive value",
    "f1": "Volume F1",
}
FROC_PLACE = ("volume_level", "any_class", "froc")
FROC = {
    "box_sensitivity_at_1/2": "Boxes found at 1/2 false positive a volume",
    "box_sensitivity_at_1": "Boxes found at 1 false positive a volume",
    "box_sensitivity_at_4": "Boxes found at 4 false positives a volume",
    "box_mean_sensitivity": "Boxes found, mean over 1/8 to 8 false positives a volume",
    "volume_sensitivity_at_1": "Volumes in which a box is found at 1 false positive a volume",
    "volume_mean_sensitivity": "Volumes in which a box is found, mean over 1/8 to 8",
}
CLUSTERS = {"patient_id": "patients", "volume_id": "volumes, as no patient is known"}


def headline_columns(specificity: float | None = None) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Columns of the first table: title, and place in a subset of metrics.json.

    Args:
        specificity: What the threshold reaches on val; None leaves the number out of the title.
    """
    at = "fixed" if specificity is None else format_value(specificity)
    return {
        "volume_auroc": ("AUROC of volumes", (*PLACE, "auroc")),
        "volume_sensitivity": (f"Volume sensitivity (threshold: specificity {at} on val)", (*PLACE, "recall")),
        "volume_specificity": ("Volume specificity", (*PLACE, "specificity")),
    }


def seed_columns() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Columns of the tables of seeds and ensembles: those of the first table, and FROC by volume."""
    name = "volume_mean_sensitivity"
    return {**headline_columns(), "volume_froc": (FROC[name], (*FROC_PLACE, name))}


def describe_volumes(metrics: Mapping[str, Any]) -> str:
    """The words above the table of volumes; empty where test has none."""
    level = metrics["subsets"]["test"].get("volume_level")
    if level is None:
        return ""
    options, found = metrics["volumes"], level["any_class"]
    top = f"the mean of its {options['top_k']} best slices" if options["score"] == "top_k_mean" else "its best slice"
    what = "volumes" if options["of"] == "volume_id" else "volumes, one a patient"
    left_out = f", {format_count(found['unknown'])} of unknown truth left out" if found["unknown"] else ""
    threshold = format_value(found["threshold"]) if found["threshold"] is not None else "undefined"
    return (
        f"Is there anything in the volume: {format_count(level['volumes'])} {what} of test,"
        f" {format_count(found['positives'])} positive{left_out}, told by {top}; threshold {threshold}, of specificity"
        f" {format_value(options['specificity'])} or more on val. Intervals over {CLUSTERS[level['clustered_by']]}."
    )
