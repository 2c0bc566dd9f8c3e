"""The spread of each network over its seeds and over repeats of one seed, and each ensemble beside its members.

The best member is chosen on val, by the study's headline metric or else the first that is compared; test chooses
nothing. Differences are taken on test and on external, one draw of patients, or of groups, for both
(`paired.paired_difference`): what makes a patient hard for both cancels. So stand side by side, seed by seed, tasks of
one kind with the same targets (with and without augmentation, say) and the networks of a task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from scanline.evaluate.average_precision import CocoMetrics
from scanline.evaluate.binary import BinaryMetrics
from scanline.evaluate.bootstrap import Statistic, count_clusters, divide, sum_by_cluster
from scanline.evaluate.classes import as_class_codes
from scanline.evaluate.detection_tables import DetectionTables, check_detection_tables
from scanline.evaluate.inputs import Codes, Floats, as_clusters, refuse
from scanline.evaluate.multiclass import MulticlassMetrics
from scanline.evaluate.multilabel import MultilabelMetrics
from scanline.evaluate.paired import paired_difference
from scanline.evaluate.seeds_options import CompareSeedsOptions, SeedRun

# By kind, metrics of the first table to their names in the kind's statistic; the first one chooses the best member
# where the study names none of them.
COMPARED: dict[str, dict[str, str]] = {
    "binary": {"auroc": "auroc", "auprc": "auprc", "f1": "f1", "accuracy": "accuracy"},
    "multilabel": {"auroc": "macro.auroc", "auprc": "macro.auprc", "f1": "macro.f1"},
    "multiclass": {"accuracy": "accuracy", "f1": "macro.f1", "auroc": "macro.auroc"},
    "detect": {"ap_50": "ap_50", "ap_50_95": "ap_50_95", "ap_10": "ap_10"},
    "segment": {"dice": "dice"},
}
ANSWERS = ("truth", "predicted", "probability")
SPREAD = ("mean", "sd", "minimum", "maximum")
MEASURED = ("test", "external")  # val chooses
COLUMNS = {
    **dict.fromkeys(("split", "task", "kind", "subset", "model"), "str"),
    "runs": "int64",
    "same_seed": "Int64",
    "metric": "str",
    **dict.fromkeys((*SPREAD, "value", "low", "high"), "float64"),
    "best_member": "str",
    **dict.fromkeys(("difference", "difference_low", "difference_high"), "float64"),
}


@dataclass(frozen=True)
class SeedFiles:
    """What the evaluation of one run left.

    Attributes:
        run: Which run.
        metrics: Its metrics.json.
        images: Its table of single images: per_image.parquet, or image_level.parquet of a detector.
        detections: Of a detector: detections.parquet; None for others.
    """

    run: SeedRun
    metrics: Mapping[str, Any]
    images: pd.DataFrame
    detections: pd.DataFrame | None = None


@dataclass(frozen=True)
class Curated:
    """The study's tables, which true boxes are read from."""

    images: pd.DataFrame
    boxes: pd.DataFrame
    labels: pd.DataFrame


class MeanOfImages:
    """The mean of a value over images, as a function of the clusters' weights: a `bootstrap.Statistic`.

    Args:
        name: Of the value.
        values: Shape (images,).
        clusters: Cluster of each image, shape (images,).
    """

    def __init__(self, name: str, values: Floats, clusters: Codes) -> None:
        self._name, self.clusters = name, count_clusters(clusters)
        self._sums = sum_by_cluster(np.stack([values, np.ones_like(values)], axis=1), clusters, self.clusters)

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """The mean under each row of weights, shape (resamples,)."""
        total = weights @ self._sums
        return {self._name: divide(total[:, 0], total[:, 1])}

    def reason_undefined(self, name: str) -> str:
        """Why there is no mean."""
        return f"no image with a {name}"


def compare_seeds(files: Sequence[SeedFiles], curated: Curated, options: CompareSeedsOptions) -> dict[str, Any]:
    """The content of seeds.json: by split and task the runs, spreads over seeds and repeats, ensembles; and pairs.

    Args:
        files: Of each run of the options, in their order.
        curated: The study's tables.
        options: Runs, where metrics are held, intervals.

    Raises:
        InputError: If the members of an ensemble were tested on other images than it.
    """
    scoring = options.evaluate
    keys = dict.fromkeys((one.run.split, one.run.task) for one in files)
    groups = {key: [one for one in files if (one.run.split, one.run.task) == key] for key in keys}
    return {
        "interval": {
            "level": scoring.confidence_level,
            "resamples": scoring.bootstrap_resamples,
            "method": scoring.interval_method,
            "stratified": False,
        },
        "comparisons": [_compare(group, curated, options) for group in groups.values() if _is_compared(group)],
        "pairs": [
            compare_pair(first, second, subset, curated, options)
            for first, second in pairs_of(files)
            for subset in MEASURED
            if all(subset in one.metrics["subsets"] for one in (first, second))
        ],
    }


