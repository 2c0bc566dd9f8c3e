"""The model store keeps what was trained: through a kill, a deletion, an option changed and changed back."""

import csv
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

pytestmark = pytest.mark.workflow

RUN = "grouped/classify/resnet18/seed42"
MODEL = f"results/{PRESET}/phe_sich/models/{RUN}/model.pt"
LOG = f"results/{PRESET}/logs/train_classifier/phe_sich/{RUN}.log"
DEADLINE_SECONDS = 120


def weights_of(project):
    return torch.load(project.root / MODEL, map_location="cpu", weights_only=True)["state"]


def assert_equal_weights(one, other) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def assert_equal_history(project, other) -> None:
    """Equal losses, epoch by epoch; seconds differ."""
    rows = []
    for root in (project.root, other.root):
        with (root / MODEL).with_name("history.csv").open(encoding="utf-8") as stream:
            rows.append([{**row, "seconds": None} for row in csv.DictReader(stream)])
    assert rows[0] == rows[1]


def forget_model(project) -> None:
    """Delete the model's files and the whole store."""
    shutil.rmtree((project.root / MODEL).parent)
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


def test_a_killed_workflow_resumes_to_equal_weights(project, finished):
    forget_model(project)
    process = project.start(MODEL)
    wait_for_checkpoint(project, process)
    time.sleep(0.05)  # into the second epoch
    os.killpg(process.pid, signal.SIGKILL)  # Snakemake and its job, as a power cut would
    process.communicate()
    assert checkpoint_in(project) is not None, "training was over before the kill"
    assert not (project.root / MODEL).exists()

    project.snakemake("--unlock")
    project.snakemake(MODEL)
    assert "resumed after epoch 1" in (project.root / LOG).read_text("utf-8")
    assert_equal_weights(weights_of(project), weights_of(finished))
    assert_equal_history(project, finished)
    assert checkpoint_in(project) is None


def test_a_killed_job_is_retried_and_resumes(project, finished):
    forget_model(project)
    process = project.start(MODEL)
    wait_for_checkpoint(project, process)
    training_process(process.pid).send_signal(signal.SIGKILL)  # as the kernel does when memory runs out
    output, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, output
    assert "Trying to restart job" in output
    assert "resumed after epoch 1" in (project.root / LOG).read_text("utf-8")
    assert_equal_weights(weights_of(project), weights_of(finished))


def test_deleted_outputs_are_linked_again_without_training(project, finished):
    shutil.rmtree((project.root / MODEL).parent)
    assert project.planned(MODEL) == {"train_classifier": 1}
    project.snakemake(MODEL)
    log = (project.root / LOG).read_text("utf-8")
    assert "already trained: linked" in log
    assert not re.search("epoch 1 of", log)
    assert (project.root / MODEL).stat().st_nlink > 1
    assert_equal_weights(weights_of(project), weights_of(finished))
    assert not project.planned()


def test_an_option_changed_and_changed_back_costs_nothing(project, finished):
    original = project.preset_file.read_text("utf-8")
    project.set_preset("training", learning_rate=0.002)
    project.snakemake(MODEL)
    assert "epoch 2 of 2" in (project.root / LOG).read_text("utf-8")
    changed = weights_of(project)
    assert any(not torch.equal(value, changed[name]) for name, value in weights_of(finished).items())

    project.preset_file.write_text(original, "utf-8")
    project.snakemake(MODEL)
    assert "already trained: linked" in (project.root / LOG).read_text("utf-8")
    assert_equal_weights(weights_of(project), weights_of(finished))
    assert not project.planned()
