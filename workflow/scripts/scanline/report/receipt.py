"""The page of one split's receipt: counts, prevalences, deviations, leaks, and the nearest pairs across subsets."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from scanline.core.errors import InputError
from scanline.core.tables import SUBSETS, THUMBNAIL_PX
from scanline.figures.numbers import format_count, format_share, format_value, spell
from scanline.report.options import ReceiptOptions
from scanline.report.page import embed_grey
from scanline.report.study import describe_split


def describe_receipt(options: ReceiptOptions, receipt: Mapping[str, Any], thumbnails: pd.DataFrame) -> dict[str, Any]:
    """Values of the template.

    Args:
        options: Names of study and split.
        receipt: receipt.json; that of a naive split has no deviations.
        thumbnails: THUMBNAILS table of the study's images.

    Raises:
        InputError: If the receipt is of another protocol, or names an image that has no thumbnail.
    """
    if receipt["protocol"] != options.protocol:
        raise InputError(
            f"receipt of {options.split}: protocol",
            found=receipt["protocol"],
            expected=options.protocol,
            next_step="The receipt is of another study file: delete it and run again.",
        )
    split = describe_split(options.split, receipt)
    objective = receipt.get("objective")
    return {
        "study": options.study,
        "phantom": options.phantom,
        "name": options.split,
        "protocol": spell(options.protocol),
        "leak_free": split["leak_free"],
        "words": split["words"],
        "subsets": split["rows"],
        "labels": _label_rows([receipt["subsets"][name] for name in SUBSETS if name in receipt["subsets"]]),
        "cost": None if objective is None else f"{objective['cost']:.3g}",
        "deviations": [] if objective is None else [_deviation(name, objective[name]) for name in ("images", "groups")],
        "dropped": _dropped(receipt),
        "policies": [_policy(subset, entry) for subset, entry in receipt.get("policies", {}).items()],
        "leaks": split["leaks"],
        "seen_outside": split["seen_outside"],
        "n_seen_outside": split["n_seen_outside"],
        "threshold": receipt["near_duplicate_correlation"],
        "compared": receipt["compared_thumbnails"],
        "nearest": _pairs(receipt["nearest_pairs"], thumbnails),
    }


def _label_rows(subsets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    names = dict.fromkeys(name for subset in subsets for name in subset["labels"])
    rows = []
    for name in names:
        counts = [subset["labels"][name] for subset in subsets]
        positive, negative = (sum(count[side] for count in counts) for side in ("positive", "negative"))
        overall = positive / (positive + negative) if positive + negative else None
        whole = {"count": format_count(positive), "detail": format_share(overall)}
        rows.append({"name": name, "cells": [whole, *(_label_cell(count, overall) for count in counts)]})
    return rows


def _label_cell(count: Mapping[str, Any], overall: float | None) -> dict[str, str]:
    detail = format_share(count["prevalence"])
    if overall and count["prevalence"] is not None:
        detail += f" ({100 * (count['prevalence'] / overall - 1):+.2f}%)".replace("-", "−")
    if count["unknown"]:
        detail += f", {format_count(count['unknown'])} unknown"
    return {"count": format_count(count["positive"]), "detail": detail}


def _deviation(name: str, found: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": name,
        "mean": format_share(found["mean"], 3),
        "worst": format_share(found["worst"], 3),
        "column": found["worst_column"],
    }


def _dropped(receipt: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What something else than a policy left out."""
    methods = {entry["method"] for entry in receipt.get("policies", {}).values()}
    return [{"name": name, "dropped": n} for name, n in receipt.get("dropped", {}).items() if name not in methods]


def _policy(subset: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    left = ", ".join(f"{format_count(count)} {spell(kind)}" for kind, count in entry.get("counts", {}).items())
    for key, text in (("ratio", "ratio {}"), ("share", "{} negative")):
        if key in entry:
            left += ": " + text.format(format_share(entry[key]) if key == "share" else format_value(entry[key], 2))
    return {
        "name": f"{subset}: {spell(entry['method'])}",
        "dropped": entry["dropped"],
        "repeated": entry["repeated"],
        "left": left,
    }


def _pairs(pairs: Sequence[Mapping[str, Any]], thumbnails: pd.DataFrame) -> list[dict[str, Any]]:
    contents = thumbnails.set_index("image_id")["thumbnail"]
    missing = [name for pair in pairs for name in pair["images"] if name not in contents.index]
    if missing:
        raise InputError(
            "thumbnails table",
            found=f"no thumbnail of {missing[0]}",
            expected="one of every image that the receipt names",
            next_step="The receipt is of other images: delete it and run again.",
        )
    return [
        {
            "images": [
                embed_grey(contents[name], THUMBNAIL_PX, THUMBNAIL_PX, f"Thumbnail of {name}")
                for name in pair["images"]
            ],
            "names": pair["images"],
            "subsets": pair["subsets"],
            "correlation": format_value(pair["correlation"]),
        }
        for pair in pairs
    ]
