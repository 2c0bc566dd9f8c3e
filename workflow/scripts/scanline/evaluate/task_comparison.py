"""Tasks of several kinds side by side on one question of yes or no, such as "is there a haemorrhage on this slice?".

All are measured against the same truth, a column of the labels table, and on the same images: those of test that
every compared run of a split scored and whose truth is known. One draw of patients serves all runs and all their
differences. A patient is positive where one of its images is, and its score is that of its highest image.

Several models of a task are all measured; for differences and agreement the one with the best AUROC for the question
on val stands for its task. Test chooses nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from scanline.evaluate.answers import RunFiles, read_answers
from scanline.evaluate.binary import BinaryMetrics
from scanline.evaluate.bootstrap import Estimate, estimate, strata_of_clusters
from scanline.evaluate.inputs import Bools, Codes, Floats, as_clusters, refuse
from scanline.evaluate.operating_point import fit_operating_point
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.paired import reason_of_two
from scanline.evaluate.scores import clustered_by
from scanline.evaluate.task_comparison_options import AnsweringRun, CompareTasksOptions, Question

METRICS = ("auroc", "auprc", "recall", "specificity", "f1", "accuracy")
LEVELS = ("image", "patient")
KINDS = ("binary", "multilabel", "detect", "segment")
RUN_KEYS = ("task", "model", "seed")


@dataclass(frozen=True)
class TaskComparison:
    """What comparing tasks gives.

    Attributes:
        summary: The content of task_comparison.json.
        table: One row a question, split, level and run, with the metrics and their intervals.
        answers: One row a question, split, run and image: image_id, patient (pseudonym, null where unknown), truth,
            score, predicted.
    """

    summary: dict[str, Any]
    table: pd.DataFrame
    answers: pd.DataFrame


@dataclass(frozen=True)
class Cases:
    """Images or patients, and what each run says of them.

    Attributes:
        level: image or patient.
        truth: Shape (cases,).
        score: Of each run, from 0 to 1, shape (runs, cases).
        predicted: Of each run, same shape.
        clusters: What the bootstrap draws: the patient of each case; shape (cases,).
    """

    level: str
    truth: Bools
    score: Floats
    predicted: Bools
    clusters: Codes

    def counts(self) -> dict[str, int]:
        """Cases, positive and negative ones."""
        positives = int(self.truth.sum())
        return {"cases": len(self.truth), "positives": positives, "negatives": len(self.truth) - positives}


class AnswerMetrics:
    """METRICS of one run's answers, as a function of the clusters' weights: a `bootstrap.Statistic`.

    The area under the precision-recall curve is undefined without negatives, where it is 1 whatever the scores.

    Args:
        cases: Images or patients.
        run: Place of the run.
    """

    def __init__(self, cases: Cases, run: int) -> None:
        self._level = cases.level
        self._measure = BinaryMetrics(cases.truth, cases.predicted[run], cases.score[run], cases.clusters)
        self.counts = {name: int(getattr(self._measure.counts, name)[0]) for name in ("tp", "fp", "fn", "tn")}

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """METRICS under each row of weights, each of shape (resamples,)."""
        values = self._measure(weights)
        area = np.where(np.isnan(values["auroc"]), np.nan, values["auprc"])
        return {name: area if name == "auprc" else values[name] for name in METRICS}

    def reason_undefined(self, name: str) -> str:
        """Why a metric is undefined on these cases."""
        needs = "auroc" if name == "auprc" else name
        return self._measure.reason_undefined(needs).replace("image", self._level)


class SideBySide:
    """All runs, and differences of some, under one draw of patients: a `bootstrap.Statistic`.

    Values are named "<run>.<metric>" and "<first>-<second>.<metric>" by the runs' places.

    Args:
        runs: Metrics of each run, on the same cases.
        names: Of the runs, for reasons.
        pairs: Places of the runs to subtract, first minus second.
        clusters: Number of clusters.
    """

    def __init__(
        self, runs: Sequence[AnswerMetrics], names: Sequence[str], pairs: Sequence[tuple[int, int]], clusters: int
    ) -> None:
        self._runs, self._names, self._pairs, self._clusters = runs, names, pairs, clusters

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """All values under each row of weights, each of shape (resamples,)."""
        values = [run(weights) for run in self._runs]
        found = {f"{place}.{name}": one[name] for place, one in enumerate(values) for name in METRICS}
        for first, second in self._pairs:
            found |= {f"{first}-{second}.{name}": values[first][name] - values[second][name] for name in METRICS}
        return found

    def reason_undefined(self, name: str) -> str:
        """Why a value is undefined; of a difference, for which of the two."""
        places, _, metric = name.partition(".")
        sides = [int(place) for place in places.split("-")]
        if len(sides) == 1:
            return self._runs[sides[0]].reason_undefined(metric)
        return reason_of_two(metric, {self._names[side]: (self._runs[side], self._clusters) for side in sides})


def compare_tasks(
    files: Sequence[RunFiles], splits: Mapping[str, pd.DataFrame], labels: pd.DataFrame, options: CompareTasksOptions
) -> TaskComparison:
    """Compare the tasks that answer each question, split by split.

    A split on which fewer than two tasks answer a question is passed over. The result does not depend on the order
    of the runs.

    Args:
        files: Of each run.
        splits: Split table of each split by name.
        labels: Labels table.
        options: Questions and intervals.

    Raises:
        InputError: For tables that do not fit: see `read_answers`; a run that scored images of another split; runs
            that disagree on an image's patient; and what `fit_operating_point` refuses.
    """
    ordered = sorted(files, key=lambda one: _place(one.run))
    comparisons, tables, answers = [], [], []
    for name, question in sorted(options.questions.items()):
        for split in sorted({one.run.split for one in ordered}):
            runs = [one for one in ordered if one.run.split == split and one.run.task in question.answers]
            if len({one.run.task for one in runs}) < 2:
                continue
            summary, rows = compare_on_split(runs, splits[split], labels, question, options.evaluate)
            keys = {"question": name, "split": split}
            comparisons.append({**keys, **summary})
            tables.append(_table(comparisons[-1]))
            answers.append(_with_keys(rows, keys))
    if not comparisons:
        refuse(
            "questions",
            f"{len(files)} runs, and no question that two tasks of one split answer",
            "at least two answering tasks",
            "Add runs to the study, or take the question out with null.",
        )
    scoring = options.evaluate
    summary = {
        "interval": {
            "level": scoring.confidence_level,
            "resamples": scoring.bootstrap_resamples,
            "method": scoring.interval_method,
            "stratified": scoring.stratified,
        },
        "comparisons": comparisons,
    }
    return TaskComparison(summary, pd.concat(tables, ignore_index=True), pd.concat(answers, ignore_index=True))


def compare_on_split(
    files: Sequence[RunFiles],
    split: pd.DataFrame,
    labels: pd.DataFrame,
    question: Question,
    options: EvaluateOptions,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Compare the runs of one split.

    Args:
        files: Of each run, by kind, task, model and seed.
        split: The split table.
        labels: Labels table.
        question: What they answer.
        options: Intervals.

    Returns:
        One entry of "comparisons" of task_comparison.json, and its rows of answers.
    """
    read = [read_answers(one, question.answers[one.run.task]) for one in files]
    answers = {one.name: table for one, (table, _) in zip(files, read, strict=True)}
    thresholds = [threshold for _, threshold in read]
    truth = _truth(labels, question.label)
    val, _ = common_images(answers, split, truth, "val", question.label)
    common, left_out = common_images(answers, split, truth, "test", question.label)
    val_cases = _cases_of_images(answers, val, truth)
    if question.thresholds == "question":
        thresholds = _thresholds_on_val(val_cases, val, list(answers), options)
    limits = np.array(thresholds) if question.thresholds == "question" else None
    images = _cases_of_images(answers, common, truth, limits)
    patients = _patients(answers, common)
    areas = _areas(val_cases)
    chosen = _stand_for_tasks([one.run for one in files], areas)
    pairs = list(combinations(chosen, 2))
    cases = {"image": images, "patient": _cases_of_patients(images, patients)}
    measured = {level: _measure(cases[level], list(answers), pairs, options) for level in LEVELS}
    seen = {name for table in answers.values() for name in table.loc[table["subset"] == "test", "patient"].dropna()}
    summary: dict[str, Any] = {
        "title": question.title,
        "label": question.label,
        "subset": "test",
        "thresholds": question.thresholds,
        "clustered_by": clustered_by(patients),
        "images": len(common),
        "patients": int(patients.nunique()),
        "patients_left_out": len(seen - set(patients.dropna())),
        "images_without_patient": int(patients.isna().sum()),
        "left_out": left_out,
        "levels": {level: cases[level].counts() for level in LEVELS},
        "chosen_on": {"subset": "val", "metric": "auroc", "images": len(val)},
        "runs": [
            {
                **one.run.model_dump(exclude={"split"}),
                "answers_by": question.answers[one.run.task],
                "threshold": thresholds[place],
                "val_auroc": areas[place],
                "stands_for_task": place in chosen,
                **{level: measured[level].of_run(place) for level in LEVELS},
            }
            for place, one in enumerate(files)
        ],
        "differences": [
            {
                **{
                    side: {key: getattr(files[place].run, key) for key in RUN_KEYS}
                    for side, place in zip(("first", "second"), pair, strict=True)
                },
                "same_answer": _share(images.predicted[pair[0]] == images.predicted[pair[1]]),
                **{level: measured[level].of_pair(*pair) for level in LEVELS},
            }
            for pair in pairs
        ],
        "agreement": count_agreement(
            images.truth, images.predicted[list(chosen)], [files[place].run.task for place in chosen]
        ),
    }
    return summary, _rows_of_answers(files, images, common, patients)


