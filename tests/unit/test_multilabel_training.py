import json

import numpy as np
import pandas as pd
import pytest
import torch
from killed_training import assert_equal_weights, kill_in_epoch, linger, note_epochs, weights_of
from multilabel_files import call_script, make_files
from torch.nn import functional

import predict_classifier
import train_classifier
from scanline.core.errors import InputError
from scanline.core.files import read_json, write_json
from scanline.prepare.samples import count_known, load_samples
from scanline.train.image_level import Job, LabelWeights, Trainer, classes_of
from scanline.train.label_losses import LossShape, as_targets, sigmoid_loss
from scanline.train.label_weights import weigh_images
from scanline.train.options import Augmentation, ClassifyTask, ModelOptions, MultilabelTask, TrainingOptions

LABELS = ("bleed", "oedema")
TASK = MultilabelTask(kind="multilabel", targets=LABELS, class_weights=True)
MODEL = ModelOptions(architecture="shufflenet_v2_x0_5", weights="none", channels=1)
TRAINING = TrainingOptions(epochs=2, patience_epochs=2, batch_size=8, learning_rate=1e-3, device="cpu")
ONE_EPOCH = TRAINING.model_copy(update={"epochs": 1})
SOURCES = ("pixels", "index", "labels", "split")
WEIGHTS = ("class_weights",)


@pytest.fixture
def files(tmp_path):
    return make_files(tmp_path / "data", patients=24)


