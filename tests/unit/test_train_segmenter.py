import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from killed_training import assert_equal_weights, kill_in_epoch, linger, note_epochs, weights_of
from segmentation_study import SIZE, TARGET, make_segmentation_study

import train_segmenter as script
from scanline.core.errors import InputError
from scanline.core.files import write_json
from scanline.prepare.segmentation_samples import MaskSamples, load_mask_samples
from scanline.train.options import Augmentation, ModelOptions, SegmentTask, TrainingOptions
from scanline.train.segmentation import SegmentationJob, SegmentationTrainer
from scanline.train.segmentation_networks import SegmenterSpec, build_segmenter, load_segmenter, save_segmenter

from torchvision.models import get_model  # isort: skip

CPU = torch.device("cpu")
TASK = SegmentTask(
    kind="segment",
    target=TARGET,
    positive_share=0.6,
    augmentation=Augmentation(horizontal_flip=True, crop_min_scale=0.8),
)
ENCODER = "timm-mobilenetv3_small_minimal_100"  # the smallest there is
MODEL = ModelOptions(architecture="linknet", encoder=ENCODER, weights="none", channels=1)
TRAINING = TrainingOptions(epochs=2, patience_epochs=2, batch_size=8, learning_rate=1e-3, device="cpu")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_segmentation_study(tmp_path_factory.mktemp("study"))


def train(study, folder, *, seed=1, weights=None, **changes):
    """Train through the script itself."""
    folder.mkdir(exist_ok=True)
    write_json(folder / "receipt.json", {"leak_free": True, "protocol": "grouped"})
    parts = {"task": TASK, "model": MODEL, "training": TRAINING} | changes
    options = json.dumps({name: json.loads(part.model_dump_json()) for name, part in parts.items()})
    outputs = {"model": folder / "model.pt", "history": folder / "history.csv", "run": folder / "run.json"}
    files = {name: study[name] for name in ("pixels", "index", "masks", "split")}
    files |= {"store": folder / "store", "receipt": folder / "receipt.json", **outputs}
    words = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    words += ["--weights", str(weights)] if weights else []
    sys.argv = [
        "train_segmenter.py",
        "--options",
        options,
        "--seed",
        str(seed),
        "--threads",
        "1",
        "--code",
        "c",
        *words,
    ]
    script.main()
    return outputs


@pytest.fixture(scope="module")
def undisturbed(study, tmp_path_factory):
    return train(study, tmp_path_factory.mktemp("undisturbed"))


def _train_until_killed(study, folder, ready):
    linger(SegmentationTrainer, 2, ready)
    train(study, folder)


def test_kill_in_the_middle_of_an_epoch_resumes_to_equal_weights(study, undisturbed, tmp_path, monkeypatch):
    kill_in_epoch(_train_until_killed, study, tmp_path / "killed", ready=tmp_path / "in_second_epoch")
    assert not (tmp_path / "killed/model.pt").exists()
    epochs = note_epochs(monkeypatch, SegmentationTrainer)
    resumed = train(study, tmp_path / "killed")
    assert epochs == [2]
    assert_equal_weights(undisturbed["model"], resumed["model"])
    columns = ["epoch", "train_loss", "val_loss", "dice", "learning_rate", "is_best"]
    first, second = (pd.read_csv(run["history"])[columns] for run in (undisturbed, resumed))
    pd.testing.assert_frame_equal(first, second)


def test_training_twice_gives_equal_weights_and_another_seed_gives_others(study, undisturbed, tmp_path):
    assert_equal_weights(undisturbed["model"], train(study, tmp_path / "again")["model"])
    one_epoch = TRAINING.model_copy(update={"epochs": 1})
    other = weights_of(train(study, tmp_path / "other", seed=2, training=one_epoch)["model"])
    first = next(name for name in other if name.startswith("encoder."))
    assert not torch.equal(weights_of(undisturbed["model"])[first], other[first])


def test_the_record_says_what_was_trained_on(undisturbed):
    record = json.loads(undisturbed["run"].read_text())
    assert record["images_of_unknown_mask"] == {"test": 1, "train": 1, "val": 1}
    assert (record["n_train"], record["n_val"]) == (23, 7)
    assert (record["n_train_with_lesion"], record["n_val_with_lesion"]) == (11, 4)
    assert (record["architecture"], record["encoder"], record["loss"]) == ("linknet", ENCODER, "bce_dice")
    assert record["versions"]["segmentation-models-pytorch"]
    history = pd.read_csv(undisturbed["history"])
    assert history.loc[history["is_best"], "epoch"].tolist() == [record["best_epoch"]]
    assert record["best_val_loss"] == pytest.approx(history["val_loss"].min())


def test_val_is_measured_over_all_its_pixels_at_once(study, undisturbed, tmp_path):
    samples = load_mask_samples(**{name: study[name] for name in ("pixels", "index", "masks", "split")})
    values = []
    for batch_size in (2, 7):
        training = TRAINING.model_copy(update={"batch_size": batch_size, "precision": "float32"})
        job = SegmentationJob(TASK, MODEL, training, 1, CPU)
        trainer = SegmentationTrainer(job, samples.known["train"], samples.known["val"], tmp_path)
        trainer.model = load_segmenter(undisturbed["model"], CPU)[1]
        with torch.no_grad():
            values.append(trainer.validate())
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    val = samples.known["val"]
    images = torch.from_numpy(val.pixels[val.rows]).unsqueeze(1) / 255
    logits = trainer.model((images - trainer.spec.mean[0]) / trainer.spec.std[0])
    predicted, truth = logits[:, 0] >= 0, torch.from_numpy(val.masks[val.rows]) == 1
    dice = 2 * int((predicted & truth).sum()) / int(predicted.sum() + truth.sum())
    assert values[0]["dice"] == pytest.approx(dice, abs=1e-3)