def common_images(
    answers: Mapping[str, pd.DataFrame], split: pd.DataFrame, truth: "pd.Series[bool]", subset: str, label: str
) -> tuple[list[str], list[dict[str, Any]]]:
    """The images of a subset that every run scored and whose truth is known, and why the others are left out.

    Args:
        answers: Name of each run to its answers.
        split: The split table.
        truth: By image_id, null where unknown.
        subset: Its name.
        label: The class of the truth, for the reasons.

    Returns:
        Sorted image ids; and {"reason", "images"} for each reason, the most frequent first. An image has one reason:
        that balancing dropped it, else that its truth is unknown, else the runs that did not score it.

    Raises:
        InputError: If a run scored an image that is not in this subset of the split, or that has no row of labels.
    """
    rows = split[split["subset"] == subset].set_index("image_id")
    scored = {name: set(table.loc[table["subset"] == subset, "image_id"]) for name, table in answers.items()}
    for name, ids in scored.items():
        strange = sorted(ids - set(rows.index)) or sorted(ids - set(truth.index))
        if strange:
            expected = f"images of {subset}, each with a row of labels"
            refuse(name, f"image {strange[0]} ({len(strange)} such)", expected, "Make its evaluation again.")
    common, reasons = [], dict[str, int]()
    known, dropped = truth.reindex(rows.index).notna(), rows["dropped_by"].notna()
    for image_id in sorted(rows.index):
        missing = [name for name, ids in scored.items() if image_id not in ids]
        if dropped[image_id]:
            reason = "dropped by balancing"
        elif not known[image_id]:
            reason = f"{label} unknown"
        elif missing:
            reason = "scored by none" if len(missing) == len(scored) else f"not scored by {'; '.join(missing)}"
        else:
            common.append(image_id)
            continue
        reasons[reason] = reasons.get(reason, 0) + 1
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return common, [{"reason": reason, "images": count} for reason, count in ordered]