def pairs_of(files: Sequence[SeedFiles]) -> list[tuple[SeedFiles, SeedFiles]]:
    """The trained runs of one split, kind, targets and seed that are set side by side, but detectors'.

    Detectors have a rule of their own. A pair is one network on two tasks, or a task's first network and another one;
    neither repeats of a seed nor ensembles are in any.
    """
    trained = [one for one in files if not one.run.members and one.run.repeat_of is None and one.run.kind != "detect"]
    found = []
    for first, second in combinations(trained, 2):
        if _question(first) != _question(second):
            continue
        of_task = [one for one in trained if _question(one) == _question(first) and one.run.task == first.run.task]
        of_tasks = first.run.model == second.run.model and first.run.task != second.run.task
        if of_tasks or (first.run.task == second.run.task and first is of_task[0]):
            found.append((first, second))
    return found


def _question(files: SeedFiles) -> tuple[str, str, tuple[str, ...], int]:
    return files.run.split, files.run.kind, files.run.targets, files.run.seed


def compare_pair(
    first: SeedFiles, second: SeedFiles, subset: str, curated: Curated, options: CompareSeedsOptions
) -> dict[str, Any]:
    """Second minus first on the images of a subset that both were measured on, by metric of COMPARED."""
    run = first.run
    tables = [_of_subset(one, subset) for one in (first, second)]
    shared = tables[0].index.intersection(tables[1].index)
    tables = [table.loc[shared] for table in tables]
    sides = [{"task": one.run.task, "model": one.run.model} for one in (first, second)]
    names = [name for side in sides for name in side.values()]
    stream = ("compare_seeds", "pair", run.split, *names, str(run.seed), subset)
    return {
        **{"split": run.split, "kind": run.kind, "targets": list(run.targets), "seed": run.seed, "subset": subset},
        **dict(zip(("first", "second"), sides, strict=True)),
        "images": len(shared),
        "clustered_by": first.metrics["interval"]["clustered_by"],
        "differences": _paired((second, first), tables[::-1], curated, options, *stream) if len(shared) else {},
    }


def _is_compared(group: Sequence[SeedFiles]) -> bool:
    """Whether a task has an ensemble, or a network with several seeds or repeats of one."""
    networks = [one.run.repeat_of or one.run.model for one in group]
    return any(one.run.members for one in group) or len(set(networks)) < len(networks)


def _compare(group: Sequence[SeedFiles], curated: Curated, options: CompareSeedsOptions) -> dict[str, Any]:
    first = group[0].run
    places = options.headline[first.kind]
    trained = [one for one in group if not one.run.members]
    names = dict.fromkeys(one.run.model for one in trained)
    seeds = {name: [one for one in trained if one.run.model == name] for name in names}
    measured = [subset for subset in MEASURED if all(subset in one.metrics["subsets"] for one in group)]
    return {
        "split": first.split,
        "task": first.task,
        "kind": first.kind,
        "first_metric": _first_metric(first.kind, options),
        "clustered_by": group[0].metrics["interval"]["clustered_by"],
        "runs": [
            {
                "subset": subset,
                "model": one.run.model,
                "seed": one.run.seed,
                "metrics": _headline(one, places, subset),
            }
            for subset in measured
            for one in trained
        ],
        "spreads": [
            {
                "subset": subset,
                "model": name,
                "seeds": [one.run.seed for one in runs],
                "metrics": _spreads(runs, places, subset),
            }
            for subset in measured
            for name, runs in seeds.items()
            if len(runs) > 1
        ],
        "repeats": [
            {
                "subset": subset,
                "model": name,
                "seed": seed,
                "runs": [one.run.model for one in runs],
                "metrics": _spreads(runs, places, subset),
            }
            for subset in measured
            for (name, seed), runs in _repeated(trained).items()
        ],
        "ensembles": [
            _describe_ensemble(one, trained, subset, curated, options)
            for subset in measured
            for one in group
            if one.run.members
        ],
    }


def _first_metric(kind: str, options: CompareSeedsOptions) -> str:
    return next(iter(compared_metrics(kind, options.chosen_by.get(kind))))


