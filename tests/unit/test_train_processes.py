"""Training in several processes: two on a CPU by gloo, which stand in for two GPUs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import boxed_images
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from boxed_images import write_boxed_study
from killed_training import assert_equal_weights, weights_of
from segmentation_study import TARGET, make_segmentation_study

from scanline.core.errors import InputError
from scanline.core.files import write_json
from scanline.train.processes import Processes, count_processes, require_parts

HERE = Path(__file__).parent
SCRIPTS = HERE.parents[1] / "workflow/scripts"
TRAINING = {"epochs": 3, "batch_size": 7, "learning_rate": 1e-3, "precision": "float32", "device": "cpu"}
AUGMENTATION = {"horizontal_flip": True, "crop_min_scale": 0.8}
# The sums of two processes round otherwise than one's, and AdamW's first steps take the sign of small gradients.
TOLERANCE = {"atol": 2e-5, "rtol": 1e-4}
pytestmark = pytest.mark.slow


@pytest.fixture
def classifier_files(training_files):
    """Two classes; of the second every third is unknown."""
    labels = pd.read_parquet(training_files["labels"])
    other = labels["bleed"].to_numpy(dtype=bool) ^ (np.arange(len(labels)) % 4 == 0)
    labels["other"] = pd.array(other, dtype="boolean")
    labels.loc[labels.index % 3 == 1, "other"] = pd.NA
    labels.to_parquet(training_files["labels"])
    return training_files


def start(folder, script, files, options, **environment):
    """Start the script by way of `parallel_job`."""
    folder.mkdir(exist_ok=True)
    write_json(folder / "receipt.json", {"leak_free": True, "protocol": "grouped"})
    outputs = {name: folder / file for name, file in OUTPUTS.items()}
    paths = {**files, **outputs, "store": folder / "store", "receipt": folder / "receipt.json"}
    words = [word for name, path in paths.items() for word in (f"--{name.replace('_', '-')}", str(path))]
    words += ["--options", json.dumps(options), "--seed", "1", "--threads", "2", "--gpus", "2", "--code", "c"]
    return subprocess.Popen(
        [sys.executable, HERE / "parallel_job.py", script, *words],
        env={**os.environ, "PYTHONPATH": f"{SCRIPTS}{os.pathsep}{HERE}", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


OUTPUTS = {"model": "model.pt", "history": "history.csv", "run": "run.json"}


def train(folder, *job, status=0, **environment):
    """Train to the end; what was logged."""
    process = start(folder, *job, **environment)
    _, errors = process.communicate(timeout=1200)
    assert process.returncode == status, errors
    return errors


def record_of(folder):
    return json.loads((folder / "run.json").read_text("utf-8"))


def classify(files):
    task = {"kind": "multilabel", "targets": ["bleed", "other"], "augmentation": AUGMENTATION}
    model = {"architecture": "resnet18", "weights": "none", "channels": 1}
    return "train_classifier", files, {"task": task, "model": model, "training": TRAINING}


def segment(folder, **task):
    study = make_segmentation_study(folder)
    files = {name: study[name] for name in ("pixels", "index", "masks", "split")}
    task = {"kind": "segment", "target": TARGET, "augmentation": AUGMENTATION, "positive_share": 0.6, **task}
    model = {"architecture": "linknet", "encoder": "mobilenet_v2", "weights": "none", "channels": 1}
    return "train_segmenter", files, {"task": task, "model": model, "training": TRAINING}


def assert_close(one, other):
    for name, values in weights_of(one / "model.pt").items():
        torch.testing.assert_close(weights_of(other / "model.pt")[name], values, **TOLERANCE)
    columns = ["epoch", "train_loss", "val_loss", "learning_rate", "is_best"]
    first, second = (pd.read_csv(folder / "history.csv")[columns] for folder in (one, other))
    pd.testing.assert_frame_equal(first, second, check_exact=False, rtol=1e-4)


def test_two_processes_train_the_classifier_that_one_does(classifier_files, tmp_path):
    job = classify(classifier_files)
    train(tmp_path / "one", *job)
    said = train(tmp_path / "two", *job, PROCESSES="2")
    assert_close(tmp_path / "one", tmp_path / "two")
    assert said.count("epoch 3 of 3:") == 1
    one, two = record_of(tmp_path / "one"), record_of(tmp_path / "two")
    assert (one["processes"], two["processes"], one["n_train"], two["n_train"]) == (1, 2, 36, 36)
    assert one["store_key"] == two["store_key"]
    (folder,) = (tmp_path / "two/store").iterdir()
    assert {path.name for path in folder.iterdir()} == {"model.pt", "history.csv", "run.json", "lock"}


EVERY_OPTION = {  # of the task, and of training: nine images a batch are two parts in each of two processes
    "task": {"loss": "focal", "label_smoothing": 0.1, "mixup_alpha": 0.4, "stop_on": "auroc"},
    "training": {
        "batch_size": 9,
        "optimizer": "sgd",
        "learning_rate": 0.02,
        "schedule": "plateau",
        "plateau_patience_epochs": 0,
        "gradient_clip_norm": 0.05,
        "accumulation_steps": 2,
        "ema_decay": 0.8,
        "frozen_epochs": 1,
    },
}


def test_two_processes_train_what_one_does_with_all_options_on(classifier_files, tmp_path):
    script, files, options = classify(classifier_files)
    options = {**options, **{name: {**options[name], **more} for name, more in EVERY_OPTION.items()}}
    train(tmp_path / "one", script, files, options)
    train(tmp_path / "two", script, files, options, PROCESSES="2")
    assert_close(tmp_path / "one", tmp_path / "two")
    one, two = (pd.read_csv(tmp_path / name / "history.csv")["val_auroc"] for name in ("one", "two"))
    assert one.tolist() == pytest.approx(two.tolist(), abs=1e-3)
    assert record_of(tmp_path / "two")["processes"] == 2


@pytest.mark.parametrize("loss", ["bce_dice", "focal"])
def test_two_processes_train_the_segmenter_that_one_does(tmp_path, loss):
    job = segment(tmp_path, loss=loss)
    train(tmp_path / "one", *job)
    train(tmp_path / "two", *job, PROCESSES="2")
    assert_close(tmp_path / "one", tmp_path / "two")


def test_a_killed_process_ends_all_in_one_line_and_training_resumes_to_equal_weights(classifier_files, tmp_path):
    job = classify(classifier_files)
    train(tmp_path / "undisturbed", *job, PROCESSES="2")
    said = train(tmp_path / "killed", *job, status=1, PROCESSES="2", DIES="1 2")
    assert "training process 1: found exit status -9; expected 0." in said.splitlines()[-1]
    assert not (tmp_path / "killed/model.pt").exists()
    said = train(tmp_path / "killed", *job, PROCESSES="2")
    assert said.count("resumed after epoch 1") == 1
    assert_equal_weights(tmp_path / "undisturbed/model.pt", tmp_path / "killed/model.pt")


def test_bad_input_is_one_line_though_all_processes_meet_it(classifier_files, tmp_path):
    labels = pd.read_parquet(classifier_files["labels"])
    labels.loc[36:47, "bleed"] = False
    labels.to_parquet(classifier_files["labels"])
    said = train(tmp_path / "run", *classify(classifier_files), status=1, PROCESSES="2")
    assert "Traceback" not in said
    assert said.count("no positives of 'bleed'") == 1


def test_processes_die_with_the_job_that_started_them(classifier_files, tmp_path):
    waiting = tmp_path / "waits"
    process = start(tmp_path / "run", *classify(classifier_files), PROCESSES="2", WAITS=str(waiting))
    while not (waiting.exists() and waiting.read_text()):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.send_signal(signal.SIGKILL)
    process.communicate()
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert len(gone) == len(children)
    assert not alive


@pytest.mark.parametrize("architecture", ["ssdlite320_mobilenet_v3_large", "yolov8n"])
def test_detectors_train_in_two_processes_and_equally_twice(tmp_path, architecture, monkeypatch):
    monkeypatch.setattr(boxed_images, "SIZE", 64)  # the smallest that ultralytics takes
    files = write_boxed_study(tmp_path, counts={"train": 11, "val": 6, "test": 4})
    options = {
        "task": {"kind": "detect", "targets": ["bleed"]},
        "model": {"architecture": architecture, "weights": "none", "channels": 1},
        "training": {**TRAINING, "epochs": 2, "batch_size": 4},
    }
    for name in ("first", "second"):
        train(tmp_path / name, "train_detector", files, options, PROCESSES="2")
    assert_equal_weights(tmp_path / "first/model.pt", tmp_path / "second/model.pt")
    history = pd.read_csv(tmp_path / "first/history.csv")
    assert history["epoch"].tolist() == [1, 2]
    assert np.isfinite(history[["train_loss", "val_loss"]]).all(axis=None)
    record = record_of(tmp_path / "first")
    assert (record["processes"], record["n_train"], record["epochs"]) == (2, 9, 2)


def test_the_own_parts_of_a_batch_are_the_batch():
    batch = torch.arange(7)
    parts = [Processes(rank, 3).own(batch) for rank in range(3)]
    assert torch.equal(torch.cat(parts), batch)
    assert [len(part) for part in parts] == [2, 2, 3]
    assert Processes(0, 1).own(batch) is not None
    assert torch.equal(Processes(0, 1).own(batch), batch)


def test_one_process_a_gpu_and_one_on_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert count_processes(2, torch.device("cuda")) == 2
    assert count_processes(0, torch.device("cuda")) == 1
    assert count_processes(4, torch.device("cpu")) == 1
    with pytest.raises(InputError, match="resource gpu: found 3, and 2 GPUs"):
        count_processes(3, torch.device("cuda"))


def test_a_batch_of_fewer_images_than_gpus_is_refused():
    require_parts(8, 100, 8)
    with pytest.raises(InputError, match=r"training.batch_size: found batches of 4 images; expected at least 8"):
        require_parts(32, 4, 8)