def count_agreement(truth: Bools, predicted: Bools, tasks: Sequence[str]) -> list[dict[str, Any]]:
    """On how many images the tasks agree, and which of them is wrong alone, or right alone.

    Args:
        truth: Shape (images,).
        predicted: Shape (tasks, images).
        tasks: Their names, at least two.

    Returns:
        {"who", "task", "images", "positives", "negatives"}: who is all_right, all_wrong, only_wrong or only_right
        (of the task), or mixed (from two wrong up to two right); each image is in one of them. With two tasks, who
        alone is wrong leaves the other alone right: that is not counted twice.

    Examples:
        >>> truth = np.array([True, True, False])
        >>> predicted = np.array([[True, True, False], [True, False, False], [True, True, True]])
        >>> for row in count_agreement(truth, predicted, ["classify", "detect", "segment"]):
        ...     if row["images"]:
        ...         print(row["who"], row["task"], row["images"])
        all_right None 1
        only_wrong detect 1
        only_wrong segment 1
    """
    wrong = predicted != truth
    count, tasks_in_all = wrong.sum(axis=0), len(tasks)
    rows: list[tuple[str, str | None, Bools]] = [("all_right", None, count == 0)]
    rows += [("only_wrong", task, (count == 1) & wrong[place]) for place, task in enumerate(tasks)]
    if tasks_in_all > 2:
        if tasks_in_all > 3:
            rows.append(("mixed", None, (count > 1) & (count < tasks_in_all - 1)))
        rows += [("only_right", task, (count == tasks_in_all - 1) & ~wrong[i]) for i, task in enumerate(tasks)]
    rows.append(("all_wrong", None, count == tasks_in_all))
    return [
        {
            "who": who,
            "task": task,
            "images": int(held.sum()),
            "positives": int((held & truth).sum()),
            "negatives": int((held & ~truth).sum()),
        }
        for who, task, held in rows
    ]