def train(patch, files, folder, *, task=TASK, model=MODEL, training=TRAINING, seed=1):
    """Train through the rule's script; the paths of model, history and run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "receipt.json", {"leak_free": True, "protocol": "grouped"})
    parts = {"task": task, "model": model, "training": training}
    options = {name: value.model_dump(mode="json") for name, value in parts.items()}
    outputs = {"model": folder / "model.pt", "history": folder / "history.csv", "run": folder / "run.json"}
    inputs = {name: files[name] for name in (*SOURCES, *WEIGHTS) if name in files}
    call_script(
        patch,
        train_classifier,
        options,
        seed=seed,
        threads=1,
        code="abc",
        store=folder / "store",
        receipt=folder / "receipt.json",
        **inputs,
        **outputs,
    )
    return outputs


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A training on the same data as that of `files`."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        return train(patch, make_files(folder / "data", patients=24), folder)


def predict(patch, files, model, folder, target=LABELS):
    outputs = {"scores": folder / "scores.parquet", "cams": folder / "cams.npz"}
    inputs = {name: files[name] for name in SOURCES}
    options = {"target": target, "device": "cpu"}
    call_script(patch, predict_classifier, options, threads=1, model=model, **inputs, **outputs)
    with np.load(outputs["cams"]) as maps:
        return pd.read_parquet(outputs["scores"]), dict(maps)


def known_cross_entropy(logits, truth, weight):
    return sigmoid_loss(logits, as_targets(truth), weight, LossShape())


def draw_entries(seed=0, count=9, classes=3):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, classes, generator=generator)
    truth = (torch.rand(count, classes, generator=generator) < 0.4).float()
    truth[torch.rand(count, classes, generator=generator) < 0.3] = float("nan")
    return logits, truth, torch.tensor([0.5, 1.0, 4.0])[:classes]


def test_the_masked_loss_equals_a_loop_over_the_known_entries():
    logits, truth, weight = draw_entries()
    terms = []
    for row in range(truth.shape[0]):
        for column in range(truth.shape[1]):
            share = 1 / (1 + np.exp(-float(logits[row, column])))
            if truth[row, column] == 1:
                terms.append(-float(weight[column]) * np.log(share))
            elif truth[row, column] == 0:
                terms.append(-np.log(1 - share))
    assert len(terms) == int((~truth.isnan()).sum()) < truth.numel()
    assert float(known_cross_entropy(logits, truth, weight)) == pytest.approx(np.mean(terms), rel=1e-5)


def test_an_unknown_entry_has_no_gradient_and_known_ones_are_not_diluted_by_it():
    logits, truth, weight = draw_entries()
    logits.requires_grad_()
    known_cross_entropy(logits, truth, weight).backward()
    unknown = truth.isnan()
    assert unknown.any()
    assert torch.equal(logits.grad[unknown], torch.zeros(int(unknown.sum())))
    assert (logits.grad[~unknown] != 0).all()
    column = logits.detach()[:, :1].clone().requires_grad_()
    known = ~truth[:, 0].isnan()
    known_cross_entropy(column, truth[:, :1], weight[:1]).backward()
    alone = logits.detach()[known, :1].clone().requires_grad_()
    known_cross_entropy(alone, truth[known, :1], weight[:1]).backward()
    torch.testing.assert_close(column.grad[known], alone.grad)


@pytest.mark.parametrize("weight", [1.0, 1.7])
def test_of_one_known_class_loss_and_gradient_are_pytorchs_to_the_bit(weight):
    generator = torch.Generator().manual_seed(0)
    for count in (2, 7, 8, 31, 64):
        logits = torch.randn(count, 1, generator=generator)
        truth = (torch.rand(count, generator=generator) < 0.3).float()
        ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
        loss = known_cross_entropy(ours, truth[:, None], torch.tensor([weight]))
        expected = functional.binary_cross_entropy_with_logits(theirs[:, 0], truth, pos_weight=torch.tensor(weight))
        loss.backward()
        expected.backward()
        assert torch.equal(loss, expected)
        assert torch.equal(ours.grad, theirs.grad)


def test_samples_hold_unknown_entries_and_leave_out_and_count_images_without_any(files, caplog):
    labels = pd.read_parquet(files["labels"])
    labels.loc[0, list(LABELS)] = pd.NA
    labels.loc[1, "bleed"], labels.loc[1, "oedema"] = pd.NA, True
    labels.to_parquet(files["labels"])
    inputs = {name: files[name] for name in SOURCES}
    with caplog.at_level("INFO"):
        train_samples = load_samples(**inputs, target=LABELS)["train"]
    split = pd.read_parquet(files["split"])
    nothing = labels[list(LABELS)].isna().all(axis=1) & (split["subset"] == "train")
    assert train_samples.left_out == int(nothing.sum()) >= 1
    assert f"{train_samples.left_out} images left out" in caplog.text
    assert len(train_samples) + train_samples.left_out == int((split["subset"] == "train").sum())
    row = train_samples.image_ids.tolist().index("s/0001")
    assert np.isnan(train_samples.truth[row, 0])
    assert train_samples.truth[row, 1] == 1
    assert train_samples.truth.dtype == np.float32
    counts = count_known(train_samples, LABELS)["bleed"]
    kept = labels.set_index("image_id").loc[train_samples.image_ids, "bleed"]
    assert counts == {
        "positives": int(kept.sum()),
        "negatives": int((kept == False).sum()),  # noqa: E712  (null is not False)
        "unknown": int(kept.isna().sum()),
    }


def test_training_reads_the_weights_of_classes(files, tmp_path, monkeypatch):
    record = read_json(files["class_weights"])["classes"]
    for rule, column in ((True, "positive_weight"), ("balanced", "weight")):
        task = TASK.model_copy(update={"class_weights": rule})
        outputs = train(monkeypatch, files, tmp_path / column, task=task, training=ONE_EPOCH)
        facts = read_json(outputs["run"])
        assert facts["positive_weight"] == pytest.approx({name: record[name][column] for name in LABELS})
    missing = {name: path for name, path in files.items() if name not in WEIGHTS}
    with pytest.raises(InputError, match="--class-weights: found no file"):
        train(monkeypatch, missing, tmp_path / "missing", training=ONE_EPOCH)
    write_json(files["class_weights"], {"classes": {"bleed": {"positive_weight": 1.0}}})
    with pytest.raises(InputError, match="class oedema: found no weight"):
        train(monkeypatch, files, tmp_path / "one", training=ONE_EPOCH)


def test_the_sampler_draws_by_the_weights_it_is_given(files, tmp_path, monkeypatch):
    samples = load_samples(**{name: files[name] for name in SOURCES}, target=LABELS)
    weights = weigh_images(files["labels"], files["split"], LABELS, samples["train"].image_ids)
    stated = pd.read_parquet(files["sampler_weights"]).set_index("image_id")["weight"]
    assert weights.numpy() == pytest.approx(stated.loc[samples["train"].image_ids].to_numpy())
    job = Job(TASK, MODEL, ONE_EPOCH, 1, torch.device("cpu"))
    (tmp_path / "store").mkdir()
    trainer = Trainer(job, samples["train"], samples["val"], tmp_path / "store", None, LabelWeights(None, weights))
    drawn = torch.cat([trainer.order(torch.Generator().manual_seed(seed)) for seed in range(400)])
    share = torch.bincount(drawn, minlength=len(weights)) / len(drawn)
    assert len(drawn) == 400 * len(samples["train"])
    assert share.numpy() == pytest.approx((weights / weights.sum()).numpy(), rel=0.35)
    task = TASK.model_copy(update={"sampler_weights": True})
    plain, sampled = (
        train(monkeypatch, files, tmp_path / name, task=task, training=ONE_EPOCH)
        for name, task in (("plain", TASK), ("sampled", task))
    )
    histories = [pd.read_csv(outputs["history"])["train_loss"][0] for outputs in (plain, sampled)]
    assert histories[0] != histories[1]


def test_a_class_that_the_labels_do_not_have_is_one_line(files):
    with pytest.raises(InputError, match="expected a class IVH"):
        load_samples(**{name: files[name] for name in SOURCES}, target=("bleed", "IVH"))


def test_it_learns_two_easy_labels_of_which_some_are_unknown(files, tmp_path, monkeypatch):
    changes = {"epochs": 7, "patience_epochs": 7, "batch_size": 16, "learning_rate": 3e-3, "precision": "float32"}
    model = ModelOptions(architecture="resnet18", weights="none", channels=1)
    monkeypatch.setattr(Trainer, "_save_checkpoint", lambda self: None)  # takes longer than an epoch
    outputs = train(monkeypatch, files, tmp_path / "run", model=model, training=TRAINING.model_copy(update=changes))
    scores, maps = predict(monkeypatch, files, outputs["model"], tmp_path)
    split = pd.read_parquet(files["split"])
    known = pd.read_parquet(files["labels"])[list(LABELS)].notna().any(axis=1)
    assert len(scores) == int(((split["subset"] != "train") & known).sum())
    for label in LABELS:
        rows = scores[scores[f"truth_{label}"].notna()]
        assert 0 < len(rows) < len(scores)
        assert str(scores[f"truth_{label}"].dtype) == "boolean"
        predicted = rows[f"probability_{label}"] > 0.5
        assert (rows[f"truth_{label}"].astype(bool) == predicted).mean() > 0.9
    assert list(scores) == [
        "image_id", "subset", "probability_bleed", "truth_bleed", "probability_oedema", "truth_oedema",
    ]  # fmt: skip
    assert maps["label"].tolist() == list(LABELS)
    assert maps["image_id"].tolist() == scores["image_id"].tolist()
    assert maps["cam"].shape[:2] == (len(scores), 2)
    assert maps["cam"].dtype == np.float16
    # Bleed is in the upper left corner and oedema beside it: there is more evidence for bleed in that corner.
    corners = [
        maps["cam"][scores[f"truth_{label}"].fillna(False).to_numpy(), column, 0, 0].astype(float).mean()
        for column, label in enumerate(LABELS)
    ]
    assert corners[0] > corners[1] + 0.1
    assert not np.array_equal(maps["cam"][:, 0], maps["cam"][:, 1])


def test_run_json_says_what_was_known_of_each_label(undisturbed):
    record = json.loads(undisturbed["run"].read_text())
    train_labels = record["labels"]["train"]["bleed"]
    expected = train_labels["negatives"] / train_labels["positives"]
    assert record["positive_weight"]["bleed"] == pytest.approx(expected, rel=1e-6)
    assert sum(train_labels.values()) == record["n_train"]
    assert record["left_out"]["train"] >= 0
    assert set(record["labels"]) == {"train", "val"}


def test_an_unknown_entrys_truth_changes_nothing_and_a_known_one_does(files, undisturbed, tmp_path, monkeypatch):
    labels = pd.read_parquet(files["labels"])
    # What stands under the null is no information: write the same nulls over other values.
    array = labels["bleed"].array
    data = np.where(array.isna(), ~array._data, array._data)
    labels["bleed"] = pd.arrays.BooleanArray(data, array.isna())
    labels.to_parquet(files["labels"])
    assert_equal_weights(undisturbed["model"], train(monkeypatch, files, tmp_path / "second")["model"])
    row = int(np.flatnonzero(~array.isna())[0])
    labels.loc[row, "bleed"] = not labels.loc[row, "bleed"]
    labels.to_parquet(files["labels"])
    other = train(monkeypatch, files, tmp_path / "other")
    assert not torch.equal(
        weights_of(undisturbed["model"])["conv1.0.weight"], weights_of(other["model"])["conv1.0.weight"]
    )


def test_val_loss_is_the_mean_over_known_entries_whatever_the_batches(files, tmp_path):
    samples = load_samples(**{name: files[name] for name in SOURCES}, target=LABELS)
    losses = []
    for number, size in enumerate((1, 2, 50)):
        folder = tmp_path / str(number)
        folder.mkdir()
        training = TRAINING.model_copy(update={"batch_size": size, "precision": "float32"})
        trainer = Trainer(Job(TASK, MODEL, training, 1, torch.device("cpu")), samples["train"], samples["val"], folder)
        trainer.model.eval()
        with torch.no_grad():
            losses.append(trainer.validate()["val_loss"])
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_trained_twice_equal_and_another_seed_not(files, tmp_path, monkeypatch):
    task = TASK.model_copy(update={"augmentation": Augmentation(horizontal_flip=True, crop_min_scale=0.8)})
    paths = [train(monkeypatch, files, tmp_path / str(place), task=task, seed=seed)["model"] for place, seed in
             enumerate((1, 1, 2))]  # fmt: skip
    assert_equal_weights(paths[0], paths[1])
    assert not torch.equal(weights_of(paths[0])["conv1.0.weight"], weights_of(paths[2])["conv1.0.weight"])


def _train_until_killed(files, folder, ready):
    linger(Trainer, 2, ready)
    with pytest.MonkeyPatch.context() as patch:
        train(patch, files, folder)


def test_kill_in_the_middle_of_an_epoch_resumes_to_equal_weights(files, undisturbed, tmp_path, monkeypatch):
    kill_in_epoch(_train_until_killed, files, tmp_path / "killed", ready=tmp_path / "in_second_epoch")
    assert not (tmp_path / "killed/model.pt").exists()
    epochs = note_epochs(monkeypatch, Trainer)
    resumed = train(monkeypatch, files, tmp_path / "killed")
    assert epochs == [2]
    assert_equal_weights(undisturbed["model"], resumed["model"])


@pytest.mark.parametrize("kind", ["positives", "negatives"])
def test_a_label_without_a_class_in_val_is_one_line_that_names_it(files, tmp_path, monkeypatch, kind):
    labels, split = pd.read_parquet(files["labels"]), pd.read_parquet(files["split"])
    val = (split["subset"] == "val") & labels["oedema"].notna()
    labels.loc[val, "oedema"] = kind == "negatives"
    labels.to_parquet(files["labels"])
    with pytest.raises(InputError, match=rf"subset val: found \d+ images .* no {kind} of 'oedema'"):
        train(monkeypatch, files, tmp_path / "run")


def test_a_model_of_other_classes_is_one_line(files, undisturbed, tmp_path, monkeypatch):
    model = undisturbed["model"]
    with pytest.raises(InputError, match="a model of bleed, oedema; expected a model of oedema, bleed"):
        predict(monkeypatch, files, model, tmp_path, target=("oedema", "bleed"))
    with pytest.raises(InputError, match="a model of bleed, oedema; expected a model of bleed"):
        predict(monkeypatch, files, model, tmp_path, target="bleed")


def test_classes_of_both_kinds():
    assert classes_of(TASK) == LABELS
    assert classes_of(ClassifyTask(kind="binary", target="bleed")) == ("bleed",)
