"""A network's own training options are laid over the study's, and nobody else hears of them."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scanline.config import Study, load_config
from scanline.core.errors import InputError
from scanline.core.options import check_options
from scanline.train.options import ModelOptions, TrainingOptions
from scanline.train.study_options import StudyModel, repeats

REPOSITORY = Path(__file__).parents[2]
STUDY = yaml.safe_load((REPOSITORY / "config/studies/phe_sich.yaml").read_text("utf-8"))
OTHERS = {
    "epochs": 7,
    "patience_epochs": 3,
    "batch_size": 5,
    "learning_rate": 0.125,
    "weight_decay": 0.25,
    "warmup_epochs": 0.5,
    "precision": "float32",
    "optimizer": "sgd",
    "momentum": 0.5,
    "schedule": "plateau",
    "plateau_factor": 0.5,
    "plateau_patience_epochs": 1,
    "gradient_clip_norm": 1.0,
    "accumulation_steps": 2,
    "ema_decay": 0.9,
    "frozen_epochs": 1,
    "channels_last": False,
    "deterministic": False,
    "repeat": 1,
}


def model(**training):
    return StudyModel(architecture="resnet18", weights="none", training=training or None)


def refused(training):
    models = {**STUDY["models"], "yolov8n": {**STUDY["models"]["yolov8n"], "training": training}}
    with pytest.raises(InputError) as caught:
        check_options(Study, {**STUDY, "models": models}, "a.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_option_but_the_device_can_differ():
    assert OTHERS.keys() == TrainingOptions.model_fields.keys() - {"device"}
    study = TrainingOptions(device="cpu")
    assert not OTHERS.items() & study.model_dump().items()
    assert model(**OTHERS).training_over(study) == TrainingOptions(**OTHERS, device="cpu")


@given(st.sets(st.sampled_from(sorted(OTHERS))), st.sets(st.sampled_from(sorted(OTHERS))))
def test_what_a_network_does_not_name_is_the_studys(of_study, of_model):
    study = TrainingOptions(**{name: OTHERS[name] for name in of_study})
    own = {name: TrainingOptions.model_fields[name].default for name in of_model}  # a default that is named counts
    merged = model(**own).training_over(study)
    assert merged.model_dump() == {**study.model_dump(), **own}


def test_the_network_is_told_as_if_it_had_no_options_of_its_own():
    plain = ModelOptions(architecture="resnet18", weights="none")
    assert model().network() == model(**OTHERS).network() == {"architecture": "resnet18", "weights": "none"}
    assert ModelOptions(**model(**OTHERS).network()) == plain


def test_the_rule_is_told_what_differs_from_the_defaults_and_reads_back_the_same():
    study = TrainingOptions(device="cpu", optimizer="sgd", ema_decay=0.9)
    told = model(optimizer="adamw", epochs=7).training_options(study)
    assert told == {"device": "cpu", "ema_decay": 0.9, "epochs": 7}
    assert TrainingOptions(**told) == model(optimizer="adamw", epochs=7).training_over(study)


def test_ultralytics_is_not_told_what_its_loop_does_not_read():
    yolo = StudyModel(architecture="yolov8n", weights="none", training={"epochs": 7})
    study = TrainingOptions(ema_decay=0.9, optimizer="sgd", batch_size=4)
    assert yolo.training_options(study) == {"epochs": 7, "batch_size": 4}
    with pytest.raises(ValidationError, match="no ema_decay in training: yolov8n is trained by ultralytics"):
        StudyModel(architecture="yolov8n", weights="none", training={"ema_decay": 0.9})


def test_models_that_differ_in_the_number_of_the_repeat_alone_repeat_the_first():
    models = {
        "again": model(repeat=1),
        "resnet18": model(),
        "third": model(repeat=2),
        "longer": model(epochs=9),
        "longer_again": model(epochs=9, repeat=1),
        "grey": StudyModel(architecture="resnet18", weights="none", channels=1, training={"repeat": 1}),
    }
    assert repeats(models) == {"again": "resnet18", "third": "resnet18", "longer_again": "longer"}


def test_equal_entries_are_one_training_and_no_repeat():
    models = {"resnet18": model(), "alias": model(), "again": model(repeat=1), "again_alias": model(repeat=1)}
    assert repeats(models) == {"again": "resnet18"}
    assert repeats({"resnet18": model(), "alias": model()}) == {}


def test_a_preset_changes_the_training_of_one_network():
    values = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text("utf-8"))
    study = load_config({**values, "preset": "demo"}, REPOSITORY).studies["phe_sich"]
    merged = {name: entry.training_over(study.training) for name, entry in study.models.items()}
    assert merged["resnet18"] == merged["unet"] == study.training
    assert merged["yolov8n"].epochs > study.training.epochs
    assert merged["yolov8n"].device == study.training.device


@pytest.mark.parametrize(
    ("training", "parts"),
    [
        ({"epochs": 0}, ["models.yolov8n.training.epochs", "found 0"]),
        ({"epoch": 3}, ["models.yolov8n.training.epoch", "an unknown key", "'epochs'"]),
        ({"device": "cuda"}, ["models.yolov8n.training", "other than device"]),
    ],
)
def test_a_wrong_option_is_one_line_with_its_key(training, parts):
    message = refused(training)
    for part in ("a.yaml", *parts):
        assert part in message, message
