"""The report of one study: what its template shows, read from the study's files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scanline.core.errors import InputError
from scanline.core.run_names import name_seed
from scanline.figures.numbers import format_count, format_difference, format_share, spell
from scanline.figures.options import DETECTION_SET_FIGURES
from scanline.report.detection_set import describe_detection_set
from scanline.report.detector_comparison import describe_detector_comparison
from scanline.report.environments import describe_environments
from scanline.report.headline import Cell, headline_tables
from scanline.report.kinds import KINDS as TASK_KINDS
from scanline.report.label_analysis import describe_label_analysis
from scanline.report.models import METRICS, describe_model
from scanline.report.options import ReportOptions
from scanline.report.page import Picture, embed_png
from scanline.report.seeds import describe_seeds
from scanline.report.task_comparison import describe_task_comparison
from scanline.report.training import NOT_RECORDED
from scanline.report.words import (
    KEYS,
    explain_interval,
    explain_threshold,
    judge_split,
    name_interval,
    name_threshold,
    place_threshold,
)

KINDS = ("files", "images", "annotations", "masks", "other", "refused")
SUBSETS = ("train", "val", "test", "external")
LISTED = 20  # images left out for the external set
STUDY_FIGURES = ("flow", "class_balance", "subset_balance", "leakage")


@dataclass(frozen=True)
class StudyFiles:
    """Everything that a study's report reads; lists of splits and runs in the order of the options.

    Args:
        flow: flow.json.
        rejects: Rejects table.
        receipts: receipt.json of each split.
        metrics: metrics.json of each run.
        runs: run.json of each run but ensembles.
        comparison: leakage.json; None without a naive split.
        study_figures: Figures of the study by name.
        run_figures: Figures of each run by name.
        tasks: task_comparison.json; None where no two tasks answer one question.
        task_figure: The figure of it; None without.
        seeds: seeds.json; None without several seeds, ensembles and pairs.
        detectors: detector_comparison.json; None where none are compared.
        label_statistics: label_statistics.json; None where the study does not ask for a label analysis.
        label_leaks: label_leaks.json; None without.
        label_figures: The figures of LABEL_FIGURES; none without.
        environments: Records of what was installed where the study's rules ran.
        set_statistics: detection_set.json of each detection set of the options.
        set_evidence: evidence.json of each.
        set_metadata: dataset_metadata.json of each.
        set_figures: The figures of DETECTION_SET_FIGURES of each, one after the other.
    """

    flow: Mapping[str, Any]
    rejects: pd.DataFrame
    receipts: Sequence[Mapping[str, Any]]
    metrics: Sequence[Mapping[str, Any]]
    runs: Sequence[Mapping[str, Any]]
    study_figures: Mapping[str, Path]
    run_figures: Sequence[Mapping[str, Path]]
    comparison: Mapping[str, Any] | None = None
    tasks: Mapping[str, Any] | None = None
    task_figure: Path | None = None
    seeds: Mapping[str, Any] | None = None
    detectors: Mapping[str, Any] | None = None
    label_statistics: Mapping[str, Any] | None = None
    label_leaks: Mapping[str, Any] | None = None
    label_figures: Sequence[Path] = ()
    environments: Sequence[Mapping[str, Any]] = ()
    set_statistics: Sequence[Mapping[str, Any]] = ()
    set_evidence: Sequence[Mapping[str, Any]] = ()
    set_metadata: Sequence[Mapping[str, Any]] = ()
    set_figures: Sequence[Path] = ()


def describe_study(options: ReportOptions, files: StudyFiles) -> dict[str, Any]:
    """All values of the template `study.html.j2`.

    Raises:
        InputError: If the lists of files do not fit the options.
    """
    _check_counts(options, files)
    leak_free = {
        split.name: bool(receipt["leak_free"]) for split, receipt in zip(options.splits, files.receipts, strict=True)
    }
    intervals = [values["interval"] for values in files.metrics]
    comparison = files.comparison if files.comparison and files.comparison["differences"] else None
    return {
        "options": options,
        "threshold_place": " or ".join(dict.fromkeys(map(place_threshold, files.metrics))),
        "headlines": headline_tables(options.runs, files.metrics, options.yardsticks, leak_free),
        "comparison": comparison,
        "leakage": describe_leakage(comparison) if comparison else None,
        "tasks": describe_task_comparison(files.tasks, files.task_figure)
        if files.tasks and files.task_figure
        else None,
        "seeds": describe_seeds(files.seeds) if files.seeds else None,
        "detectors": describe_detector_comparison(files.detectors) if files.detectors else None,
        "label_analysis": describe_label_analysis(
            files.label_statistics,
            files.label_leaks,
            files.label_figures,
            Counter(map(str, files.rejects["reason"])),
        )
        if files.label_statistics and files.label_leaks
        else None,
        "detection_sets": _detection_sets(options, files),
        "flow": describe_flow(files.flow),
        "images_in_tables": sum(source.get("images_without_file", 0) for source in files.flow["sources"].values()),
        "rejects": count_rejects(files.rejects),
        "splits": [
            describe_split(split.name, receipt) for split, receipt in zip(options.splits, files.receipts, strict=True)
        ],
        "models": [
            describe_model(run, metrics, facts, figures, leak_free=leak_free[run.split])
            for run, metrics, facts, figures in zip(
                options.runs, files.metrics, _facts_of_runs(options, files), files.run_figures, strict=True
            )
        ],
        "methods": {
            "interval_name": " or ".join(dict.fromkeys(name_interval(interval) for interval in intervals)),
            "intervals": list(dict.fromkeys(explain_interval(interval) for interval in intervals)),
            "thresholds": _describe_thresholds(options, files.metrics),
        },
        "versions": describe_versions(files.runs),
        "environments": describe_environments(files.environments),
        "pictures": _study_pictures(options, files),
    }


def named_figures(names: Sequence[str], paths: Sequence[Path]) -> dict[str, Path]:
    """Figures by name, in the order of the names.

    Raises:
        InputError: If there is not one file for each name.
    """
    if len(names) != len(paths):
        raise InputError(
            "figures",
            found=f"{len(paths)} files",
            expected=", ".join(names),
            next_step="Give one file for each figure, in this order.",
        )
    return dict(zip(names, paths, strict=True))


def figures_of_runs(kinds: Sequence[str], paths: Sequence[Path]) -> list[dict[str, Path]]:
    """The figures of each run by name, from one list of the figures of all runs in their order.

    Args:
        kinds: Kind of each run's task.
        paths: Figures of the first run as its kind names them, then of the second, and so on.

    Raises:
        InputError: If there are more or fewer files than the kinds have figures.
    """
    names = [TASK_KINDS[kind].figures for kind in kinds]
    if sum(map(len, names)) != len(paths):
        raise InputError(
            "--run-figures",
            found=f"{len(paths)} files",
            expected=f"{sum(map(len, names))}, the figures of {len(kinds)} runs",
            next_step="Give the files in the options' order.",
        )
    rest = iter(paths)
    return [{name: next(rest) for name in of_run} for of_run in names]


def _facts_of_runs(options: ReportOptions, files: StudyFiles) -> list[Mapping[str, Any] | None]:
    """run.json of each run; None for ensembles."""
    trained = iter(files.runs)
    return [None if run.members else next(trained) for run in options.runs]


def _check_counts(options: ReportOptions, files: StudyFiles) -> None:
    wanted = {
        "--receipts": (len(options.splits), len(files.receipts)),
        "--metrics": (len(options.runs), len(files.metrics)),
        "--runs": (sum(not run.members for run in options.runs), len(files.runs)),
        "figures of runs": (len(options.runs), len(files.run_figures)),
    }
    for name, (expected, found) in wanted.items():
        if expected != found:
            raise InputError(
                name,
                found=f"{found} files",
                expected=f"{expected}, one for each entry of the options",
                next_step="Give the files in the options' order.",
            )
    names = {split.name for split in options.splits}
    for run in options.runs:
        if run.split not in names:
            raise InputError(
                "--options: runs",
                found=f"split {run.split}",
                expected=f"one of {', '.join(sorted(names))}",
                next_step="Name every split of the runs in splits.",
            )


def _detection_sets(options: ReportOptions, files: StudyFiles) -> list[dict[str, Any]]:
    step = len(DETECTION_SET_FIGURES)
    figures = [files.set_figures[start : start + step] for start in range(0, len(files.set_figures), step)]
    records = (files.set_statistics, files.set_evidence, files.set_metadata)
    parts = zip(options.detection_sets, *records, figures, strict=True)
    return [
        describe_detection_set(reported, options.sources, statistics, evidence, metadata, pictures)
        for reported, statistics, evidence, metadata, pictures in parts
    ]


def describe_flow(flow: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the flow table, a total below where there are several sources."""
    rows = [{"name": name, "counts": [int(source[kind]) for kind in KINDS]} for name, source in flow["sources"].items()]
    for row in rows:
        if sum(row["counts"][1:]) != row["counts"][0]:
            raise InputError(
                f"flow.json: {row['name']}",
                found=f"{sum(row['counts'][1:])} files of known fate",
                expected=f"{row['counts'][0]}, the files of the source",
                next_step="Curate the source again.",
            )
    if len(rows) > 1:
        totals = [sum(counts) for counts in zip(*(row["counts"] for row in rows), strict=True)]
        rows.append({"name": "all sources", "counts": totals})
    return rows