@dataclass(frozen=True)
class _Measured:
    """Estimates of one level, by run and by pair."""

    estimates: Mapping[str, Estimate]
    counts: Sequence[Mapping[str, int]]

    def of_run(self, place: int) -> dict[str, Any]:
        return {"confusion": dict(self.counts[place]), "metrics": self._metrics(str(place))}

    def of_pair(self, first: int, second: int) -> dict[str, Any]:
        return {"metrics": self._metrics(f"{first}-{second}")}

    def _metrics(self, prefix: str) -> dict[str, Any]:
        return {name: self.estimates[f"{prefix}.{name}"].as_json() for name in METRICS}


def _measure(
    cases: Cases, names: Sequence[str], pairs: Sequence[tuple[int, int]], options: EvaluateOptions
) -> _Measured:
    runs = [AnswerMetrics(cases, place) for place in range(len(names))]
    clusters = len(np.unique(cases.clusters))
    strata = strata_of_clusters(cases.truth, cases.clusters) if options.stratified else None
    statistic = SideBySide(runs, names, pairs, clusters)
    estimates = estimate(statistic, clusters, options, "compare_tasks", cases.level, strata=strata)
    return _Measured(estimates, [run.counts for run in runs])


def _place(run: AnsweringRun) -> tuple[int, str, str, int, str]:
    return KINDS.index(run.kind), run.task, run.model, run.seed, run.split


def _truth(labels: pd.DataFrame, label: str) -> "pd.Series[bool]":
    if label not in labels:
        refuse("labels table: columns", ", ".join(map(str, labels.columns)), f"the class {label}", "Curate again.")
    return labels.set_index("image_id")[label]


def _cases_of_images(
    answers: Mapping[str, pd.DataFrame],
    image_ids: Sequence[str],
    truth: "pd.Series[bool]",
    thresholds: Floats | None = None,
) -> Cases:
    """Answers on these images; at `thresholds`, shape (runs,), where they are given."""
    tables = [table.set_index("image_id").loc[list(image_ids)] for table in answers.values()]
    score = np.stack([table["score"].to_numpy(dtype=np.float64) for table in tables])
    predicted = np.stack([table["predicted"].to_numpy(dtype=bool) for table in tables])
    if thresholds is not None:
        predicted = score >= thresholds[:, None]
    clusters = as_clusters(_patients(answers, image_ids), len(image_ids))
    return Cases("image", truth.loc[list(image_ids)].to_numpy(dtype=bool), score, predicted, clusters)


