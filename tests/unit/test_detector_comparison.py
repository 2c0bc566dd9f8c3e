"""Ways to train a detector side by side: values, paired differences, the shared images, the report, the rule."""

import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from boxed_volumes import cohort

import compare_detectors as script
from scanline.core.errors import InputError
from scanline.core.files import read_json, write_json
from scanline.core.options import check_options
from scanline.core.tables import write_table
from scanline.evaluate.detector import evaluate_detector, fit_on_val, fit_volumes_on_val
from scanline.evaluate.detector_comparison import DetectorFiles, StudyTables, compare_detectors
from scanline.evaluate.detector_comparison_options import (
    ComparedDetector,
    CompareDetectorsOptions,
    DetectorComparison,
)
from scanline.evaluate.detector_options import EvaluateDetectorOptions
from scanline.report.detector_comparison import describe_detector_comparison

INTERVALS = {"bootstrap_resamples": 200}
OPTIONS = EvaluateDetectorOptions(
    targets=("tear",), boxes={"headline": "ap_10"}, evaluate=INTERVALS, patient_salt="salt"
)
SPLITS = {"imbalanced": 0.1, "balanced": 0.35}  # what the two have learnt


def run_of(split, seed, skill, tables=None):
    tables = tables or cohort(seed=seed, skill=skill)
    return tables, DetectorFiles(
        run=ComparedDetector(split=split, task="detect", model="yolo", seed=seed),
        detections=tables.detections,
        predicted=tables.predicted,
        point=fit_on_val(tables, OPTIONS),
        volume_points=fit_volumes_on_val(tables, OPTIONS),
    )


def comparison_of(*splits):
    entries = [{"name": name, "split": name, "task": "detect", "model": "yolo"} for name in splits]
    return {"title": "What balancing is worth", "entries": entries}


def options_of(runs, *splits, **others):
    return CompareDetectorsOptions(
        comparisons={"balance": comparison_of(*(splits or SPLITS))},
        targets={"detect": ("tear",)},
        runs=tuple(one.run for one in runs),
        boxes=OPTIONS.boxes,
        evaluate=INTERVALS,
        **others,
    )


@pytest.fixture(scope="module")
def compared():
    """Two entries with two seeds each: the tables, the files, the summary, the table."""
    made = [run_of(split, seed, skill) for split, skill in SPLITS.items() for seed in (3, 4)]
    files, tables = [one for _, one in made], made[0][0]
    study = StudyTables(tables.images, tables.boxes, tables.labels)
    return made, study, *compare_detectors(files, study, options_of(files))


def test_a_value_is_the_mean_of_what_evaluation_gives_each_seed(compared):
    made, _, summary, _ = compared
    (one,) = summary["comparisons"]
    for entry in one["entries"]:
        own = [(tables, files) for tables, files in made if files.run.split == entry["split"]]
        tests = [
            evaluate_detector(tables, OPTIONS, files.point, files.volume_points).metrics["subsets"]["test"]
            for tables, files in own
        ]
        level = [test["volume_level"]["any_class"] for test in tests]
        expected = {
            "ap_10": [test["metrics"]["ap_10"]["value"] for test in tests],
            "ap_50_95": [test["metrics"]["ap_50_95"]["value"] for test in tests],
            "sensitivity": [test["lesions"]["all_classes"]["recall"]["value"] for test in tests],
            "volume_auroc": [found["metrics"]["auroc"]["value"] for found in level],
            "volume_sensitivity": [found["metrics"]["recall"]["value"] for found in level],
            "volume_specificity": [found["metrics"]["specificity"]["value"] for found in level],
            "volume_froc": [found["froc"]["box_mean_sensitivity"]["value"] for found in level],
        }
        for name, values in expected.items():
            assert entry["per_seed"][name] == pytest.approx(values, abs=1e-12), name
            assert entry["metrics"][name]["value"] == pytest.approx(np.mean(values), abs=1e-12), name
        assert entry["seeds"] == [3, 4]
    assert next(iter(one["entries"][0]["metrics"])) == "ap_10"  # the headline


def test_differences_are_paired_and_from_the_first_entry(compared):
    _, _, summary, table = compared
    (one,) = summary["comparisons"]
    first, second = one["entries"]
    assert (one["reference"], first["difference"]) == ("imbalanced", None)
    for name, difference in second["difference"].items():
        assert difference["value"] == pytest.approx(second["metrics"][name]["value"] - first["metrics"][name]["value"])
        assert difference["low"] <= difference["value"] <= difference["high"]
    area = second["difference"]["volume_auroc"]
    assert area["value"] > 0.1
    apart = [entry["metrics"]["volume_auroc"] for entry in one["entries"]]
    unpaired = np.hypot(*(value["high"] - value["low"] for value in apart))
    assert area["high"] - area["low"] < 1.2 * unpaired
    assert set(table["against"]) == {"", "imbalanced"}
    row = table[(table["entry"] == "balanced") & (table["against"] != "") & (table["metric"] == "volume_auroc")]
    assert row["value"].tolist() == [area["value"]]


def test_equal_detectors_differ_by_nothing_with_certainty():
    tables, first = run_of("imbalanced", 3, 0.2)
    second = replace(first, run=first.run.model_copy(update={"split": "balanced"}))
    study = StudyTables(tables.images, tables.boxes, tables.labels)
    summary, _ = compare_detectors([first, second], study, options_of([first, second]))
    for difference in summary["comparisons"][0]["entries"][1]["difference"].values():
        assert (difference["value"], difference["low"], difference["high"]) == (0, 0, 0)


