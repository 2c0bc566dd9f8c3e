"""The device: told at once where there is none, and described where there is one."""

import json
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch

import predict_classifier
import predict_detector
import predict_segmenter
import train_classifier
import train_detector
import train_segmenter
from scanline.core.errors import InputError
from scanline.train.device import describe_device, note_nondeterministic
from scanline.train.run import _fit_alone

TASKS = {
    train_classifier: ({"kind": "binary", "target": "bleed"}, {"architecture": "resnet18"}),
    train_segmenter: ({"kind": "segment", "target": "bleed"}, {"architecture": "unet", "encoder": "resnet18"}),
    train_detector: ({"kind": "detect", "targets": ["bleed"]}, {"architecture": "ssdlite320_mobilenet_v3_large"}),
}
FILES = {
    train_classifier: "pixels index labels split receipt store model history run",
    train_segmenter: "pixels index masks split receipt store model history run",
    train_detector: "pixels index images boxes labels split receipt store model history run",
    predict_classifier: "model pixels index labels split scores cams",
    predict_segmenter: "model pixels index masks split maps table",
    predict_detector: "model pixels index images boxes labels split detections predicted",
}


def run_on_cuda(script, folder, monkeypatch, architecture=None):
    """Run a script whose options ask for a GPU, on files of which none is there."""
    if script in TASKS:
        task, model = TASKS[script]
        model = {"weights": "none", **model} | ({"architecture": architecture} if architecture else {})
        options = {"task": task, "model": model, "training": {"device": "cuda"}}
        words = ["--seed", "1", "--code", "c"]
    else:
        target = {"targets": ["bleed"]} if script is predict_detector else {"target": "bleed"}
        options, words = {**target, "device": "cuda"}, []
    for name in FILES[script].split():
        words += [f"--{name}", str(folder / name)]
    words += ["--threads", "1", "--options", json.dumps(options)]
    monkeypatch.setattr(sys, "argv", ["script.py", *words])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    script.main()


@pytest.mark.parametrize("script", FILES, ids=lambda script: script.__name__)
def test_cuda_without_a_gpu_is_told_before_any_file_is_read(script, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"training\.device: found no GPU .* Set training.device to cpu or auto"):
        run_on_cuda(script, tmp_path, monkeypatch)
    assert list(tmp_path.iterdir()) == []


def test_cuda_without_a_gpu_is_told_before_ultralytics_is_imported(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no GPU"):
        run_on_cuda(train_detector, tmp_path, monkeypatch, "yolov8n")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def gpu(tmp_path, monkeypatch):
    """A stand-in for a GPU, with its `nvidia-smi`: no GPU was asked."""
    properties = SimpleNamespace(name="NVIDIA A100-SXM4-40GB", total_memory=40 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    return program


def answer(program, text):
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def test_a_gpu_is_described_by_model_memory_and_driver(gpu):
    answer(gpu, "echo 550.54.15; echo 550.54.15")
    assert describe_device(torch.device("cuda")) == "NVIDIA A100-SXM4-40GB, 40 GiB, driver 550.54.15"


@pytest.mark.parametrize("text", [None, "exit 9", "true"], ids=["no program", "fails", "says nothing"])
def test_a_driver_that_cannot_be_asked_is_unknown(gpu, text):
    if text:
        answer(gpu, text)
    assert describe_device(torch.device("cuda")).endswith("40 GiB, driver unknown")


def warn_of(*names):
    for name in names:
        warnings.warn(f"{name} does not have a deterministic implementation, but you set ...", stacklevel=2)


def test_operations_without_a_deterministic_form_are_noted_once_and_still_warned_of():
    def work():
        with note_nondeterministic() as names:
            warn_of("adaptive_avg_pool2d_backward_cuda", "histc", "histc")
            warnings.warn("something else", stacklevel=1)
        return names

    with pytest.warns(UserWarning, match="deterministic") as shown:
        assert work() == ["adaptive_avg_pool2d_backward_cuda", "histc"]
    assert {"something else"} < {str(warning.message) for warning in shown}


@pytest.mark.filterwarnings("ignore:.*deterministic")
def test_what_pytorch_says_is_understood():
    was = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with note_nondeterministic() as names:
            torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))  # of the few that warn on a CPU
    finally:
        torch.use_deterministic_algorithms(was)
    assert names == ["put_"]


@pytest.mark.filterwarnings("ignore:.*deterministic")
@pytest.mark.parametrize(
    ("names", "deterministic", "told"), [(["a"], True, ["a"]), ([], True, None), (["a"], False, None)]
)
def test_the_record_of_a_training_says_what_was_not_deterministic(tmp_path, monkeypatch, names, deterministic, told):
    monkeypatch.setattr("scanline.train.run.be_deterministic", lambda threads: None)
    monkeypatch.setattr("scanline.train.run.be_fast", lambda threads: None)

    def fit(folder, device):
        warn_of(*names)
        return {"epochs": 1}

    facts = _fit_alone(fit, tmp_path, torch.device("cpu"), 1, deterministic=deterministic)
    assert facts.get("nondeterministic_operations") == told
