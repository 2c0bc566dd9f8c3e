import itertools
import json
import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch
from killed_training import assert_equal_weights, kill_in_epoch, linger, note_epochs, weights_of

from scanline.core.errors import InputError
from scanline.core.files import write_json
from scanline.prepare.samples import load_samples
from scanline.split.label_weights import weigh_labels
from scanline.train import run as training_run
from scanline.train.batches import grey_statistics
from scanline.train.device import choose_device, choose_precision
from scanline.train.engine import epoch_seed
from scanline.train.image_level import Job, LabelWeights, Trainer, fit_classifier
from scanline.train.label_weights import read_class_weights
from scanline.train.model_store import store_key, unneeded_keys, working_folder
from scanline.train.options import Augmentation, ClassifyTask, ModelOptions, TrainingOptions
from scanline.train.schedule import cosine_factor
from scanline.train.torchvision_classifier import load_classifier

TASK = ClassifyTask(
    kind="binary",
    target="bleed",
    augmentation=Augmentation(horizontal_flip=True, crop_min_scale=0.8),
    class_weights=True,
)
MODEL = ModelOptions(architecture="resnet18", weights="none", channels=1)
TRAINING = TrainingOptions(epochs=4, patience_epochs=4, batch_size=8, learning_rate=1e-3, device="cpu")


def train(files, folder, *, seed=1, task=TASK, model=MODEL, training=TRAINING, store=None, weights=None):
    receipt = folder / "receipt.json"
    write_json(receipt, {"leak_free": True, "protocol": "grouped"})
    outputs = {name: folder / name for name in ("model.pt", "history.csv", "run.json")}
    record, _ = weigh_labels(pd.read_parquet(files["labels"]), pd.read_parquet(files["split"]))
    write_json(folder / "class_weights.json", record)
    files = {**files, "class_weights": folder / "class_weights.json"}

    def fit(working, device):
        return fit_classifier(Job(task, model, training, seed, device), files, weights, working)

    training_run.train_in_store(
        task,
        model,
        training,
        fit,
        inputs=files,
        receipt=receipt,
        weights=weights,
        store=store or folder / "store",
        code="abc",
        seed=seed,
        threads=2,
        outputs=outputs,
    )
    return outputs


def test_training_twice_gives_equal_weights_and_another_seed_gives_others(training_files, tmp_path):
    folders = [tmp_path / name for name in ("first", "second", "other")]
    outputs = [train(training_files, folder, seed=seed) for folder, seed in zip(folders, (1, 1, 2), strict=True)]
    assert_equal_weights(outputs[0]["model.pt"], outputs[1]["model.pt"])
    first, other = weights_of(outputs[0]["model.pt"]), weights_of(outputs[2]["model.pt"])
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def _train_until_killed(files, folder, ready):
    linger(Trainer, 3, ready)
    train(files, folder)


def test_kill_in_the_middle_of_an_epoch_resumes_to_equal_weights(training_files, tmp_path, monkeypatch):
    undisturbed = train(training_files, tmp_path / "undisturbed")
    kill_in_epoch(_train_until_killed, training_files, tmp_path / "killed", ready=tmp_path / "in_third_epoch")
    assert not (tmp_path / "killed/model.pt").exists()
    epochs = note_epochs(monkeypatch, Trainer)
    resumed = train(training_files, tmp_path / "killed")
    assert epochs == [3, 4]
    assert_equal_weights(undisturbed["model.pt"], resumed["model.pt"])
    columns = ["epoch", "train_loss", "val_loss", "learning_rate", "is_best"]
    pd.testing.assert_frame_equal(
        pd.read_csv(undisturbed["history.csv"])[columns], pd.read_csv(resumed["history.csv"])[columns]
    )


def test_a_finished_model_is_linked_without_training(training_files, tmp_path, monkeypatch):
    outputs = train(training_files, tmp_path / "run")
    before = {name: path.read_bytes() for name, path in outputs.items()}
    for path in outputs.values():
        path.unlink()
    monkeypatch.setattr(Trainer, "fit", lambda self: pytest.fail("trained again"))
    train(training_files, tmp_path / "run")
    assert {name: path.read_bytes() for name, path in outputs.items()} == before


def test_early_stopping_keeps_the_best_epoch(training_files, tmp_path, monkeypatch):
    losses = iter([0.5, 0.3, 0.4, 0.6, 0.1])
    monkeypatch.setattr(Trainer, "validate", lambda self: {"val_loss": next(losses)})
    training = TRAINING.model_copy(update={"epochs": 9, "patience_epochs": 2})
    outputs = train(training_files, tmp_path / "run", training=training)
    record = json.loads(outputs["run.json"].read_text())
    assert (record["epochs"], record["best_epoch"], record["stopped_early"]) == (4, 2, True)
    history = pd.read_csv(outputs["history.csv"])
    assert history.loc[history["is_best"], "epoch"].tolist() == [2]


def test_the_kept_weights_are_those_of_the_best_epoch(training_files, tmp_path):
    outputs = train(training_files, tmp_path / "run")
    history = pd.read_csv(outputs["history.csv"])
    samples = load_samples(**training_files, target="bleed")
    job = Job(TASK, MODEL, TRAINING, 1, torch.device("cpu"))
    weights = LabelWeights(read_class_weights(tmp_path / "run/class_weights.json", ["bleed"], True))
    trainer = Trainer(job, samples["train"], samples["val"], tmp_path, None, weights)
    _, model = load_classifier(outputs["model.pt"], torch.device("cpu"))
    trainer.model = model.to(memory_format=torch.channels_last)
    trainer.model.eval().requires_grad_(False)
    assert trainer.validate()["val_loss"] == pytest.approx(history["val_loss"].min(), rel=1e-6)