def compared_metrics(kind: str, chosen_by: str | None = None) -> dict[str, str]:
    """COMPARED of a kind, the metric that chooses the best member first; of detection any AP of CocoMetrics may.

    Examples:
        >>> list(compared_metrics("detect", "ap_75"))
        ['ap_75', 'ap_50', 'ap_50_95', 'ap_10']
    """
    metrics = COMPARED[kind]
    if chosen_by is None or (kind != "detect" and chosen_by not in metrics):
        return dict(metrics)
    return {chosen_by: metrics.get(chosen_by, chosen_by), **metrics}


def _spreads(runs: Sequence[SeedFiles], places: Mapping[str, Sequence[str]], subset: str) -> dict[str, Any]:
    return {metric: spread_of([_value(one, place, subset) for one in runs]) for metric, place in places.items()}


def _repeated(trained: Sequence[SeedFiles]) -> dict[tuple[str, int], list[SeedFiles]]:
    """The runs that were trained alike with one seed, by network and seed; nothing of what was trained once."""
    groups: dict[tuple[str, int], list[SeedFiles]] = {}
    for one in trained:
        groups.setdefault((one.run.repeat_of or one.run.model, one.run.seed), []).append(one)
    return {key: runs for key, runs in groups.items() if len(runs) > 1}


