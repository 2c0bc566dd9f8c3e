"""What leakage is worth: the same model on a split that leaks and on one that does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scanline.core.errors import InputError
from scanline.evaluate.binary import BinaryMetrics, Floats
from scanline.evaluate.bootstrap import number_clusters, percentile_interval, resample, seeded_generator
from scanline.evaluate.options import ComparedRun, CompareSplitsOptions, EvaluateOptions
from scanline.evaluate.scores import cluster_names

COMPARED = ("accuracy", "f1", "auroc")


@dataclass(frozen=True)
class RunResult:
    """One run and its files.

    Attributes:
        run: Split, protocol, task, model and training seed.
        metrics: Its metrics.json.
        per_image: Its table of single images.
        receipt: The receipt.json of its split.
    """

    run: ComparedRun
    metrics: Mapping[str, Any]
    per_image: pd.DataFrame
    receipt: Mapping[str, Any]


def compare_splits(
    metrics: Sequence[Mapping[str, Any]],
    per_image: Sequence[pd.DataFrame],
    receipts: Sequence[Mapping[str, Any]],
    options: CompareSplitsOptions,
) -> dict[str, Any]:
    """Test metrics of every run, and for each pair of splits the difference naive_image - grouped.

    Runs are paired when task, model and training seed are the same. The interval of a difference is the
    percentile interval of differences between two *independent* bootstraps, each drawing the patients of its
    own test set. It covers which patients happened to be in the two test sets. It does not cover how the
    splits were drawn (one draw each), the randomness of training (one seed each), or that the thresholds were
    chosen on two val sets. Nor does it know that patients stand in both test sets, which come from one
    collection: where the two models find the same patients hard, it is rather too wide than too narrow. And
    the difference is not leakage alone: the models saw different training images, and their test sets differ
    in size and prevalence.

    Args:
        metrics: metrics.json of each run of `options.runs`, in that order.
        per_image: Their tables of single images.
        receipts: The receipts of their splits.
        options: The runs, and how to resample.

    Returns:
        The content of leakage.json: rows and differences, in an order independent of the runs' order.

    Raises:
        InputError: If the numbers of runs and files differ.
    """
    counts = {"metrics": len(metrics), "per-image": len(per_image), "receipts": len(receipts)}
    for name, count in counts.items():
        if count != len(options.runs):
            raise InputError(
                f"--{name}",
                found=f"{count} files",
                expected=f"{len(options.runs)}, one for each of the runs in --options",
                next_step="Give the files of every run, in the runs' order.",
            )
    results = [RunResult(*parts) for parts in zip(options.runs, metrics, per_image, receipts, strict=True)]
    results.sort(key=lambda result: _run_key(result.run))
    pairs = [
        (grouped, naive)
        for grouped in results
        for naive in results
        if grouped.run.protocol == "grouped"
        and naive.run.protocol == "naive_image"
        and _question(grouped.run) == _question(naive.run)
    ]
    replicates = {
        _run_key(result.run): _test_replicates(result, options.evaluate)
        for result in {id(result): result for pair in pairs for result in pair}.values()
    }
    return {
        "rows": [_row(result) for result in results],
        "differences": [
            _difference(
                grouped,
                naive,
                replicates[_run_key(grouped.run)],
                replicates[_run_key(naive.run)],
                options.evaluate,
            )
            for grouped, naive in pairs
        ],
    }


def _question(run: ComparedRun) -> tuple[str, str, int]:
    return run.task, run.model, run.seed


def _run_key(run: ComparedRun) -> tuple[str, str, int, str, str]:
    return run.task, run.model, run.seed, run.protocol, run.split


def _row(result: RunResult) -> dict[str, Any]:
    """One run's test metrics, and how many of its test images leak.

    An image leaks when its group (patient, volume, duplicates: all that must not be parted) is in train too.
    """
    test = result.metrics["subsets"]["test"]["metrics"]
    return {
        **result.run.model_dump(),
        "leaking_test_images_share": result.receipt["leaks"]["group_id"]["test_images_share"],
        "metrics": {name: {key: test[name][key] for key in ("value", "low", "high", "reason")} for name in COMPARED},
    }


def _test_replicates(result: RunResult, options: EvaluateOptions) -> tuple[dict[str, Floats], int]:
    """The compared metrics in each resample of the test patients, and how many clusters were drawn."""
    test = result.per_image[result.per_image["subset"] == "test"].sort_values("image_id")
    measure = BinaryMetrics(
        test["truth"].to_numpy(dtype=bool),
        test["predicted"].to_numpy(dtype=bool),
        test["probability"].to_numpy(dtype=np.float64),
    )
    clusters = number_clusters(cluster_names(test["patient"], test["image_id"]))
    run = result.run
    generator = seeded_generator(options.seed, "compare_splits", run.split, run.task, run.model, str(run.seed))
    return resample(measure, clusters, options.bootstrap_resamples, generator), int(clusters.max()) + 1


def _difference(
    grouped: RunResult,
    naive: RunResult,
    of_grouped: tuple[dict[str, Floats], int],
    of_naive: tuple[dict[str, Floats], int],
    options: EvaluateOptions,
) -> dict[str, Any]:
    """naive_image - grouped for each compared metric, with the interval that `compare_splits` describes."""
    run = grouped.run
    differences: dict[str, dict[str, Any]] = {}
    for name in COMPARED:
        values = [result.metrics["subsets"]["test"]["metrics"][name] for result in (grouped, naive)]
        undefined = [value["reason"] for value in values if value["value"] is None]
        if undefined:
            differences[name] = {"value": None, "low": None, "high": None, "reason": "; ".join(undefined)}
            continue
        interval = percentile_interval(
            of_naive[0][name] - of_grouped[0][name], options.confidence_level, min(of_naive[1], of_grouped[1])
        )
        differences[name] = {
            "value": values[1]["value"] - values[0]["value"],
            "low": interval.low,
            "high": interval.high,
            "reason": interval.reason,
        }
    return {
        "task": run.task,
        "model": run.model,
        "seed": run.seed,
        "from": run.split,
        "to": naive.run.split,
        "metrics": differences,
    }