def count_rejects(rejects: pd.DataFrame) -> list[dict[str, Any]]:
    """Entries of the rejects table by action, reason, source and stage; refused, then most frequent first."""
    if rejects.empty:
        return []
    keys = ["action", "reason", "source", "stage"]
    counts = rejects.groupby(keys, sort=True).size().reset_index(name="entries")
    rows: list[dict[str, Any]] = [
        {**{name: str(row[name]) for name in keys}, "entries": int(row["entries"])} for row in counts.to_dict("records")
    ]
    order = {"refused": 0, "repaired": 1, "noted": 2}
    return sorted(rows, key=lambda row: (order.get(row["action"], 3), -row["entries"], row["reason"]))


def describe_split(name: str, receipt: Mapping[str, Any]) -> dict[str, Any]:
    """A split's subsets and receipt."""
    subsets = [(subset, receipt["subsets"][subset]) for subset in SUBSETS if subset in receipt["subsets"]]
    labels = list(dict.fromkeys(label for _, facts in subsets for label in facts["labels"]))
    rows = [
        {
            "name": subset,
            "images": facts["images"],
            "patients": facts["patients"],
            "groups": facts["groups"],
            "share": format_share(facts["share"]),
            "target": format_share(facts["target_share"]) if facts.get("target_share") is not None else "none",
            "labels": [_describe_label(facts["labels"].get(label)) for label in labels],
        }
        for subset, facts in subsets
    ]
    leaks = [
        {
            "name": KEYS.get(key, spell(key)),
            "compared": leak["compared"],
            "shared": leak["shared"],
            "test_images": leak["test_images"],
            "share": format_share(leak["test_images_share"]),
        }
        for key, leak in sorted(receipt["leaks"].items(), key=lambda item: _place(item[0]))
    ]
    return {
        "name": name,
        "leak_free": receipt["leak_free"],
        "words": judge_split(receipt),
        "labels": labels,
        "rows": rows,
        "leaks": leaks,
        "seen_outside": list_seen_outside(receipt),
        "n_seen_outside": len(receipt.get("seen_outside", ())),
    }


