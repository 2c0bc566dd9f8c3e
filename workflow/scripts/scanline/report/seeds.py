"""Seeds and ensembles side by side in a report."""

from collections.abc import Mapping, Sequence
from typing import Any

from scanline.core.run_names import name_seed
from scanline.figures.numbers import format_count, format_difference, format_value
from scanline.report.headline import Cell
from scanline.report.kinds import KINDS, Columns, seed_columns_of
from scanline.report.models import Line, ModelTable
from scanline.report.volumes import seed_columns
from scanline.report.words import name_interval

_SUBSETS = {"test": "test", "external": "external set"}


def describe_seeds(values: Mapping[str, Any]) -> list[ModelTable]:
    """A table for each split and task of seeds.json: runs, their spread, ensembles and differences; then the pairs.

    Args:
        values: The content of seeds.json.
    """
    tables = [_table(one, values["interval"]) for one in values["comparisons"]]
    questions = dict.fromkeys(_question(pair) for pair in values["pairs"])
    return tables + [
        _pairs_table([pair for pair in values["pairs"] if _question(pair) == question], values["interval"])
        for question in questions
    ]


def _table(one: Mapping[str, Any], interval: Mapping[str, Any]) -> ModelTable:
    headline = _known_columns(one)
    subsets = dict.fromkeys(run["subset"] for run in one["runs"])
    rows = [row for subset in subsets for row in _rows_of_subset(one, subset, headline)]
    brackets = name_interval({**interval, "clustered_by": one["clustered_by"]})
    where = " and ".join(_SUBSETS[subset] for subset in subsets)
    caption = f"{one['task']}, split {one['split']}: seeds and ensembles on {where}. In brackets: {brackets}."
    return ModelTable(caption, ("Run", *(title for title, _ in headline.values())), tuple(rows))


def _known_columns(one: Mapping[str, Any]) -> Columns:
    """The columns of the kind; those of volumes where any run has a value."""
    columns = seed_columns_of(one["kind"], one["first_metric"])
    runs = [run["metrics"] for run in (*one["runs"], *one["ensembles"])]
    known = {name for name in columns for run in runs if (run.get(name) or {}).get("value") is not None}
    return {name: column for name, column in columns.items() if name in known or name not in seed_columns()}


def _rows_of_subset(one: Mapping[str, Any], subset: str, headline: Columns) -> list[Line]:
    where = "" if subset == "test" else f", {_SUBSETS[subset]}"
    runs, spreads, repeats, ensembles = (
        [part for part in one[name] if part["subset"] == subset] for name in ("runs", "spreads", "repeats", "ensembles")
    )
    rows = [
        Line(f"{run['model']}, {name_seed(run['model'], run['seed'])}{where}", _estimates(run, headline))
        for run in runs
    ]
    rows += [
        Line(
            f"{spread['model']}, {len(spread['seeds'])} seeds{where}",
            tuple(_spread_cell(spread["metrics"].get(name), len(spread["seeds"])) for name in headline),
            "mean ± standard deviation, lowest to highest",
        )
        for spread in spreads
    ]
    rows += [
        Line(
            f"{repeat['model']}, seed {repeat['seed']} trained {len(repeat['runs'])} times{where}",
            tuple(_spread_cell(repeat["metrics"].get(name), len(repeat["runs"]), "runs") for name in headline),
            "equal seeds: mean ± standard deviation, lowest to highest",
        )
        for repeat in repeats
    ]
    for ensemble in ensembles:
        members = len(ensemble["members"])
        name = f"{ensemble['model']}, {name_seed(ensemble['model'], ensemble['seed'], members)}{where}"
        rows.append(Line(name, _estimates(ensemble, headline)))
        best = ensemble["best_member"]
        if best is not None:
            rows.append(
                Line(
                    f"{ensemble['model']} minus {best['model']}, {name_seed(best['model'], best['seed'])}{where}",
                    _differences(ensemble, headline),
                    f"its best member by {headline[ensemble['chosen_by']][0]} on val; same draws for both",
                )
            )
    return rows


def _question(pair: Mapping[str, Any]) -> tuple[str, str, tuple[str, ...]]:
    return pair["split"], pair["kind"], tuple(pair["targets"])


def _pairs_table(pairs: Sequence[Mapping[str, Any]], interval: Mapping[str, Any]) -> ModelTable:
    """A row a pair: second minus first."""
    compared = {name for pair in pairs for name in pair["differences"]}
    columns = {name: column for name, column in KINDS[pairs[0]["kind"]].headline.items() if name in compared}
    rows = []
    for pair in pairs:
        first, second = pair["first"], pair["second"]
        key = "task" if first["task"] != second["task"] else "model"
        other = pair["first"]["model" if key == "task" else "task"]
        rows.append(
            Line(
                f"{second[key]} minus {first[key]}: {other}, seed {pair['seed']}, {_SUBSETS[pair['subset']]}",
                _differences(pair, columns),
                f"{format_count(pair['images'])} images; same draws for both",
            )
        )
    brackets = name_interval({**interval, "clustered_by": pairs[0]["clustered_by"]})
    caption = f"Tasks and networks on the same images, split {pairs[0]['split']}. In brackets: {brackets}."
    return ModelTable(caption, ("Difference", *(title for title, _ in columns.values())), tuple(rows))


def _differences(found: Mapping[str, Any], columns: Columns) -> tuple[Cell | None, ...]:
    cells = (found["differences"].get(name) for name in columns)
    return tuple(None if cell is None else Cell(*format_difference(cell)) for cell in cells)


def _estimates(run: Mapping[str, Any], headline: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(run["metrics"].get(name) for name in headline)


def _spread_cell(found: Mapping[str, Any] | None, count: int, what: str = "seeds") -> Cell:
    if found is None or not found["defined"]:
        return Cell(f"undefined for all {what}", None)
    mean, low, high = (format_value(found[name]) for name in ("mean", "minimum", "maximum"))
    some = f" ({found['defined']} of {count} {what})" if found["defined"] < count else ""
    deviation = "" if found["sd"] is None else f" ± {format_value(found['sd'])}"
    return Cell(f"{mean}{deviation}", f"{low} to {high}{some}")
