"""What the options of the engine do to the weights: each alone, and all of them through a resumed training."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from killed_training import assert_equal_weights, weights_of
from multilabel_files import call_script, make_files
from torch import nn

import train_classifier
from scanline.core.errors import InputError
from scanline.core.files import write_json
from scanline.prepare.samples import load_samples
from scanline.train import image_level
from scanline.train.engine import Engine
from scanline.train.image_level import Job, Trainer, mix_images
from scanline.train.label_losses import as_targets
from scanline.train.options import Augmentation, ModelOptions, MultilabelTask, TrainingOptions
from scanline.train.run import given_options
from scanline.train.torchvision_classifier import ClassifierSpec, build_classifier, head_of

LABELS = ("bleed", "oedema")
TASK = MultilabelTask(kind="multilabel", targets=LABELS)
MODEL = ModelOptions(architecture="resnet18", weights="none", channels=1)
BASE = {"epochs": 3, "patience_epochs": 3, "batch_size": 12, "learning_rate": 1e-3, "device": "cpu"}
ALL = {
    "optimizer": "sgd",
    "schedule": "plateau",
    "plateau_patience_epochs": 0,
    "gradient_clip_norm": 0.5,
    "accumulation_steps": 2,
    "ema_decay": 0.9,
    "frozen_epochs": 1,
}
ALL_OF_TASK = {
    "augmentation": Augmentation(policy="head_ct"),
    "loss": "focal",
    "label_smoothing": 0.1,
    "mixup_alpha": 0.4,
    "stop_on": "auroc",
    "sampler_weights": True,
}


def small_network(spec, pretrained=None):
    """A network without batch norm and dropout, whose last layer is its head."""
    layers = nn.Conv2d(spec.channels, 8, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(32, len(spec.classes)))


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(image_level, "build_classifier", small_network)
    return make_files(tmp_path / "data", patients=24)


def options_of(**changes):
    return TrainingOptions(**{**BASE, "precision": "float32", **changes})


def trainer_of(files, folder, task=TASK, **changes):
    folder.mkdir(parents=True)
    samples = load_samples(*(files[name] for name in ("pixels", "index", "labels", "split")), LABELS)
    job = Job(task, MODEL, options_of(**changes), 1, torch.device("cpu"))
    return Trainer(job, samples["train"], samples["val"], folder)


def train(patch, files, folder, task=TASK, **changes):
    """Train through the rule's script; the paths of model, history and run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "receipt.json", {"leak_free": True, "protocol": "grouped"})
    parts = {"task": task, "model": MODEL, "training": options_of(**changes)}
    outputs = {"model": folder / "model.pt", "history": folder / "history.csv", "run": folder / "run.json"}
    names = ("pixels", "index", "labels", "split", "class_weights")
    inputs = {name: files[name] for name in names} | {"receipt": folder / "receipt.json"}
    job = {"seed": 1, "threads": 1, "code": "abc", "store": folder / "store"}
    call_script(patch, train_classifier, given_options(parts), **job, **inputs, **outputs)
    return outputs


def test_a_batch_in_parts_steps_as_the_whole_does(files, tmp_path):
    """Unknown labels make the parts weigh unequally, which the shares must mend."""
    whole, parts = trainer_of(files, tmp_path / "a"), trainer_of(files, tmp_path / "b", accumulation_steps=3)
    losses = [engine._train_epoch(1)[0] for engine in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
    assert len(list(parts.training_losses(torch.arange(12), torch.Generator().manual_seed(0)))) == 3


def test_gradients_are_scaled_down_to_the_norm(files, tmp_path, monkeypatch):
    norms = []
    trainer = trainer_of(files, tmp_path / "a", gradient_clip_norm=0.01)
    step = trainer.optimizer.step

    def noted(*arguments, **options):
        norms.append(float(nn.utils.get_total_norm([parameter.grad for parameter in trainer.model.parameters()])))
        return step(*arguments, **options)

    monkeypatch.setattr(trainer.optimizer, "step", noted)
    trainer._train_epoch(1)
    assert norms
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


def test_sgd_with_momentum_steps_by_the_formula(files, tmp_path):
    trainer = trainer_of(files, tmp_path / "a", optimizer="sgd", momentum=0.9, weight_decay=0.1, warmup_epochs=0)
    head, rate = trainer.model[-1], 1e-3
    velocity, weight = torch.zeros_like(head.weight), head.weight.detach().clone()
    for step in range(3):
        trainer.optimizer.param_groups[0]["lr"] = rate
        trainer.optimizer.zero_grad()
        trainer.training_loss(torch.arange(12 * step, 12 * step + 12), torch.Generator()).backward()
        velocity = 0.9 * velocity + head.weight.grad + 0.1 * weight
        weight = weight - rate * velocity
        trainer._step()
        torch.testing.assert_close(head.weight.detach(), weight)


def test_frozen_layers_do_not_move_until_they_may(files, tmp_path):
    trainer = trainer_of(files, tmp_path / "a", frozen_epochs=1)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer._train_epoch(1)
    moved = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"4.weight", "4.bias"}
    trainer._train_epoch(2)
    assert not torch.equal(trainer.model[0].weight, before["0.weight"])