def test_it_learns_what_is_easy(training_files, tmp_path):
    from scanline.predict.classifier import predict_samples

    training = TRAINING.model_copy(update={"epochs": 15, "patience_epochs": 15, "precision": "float32"})
    task = TASK.model_copy(update={"augmentation": Augmentation(), "class_weights": False})
    outputs = train(training_files, tmp_path / "run", training=training, task=task)
    samples = load_samples(**training_files, target="bleed")
    scores, cams = predict_samples(outputs["model.pt"], samples, "bleed", torch.device("cpu"))
    assert (scores["truth"] == (scores["probability"] > 0.5)).mean() > 0.9
    assert len(cams) == len(scores) == 24
    assert float(cams.min()) >= 0
    assert float(cams.max()) <= 1


def test_unknown_labels_are_left_out(training_files):
    labels = pd.read_parquet(training_files["labels"])
    labels.loc[:4, "bleed"] = pd.NA
    labels.to_parquet(training_files["labels"])
    samples = load_samples(**training_files, target="bleed")
    assert len(samples["train"]) == 31
    assert "s/000" not in samples["train"].image_ids


@pytest.mark.parametrize("kind", ["positives", "negatives"])
def test_a_val_subset_without_a_class_is_one_clear_line(training_files, tmp_path, kind):
    labels = pd.read_parquet(training_files["labels"])
    labels.loc[36:47, "bleed"] = kind == "negatives"
    labels.to_parquet(training_files["labels"])
    with pytest.raises(InputError, match=rf"subset val: found 12 images .* no {kind} of 'bleed'"):
        train(training_files, tmp_path / "run")


def test_a_receipt_that_leaks_stops_training(training_files, tmp_path):
    receipt = tmp_path / "receipt.json"
    write_json(receipt, {"leak_free": False, "protocol": "grouped"})
    with pytest.raises(InputError, match="leaks"):
        training_run.check_receipt(receipt)
    write_json(receipt, {"leak_free": False, "protocol": "naive_image"})
    training_run.check_receipt(receipt)


def test_cuda_without_a_gpu_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(InputError, match="no GPU"):
        choose_device("cuda")


def test_precision_by_name():
    cpu = torch.device("cpu")
    assert choose_precision("float32", cpu) is None
    assert choose_precision("bfloat16", cpu) is torch.bfloat16
    assert choose_precision("auto", cpu) in {None, torch.bfloat16}


def test_learning_rate_warms_up_then_falls_to_zero():
    factors = [cosine_factor(step, 10, 100) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 11)
    assert max(factors) == pytest.approx(1)
    assert int(np.argmax(factors)) == 10
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))
    assert factors[-1] < 0.001
    assert cosine_factor(55, 10, 100) == pytest.approx(0.5)


def test_epoch_seeds_differ_and_stay(training_files):
    seeds = {epoch_seed(seed, epoch) for seed in range(5) for epoch in range(50)}
    assert len(seeds) == 250
    assert epoch_seed(42, 1) == epoch_seed(42, 1)


def test_grey_statistics_equal_numpys(training_files):
    train_samples = load_samples(**training_files, target="bleed")["train"]
    images = train_samples.pixels[train_samples.rows] / 255
    assert grey_statistics(train_samples, batch=7) == pytest.approx((images.mean(), images.std()), rel=1e-12)


def test_store_key_depends_on_all_that_decides_the_outcome(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("one")
    second.write_text("one")
    key = store_key({"x": 1}, {"f": first}, "code", 1)
    assert key == store_key({"x": 1}, {"f": second}, "code", 1)
    second.write_text("two")
    others = {
        store_key({"x": 2}, {"f": first}, "code", 1),
        store_key({"x": 1}, {"f": second}, "code", 1),
        store_key({"x": 1}, {"f": first}, "other", 1),
        store_key({"x": 1}, {"f": first}, "code", 2),
    }
    assert len(others) == 4
    assert key not in others


def test_a_second_job_on_one_model_waits_for_the_first(tmp_path):
    order = []

    def second():
        with working_folder(tmp_path, "key"):
            order.append("second")

    with working_folder(tmp_path, "key"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_kill_between_the_last_epoch_and_the_record_is_mended(training_files, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(folder, record):
        raise Killed

    undisturbed = train(training_files, tmp_path / "undisturbed")
    with monkeypatch.context() as patch:
        patch.setattr(training_run, "finish", killed)
        with pytest.raises(Killed):
            train(training_files, tmp_path / "killed")
    resumed = train(training_files, tmp_path / "killed")
    assert_equal_weights(undisturbed["model.pt"], resumed["model.pt"])
    key = json.loads(resumed["run.json"].read_text())["store_key"]
    left = {path.name for path in (tmp_path / "killed/store" / key).iterdir()}
    assert left == {"model.pt", "history.csv", "run.json", "lock"}


def test_prune_lists_what_no_result_names_and_no_job_holds(tmp_path):
    store, results = tmp_path / "results/model_store", tmp_path / "results"
    for key in ("kept", "old", "busy"):
        (store / key).mkdir(parents=True)
    write_json(results / "study/models/run.json", {"store_key": "kept"})
    write_json(store / "old/run.json", {"store_key": "old"})
    with working_folder(store, "busy"):
        assert unneeded_keys(store, results) == ["old"]
    assert unneeded_keys(store, results) == ["busy", "old"]
