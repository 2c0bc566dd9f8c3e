"""The report's section on the labels of a study: counted before any training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scanline.figures.numbers import format_count, format_share, format_value, spell
from scanline.figures.options import LABEL_FIGURES
from scanline.report.page import embed_png

_EVERYONE = "all images"  # as label_leaks.json calls them
_CAPTIONS = {
    "label_frequencies": "An image with several findings counts once for each of them.",
    "label_counts_together": "How many images show both findings.",
    "label_lift": "Above 1: the two findings stand together more often than if they were independent.",
    "findings_per_image": "An image without any finding is an answer of its own, and no class.",
    "label_demographics": "Where view or age go with a finding, a model can learn them in its stead.",
    "images_per_patient": "Images of one patient look alike: only whole patients may be dealt to subsets.",
    "label_leaks": "Test images whose patient the network has seen in training, when images are shuffled one by one.",
}


def describe_label_analysis(
    statistics: Mapping[str, Any], leaks: Mapping[str, Any], figures: Sequence[Path], rejects: Mapping[str, int]
) -> dict[str, Any]:
    """Values of the template's section.

    Args:
        statistics: label_statistics.json.
        leaks: label_leaks.json.
        figures: The figures of LABEL_FIGURES, in their order.
        rejects: Reason to entries of the rejects table; those that name the label file are told.
    """
    images, labels = statistics["images"], statistics["labels"]
    order = sorted(labels, key=lambda name: (-labels[name]["positive"], name))
    splits = list(leaks)
    return {
        "facts": _facts(statistics),
        "label_files": [spell(reason) for reason in sorted(rejects) if reason.startswith("label_file_of_")],
        "ages_unknown": format_count(rejects.get("age_impossible", 0)),
        "heads": ("Images", "Prevalence", "Class weight"),
        "everyone": [_leak(leaks[split][_EVERYONE]) for split in splits],
        "rows": [
            {
                "name": spell(name),
                "cells": (
                    format_count(labels[name]["positive"]),
                    format_share(labels[name]["prevalence"]),
                    format_value(labels[name]["class_weight"]),
                ),
                "leaks": [_leak(leaks[split][name], with_finding=True) for split in splits],
            }
            for name in order
        ],
        "splits": splits,
        "pictures": [
            (embed_png(path, _alt(name, images)), _CAPTIONS[name])
            for name, path in zip(LABEL_FIGURES, figures, strict=True)
        ],
    }


def _facts(statistics: Mapping[str, Any]) -> list[tuple[str, str]]:
    images = statistics["images"]
    known = images - statistics["images_with_unknown"]

    def of_known(count: int) -> str:
        return f"{format_count(count)} ({format_share(count / known if known else None)})"

    labels, most, least = statistics["labels"], statistics["most"], statistics["least"]
    facts = [
        ("Images", format_count(images)),
        ("Patients", format_count(statistics["patients"]) if statistics["patients"] else "unknown"),
        ("Outputs", f"{format_count(statistics['outputs'])}; no finding is all of them below their thresholds"),
        ("Images without a finding", of_known(statistics["without_finding"])),
        ("With one finding", of_known(statistics["with_one_finding"])),
        ("With several findings", of_known(statistics["with_several_findings"])),
        ("Findings an image", format_value(statistics["findings_per_image"], 2)),
    ]
    if statistics["images_with_unknown"]:
        facts.append(
            ("Images with an unknown label, left out of these", format_count(statistics["images_with_unknown"]))
        )
    if most is not None:
        facts += [
            ("Most frequent", f"{spell(most)}, {format_count(labels[most]['positive'])}"),
            ("Least frequent", f"{spell(least)}, {format_count(labels[least]['positive'])}"),
            ("Imbalance", f"{format_value(statistics['imbalance'], 1)} : 1"),
            ("Gini coefficient of the counts", format_value(statistics["gini"], 4)),
        ]
    return facts


def _leak(facts: Mapping[str, Any], *, with_finding: bool = False) -> dict[str, str]:
    detail = f"of {format_count(facts['test_images'])}"
    if with_finding:
        detail += f"; {format_share(facts['same_label_share'])} with the finding"
    return {"share": format_share(facts["share"]), "detail": detail}


def _alt(name: str, images: int) -> str:
    return f"{spell(name).capitalize()} of {format_count(images)} images; the table above holds the numbers."
