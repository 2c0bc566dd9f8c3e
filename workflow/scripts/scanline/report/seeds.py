"""Seeds and ensembles side by side in a report."""

from collections.abc import Mapping
from typing import Any

from scanline.core.run_names import name_seed
from scanline.figures.numbers import format_difference, format_value
from scanline.report.headline import Cell
from scanline.report.kinds import KINDS, detection_columns
from scanline.report.models import Line, ModelTable
from scanline.report.words import name_interval


def describe_seeds(values: Mapping[str, Any]) -> list[ModelTable]:
    """A table for each split and task of seeds.json: runs, their spread over seeds, ensembles and differences.

    Args:
        values: The content of seeds.json.
    """
    return [_table(one, values["interval"]) for one in values["comparisons"]]


def _table(one: Mapping[str, Any], interval: Mapping[str, Any]) -> ModelTable:
    headline = detection_columns(one["first_metric"]) if one["kind"] == "detect" else KINDS[one["kind"]].headline
    rows = [
        Line(f"{run['model']}, {name_seed(run['model'], run['seed'])}", _estimates(run, headline))
        for run in one["runs"]
    ]
    rows += [
        Line(
            f"{spread['model']}, {len(spread['seeds'])} seeds",
            tuple(_spread_cell(spread["metrics"].get(name), len(spread["seeds"])) for name in headline),
            "mean ± standard deviation, lowest to highest",
        )
        for spread in one["spreads"]
    ]
    rows += [
        Line(
            f"{repeat['model']}, seed {repeat['seed']} trained {len(repeat['runs'])} times",
            tuple(_spread_cell(repeat["metrics"].get(name), len(repeat["runs"]), "runs") for name in headline),
            "equal seeds: mean ± standard deviation, lowest to highest",
        )
        for repeat in one["repeats"]
    ]
    for ensemble in one["ensembles"]:
        members = len(ensemble["members"])
        name = f"{ensemble['model']}, {name_seed(ensemble['model'], ensemble['seed'], members)}"
        rows.append(Line(name, _estimates(ensemble, headline)))
        best = ensemble["best_member"]
        if best is not None:
            cells = (ensemble["differences"].get(metric) for metric in headline)
            rows.append(
                Line(
                    f"{ensemble['model']} minus {best['model']}, {name_seed(best['model'], best['seed'])}",
                    tuple(None if cell is None else Cell(*format_difference(cell)) for cell in cells),
                    f"its best member by {headline[ensemble['chosen_by']][0]} on val; same draws of patients for both",
                )
            )
    brackets = name_interval({**interval, "clustered_by": one["clustered_by"]})
    caption = f"{one['task']}, split {one['split']}: seeds and ensembles on test. In brackets: {brackets}."
    return ModelTable(caption, ("Run", *(title for title, _ in headline.values())), tuple(rows))


def _estimates(run: Mapping[str, Any], headline: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(run["metrics"].get(name) for name in headline)


def _spread_cell(found: Mapping[str, Any] | None, count: int, what: str = "seeds") -> Cell:
    if found is None or not found["defined"]:
        return Cell(f"undefined for all {what}", None)
    mean, low, high = (format_value(found[name]) for name in ("mean", "minimum", "maximum"))
    some = f" ({found['defined']} of {count} {what})" if found["defined"] < count else ""
    deviation = "" if found["sd"] is None else f" ± {format_value(found['sd'])}"
    return Cell(f"{mean}{deviation}", f"{low} to {high}{some}")
