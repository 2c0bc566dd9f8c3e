"""Ensembles in figures and reports, and where a model of its own is asked for."""

import json

import pandas as pd
import pytest
from PIL import Image

from scanline.core.errors import InputError
from scanline.core.files import write_json
from scanline.figures.options import RunFigureOptions
from scanline.figures.task_comparison import name_run
from scanline.figures.training import plot_loss, plot_trainings
from scanline.predict.image_models import read_kind
from scanline.report.ensemble import describe_ensemble
from scanline.report.headline import headline_tables
from scanline.report.kinds import KINDS
from scanline.report.options import ReportedRun

MEMBERS = [{"model": "yolov8n", "seed": 42, "weight": 1}, {"model": "yolov8n", "seed": 7, "weight": 2.5}]
FUSION = {"iou_threshold": 0.6, "confidence": "maximum"}


def reported(**values):
    run = {"split": "grouped", "protocol": "grouped", "task": "detect", "kind": "detect", "seed": 0}
    return ReportedRun.model_validate({**run, "model": "ensemble_yolo", "members": MEMBERS, **values})


def trainings(folder, count):
    histories, runs = [], []
    for number in range(count):
        histories.append(folder / f"history{number}.csv")
        runs.append(folder / f"run{number}.json")
        losses = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [3, 2, 1.5], "val_loss": [3, 2 + number, 2.5]})
        losses.to_csv(histories[-1], index=False)
        write_json(runs[-1], {"best_epoch": 2})
    return histories, runs


def test_the_training_of_an_ensemble_is_that_of_its_members(tmp_path):
    options = RunFigureOptions(
        title="an ensemble", phantom=False, resolution_dpi=60, members=("a, seed 1", "b, seed 1")
    )
    histories, runs = trainings(tmp_path, 2)
    plot_trainings(histories, runs, options, tmp_path / "both.png", plot_loss)
    other = options.model_copy(update={"members": ("a, seed 1", "c, seed 1")})
    plot_trainings(histories, runs, other, tmp_path / "other.png", plot_loss)
    assert (tmp_path / "both.png").read_bytes() != (tmp_path / "other.png").read_bytes()
    with Image.open(tmp_path / "both.png") as image:
        assert image.width > 300


def test_the_training_of_a_network_is_drawn_as_it_was(tmp_path):
    options = RunFigureOptions(title="a run", phantom=False, resolution_dpi=60)
    histories, runs = trainings(tmp_path, 1)
    plot_trainings(histories, runs, options, tmp_path / "one.png", plot_loss)
    plot_loss(pd.read_csv(histories[0]), {"best_epoch": 2}, options, tmp_path / "same.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "same.png").read_bytes()
    with pytest.raises(InputError, match="found 2 and 2 files"):
        plot_trainings(*trainings(tmp_path, 2), options, tmp_path / "two.png", plot_loss)


def test_an_ensemble_is_told_by_its_members_and_how_boxes_become_one():
    facts = dict(describe_ensemble(reported(weighted_boxes_fusion=FUSION)))
    assert facts["Member 1"] == "yolov8n, seed 42"
    assert facts["Member 2"] == "yolov8n, seed 7, weight 2.5"
    assert facts["Together"] == "weighted boxes fusion, boxes that overlap by an IoU above 0.600"
    assert facts["Score of a fused box"] == "the highest of its boxes"
    assert dict(describe_ensemble(reported()))["Together"] == "weighted mean of the probabilities"


def test_tables_say_ensemble_of_how_many_in_place_of_a_seed():
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6, "reason": None}
    subset = {"images": 4, "patients": 2, "metrics": dict.fromkeys(KINDS["detect"].headline, estimate)}
    runs = [reported(model="yolov8n", seed=42, members=[]), reported()]
    (table,) = headline_tables(runs, [{"subsets": {"test": subset}}] * 2)
    assert [row.detail.partition(";")[0] for row in table.rows] == [
        "split grouped, seed 42",
        "split grouped, ensemble of 2",
    ]
    assert name_run({"model": "ensemble_yolo", "seed": 0}) == "ensemble_yolo, ensemble"


def test_an_ensemble_asked_for_a_model_is_refused_in_one_line(tmp_path):
    path = tmp_path / "models/grouped/detect/ensemble_yolo/seed0/model.pt"
    with pytest.raises(InputError, match=r"an ensemble, which has no model of its own.*one of its members") as caught:
        read_kind(path)
    assert "\n" not in str(caught.value)
    assert json.dumps(str(path))[1:-1] in str(caught.value)