def test_frozen_batch_norm_keeps_its_statistics(tmp_path):
    spec = ClassifierSpec("resnet18", 1, 32, (0.2,), (0.3,), LABELS)
    model = build_classifier(spec)
    assert head_of(model) == "fc"
    trainer = object.__new__(Trainer)
    trainer.model, trainer.training = model, options_of(frozen_epochs=1)
    for frozen in (True, False):
        model.train()
        trainer._freeze(frozen)
        assert model.bn1.training != frozen
        assert model.layer1[0].conv1.weight.requires_grad != frozen
        assert model.fc.weight.requires_grad


def test_the_average_is_what_is_measured_and_kept(files, tmp_path, monkeypatch):
    plain, averaged = (train(monkeypatch, files, tmp_path / name, **more) for name, more in
                       (("a", {}), ("b", {"ema_decay": 0.5})))  # fmt: skip
    histories = [pd.read_csv(paths["history"]) for paths in (plain, averaged)]
    assert histories[0]["train_loss"].tolist() == histories[1]["train_loss"].tolist()
    assert histories[0]["val_loss"].tolist() != histories[1]["val_loss"].tolist()
    assert not torch.equal(*(weights_of(paths["model"])["4.weight"] for paths in (plain, averaged)))


def test_a_plateau_lowers_the_rate_that_the_history_shows(files, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "validate", lambda self: {"val_loss": 1.0})
    more = {"schedule": "plateau", "plateau_patience_epochs": 0, "plateau_factor": 0.5, "warmup_epochs": 0}
    paths = train(monkeypatch, files, tmp_path / "a", epochs=4, patience_epochs=9, **more)
    assert pd.read_csv(paths["history"])["learning_rate"].tolist() == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4])


def test_stopping_goes_by_the_metric_that_is_asked_for(files, tmp_path, monkeypatch):
    values = iter([0.6, 0.8, 0.7])
    monkeypatch.setattr(image_level, "measure_val", lambda *_, **__: next(values))
    paths = train(monkeypatch, files, tmp_path / "a", task=TASK.model_copy(update={"stop_on": "auroc"}))
    record, history = json.loads(paths["run"].read_text()), pd.read_csv(paths["history"])
    assert (record["best_epoch"], record["best_val_auroc"]) == (2, 0.8)
    assert history["val_auroc"].tolist() == [0.6, 0.8, 0.7]


