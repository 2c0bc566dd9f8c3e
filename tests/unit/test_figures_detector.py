"""From a detector's files to its figures by the scripts, where it finds nothing, next to nothing, or much."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from boxed_images import SIZE, write_boxed_study
from PIL import Image
from sample_results import make_run_facts

import evaluate_detector
import plot_detector
from scanline.core.files import write_json
from scanline.core.tables import read_table, write_table
from scanline.predict.detector import detect_samples
from scanline.train.detection import Detections, load_detection_samples

OUTPUTS = ("training", "precision_recall", "froc", "volume_roc", "volume_froc", "confusion", "examples")


def boxes(corners, scores):
    found = np.asarray(corners, np.float32).reshape(-1, 4)
    return Detections(found, np.ones(len(found), np.int64), np.asarray(scores, np.float32))


def finds_nothing(images):
    return [boxes([], []) for _ in images]


def finds_what_is_bright(images):
    """The box around bright pixels, if there are any: right nearly always."""
    found = []
    for image in images:
        rows, columns = np.nonzero(image > 120)
        corners = [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]] if len(rows) else []
        found.append(boxes(corners, [0.5 + float(image.mean()) / 1000] * len(corners)))
    return found


def finds_one_box_a_subset(images):
    """The box of the first image that has one; a subset is one batch."""
    found = finds_what_is_bright(images)
    first = next(number for number, one in enumerate(found) if len(one.scores))
    return [one if number == first else boxes([], []) for number, one in enumerate(found)]


def finds_one_box_in_test(images):
    """Nothing on val, whose batch is shorter, so that no threshold can be chosen there."""
    return finds_one_box_a_subset(images) if len(images) > 20 else finds_nothing(images)


def finds_low_scores_alone(images):
    return [boxes([[0, 0, SIZE, SIZE]], [0.002]) for _ in images]


DETECTORS = {
    "nothing": finds_nothing,
    "one box a subset": finds_one_box_a_subset,
    "one box in test": finds_one_box_in_test,
    "low scores": finds_low_scores_alone,
    "what is bright": finds_what_is_bright,
}

COUNTED = {"nothing": 0, "one box in test": 1, "one box a subset": 2}  # of boxes at or above the threshold


def run_script(script, monkeypatch, options, files):
    words = [word for name, path in files.items() for word in (f"--{name.replace('_', '-')}", str(path))]
    monkeypatch.setattr(sys, "argv", [script.__name__, "--options", json.dumps(options), *words])
    script.main()


@pytest.mark.parametrize("finds", DETECTORS)
def test_figures_of_any_detector_are_drawn_from_its_files(tmp_path, monkeypatch, finds):
    files = write_boxed_study(tmp_path, counts={"train": 4, "val": 22, "test": 28})
    samples = load_detection_samples(**files, targets=("bleed",))
    detections, predicted = detect_samples(DETECTORS[finds], ("bleed",), samples, batch_size=32)
    write_table(detections, tmp_path / "detections.parquet")
    write_table(predicted, tmp_path / "predicted.parquet")
    names = ("curves", "box_outcomes", "image_level")
    made = {name: tmp_path / f"{name}.parquet" for name in names} | {"metrics": tmp_path / "metrics.json"}
    tables = {name: files[name] for name in ("images", "boxes", "labels", "split")}
    tables |= {name: tmp_path / f"{name}.parquet" for name in ("detections", "predicted")}
    others = {name: tmp_path / f"{name}.json" for name in ("operating_point", "volume_operating_point")}
    tabled = ("volume_level", "detections_csv", "image_level_csv", "volume_level_csv")
    others |= {name: tmp_path / f"{name}.csv" for name in tabled}
    evaluate = {"bootstrap_resamples": 100}
    options = {"targets": ["bleed"], "evaluate": evaluate, "patient_salt": "salt"}
    run_script(evaluate_detector, monkeypatch, options, tables | made | others)
    held = read_table(made["box_outcomes"])
    counted = held["outcome"].isin(["TP", "FP"]).sum()
    if finds in COUNTED:
        assert counted == COUNTED[finds]
    else:
        assert counted > 20

    write_json(tmp_path / "run.json", make_run_facts(2))
    found = 0.0 if finds == "nothing" else 0.5
    history = pd.DataFrame(
        {"epoch": [1, 2], "train_loss": [2, 1], "val_loss": [2, 1.5], "ap50": found, "ap50_95": found}
    )
    history.to_csv(tmp_path / "history.csv", index=False)
    inputs = made | {name: files[name] for name in ("pixels", "index", "images")}
    inputs |= {"history": tmp_path / "history.csv", "run": tmp_path / "run.json"}
    drawn = {name: tmp_path / f"{name}.png" for name in OUTPUTS}
    run_script(plot_detector, monkeypatch, {"title": "made", "phantom": True, "resolution_dpi": 50}, inputs | drawn)
    for path in drawn.values():
        assert len(np.unique(np.asarray(Image.open(path).convert("L")))) > 20, path.name
