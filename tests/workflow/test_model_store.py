"""The model store keeps what was trained: through a kill, a deletion, an option changed and changed back."""

import csv
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
import torch
from conftest import PRESET

from scanline.config import load_config
from scanline.train.detector_model import TunedModel
from scanline.train.options import ModelOptions

pytestmark = pytest.mark.workflow

RUN = "grouped/classify/shufflenet/seed42"
KINDS = {  # a run of each kind of task and of each family of detectors, and its rule
    "grouped/classify/shufflenet/seed42": "train_classifier",
    "grouped/segment/linknet/seed42": "train_segmenter",
    "grouped/detect/ssdlite/seed42": "train_detector",
    "grouped/detect/yolo/seed42": "train_detector",
}
DEADLINE_SECONDS = 240


def model_of(run: str) -> str:
    return f"results/{PRESET}/phe_sich/models/{run}/model.pt"


def log_of(project, run: str) -> str:
    return (project.results / f"logs/{KINDS[run]}/phe_sich/{run}.log").read_text("utf-8")


def weights_of(project, run: str = RUN):
    return torch.load(project.root / model_of(run), map_location="cpu", weights_only=True)["state"]


def assert_equal_weights(one, other) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def assert_equal_history(project, other, run: str) -> None:
    """Equal losses, epoch by epoch; seconds differ."""
    rows = []
    for root in (project.root, other.root):
        with (root / model_of(run)).with_name("history.csv").open(encoding="utf-8") as stream:
            rows.append([{**row, "seconds": None} for row in csv.DictReader(stream)])
    assert rows[0] == rows[1]


def record_of(project, run: str) -> dict[str, object]:
    return json.loads((project.root / model_of(run)).with_name("run.json").read_text("utf-8"))


def forget_model(project, run: str) -> None:
    """Delete the model's files and the whole store."""
    shutil.rmtree((project.root / model_of(run)).parent)
    shutil.rmtree(project.root / "results/model_store")


def checkpoint_in(project) -> Path | None:
    return next((project.root / "results/model_store").glob("*/checkpoint.pt"), None)


def wait_for_checkpoint(project, process) -> None:
    """Wait until training has saved its first epoch."""
    end = time.monotonic() + DEADLINE_SECONDS
    while checkpoint_in(project) is None:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, f"no checkpoint after {DEADLINE_SECONDS} s"
        time.sleep(0.02)


def training_process(snakemake_id: int) -> psutil.Process:
    for process in psutil.Process(snakemake_id).children(recursive=True):
        if "workflow/scripts/train_classifier.py" in process.cmdline()[1:2]:
            return process
    raise AssertionError("no training process")


@pytest.mark.parametrize("run", KINDS)
def test_a_killed_workflow_resumes_to_equal_weights(project, finished, run):
    forget_model(project, run)
    process = project.start(model_of(run))
    wait_for_checkpoint(project, process)
    time.sleep(0.05)  # into the second epoch
    os.killpg(process.pid, signal.SIGKILL)  # Snakemake and its job, as a power cut would
    process.communicate()
    assert checkpoint_in(project) is not None, "training was over before the kill"
    assert not (project.root / model_of(run)).exists()

    project.snakemake("--unlock")
    project.snakemake(model_of(run))
    assert "resumed after epoch 1" in log_of(project, run)
    assert_equal_weights(weights_of(project, run), weights_of(finished, run))
    assert_equal_history(project, finished, run)
    (folder,) = (project.root / "results/model_store").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["history.csv", "lock", "model.pt", "run.json"]
    record, undisturbed = record_of(project, run), record_of(finished, run)
    assert record["store_key"] == folder.name
    measured = {"train_seconds", "wall_seconds", "images_per_second", "git_commit"}
    assert {name: record[name] for name in record.keys() - measured} == {
        name: undisturbed[name] for name in undisturbed.keys() - measured
    }


TORCH = {"python", "torch", "torchvision", "numpy", "pandas"}
FACTS = {  # what run.json says of each engine: facts, and names of packages
    "grouped/classify/shufflenet/seed42": ({"architecture": "shufflenet_v2_x0_5"}, TORCH),
    "grouped/segment/linknet/seed42": (
        {"architecture": "linknet", "encoder": "mobilenet_v2", "loss": "bce_dice", "image_size_px": 96},
        TORCH | {"segmentation-models-pytorch", "timm"},
    ),
    "grouped/detect/ssdlite/seed42": (
        {"architecture": "ssdlite320_mobilenet_v3_large", "family": "torchvision", "classes": ["haemorrhage"]},
        TORCH,
    ),
    "grouped/detect/yolo/seed42": (
        {"architecture": "yolov8n", "family": "ultralytics", "classes": ["haemorrhage"]},
        TORCH | {"ultralytics"},
    ),
}


@pytest.mark.parametrize("run", KINDS)
def test_the_record_of_each_engine_says_what_was_trained_and_where_it_lies(finished, run):
    record = record_of(finished, run)
    facts, packages = FACTS[run]
    facts = {**facts, "seed": 42, "epochs": 2, "stopped_early": False, "weights": "none"}
    assert {name: record[name] for name in facts} == facts
    assert record["best_epoch"] in (1, 2)
    assert record["versions"].keys() == packages
    assert record["device"].endswith("1 threads")
    assert all(record[name] > 0 for name in ("n_train", "n_val", "parameters", "images_per_second", "train_seconds"))

    config = load_config({"studies": ["phe_sich"], "preset": PRESET}, finished.root)
    study, (_, task, model, _) = config.studies["phe_sich"], run.split("/")
    network = study.models[model].network()
    assert record["options"] == {
        "task": study.tasks[task].model_dump(mode="json"),
        "model": (TunedModel if "ultralytics" in network else ModelOptions)(**network).model_dump(mode="json"),
        "training": study.training.model_dump(mode="json"),
    }
    stored = finished.root / "results/model_store" / record["store_key"] / "model.pt"
    assert stored.samefile(finished.root / model_of(run))


def test_a_killed_job_is_retried_and_resumes(project, finished):
    forget_model(project, RUN)
    process = project.start(model_of(RUN))
    wait_for_checkpoint(project, process)
    training_process(process.pid).send_signal(signal.SIGKILL)  # as the kernel does when memory runs out
    output, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, output
    assert "Trying to restart job" in output
    assert "resumed after epoch 1" in log_of(project, RUN)
    assert_equal_weights(weights_of(project), weights_of(finished))


def test_deleted_outputs_are_linked_again_without_training(project, finished):
    shutil.rmtree((project.root / model_of(RUN)).parent)
    assert project.planned(model_of(RUN)) == {f"train_classifier/phe_sich/{RUN}"}
    project.snakemake(model_of(RUN))
    log = log_of(project, RUN)
    assert "already trained: linked" in log
    assert not re.search("epoch 1 of", log)
    assert (project.root / model_of(RUN)).stat().st_nlink > 1
    assert_equal_weights(weights_of(project), weights_of(finished))
    assert not project.planned()


def test_an_option_changed_and_changed_back_costs_nothing(project, finished):
    original = project.preset_file.read_text("utf-8")
    project.set_preset("training", learning_rate=0.002)
    project.snakemake(model_of(RUN))
    assert "epoch 2 of 2" in log_of(project, RUN)
    changed = weights_of(project)
    assert any(not torch.equal(value, changed[name]) for name, value in weights_of(finished).items())

    project.preset_file.write_text(original, "utf-8")
    project.snakemake(model_of(RUN))
    assert "already trained: linked" in log_of(project, RUN)
    assert_equal_weights(weights_of(project), weights_of(finished))
    assert not project.planned()
