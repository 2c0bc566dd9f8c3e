"""Networks as ONNX: scores agree with PyTorch's, and a file that differs is refused."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from multiclass_files import CLASSES, make_class_files

from scanline.core.errors import InputError
from scanline.core.files import sha256_of_file, write_json
from scanline.train.torchvision_classifier import ClassifierSpec, build_classifier, save_classifier

pytest.importorskip("onnxruntime")

import export_classifier
from scanline.predict.onnx_export import check_onnx, describe_input, windows_in, write_onnx

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8)


def network(architecture="resnet18", output="softmax", channels=1):
    torch.manual_seed(0)
    spec = ClassifierSpec(architecture, channels, 32, (0.2,) * channels, (0.3,) * channels, CLASSES, output)
    model = build_classifier(spec).train()
    with torch.no_grad():
        model(torch.rand(8, channels, 32, 32))  # so that batch norm has statistics
    return spec, model.eval()


@pytest.mark.parametrize(("output", "channels"), [("softmax", 1), ("sigmoid", 3)])
def test_scores_agree_for_any_number_of_images(tmp_path, output, channels):
    spec, model = network(output=output, channels=channels)
    write_onnx(model, spec, tmp_path / "model.onnx")
    assert check_onnx(tmp_path / "model.onnx", model, spec, IMAGES) < 1e-5
    assert check_onnx(tmp_path / "model.onnx", model, spec, IMAGES[:1]) < 1e-5


def test_a_file_of_other_weights_is_refused(tmp_path):
    spec, model = network()
    write_onnx(model, spec, tmp_path / "model.onnx")
    with torch.no_grad():
        model.conv1.weight.mul_(1.05)
    with pytest.raises(InputError, match="probabilities that differ from PyTorch's by up to"):
        check_onnx(tmp_path / "model.onnx", model, spec, IMAGES)


def test_the_rule_writes_network_and_statement(tmp_path, monkeypatch):
    files = make_class_files(tmp_path / "data")
    spec, model = network()
    paths = {"model": tmp_path / "model.pt", "onnx": tmp_path / "model.onnx", "statement": tmp_path / "model.json"}
    save_classifier(paths["model"], spec, model)
    repairs = {"internal": {"repairs": ["exif_orientation", "first_frame"]}, "external": {"repairs": []}}
    write_json(tmp_path / "reading.json", repairs)
    words = {
        "threads": 1,
        "reading": tmp_path / "reading.json",
        "pixels": files["pixels"],
        "images": files["images"],
        **paths,
    }
    monkeypatch.setattr(
        sys, "argv", ["x", *(str(word) for name, value in words.items() for word in (f"--{name}", value))]
    )
    export_classifier.main()
    statement = json.loads(paths["statement"].read_text())
    assert (statement["image_size_px"], statement["mean"], statement["std"]) == (32, [0.2], [0.3])
    assert (statement["classes"], statement["classes_exclude_another"]) == (list(CLASSES), True)
    assert statement["windows"] == []
    assert statement["repairs"] == {"internal": ["exif_orientation", "first_frame"], "external": []}
    assert statement["steps"][:3] == [
        "of an animation, or of several pages, take the first",
        "turn the image upright as its EXIF orientation says",
        statement["steps"][2],
    ]
    assert statement["steps"][2].startswith("read the image as grey")
    assert statement["onnx_sha256"] == sha256_of_file(paths["onnx"])
    assert statement["check"]["images"] == 16
    assert statement["check"]["largest_difference"] < 1e-5


def test_windows_of_dicom_images_are_told_once():
    table = pd.DataFrame({"window_center_hu": [40.0, 40.0, None, 35.0], "window_width_hu": [80.0, 80.0, None, 90.0]})
    assert windows_in(table) == [
        {"window_center_hu": 35.0, "window_width_hu": 90.0},
        {"window_center_hu": 40.0, "window_width_hu": 80.0},
    ]
    assert windows_in(table[["window_width_hu"]]) == []
    assert describe_input(network()[0], windows_in(table), {})["windows"][0]["window_width_hu"] == 90