def spread_of(values: Sequence[float | None]) -> dict[str, float | int | None]:
    """How a metric varies over seeds: defined (for how many seeds), mean, sd (n - 1), minimum, maximum.

    Examples:
        >>> spread_of([0.7, 0.9, None])["mean"], spread_of([0.7])["sd"]
        (0.8, None)
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if not len(known):
        return {"defined": 0, **dict.fromkeys(SPREAD)}
    return {
        "defined": len(known),
        "mean": float(known.mean()),
        "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
        "minimum": float(known.min()),
        "maximum": float(known.max()),
    }


def _describe_ensemble(
    ensemble: SeedFiles, trained: Sequence[SeedFiles], subset: str, curated: Curated, options: CompareSeedsOptions
) -> dict[str, Any]:
    run, places = ensemble.run, options.headline[ensemble.run.kind]
    chosen_by = _first_metric(run.kind, options)
    wanted = {(member.model, member.seed) for member in run.members}
    members = [one for one in trained if (one.run.model, one.run.seed) in wanted]
    values = [(value, one) for one in members if (value := _value(one, places[chosen_by], "val")) is not None]
    best = max(values, key=lambda item: item[0])[1] if values else None  # the first of equals
    differences = {} if best is None else _differences(ensemble, best, subset, curated, options)
    return {
        "subset": subset,
        "model": run.model,
        "seed": run.seed,
        "members": [member.model_dump() for member in run.members],
        "metrics": _headline(ensemble, places, subset),
        "chosen_by": chosen_by,
        "best_member": None if best is None else {"model": best.run.model, "seed": best.run.seed},
        "differences": differences,
    }


def _differences(
    ensemble: SeedFiles, best: SeedFiles, subset: str, curated: Curated, options: CompareSeedsOptions
) -> dict[str, dict[str, Any]]:
    """Ensemble minus best member on the images of a subset, by metric."""
    run = ensemble.run
    first, second = (_of_subset(one, subset) for one in (ensemble, best))
    if first.index.tolist() != second.index.tolist():
        expected = f"the same images of {subset} for an ensemble and its members"
        refuse(f"{run.task}, {run.model}", f"other images than {best.run.name}", expected, "Evaluate both again.")
    stream = ("compare_seeds", run.split, run.task, run.model, subset)
    return _paired((ensemble, best), (first, second), curated, options, *stream)


def _paired(
    sides: Sequence[SeedFiles],
    tables: Sequence[pd.DataFrame],
    curated: Curated,
    options: CompareSeedsOptions,
    *stream: str,
) -> dict[str, dict[str, Any]]:
    """First minus second on the images of the two tables, which are the same, by metric."""
    kind = sides[0].run.kind
    metrics = compared_metrics(kind, options.chosen_by.get(kind))
    clusters = as_clusters(tables[0]["cluster"], len(tables[0]))
    first, second = (
        _statistic(one, table, clusters, curated, tuple(metrics.values()))
        for one, table in zip(sides, tables, strict=True)
    )
    found = paired_difference(first, second, count_clusters(clusters), options.evaluate, *stream)
    return {metric: found[name].as_json() for metric, name in metrics.items()}


def _of_subset(files: SeedFiles, subset: str) -> pd.DataFrame:
    """The rows of single images of a subset, by image, in one order; of segmentation those with a lesion."""
    table = files.images.rename(columns={"image": "image_id"})
    table = table[table["subset"] == subset]
    if files.run.kind == "segment":
        table = table[table["dice"].notna()]
    return table.set_index("image_id").sort_index()


def _statistic(
    files: SeedFiles, table: pd.DataFrame, clusters: Codes, curated: Curated, metrics: tuple[str, ...]
) -> Statistic:
    """What is compared, on the images of `table`; of detection these metrics."""
    run = files.run
    if run.kind == "segment":
        return MeanOfImages("dice", table["dice"].to_numpy(dtype=np.float64), clusters)
    if run.kind == "binary":
        truth, predicted, probability = (table[name].to_numpy() for name in ANSWERS)
        return BinaryMetrics(truth.astype(bool), predicted.astype(bool), probability.astype(np.float64), clusters)
    if run.kind == "multilabel":
        truth, predicted, probability = (_matrix(table, name, run.targets) for name in ANSWERS)
        return MultilabelMetrics(truth, predicted == 1, probability, run.targets, clusters)
    if run.kind == "multiclass":
        called, told = (as_class_codes(table[name].to_numpy(), run.targets, name) for name in ("predicted", "truth"))
        given = table[[f"probability_{name}" for name in run.targets]].to_numpy(dtype=np.float64)
        return MulticlassMetrics(told, called, given, run.targets, clusters)
    tables = _box_tables(files, table, curated)
    tables = tables.of_images(np.arange(len(tables.images)), clusters)
    return CocoMetrics(tables, metrics)


def _box_tables(files: SeedFiles, table: pd.DataFrame, curated: Curated) -> DetectionTables:
    if files.detections is None:
        refuse(files.run.name, "no table of detections", "that of its predictions", "Give it with --detections.")
    targets, ids = files.run.targets, table.index
    boxes = curated.boxes[curated.boxes["image_id"].isin(ids) & curated.boxes["label"].isin(targets)]
    detections = files.detections[files.detections["image_id"].isin(ids)]
    images = curated.images.set_index("image_id").loc[ids].reset_index()
    boxes, detections = (part.reset_index(drop=True) for part in (boxes, detections))
    return check_detection_tables(boxes, detections, images, targets, curated.labels)


def _matrix(table: pd.DataFrame, column: str, labels: Sequence[str]) -> Floats:
    """Columns of all labels, shape (images, labels); NaN where unknown."""
    columns = (table[f"{column}_{label}"] for label in labels)
    return np.stack([values.to_numpy(dtype=np.float64, na_value=np.nan) for values in columns], axis=1)


def _headline(files: SeedFiles, places: Mapping[str, Sequence[str]], subset: str) -> dict[str, Any]:
    return {metric: _estimate(files.metrics["subsets"].get(subset, {}), place) for metric, place in places.items()}


def _value(files: SeedFiles, place: Sequence[str], subset: str) -> float | None:
    found = _estimate(files.metrics["subsets"].get(subset, {}), place)
    return None if found is None or found["value"] is None else float(found["value"])


def _estimate(values: Any, place: Sequence[str]) -> dict[str, Any] | None:
    """An estimate deep in nested mappings; None where the path ends early."""
    for key in place:
        if not isinstance(values, Mapping) or key not in values:
            return None
        values = values[key]
    return dict(values)


def table_of(comparisons: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """seeds.json as one table: a row a metric and subset of networks with several seeds, of repeats, of ensembles.

    Args:
        comparisons: Of seeds.json.

    Returns:
        The columns of COLUMNS. `runs` are seeds, or repeats of the seed `same_seed`, or members; mean, sd, minimum and
        maximum are of networks, value, low, high, best_member and difference (ensemble minus that member) of ensembles.
        Null where there is none.
    """
    rows: list[dict[str, Any]] = []
    for one in comparisons:
        keys = {name: one[name] for name in ("split", "task", "kind")}
        for spread in one["spreads"]:
            names = {**keys, "subset": spread["subset"], "model": spread["model"], "runs": len(spread["seeds"])}
            rows += [{**names, "metric": metric, **found} for metric, found in spread["metrics"].items()]
        for repeat in one["repeats"]:
            names = {**keys, "subset": repeat["subset"], "model": repeat["model"], "runs": len(repeat["runs"])}
            names["same_seed"] = repeat["seed"]
            rows += [{**names, "metric": metric, **found} for metric, found in repeat["metrics"].items()]
        for ensemble in one["ensembles"]:
            best = ensemble["best_member"]
            names = {**keys, "subset": ensemble["subset"], "model": ensemble["model"], "runs": len(ensemble["members"])}
            names["best_member"] = None if best is None else f"{best['model']}, seed {best['seed']}"
            for metric, estimate in ensemble["metrics"].items():
                difference = ensemble["differences"].get(metric) or {}
                shown = {f"difference_{name}": difference.get(name) for name in ("low", "high")}
                shown |= {"difference": difference.get("value")}
                rows.append({**names, "metric": metric, **(estimate or {}), **shown})
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
