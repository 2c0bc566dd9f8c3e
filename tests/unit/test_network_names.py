"""The names that a study file may use, against the libraries that know them."""

import pytest

import scanline.core.torchvision_compat  # noqa: F401
from scanline.core.errors import InputError
from scanline.core.options import check_options
from scanline.train.network_names import (
    BACKBONES,
    CLASSIFICATION_MODELS,
    DETECTION_MODELS,
    SEGMENTATION_ARCHITECTURES,
)
from scanline.train.options import ModelOptions, kind_of_network

import segmentation_models_pytorch as smp  # isort: skip
from torchvision.models import detection, list_models  # isort: skip


def test_detectors_are_torchvision_s_for_boxes():
    known = {name for name in list_models(module=detection) if not name.startswith(("mask", "keypoint"))}
    assert set(DETECTION_MODELS) == known


def test_every_detector_has_a_backbone_that_torchvision_has_weights_of():
    assert set(BACKBONES) == set(DETECTION_MODELS)
    for architecture, backbone in BACKBONES.items():
        assert backbone in CLASSIFICATION_MODELS
        assert ModelOptions(architecture=architecture).imagenet_network() == backbone
    assert ModelOptions(architecture="unet", encoder="resnet34").imagenet_network() == "resnet34"
    assert ModelOptions(architecture="densenet121").imagenet_network() == "densenet121"


def test_segmentation_architectures_are_those_of_the_library():
    assert set(SEGMENTATION_ARCHITECTURES) == set(smp.MODEL_ARCHITECTURES_MAPPING)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resnet18", "classify"),
        ("retinanet_resnet50_fpn", "detect"),
        ("yolov8n", "detect"),
        ("yolo11n", "detect"),
        ("yolov5nu", "detect"),
        ("unet", "segment"),
        ("yolov8n-seg", None),
        ("yolov5n", None),
        ("maskrcnn_resnet50_fpn", None),
    ],
)
def test_a_name_tells_what_a_network_does(name, kind):
    assert kind_of_network(name) == kind


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"architecture": "unet"}, "unet needs an encoder, for example encoder: resnet34"),
        ({"architecture": "resnet18", "encoder": "resnet34"}, "resnet18 has no encoder of its own"),
        (
            {"architecture": "yolov8n"},
            "no ImageNet weights are known for yolov8n: set weights to coco, none, or to a file",
        ),
        ({"architecture": "unet", "encoder": "mit_b0"}, "no ImageNet weights are known for mit_b0"),
        ({"architecture": "yolov99"}, "an ultralytics detector such as yolov8n, or one of alexnet"),
    ],
)
def test_a_network_that_cannot_be_is_refused_in_one_line(values, message):
    with pytest.raises(InputError) as caught:
        check_options(ModelOptions, values, "study.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