def test_it_overfits_four_images(tmp_path, monkeypatch):
    monkeypatch.setattr(SegmentationTrainer, "_save_checkpoint", lambda self: None)  # takes longer than an epoch
    rng = np.random.default_rng(0)
    pixels, masks = rng.integers(40, 90, (4, 32, 32), dtype=np.uint8), np.zeros((4, 32, 32), dtype=np.uint8)
    for number in range(4):
        masks[number, 4 + 4 * number : 14 + 4 * number, 8 : 20 + number] = 1
    pixels += 60 * masks
    four = MaskSamples(np.array(list("abcd"), object), np.arange(4), np.ones((4, 1), np.float32), pixels, masks=masks)
    training = TrainingOptions(epochs=24, patience_epochs=24, batch_size=4, learning_rate=3e-3, device="cpu")
    model = MODEL.model_copy(update={"encoder": "resnet18"})
    job = SegmentationJob(SegmentTask(kind="segment", target=TARGET), model, training, 1, CPU)
    torch.set_num_threads(1)
    SegmentationTrainer(job, four, four, tmp_path).fit()
    history = pd.read_csv(tmp_path / "history.csv")
    assert history.loc[history["is_best"], "dice"].item() > 0.95


def test_weights_of_the_encoder_are_loaded_from_torchvisions_file(study, tmp_path):
    torch.manual_seed(7)
    given = get_model("resnet18", weights=None).state_dict()
    spec = SegmenterSpec("unet", "resnet18", 3, SIZE, (0.5,) * 3, (0.2,) * 3, TARGET)
    own = build_segmenter(spec, given).encoder.state_dict()
    assert all(torch.equal(own[name], given[name]) for name in own)
    grey = build_segmenter(SegmenterSpec("unet", "resnet18", 1, SIZE, (0.5,), (0.2,), TARGET), given)
    torch.testing.assert_close(grey.encoder.conv1.weight, given["conv1.weight"].sum(1, keepdim=True))
    torch.save(given, tmp_path / "resnet18.pth")
    training = TRAINING.model_copy(update={"epochs": 1, "learning_rate": 1e-9})
    model = ModelOptions(architecture="unet", encoder="resnet18", weights="imagenet", channels=3)
    outputs = train(study, tmp_path / "run", model=model, training=training, weights=tmp_path / "resnet18.pth")
    torch.testing.assert_close(weights_of(outputs["model"])["encoder.conv1.weight"], given["conv1.weight"])
    assert load_segmenter(outputs["model"], CPU)[0].mean == (0.485, 0.456, 0.406)


def test_weights_that_are_not_the_encoders_are_one_line():
    given = get_model("resnet18", weights=None).state_dict()
    for encoder, message in (
        ("resnet34", r"weights for encoder resnet34: found 80 missing \(as layer1.2.conv1.weight\)"),
        ("mit_b0", "left over .* not those of timm"),
    ):
        spec = SegmenterSpec("unet", encoder, 3, SIZE, (0.5,) * 3, (0.2,) * 3, TARGET)
        with pytest.raises(InputError, match=message):
            build_segmenter(spec, given)
    del given["layer1.0.conv1.weight"]
    with pytest.raises(InputError, match="1 missing"):
        build_segmenter(SegmenterSpec("unet", "resnet18", 3, SIZE, (0.5,) * 3, (0.2,) * 3, TARGET), given)


@pytest.mark.parametrize(
    ("architecture", "encoder"), [("unetplusplus", "resnet18"), ("segformer", "mit_b0"), ("deeplabv3plus", "resnet18")]
)
def test_other_architectures_come_back_from_their_file(architecture, encoder, tmp_path):
    spec = SegmenterSpec(architecture, encoder, 3, SIZE, (0.5,) * 3, (0.2,) * 3, TARGET)
    model = build_segmenter(spec).eval()
    save_segmenter(tmp_path / "model.pt", spec, model)
    again, loaded = load_segmenter(tmp_path / "model.pt", CPU)
    images = torch.rand(2, 3, SIZE, SIZE)
    assert again == spec
    assert torch.equal(model(images), loaded(images))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (("linknet", "resnet18", 1, 40), r"40 px \(most take multiples of 32\)"),
        (("unet", "resnet19", 1, 32), "model unet with encoder resnet19"),
        (("unetplusplus", "mit_b0", 3, 32), "model unetplusplus with encoder mit_b0"),
    ],
)
def test_a_network_that_cannot_be_built_is_one_line(spec, message):
    with pytest.raises(InputError, match=message):
        build_segmenter(SegmenterSpec(*spec, (0.5,) * spec[2], (0.2,) * spec[2], TARGET))


def test_a_file_that_is_no_segmenter_is_one_line(tmp_path):
    torch.save({"spec": "{}", "state": {}}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"a segmenter's model\.pt"):
        load_segmenter(tmp_path / "model.pt", CPU)


def test_early_stopping_goes_by_the_val_loss(study, tmp_path, monkeypatch):
    losses = iter([0.5, 0.3, 0.4, 0.6])
    monkeypatch.setattr(SegmentationTrainer, "validate", lambda self: {"val_loss": next(losses), "dice": 0.5})
    monkeypatch.setattr(SegmentationTrainer, "_train_epoch", lambda self, epoch: (0.5, 23))
    monkeypatch.setattr(SegmentationTrainer, "_save_checkpoint", lambda self: None)
    training = TRAINING.model_copy(update={"epochs": 9, "patience_epochs": 2})
    record = json.loads(train(study, tmp_path / "run", training=training)["run"].read_text())
    assert (record["epochs"], record["best_epoch"], record["stopped_early"]) == (4, 2, True)