def list_seen_outside(receipt: Mapping[str, Any]) -> list[dict[str, str]]:
    """The first images that were left out because the external set holds the same picture, each with that."""
    return [
        {"image": entry["image"], "of": ", ".join(entry["of"])} for entry in receipt.get("seen_outside", ())[:LISTED]
    ]


def _place(key: str) -> tuple[int, str]:
    known = list(KEYS)
    return (known.index(key) if key in known else len(known), key)


def _describe_label(facts: Mapping[str, Any] | None) -> dict[str, str]:
    if facts is None:
        return {"count": "unknown", "detail": "nobody looked"}
    known = facts["positive"] + facts["negative"]
    detail = f"{format_share(facts['prevalence'])} of {format_count(known)}"
    if facts["unknown"]:
        detail += f", {format_count(facts['unknown'])} unknown"
    return {"count": format_count(facts["positive"]), "detail": detail}


def describe_leakage(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of the table of differences between the naive and the grouped split."""
    found = {name for row in comparison["differences"] for name in row["metrics"]}
    names = [name for name in METRICS if name in found]
    shares = {
        (row["split"], row["task"], row["model"], row["seed"]): row["leaking_test_images_share"]
        for row in comparison["rows"]
    }
    rows = []
    for row in comparison["differences"]:
        run = (row["task"], row["model"], row["seed"])
        before, after = (format_share(shares.get((row[side], *run))) for side in ("from", "to"))
        rows.append(
            {
                "name": f"{row['model']}, {row['task']}",
                "detail": name_seed(row["model"], row["seed"]),
                "path": f"{row['from']} → {row['to']}",
                "cells": [Cell(*format_difference(row["metrics"].get(name))) for name in names],
                "leaking": f"{before} → {after}",
            }
        )
    titles = TASK_KINDS["binary"].headline
    return {"names": [titles[name][0] if name in titles else METRICS[name] for name in names], "rows": rows}


def describe_versions(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Versions and commits that made the models, each once."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for name, version in sorted(run.get("versions", {}).items()):
            found.setdefault(name, []).append(str(version))
        found.setdefault("Git commit", []).append(str(run.get("git_commit") or NOT_RECORDED))
    return [(name, ", ".join(dict.fromkeys(values))) for name, values in found.items()]


def _describe_thresholds(options: ReportOptions, metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    by_rule: dict[tuple[str, str], list[int]] = {}
    for index, values in enumerate(metrics):
        by_rule.setdefault((values["threshold_rule"], values["threshold_from"]), []).append(index)
    sentences = []
    for places in by_rule.values():
        names = [
            f"{r.model}, {r.task}, split {r.split}, {r.seed_in_words}: {name_threshold(metrics[i])}"
            for i, r in ((i, options.runs[i]) for i in places)
        ]
        sentences.append(explain_threshold(metrics[places[0]], names))
    return sentences


def _study_pictures(options: ReportOptions, files: StudyFiles) -> dict[str, Picture]:
    kinds = {kind: sum(int(s[kind]) for s in files.flow["sources"].values()) for kind in KINDS}
    flow = ", ".join(f"{format_count(count)} {kind}" for kind, count in kinds.items())
    labels = " and ".join(spell(label) for label in options.labels)
    splits = ", ".join(split.name for split in options.splits)
    alts = {
        "flow": f"Flow diagram from raw files to subsets: {flow}.",
        "class_balance": f"Bars of positive, negative and unknown images for {labels}.",
        "subset_balance": f"Share of images and prevalence by subset of the splits {splits}, beside targets.",
        "leakage": "Accuracy, F1 and AUROC with intervals on both splits, and the share of leaking test"
        " images; the table below holds the differences.",
    }
    return {name: embed_png(files.study_figures[name], alts[name]) for name in STUDY_FIGURES}
