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
class Cell:
    """A value and its range in words; `range` is None where there is no value."""

    value: str
    range: str | None


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        kind: `ours` (cells are metrics of metrics.json), `spread` or `theirs` (cells are `Cell`).
        name: First line of the row's head.
        detail: Second line of the row's head.
        cells: One for each of `HEADLINE`.
        anchor: Where the model is described, as the target of a link; empty without.
        leak_free: Whether the split's receipt says so; None where that means nothing.
    """

    kind: str
    name: str
    detail: str
    cells: tuple[Any, ...]
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
    link: str = "#{anchor}",
) -> list[Row]:
    """Rows of the first table: one a model, one for several seeds of a model, one a yardstick.

    Args:
        runs: The models.
        metrics: metrics.json of each, in the same order.
        yardsticks: Figures of others.
        leak_free: Split to what its receipt says; None where no receipt is at hand.
        link: Pattern of the links to the models, with `{study}` and `{anchor}`.
    """
    rows = []
    for place, (run, values) in enumerate(zip(runs, metrics, strict=True)):
        test = values["subsets"]["test"]
        rows.append(
            Row(
                kind="ours",
                name=f"{run.model}, {run.task}",
                detail=f"split {run.split}, seed {run.seed}; {format_count(test['images'])} images of"
                f" {format_count(test['patients'])} patients",
                cells=tuple(test["metrics"].get(name) for name in HEADLINE),
                anchor=link.format(study=getattr(run, "study", ""), anchor=anchor_of(run)),
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
        found = [values["subsets"]["test"]["metrics"].get(name) or {"value": None} for values in metrics]
        defined = [float(metric["value"]) for metric in found if metric["value"] is not None]
        if not defined:
            cells.append(Cell("undefined for all seeds", None))
            continue
        spread = f"{format_value(min(defined))} to {format_value(max(defined))}"
        if len(defined) < len(found):
            spread += f" ({len(defined)} of {len(found)} seeds)"
        cells.append(Cell(format_value(sum(defined) / len(defined)), spread))
    detail = f"split {run.split}: mean, lowest to highest"
    return Row("spread", f"{run.model}, {run.task}, {len(metrics)} seeds", detail, tuple(cells))


def _yardstick_row(yardstick: ReportedYardstick) -> Row:
    cells = tuple(
        Cell(format_value(yardstick.metrics[name]), "as reported")
        if name in yardstick.metrics
        else Cell(NOT_REPORTED, None)
        for name in HEADLINE
    )
    detail = f"reported by them; compare with split {yardstick.split}, task {yardstick.task}"
    return Row("theirs", yardstick.name, detail, cells)
