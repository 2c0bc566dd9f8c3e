"""The report's section on detection sets: what was checked, what they hold, earlier versions, a datasheet."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scanline.core.tables import SUBSETS
from scanline.figures.numbers import format_count, format_share, spell
from scanline.figures.options import DETECTION_SET_FIGURES
from scanline.report.models import Line, ModelTable
from scanline.report.options import ReportedDetectionSet, ReportedSource
from scanline.report.page import embed_png

STAGES = {"curated": "as curated", "balanced": "after balancing", "augmented": "after augmentation"}
_CAPTIONS = {
    "set_counts": "Negative: known to show none of the classes. Unknown: without a box, and nobody looked for some of"
    " them. Copies are made of training images alone.",
    "set_sizes": "Originals of all subsets. 100% is a box as large as its image.",
    "set_places": "Originals of all subsets, each scaled to one square: brighter where more boxes lie.",
    "set_examples": "Training images with the largest boxes of each class, one a patient as far as there are"
    " several, and their copies.",
}
_REASONS = {
    "unknown": "nobody looked for any of these classes",
    "without_box": "a class is there and no box says where",
    "other_class": "another class is there, and none of these",
    "dropped": "dropped by balancing",
}


def describe_detection_set(
    reported: ReportedDetectionSet,
    sources: Sequence[ReportedSource],
    statistics: Mapping[str, Any],
    evidence: Mapping[str, Any],
    metadata: Mapping[str, Any],
    figures: Sequence[Path],
) -> dict[str, Any]:
    """Values of the template for one set.

    Args:
        reported: Which set it is, and its datasheet.
        sources: Those of the study.
        statistics: detection_set.json.
        evidence: evidence.json.
        metadata: dataset_metadata.json.
        figures: The figures of DETECTION_SET_FIGURES, in their order.
    """
    name = f"{reported.task} on {reported.split}"
    targets = statistics["targets"]
    return {
        "name": name,
        "anchor": f"set-{reported.split}-{reported.task}",
        "targets": [spell(target) for target in targets],
        "checks": [
            (check["name"], check["expected"], check["found"], format_count(check["checked"]))
            for check in evidence["checks"]
        ],
        "rows": _rows(statistics),
        "volumes": volumes_table(name, metadata),
        "left_out": _left_out(statistics["left_out"]),
        "partly_known": _partly_known(statistics["stages"]),
        "previous_heads": _columns(statistics),
        "previous": _compare(statistics),
        "datasheet": _datasheet(reported, sources, statistics),
        "pictures": [
            (
                embed_png(path, f"{spell(figure).capitalize()} of {name}; the tables hold the numbers."),
                _CAPTIONS[figure],
            )
            for figure, path in zip(DETECTION_SET_FIGURES, figures, strict=True)
        ],
    }


def ordered(subsets: Iterable[str]) -> list[str]:
    """Subsets in their order, others behind them by name: JSON keeps none."""
    return sorted(subsets, key=lambda name: (SUBSETS.index(name) if name in SUBSETS else len(SUBSETS), name))


def _rows(statistics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a stage and subset, and below it one a source where there are several."""
    rows = []
    for stage, words in STAGES.items():
        subsets = statistics["stages"].get(stage, {})
        for subset in ordered(subsets):
            counts = subsets[subset]
            rows.append(_row(words, subset, counts, statistics["targets"]))
            if len(counts["sources"]) > 1:
                rows += [_row("", source, own, statistics["targets"]) for source, own in counts["sources"].items()]
    return rows


