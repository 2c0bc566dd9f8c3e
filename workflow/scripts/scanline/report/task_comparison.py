"""The tasks side by side in a report: words and tables of each question on each split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanline.core.run_names import name_seed
from scanline.figures.numbers import format_count, format_difference, format_share, format_value, spell
from scanline.figures.task_comparison import name_run, tell_one_class
from scanline.report.headline import Cell
from scanline.report.models import Line, ModelTable
from scanline.report.page import Picture, embed_png
from scanline.report.words import name_interval

METRICS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "recall": "Sensitivity",
    "specificity": "Specificity",
    "f1": "F1",
    "accuracy": "Accuracy",
}
COMPARED = ("auroc", "recall", "specificity")  # in differences; the file holds all
LEVELS = {
    "image": "Images of test",
    "patient": "Patients of test; a patient is positive where one image is, and scores as its highest image",
}
THRESHOLDS = {
    "task": "Yes begins at the threshold that each task's own evaluation froze on val.",
    "question": "Yes begins at a threshold chosen for this question on val, by one rule for all.",
}
WHO = {
    "all_right": "All are right",
    "all_wrong": "All are wrong",
    "only_wrong": "Only {task} is wrong",
    "only_right": "Only {task} is right",
    "mixed": "Several are right, several wrong",
}


@dataclass(frozen=True)
class Comparison:
    """One question on one split: a title, paragraphs and tables."""

    title: str
    words: tuple[str, ...]
    tables: tuple[ModelTable, ...]


@dataclass(frozen=True)
class TaskSection:
    """The section of the report: its figure and comparisons."""

    picture: Picture
    comparisons: tuple[Comparison, ...]


def describe_task_comparison(values: Mapping[str, Any], figure: Path) -> TaskSection:
    """What the report shows of task_comparison.json.

    Args:
        values: Its content.
        figure: The figure of it, a PNG file.
    """
    comparisons = tuple(_describe(one, values["interval"]) for one in values["comparisons"])
    named = [
        f"{one['title']} Split {one['split']}: "
        + "; ".join(
            f"{run['task']}, {name_run(run)}, AUROC {format_value(run['image']['metrics']['auroc']['value'])}"
            for run in one["runs"]
        )
        for one in values["comparisons"]
    ]
    alt = "AUROC, sensitivity and specificity of each run on images and patients, with intervals. " + ". ".join(named)
    return TaskSection(embed_png(figure, f"{alt}."), comparisons)


def _describe(one: Mapping[str, Any], interval: Mapping[str, Any]) -> Comparison:
    brackets = name_interval({**interval, "clustered_by": one["clustered_by"]})
    tables = [_table_of_level(one, level, brackets) for level in LEVELS]
    tables += [_table_of_differences(one, brackets), _table_of_agreement(one)]
    words = (_tell_images(one), _tell_answers(one), _tell_patients(one))
    return Comparison(f"{one['title']} Split {one['split']}", words, tuple(tables))


def _tell_images(one: Mapping[str, Any]) -> str:
    left_out = sum(row["images"] for row in one["left_out"])
    why = "; ".join(f"{format_count(row['images'])} {spell(row['reason'])}" for row in one["left_out"])
    patients = one["patients_left_out"]
    return (
        f"All {len(one['runs'])} runs are measured on the same {format_count(one['images'])} images of"
        f" {format_count(one['patients'])} patients of test, those that each of them scored and whose truth is known;"
        f" the truth is {spell(one['label'])} in the table of labels. "
        + (f"Left out: {format_count(left_out)} images ({why})" if left_out else "No image is left out")
        + (f", and with them {format_count(patients)} whole patients." if patients else ".")
    )


def _tell_answers(one: Mapping[str, Any]) -> str:
    kinds = {run["kind"] for run in one["runs"]}
    ways = {
        "binary": "classification answers with its probability",
        "multilabel": "multi-label classification with that of the label",
        "detect": "detection with the score of its best box (0 without a box)",
        "segment": "segmentation with the largest probability of its map",
    }
    words = ", ".join(way for kind, way in ways.items() if kind in kinds)
    stand_ins = {run["task"]: run["answers_by"] for run in one["runs"] if run["answers_by"] != one["label"]}
    words = f"{words[0].upper()}{words[1:]}. {THRESHOLDS[one['thresholds']]}"
    for task, label in stand_ins.items():
        words += (
            f" The task {task} answers by {spell(label)}: a stand-in, as {spell(one['label'])} is not what it learnt."
        )
    if len(one["runs"]) > len({run["task"] for run in one["runs"]}):
        words += (
            " Of several models of a task, the one with the best AUROC for this question on val stands for it in the"
            " differences and the agreement."
        )
    return words


def _tell_patients(one: Mapping[str, Any]) -> str:
    words = ""
    for level in LEVELS:
        reason = tell_one_class(one, level)
        if reason:
            left, lost = (
                ("sensitivity", "specificity") if one["levels"][level]["positives"] else ("specificity", "sensitivity")
            )
            words += (
                f"{reason[0].upper()}{reason[1:]}: of {level}s the {left} alone can be measured. Their {lost}, AUROC"
                f" and AUPRC are undefined, and their accuracy is the {left} once more. "
            )
    if one["images_without_patient"]:
        words += f"{format_count(one['images_without_patient'])} images of unknown patient count among images alone. "
    return words + "An interval of no width means that all resamples gave one value, not that the value is certain."


def _table_of_level(one: Mapping[str, Any], level: str, brackets: str) -> ModelTable:
    counts = one["levels"][level]
    caption = (
        f"{LEVELS[level]}: {format_count(counts['positives'])} positive, {format_count(counts['negatives'])} negative."
        f" In brackets: {brackets}, the same resamples for all."
    )
    rows = tuple(
        Line(
            f"{run['task']}, {run['model']}",
            tuple(run[level]["metrics"][name] for name in METRICS),
            f"{name_seed(run['model'], run['seed'])}, by {spell(run['answers_by'])},"
            f" threshold {format_value(run['threshold'])}",
        )
        for run in one["runs"]
    )
    return ModelTable(caption, ("Run", *METRICS.values()), rows)


def _table_of_differences(one: Mapping[str, Any], brackets: str) -> ModelTable:
    caption = (
        f"Differences on the same images, first minus second, with {brackets}. Last: the difference in sensitivity of"
        " patients, and the share of images with the same answer. Nothing corrects for the number of pairs."
    )
    rows = tuple(
        Line(
            f"{pair['first']['task']} − {pair['second']['task']}",
            (
                *(_difference(pair["image"]["metrics"][name]) for name in COMPARED),
                _difference(pair["patient"]["metrics"]["recall"]),
                Cell(format_share(pair["same_answer"]), None),
            ),
            f"{name_run(pair['first'])}; {name_run(pair['second'])}",
        )
        for pair in one["differences"]
    )
    heads = ("Pair", *(METRICS[name] for name in COMPARED), "Sensitivity of patients", "Same answer")
    return ModelTable(caption, heads, rows)


def _difference(metric: Mapping[str, Any]) -> Any:
    return metric if metric["value"] is None else Cell(*format_difference(metric))


def _table_of_agreement(one: Mapping[str, Any]) -> ModelTable:
    rows = tuple(
        Line(WHO[row["who"]].format(task=row["task"]), (row["positives"], row["negatives"], row["images"]))
        for row in one["agreement"]
    )
    tasks = _join(list(dict.fromkeys(run["task"] for run in one["runs"])))
    caption = f"On how many images {tasks} agree; each image stands in one row."
    return ModelTable(caption, ("Who is right", "Positive", "Negative", "All images"), rows)


def _join(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