def test_mixing_is_drawn_from_the_generator_and_keeps_to_the_formula():
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1) * 40
    truth = torch.tensor([[0.0], [1.0], [float("nan")], [1.0]])
    drawn = [mix_images(images, as_targets(truth), 0.4, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(drawn[0][0], drawn[1][0])
    mixed, targets = drawn[0]
    generator = torch.Generator().manual_seed(3)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    share = np.random.default_rng(seed).beta(0.4, 0.4, 4).astype(np.float32)
    partner = torch.randperm(4, generator=generator).numpy()
    grey = images.flatten().numpy().astype(np.float32)
    assert mixed.flatten().numpy() == pytest.approx(share * grey + (1 - share) * grey[partner], rel=1e-5)
    known = np.array([1, 1, 0, 1], np.float32)
    assert targets.weight.flatten().numpy() == pytest.approx(share * known + (1 - share) * known[partner], rel=1e-5)


def test_resumed_after_each_epoch_equal_with_all_options_on(files, tmp_path, monkeypatch):
    task = TASK.model_copy(update=ALL_OF_TASK)
    undisturbed = train(monkeypatch, files, tmp_path / "a", task=task, **ALL)
    changed = [task.model_copy(update={"mixup_alpha": 0.0}), task.model_copy(update={"label_smoothing": 0.0})]
    original = Engine._save_checkpoint

    class Killed(BaseException):
        pass

    def killed(self):
        original(self)
        raise Killed

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(Engine, "_save_checkpoint", killed)
            with pytest.raises(Killed):
                train(monkeypatch, files, tmp_path / "b", task=task, **ALL)
    resumed = train(monkeypatch, files, tmp_path / "b", task=task, **ALL)
    assert_equal_weights(undisturbed["model"], resumed["model"])
    columns = ["epoch", "train_loss", "val_loss", "val_auroc", "learning_rate", "is_best"]
    one, other = (pd.read_csv(paths["history"])[columns] for paths in (undisturbed, resumed))
    pd.testing.assert_frame_equal(one, other)
    for place, different in enumerate(changed):
        paths = train(monkeypatch, files, tmp_path / f"c{place}", task=different, **ALL)
        assert not torch.equal(*(weights_of(paths_["model"])["4.weight"] for paths_ in (undisturbed, paths)))


def test_memory_format_and_determinism_are_switches(files, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr("scanline.train.run.be_deterministic", lambda threads: called.append("deterministic"))
    monkeypatch.setattr("scanline.train.run.be_fast", lambda threads: called.append("fast"))
    train(monkeypatch, files, tmp_path / "a", epochs=1)
    train(monkeypatch, files, tmp_path / "b", epochs=1, deterministic=False)
    assert called == ["deterministic", "fast"]
    formats = [trainer_of(files, tmp_path / str(flag), channels_last=flag).model[0].weight for flag in (True, False)]
    assert formats[0].is_contiguous(memory_format=torch.channels_last)
    assert formats[1].is_contiguous()


def test_a_repeat_is_another_model_with_equal_weights(files, tmp_path, monkeypatch):
    for repeat in (0, 1):
        train(monkeypatch, files, tmp_path / "run", epochs=1, repeat=repeat)
    one, other = (tmp_path / "run/store").iterdir()
    assert_equal_weights(one / "model.pt", other / "model.pt")


def test_options_at_their_defaults_are_no_part_of_the_key():
    parts = {"task": TASK, "model": MODEL, "training": TrainingOptions(device="cpu")}
    assert given_options(parts) == {
        "task": {"kind": "multilabel", "targets": ["bleed", "oedema"]},
        "model": {"architecture": "resnet18", "weights": "none", "channels": 1},
        "training": {"device": "cpu"},
    }


def test_a_loss_that_is_no_sum_over_parts_refuses_accumulation(tmp_path):
    class Whole(Trainer):
        can_accumulate = False

    options, cpu = options_of(accumulation_steps=2), torch.device("cpu")
    with pytest.raises(InputError, match=r"training\.accumulation_steps: found 2"):
        Engine.__init__(object.__new__(Whole), nn.Linear(1, 1), options, 1, cpu, tmp_path, 9, 9)


def diverge_from(patch, epoch):
    """Have the network's weights end as NaN in an epoch."""
    original = Trainer._train_epoch

    def train_epoch(self, number):
        answer = original(self, number)
        if number >= epoch:
            with torch.no_grad():
                self.model[-1].weight[0, 0] = float("nan")
        return answer

    patch.setattr(Trainer, "_train_epoch", train_epoch)


@pytest.mark.parametrize("stop_on", ["val_loss", "accuracy"])
def test_training_that_diverges_at_once_is_one_line_each_time_and_leaves_no_checkpoint(
    files, tmp_path, monkeypatch, stop_on
):
    """By accuracy too: a network of NaN calls nothing, and would have one."""
    task = TASK.model_copy(update={"stop_on": stop_on})
    with monkeypatch.context() as patch:
        diverge_from(patch, 1)
        for _ in range(2):
            with pytest.raises(InputError, match="epoch 1: found val loss nan"):
                train(patch, files, tmp_path / "a", task=task)
    assert [path.name for path in (tmp_path / "a/store").glob("*/*")] == ["lock"]
    train(monkeypatch, files, tmp_path / "a", task=task)


def test_a_learning_rate_too_high_says_what_to_change(files, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"val loss nan.*Lower learning_rate, set gradient_clip_norm, or .* float32"):
        train(monkeypatch, files, tmp_path / "a", learning_rate=1e30, optimizer="sgd", warmup_epochs=0)


def test_val_that_is_no_number_is_no_best_epoch(files, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "validate", lambda self: {"val_loss": float("nan"), "val_auroc": 0.5})
    with pytest.raises(InputError, match=r"val loss nan, val auroc 0\.5"):
        train(monkeypatch, files, tmp_path / "a", task=TASK.model_copy(update={"stop_on": "auroc"}))


def test_training_that_diverges_later_ends_there_and_keeps_the_best_epoch(files, tmp_path, monkeypatch, caplog):
    good = train(monkeypatch, files, tmp_path / "good", epochs=2, schedule="plateau")
    diverge_from(monkeypatch, 3)
    paths = train(monkeypatch, files, tmp_path / "a", epochs=9, patience_epochs=9, schedule="plateau")
    record, history = json.loads(paths["run"].read_text()), pd.read_csv(paths["history"])
    assert (record["epochs"], record["diverged_in_epoch"], record["stopped_early"]) == (3, 3, True)
    assert "epoch 3: val loss nan: the network diverged" in caplog.text
    assert history["val_loss"].isna().tolist() == [False, False, True]
    assert "diverged_in_epoch" not in json.loads(good["run"].read_text())
    assert_equal_weights(good["model"], paths["model"])


def test_a_checkpoint_is_read_to_the_cpu_where_adam_keeps_its_steps(files, tmp_path, monkeypatch):
    """PyTorch leaves a step where it finds it (`Optimizer.load_state_dict`); on a GPU each would cost a wait."""
    monkeypatch.setattr(Trainer, "save", lambda self, path: path.touch())
    trainer = trainer_of(files, tmp_path / "a", epochs=1)
    trainer.fit()
    original, places = torch.load, []

    def load(path, map_location, **options):
        places.append((path.name, map_location))
        return original(path, map_location=map_location, **options)

    monkeypatch.setattr(torch, "load", load)
    trainer.fit()
    assert ("checkpoint.pt", "cpu") in places
    assert {str(state["step"].device) for state in trainer.optimizer.state.values()} == {"cpu"}
