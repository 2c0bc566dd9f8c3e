"""What leakage is worth: the same model on a split that leaks and on one that does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scanline.core.errors import InputError
from scanline.evaluate.binary import BinaryMetrics
from scanline.evaluate.bootstrap import strata_of_clusters
from scanline.evaluate.gap import ResampledSet, difference_of_sets, resample_set
from scanline.evaluate.inputs import as_clusters
from scanline.evaluate.options import ComparedRun, CompareSplitsOptions, EvaluateOptions

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

    Runs are paired when task, model and training seed are the same. The interval of a difference is that of
    `scanline.evaluate.gap`: two *independent* bootstraps, each drawing the patients of its own test set. It
    covers which patients happened to be in the two test sets. It does not cover how the splits were drawn (one
    draw each), the randomness of training (one seed each), or that the thresholds were chosen on two val sets.
    Nor does it know that patients stand in both test sets, which come from one collection: where the two models
    find the same patients hard, it is rather too wide than too narrow. And the difference is not leakage alone:
    the models saw different training images, and their test sets differ in size and prevalence.

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
        if grouped.run.protocol != "naive_image"
        and naive.run.protocol == "naive_image"
        and _question(grouped.run) == _question(naive.run)
    ]
    tests = {
        _run_key(result.run): _resample_test(result, options.evaluate)
        for result in {id(result): result for pair in pairs for result in pair}.values()
    }
    return {
        "rows": [_row(result) for result in results],
        "differences": [
            _difference(grouped.run, naive.run, tests[_run_key(grouped.run)], tests[_run_key(naive.run)], options)
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


def _resample_test(result: RunResult, options: EvaluateOptions) -> ResampledSet:
    """The metrics of a run's test subset, and in resamples of its patients."""
    test = result.per_image[result.per_image["subset"] == "test"].sort_values("image_id")
    truth = test["truth"].to_numpy(dtype=bool)
    clusters = as_clusters(test["cluster"], len(test))
    measure = BinaryMetrics(
        truth, test["predicted"].to_numpy(dtype=bool), test["probability"].to_numpy(dtype=np.float64), clusters
    )
    run = result.run
    stream = ("compare_splits", run.split, run.task, run.model, str(run.seed))
    strata = strata_of_clusters(truth, clusters) if options.stratified else None
    return resample_set(run.split, measure, measure.clusters, options, *stream, strata=strata)


def _difference(
    grouped: ComparedRun,
    naive: ComparedRun,
    of_grouped: ResampledSet,
    of_naive: ResampledSet,
    options: CompareSplitsOptions,
) -> dict[str, Any]:
    """naive_image - grouped for each compared metric, with the interval that `compare_splits` describes."""
    differences = difference_of_sets(of_naive, of_grouped, options.evaluate)
    return {
        "task": grouped.task,
        "model": grouped.model,
        "seed": grouped.seed,
        "from": grouped.split,
        "to": naive.split,
        "metrics": {
            name: {key: differences[name].as_json()[key] for key in ("value", "low", "high", "reason")}
            for name in COMPARED
        },
    }