def _patients(answers: Mapping[str, pd.DataFrame], image_ids: Sequence[str]) -> "pd.Series[str]":
    """The patient of each image, null where unknown; all runs must say the same."""
    first, *others = (table.set_index("image_id")["patient"].loc[list(image_ids)] for table in answers.values())
    for name, other in zip(list(answers)[1:], others, strict=True):
        wrong = ~((first == other) | (first.isna() & other.isna()))
        if wrong.any():
            image_id = wrong.index[wrong.to_numpy()][0]
            expected = f"{first[image_id]}, as {next(iter(answers))} has it"
            refuse(f"{name}: image {image_id}", f"patient {other[image_id]}", expected, "Evaluate both runs again.")
    return first


def _cases_of_patients(images: Cases, patients: "pd.Series[str]") -> Cases:
    """Patients by their highest image; images of no known patient belong to none."""
    codes, names = pd.factorize(patients)
    inside = np.flatnonzero(codes >= 0)
    truth = np.zeros(len(names), dtype=bool)
    np.logical_or.at(truth, codes[inside], images.truth[inside])
    shape = (len(images.score), len(names))
    score, predicted = np.zeros(shape), np.zeros(shape, dtype=bool)
    for run in range(len(images.score)):
        np.maximum.at(score[run], codes[inside], images.score[run, inside])
        np.logical_or.at(predicted[run], codes[inside], images.predicted[run, inside])
    return Cases("patient", truth, score, predicted, np.arange(len(names), dtype=np.intp))


def _thresholds_on_val(
    cases: Cases, image_ids: Sequence[str], names: Sequence[str], options: EvaluateOptions
) -> list[float]:
    """A threshold for each run by the study's rule; scores are taken as they are, without another temperature."""
    rule = options.model_copy(update={"temperature_scaling": False})
    return [
        fit_operating_point(rule, image_ids, cases.truth, score, where=name).threshold
        for name, score in zip(names, cases.score, strict=True)
    ]


def _areas(cases: Cases) -> list[float | None]:
    """AUROC of each run; None where undefined."""
    ones = np.ones((1, len(np.unique(cases.clusters))))
    areas = [float(AnswerMetrics(cases, place)(ones)["auroc"][0]) for place in range(len(cases.score))]
    return [None if np.isnan(area) else area for area in areas]


def _stand_for_tasks(runs: Sequence[AnsweringRun], areas: Sequence[float | None]) -> list[int]:
    """The run of each task with the best area, the first of equals; in the runs' order."""
    best: dict[str, int] = {}
    for place, run in enumerate(runs):
        held = best.setdefault(run.task, place)
        if (areas[place] or 0.0) > (areas[held] or 0.0):
            best[run.task] = place
    return list(best.values())


def _share(held: Bools) -> float | None:
    return float(held.mean()) if len(held) else None


def _rows_of_answers(
    files: Sequence[RunFiles], images: Cases, image_ids: Sequence[str], patients: "pd.Series[str]"
) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                **{key: getattr(one.run, key) for key in RUN_KEYS},
                "image_id": list(image_ids),
                "patient": patients.to_numpy(dtype=object),
                "truth": images.truth,
                "score": images.score[place],
                "predicted": images.predicted[place],
            }
        )
        for place, one in enumerate(files)
    ]
    kinds = dict.fromkeys(("task", "model", "image_id", "patient"), "str")
    return pd.concat(parts, ignore_index=True).astype(kinds)


def _with_keys(rows: pd.DataFrame, keys: Mapping[str, str]) -> pd.DataFrame:
    table = rows.assign(**keys).astype(dict.fromkeys(keys, "str"))
    return table[[*keys, *rows.columns]]


def _table(comparison: Mapping[str, Any]) -> pd.DataFrame:
    """One row a level and run: the counts, and each metric with its limits."""
    rows = []
    for level in LEVELS:
        for run in comparison["runs"]:
            row = {key: comparison[key] for key in ("question", "split")} | {"level": level}
            row |= {key: run[key] for key in (*RUN_KEYS, "answers_by", "threshold", "stands_for_task")}
            row |= comparison["levels"][level] | run[level]["confusion"]
            for name in METRICS:
                metric = run[level]["metrics"][name]
                row |= {name: metric["value"], f"{name}_low": metric["low"], f"{name}_high": metric["high"]}
            rows.append(row)
    return pd.DataFrame(rows)
