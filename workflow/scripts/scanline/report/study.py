"""The report of one study: what its template shows, read from the study's files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scanline.core.errors import InputError
from scanline.figures.numbers import (
    format_count,
    format_difference,
    format_metric,
    format_seconds,
    format_share,
    format_value,
    spell,
)
from scanline.report.headline import HEADLINE, Cell, anchor_of, headline_rows
from scanline.report.options import ReportedRun, ReportOptions
from scanline.report.page import Picture, embed_png
from scanline.report.words import (
    KEYS,
    explain_interval,
    explain_localization,
    explain_threshold,
    judge_split,
    name_interval,
    name_threshold,
    place_threshold,
)

KINDS = ("files", "images", "annotations", "masks", "other", "refused")
SUBSETS = ("train", "val", "test", "external")
STUDY_FIGURES = ("flow", "class_balance", "subset_balance", "leakage")
RUN_FIGURES = ("loss", "roc", "precision_recall", "confusion", "calibration", "examples")
METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "precision": "Precision",
    "recall": "Sensitivity (recall)",
    "specificity": "Specificity",
    "f1": "F1",
    "npv": "Negative predictive value",
    "mcc": "Matthews correlation",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "brier": "Brier score (lower is better)",
    "log_loss": "Log loss (lower is better)",
    "ece": "Expected calibration error (lower is better)",
    "ppv_at_prevalence": "Positive predictive value at the stated prevalence",
    "npv_at_prevalence": "Negative predictive value at the stated prevalence",
}
CALIBRATION = {
    "calibration_slope": "Calibration slope (1 is best)",
    "calibration_in_the_large": "Calibration in the large (0 is best)",
}
SUBGROUP_METRICS = ("recall", "specificity", "auroc")
SUBGROUPS = {"age_years": "age", "lesion_size": "size of the lesion"}
NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class StudyFiles:
    """Everything that a study's report reads; lists of splits and runs in the order of the options.

    Args:
        flow: flow.json.
        rejects: Rejects table.
        receipts: receipt.json of each split.
        metrics: metrics.json of each run.
        runs: run.json of each run.
        comparison: leakage.json; None without a naive split.
        study_figures: Figures of the study by name.
        run_figures: Figures of each run by name.
    """

    flow: Mapping[str, Any]
    rejects: pd.DataFrame
    receipts: Sequence[Mapping[str, Any]]
    metrics: Sequence[Mapping[str, Any]]
    runs: Sequence[Mapping[str, Any]]
    comparison: Mapping[str, Any] | None
    study_figures: Mapping[str, Path]
    run_figures: Sequence[Mapping[str, Path]]


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
        "headline": {
            "heads": list(HEADLINE.values()),
            "rows": headline_rows(options.runs, files.metrics, options.yardsticks, leak_free),
        },
        "comparison": comparison,
        "leakage": describe_leakage(comparison) if comparison else None,
        "flow": describe_flow(files.flow),
        "rejects": count_rejects(files.rejects),
        "splits": [
            describe_split(split.name, receipt) for split, receipt in zip(options.splits, files.receipts, strict=True)
        ],
        "models": [
            describe_model(run, metrics, facts, figures, leak_free=leak_free[run.split])
            for run, metrics, facts, figures in zip(
                options.runs, files.metrics, files.runs, files.run_figures, strict=True
            )
        ],
        "methods": {
            "interval_name": " or ".join(dict.fromkeys(name_interval(interval) for interval in intervals)),
            "intervals": list(dict.fromkeys(explain_interval(interval) for interval in intervals)),
            "thresholds": _describe_thresholds(options, files.metrics),
        },
        "versions": describe_versions(files.runs),
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


def _check_counts(options: ReportOptions, files: StudyFiles) -> None:
    wanted = {
        "--receipts": (len(options.splits), len(files.receipts)),
        "--metrics": (len(options.runs), len(files.metrics)),
        "--runs": (len(options.runs), len(files.runs)),
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
    }


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
                "detail": f"seed {row['seed']}",
                "path": f"{row['from']} → {row['to']}",
                "cells": [Cell(*format_difference(row["metrics"].get(name))) for name in names],
                "leaking": f"{before} → {after}",
            }
        )
    return {"names": [HEADLINE.get(name, METRICS[name]) for name in names], "rows": rows}


def describe_model(
    run: ReportedRun,
    metrics: Mapping[str, Any],
    facts: Mapping[str, Any],
    figures: Mapping[str, Path],
    *,
    leak_free: bool,
) -> dict[str, Any]:
    """One model: the table by class, all metrics, figures and facts of the training."""
    test = metrics["subsets"]["test"]
    subsets = [name for name in SUBSETS if name in metrics["subsets"]]
    name = f"{run.model}, {run.task}, split {run.split}, seed {run.seed}"
    parts = [
        f"Test: {format_count(test['images'])} images of {format_count(test['patients'])} patients",
        f"{format_count(test['positives'])} positive, {format_count(test['negatives'])} negative",
    ]
    names = [key for key in METRICS if any(key in metrics["subsets"][s]["metrics"] for s in subsets)]
    return {
        "anchor": anchor_of(run),
        "name": name,
        "leak_free": leak_free,
        "words": "; ".join(parts) + ".",
        "threshold": name_threshold(metrics),
        "classes": [
            {
                "name": {"macro": "macro mean", "weighted": "weighted mean"}.get(key, key),
                "cells": [test["per_class"][key].get(column) for column in ("precision", "recall", "f1")],
                "support": test["per_class"][key].get("support"),
            }
            for key in ("negative", "positive", "macro", "weighted")
        ],
        "accuracy": test["metrics"]["accuracy"],
        "test_images": test["images"],
        "subsets": subsets,
        "metrics": [
            *(
                {"name": METRICS[key], "cells": [metrics["subsets"][s]["metrics"].get(key) for s in subsets]}
                for key in names
            ),
            *(
                {"name": name, "cells": [metrics["subsets"][s]["calibration"]["metrics"][key] for s in subsets]}
                for key, name in CALIBRATION.items()
            ),
        ],
        "subgroups": [
            {
                "subset": subset,
                "by": SUBGROUPS.get(column["by"], spell(column["by"])),
                "rows": describe_subgroups(column["groups"]),
            }
            for subset, columns in metrics["subgroups"].items()
            for column in columns
        ],
        "subgroup_heads": [METRICS[key] for key in SUBGROUP_METRICS],
        "gap": describe_gap(metrics),
        "localization": explain_localization(metrics["localization"].get("test")),
        "pictures": _run_pictures(name, metrics, facts, figures),
        "facts": describe_training(facts),
    }


def describe_subgroups(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a table of subgroups."""
    return [
        {
            "name": group["name"],
            "images": group["images"],
            "patients": group["patients"],
            "positives": group["positives"],
            "cells": [group["metrics"][key] for key in SUBGROUP_METRICS],
            "warning": group["warning"] or "",
        }
        for group in groups
    ]