def test_only_shared_test_images_count_and_without_any_there_is_one_line():
    tables, first = run_of("imbalanced", 3, 0.2)
    study = StudyTables(tables.images, tables.boxes, tables.labels)
    fewer = tables.predicted[~tables.predicted["image_id"].str.startswith("v0-0/")]
    renamed = first.run.model_copy(update={"split": "balanced"})
    second = replace(first, run=renamed, predicted=fewer)
    (one,) = compare_detectors([first, second], study, options_of([first, second]))[0]["comparisons"]
    lost = len(tables.predicted) - len(fewer)
    assert lost > 0
    assert [entry["test_images"] - one["images"] for entry in one["entries"]] == [lost, 0]
    assert one["entries"][0]["metrics"] == one["entries"][1]["metrics"]
    assert (
        f"left out, as others lack them: {lost} of imbalanced"
        in describe_detector_comparison({"comparisons": [one]})[0].words
    )
    none = replace(second, predicted=fewer[fewer["subset"] == "val"])
    with pytest.raises(InputError, match="no test image in common"):
        compare_detectors([first, none], study, options_of([first, none]))
    with pytest.raises(InputError, match="balance: balanced: found no run"):
        compare_detectors([first], study, options_of([first]))


def test_without_volumes_boxes_alone_are_compared_and_without_a_threshold_the_reason_stands():
    tables = cohort()
    nameless = replace(tables, images=tables.images.assign(volume_id=None))
    _, first = run_of("imbalanced", 3, 0.2, nameless)
    second = replace(first, run=first.run.model_copy(update={"split": "balanced"}))
    study = StudyTables(nameless.images, tables.boxes, tables.labels)
    (one,) = compare_detectors([first, second], study, options_of([first, second]))[0]["comparisons"]
    assert "volume_auroc" not in one["entries"][0]["metrics"]
    assert "volume is called" not in describe_detector_comparison({"comparisons": [one]})[0].words
    _, first = run_of("imbalanced", 3, 0.2)
    first = replace(first, volume_points=replace(first.volume_points, points={}, reasons={"tear": "no negatives"}))
    second = replace(first, run=second.run)
    study = StudyTables(tables.images, tables.boxes, tables.labels)
    (one,) = compare_detectors([first, second], study, options_of([first, second]))[0]["comparisons"]
    found = one["entries"][0]["metrics"]
    assert (found["volume_sensitivity"]["value"], found["volume_sensitivity"]["reason"]) == (None, "no negatives")
    assert found["volume_auroc"]["value"] is not None
    assert one["entries"][1]["difference"]["volume_sensitivity"]["value"] is None


def test_the_report_sets_entries_seeds_and_differences_side_by_side(compared):
    _, _, summary, _ = compared
    (part,) = describe_detector_comparison(summary)
    values, differences = part.tables
    assert part.title == "What balancing is worth"
    assert values.heads[:2] == ("Entry", "AP at IoU 0.1")
    assert [line.name for line in values.rows] == [
        "imbalanced",
        "imbalanced, single seeds",
        "balanced",
        "balanced, single seeds",
    ]
    assert values.rows[0].note == "split imbalanced, task detect, yolo, seed 3, 4"
    assert [line.name for line in differences.rows] == ["balanced − imbalanced"]
    assert "over patients" in differences.caption
    assert len({len(line.cells) for table in part.tables for line in table.rows}) == 1


def test_the_rule_reads_what_prediction_and_evaluation_wrote(tmp_path, monkeypatch, compared):
    made, study, summary, _ = compared
    named = {"detections": [], "predicted": [], "points": [], "volume_points": []}
    for place, (_, files) in enumerate(made):
        for name, table in (("detections", files.detections), ("predicted", files.predicted)):
            named[name].append(tmp_path / f"{name}{place}.parquet")
            write_table(table, named[name][-1])
        for name, point in (("points", files.point), ("volume_points", files.volume_points)):
            named[name].append(tmp_path / f"{name}{place}.json")
            write_json(named[name][-1], point.as_json())
    whole = study.images.assign(
        path=study.images["image_id"], slice_index=None, modality="MR", sha256=None, phash=None, mask_path=None
    )
    tables = {"images": whole, "boxes": study.boxes, "labels": study.labels}
    order = ["image_id", "source", "path", "patient_id", "volume_id", "slice_index", "width", "height"]
    tables["images"] = whole[[*order, "modality", "sha256", "phash", "mask_path"]]
    for name, table in tables.items():
        table.to_parquet(tmp_path / f"{name}.parquet")
        named[name] = [tmp_path / f"{name}.parquet"]
    made_files = {"comparison": tmp_path / "out.json", "table": tmp_path / "out.csv"}
    options = options_of([files for _, files in made]).model_dump_json()
    words = [word for name, paths in named.items() for word in (f"--{name.replace('_', '-')}", *map(str, paths))]
    words += [word for name, path in made_files.items() for word in (f"--{name}", str(path))]
    monkeypatch.setattr(sys, "argv", ["compare_detectors", "--options", options, *words])
    script.main()
    assert read_json(made_files["comparison"]) == json.loads(json.dumps(summary))
    assert len(pd.read_csv(made_files["table"])) == 3 * len(summary["comparisons"][0]["entries"][0]["metrics"])


@pytest.mark.parametrize("change", [{"name": "balanced"}, {"split": "balanced"}])
def test_entries_that_are_the_same_are_refused(change):
    entries = comparison_of(*SPLITS)["entries"]
    with pytest.raises(InputError, match="entries that differ in name, and in split, task or model"):
        check_options(DetectorComparison, {"title": "x", "entries": [{**entries[0], **change}, entries[1]]}, "a.yaml")
