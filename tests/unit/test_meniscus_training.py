"""The three ways to train on meniscus tears, as a study names them."""

from pathlib import Path

import pytest
import yaml

from scanline.config import Study, check_names
from scanline.core.errors import InputError
from scanline.core.options import check_options
from scanline.train.ultralytics_options import explain_settings, trainer_settings

HERE = Path(__file__).parent
WHERE = Path("a.yaml")


def written():
    return yaml.safe_load((HERE.parents[1] / "config/studies/meniscus.yaml").read_text("utf-8"))


def study_with(**changes):
    return check_options(Study, {**written(), **changes}, WHERE)


def entries():
    return written()["detector_comparisons"]["balance"]


def test_the_three_entries_fit_together():
    study = study_with()
    check_names(study, WHERE)
    names = [entry.name for entry in study.detector_comparisons["balance"].entries]
    assert names == ["imbalanced", "balanced", "balanced_strong_augmentation"]
    plain, balanced = study.splits["imbalanced"], study.splits["balanced"]
    assert plain.model_copy(update={"policies": balanced.policies}) == balanced  # so that they share their test images
    assert set(balanced.policies) == {"train"}
    assert study.evaluate.boxes.headline == "ap_10"


def test_strong_augmentation_differs_in_augmentation_alone_and_says_nothing_of_no_effect():
    models = study_with().models
    one, other = (trainer_settings(models[name].ultralytics) for name in ("yolov8n", "yolov8n_strong_augmentation"))
    assert one.items() <= other.items()
    changed = {"hsv_v", "degrees", "translate", "scale", "shear", "mosaic", "mixup", "close_mosaic"}
    assert other.keys() - one.keys() == changed
    lines = explain_settings(models["yolov8n_strong_augmentation"].ultralytics, 3, 1)
    assert not any("no effect" in line for line in lines.values())


@pytest.mark.parametrize(
    ("place", "change", "words"),
    [
        (0, {"split": "imbalance"}, ["entries.0.split", "Did you mean 'imbalanced'?"]),
        (1, {"task": "classify"}, ["entries.1.task", "one of detect"]),
        (2, {"model": "yolov9c"}, ["entries.2.model", "one of yolo11n"]),
    ],
)
def test_a_name_that_is_not_there_is_one_line(place, change, words):
    comparison = entries()
    comparison["entries"][place] |= change
    with pytest.raises(InputError) as caught:
        check_names(study_with(detector_comparisons={"balance": comparison}), WHERE)
    message = str(caught.value)
    assert all(word in message for word in ("a.yaml: detector_comparisons.balance", *words)), message


def test_other_targets_and_splits_that_leak_are_not_compared():
    tasks = {"detect": {"kind": "detect", "targets": ["tear"]}, "cysts": {"kind": "detect", "targets": ["cyst"]}}
    comparison = entries()
    comparison["entries"][1]["task"] = "cysts"
    sources = written()["sources"]
    sources["normal"]["curate"]["annotated_classes"] = ["tear", "cyst"]
    runs = [{"split": "balanced", "tasks": ["cysts"], "models": ["yolov8n"], "seeds": [1]}]
    changes = {"labels": ["tear", "cyst"], "tasks": tasks, "sources": sources, "ensembles": {}, "detection_sets": []}
    study = study_with(**changes, runs=runs, detector_comparisons={"balance": comparison})
    with pytest.raises(InputError, match="targets cyst; expected those of the first entry: tear"):
        check_names(study, WHERE)
    naive = {"protocol": "naive_image", "ratios": {"train": 0.7, "val": 0.15, "test": 0.15}, "seed": 1}
    splits = {name: split.model_dump() for name, split in study_with().splits.items()}
    comparison = entries()
    comparison["entries"][1]["split"] = "naive_image"
    study = study_with(splits={**splits, "naive_image": naive}, detector_comparisons={"balance": comparison})
    with pytest.raises(InputError, match="found 'naive_image'; expected one of balanced, balanced_seed123"):
        check_names(study, WHERE)
