"""The device: told at once where there is none, and described where there is one."""

import json
import sys
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
from scanline.train.device import describe_device

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