def volumes_table(name: str, metadata: Mapping[str, Any]) -> ModelTable:
    """Volumes and slices with a finding by subset, slices counted in both ways that are in use.

    Args:
        name: Of the set.
        metadata: dataset_metadata.json.
    """
    images, volumes = metadata["statistics"], metadata["volume_statistics"]
    rows = [
        Line(
            "all subsets" if subset == "total" else subset,
            (
                *(volumes[subset][key] for key in ("volumes", "with_box", "without_box")),
                *(images[subset][key] for key in ("images", "with_box", "of_volumes_with_box")),
            ),
        )
        for subset in (*ordered(set(images) - {"total"}), "total")
    ]
    proof = "No volume, patient or file stands in two subsets." if metadata["no_overlap_verified"] else ""
    caption = (
        f"Volumes of {name}, and its images after balancing: those with a box, and all images of volumes with a box,"
        f" as slices with a finding are counted in both ways. {proof}"
    )
    heads = ("Subset", "Volumes", "With a box", "Without", "Images", "With a box", "Of volumes with a box")
    return ModelTable(caption, heads, tuple(rows))


def _row(stage: str, name: str, counts: Mapping[str, Any], targets: Sequence[str]) -> dict[str, Any]:
    negatives, known = counts["negatives"], counts["negatives"] + counts["positives"]
    return {
        "stage": stage,
        "name": name,
        "images": format_count(counts["images"]),
        "negatives": format_count(negatives),
        "share": format_share(negatives / known if known else None),
        "boxes": [
            (format_count(counts["boxes"][target]), f"on {format_count(counts['images_with'][target])} images")
            for target in targets
        ],
    }


def _partly_known(stages: Mapping[str, Any]) -> list[str]:
    final = stages[[stage for stage in STAGES if stage in stages][-1]]
    counts = {subset: final[subset]["partly_known"] for subset in ordered(final)}
    return [f"{format_count(count)} of {subset}" for subset, count in counts.items() if count]


def _left_out(left_out: Mapping[str, Mapping[str, int]]) -> list[str]:
    return [
        f"{subset}: {format_count(count)}, {_REASONS[reason]}"
        for subset in ordered(left_out)
        for reason, count in left_out[subset].items()
        if count
    ]


def _columns(statistics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Part and key of each number that versions are compared by."""
    versions = [statistics, *statistics["previous"].values()]
    return list(
        dict.fromkeys(
            (part, key)
            for part in ("images", "boxes")
            for counts in versions
            for key in (ordered(counts[part]) if part == "images" else counts[part])
        )
    )


def _compare(statistics: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """This version and each earlier one, with the difference of this to that; none without earlier versions."""
    if not statistics["previous"]:
        return []
    columns = _columns(statistics)
    rows = [("this version", [(_known(statistics[part].get(key)), "") for part, key in columns])]
    for name, counts in statistics["previous"].items():
        cells = []
        for part, key in columns:
            now, then = statistics[part].get(key), counts[part].get(key)
            change = f"{now - then:+,} since" if now is not None and then is not None else ""
            cells.append((_known(then), change))
        rows.append((name, cells))
    return rows


def _known(count: int | None) -> str:
    return "none" if count is None else format_count(count)


def _datasheet(
    reported: ReportedDetectionSet, sources: Sequence[ReportedSource], statistics: Mapping[str, Any]
) -> list[tuple[str, str]]:
    images, boxes = statistics["images"], statistics["boxes"]
    sizes = statistics["sizes"]
    facts = [
        ("Made for", reported.motivation),
        ("Images", ", ".join(f"{subset} {format_count(images[subset])}" for subset in ordered(images))),
        ("Boxes", ", ".join(f"{spell(name)} {format_count(count)}" for name, count in boxes.items())),
        ("Width and height of boxes", "; ".join(filter(None, (_size(name, one) for name, one in sizes.items())))),
        ("Collected", reported.collection),
        ("Augmentation", reported.augmentation),
        ("Limits", reported.limits),
        *((f"Source: {source.title}", f"{source.license}; {source.citation}") for source in sources),
    ]
    return [(name, words) for name, words in facts if words]


def _size(name: str, sizes: Mapping[str, Any]) -> str:
    if sizes["width_px"] is None:
        return ""
    width, height = sizes["width_px"], sizes["height_px"]
    return f"{spell(name)} {width[1]:.0f} x {height[1]:.0f} px (medians)"
