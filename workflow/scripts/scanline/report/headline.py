"""The first table of a report: all models on test, the spread over seeds, and what others reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scanline.figures.numbers import format_count, format_value
from scanline.report.options import ReportedRun, ReportedYardstick

HEADLINE = {
    "accuracy": "Accuracy",
    "f1": "F1",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "recall": "Sensitivity",
    "specificity": "Specificity",
}
NOT_REPORTED = "not reported"


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        kind: `ours` (cells are metrics of metrics.json), `spread` or `theirs` (cells are words).
        name: First line of the row's head.
        detail: Second line of the row's head.
        cells: One for each of `HEADLINE`.
        images: Images of test, in words.
        patients: Patients of test, in words.
        anchor: Where on the page the model is described; empty without.
        leak_free: Whether the split's receipt says so; None where that means nothing.
    """

    kind: str
    name: str
    detail: str
    cells: tuple[Any, ...]
    images: str
    patients: str
    anchor: str = ""
    leak_free: bool | None = None


def anchor_of(run: ReportedRun) -> str:
    """The place of a model on the page."""
    return f"{run.split}-{run.task}-{run.model}-{run.seed}"


def headline_rows(
    runs: Sequence[ReportedRun],
    metrics: Sequence[Mapping[str, Any]],
    yardsticks: Sequence[ReportedYardstick] = (),
    leak_free: Mapping[str, bool] | None = None,
) -> list[Row]:
    """Rows of the first table: one a model, one for several seeds of a model, one a yardstick.

    Args:
        runs: The models.
        metrics: metrics.json of each, in the same order.
        yardsticks: Figures of others.
        leak_free: Split to what its receipt says; None where no receipt is at hand.
    """
    rows = []
    for place, (run, values) in enumerate(zip(runs, metrics, strict=True)):
        test = values["subsets"]["test"]
        rows.append(
            Row(
                kind="ours",
                name=f"{run.model}, {run.task}",
                detail=f"split {run.split}, seed {run.seed}",
                cells=tuple(test["metrics"].get(name) for name in HEADLINE),
                images=format_count(test["images"]),
                patients=format_count(test["patients"]),
                anchor=anchor_of(run),
                leak_free=None if leak_free is None else leak_free[run.split],
            )
        )
        siblings = [index for index, other in enumerate(runs) if _but_seed(other) == _but_seed(run)]
        if len(siblings) > 1 and place == siblings[-1]:
            rows.append(_spread_row(run, [metrics[index] for index in siblings]))
    return rows + [_yardstick_row(yardstick) for yardstick in yardsticks]


def _but_seed(run: ReportedRun) -> tuple[str, str, str, str]:
    return getattr(run, "study", ""), run.split, run.task, run.model


def _spread_row(run: ReportedRun, metrics: Sequence[Mapping[str, Any]]) -> Row:
    cells = []
    for name in HEADLINE:
        found = [
            (values["subsets"]["test"]["metrics"].get(name) or {"value": None})["value"] for values in metrics
        ]
        defined = [value for value in found if value is not None]
        if not defined:
            cells.append("undefined for all seeds")
            continue
        text = f"{format_value(sum(defined) / len(defined))}, {format_value(min(defined))} to {format_value(max(defined))}"
        cells.append(text if len(defined) == len(found) else f"{text} ({len(defined)} of {len(found)} seeds)")
    detail = f"split {run.split}: mean, lowest to highest"
    return Row("spread", f"{run.model}, {run.task}: {len(metrics)} seeds", detail, tuple(cells), "", "")


def _yardstick_row(yardstick: ReportedYardstick) -> Row:
    cells = tuple(
        format_value(yardstick.metrics[name]) if name in yardstick.metrics else NOT_REPORTED
        for name in HEADLINE
    )
    detail = f"as reported by them; compare with split {yardstick.split}, task {yardstick.task}"
    return Row("theirs", yardstick.name, detail, cells, NOT_REPORTED, NOT_REPORTED)