def describe_gap(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table of test against external; none without an external subset."""
    if metrics["gap"] is None:
        return []
    return [
        {
            "name": METRICS[key],
            "cells": [metrics["subsets"][subset]["metrics"][key] for subset in ("test", "external")],
            "difference": Cell(*format_difference(gap)),
        }
        for key, gap in metrics["gap"].items()
    ]


def describe_training(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts of a training: name and value, in words."""

    def text(key: str) -> str:
        return NOT_RECORDED if facts.get(key) is None else str(facts[key])

    def count(key: str) -> str:
        return NOT_RECORDED if facts.get(key) is None else format_count(int(facts[key]))

    stopped = "stopped early" if facts.get("stopped_early") else "ran to the end"
    speed, seconds = facts.get("images_per_second"), facts.get("wall_seconds")
    return [
        ("Network", f"{text('architecture')}, {count('parameters')} parameters"),
        ("Weights at the start", text("weights")),
        ("Images", f"{count('n_train')} to train on, {count('n_val')} for val"),
        ("Kept epoch", f"{text('best_epoch')} (of {text('epochs')} at most; {stopped})"),
        ("Seed", text("seed")),
        ("Device", f"{text('device')}, {text('precision')}"),
        ("Time", NOT_RECORDED if seconds is None else format_seconds(float(seconds))),
        ("Images a second", NOT_RECORDED if speed is None else format_value(float(speed), 1)),
        ("Versions", ", ".join(f"{k} {v}" for k, v in sorted(facts.get("versions", {}).items()))),
        ("Git commit", text("git_commit")),
    ]


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
            f"{r.model}, {r.task}, split {r.split}, seed {r.seed}: {name_threshold(metrics[i])}"
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


def _run_pictures(
    name: str, metrics: Mapping[str, Any], facts: Mapping[str, Any], figures: Mapping[str, Path]
) -> dict[str, Picture]:
    test = metrics["subsets"]["test"]
    counts = test["confusion"]
    alts = {
        "loss": f"Loss on train and val by epoch; epoch {facts.get('best_epoch')} was kept.",
        "roc": f"ROC curves of val and test; AUROC on test {format_metric(test['metrics'].get('auroc'))}.",
        "precision_recall": "Precision-recall curves of val and test; AUPRC on test"
        f" {format_metric(test['metrics'].get('auprc'))}.",
        "confusion": "Confusion matrices of val and test; on test"
        f" {format_count(counts['tp'])} true positives,"
        f" {format_count(counts['fp'])} false positives, {format_count(counts['fn'])} false negatives,"
        f" {format_count(counts['tn'])} true negatives.",
        "calibration": "Observed share of positives against mean probability on val and test; expected calibration"
        f" error on test {format_metric(test['metrics'].get('ece'))}.",
        "examples": "Slices of test beside their Grad-CAM maps: true positives, false positives, false"
        " negatives, true negatives, with probabilities.",
    }
    return {key: embed_png(figures[key], f"{name}. {alts[key]}") for key in RUN_FIGURES}
