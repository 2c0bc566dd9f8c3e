"""The comparison of a split that leaks with splits that do not."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scanline.core.errors import InputError
from scanline.evaluate.classifier import evaluate_classifier, fit_on_val
from scanline.evaluate.leakage import compare_splits
from scanline.evaluate.options import CompareSplitsOptions, EvaluateClassifierOptions, EvaluateOptions

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


def evaluated(seed, noise, *, positives=True):
    generator = np.random.default_rng(seed)
    patient = generator.integers(0, 40, 600)
    truth = generator.random(600) < 0.3
    probability = np.clip(np.where(truth, 0.7, 0.3) + generator.normal(0, noise, 600), 0, 1)
    names = [f"s/{index:03d}" for index in range(600)]
    subset = np.where(np.arange(600) % 2, "val", "test")
    if not positives:
        truth &= subset == "val"
    scores = pd.DataFrame({"image_id": names, "subset": subset, "truth": truth, "probability": probability})
    images = pd.DataFrame({"image_id": names, "patient_id": patient.astype(str), "width": 8, "height": 8})
    boxes = pd.DataFrame({name: [] for name in ("image_id", "label", "x", "y", "width", "height")})
    scoring = EvaluateOptions(bootstrap_resamples=300)
    options = EvaluateClassifierOptions(target="bleed", patient_salt="salt", evaluate=scoring)
    result = evaluate_classifier(scores, images, boxes, {}, options, fit_on_val(scores, options))
    return result.metrics, result.per_image


def receipt(share):
    return {"leaks": {"group_id": {"shared": 3, "test_images": 9, "test_images_share": share}}}


def run(split, *, task="classify", model="resnet18", seed=42):
    protocol = "naive_image" if split.startswith("naive_image") else "grouped"
    return {"split": split, "protocol": protocol, "task": task, "model": model, "seed": seed}


def options_of(runs, resamples=300, **scoring):
    evaluate = {"bootstrap_resamples": resamples, **scoring}
    return CompareSplitsOptions.model_validate({"runs": runs, "evaluate": evaluate})


@pytest.fixture(scope="module")
def compared():
    runs = [run("grouped"), run("naive_image"), run("grouped", seed=43), run("grouped_seed123")]
    results = [evaluated(seed, noise) for seed, noise in ((0, 0.25), (1, 0.05), (2, 0.25), (3, 0.25))]
    metrics, per_image = zip(*results, strict=True)
    receipts = [receipt(share) for share in (0.0, 0.99, 0.0, 0.0)]
    return runs, metrics, per_image, receipts


def test_rows_repeat_the_metrics_files(compared):
    runs, metrics, *_ = compared
    rows = compare_splits(*compared[1:], options_of(runs))["rows"]
    assert len(rows) == len(runs)
    for one, file in zip(runs, metrics, strict=True):
        (row,) = [row for row in rows if {key: row[key] for key in one} == one]
        for name in ("accuracy", "f1", "auroc"):
            for key in ("value", "low", "high"):
                assert row["metrics"][name][key] == file["subsets"]["test"]["metrics"][name][key]
    assert {row["split"]: row["leaking_test_images_share"] for row in rows}["naive_image"] == 0.99


def test_differences_pair_equal_task_model_and_seed_only(compared):
    runs, metrics, *_ = compared
    differences = compare_splits(*compared[1:], options_of(runs))["differences"]
    assert [(one["from"], one["to"], one["seed"]) for one in differences] == [
        ("grouped", "naive_image", 42),
        ("grouped_seed123", "naive_image", 42),
    ]
    for name, value in differences[0]["metrics"].items():
        naive, grouped = (metrics[index]["subsets"]["test"]["metrics"][name]["value"] for index in (1, 0))
        assert value["value"] == naive - grouped
        assert 0 < value["low"] < value["value"] < value["high"]


def test_the_interval_of_a_difference_is_as_wide_as_independent_ones_together(compared):
    runs, metrics, *_ = compared
    options = options_of(runs, resamples=4000)
    accuracy = compare_splits(*compared[1:], options)["differences"][0]["metrics"]["accuracy"]
    parts = [metrics[index]["subsets"]["test"]["metrics"]["accuracy"] for index in (0, 1)]
    expected = np.hypot(*(part["high"] - part["low"] for part in parts))
    assert accuracy["high"] - accuracy["low"] == pytest.approx(expected, rel=0.15)


def test_equal_test_sets_of_two_splits_are_resampled_independently(compared):
    _, metrics, per_image, receipts = compared
    same = [metrics[0]] * 2, [per_image[0]] * 2, receipts[:2]
    difference = compare_splits(*same, options_of([run("grouped"), run("naive_image")]))["differences"][0]
    accuracy = difference["metrics"]["accuracy"]
    assert accuracy["value"] == 0
    assert accuracy["low"] < 0 < accuracy["high"]


@pytest.mark.parametrize("scoring", [{"interval_method": "bca"}, {"stratified": True}, {"confidence_level": 0.8}])
def test_differences_follow_the_options_of_intervals(compared, scoring):
    plain, other = (
        compare_splits(*compared[1:], options_of(compared[0], **options))["differences"][0]["metrics"]["auroc"]
        for options in ({}, scoring)
    )
    assert other["value"] == plain["value"]
    assert other["low"] != plain["low"]
    assert other["low"] < other["value"] < other["high"]


def test_the_order_of_runs_and_rows_is_no_matter(compared):
    runs, metrics, per_image, receipts = compared
    shuffled = [table.sample(frac=1, random_state=0) for table in per_image]
    turned = compare_splits(metrics[::-1], shuffled[::-1], receipts[::-1], options_of(runs[::-1]))
    assert turned == compare_splits(metrics, per_image, receipts, options_of(runs))


def test_an_undefined_metric_has_an_undefined_difference(compared):
    _, metrics, per_image, receipts = compared
    without = evaluated(5, 0.2, positives=False)
    difference = compare_splits(
        [metrics[1], without[0]],
        [per_image[1], without[1]],
        [receipts[1], receipts[0]],
        options_of([run("naive_image"), run("grouped")]),
    )["differences"][0]
    auroc = {"value": None, "low": None, "high": None, "reason": "grouped: no image is positive"}
    assert difference["metrics"]["auroc"] == auroc
    assert difference["metrics"]["accuracy"]["value"] is not None


def test_files_that_do_not_match_the_runs_are_refused(compared):
    runs, metrics, per_image, receipts = compared
    with pytest.raises(InputError, match="--per-image: found 3 files"):
        compare_splits(metrics, per_image[:3], receipts, options_of(runs))


def test_the_command_line(tmp_path, compared):
    runs, metrics, per_image, receipts = compared
    paths = {"metrics": [], "per-image": [], "receipts": []}
    for index in range(len(runs)):
        names = [
            tmp_path / f"metrics{index}.json",
            tmp_path / f"{index}.parquet",
            tmp_path / f"r{index}.json",
        ]
        names[0].write_text(json.dumps(metrics[index]))
        per_image[index].to_parquet(names[1])
        names[2].write_text(json.dumps(receipts[index]))
        for key, name in zip(paths, names, strict=True):
            paths[key].append(name)
    arguments = [part for key, names in paths.items() for part in (f"--{key}", *names)]
    options = options_of(runs)
    subprocess.run(
        [sys.executable, SCRIPTS / "compare_splits.py", *arguments,
         "--comparison", tmp_path / "leakage.json", "--options", options.model_dump_json()],
        check=True,
    )  # fmt: skip
    assert json.loads((tmp_path / "leakage.json").read_text()) == compare_splits(*compared[1:], options)
