"""The first tables of a report: all models on test, the spread over seeds, and what others reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scanline.figures.numbers import format_count, format_value
from scanline.report.kinds import KINDS, Columns, columns_of, headline_of
from scanline.report.options import ReportedRun, ReportedYardstick

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
        cells: One for each metric of the kind's headline.
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


@dataclass(frozen=True)
class Table:
    """The models of one kind of task."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]


def headline_tables(
    runs: Sequence[ReportedRun],
    metrics: Sequence[Mapping[str, Any]],
    yardsticks: Sequence[ReportedYardstick] = (),
    leak_free: Mapping[str, bool] | None = None,
    link: str = "#{anchor}",
) -> list[Table]:
    """A table for each kind of task: a row a model, one for several seeds of a model, one a yardstick.

    Args:
        runs: The models.
        metrics: metrics.json of each, in the same order.
        yardsticks: Figures of others.
        leak_free: Split to what its receipt says; None where no receipt is at hand.
        link: Pattern of the links to the models, with `{study}` and `{anchor}`.
    """
    tables = []
    for kind in dict.fromkeys(run.kind for run in runs):
        of_kind = [(run, values) for run, values in zip(runs, metrics, strict=True) if run.kind == kind]
        columns = columns_of(kind, [values for _, values in of_kind])
        rows = _rows_of_models(of_kind, columns, leak_free, link)
        rows += [_yardstick_row(yardstick, columns, leak_free) for yardstick in yardsticks if yardstick.kind == kind]
        heads = tuple(title for title, _ in columns.values())
        tables.append(Table(KINDS[kind].title, heads, tuple(rows)))
    return tables


def _rows_of_models(
    models: Sequence[tuple[ReportedRun, Mapping[str, Any]]],
    columns: Columns,
    leak_free: Mapping[str, bool] | None,
    link: str,
) -> list[Row]:
    rows = []
    for place, (run, values) in enumerate(models):
        test = values["subsets"]["test"]
        rows.append(
            Row(
                kind="ours",
                name=f"{run.model}, {run.task}",
                detail=f"split {run.split}, {run.seed_in_words}; {count_images(test)}",
                cells=headline_of(columns, test),
                anchor=link.format(study=getattr(run, "study", ""), anchor=anchor_of(run)),
                leak_free=None if leak_free is None else leak_free[run.split],
            )
        )
        if "external" in values["subsets"]:
            rows.append(_external_row(run, columns, values["subsets"]["external"], rows[-1].anchor))
        siblings = [index for index, (other, _) in enumerate(models) if _but_seed(other) == _but_seed(run)]
        if len(siblings) > 1 and place == siblings[-1]:
            measured = [models[index][1]["subsets"] for index in siblings]
            rows += [
                _spread_row(run, columns, [one[subset] for one in measured], subset)
                for subset in ("test", "external")
                if all(subset in one for one in measured)
            ]
    return rows


def _external_row(run: ReportedRun, columns: Columns, external: Mapping[str, Any], anchor: str) -> Row:
    """The same model on the external subset."""
    detail = f"external set, {run.seed_in_words}; {count_images(external)}"
    return Row("ours", f"{run.model}, {run.task}", detail, headline_of(columns, external), anchor)


def count_images(subset: Mapping[str, Any]) -> str:
    """How many images of how many patients a subset holds, in words."""
    images = subset["images"]
    if isinstance(images, Mapping):  # of segmentation: by what is known of their masks
        images = images["lesion_positive"] + images["empty_true"]
    if subset["patients"] == 0:
        return f"{format_count(images)} images of unknown patients"
    return f"{format_count(images)} images of {format_count(subset['patients'])} patients"


def _but_seed(run: ReportedRun) -> tuple[str, str, str, str]:
    return getattr(run, "study", ""), run.split, run.task, run.model


def _spread_row(run: ReportedRun, columns: Columns, metrics: Sequence[Mapping[str, Any]], subset: str) -> Row:
    cells = []
    for found in zip(*(headline_of(columns, values) for values in metrics), strict=True):
        defined = [float(metric["value"]) for metric in found if metric is not None and metric["value"] is not None]
        if not defined:
            cells.append(Cell("undefined for all seeds", None))
            continue
        spread = f"{format_value(min(defined))} to {format_value(max(defined))}"
        if len(defined) < len(found):
            spread += f" ({len(defined)} of {len(found)} seeds)"
        cells.append(Cell(format_value(sum(defined) / len(defined)), spread))
    where = "external set" if subset == "external" else f"split {run.split}"
    detail = f"{where}: mean, lowest to highest"
    return Row("spread", f"{run.model}, {run.task}, {len(metrics)} seeds", detail, tuple(cells))


def _yardstick_row(yardstick: ReportedYardstick, columns: Columns, leak_free: Mapping[str, bool] | None) -> Row:
    cells = tuple(
        Cell(_as_told(yardstick.metrics[name]), "as reported")
        if name in yardstick.metrics
        else Cell(NOT_REPORTED, None)
        for name in columns
    )
    if yardstick.split is not None:
        what = "a split" if yardstick.subset == "test" else f"{yardstick.subset} of a split"
        where = f"on {what} like {yardstick.split}"
    elif yardstick.other_split is not None:
        where = f"on another split of these images, {yardstick.other_split}: not to be compared with the figures above"
    else:
        where = f"on another data set, {yardstick.data_set}: not measured on the images of this study"
    verdict = None if yardstick.split is None or leak_free is None else leak_free[yardstick.split]
    detail = f"reported by others, {where}; task {yardstick.task}; source: {yardstick.source.strip().rstrip('.')}."
    return Row("theirs", yardstick.name, detail, cells, leak_free=verdict)


def _as_told(value: float) -> str:
    """A figure with the decimals that its authors gave: rounding 0.9995 would make it 1, and 0.99 is not 0.990."""
    return format_value(value, max(2, len(str(value).partition(".")[2])))
