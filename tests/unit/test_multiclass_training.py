"""Training and prediction of classes that exclude another."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from killed_training import assert_equal_weights
from multiclass_files import CLASSES, make_class_files
from multilabel_files import call_script
from torch.nn import functional

import predict_classifier
import train_classifier
from scanline.core.errors import InputError
from scanline.core.files import write_json
from scanline.prepare.samples import exclusive_samples, load_samples
from scanline.train.image_level import Job, Trainer
from scanline.train.label_losses import LossShape, as_targets, softmax_loss
from scanline.train.options import ModelOptions, MulticlassTask, TrainingOptions

TASK = MulticlassTask(kind="multiclass", targets=CLASSES)
MODEL = ModelOptions(architecture="resnet18", weights="none", channels=1)
TRAINING = TrainingOptions(epochs=2, batch_size=8, learning_rate=1e-3, device="cpu", precision="float32")
SOURCES = ("pixels", "index", "labels", "split")
WEIGHTS = ("class_weights",)


@pytest.fixture
def files(tmp_path):
    return make_class_files(tmp_path / "data", patients=24)


def train(patch, files, folder, *, task=TASK, training=TRAINING, seed=1):
    """Train through the rule's script; the paths of model, history and run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "receipt.json", {"leak_free": True, "protocol": "grouped"})
    options = {"task": task, "model": MODEL, "training": training}
    options = {name: value.model_dump(mode="json") for name, value in options.items()}
    outputs = {"model": folder / "model.pt", "history": folder / "history.csv", "run": folder / "run.json"}
    inputs = {name: files[name] for name in (*SOURCES, *WEIGHTS)} | {"receipt": folder / "receipt.json"}
    job = {"seed": seed, "threads": 1, "code": "abc", "store": folder / "store"}
    call_script(patch, train_classifier, options, **job, **inputs, **outputs)
    return outputs


def load(files):
    samples = load_samples(**{name: files[name] for name in SOURCES}, target=CLASSES)
    return exclusive_samples(samples, CLASSES, files["labels"])


def test_samples_are_images_of_exactly_one_class_whatever_else_is_unknown(files, caplog):
    labels = pd.read_parquet(files["labels"])
    labels.loc[1, list(CLASSES)] = [True, pd.NA, pd.NA]
    labels.loc[2, list(CLASSES)] = [False, pd.NA, False]
    labels.to_parquet(files["labels"])
    with caplog.at_level("INFO"):
        samples = load(files)["train"]
    split = pd.read_parquet(files["split"])
    shown = labels[list(CLASSES)].fillna(False).sum(axis=1)
    inside = split["subset"] == "train"
    assert len(samples) == int((inside & (shown == 1)).sum())
    assert samples.left_out == int((inside & (shown == 0)).sum()) > 1
    assert f"{samples.left_out} images left out, as they show none of" in caplog.text
    assert "s/0001" in samples.image_ids
    assert "s/0002" not in samples.image_ids
    assert np.array_equal(samples.truth.sum(axis=1), np.ones(len(samples)))
    assert samples.truth[samples.image_ids.tolist().index("s/0001")].tolist() == [1, 0, 0]


def test_an_image_of_two_classes_is_one_line_that_names_it(files):
    labels = pd.read_parquet(files["labels"])
    labels.loc[5, list(CLASSES)] = [True, False, True]
    labels.to_parquet(files["labels"])
    with pytest.raises(InputError, match=r"image s/0005: found normal and subdural \(1 such images in train\)"):
        load(files)


def test_the_loss_is_pytorchs_weighted_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits, weight = torch.randn(9, 3, generator=generator), torch.tensor([0.5, 1.0, 4.0])
    codes = torch.randint(3, (9,), generator=generator)
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    loss = softmax_loss(ours, as_targets(functional.one_hot(codes, 3).float()), weight, LossShape())
    expected = functional.cross_entropy(theirs, codes, weight=weight)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_it_learns_easy_classes_and_predicts_what_sums_to_one(files, tmp_path, monkeypatch):
    changes = {"epochs": 7, "patience_epochs": 7, "batch_size": 16, "learning_rate": 3e-3}
    monkeypatch.setattr(Trainer, "_save_checkpoint", lambda self: None)  # takes longer than an epoch
    outputs = train(monkeypatch, files, tmp_path / "run", training=TRAINING.model_copy(update=changes))
    written = {"scores": tmp_path / "scores.parquet", "cams": tmp_path / "cams.npz"}
    options = {"target": CLASSES, "exclusive": True, "device": "cpu"}
    inputs = {name: files[name] for name in SOURCES}
    call_script(monkeypatch, predict_classifier, options, threads=1, model=outputs["model"], **inputs, **written)
    scores = pd.read_parquet(written["scores"])
    columns = [f"probability_{name}" for name in CLASSES]
    assert list(scores) == ["image_id", "subset", "truth", *columns]
    probability = scores[columns].to_numpy()
    assert np.abs(probability.sum(axis=1) - 1).max() < 1e-12
    assert (np.array(CLASSES)[probability.argmax(axis=1)] == scores["truth"]).mean() > 0.9
    labels = pd.read_parquet(files["labels"]).set_index("image_id")
    assert all(labels.loc[row.image_id, row.truth] for row in scores.itertuples())
    with np.load(written["cams"]) as maps:
        assert maps["label"].tolist() == list(CLASSES)
        assert maps["cam"].shape[:2] == (len(scores), 3)
    record = json.loads(outputs["run"].read_text())
    assert set(record["class_weight"]) == set(CLASSES)
    assert record["left_out"]["train"] > 0


def test_class_weights_are_of_train_and_the_sampler_draws_rare_classes(files, tmp_path, monkeypatch):
    record = json.loads(files["class_weights"].read_text())["classes"]
    task = TASK.model_copy(update={"class_weights": True, "sampler_weights": True})
    one_epoch = TRAINING.model_copy(update={"epochs": 1})
    outputs = train(monkeypatch, files, tmp_path / "run", task=task, training=one_epoch)
    facts = json.loads(outputs["run"].read_text())
    assert facts["class_weight"] == pytest.approx({name: record[name]["weight"] for name in CLASSES})
    rare, common = record["subdural"]["weight"], record["normal"]["weight"]
    assert rare > common


def test_val_loss_is_the_weighted_mean_over_images_whatever_the_batches(files, tmp_path):
    samples = load(files)
    losses = []
    for size in (1, 3, 50):
        folder = tmp_path / str(size)
        folder.mkdir()
        training = TRAINING.model_copy(update={"batch_size": size})
        trainer = Trainer(Job(TASK, MODEL, training, 1, torch.device("cpu")), samples["train"], samples["val"], folder)
        trainer.class_weight = torch.tensor([0.3, 1.0, 2.5])
        trainer.model.eval()
        with torch.no_grad():
            losses.append(trainer.validate()["val_loss"])
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_trained_twice_equal(files, tmp_path, monkeypatch):
    one_epoch = TRAINING.model_copy(update={"epochs": 1})
    paths = [train(monkeypatch, files, tmp_path / name, training=one_epoch)["model"] for name in ("one", "two")]
    assert_equal_weights(*paths)
